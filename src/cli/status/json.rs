//! The status as one JSON document. Its fields are part of the contract: they may grow, never change.

use std::collections::BTreeMap;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::names::Projects;
use super::super::times::iso;
use super::facts::{BatchFacts, Facts};
use super::pace::Left;
use crate::config::Settings;
use crate::job::BriefState;
use crate::ledger::{Hold, HoldScope, LateRows, StateCounts};

/// Everything that `briefd status` tells about a moment.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "briefd status")]
struct Document {
    /// Of this moment.
    at: Time,
    /// A worker is at the ledger.
    worker: bool,
    /// Holds in force, on anything of what was asked about.
    holds: Vec<HoldShown>,
    /// Briefs that the API has left without an answer.
    no_answer: NoAnswer,
    /// Briefs that a person must decide about.
    parked: Parked,
    /// What shall leave and has not.
    outbox: Outbox,
    /// How fast it goes, in the newest window of the rate limit.
    pace: PaceShown,
    /// The batch that was asked for, or the newest ones.
    batches: Vec<BatchShown>,
    /// Batches that are not listed.
    more_batches: i64,
    /// Of one batch: why what did not complete did not, the most frequent reason first, one a brief.
    #[serde(skip_serializing_if = "Option::is_none")]
    codes: Option<Vec<CodeShown>>,
    /// Of one batch: its projects, the worst first.
    #[serde(skip_serializing_if = "Option::is_none")]
    projects: Option<Vec<ProjectShown>>,
}

/// ISO 8601 with `Z`.
type Time = String;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct HoldShown {
    /// `account`, `project` or `batch`.
    scope: &'static str,
    /// The project's or the batch's id; null: the account, or briefs without a batch.
    target: Option<String>,
    /// The project's name: its alias; of a batch held in one project, the alias or id.
    project: Option<String>,
    /// The code: the API's, or one of briefd's own.
    reason: String,
    /// What the API or the operator said.
    detail: String,
    /// Credits that are needed, where the API told.
    required: Option<i64>,
    /// Credits that are there, where the API told.
    available: Option<i64>,
    /// `api` or `operator`.
    set_by: &'static str,
    since: Time,
    /// It seems to be over: one job at a time goes through until one is accepted.
    easing: bool,
    /// When it is tested next; null: a person lifts it.
    probe_at: Option<Time>,
    /// Briefs that wait behind it.
    waiting: i64,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NoAnswer {
    /// Briefs of which it is not known whether the API took them.
    unknown: i64,
    unknown_since: Option<Time>,
    /// Briefs of which nothing was sent, because there is no connection.
    unsent: i64,
    unsent_since: Option<Time>,
}

#[derive(Serialize, JsonSchema)]
struct Parked {
    count: i64,
    /// A few of them.
    first: Vec<ParkedShown>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ParkedShown {
    project_id: String,
    /// The project's alias.
    project: Option<String>,
    batch_id: Option<String>,
    brief_id: String,
    code: Option<String>,
    message: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Outbox {
    /// Records and dead letters that have not left.
    pending: i64,
    /// Those that the broker refuses for themselves.
    parked: i64,
    /// Those that should have left over a minute ago.
    late: Vec<Late>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Late {
    /// `record` or `dead_letter`.
    channel: String,
    /// The record's type, or the dead letter's reason.
    kind: String,
    /// Whose: `queue`, or `file:` and a name.
    input: String,
    count: i64,
    oldest_at: Time,
    /// How often one of them was tried in vain.
    attempts: i64,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PaceShown {
    /// The window of the rate limit, in seconds.
    window_seconds: u64,
    /// Starts drawn in it.
    starts: i64,
    /// Starts that it allows; null: no limit.
    starts_limit: Option<u32>,
    /// Reads drawn in it.
    reads: i64,
    /// Reads that it allows; null: no limit.
    reads_limit: Option<u32>,
    /// From the end at the API to the result's being known, the median of the last hour's newest.
    result_known_after_seconds: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct BatchShown {
    /// Null: briefs without a batch.
    batch: Option<String>,
    /// Briefs that have come.
    briefs: i64,
    /// Briefs that it is said to have.
    batch_size: Option<i64>,
    /// Every state, also those that nothing is in.
    #[schemars(with = "BTreeMap<String, i64>")]
    by_state: Map<String, Value>,
    /// All have come and ended.
    ended: bool,
    /// What its records say that it cost; null: not known.
    credits_estimate: Option<i64>,
    /// An estimate; null where it depends on people or on the API.
    left_seconds: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct CodeShown {
    code: String,
    /// `rerun`, `change` or `none`.
    remedy: String,
    /// Of several reasons of a brief the latest counts.
    briefs: i64,
    /// Containers that did not complete.
    containers: i64,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ProjectShown {
    project_id: String,
    /// Its alias.
    project: Option<String>,
    briefs: i64,
    /// Every state, also those that nothing is in.
    #[schemars(with = "BTreeMap<String, i64>")]
    by_state: Map<String, Value>,
}

/// The JSON Schema of the document.
pub(in crate::cli) fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<Document>().to_value()
}

/// The document.
pub(super) fn document(facts: &Facts, settings: &Settings) -> anyhow::Result<Value> {
    let projects = Projects(&settings.projects);
    let parked = facts.parked.1.iter().map(|brief| ParkedShown {
        project_id: brief.project_id.clone(),
        project: projects.alias(&brief.project_id).map(str::to_owned),
        batch_id: some(&brief.batch_id),
        brief_id: brief.brief_id.clone(),
        code: brief.code.clone(),
        message: brief.message.clone(),
    });
    let codes = |detail: &super::facts::Detail| {
        let codes = detail.codes.iter();
        codes
            .map(|code| CodeShown {
                code: code.code.clone(),
                remedy: code.remedy.clone(),
                briefs: code.briefs,
                containers: code.containers,
            })
            .collect()
    };
    let by_project = |detail: &super::facts::Detail| {
        let project = |(id, counts): &(String, StateCounts)| ProjectShown {
            project_id: id.clone(),
            project: projects.alias(id).map(str::to_owned),
            briefs: counts.total(),
            by_state: by_state(counts),
        };
        detail.projects.iter().map(project).collect()
    };
    let document = Document {
        at: iso(facts.now_ms),
        worker: facts.worker,
        holds: facts.holds.iter().map(|(hold, waiting)| held(hold, *waiting, projects)).collect(),
        no_answer: NoAnswer {
            unknown: facts.silence.unknown,
            unknown_since: facts.silence.unknown_since.map(iso),
            unsent: facts.silence.unsent,
            unsent_since: facts.silence.unsent_since.map(iso),
        },
        parked: Parked { count: facts.parked.0, first: parked.collect() },
        outbox: Outbox {
            pending: facts.outbox_pending,
            parked: facts.outbox_parked,
            late: facts.late.iter().map(late).collect(),
        },
        pace: pace(facts),
        batches: facts.batches.iter().map(|one| batch(one, facts)).collect(),
        more_batches: facts.more_batches,
        codes: facts.detail.as_ref().map(codes),
        projects: facts.detail.as_ref().map(by_project),
    };
    Ok(serde_json::to_value(document)?)
}

fn held(hold: &Hold, waiting: i64, projects: Projects<'_>) -> HoldShown {
    let target = match &hold.scope {
        HoldScope::Account => "",
        HoldScope::Project(id) => id,
        HoldScope::Batch { batch, .. } => batch,
    };
    let project = match &hold.scope {
        HoldScope::Project(id) => projects.alias(id),
        HoldScope::Batch { project, .. } => project.as_deref().map(|id| projects.name(id)),
        HoldScope::Account => None,
    };
    HoldShown {
        scope: hold.scope.word(),
        target: some(target),
        project: project.map(str::to_owned),
        reason: hold.reason.clone(),
        detail: hold.detail.clone(),
        required: hold.required,
        available: hold.available,
        set_by: if hold.by_api { "api" } else { "operator" },
        since: iso(hold.since_ms),
        easing: hold.easing,
        probe_at: hold.probe_ms.map(iso),
        waiting,
    }
}

fn late(late: &LateRows) -> Late {
    Late {
        channel: late.channel.clone(),
        kind: late.kind.clone(),
        input: late.input.clone(),
        count: late.n,
        oldest_at: iso(late.oldest_ms),
        attempts: late.attempts,
    }
}

fn pace(facts: &Facts) -> PaceShown {
    let pace = &facts.pace;
    #[expect(clippy::cast_precision_loss, reason = "a time span in milliseconds")]
    let seconds = |ms: i64| ms as f64 / 1_000.0;
    PaceShown {
        window_seconds: pace.window().as_secs(),
        starts: pace.starts,
        starts_limit: pace.limit(|numbers| numbers.starts),
        reads: pace.reads,
        reads_limit: pace.limit(|numbers| numbers.reads),
        result_known_after_seconds: pace.known_after_ms.map(seconds),
    }
}

fn batch(one: &BatchFacts, facts: &Facts) -> BatchShown {
    let left = Left::of(one, facts.pace.numbers);
    BatchShown {
        batch: some(&one.batch),
        briefs: one.counts.total(),
        batch_size: one.size,
        by_state: by_state(&one.counts),
        ended: left == Left::Done,
        credits_estimate: one.credits,
        left_seconds: left.seconds(),
    }
}

fn by_state(counts: &StateCounts) -> Map<String, Value> {
    BriefState::ALL.into_iter().map(|state| (state.word().to_owned(), counts.get(state).into())).collect()
}

/// '' is how the ledger says "none".
fn some(text: &str) -> Option<String> {
    Some(text).filter(|text| !text.is_empty()).map(str::to_owned)
}
