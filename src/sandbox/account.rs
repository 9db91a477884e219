//! The account: what the sandbox did and was asked, for those who check that nothing was bought twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::draw::hex;
use super::faults::Fault;
use super::generation::Phase;
use super::state::{Kind, World};
use super::time::iso;

/// What happened since the sandbox started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The API's time, ISO 8601.
    pub now: String,
    /// How many jobs were made.
    pub jobs_made: u64,
    /// How many of them have not ended.
    pub jobs_running: u64,
    /// How many containers exist.
    pub containers_made: u64,
    /// Containers by what became of them: `running`, `completed`, `failed`, `canceled`.
    pub containers: BTreeMap<String, u64>,
    /// The wallet.
    pub credits: CreditsAccount,
    /// GETs by kind, refused ones included.
    pub reads: Reads,
    /// POSTs by kind, refused and replayed ones included.
    pub posts: Posts,
    /// Answers that were sent, by HTTP status.
    pub answers: BTreeMap<u16, u64>,
    /// 429 answers.
    pub rate_limited: u64,
    /// Faults that struck, by name.
    pub faults: BTreeMap<String, u64>,
    /// Idempotency keys that are still remembered.
    pub keys_remembered: u64,
    /// Each job, in the order they were made. Empty in a summary, like all that follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobAccount>,
    /// Each `Idempotency-Key` that was ever seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, KeyAccount>,
    /// Ids of the jobs that each key made. More than one: bought twice.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs_by_key: BTreeMap<String, Vec<String>>,
}

/// The wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreditsAccount {
    /// What is left, reservations included.
    pub balance: u64,
    /// Held for running jobs.
    pub reserved: u64,
    /// What can be spent.
    pub available: u64,
    /// What completed containers have cost.
    pub charged: u64,
}

/// GETs by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reads {
    /// `GET /v1/jobs/:id`
    pub job: u64,
    /// `GET /v1/content/:id`
    pub container: u64,
    /// `GET /v1/projects/:id/content`
    pub list: u64,
    /// `GET /v1/content/:id/progress`
    pub progress: u64,
    /// `GET /v1/content/:id/assets/:assetId`
    pub asset: u64,
    /// `GET /v1/whoami`
    pub whoami: u64,
    /// `GET /v1/credits`
    pub credits: u64,
}

/// POSTs by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Posts {
    /// `POST /v1/projects/:id/content`
    pub generate: u64,
    /// `POST /v1/content/:id/regenerate`
    pub regenerate: u64,
    /// `POST /v1/jobs/:id/cancel`
    pub cancel: u64,
    /// `POST /v1/content/:id/approve`
    pub approve: u64,
    /// `POST /v1/content/:id/reject`
    pub reject: u64,
}

/// One job that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobAccount {
    /// The job's id.
    pub id: String,
    /// Its project.
    pub project: String,
    /// Its containers, by variant.
    pub container_ids: Vec<String>,
    /// What it costs if everything completes.
    pub credits: u64,
    /// The `Idempotency-Key` it was made under, if there was one.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the body it was made from.
    pub body_sha256: String,
    /// `generate` or `regenerate`.
    pub kind: String,
    /// When it started, ISO 8601.
    pub started_at: String,
    /// When it ended or will end; `None`: never.
    pub ends_at: Option<String>,
}

/// One `Idempotency-Key`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyAccount {
    /// How often it came, whatever the answer.
    pub posts: u64,
    /// SHA-256 of each body it was seen with. More than one: a client that changes what it repeats.
    pub bodies: BTreeSet<String>,
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Everything that arrived; also numbers the requests.
    pub(super) requests: u64,
    reads: Reads,
    posts: Posts,
    answers: BTreeMap<u16, u64>,
    faults: BTreeMap<Fault, u64>,
    /// By key; starts without one are told apart by their body.
    keys: HashMap<String, KeyUse>,
    keyless: HashMap<[u8; 32], u64>,
}

#[derive(Debug, Default)]
struct KeyUse {
    posts: u64,
    bodies: Vec<[u8; 32]>,
}

impl Tally {
    /// Counts a request that arrived.
    pub(super) fn arrived(&mut self, call: &Call) {
        self.requests += 1;
        let counter = match call {
            Call::Start { .. } => &mut self.posts.generate,
            Call::Regenerate { .. } => &mut self.posts.regenerate,
            Call::Cancel { .. } => &mut self.posts.cancel,
            Call::Approve { .. } => &mut self.posts.approve,
            Call::Reject { .. } => &mut self.posts.reject,
            Call::List { .. } => &mut self.reads.list,
            Call::Container { .. } => &mut self.reads.container,
            Call::Progress { .. } => &mut self.reads.progress,
            Call::Asset { .. } => &mut self.reads.asset,
            Call::Job { .. } => &mut self.reads.job,
            Call::Whoami => &mut self.reads.whoami,
            Call::Credits => &mut self.reads.credits,
            Call::Unknown => return,
        };
        *counter += 1;
    }

    /// Counts a start, and tells the how-manieth of its key (or body) it is, from 1.
    pub(super) fn posted(&mut self, key: Option<&str>, body_sha: [u8; 32]) -> u64 {
        let Some(key) = key else {
            let posts = self.keyless.entry(body_sha).or_default();
            *posts += 1;
            return *posts;
        };
        if !self.keys.contains_key(key) {
            self.keys.insert(key.to_owned(), KeyUse::default());
        }
        let Some(record) = self.keys.get_mut(key) else { return 1 };
        record.posts += 1;
        if !record.bodies.contains(&body_sha) {
            record.bodies.push(body_sha);
        }
        record.posts
    }

    /// Counts an answer that is sent.
    pub(super) fn answered(&mut self, status: u16) {
        *self.answers.entry(status).or_default() += 1;
    }

    /// Counts a fault that struck.
    pub(super) fn struck(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }
}

/// The account of a world as it is now; `lists`: with every job and key.
pub(super) fn account(world: &World, now_ms: i64, lists: bool) -> Account {
    let tally = &world.tally;
    let mut account = Account {
        now: iso(now_ms),
        jobs_made: count(world.jobs.len()),
        jobs_running: world.running,
        containers_made: count(world.containers.len()),
        containers: containers(world, now_ms),
        credits: CreditsAccount {
            balance: world.credits.balance,
            reserved: world.credits.reserved,
            available: world.credits.available(),
            charged: world.credits.charged,
        },
        reads: tally.reads,
        posts: tally.posts,
        answers: tally.answers.clone(),
        rate_limited: tally.answers.get(&429).copied().unwrap_or(0),
        faults: tally.faults.iter().map(|(fault, count)| (fault.name().to_owned(), *count)).collect(),
        keys_remembered: count(world.replays.keys()),
        jobs: Vec::new(),
        keys: BTreeMap::new(),
        jobs_by_key: BTreeMap::new(),
    };
    if lists {
        account.jobs = jobs(world);
        let key = |(key, seen): (&String, &KeyUse)| {
            (
                key.clone(),
                KeyAccount { posts: seen.posts, bodies: seen.bodies.iter().map(|sha| hex(sha)).collect() },
            )
        };
        account.keys = tally.keys.iter().map(key).collect();
        for job in &account.jobs {
            if let Some(key) = &job.idempotency_key {
                account.jobs_by_key.entry(key.clone()).or_default().push(job.id.clone());
            }
        }
    }
    account
}

fn containers(world: &World, now_ms: i64) -> BTreeMap<String, u64> {
    let names = ["running", "completed", "failed", "canceled"];
    let mut counts: BTreeMap<_, _> = names.map(|name| (name.to_owned(), 0)).into();
    for view in (0..world.containers.len()).filter_map(|container| world.view(container, now_ms)) {
        let name = match view.look.phase {
            Phase::Running => "running",
            Phase::Completed { .. } => "completed",
            Phase::Failed { .. } => "failed",
            Phase::Canceled { .. } => "canceled",
        };
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

fn jobs(world: &World) -> Vec<JobAccount> {
    let entry = |job: &super::state::Job| JobAccount {
        id: job.id.clone(),
        project: job.project.to_string(),
        container_ids: job
            .containers
            .iter()
            .map(|container| world.containers[*container].id.clone())
            .collect(),
        credits: job.price * count(job.containers.len()),
        idempotency_key: job.key.clone(),
        body_sha256: hex(&job.body_sha),
        kind: match job.kind {
            Kind::Generate => "generate".to_owned(),
            Kind::Regenerate => "regenerate".to_owned(),
        },
        started_at: iso(job.started_ms),
        ends_at: job.end_ms().map(iso),
    };
    world.jobs.iter().map(entry).collect()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
