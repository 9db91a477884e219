//! How running jobs end: containers that have ended become records, in the transaction that says so.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use super::LedgerError;
use super::ours::OurFailure;
use super::outbox::{ContainerPart, end_run, insert_container_record};
use super::rows::{At, BriefRow, RunRow, follow_jobs, note};
use super::settle_many::settle_usual;
use super::writer::Write;
use crate::job::BriefState;
use crate::record::{RecordError, RecordType};

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// With a result.
    Completed,
    /// Without one.
    Failed,
    /// Because somebody asked.
    Canceled,
}

impl Ended {
    /// The ledger's and the metric's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    pub(super) const fn record_type(self) -> RecordType {
        match self {
            Self::Completed => RecordType::ContainerCompleted,
            Self::Failed => RecordType::ContainerFailed,
            Self::Canceled => RecordType::ContainerCanceled,
        }
    }
}

/// One container that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerEnd {
    /// The container, as the ledger knows it.
    pub container: String,
    /// How.
    pub ended: Ended,
    /// The API's record verbatim; `None` if there is none to be had.
    pub record: Option<String>,
    /// Why, unless it completed.
    pub error: Option<RecordError>,
    /// What `auto` became, when told.
    pub format: Option<String>,
    /// When it ended at the API, milliseconds since 1970; our own time where the API gives none.
    pub ended_ms: i64,
    /// Credits it is thought to have cost.
    pub credits_estimate: Option<u64>,
}

/// Settles what was found out about one running job.
#[derive(Clone, Debug)]
pub struct Settle {
    /// The job.
    pub job: i64,
    /// Containers that have ended.
    pub ends: Vec<ContainerEnd>,
    /// The job is over and every container it named has ended: what else was promised never came to be.
    pub close: bool,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// What a settlement changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// For each of the ends: it was settled now, and not before.
    pub newly: Vec<bool>,
    /// Promised containers that never came to be.
    pub missing: usize,
    /// The job has ended: there is nothing left to follow.
    pub over: bool,
    /// The brief as people name it, and the format that was asked for or became of it.
    pub of: Of,
}

/// Whose containers were settled, for logs and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Of {
    /// `project/batch/brief`
    pub brief: String,
    /// What was asked for or became of it, when known.
    pub format: Option<String>,
    /// W3C trace context of its message.
    pub traceparent: Option<String>,
}

/// Project, batch and brief; format; `traceparent`.
type Named = (String, String, String, Option<String>, Option<String>);

impl Of {
    /// Whose job this is; nobody's, if there is no such job.
    pub(super) async fn job(db: &mut SqliteConnection, job: i64) -> Result<Self, LedgerError> {
        let found: Option<Named> = sqlx::query_as(
            "SELECT b.project_id, b.batch_id, b.brief_id, coalesce(j.format, r.format), r.traceparent FROM job j \
             JOIN brief b ON b.id = j.brief JOIN run r ON r.brief = j.brief AND r.run = j.run WHERE j.id = $1",
        )
        .bind(job)
        .fetch_optional(db)
        .await?;
        let of = |(project, batch, brief, format, traceparent)| Self {
            brief: format!("{project}/{batch}/{brief}"),
            format,
            traceparent,
        };
        Ok(found.map(of).unwrap_or_default())
    }
}

impl Write for Settle {
    type Out = Settled;
    const TOGETHER: bool = true;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Settled, LedgerError>> {
        Box::pin(async move {
            if let Some(Some(settled)) = settle_usual(db, &[self]).await?.pop() {
                return Ok(settled);
            }
            let mut settled = Settled { of: Of::job(db, self.job).await?, ..Settled::default() };
            for end in &self.ends {
                settled.newly.push(finish_container(db, self.job, end, self.now_ms).await?);
            }
            if self.close {
                settled.missing = close(db, self.job, Unnamed::Missing, self.now_ms).await?;
            }
            settled.over = JobRow::running(db, self.job).await?.is_none();
            Ok(settled)
        })
    }

    fn apply_together<'a>(
        writes: &'a [&'a Self],
        db: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<Vec<Option<Settled>>, LedgerError>> {
        Box::pin(settle_usual(db, writes))
    }

    fn rows(&self) -> usize {
        self.ends.len().max(1)
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct JobRow {
    pub brief: i64,
    pub run: i64,
    pub kind: String,
    pub api_job_id: Option<String>,
    /// What the API made of `auto`, when told.
    #[sqlx(rename = "became")]
    pub format: Option<String>,
}

impl JobRow {
    pub(super) async fn running(db: &mut SqliteConnection, job: i64) -> Result<Option<Self>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT brief, run, kind, api_job_id, format AS became FROM job WHERE id = $1 AND state = 'running'",
        )
        .bind(job)
        .fetch_optional(db)
        .await?)
    }

    /// Its brief's run.
    pub(super) fn at(&self) -> At {
        (self.brief, self.run)
    }

    /// What the record of a container that has ended says.
    pub(super) fn part<'a>(&'a self, end: &'a ContainerEnd, (variant, of): (i64, i64)) -> ContainerPart<'a> {
        ContainerPart {
            kind: end.ended.record_type(),
            variant,
            variant_count: of,
            regenerated: (self.kind == "regenerate").then_some(end.container.as_str()),
            container_id: &end.container,
            job_id: self.api_job_id.as_deref(),
            format: end.format.as_deref().or(self.format.as_deref()),
            record: end.record.as_deref(),
            error: end.error.as_ref(),
            credits_estimate: end.credits_estimate,
            ended_ms: end.ended_ms,
        }
    }
}

/// Settles one container of a running job; `false`: it was settled before.
pub(super) async fn finish_container(
    db: &mut SqliteConnection,
    job: i64,
    end: &ContainerEnd,
    now_ms: i64,
) -> Result<bool, LedgerError> {
    finish_container_as(db, job, (end, end.ended.word()), now_ms).await
}

/// The same, with the status that the ledger keeps for it.
pub(super) async fn finish_container_as(
    db: &mut SqliteConnection,
    job: i64,
    (end, status): (&ContainerEnd, &str),
    now_ms: i64,
) -> Result<bool, LedgerError> {
    let Some(row) = JobRow::running(db, job).await? else { return Ok(false) };
    let variant: Option<i64> = sqlx::query_scalar(
        "UPDATE container SET status = $3, record = coalesce($4, record), ended_at = $5 \
         WHERE job = $1 AND id = $2 AND status = 'running' RETURNING variant",
    )
    .bind(job)
    .bind(&end.container)
    .bind(status)
    .bind(&end.record)
    .bind(end.ended_ms)
    .fetch_optional(&mut *db)
    .await?;
    let Some(variant) = variant else { return Ok(false) };
    let brief = BriefRow::by_id(db, row.brief).await?;
    let run = RunRow::get(db, row.brief, row.run).await?;
    let variants = (variant, run.variant_count.max(run.owed));
    insert_container_record(db, &brief, &run, &row.part(end, variants), now_ms).await?;
    finish_job_if_complete(db, job, &row, now_ms).await?;
    Ok(true)
}

/// Ends the job once nothing of it is running and nothing of its run is owed any more.
async fn finish_job_if_complete(
    db: &mut SqliteConnection,
    job: i64,
    row: &JobRow,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let containers: Vec<String> = sqlx::query_scalar("SELECT status FROM container WHERE job = $1")
        .bind(job)
        .fetch_all(&mut *db)
        .await?;
    let run = RunRow::get(db, row.brief, row.run).await?;
    let Some(state) = ContainerStates::count(containers).job_state() else { return Ok(()) };
    if row.kind == "generate" && run.made < run.owed {
        return Ok(());
    }
    sqlx::query("UPDATE job SET state = $2, finished_at = $3 WHERE id = $1 AND state = 'running'")
        .bind(job)
        .bind(state)
        .bind(now_ms)
        .execute(&mut *db)
        .await?;
    note(db, (row.brief, row.run), now_ms, "job ended", &json!({ "job": job, "state": state })).await?;
    finish_run_if_complete(db, (row.brief, row.run), now_ms).await
}

/// How many containers are in which state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ContainerStates {
    running: usize,
    completed: usize,
    canceled: usize,
    all: usize,
}

impl ContainerStates {
    pub(super) fn count(states: impl IntoIterator<Item = String>) -> Self {
        let mut counted = Self::default();
        for state in states {
            counted.all += 1;
            counted.running += usize::from(state == "running");
            counted.completed += usize::from(state == Ended::Completed.word());
            counted.canceled += usize::from(state == Ended::Canceled.word());
        }
        counted
    }

    /// How a job with these containers has ended; `None`: it has not.
    pub(super) fn job_state(self) -> Option<&'static str> {
        if self.running > 0 {
            None
        } else if self.completed > 0 {
            Some("completed")
        } else if self.canceled == self.all {
            Some("canceled")
        } else {
            Some("failed")
        }
    }

    /// The state of a brief whose containers have all ended as these have.
    pub(super) fn brief_state(self) -> BriefState {
        if self.completed == self.all {
            BriefState::Completed
        } else if self.completed > 0 {
            BriefState::Partial
        } else if self.canceled == self.all {
            BriefState::Canceled
        } else {
            BriefState::Failed
        }
    }
}

/// Ends the run once it has made every record it owes; the brief's state follows from all its containers.
pub(super) async fn finish_run_if_complete(
    db: &mut SqliteConnection,
    at: (i64, i64),
    now_ms: i64,
) -> Result<(), LedgerError> {
    let run = RunRow::get(db, at.0, at.1).await?;
    if run.made < run.owed {
        return follow_jobs(db, at, now_ms).await;
    }
    let state = state_of_containers(db, at).await?;
    end_run(db, at, state, now_ms).await
}

/// The state that follows from a brief's containers once all of them have ended. One whose regeneration was canceled
/// before it started keeps its old end, and counts as canceled.
pub(super) async fn state_of_containers(
    db: &mut SqliteConnection,
    at: (i64, i64),
) -> Result<BriefState, LedgerError> {
    let (completed, canceled, all, refused, unmended): (i64, i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'canceled' OR EXISTS \
         (SELECT 1 FROM job j WHERE j.brief = $1 AND j.run = $2 AND j.state = 'canceled' AND j.variant = container.variant)), \
         count(*), (SELECT count(*) FROM job WHERE brief = $1 AND run = $2 AND state = 'rejected'), \
         (SELECT count(*) FROM job WHERE brief = $1 AND run = $2 AND state = 'rejected' AND rejected) \
         FROM container WHERE brief = $1",
    )
    .bind(at.0)
    .bind(at.1)
    .fetch_one(&mut *db)
    .await?;
    let count = |n: i64| usize::try_from(n).unwrap_or(0);
    let (completed, canceled, all) = (count(completed), count(canceled), count(all));
    let state = ContainerStates { running: 0, completed, canceled, all }.brief_state();
    Ok(if state == BriefState::Completed && unmended > 0 {
        // What a reviewer rejected and the API would not make anew has completed once, but not in this run.
        if completed > 0 { BriefState::Partial } else { BriefState::Failed }
    } else if state == BriefState::Canceled && refused > 0 {
        BriefState::Failed
    } else {
        state
    })
}

/// What becomes of promised containers that the API never named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unnamed {
    /// The job is over: they never came to be.
    Missing,
    /// The job was given up: they may still come.
    Lost,
}

/// Ends every promised container that the API never named, and with it the job.
pub(super) async fn close(
    db: &mut SqliteConnection,
    job: i64,
    unnamed: Unnamed,
    now_ms: i64,
) -> Result<usize, LedgerError> {
    let Some(row) = JobRow::running(db, job).await? else { return Ok(0) };
    let run = RunRow::get(db, row.brief, row.run).await?;
    let brief = BriefRow::by_id(db, row.brief).await?;
    let named: Vec<i64> = sqlx::query_scalar("SELECT variant FROM container WHERE brief = $1")
        .bind(row.brief)
        .fetch_all(&mut *db)
        .await?;
    let (status, error) = match unnamed {
        Unnamed::Missing => ("failed", OurFailure::ContainerMissing.error()),
        Unnamed::Lost => ("lost", OurFailure::GenerationLost.error()),
    };
    let mut missing = 0;
    if row.kind == "generate" {
        for variant in (1..=run.owed).filter(|variant| !named.contains(variant)) {
            sqlx::query(
                "INSERT INTO container (brief, variant, id, job, run, status, known_at, ended_at) VALUES ($1, $2, '', $3, $4, $6, $5, $5)",
            )
            .bind(row.brief)
            .bind(variant)
            .bind(job)
            .bind(row.run)
            .bind(now_ms)
            .bind(status)
            .execute(&mut *db)
            .await?;
            let part = ContainerPart {
                kind: RecordType::ContainerFailed,
                variant,
                variant_count: run.owed,
                regenerated: None,
                container_id: "",
                job_id: row.api_job_id.as_deref(),
                format: row.format.as_deref(),
                record: None,
                error: Some(&error),
                credits_estimate: None,
                ended_ms: now_ms,
            };
            insert_container_record(db, &brief, &run, &part, now_ms).await?;
            missing += 1;
        }
    }
    finish_job_if_complete(db, job, &row, now_ms).await?;
    Ok(missing)
}
