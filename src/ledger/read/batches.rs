//! How far each batch is, and what is in the way.

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
    /// How many briefs.
    pub briefs: i64,
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

/// Jumps from batch to batch in the index: one look-up a batch, however many briefs each has.
const RECENT: &str = "WITH RECURSIVE batch (id) AS ( \
       SELECT min(batch_id) FROM brief UNION ALL \
       SELECT (SELECT min(b.batch_id) FROM brief b WHERE b.batch_id > batch.id) FROM batch WHERE batch.id IS NOT NULL) \
     SELECT batch.id AS batch_id, count(*) OVER () AS total FROM batch WHERE batch.id IS NOT NULL \
     ORDER BY (SELECT max(b.id) FROM brief b WHERE b.batch_id = batch.id) DESC LIMIT $1";

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

/// The latest record of each brief that has none better.
const CODES: &str = "SELECT coalesce(json_extract(CAST(o.body AS TEXT), '$.error.code'), '') AS code, \
     coalesce(json_extract(CAST(o.body AS TEXT), '$.error.remedy'), 'none') AS remedy, count(*) AS briefs \
     FROM brief b CROSS JOIN outbox o ON o.id = (SELECT max(l.id) FROM outbox l WHERE l.brief = b.id \
     AND l.channel = 'record' AND l.kind <> 'container.completed') \
     WHERE b.batch_id = $1 AND b.state IN ('partial', 'failed', 'canceled') \
     GROUP BY 1, 2 ORDER BY 3 DESC, 1";

/// Credits of a batch from an index alone, without a look at any body.
const CREDITS: &str = "SELECT sum(n) FROM (SELECT o.credits AS n FROM brief b CROSS JOIN outbox o ON o.brief = b.id \
     WHERE b.batch_id = $1 AND o.credits IS NOT NULL \
     UNION ALL SELECT n FROM batch_pruned WHERE batch_id = $1 AND status = 'credits')";

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
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, count(*) FROM brief WHERE batch_id = $1 GROUP BY state")
                .bind(batch)
                .fetch_all(&self.pool)
                .await?;
        let mut counts = StateCounts::default();
        for (state, n) in rows {
            counts.add(brief_state(&state)?, n);
        }
        if counts.get(BriefState::Waiting) > 0 {
            counts.add(BriefState::Waiting, -counts.get(BriefState::Waiting));
            for (_, state, n) in self.waiting_by_project(batch, waiting).await? {
                counts.add(state, n);
            }
        }
        Ok(counts)
    }

    /// The same for each project that has briefs in the batch.
    pub async fn batch_projects(
        &self,
        batch: &str,
        waiting: &Waiting,
    ) -> Result<Vec<(String, StateCounts)>, LedgerError> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT project_id, state, count(*) FROM brief WHERE batch_id = $1 AND state <> 'waiting' GROUP BY 1, 2",
        )
        .bind(batch)
        .fetch_all(&self.pool)
        .await?;
        let mut projects = std::collections::BTreeMap::<String, StateCounts>::new();
        for (project, state, n) in rows {
            projects.entry(project).or_default().add(brief_state(&state)?, n);
        }
        for (project, state, n) in self.waiting_by_project(batch, waiting).await? {
            projects.entry(project).or_default().add(state, n);
        }
        Ok(projects.into_iter().collect())
    }

    /// What waits in a batch, apart by project and by why it waits.
    async fn waiting_by_project(
        &self,
        batch: &str,
        waiting: &Waiting,
    ) -> Result<Vec<(String, BriefState, i64)>, LedgerError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT b.project_id, count(*), count(*) FILTER (WHERE r.not_before > $2) \
             FROM brief b CROSS JOIN run r ON r.brief = b.id AND r.run = b.run \
             WHERE b.batch_id = $1 AND b.state = 'waiting' GROUP BY b.project_id",
        )
        .bind(batch)
        .bind(waiting.now_ms)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .flat_map(|(project, all, scheduled)| {
                let due = waiting.state(BriefState::Waiting, (&project, batch), None);
                [(project.clone(), BriefState::Scheduled, scheduled), (project, due, all - scheduled)]
            })
            .filter(|(_, _, n)| *n > 0)
            .collect())
    }

    /// How many briefs of the batch wait to be started, held or not.
    pub async fn batch_waiting(&self, project: Option<&str>, batch: &str) -> Result<i64, LedgerError> {
        Ok(sqlx::query_scalar(
            "SELECT count(*) FROM brief WHERE batch_id = $1 AND state = 'waiting' AND ($2 IS NULL OR project_id = $2)",
        )
        .bind(batch)
        .bind(project)
        .fetch_one(&self.pool)
        .await?)
    }

    /// How many briefs the batch is said to have; the first one that says so counts.
    pub async fn batch_size(&self, batch: &str) -> Result<Option<i64>, LedgerError> {
        Ok(sqlx::query_scalar(
            "SELECT coalesce((SELECT size FROM batch WHERE batch_id = $1), \
             (SELECT r.batch_size FROM brief b CROSS JOIN run r ON r.brief = b.id \
             WHERE b.batch_id = $1 AND r.batch_size IS NOT NULL ORDER BY b.id, r.run LIMIT 1))",
        )
        .bind(batch)
        .fetch_one(&self.pool)
        .await?)
    }

    /// Why briefs of the batch did not complete, the most frequent reason first: one reason a brief.
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

#[cfg(test)]
pub(super) const PLANNED: [&str; 5] = [RECENT, PARKED, PARKED_OF_BATCH, CODES, CREDITS];
