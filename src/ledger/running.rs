//! Which jobs are followed: those that run, and those that were given up and may still bring a result.
//!
//! Looking for new ones is cheap (two numbers a job, by an index), what they are is read only of those that are new.

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;

use super::sets::Values;
use super::writer::Write;
use super::{Ledger, LedgerError, sets};

/// A job that is being followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// The ledger's number of the job.
    pub job: i64,
    /// `generate` or `regenerate`.
    pub kind: String,
    /// The API's job id; `None` when only its container is known.
    pub api_job_id: Option<String>,
    /// The project.
    pub project_id: String,
    /// When the API accepted it, milliseconds since 1970.
    pub accepted_ms: i64,
    /// When the first POST left that may have made it, milliseconds since 1970.
    pub first_post_ms: i64,
    /// Time in which the API answered our reads of it, milliseconds, as far as it was noted.
    pub answered_ms: i64,
    /// For a regenerate: `completedAt` and `failedAt` before its first POST, as JSON; `None` if found running.
    pub seen_before: Option<String>,
    /// Its containers that have not ended, by the API's ids.
    pub open: Vec<String>,
    /// Promised containers that the API has not named.
    pub unnamed: i64,
}

/// Of a job `j` that was given up and its container `c`: no newer run is at it, that reads the container itself and
/// publishes what it finds. One that ended before it looked (expired, canceled, refused) has left it to the old job.
macro_rules! nobody_newer {
    () => {
        "NOT EXISTS (SELECT 1 FROM job n WHERE n.brief = j.brief AND n.run > j.run \
         AND n.state IN ('ready', 'submitting', 'running', 'parked') AND (n.variant IS NULL OR n.variant = c.variant))"
    };
}
pub(super) use nobody_newer;

/// What is to be known about jobs: bound are the status of containers that are followed, and the jobs.
const DETAILS: (&str, &str) = (
    "SELECT j.id, j.project_id, j.kind, j.api_job_id, j.accepted_at, j.attempt_at, j.unknown_first_at, \
    j.answered_ms, j.seen_before, \
    CASE WHEN j.kind <> 'generate' THEN 0 WHEN j.state = 'running' THEN \
      CASE WHEN r.owed > r.variant_count THEN r.owed ELSE r.variant_count END - (SELECT count(*) FROM container c WHERE c.brief = j.brief) \
    ELSE (SELECT count(*) FROM container c WHERE c.job = j.id AND c.status = 'lost' AND c.id = '') END AS unnamed, \
    (SELECT group_concat(c.id, char(10)) FROM container c WHERE c.job = j.id AND c.status = ?) AS open \
    FROM job j JOIN run r ON r.brief = j.brief AND r.run = j.run WHERE j.id IN (",
    ") ORDER BY j.accepted_at, j.id",
);

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    project_id: String,
    kind: String,
    api_job_id: Option<String>,
    accepted_at: Option<i64>,
    attempt_at: Option<i64>,
    unknown_first_at: Option<i64>,
    answered_ms: i64,
    seen_before: Option<String>,
    unnamed: i64,
    open: Option<String>,
}

impl Ledger {
    /// Running jobs of this input, oldest first, up to `limit` after the one that was accepted at this time
    /// (milliseconds since 1970) and has this number.
    pub async fn running(&self, after: (i64, i64), limit: u32) -> Result<Vec<Running>, LedgerError> {
        let found = self.running_ids(after, limit).await?;
        self.running_details(&found.iter().map(|(_, job)| *job).collect::<Vec<_>>()).await
    }

    /// The same, only when each was accepted and its number.
    pub async fn running_ids(
        &self,
        (accepted_ms, job): (i64, i64),
        limit: u32,
    ) -> Result<Vec<(i64, i64)>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT accepted_at, id FROM job WHERE state = 'running' AND input = $1 AND accepted_at >= $2 \
             AND (accepted_at > $2 OR id > $3) ORDER BY accepted_at, id LIMIT $4",
        )
        .bind(self.input().word())
        .bind(accepted_ms)
        .bind(job)
        .bind(limit)
        .fetch_all(&self.reader().pool)
        .await?)
    }

    /// What is known about these running jobs.
    pub async fn running_details(&self, jobs: &[i64]) -> Result<Vec<Running>, LedgerError> {
        self.details(jobs, "running").await
    }

    /// Jobs of this input that were given up and may still bring a result: up to `limit` after this number.
    pub async fn lost(&self, after: i64, limit: u32) -> Result<Vec<Running>, LedgerError> {
        let jobs: Vec<i64> = sqlx::query_scalar(concat!(
            "SELECT DISTINCT c.job FROM container c JOIN job j ON j.id = c.job JOIN brief b ON b.id = j.brief \
             WHERE c.status = 'lost' AND c.job > $2 AND j.input = $1 AND b.pruned_at IS NULL AND ",
            nobody_newer!(),
            " ORDER BY c.job LIMIT $3"
        ))
        .bind(self.input().word())
        .bind(after)
        .bind(limit)
        .fetch_all(&self.reader().pool)
        .await?;
        self.details(&jobs, "lost").await
    }

    async fn details(&self, jobs: &[i64], open: &'static str) -> Result<Vec<Running>, LedgerError> {
        let mut found = Vec::with_capacity(jobs.len());
        for part in sets::parts(jobs) {
            let mut values = Values::default();
            values.push_bind(open);
            let rows: Vec<Row> = sets::ids_behind(DETAILS, values, part).fetch(&self.reader().pool).await?;
            found.extend(rows.into_iter().map(Row::running));
        }
        Ok(found)
    }
}

impl Row {
    fn running(self) -> Running {
        let accepted_ms = self.accepted_at.unwrap_or(0);
        // Harmless attempts made no job: the last attempt did, or one of those whose outcome is unknown.
        let posts = [self.unknown_first_at, self.attempt_at, Some(accepted_ms)];
        Running {
            job: self.id,
            kind: self.kind,
            api_job_id: self.api_job_id,
            project_id: self.project_id,
            accepted_ms,
            first_post_ms: posts.into_iter().flatten().min().unwrap_or(accepted_ms),
            answered_ms: self.answered_ms,
            seen_before: self.seen_before,
            open: self
                .open
                .unwrap_or_default()
                .split('\n')
                .filter(|id| !id.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
            unnamed: self.unnamed.max(0),
        }
    }
}

/// Notes for how long the API has answered about jobs, so that a restart does not begin to count anew.
#[derive(Clone, Debug)]
pub struct NoteAnswered {
    /// Jobs, each with its milliseconds so far.
    pub answered: Vec<(i64, i64)>,
}

impl Write for NoteAnswered {
    type Out = ();

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            for (job, answered_ms) in &self.answered {
                sqlx::query(
                    "UPDATE job SET answered_ms = $2 WHERE id = $1 AND state = 'running' AND answered_ms < $2",
                )
                .bind(job)
                .bind(answered_ms)
                .execute(&mut *db)
                .await?;
            }
            Ok(())
        })
    }

    fn rows(&self) -> usize {
        self.answered.len()
    }
}
