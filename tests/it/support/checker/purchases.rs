//! What was bought: each key one job from one body, each job told of by records, and the bill fits them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use sha2::{Digest as _, Sha256};

use super::Evidence;
use super::ledger::LedgerRows;
use super::report::{Promise, Report};
use super::results::{Record, Results, Run, name_of};

/// The part of the sandbox's account that the judge looks at. Every field must be there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    jobs_made: u64,
    jobs_running: u64,
    credits: Credits,
    #[serde(default)]
    jobs: Vec<Job>,
    #[serde(default)]
    keys: BTreeMap<String, Key>,
    #[serde(default)]
    jobs_by_key: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Credits {
    charged: u64,
    reserved: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Job {
    id: String,
    container_ids: Vec<String>,
    credits: u64,
    idempotency_key: Option<String>,
    #[serde(default)]
    status: String,
}

#[derive(Debug, Deserialize)]
struct Key {
    bodies: BTreeSet<String>,
}

/// Says what is wrong with the account by itself, and against the records.
pub fn check(evidence: &Evidence, results: &Results, report: &mut Report) {
    let account = match Account::deserialize(&evidence.account) {
        Ok(account) => account,
        Err(error) => {
            return report.add(Promise::P1, format!("the sandbox's account cannot be read: {error}"));
        }
    };
    check_keys(&account, report);
    let told = told(&account, results);
    check_records(&account, &told, report);
    check_intents(results, report);
    check_given_up(&account, results, report);
    check_bill(&account, &told, report);
    check_over(&account, report);
    if let Some(ledger) = &evidence.ledger {
        check_stored_intents(&account, ledger, report);
    }
}

/// Which records tell of which generation, `(job, container)`.
type Told<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Record>>;

/// A job of which every answer was lost is known by its container alone, and its records have no `jobId`: those of one run
/// tell of the first job that made the container and that no record names.
fn told<'a>(account: &'a Account, results: &'a Results) -> Told<'a> {
    let mut told = Told::new();
    let mut nameless: BTreeMap<(&str, u64), Vec<&Record>> = BTreeMap::new();
    for record in results.records() {
        if let Some(generation) = record.generation() {
            told.entry(generation).or_default().push(record);
        } else if let Some(container) = &record.container_id {
            nameless.entry((container, record.run)).or_default().push(record);
        }
    }
    for ((container, _), records) in nameless {
        let mut of_it = account.jobs.iter().filter(|job| job.container_ids.iter().any(|id| id == container));
        let untold = of_it.clone().find(|job| !told.contains_key(&(job.id.as_str(), container)));
        // A rerun that found the container as it had to be made nothing: it tells of the latest job once more.
        if let Some(job) = untold.or_else(|| of_it.next_back()) {
            told.entry((job.id.as_str(), container)).or_default().extend(records);
        }
    }
    told
}

/// One key, one job, one body.
fn check_keys(account: &Account, report: &mut Report) {
    if account.jobs_made != len(account.jobs.len()) {
        let (made, listed) = (account.jobs_made, account.jobs.len());
        report.add(Promise::P1, format!("{made} jobs were made, {listed} are listed"));
    }
    for (key, jobs) in &account.jobs_by_key {
        if jobs.len() != 1 {
            let (many, names) = (jobs.len(), jobs.join(", "));
            report.add(Promise::P1, format!("key {key} made {many} jobs: {names}"));
        }
    }
    let keys: BTreeSet<_> = account.jobs.iter().filter_map(|job| job.idempotency_key.as_ref()).collect();
    if len(keys.len()) != account.jobs_made {
        let (made, distinct) = (account.jobs_made, keys.len());
        report.add(Promise::P1, format!("{made} jobs were made under {distinct} distinct keys"));
    }
    for (key, Key { bodies }) in &account.keys {
        if bodies.len() != 1 {
            let many = bodies.len();
            report.add(Promise::P1, format!("key {key} was sent with {many} different bodies"));
        }
    }
}

/// Whatever was bought was published, and nothing is published that was not bought.
fn check_records(account: &Account, told: &Told<'_>, report: &mut Report) {
    let mut bought = BTreeSet::new();
    for job in &account.jobs {
        for container in &job.container_ids {
            bought.insert((job.id.as_str(), container.as_str()));
            if !told.contains_key(&(job.id.as_str(), container.as_str())) {
                let job = &job.id;
                report
                    .add(Promise::P2, format!("{container} of {job} was paid for and lost: no record of it"));
            }
        }
    }
    for (job, container) in told.keys().filter(|generation| !bought.contains(*generation)) {
        report.add(Promise::P2, format!("a record tells of {container} of {job}, which the API never made"));
    }
}

/// One job for the first run of a brief; in a rerun one for each container.
fn check_intents(results: &Results, report: &mut Report) {
    let mut jobs: BTreeMap<(Run, Option<&str>), BTreeSet<&str>> = BTreeMap::new();
    for record in results.records().filter(|record| record.is_container()) {
        let container = if record.run == 1 { None } else { record.container_id.as_deref() };
        jobs.entry((record.run(), container)).or_default().extend(record.job_id.as_deref());
    }
    for ((run, container), jobs) in jobs.into_iter().filter(|(_, jobs)| jobs.len() > 1) {
        let of = container.map_or_else(String::new, |container| format!(" for {container}"));
        let names = jobs.into_iter().collect::<Vec<_>>().join(", ");
        report.add(Promise::P1, format!("{} was bought more than once{of}: {names}", name_of(&run)));
    }
}

/// What was given up as lost is not there, or its result came after all.
fn check_given_up(account: &Account, results: &Results, report: &mut Report) {
    let ended = |job: &&Job| !matches!(job.status.as_str(), "" | "running");
    let ended: BTreeSet<&str> =
        account.jobs.iter().filter(ended).flat_map(|job| &job.container_ids).map(String::as_str).collect();
    let lost = |record: &&Record| matches!(record.code(), "GENERATION_LOST" | "CONTAINER_MISSING");
    for record in results.records().filter(lost) {
        let container = record.container_id.as_deref().unwrap_or_default();
        let (project, batch, brief, run) = record.run();
        // A rerun may have found it.
        let came = results.records().any(|other| {
            let (other_project, other_batch, other_brief, other_run) = other.run();
            (&other_project, &other_batch, &other_brief) == (&project, &batch, &brief)
                && other_run >= run
                && other.variant == record.variant
                && other.code() != record.code()
        });
        if ended.contains(container) && !came {
            let (name, code) = (record.name(), record.code());
            report.add(Promise::P3, format!("{name} is called {code}, but the API has the result"));
        }
    }
}

/// Each job was bought for one intent of the ledger, under the key and with the bytes that are stored there.
fn check_stored_intents(account: &Account, ledger: &LedgerRows, report: &mut Report) {
    let mut bought: BTreeMap<(i64, i64, Option<&str>), Vec<&str>> = BTreeMap::new();
    for job in &account.jobs {
        let key = job.idempotency_key.as_deref().unwrap_or_default();
        let Some(stored) = ledger.jobs.iter().find(|stored| stored.idempotency_key == key) else {
            report.add(Promise::P1, format!("{} was bought under key {key:?}, which is not stored", job.id));
            continue;
        };
        let intent = (stored.brief, stored.run, stored.container.as_deref());
        bought.entry(intent).or_default().push(&job.id);
    }
    for ((brief, run, container), jobs) in bought.into_iter().filter(|(_, jobs)| jobs.len() > 1) {
        let (name, names) = (ledger.name_of(brief, run), jobs.join(", "));
        let of = container.map_or_else(String::new, |container| format!(" for {container}"));
        report.add(Promise::P1, format!("the intent of {name}{of} made {} jobs: {names}", jobs.len()));
    }
    for stored in &ledger.jobs {
        let digest: String = Sha256::digest(&stored.body).iter().map(|byte| format!("{byte:02x}")).collect();
        let sent = account.keys.get(&stored.idempotency_key);
        if sent.is_some_and(|sent| sent.bodies.iter().any(|body| *body != digest)) {
            let (name, key) = (ledger.name_of(stored.brief, stored.run), &stored.idempotency_key);
            report.add(
                Promise::P1,
                format!("{name} was sent under key {key} with other bytes than are stored"),
            );
        }
    }
}

/// Every credit that was charged has a completed record, and nothing is still reserved.
fn check_bill(account: &Account, told: &Told<'_>, report: &mut Report) {
    let completed = |job: &Job| {
        let is_completed = |container: &&String| {
            let records = told.get(&(job.id.as_str(), container.as_str()));
            records.is_some_and(|records| records.iter().any(|record| record.kind == "container.completed"))
        };
        len(job.container_ids.iter().filter(is_completed).count())
    };
    let price = |job: &Job| job.credits / len(job.container_ids.len()).max(1);
    let worth: u64 = account.jobs.iter().map(|job| price(job) * completed(job)).sum();
    if account.credits.charged != worth {
        let charged = account.credits.charged;
        report.add(
            Promise::P2,
            format!("{charged} credits were charged, but the completed records are worth {worth}"),
        );
    }
}

/// Nothing runs and nothing is reserved any more.
fn check_over(account: &Account, report: &mut Report) {
    if account.jobs_running > 0 || account.credits.reserved > 0 {
        let (running, reserved) = (account.jobs_running, account.credits.reserved);
        report.add(
            Promise::P2,
            format!("it is not over: {running} jobs are running, {reserved} credits are reserved"),
        );
    }
}

fn len(length: usize) -> u64 {
    length as u64
}
