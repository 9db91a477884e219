//! The account: what the sandbox did and was asked, for those who check that nothing was bought twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

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
    /// The wallets of all organizations together.
    pub credits: CreditsAccount,
    /// GETs by kind, refused ones included.
    pub reads: Reads,
    /// POSTs by kind, refused and replayed ones included.
    pub posts: Posts,
    /// Answers that were sent, by HTTP status.
    pub answers: BTreeMap<u16, u64>,
    /// 429 answers.
    pub rate_limited: u64,
    /// 429 answers by rate-limit class.
    #[serde(default)]
    pub rate_limited_by_class: BTreeMap<String, u64>,
    /// Requests by method and path; those to no endpoint as `elsewhere`.
    #[serde(default)]
    pub endpoints: BTreeMap<String, u64>,
    /// POSTs that were refused, by code; an answer without one counts under its HTTP status.
    #[serde(default)]
    pub refusals: BTreeMap<String, u64>,
    /// Requests that came with a key while it was revoked.
    #[serde(default)]
    pub while_revoked: u64,
    /// Requests that came while their organization was switched off.
    #[serde(default)]
    pub while_killed: u64,
    /// Each API key by its public part.
    #[serde(default)]
    pub api_keys: BTreeMap<String, ApiKeyAccount>,
    /// Each organization by its id.
    #[serde(default)]
    pub organizations: BTreeMap<String, OrganizationAccount>,
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
    /// The POSTs that were refused, oldest first; of very many the latest 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_posts: Vec<RefusedPost>,
}

/// One API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyAccount {
    /// Whose it is.
    pub organization: String,
    /// Whether it is refused now.
    pub revoked: bool,
    /// Requests that came with it, refused ones included.
    pub requests: u64,
    /// Jobs that it made.
    pub jobs: u64,
    /// Its 429 answers.
    pub rate_limited: u64,
    /// Its requests while it was revoked.
    pub while_revoked: u64,
    /// Its requests while the organization was switched off.
    pub while_killed: u64,
}

/// One organization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationAccount {
    /// Its wallet.
    pub credits: CreditsAccount,
    /// Whether it is switched off now.
    pub kill_switch: bool,
    /// How many jobs were made.
    pub jobs_made: u64,
    /// How many of them have not ended.
    pub jobs_running: u64,
    /// Each project that was asked for work or given a budget.
    pub projects: BTreeMap<String, ProjectAccount>,
}

/// One project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectAccount {
    /// How many containers it has.
    pub containers: u64,
    /// What is left of its own budget, reservations included; `None`: it has none of its own.
    pub balance: Option<u64>,
    /// Held for running jobs.
    pub reserved: u64,
    /// What completed containers have cost.
    pub charged: u64,
}

/// One POST that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedPost {
    /// When, ISO 8601.
    pub at: String,
    /// HTTP status.
    pub status: u16,
    /// The code in the envelope, if there was one.
    pub code: Option<String>,
    /// Method and path of the endpoint.
    pub endpoint: String,
    /// The `Idempotency-Key`, if there was one.
    pub idempotency_key: Option<String>,
    /// The API key by its public part, if it was known.
    pub api_key: Option<String>,
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
    /// `POST /v1/content/:newId/clone-from-post`
    pub clone: u64,
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
    /// The `traceparent` of its POST, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The `tracestate` of its POST, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// The API key it was made with, by its public part.
    #[serde(default)]
    pub api_key: String,
    /// Whose it is.
    #[serde(default)]
    pub organization: String,
    /// SHA-256 of the body it was made from.
    pub body_sha256: String,
    /// How long that body was.
    #[serde(default)]
    pub body_bytes: u64,
    /// `generate`, `regenerate` or `clone`.
    pub kind: String,
    /// `running`, `completed`, `failed` or `canceled`, as `GET /v1/jobs/:id` says.
    #[serde(default)]
    pub status: String,
    /// What it cost in the end.
    #[serde(default)]
    pub charged: u64,
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
