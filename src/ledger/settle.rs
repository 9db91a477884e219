//! How running jobs end: containers that have ended become records, in the transaction that says so.

use futures::future::BoxFuture;
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use super::ours::OurFailure;
use super::outbox::{ContainerPart, end_run, insert_container_record};
use super::rows::{BriefRow, RunRow, follow_jobs, note};
use super::writer::Write;
use super::{Ledger, LedgerError};
use crate::job::BriefState;
use crate::record::{RecordError, RecordType};

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

    const fn record_type(self) -> RecordType {
        match self {
            Self::Completed => RecordType::ContainerCompleted,
            Self::Failed => RecordType::ContainerFailed,
            Self::Canceled => RecordType::ContainerCanceled,
        }
    }
}

/// One container that has ended.
#[derive(Clone, Debug)]
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
}

impl Write for Settle {
    type Out = Settled;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Settled, LedgerError>> {
        Box::pin(async move {
            let mut settled = Settled::default();
            for end in &self.ends {
                settled.newly.push(finish_container(db, self.job, end, self.now_ms).await?);
            }
            if self.close {
                settled.missing = close(db, self.job, self.now_ms).await?;
            }
            settled.over = JobRow::running(db, self.job).await?.is_none();
            Ok(settled)
        })
    }

    fn rows(&self) -> usize {
        self.ends.len().max(1)
    }
}

#[derive(sqlx::FromRow)]
struct JobRow {
    brief: i64,
    run: i64,
    kind: String,
    api_job_id: Option<String>,
    format: Option<String>,
}

impl JobRow {
    async fn running(db: &mut SqliteConnection, job: i64) -> Result<Option<Self>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT brief, run, kind, api_job_id, format FROM job WHERE id = $1 AND state = 'running'",
        )
        .bind(job)
        .fetch_optional(db)
        .await?)
    }
}

/// Settles one container of a running job; `false`: it was settled before.
pub(super) async fn finish_container(
    db: &mut SqliteConnection,
    job: i64,
    end: &ContainerEnd,
    now_ms: i64,
) -> Result<bool, LedgerError> {
    let Some(row) = JobRow::running(db, job).await? else { return Ok(false) };
    let variant: Option<i64> = sqlx::query_scalar(
        "UPDATE container SET status = $3, record = coalesce($4, record), ended_at = $5 \
         WHERE job = $1 AND id = $2 AND status = 'running' RETURNING variant",
    )
    .bind(job)
    .bind(&end.container)
    .bind(end.ended.word())
    .bind(&end.record)
    .bind(end.ended_ms)
    .fetch_optional(&mut *db)
    .await?;
    let Some(variant) = variant else { return Ok(false) };
    let brief = BriefRow::by_id(db, row.brief).await?;
    let run = RunRow::get(db, row.brief, row.run).await?;
    let part = ContainerPart {
        kind: end.ended.record_type(),
        variant,
        variant_count: run.variant_count.max(run.owed),
        regenerated: (row.kind == "regenerate").then_some(end.container.as_str()),
        container_id: &end.container,
        job_id: row.api_job_id.as_deref(),
        format: end.format.as_deref().or(row.format.as_deref()),
        record: end.record.as_deref(),
        error: end.error.as_ref(),
        credits_estimate: end.credits_estimate,
        ended_ms: end.ended_ms,
    };
    insert_container_record(db, &brief, &run, &part, now_ms).await?;
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
    let (running, completed, canceled, all): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE status = 'running'), count(*) FILTER (WHERE status = 'completed'), \
         count(*) FILTER (WHERE status = 'canceled'), count(*) FROM container WHERE job = $1",
    )
    .bind(job)
    .fetch_one(&mut *db)
    .await?;
    let run = RunRow::get(db, row.brief, row.run).await?;
    if running > 0 || (row.kind == "generate" && run.made < run.owed) {
        return Ok(());
    }
    let state = if completed > 0 {
        "completed"
    } else if canceled == all {
        "canceled"
    } else {
        "failed"
    };
    sqlx::query("UPDATE job SET state = $2, finished_at = $3 WHERE id = $1 AND state = 'running'")
        .bind(job)
        .bind(state)
        .bind(now_ms)
        .execute(&mut *db)
        .await?;
    note(db, (row.brief, row.run), now_ms, "job ended", &json!({ "job": job, "state": state })).await?;
    finish_run_if_complete(db, (row.brief, row.run), now_ms).await
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
    let (completed, canceled, all, refused): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'canceled'), count(*), \
         (SELECT count(*) FROM job WHERE brief = $1 AND run = $2 AND state = 'rejected') FROM container WHERE brief = $1",
    )
    .bind(at.0)
    .bind(at.1)
    .fetch_one(&mut *db)
    .await?;
    let state = if completed == all {
        BriefState::Completed
    } else if completed > 0 {
        BriefState::Partial
    } else if canceled == all && refused == 0 {
        BriefState::Canceled
    } else {
        BriefState::Failed
    };
    end_run(db, at, state, now_ms).await
}

/// Every promised container that the API never named is missing.
async fn close(db: &mut SqliteConnection, job: i64, now_ms: i64) -> Result<usize, LedgerError> {
    let Some(row) = JobRow::running(db, job).await? else { return Ok(0) };
    let run = RunRow::get(db, row.brief, row.run).await?;
    let brief = BriefRow::by_id(db, row.brief).await?;
    let named: Vec<i64> = sqlx::query_scalar("SELECT variant FROM container WHERE brief = $1")
        .bind(row.brief)
        .fetch_all(&mut *db)
        .await?;
    let error = OurFailure::ContainerMissing.error();
    let mut missing = 0;
    if row.kind == "generate" {
        for variant in (1..=run.owed).filter(|variant| !named.contains(variant)) {
            sqlx::query(
                "INSERT INTO container (brief, variant, id, job, run, status, known_at, ended_at) VALUES ($1, $2, '', $3, $4, 'failed', $5, $5)",
            )
            .bind(row.brief)
            .bind(variant)
            .bind(job)
            .bind(row.run)
            .bind(now_ms)
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

/// A job that is being followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// The ledger's number of the job.
    pub job: i64,
    /// Its brief.
    pub brief: i64,
    /// The brief as people name it.
    pub label: String,
    /// `generate` or `regenerate`.
    pub kind: String,
    /// The API's job id; `None` when only its container is known.
    pub api_job_id: Option<String>,
    /// The project.
    pub project_id: String,
    /// When the API accepted it, milliseconds since 1970.
    pub accepted_ms: i64,
    /// What was asked for or became of it.
    pub format: Option<String>,
    /// Containers asked for.
    pub variant_count: i64,
    /// For a regenerate: `completedAt` and `failedAt` before its first POST, as JSON; `None` if found running.
    pub seen_before: Option<String>,
    /// Its containers that have not ended, by the API's ids.
    pub open: Vec<String>,
}

#[derive(sqlx::FromRow)]
struct RunningRow {
    id: i64,
    brief: i64,
    project_id: String,
    batch_id: String,
    brief_id: String,
    kind: String,
    api_job_id: Option<String>,
    accepted_at: Option<i64>,
    format: Option<String>,
    variant_count: i64,
    seen_before: Option<String>,
    open: Option<String>,
}

impl Ledger {
    /// Running jobs of this input, oldest first, up to `limit` after the one that was accepted at this time (milliseconds
    /// since 1970) and has this number.
    pub async fn running(
        &self,
        (accepted_ms, job): (i64, i64),
        limit: u32,
    ) -> Result<Vec<Running>, LedgerError> {
        let rows: Vec<RunningRow> = sqlx::query_as(
            "SELECT j.id, j.brief, j.project_id, j.batch_id, b.brief_id, j.kind, j.api_job_id, j.accepted_at, \
             coalesce(j.format, r.format) AS format, r.variant_count, j.seen_before, \
             (SELECT group_concat(c.id, char(10)) FROM container c WHERE c.job = j.id AND c.status = 'running') AS open \
             FROM job j JOIN brief b ON b.id = j.brief JOIN run r ON r.brief = j.brief AND r.run = j.run \
             WHERE j.state = 'running' AND j.input = $1 AND j.accepted_at >= $2 AND (j.accepted_at > $2 OR j.id > $3) \
             ORDER BY j.accepted_at, j.id LIMIT $4",
        )
        .bind(self.input().word())
        .bind(accepted_ms)
        .bind(job)
        .bind(limit)
        .fetch_all(&self.reader().pool)
        .await?;
        Ok(rows.into_iter().map(RunningRow::running).collect())
    }
}

impl RunningRow {
    fn running(self) -> Running {
        Running {
            job: self.id,
            brief: self.brief,
            label: format!("{}/{}/{}", self.project_id, self.batch_id, self.brief_id),
            kind: self.kind,
            api_job_id: self.api_job_id,
            project_id: self.project_id,
            accepted_ms: self.accepted_at.unwrap_or(0),
            format: self.format,
            variant_count: self.variant_count,
            seen_before: self.seen_before,
            open: self
                .open
                .unwrap_or_default()
                .split('\n')
                .filter(|id| !id.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
        }
    }
}
