//! What was bought: each key one job from one body, each job told of by records, and the bill fits them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

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
    /// Containers that one job made, and that a record without `jobId` tells of.
    #[serde(skip)]
    only_jobs_of: BTreeSet<String>,
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
}

#[derive(Debug, Deserialize)]
struct Key {
    bodies: BTreeSet<String>,
}

/// Says what is wrong with the account by itself, and against the records.
pub fn check(account: &Value, results: &Results, violations: &mut Vec<String>) {
    let account = match Account::deserialize(account) {
        Ok(account) => account.with_jobs_that_nobody_told(results),
        Err(error) => return violations.push(format!("the sandbox's account cannot be read: {error}")),
    };
    check_keys(&account, violations);
    check_records(&account, results, violations);
    check_intents(results, violations);
    check_bill(&account, results, violations);
}

impl Account {
    /// A job of which every answer was lost is known by its container alone, and its records have no `jobId`: they tell of
    /// the one job that made that container.
    fn with_jobs_that_nobody_told(mut self, results: &Results) -> Self {
        let unnamed: BTreeSet<_> = results
            .records()
            .filter(|record| record.job_id.is_none())
            .filter_map(|record| record.container_id.clone())
            .collect();
        let mut jobs: BTreeMap<String, usize> = BTreeMap::new();
        for container in self.jobs.iter().flat_map(|job| &job.container_ids) {
            *jobs.entry(container.clone()).or_default() += 1;
        }
        self.only_jobs_of = unnamed.into_iter().filter(|container| jobs.get(container) == Some(&1)).collect();
        self
    }

    /// Whether a record tells of this generation.
    fn is_told(&self, told: &BTreeSet<(&str, &str)>, job: &str, container: &str) -> bool {
        told.contains(&(job, container)) || self.only_jobs_of.contains(container)
    }
}

/// One key, one job, one body.
fn check_keys(account: &Account, violations: &mut Vec<String>) {
    if account.jobs_made != len(account.jobs.len()) {
        violations.push(format!("{} jobs were made, {} are listed", account.jobs_made, account.jobs.len()));
    }
    for (key, jobs) in &account.jobs_by_key {
        if jobs.len() != 1 {
            violations.push(format!("key {key} made {} jobs: {}", jobs.len(), jobs.join(", ")));
        }
    }
    let keys: BTreeSet<_> = account.jobs.iter().filter_map(|job| job.idempotency_key.as_ref()).collect();
    if len(keys.len()) != account.jobs_made {
        violations.push(format!("{} jobs were made under {} distinct keys", account.jobs_made, keys.len()));
    }
    for (key, Key { bodies }) in &account.keys {
        if bodies.len() != 1 {
            violations.push(format!("key {key} was sent with {} different bodies", bodies.len()));
        }
    }
}

/// Whatever was bought was published, and nothing is published that was not bought.
fn check_records(account: &Account, results: &Results, violations: &mut Vec<String>) {
    let told_of: BTreeSet<_> = results.records().filter_map(Record::generation).collect();
    let mut bought = BTreeSet::new();
    for job in &account.jobs {
        for container in &job.container_ids {
            bought.insert((job.id.as_str(), container.as_str()));
            if !account.is_told(&told_of, &job.id, container) {
                violations.push(format!("{container} of {} was paid for and lost: no record of it", job.id));
            }
        }
    }
    for (job, container) in told_of.difference(&bought) {
        violations.push(format!("a record tells of {container} of {job}, which the API never made"));
    }
}

/// One job for the first run of a brief; in a rerun one for each container.
fn check_intents(results: &Results, violations: &mut Vec<String>) {
    let mut jobs: BTreeMap<(Run, Option<&str>), BTreeSet<&str>> = BTreeMap::new();
    for record in results.records().filter(|record| record.is_container()) {
        let container = if record.run == 1 { None } else { record.container_id.as_deref() };
        jobs.entry((record.run(), container)).or_default().extend(record.job_id.as_deref());
    }
    for ((run, container), jobs) in jobs.into_iter().filter(|(_, jobs)| jobs.len() > 1) {
        let of = container.map_or_else(String::new, |container| format!(" for {container}"));
        let names = jobs.into_iter().collect::<Vec<_>>().join(", ");
        violations.push(format!("{} was bought more than once{of}: {names}", name_of(&run)));
    }
}

/// Every credit that was charged has a completed record, and nothing is still reserved.
fn check_bill(account: &Account, results: &Results, violations: &mut Vec<String>) {
    let completed = |job: &Job| {
        let of_job = |record: &&Record| {
            let container =
                record.container_id.as_deref().filter(|id| job.container_ids.iter().any(|own| own == id));
            record.kind == "container.completed"
                && container.is_some_and(|id| match &record.job_id {
                    Some(told) => *told == job.id,
                    None => account.only_jobs_of.contains(id),
                })
        };
        let containers: BTreeSet<_> =
            results.records().filter(of_job).map(|record| &record.container_id).collect();
        len(containers.len())
    };
    let price = |job: &Job| job.credits / len(job.container_ids.len()).max(1);
    let worth: u64 = account.jobs.iter().map(|job| price(job) * completed(job)).sum();
    if account.credits.charged != worth {
        let charged = account.credits.charged;
        violations
            .push(format!("{charged} credits were charged, but the completed records are worth {worth}"));
    }
    if account.jobs_running > 0 || account.credits.reserved > 0 {
        let (running, reserved) = (account.jobs_running, account.credits.reserved);
        violations
            .push(format!("it is not over: {running} jobs are running, {reserved} credits are reserved"));
    }
}

fn len(length: usize) -> u64 {
    length as u64
}
