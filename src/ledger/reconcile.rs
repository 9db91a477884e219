//! What the ledger holds against the API's own list, and taking over what only the list tells.

use futures::future::BoxFuture;
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use super::attempt::{Started, follow_parked};
use super::rows::note;
use super::writer::Write;
use super::{LedgerError, Reader};
use crate::job::{Certainty, Event, JobState, Next, next};

/// Rows that are named at most.
const ROWS_MAX: u32 = 1_000;

/// A container that the ledger knows.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct KnownContainer {
    /// The API's id of it.
    pub id: String,
    /// `running`, `completed`, `failed`, `canceled` or `lost`.
    pub status: String,
    /// When it became known, milliseconds since 1970.
    pub known_at: i64,
    /// When it ended, milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// The variant.
    pub variant: i64,
    /// The ledger's number of its latest job,
    pub job: i64,
    /// and its kind: `generate` or `regenerate`.
    pub kind: String,
    /// For a regenerate: the container's end as it was before.
    pub seen_before: Option<String>,
    /// The ledger's number of its brief.
    pub brief: i64,
    /// The brief's id within project and batch.
    pub brief_id: String,
    /// The batch, or ''.
    pub batch_id: String,
    /// The run that made it last.
    pub run: i64,
}

/// A job that was `POSTed` with an id of ours and of which no container is known.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct UnnamedJob {
    /// Our container id in its body.
    pub alias: String,
    /// The ledger's number of it.
    pub job: i64,
    /// Its state.
    pub state: String,
    /// Containers asked for.
    pub variant_count: i64,
    /// The brief's id within project and batch.
    pub brief_id: String,
    /// The batch, or ''.
    pub batch_id: String,
    /// Its run.
    pub run: i64,
}

/// A record that was made and has not been published.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Unpublished {
    /// Its type.
    pub kind: String,
    /// `pending` or `parked`.
    pub state: String,
    /// The brief's id within project and batch.
    pub brief_id: String,
    /// The batch, or ''.
    pub batch_id: String,
    /// The run.
    pub run: i64,
}

const KNOWN: &str = "SELECT c.id, c.status, c.known_at, c.ended_at, c.variant, c.job, j.kind, j.seen_before, c.brief, b.brief_id, b.batch_id, c.run \
    FROM container c JOIN job j ON j.id = c.job JOIN brief b ON b.id = c.brief ";

impl Reader {
    /// Those of `ids` that the ledger knows. However few they are, it reads all containers: ask for many at once.
    pub async fn known_containers(&self, ids: &[&str]) -> Result<Vec<KnownContainer>, LedgerError> {
        let list = serde_json::to_string(ids).unwrap_or_default();
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "{KNOWN} WHERE c.id IN (SELECT value FROM json_each($1))"
        )))
        .bind(list)
        .fetch_all(&self.pool)
        .await?)
    }

    /// Containers of a project that became known in this span (milliseconds since 1970), after a brief and a variant, in
    /// pages.
    pub async fn containers_of(
        &self,
        project: &str,
        (from_ms, to_ms): (i64, i64),
        (brief, variant): (i64, i64),
    ) -> Result<Vec<KnownContainer>, LedgerError> {
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "{KNOWN} WHERE (c.brief, c.variant) > ($4, $5) AND b.project_id = $1 AND c.id <> '' \
             AND c.known_at BETWEEN $2 AND $3 ORDER BY c.brief, c.variant LIMIT $6"
        )))
        .bind(project)
        .bind(from_ms)
        .bind(to_ms)
        .bind(brief)
        .bind(variant)
        .bind(ROWS_MAX)
        .fetch_all(&self.pool)
        .await?)
    }

    /// Jobs of a project that were `POSTed` with an id of ours, and of which no container is known.
    pub async fn unnamed_jobs(&self, project: &str) -> Result<Vec<UnnamedJob>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT j.alias, j.id AS job, j.state, r.variant_count, b.brief_id, b.batch_id, j.run FROM brief b \
             JOIN job j ON j.brief = b.id JOIN run r ON r.brief = j.brief AND r.run = j.run \
             WHERE b.project_id = $1 AND j.attempts > 0 AND j.kind = 'generate' AND j.alias IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM container c WHERE c.brief = j.brief AND c.id <> '')",
        )
        .bind(project)
        .fetch_all(&self.pool)
        .await?)
    }

    /// Jobs of a project that have no id of ours and of which nobody knows whether they were bought.
    pub async fn unknown_without_id(&self, project: &str) -> Result<i64, LedgerError> {
        Ok(sqlx::query_scalar(
            "SELECT count(*) FROM job WHERE state IN ('submitting', 'parked') AND project_id = $1 AND alias IS NULL \
             AND kind = 'generate' AND unknown_first_at IS NOT NULL",
        )
        .bind(project)
        .fetch_one(&self.pool)
        .await?)
    }

    /// Records of a project that were made before (milliseconds since 1970) and have not been published, a thousand at
    /// most.
    pub async fn unpublished(&self, project: &str, before_ms: i64) -> Result<Vec<Unpublished>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT o.kind, o.state, b.brief_id, b.batch_id, coalesce(o.run, b.run) AS run FROM outbox o \
             JOIN brief b ON b.id = o.brief WHERE o.state IN ('pending', 'parked') AND o.channel = 'record' \
             AND b.project_id = $1 AND o.created_at < $2 ORDER BY o.id LIMIT $3",
        )
        .bind(project)
        .bind(before_ms)
        .bind(ROWS_MAX)
        .fetch_all(&self.pool)
        .await?)
    }

    /// When the first brief of a project came, milliseconds since 1970; `None`: none has.
    pub async fn first_brief_ms(&self, project: &str) -> Result<Option<i64>, LedgerError> {
        Ok(sqlx::query_scalar("SELECT min(received_at) FROM brief WHERE project_id = $1")
            .bind(project)
            .fetch_one(&self.pool)
            .await?)
    }
}

/// Takes over a container that bears the id of a job of unknown outcome: the job is running from now on, and is followed
/// to its end. Only for one of one container: a list does not tell which are the others.
#[derive(Clone, Debug)]
pub struct AdoptFound {
    /// The job.
    pub job: i64,
    /// The container, by the API's id.
    pub container: String,
    /// What `auto` became, when told.
    pub format: Option<String>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    brief: i64,
    run: i64,
    state: String,
    unknown_first_at: Option<i64>,
}

impl Write for AdoptFound {
    /// Whether it was taken over.
    type Out = bool;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move {
            let row: Option<Row> = sqlx::query_as(
                "SELECT j.brief, j.run, j.state, j.unknown_first_at FROM job j JOIN run r ON r.brief = j.brief AND r.run = j.run \
                 WHERE j.id = $1 AND j.kind = 'generate' AND j.claim IS NULL AND r.variant_count = 1",
            )
            .bind(self.job)
            .fetch_optional(&mut *db)
            .await?;
            let Some(row) = row else { return Ok(false) };
            let certainty =
                if row.unknown_first_at.is_some() { Certainty::Unknown } else { Certainty::Harmless };
            let after = JobState::from_word(&row.state).map(|state| next(state, certainty, Event::FoundOurs));
            if after != Some(Next::To(JobState::Running)) {
                return Ok(false);
            }
            let said = json!({ "job": self.job, "container": self.container });
            note(db, (row.brief, row.run), self.now_ms, "adopted", &said).await?;
            sqlx::query("UPDATE job SET error = NULL WHERE id = $1").bind(self.job).execute(&mut *db).await?;
            let started = Started {
                job_id: None,
                container_ids: vec![self.container.clone()],
                format: self.format.clone(),
            };
            follow_parked(db, self.job, started, self.now_ms).await?;
            Ok(true)
        })
    }
}
