//! Everything that is stored about one brief.

use sqlx::sqlite::SqliteConnection;

use super::super::{LedgerError, Reader};

/// Rows of one kind that a story shows at most: a brief that was delivered a million times has a long history.
const ROWS_MAX: i64 = 10_000;

/// A brief that goes by an id.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct BriefFound {
    /// The ledger's number of it.
    pub id: i64,
    /// The project.
    pub project_id: String,
    /// The batch, or ''.
    pub batch_id: String,
    /// Its id within project and batch.
    pub brief_id: String,
    /// Whose brief: `queue`, or `file:` and a name.
    pub input: String,
    /// The current run.
    pub run: i64,
    /// Its stored state.
    pub state: String,
    /// When it first came, milliseconds since 1970.
    pub received_at: i64,
    /// When its state changed last, milliseconds since 1970.
    pub changed_at: i64,
    /// When all but its identity was dropped, milliseconds since 1970.
    pub pruned_at: Option<i64>,
}

/// One run of a brief.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RunStory {
    /// Its number, from 1.
    pub run: i64,
    /// Of its content.
    pub fingerprint: String,
    /// Its state; also `superseded` and `remembered`.
    pub state: String,
    /// What was asked for.
    pub format: Option<String>,
    /// Containers asked for.
    pub variant_count: i64,
    /// 0 to 9, higher first.
    pub priority: i64,
    /// No POST before, milliseconds since 1970.
    pub not_before: Option<i64>,
    /// Fails if no POST has left by then, milliseconds since 1970.
    pub expires_at: Option<i64>,
    /// As received.
    pub correlation_id: Option<String>,
    /// When it was asked for, milliseconds since 1970.
    pub received_at: i64,
    /// When its first POST left, milliseconds since 1970.
    pub submitted_at: Option<i64>,
    /// When it ended, milliseconds since 1970.
    pub finished_at: Option<i64>,
    /// Records it promised.
    pub owed: i64,
    /// Records it has made.
    pub made: i64,
}

/// One job of a brief.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct JobStory {
    /// The ledger's number of it.
    pub id: i64,
    /// Of which run.
    pub run: i64,
    /// `generate` or `regenerate`.
    pub kind: String,
    /// Its state.
    pub state: String,
    /// `Idempotency-Key` of each of its POSTs.
    pub idempotency_key: String,
    /// Its body, byte for byte.
    pub body: String,
    /// Our container id in the body.
    pub alias: Option<String>,
    /// The API's job id.
    pub api_job_id: Option<String>,
    /// POSTs.
    pub attempts: i64,
    /// When it may be tried next, milliseconds since 1970.
    pub due_at: i64,
    /// When the first attempt of unknown outcome was made, milliseconds since 1970.
    pub unknown_first_at: Option<i64>,
    /// When the API accepted it, milliseconds since 1970.
    pub accepted_at: Option<i64>,
    /// When it ended, milliseconds since 1970.
    pub finished_at: Option<i64>,
    /// What ended or parked it, as JSON.
    pub error: Option<String>,
}

/// One container of a brief.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ContainerStory {
    /// Which variant, from 1.
    pub variant: i64,
    /// As the API answered it; '' if it never did.
    pub id: String,
    /// Its latest run.
    pub run: i64,
    /// Its status.
    pub status: String,
    /// When the API named it, milliseconds since 1970.
    pub known_at: i64,
    /// When it ended at the API, milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// The API's record, verbatim.
    pub record: Option<String>,
}

/// A hold that stopped the brief's starts.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct HoldStory {
    /// `account`, `project`, `batch`.
    pub scope: String,
    /// Its reason code.
    pub reason: String,
    /// More, for people.
    pub detail: String,
    /// `api` or `operator`.
    pub set_by: String,
    /// From when, milliseconds since 1970.
    pub since: i64,
    /// Until when, milliseconds since 1970; `None`: it is in force.
    pub lifted_at: Option<i64>,
}

/// One record of a brief, without its body.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RecordStory {
    /// The ledger's number of it.
    pub id: i64,
    /// AMQP `message_id`.
    pub message_id: String,
    /// Its type.
    pub kind: String,
    /// Of which run.
    pub run: Option<i64>,
    /// Of which variant; `None`: of the brief.
    pub variant: Option<i64>,
    /// `pending`, `sent`, `dropped`, `parked`.
    pub state: String,
    /// How often it was confirmed.
    pub sends: i64,
    /// When it was made, milliseconds since 1970.
    pub created_at: i64,
    /// When it was last confirmed, milliseconds since 1970.
    pub sent_at: Option<i64>,
    /// The error code it carries.
    pub code: Option<String>,
}

/// One line of what happened.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct HistoryLine {
    /// In which run.
    pub run: i64,
    /// When, milliseconds since 1970.
    pub at: i64,
    /// What.
    pub what: String,
    /// More, as JSON.
    pub detail: String,
}

/// Everything about one brief, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The brief.
    pub brief: BriefFound,
    /// Its runs, first to last.
    pub runs: Vec<RunStory>,
    /// Its jobs, first to last.
    pub jobs: Vec<JobStory>,
    /// Its containers, by variant.
    pub containers: Vec<ContainerStory>,
    /// Its records, in the order they were made.
    pub records: Vec<RecordStory>,
    /// Holds that kept it waiting, oldest first.
    pub holds: Vec<HoldStory>,
    /// What happened, in order.
    pub history: Vec<HistoryLine>,
}

/// Those that stop a project and batch, by their scope, and that were in force after a time.
const HOLDS: &str = "SELECT scope, reason, detail, set_by, since, lifted_at FROM hold_past \
     WHERE lifted_at > $3 AND (scope = 'account' OR (scope = 'project' AND project = $1) \
     OR (scope = 'batch' AND batch = $2 AND project IN ('', $1))) \
     UNION ALL SELECT scope, reason, detail, set_by, since, NULL FROM hold WHERE scope = 'account' \
     OR (scope = 'project' AND project = $1) OR (scope = 'batch' AND batch = $2 AND project IN ('', $1)) \
     ORDER BY 5 LIMIT $4";

impl Reader {
    /// Briefs that go by `brief_id`, in the order they came, up to `limit`.
    pub async fn find_briefs(
        &self,
        brief_id: &str,
        (batch, project): (Option<&str>, Option<&str>),
        limit: u32,
    ) -> Result<Vec<BriefFound>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT id, project_id, batch_id, brief_id, input, run, state, received_at, changed_at, pruned_at FROM brief \
             WHERE brief_id = $1 AND ($2 IS NULL OR batch_id = $2) AND ($3 IS NULL OR project_id = $3) ORDER BY id LIMIT $4",
        )
        .bind(brief_id)
        .bind(batch)
        .bind(project)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?)
    }

    /// Everything about brief `id` (the ledger's number), in one snapshot.
    pub async fn story(&self, id: i64) -> Result<Story, LedgerError> {
        let mut snapshot = self.pool.begin().await?;
        let brief: BriefFound = sqlx::query_as(
            "SELECT id, project_id, batch_id, brief_id, input, run, state, received_at, changed_at, pruned_at FROM brief WHERE id = $1",
        )
        .bind(id)
        .fetch_one(&mut *snapshot)
        .await?;
        let runs: Vec<RunStory> = sqlx::query_as(
            "SELECT run, fingerprint, state, format, variant_count, priority, not_before, expires_at, correlation_id, \
             received_at, submitted_at, finished_at, owed, made FROM run WHERE brief = $1 ORDER BY run LIMIT $2",
        )
        .bind(id)
        .bind(ROWS_MAX)
        .fetch_all(&mut *snapshot)
        .await?;
        let jobs = sqlx::query_as(
            "SELECT id, run, kind, state, idempotency_key, body, alias, api_job_id, attempts, due_at, unknown_first_at, \
             accepted_at, finished_at, error FROM job WHERE brief = $1 ORDER BY id LIMIT $2",
        )
        .bind(id)
        .bind(ROWS_MAX)
        .fetch_all(&mut *snapshot)
        .await?;
        let containers = sqlx::query_as(
            "SELECT variant, id, run, status, known_at, ended_at, record FROM container WHERE brief = $1 ORDER BY variant",
        )
        .bind(id)
        .fetch_all(&mut *snapshot)
        .await?;
        let records = sqlx::query_as(
            "SELECT id, message_id, kind, run, variant, state, sends, created_at, sent_at, \
             json_extract(CAST(body AS TEXT), '$.error.code') AS code \
             FROM outbox WHERE brief = $1 AND channel = 'record' ORDER BY id LIMIT $2",
        )
        .bind(id)
        .bind(ROWS_MAX)
        .fetch_all(&mut *snapshot)
        .await?;
        let history =
            sqlx::query_as("SELECT run, at, what, detail FROM history WHERE brief = $1 ORDER BY id LIMIT $2")
                .bind(id)
                .bind(ROWS_MAX)
                .fetch_all(&mut *snapshot)
                .await?;
        let holds = holds(&mut snapshot, &brief, &runs).await?;
        Ok(Story { brief, runs, jobs, containers, records, holds, history })
    }
}

/// The holds in force while a run of the brief waited for its first POST.
async fn holds(
    db: &mut SqliteConnection,
    brief: &BriefFound,
    runs: &[RunStory],
) -> Result<Vec<HoldStory>, LedgerError> {
    let found: Vec<HoldStory> = sqlx::query_as(HOLDS)
        .bind(&brief.project_id)
        .bind(&brief.batch_id)
        .bind(brief.received_at)
        .bind(ROWS_MAX)
        .fetch_all(db)
        .await?;
    let kept_waiting = |hold: &HoldStory| {
        runs.iter().any(|run| {
            let waited_until = run.submitted_at.or(run.finished_at).unwrap_or(i64::MAX);
            hold.since < waited_until && hold.lifted_at.unwrap_or(i64::MAX) > run.received_at
        })
    };
    Ok(found.into_iter().filter(kept_waiting).collect())
}
