//! What must be true in the end, by the promises' names. Believes the API's account and what consumers got; of the ledger
//! only that its own sums agree, that what it stored has left, and which runs it owes records for.
//!
//! - `answered`: every message, run and row of a plan has its records; `stored`: what the ledger says of them.
//! - `doctored`: for each promise, evidence that is not true, and what is said about it.

mod answered;
mod doctored;
mod stored;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use self::stored::Stored;
use super::world::World;
use crate::brief::{Identity, keys};
use crate::flow::{Channel, Outgoing};
use crate::sandbox::{Account, JobAccount};

/// Runs of one brief that keys are known of; no list asks for more.
const RUNS: u32 = 64;
/// No brief may fail with these: they are the account's trouble, or the API's.
const NOT_THE_BRIEFS: [&str; 8] = [
    "BILLING_EXHAUSTED",
    "FORBIDDEN_SCOPE",
    "INTERNAL",
    "KILL_SWITCH",
    "OUTCOME_UNKNOWN",
    "RATE_LIMITED",
    "TEAPOT",
    "UNAUTHENTICATED",
];

/// Everything that is wrong, a line each.
pub(super) fn violations(world: &World) -> Vec<String> {
    Evidence::of(world).violations()
}

/// Every record that arrived, in order, repeats among them.
pub(super) fn records(world: &World) -> Vec<Record> {
    records_in(&world.broker.consumed())
}

fn records_in(consumed: &[Outgoing]) -> Vec<Record> {
    consumed.iter().filter(|message| message.channel == Channel::Record).map(Record::read).collect()
}

/// What is judged.
struct Evidence<'a> {
    world: &'a World,
    account: Account,
    /// Every message that arrived, in order, repeats among them.
    consumed: Vec<Outgoing>,
    ledger: Stored,
}

impl<'a> Evidence<'a> {
    fn of(world: &'a World) -> Self {
        let (account, consumed) = (world.sandbox.account(), world.broker.consumed());
        Self { world, account, consumed, ledger: Stored::of(world) }
    }

    fn violations(&self) -> Vec<String> {
        let Self { world, account, consumed, ledger } = self;
        let records = records_in(consumed);
        let mut wrong = Vec::new();
        let intents = Intents::new(world, account);
        bought_once(&intents, account, &records, &mut wrong);
        bought_anew(world, account, &mut wrong);
        given_up_late(world, account, &records, &mut wrong);
        all_told((world, &intents), account, &records, &mut wrong);
        answered::all_answered(self, &records, &mut wrong);
        answered::all_runs(ledger, &records, &mut wrong);
        same_bytes((world, consumed), &mut wrong);
        for record in &records {
            if NOT_THE_BRIEFS.contains(&record.code.as_str()) {
                wrong.push(format!("P6 {} failed with {}", record.name(), record.code));
            }
        }
        for message in consumed {
            let beside = serde_json::to_string(&message.properties).unwrap();
            let texts = [String::from_utf8_lossy(&message.body), beside.into()];
            if world.keys.iter().any(|key| texts.iter().any(|text| text.contains(key))) {
                wrong.push(format!("P7 the API key is in {}", message.message_id));
            }
        }
        ledger.all_left(consumed, &mut wrong);
        wrong.extend(world.parked_wrongly.iter().map(|parked| format!("P3 {parked}")));
        let reads = &account.reads;
        let reads = reads.job + reads.container + reads.list + reads.whoami + reads.credits;
        let bound = 50 + 12 * world.steps;
        if reads > bound {
            wrong.push(format!("{reads} reads in {} steps", world.steps));
        }
        wrong
    }
}

/// Who may have bought what: the brief and the run of every key that there can be.
struct Intents<'a>(HashMap<String, (&'a Identity, u64)>);

impl<'a> Intents<'a> {
    fn new(world: &'a World, account: &Account) -> Self {
        let identities: BTreeSet<_> = world.sent.iter().filter_map(|sent| sent.identity.as_ref()).collect();
        let key = |identity, run, container| {
            keys::idempotency_key(&keys::key_text(identity, run, container)).to_string()
        };
        let mut intents = Self(HashMap::new());
        for identity in identities {
            for run in 1..=RUNS {
                intents.0.insert(key(identity, run, None), (identity, u64::from(run)));
            }
        }
        for job in account.jobs.iter().filter(|job| job.kind == "generate") {
            let Some((identity, _)) = intents.of(job) else { continue };
            for container in &job.container_ids {
                for run in 2..=RUNS {
                    intents.0.insert(key(identity, run, Some(container)), (identity, u64::from(run)));
                }
            }
        }
        intents
    }

    fn of(&self, job: &JobAccount) -> Option<(&'a Identity, u64)> {
        self.0.get(job.idempotency_key.as_deref()?).copied()
    }

    /// The job of a container that a record of this run tells of, if it does not say.
    fn latest<'b>(&self, account: &'b Account, container: &str, run: u64) -> Option<&'b str> {
        let made_it = |job: &&JobAccount| {
            job.container_ids.iter().any(|id| id == container)
                && self.of(job).is_some_and(|(_, own)| own <= run)
        };
        account.jobs.iter().rfind(made_it).map(|job| job.id.as_str())
    }
}

/// P1: one intent, one key, one body, one job; and nothing again that is there.
fn bought_once(intents: &Intents<'_>, account: &Account, records: &[Record], wrong: &mut Vec<String>) {
    for (key, jobs) in account.jobs_by_key.iter().filter(|(_, jobs)| jobs.len() > 1) {
        wrong.push(format!("P1 {key} made {} jobs", jobs.len()));
    }
    for (key, seen) in account.keys.iter().filter(|(_, seen)| seen.bodies.len() > 1) {
        wrong.push(format!("P1 {key} was sent with {} bodies", seen.bodies.len()));
    }
    let mut generated: BTreeMap<&Identity, u32> = BTreeMap::new();
    for job in &account.jobs {
        match intents.of(job) {
            Some((identity, _)) if job.kind == "generate" => *generated.entry(identity).or_default() += 1,
            Some(_) => {}
            None => wrong.push(format!("P1 {} has a key that belongs to no run of a brief", job.id)),
        }
    }
    for (identity, times) in generated.into_iter().filter(|(_, times)| *times > 1) {
        wrong.push(format!("P1 {identity} was generated {times} times"));
    }
    for (place, job) in account.jobs.iter().enumerate().filter(|(_, job)| job.kind == "regenerate") {
        let before: Vec<_> = account.jobs[..place].iter().map(|job| &job.id).collect();
        let had = records.iter().find(|record| {
            record.kind == "container.completed"
                && record.container.as_ref() == job.container_ids.first()
                && record.job.as_ref().is_some_and(|job| before.contains(&job))
        });
        if let Some(had) = had {
            wrong.push(format!("P1 {} was bought again by {}", had.name(), job.id));
        }
    }
}

/// P1: a rerun makes nothing anew that is there, or is being made.
fn bought_anew(world: &World, account: &Account, wrong: &mut Vec<String>) {
    for (place, job) in account.jobs.iter().enumerate().filter(|(_, job)| job.kind == "regenerate") {
        let Some(container) = job.container_ids.first() else { continue };
        let before = account.jobs[..place].iter().rfind(|before| before.container_ids.contains(container));
        // What the API says is not there, for hours, may be asked for.
        let Some(before) = before.filter(|_| world.untrue.longest_ms(container).is_none()) else { continue };
        // A container may end before its siblings, and so before its job.
        let ran =
            before.container_ids.len() == 1 && before.ends_at.as_ref().is_none_or(|at| *at > job.started_at);
        let all_completed = before.charged == before.credits;
        if ran || all_completed {
            let how = if ran { "ran" } else { "had completed" };
            wrong.push(format!("P1 {container} {how} in {} when {} was bought", before.id, job.id));
        }
    }
}

/// P3: nothing is given up before its time, neither what runs nor what is contradicted.
fn given_up_late(world: &World, account: &Account, records: &[Record], wrong: &mut Vec<String>) {
    let track = &world.settings.track;
    for record in records {
        let Some(container) = &record.container else { continue };
        let (took_ms, patience) = match record.code.as_str() {
            // A person may decide at any time that nothing was made.
            "GENERATION_LOST" if record.decided => continue,
            "GENERATION_LOST" => {
                let of_it = |job: &&JobAccount| job.container_ids.contains(container);
                let first = account.jobs.iter().find(of_it).map_or(0, |job| ms(&job.started_at));
                (ms(&record.finished_at) - first, track.give_up_after)
            }
            "CONTAINER_MISSING" => (world.untrue.longest_ms(container).unwrap_or(0), track.overdue_after),
            _ => continue,
        };
        if u128::try_from(took_ms).is_ok_and(|took_ms| took_ms < patience.as_millis()) {
            wrong.push(format!("P3 {}: {} after {} s", record.name(), record.code, took_ms / 1_000));
        }
    }
}

fn ms(time: &str) -> i64 {
    time.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond)
}

/// P2, P3: whatever was paid for is told, and as what it is.
fn all_told(
    (world, intents): (&World, &Intents<'_>),
    account: &Account,
    records: &[Record],
    wrong: &mut Vec<String>,
) {
    for job in &account.jobs {
        let told = |container: &String| {
            let of_job = |record: &&Record| {
                record.container.as_ref() == Some(container)
                    && match &record.job {
                        Some(told) => *told == job.id,
                        // Known by a look-up only: the latest one of that container.
                        None => intents.latest(account, container, record.run) == Some(job.id.as_str()),
                    }
            };
            records.iter().filter(of_job).collect::<Vec<_>>()
        };
        let told: Vec<_> = job.container_ids.iter().map(told).collect();
        // Siblings that the API names in no answer end as missing: where its answers name the first container only, or
        // where the job is known by a look-up only.
        let first = told.first().and_then(|told| told.first());
        let unnamed = first.is_some_and(|record| {
            let nameless = |other: &Record| other.identity == record.identity && other.is_nameless();
            records.iter().any(nameless) && (world.names_first_container_only || record.job.is_none())
        });
        for (container, told) in job.container_ids.iter().zip(&told) {
            if told.is_empty() && !unnamed {
                wrong.push(format!("P2 {container} of {} was paid for, and no record tells of it", job.id));
            }
        }
        if job.status == "running" && told.len() == 1 {
            for record in told.iter().flatten().filter(|record| record.says_that_it_is_over()) {
                wrong.push(format!("P3 {} while {} runs", record.name(), job.id));
            }
        }
        let completed = |told: &&Vec<&Record>| told.iter().any(|record| record.kind == "container.completed");
        let completed = told.iter().filter(completed).count();
        let price = job.credits / u64::try_from(told.len().max(1)).unwrap_or(1);
        let worth = price * u64::try_from(completed).unwrap_or(0);
        // The API said for long enough that they are not there.
        let missing = |told: &&Vec<&Record>| told.iter().any(|record| record.code == "CONTAINER_MISSING");
        let missing = u64::try_from(told.iter().filter(missing).count()).unwrap_or(0);
        if worth < job.charged && job.charged <= worth + price * missing {
            continue;
        }
        // Of such a job nobody waits for the end, and it is charged then.
        let is_over = job.status != "running";
        if worth != job.charged && !(unnamed && (worth < job.charged || !is_over)) {
            wrong.push(format!(
                "P3 {} was charged {}, and records of what completed are worth {worth}",
                job.id, job.charged
            ));
        }
    }
}

/// P4: same id, same bytes, and the same beside them. The number of a dead letter may be given again once it was pruned.
fn same_bytes((world, consumed): (&World, &[Outgoing]), wrong: &mut Vec<String>) {
    let mut known: HashMap<&str, &Outgoing> = HashMap::new();
    for message in consumed.iter().filter(|it| it.channel == Channel::Record || !world.pruned) {
        let first = *known.entry(&message.message_id).or_insert(message);
        if first.body != message.body
            || first.properties != message.properties
            || first.routing_key != message.routing_key
        {
            wrong.push(format!("P4 {} came with other bytes", message.message_id));
        }
    }
}

/// The fields of a record that the judge looks at.
pub(super) struct Record {
    id: String,
    pub kind: String,
    identity: Identity,
    pub run: u64,
    variant: Option<u64>,
    job: Option<String>,
    container: Option<String>,
    pub code: String,
    /// By a person.
    decided: bool,
    finished_at: String,
}

impl Record {
    fn read(message: &Outgoing) -> Self {
        let record: Value = serde_json::from_slice(&message.body).unwrap_or_default();
        let text = |name: &str| record[name].as_str().map(ToOwned::to_owned);
        let required = |name: &str| text(name).unwrap_or_default();
        Self {
            id: message.message_id.clone(),
            kind: required("type"),
            identity: Identity {
                project_id: required("projectId"),
                batch_id: required("batchId"),
                brief_id: required("briefId"),
            },
            run: record["run"].as_u64().unwrap_or(0),
            variant: record["variant"].as_u64(),
            job: text("jobId"),
            container: text("containerId"),
            finished_at: required("finishedAt"),
            code: record["error"]["code"].as_str().unwrap_or_default().to_owned(),
            decided: record["error"]["message"]
                .as_str()
                .is_some_and(|message| message.contains(" decided that it did not: ")),
        }
    }

    /// Of a container that was promised, and that no answer ever named.
    fn is_nameless(&self) -> bool {
        self.variant.is_some() && self.container.is_none()
    }

    /// With or without a result; what was given up may run.
    fn says_that_it_is_over(&self) -> bool {
        !matches!(self.code.as_str(), "GENERATION_LOST" | "CONTAINER_MISSING")
    }

    fn name(&self) -> String {
        let variant = self.variant.map_or_else(String::new, |variant| format!(" variant {variant}"));
        format!("{} {} run {}{variant}", self.kind, self.identity, self.run)
    }
}
