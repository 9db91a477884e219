//! How far each batch is, and what is in the way.

use sqlx::sqlite::SqliteConnection;

use super::super::{LedgerError, Reader};
use super::{StateCounts, Waiting, brief_state};
use crate::job::BriefState;

/// One batch of the newest.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct RecentBatch {
    /// The batch; '' for briefs without one.
    pub batch_id: String,
    /// How many batches there are in all.
    pub total: i64,
}

/// Why briefs did not complete, and how many.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct CodeCount {
    /// The error code.
    pub code: String,
    /// What helps: `rerun`, `change`, `none`.
    pub remedy: String,
    /// How many briefs; one of several reasons counts, the latest.
    pub briefs: i64,
    /// How many containers that did not complete.
    pub containers: i64,
}

/// A brief that a person must decide about.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ParkedBrief {
    /// The project.
    pub project_id: String,
    /// The batch, or ''.
    pub batch_id: String,
    /// Its id within project and batch.
    pub brief_id: String,
    /// Why.
    pub code: Option<String>,
    /// Why, in one line.
    pub message: Option<String>,
}

/// Outbox rows of one kind that should have left by now.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct LateRows {
    /// `record` or `dead_letter`.
    pub channel: String,
    /// The record's type, or the dead letter's reason.
    pub kind: String,
    /// Whose rows: `queue`, or `file:` and a name.
    pub input: String,
    /// How many.
    pub n: i64,
    /// When the oldest of them was made, milliseconds since 1970.
    pub oldest_ms: i64,
    /// How often one of them was tried in vain.
    pub attempts: i64,
}

/// Jumps from batch to batch in the index, and to the newest brief of each in each state: as many look-ups, however many
/// briefs each has.
const RECENT: &str = "WITH RECURSIVE batch (id) AS ( \
       SELECT min(batch_id) FROM brief UNION ALL \
       SELECT (SELECT min(b.batch_id) FROM brief b WHERE b.batch_id > batch.id) FROM batch WHERE batch.id IS NOT NULL) \
     SELECT batch.id AS batch_id, count(*) OVER () AS total FROM batch WHERE batch.id IS NOT NULL ORDER BY (SELECT max(newest) FROM ( \
       SELECT max(b.id) AS newest FROM brief b WHERE b.batch_id = batch.id AND b.state = 'waiting' \
       UNION ALL SELECT max(b.id) FROM brief b WHERE b.batch_id = batch.id AND b.state = 'submitting' \
       UNION ALL SELECT max(b.id) FROM brief b WHERE b.batch_id = batch.id AND b.state = 'running' \
       UNION ALL SELECT max(b.id) FROM brief b WHERE b.batch_id = batch.id AND b.state = 'parked' \
       UNION ALL SELECT max(b.id) FROM brief b WHERE b.batch_id = batch.id AND b.state = 'completed' \
       UNION ALL SELECT max(b.id) FROM brief b WHERE b.batch_id = batch.id AND b.state = 'partial' \
       UNION ALL SELECT max(b.id) FROM brief b WHERE b.batch_id = batch.id AND b.state = 'failed' \
       UNION ALL SELECT max(b.id) FROM brief b WHERE b.batch_id = batch.id AND b.state = 'canceled')) DESC LIMIT $1";

const PARKED: &str = "WITH RECURSIVE batch (id) AS ( \
       SELECT min(batch_id) FROM brief UNION ALL \
       SELECT (SELECT min(b.batch_id) FROM brief b WHERE b.batch_id > batch.id) FROM batch WHERE batch.id IS NOT NULL) \
     SELECT b.project_id, b.batch_id, b.brief_id, json_extract(j.error, '$.code') AS code, \
     json_extract(j.error, '$.message') AS message \
     FROM batch CROSS JOIN brief b ON b.batch_id = batch.id AND b.state = 'parked' \
     LEFT JOIN job j ON j.brief = b.id AND j.run = b.run AND j.state = 'parked' LIMIT $1";

const PARKED_OF_BATCH: &str = "SELECT b.project_id, b.batch_id, b.brief_id, json_extract(j.error, '$.code') AS code, \
     json_extract(j.error, '$.message') AS message FROM brief b \
     LEFT JOIN job j ON j.brief = b.id AND j.run = b.run AND j.state = 'parked' \
     WHERE b.batch_id = $2 AND b.state = 'parked' LIMIT $1";

/// Each brief under the code of its latest record, and each container that did not complete in the end under its own.
const CODES: &str = "SELECT coalesce(json_extract(CAST(body AS TEXT), '$.error.code'), '') AS code, \
     coalesce(json_extract(CAST(body AS TEXT), '$.error.remedy'), 'none') AS remedy, \
     sum(of_brief) AS briefs, sum(of_container) AS containers FROM ( \
       SELECT o.body, o.id = (SELECT max(l.id) FROM outbox l WHERE l.brief = b.id AND l.channel = 'record' \
         AND l.kind <> 'container.completed') AS of_brief, \
         o.variant IS NOT NULL AND NOT EXISTS (SELECT 1 FROM outbox n WHERE n.brief = o.brief AND n.variant = o.variant AND n.id > o.id) \
         AND NOT EXISTS (SELECT 1 FROM outbox w WHERE w.brief = o.brief AND w.run = b.run AND w.variant IS NULL) AS of_container \
       FROM brief b CROSS JOIN outbox o ON o.brief = b.id WHERE b.batch_id = $1 AND b.state IN ('partial', 'failed', 'canceled') \
       AND o.channel = 'record' AND o.kind <> 'container.completed') AS told \
     WHERE of_brief OR of_container GROUP BY 1, 2 ORDER BY 3 DESC, 4 DESC, 1";

/// Credits of a batch, as they were added up.
const CREDITS: &str = "SELECT sum(n) FROM (SELECT n FROM batch_sum WHERE batch_id = $1 AND what = 'credits' \
     UNION ALL SELECT n FROM batch_pruned WHERE batch_id = $1 AND status = 'credits')";

/// What has ended was added up; what is open (but does not wait) is counted.
const COUNTS: &str = "SELECT project_id, what, n FROM batch_sum WHERE batch_id = $1 AND what <> 'credits' AND n <> 0 \
     UNION ALL SELECT project_id, state, count(*) FROM brief \
     WHERE batch_id = $1 AND state IN ('submitting', 'running', 'parked') GROUP BY 1, 2";

/// Of the queue's batches it is noted, of a file's every brief says it.
const SIZE: &str = "SELECT coalesce((SELECT size FROM batch WHERE batch_id = $1), \
     (SELECT r.batch_size FROM (SELECT id FROM brief WHERE batch_id = $1 LIMIT 100) AS first CROSS JOIN run r ON r.brief = first.id \
     WHERE r.batch_size IS NOT NULL ORDER BY first.id, r.run LIMIT 1))";

const WAITING: &str = "SELECT b.project_id, count(*), count(*) FILTER (WHERE r.not_before > $2) \
     FROM brief b CROSS JOIN run r ON r.brief = b.id AND r.run = b.run \
     WHERE b.batch_id = $1 AND b.state = 'waiting' GROUP BY b.project_id";

impl Reader {
    /// What the records of a batch say that it cost; `None`: they do not say.
    pub async fn batch_credits(&self, batch: &str) -> Result<Option<i64>, LedgerError> {
        Ok(sqlx::query_scalar(CREDITS).bind(batch).fetch_one(&self.pool).await?)
    }

    /// The batches whose newest brief came last, newest first.
    pub async fn recent_batches(&self, limit: u32) -> Result<Vec<RecentBatch>, LedgerError> {
        Ok(sqlx::query_as(RECENT).bind(limit).fetch_all(&self.pool).await?)
    }

    /// How many briefs of a batch are in which state.
    pub async fn batch_counts(&self, batch: &str, waiting: &Waiting) -> Result<StateCounts, LedgerError> {
        let mut counts = StateCounts::default();
        for (_, state, n) in self.counts_by_project(batch, waiting).await? {
            counts.add(state, n);
        }
        Ok(counts)
    }

    /// The same for each project that has briefs in the batch.
    pub async fn batch_projects(
        &self,
        batch: &str,
        waiting: &Waiting,
    ) -> Result<Vec<(String, StateCounts)>, LedgerError> {
        let mut projects = std::collections::BTreeMap::<String, StateCounts>::new();
        for (project, state, n) in self.counts_by_project(batch, waiting).await? {
            projects.entry(project).or_default().add(state, n);
        }
        Ok(projects.into_iter().collect())
    }

    async fn counts_by_project(
        &self,
        batch: &str,
        waiting: &Waiting,
    ) -> Result<Vec<(String, BriefState, i64)>, LedgerError> {
        // Of one moment: a brief that moves meanwhile is counted once.
        let mut snapshot = self.pool.begin().await?;
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as(COUNTS).bind(batch).fetch_all(&mut *snapshot).await?;
        let mut counts = waiting_by_project(&mut snapshot, batch, waiting).await?;
        for (project, state, n) in rows {
            counts.push((project, brief_state(&state)?, n));
        }
        Ok(counts)
    }

    /// How many briefs of the batch wait to be started, or to be asked about again, held or not.
    pub async fn batch_waiting(&self, project: Option<&str>, batch: &str) -> Result<i64, LedgerError> {
        Ok(sqlx::query_scalar(
            "SELECT count(*) FROM brief WHERE batch_id = $1 AND state IN ('waiting', 'submitting') AND ($2 IS NULL OR project_id = $2)",
        )
        .bind(batch)
        .bind(project)
        .fetch_one(&self.pool)
        .await?)
    }

    /// Whether a brief of the batch was ever recorded.
    pub async fn knows_batch(&self, batch: &str) -> Result<bool, LedgerError> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM brief WHERE batch_id = $1)")
            .bind(batch)
            .fetch_one(&self.pool)
            .await?)
    }

    /// How many briefs the batch is said to have; the first one that says so counts (of a file: of its first hundred).
    pub async fn batch_size(&self, batch: &str) -> Result<Option<i64>, LedgerError> {
        Ok(sqlx::query_scalar(SIZE).bind(batch).fetch_one(&self.pool).await?)
    }

    /// Why briefs of the batch did not complete, the most frequent reason first.
    pub async fn batch_codes(&self, batch: &str) -> Result<Vec<CodeCount>, LedgerError> {
        Ok(sqlx::query_as(CODES).bind(batch).fetch_all(&self.pool).await?)
    }

    /// Briefs (of a batch) that a person must decide about, up to `limit`.
    pub async fn parked_briefs(
        &self,
        batch: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ParkedBrief>, LedgerError> {
        let query = match batch {
            None => sqlx::query_as(PARKED).bind(limit),
            Some(batch) => sqlx::query_as(PARKED_OF_BATCH).bind(limit).bind(batch),
        };
        Ok(query.fetch_all(&self.pool).await?)
    }

    /// Outbox rows made before `before_ms` (milliseconds since 1970) that have not left, by kind, most first.
    pub async fn late_rows(&self, before_ms: i64) -> Result<Vec<LateRows>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT channel, kind, input, count(*) AS n, min(created_at) AS oldest_ms, max(attempts) AS attempts \
             FROM outbox WHERE state = 'pending' AND created_at < $1 GROUP BY channel, kind, input ORDER BY 4 DESC, 2",
        )
        .bind(before_ms)
        .fetch_all(&self.pool)
        .await?)
    }
}

/// What waits in a batch, apart by project and by why it waits.
async fn waiting_by_project(
    db: &mut SqliteConnection,
    batch: &str,
    waiting: &Waiting,
) -> Result<Vec<(String, BriefState, i64)>, LedgerError> {
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as(WAITING).bind(batch).bind(waiting.now_ms).fetch_all(db).await?;
    Ok(rows
        .into_iter()
        .flat_map(|(project, all, scheduled)| {
            let due = waiting.state(BriefState::Waiting, (&project, batch), None);
            [(project.clone(), BriefState::Scheduled, scheduled), (project, due, all - scheduled)]
        })
        .filter(|(_, _, n)| *n > 0)
        .collect())
}

#[cfg(test)]
pub(super) const PLANNED: [&str; 8] =
    [RECENT, PARKED, PARKED_OF_BATCH, CODES, CREDITS, COUNTS, SIZE, WAITING];
