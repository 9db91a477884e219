//! The read before the first POST of a regenerate: taken, and what it told.

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;

use super::rows::{Input, detail, follow_jobs, note};
use super::settle::{ContainerEnd, finish_container};
use super::writer::Write;
use super::{Ledger, LedgerError};

/// Takes regenerate jobs whose container must be read before their first POST.
#[derive(Clone, Debug)]
pub struct Inspect {
    /// How many at most.
    pub limit: u32,
    /// This process.
    pub boot: String,
    /// Whose briefs.
    pub input: Input,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// A regenerate job whose container must be read.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Inspection {
    /// The ledger's number of the job.
    pub id: i64,
    /// Its brief.
    pub brief: i64,
    /// The project.
    pub project_id: String,
    /// The container's id at the API.
    pub container: String,
    /// The run that last made it.
    pub made_by_job: Option<String>,
    /// A reviewer rejected it: that it is completed is no reason not to regenerate it.
    pub rejected: bool,
    /// The API itself has told that it ended. What we gave up may be running, or be completed, all the same.
    pub told: bool,
    /// When a read first did not find it, milliseconds since 1970.
    pub absent_at: Option<i64>,
}

/// `+` keeps the planner from the index of times, which would have it sort the whole backlog.
pub(super) const UNREAD: &str = "SELECT j.id, j.brief, j.project_id, j.container, j.rejected, j.absent_at, \
    EXISTS (SELECT 1 FROM container c WHERE c.brief = j.brief AND c.variant = j.variant AND c.status <> 'lost' \
    AND CASE WHEN json_valid(c.record) THEN json_extract(c.record, '$.status') END IN ('completed', 'failed', 'canceled')) AS told, \
    (SELECT o.api_job_id FROM container c JOIN job o ON o.id = c.job WHERE c.brief = j.brief AND c.variant = j.variant) AS made_by_job \
    FROM job j WHERE j.state = 'ready' AND j.claim IS NULL AND j.input = $1 AND +j.due_at <= $2 \
    AND j.kind = 'regenerate' AND j.seen_before IS NULL ORDER BY j.priority DESC, j.id LIMIT $3";

impl Ledger {
    /// Whether a container is to be read before its regenerate.
    pub async fn has_unread(&self, now_ms: i64) -> Result<bool, LedgerError> {
        let first: Option<Inspection> = sqlx::query_as(UNREAD)
            .bind(self.input().word())
            .bind(now_ms)
            .bind(1)
            .fetch_optional(&self.reader().pool)
            .await?;
        Ok(first.is_some())
    }
}

impl Write for Inspect {
    type Out = Vec<Inspection>;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Self::Out, LedgerError>> {
        Box::pin(async move {
            let found: Vec<Inspection> = sqlx::query_as(UNREAD)
                .bind(self.input.word())
                .bind(self.now_ms)
                .bind(self.limit)
                .fetch_all(&mut *db)
                .await?;
            for inspection in &found {
                sqlx::query("UPDATE job SET claim = $2 WHERE id = $1 AND claim IS NULL")
                    .bind(inspection.id)
                    .bind(&self.boot)
                    .execute(&mut *db)
                    .await?;
            }
            Ok(found)
        })
    }
}

/// What the read before the first regenerate POST told.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The job.
    pub job: i64,
    /// What was found.
    pub found: Found,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// What a container was found as before a regenerate.
#[derive(Clone, Debug)]
pub enum Found {
    /// Completed after all: published as the new run, free.
    Completed(Box<ContainerEnd>),
    /// Still being generated: followed again, free.
    Running,
    /// Ended without a result: may be regenerated. Holds its `completedAt` and `failedAt` as JSON.
    Ended(String),
    /// Not there, of which a single read proves nothing: again at this time, milliseconds since 1970.
    Absent(i64),
    /// Could not be read now: again at this time, milliseconds since 1970.
    Later(i64),
}

impl Write for Inspected {
    /// Whether the job still was where it had to be.
    type Out = bool;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move {
            let row: Option<(i64, i64)> = sqlx::query_as(
                "SELECT brief, run FROM job WHERE id = $1 AND state = 'ready' AND claim IS NOT NULL",
            )
            .bind(self.job)
            .fetch_optional(&mut *db)
            .await?;
            let Some(at) = row else { return Ok(false) };
            match &self.found {
                Found::Later(due_ms) => {
                    sqlx::query("UPDATE job SET claim = NULL, due_at = $2 WHERE id = $1")
                        .bind(self.job)
                        .bind(due_ms)
                        .execute(db)
                        .await?;
                }
                Found::Absent(due_ms) => {
                    sqlx::query(
                        "UPDATE job SET claim = NULL, due_at = $2, absent_at = coalesce(absent_at, $3) WHERE id = $1",
                    )
                    .bind(self.job)
                    .bind(due_ms)
                    .bind(self.now_ms)
                    .execute(db)
                    .await?;
                }
                Found::Ended(seen_before) => {
                    sqlx::query(
                        "UPDATE job SET claim = NULL, seen_before = $2, absent_at = NULL WHERE id = $1",
                    )
                    .bind(self.job)
                    .bind(seen_before)
                    .execute(db)
                    .await?;
                }
                Found::Running => {
                    note(db, at, self.now_ms, "found running", &detail("job", self.job)).await?;
                    self.follow(db, at).await?;
                }
                Found::Completed(end) => {
                    note(db, at, self.now_ms, "found completed", &detail("job", self.job)).await?;
                    self.follow(db, at).await?;
                    finish_container(db, self.job, end, self.now_ms).await?;
                }
            }
            Ok(true)
        })
    }
}

impl Inspected {
    /// Makes the job the container's latest, running without a POST of its own.
    async fn follow(&self, db: &mut SqliteConnection, at: (i64, i64)) -> Result<(), LedgerError> {
        sqlx::query("UPDATE job SET claim = NULL, state = 'running', accepted_at = $2 WHERE id = $1")
            .bind(self.job)
            .bind(self.now_ms)
            .execute(&mut *db)
            .await?;
        sqlx::query(
            "UPDATE container SET job = $1, run = $2, status = 'running', ended_at = NULL \
             WHERE brief = $3 AND variant = (SELECT variant FROM job WHERE id = $1)",
        )
        .bind(self.job)
        .bind(at.1)
        .bind(at.0)
        .execute(&mut *db)
        .await?;
        follow_jobs(db, at, self.now_ms).await
    }
}
