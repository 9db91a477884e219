//! Canceling: the wish is stored with each job, in bounded steps, and carried out whatever happens meanwhile.
//!
//! - `ready`: no POST has left, so it ends here and now, free.
//! - `submitting`: a POST may have left. It is never ended here: the wish waits until its outcome is known, and is then
//!   carried out in the very transaction that stores the outcome (back to `ready`: ended; accepted: the API is asked).
//! - `running`: the API is asked, and the job is followed to the API's own end. What completed all the same is published.
//! - `parked`: nobody knows whether it was bought; a person decides first. Untouched.
//!
//! A rerun that was remembered for a canceled run is dropped with the wish: it must not start by itself.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use super::ours::OurFailure;
use super::outbox::drop_remembered;
use super::read::StateCounts;
use super::rows::note;
use super::unmade::cancel_ready;
use super::writer::Write;
use super::{Ledger, LedgerError, Reader};
use crate::job::BriefState;
use crate::record::RecordError;

/// Why a remembered rerun is dropped.
pub(super) const CANCELED: &str = "somebody canceled the brief";
/// Briefs that one step looks at,
const STEP: u32 = 200;
/// and how long it may take: nobody else can write meanwhile.
const STEP_TIME: Duration = Duration::from_millis(20);

/// What is canceled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CancelOf {
    /// What is open of a batch.
    #[serde(rename_all = "camelCase")]
    Batch {
        /// The batch, or ''.
        batch: String,
        /// Only in this project.
        project: Option<String>,
        /// The newest brief when it was asked for, by the ledger's number: what comes later is not meant.
        up_to: i64,
    },
    /// One brief, by the ledger's number.
    Brief(i64),
}

/// Stores the wish for the next briefs, and ends what was not started: one bounded step.
#[derive(Clone, Debug)]
pub struct Cancel {
    /// The request that asks for it.
    pub request: i64,
    /// Of what.
    pub of: CancelOf,
    /// [`CancelStep::next`] of the step before; 0 first.
    pub after: i64,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CancelStep {
    /// Where the next one goes on; `None`: that was the last.
    pub next: Option<i64>,
    /// Failures that were recorded: the project, and the error.
    pub failed: Vec<(String, RecordError)>,
}

#[derive(sqlx::FromRow)]
struct OpenBrief {
    id: i64,
    run: i64,
    project_id: String,
}

impl Write for Cancel {
    type Out = CancelStep;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<CancelStep, LedgerError>> {
        Box::pin(async move {
            let began = Instant::now();
            let briefs = self.briefs(db).await?;
            let is_last = u32::try_from(briefs.len()).is_ok_and(|n| n < STEP);
            let mut step = CancelStep { next: None, failed: Vec::new() };
            for brief in &briefs {
                let failed = self.cancel(db, brief).await?;
                step.failed.extend(failed.into_iter().map(|error| (brief.project_id.clone(), error)));
                step.next = Some(brief.id);
                if began.elapsed() >= STEP_TIME {
                    return Ok(step);
                }
            }
            step.next = step.next.filter(|_| !is_last);
            Ok(step)
        })
    }
}

/// Along the index of the batch. Those that have ended are passed over without being written.
pub(super) const OPEN_OF_BATCH: &str = "SELECT id, run, project_id FROM brief WHERE batch_id = $1 AND id > $2 AND id <= $4 \
    AND ($3 IS NULL OR project_id = $3) AND state NOT IN ('completed', 'partial', 'failed', 'canceled') ORDER BY id LIMIT $5";

impl Cancel {
    async fn briefs(&self, db: &mut SqliteConnection) -> Result<Vec<OpenBrief>, LedgerError> {
        Ok(match &self.of {
            CancelOf::Batch { batch, project, up_to } => {
                sqlx::query_as(OPEN_OF_BATCH)
                    .bind(batch)
                    .bind(self.after)
                    .bind(project)
                    .bind(up_to)
                    .bind(STEP)
                    .fetch_all(db)
                    .await?
            }
            CancelOf::Brief(id) => {
                sqlx::query_as(
                    "SELECT id, run, project_id FROM brief WHERE id = $1 AND id > $2 \
                     AND state NOT IN ('completed', 'partial', 'failed', 'canceled')",
                )
                .bind(id)
                .bind(self.after)
                .fetch_all(db)
                .await?
            }
        })
    }

    /// Returns the failures that were recorded, one for each job that ended here.
    async fn cancel(
        &self,
        db: &mut SqliteConnection,
        brief: &OpenBrief,
    ) -> Result<Vec<RecordError>, LedgerError> {
        let at = (brief.id, brief.run);
        // Asking again for the same request (after a crash) changes nothing that was carried out already.
        let wished: Vec<(i64, String)> = sqlx::query_as(
            "UPDATE job SET canceled_by = $3, cancel_asks = 0, cancel_due_at = CASE WHEN state = 'running' THEN $4 END \
             WHERE brief = $1 AND run = $2 AND state IN ('ready', 'submitting', 'running') \
             AND (canceled_by IS NULL OR canceled_by <> $3) RETURNING id, state",
        )
        .bind(at.0)
        .bind(at.1)
        .bind(self.request)
        .bind(self.now_ms)
        .fetch_all(&mut *db)
        .await?;
        if wished.is_empty() {
            return Ok(Vec::new());
        }
        let (who, reason) = asked_by(db, self.request).await?;
        let jobs: Vec<i64> = wished.iter().map(|(job, _)| *job).collect();
        let said = json!({ "jobs": jobs, "who": who, "reason": reason });
        note(db, at, self.now_ms, "cancel asked for", &said).await?;
        drop_remembered(db, at, CANCELED, self.now_ms).await?;
        let mut failed = Vec::new();
        for (job, _) in wished.iter().filter(|(_, state)| state == "ready") {
            let error = OurFailure::Canceled(who.clone(), reason.clone()).error();
            cancel_ready(db, *job, &error, self.now_ms).await?;
            failed.push(error);
        }
        Ok(failed)
    }
}

/// Ends a job that is `ready` again, if somebody has asked for that meanwhile; whether it did.
pub(super) async fn end_if_wished(
    db: &mut SqliteConnection,
    job: i64,
    now_ms: i64,
) -> Result<bool, LedgerError> {
    let wished: Option<i64> = sqlx::query_scalar(
        "SELECT canceled_by FROM job WHERE id = $1 AND state = 'ready' AND canceled_by IS NOT NULL",
    )
    .bind(job)
    .fetch_optional(&mut *db)
    .await?;
    let Some(request) = wished else { return Ok(false) };
    let (who, reason) = asked_by(db, request).await?;
    cancel_ready(db, job, &OurFailure::Canceled(who, reason).error(), now_ms).await?;
    Ok(true)
}

/// Whether somebody has asked to cancel something of this run.
pub(super) async fn is_wished(db: &mut SqliteConnection, at: (i64, i64)) -> Result<bool, LedgerError> {
    let wished: Option<i64> = sqlx::query_scalar(
        "SELECT canceled_by FROM job WHERE brief = $1 AND run = $2 AND canceled_by IS NOT NULL LIMIT 1",
    )
    .bind(at.0)
    .bind(at.1)
    .fetch_optional(db)
    .await?;
    Ok(wished.is_some())
}

/// Who asked, and why in their words.
async fn asked_by(db: &mut SqliteConnection, request: i64) -> Result<(String, String), LedgerError> {
    let told: Option<(String, String)> = sqlx::query_as("SELECT who, reason FROM request WHERE id = $1")
        .bind(request)
        .fetch_optional(db)
        .await?;
    Ok(told.unwrap_or_else(|| ("somebody".to_owned(), String::new())))
}

/// A running job that the API is to be asked to cancel.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct CancelDue {
    /// The ledger's number of the job.
    pub id: i64,
    /// Its brief's id within project and batch.
    pub brief_id: String,
    /// The batch, or ''.
    pub batch_id: String,
    /// The API's job id; `None`: it never told, so it cannot be asked.
    pub api_job_id: Option<String>,
    /// How often it was asked.
    pub cancel_asks: i64,
}

/// The API's id of job `j`. A rerun that found its container still running follows the job of an earlier run.
macro_rules! job_id_at_api {
    () => {
        "coalesce(j.api_job_id, CASE WHEN j.attempts = 0 THEN \
         (SELECT o.api_job_id FROM job o WHERE o.brief = j.brief AND o.id < j.id AND o.api_job_id IS NOT NULL \
         AND (o.variant IS NULL OR o.variant = j.variant) ORDER BY o.id DESC LIMIT 1) END)"
    };
}

pub(super) const DUE: &str = concat!(
    "SELECT j.id, b.brief_id, j.batch_id, j.cancel_asks, ",
    job_id_at_api!(),
    " AS api_job_id \
    FROM job j JOIN brief b ON b.id = j.brief WHERE j.input = $1 AND j.state = 'running' AND j.cancel_due_at IS NOT NULL \
    AND j.cancel_due_at <= $2 ORDER BY j.cancel_due_at LIMIT $3"
);

pub(super) const NAMELESS: &str = concat!(
    "SELECT count(DISTINCT j.brief) FROM brief b CROSS JOIN job j ON j.brief = b.id AND j.run = b.run \
     WHERE b.id = $1 AND b.state = 'running' AND j.state = 'running' AND ",
    job_id_at_api!(),
    " IS NULL"
);

pub(super) const NAMELESS_OF_BATCH: &str = concat!(
    "SELECT count(DISTINCT j.brief) FROM brief b CROSS JOIN job j ON j.brief = b.id AND j.run = b.run \
     WHERE b.batch_id = $1 AND ($2 IS NULL OR b.project_id = $2) AND b.state = 'running' AND j.state = 'running' AND ",
    job_id_at_api!(),
    " IS NULL"
);

impl Ledger {
    /// Jobs of this input that the API is to be asked to cancel now.
    pub async fn cancels_due(&self, now_ms: i64, limit: u32) -> Result<Vec<CancelDue>, LedgerError> {
        Ok(sqlx::query_as(DUE)
            .bind(self.input().word())
            .bind(now_ms)
            .bind(limit)
            .fetch_all(&self.reader().pool)
            .await?)
    }
}

/// Notes that the API was asked to cancel a job.
#[derive(Clone, Debug)]
pub struct CancelAsked {
    /// The job.
    pub job: i64,
    /// What it answered, for the story; `None`: nothing new.
    pub told: Option<String>,
    /// When it is asked again, milliseconds since 1970; `None`: never, it knows.
    pub again_ms: Option<i64>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Write for CancelAsked {
    type Out = ();

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let at: Option<(i64, i64)> = sqlx::query_as(
                "UPDATE job SET cancel_due_at = $2, cancel_asks = cancel_asks + 1 WHERE id = $1 AND state = 'running' \
                 RETURNING brief, run",
            )
            .bind(self.job)
            .bind(self.again_ms)
            .fetch_optional(&mut *db)
            .await?;
            // It has ended meanwhile, which is what was wished for.
            let (Some(at), Some(told)) = (at, &self.told) else { return Ok(()) };
            note(db, at, self.now_ms, "cancel", &json!({ "job": self.job, "detail": told })).await
        })
    }
}

/// How far a request to cancel is, in briefs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelCounts {
    /// Ended here, before they were started.
    pub ended: i64,
    /// A POST may have left: carried out once its outcome is known.
    pub submitting: i64,
    /// Running: the API is asked.
    pub running: i64,
    /// Running, and the API never told a job id: it cannot be asked.
    pub nameless: i64,
    /// Ended at the API since, whatever way.
    pub over: i64,
}

impl Reader {
    /// How far a request to cancel is.
    pub async fn cancel_counts(&self, request: i64) -> Result<CancelCounts, LedgerError> {
        let (ended, submitting, running, nameless, over): (i64, i64, i64, i64, i64) = sqlx::query_as(concat!(
            "SELECT count(DISTINCT brief) FILTER (WHERE state = 'canceled' AND accepted_at IS NULL), \
             count(DISTINCT brief) FILTER (WHERE state IN ('ready', 'submitting', 'parked')), \
             count(DISTINCT brief) FILTER (WHERE state = 'running' AND ",
            job_id_at_api!(),
            " IS NOT NULL), \
             count(DISTINCT brief) FILTER (WHERE state = 'running' AND ",
            job_id_at_api!(),
            " IS NULL), \
             count(DISTINCT brief) FILTER (WHERE state IN ('completed', 'failed', 'rejected') OR (state = 'canceled' AND accepted_at IS NOT NULL)) \
             FROM job j WHERE canceled_by = $1",
        ))
        .bind(request)
        .fetch_one(&self.pool)
        .await?;
        Ok(CancelCounts { ended, submitting, running, nameless, over })
    }

    /// How many running briefs of this the API cannot be asked to cancel, because it never told their job id.
    pub async fn nameless(&self, of: &CancelOf) -> Result<i64, LedgerError> {
        Ok(match of {
            CancelOf::Batch { batch, project, .. } => {
                sqlx::query_scalar(NAMELESS_OF_BATCH).bind(batch).bind(project).fetch_one(&self.pool).await?
            }
            CancelOf::Brief(brief) => sqlx::query_scalar(NAMELESS).bind(brief).fetch_one(&self.pool).await?,
        })
    }

    /// How many briefs of a batch, perhaps only in one project, are in which stored state, and the newest brief of all.
    pub async fn cancel_plan(
        &self,
        batch: &str,
        project: Option<&str>,
    ) -> Result<(StateCounts, i64), LedgerError> {
        let up_to: Option<i64> =
            sqlx::query_scalar("SELECT max(id) FROM brief").fetch_one(&self.pool).await?;
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT state, count(*) FROM brief WHERE batch_id = $1 AND ($2 IS NULL OR project_id = $2) GROUP BY state",
        )
        .bind(batch)
        .bind(project)
        .fetch_all(&self.pool)
        .await?;
        let mut counts = StateCounts::default();
        for (word, n) in rows {
            let state = BriefState::from_word(&word)
                .ok_or_else(|| LedgerError::Corrupt(format!("a brief is '{word}'")))?;
            counts.add(state, n);
        }
        Ok((counts, up_to.unwrap_or(0)))
    }
}
