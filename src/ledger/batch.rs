//! Batches of the queue that have ended: `batch.finished`, once a revision.
//!
//! Table `batch` says when a look is worth while: all briefs that were announced have come and ended, and every record
//! of them is confirmed. Then, and only then, the batch's rows are counted, in the transaction that stores the record.
//! So what is stored tells at any time whether there is something to do, whoever died before doing it. A batch that
//! ends again with the same counts has nothing new to tell.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use super::outbox::insert_batch_record;
use super::rows::{Input, time};
use super::writer::Write;
use super::{Ledger, LedgerError};
use crate::job::BriefState;
use crate::record::{BatchCounts, BatchFinished, ProjectPart};

/// Batches that one transaction counts at most.
const AT_ONCE: i64 = 4;

/// In the words of its index, which is empty but for the moment between the end of a batch and its record.
const OVER: &str = "SELECT batch_id FROM batch WHERE changed AND unsent = 0 AND ended = received AND size <= ended \
    ORDER BY batch_id LIMIT $1";

const BRIEFS: &str = "SELECT project_id, state, count(*), max(changed_at) FROM brief \
    WHERE batch_id = $1 AND input = 'queue' GROUP BY project_id, state";
const CONTAINERS: &str = "SELECT b.project_id, c.status, count(*) FROM brief b CROSS JOIN container c ON c.brief = b.id \
    WHERE b.batch_id = $1 AND b.input = 'queue' GROUP BY b.project_id, c.status";
const CREDITS: &str = "SELECT b.project_id, 'credits', sum(o.credits) FROM brief b CROSS JOIN outbox o ON o.brief = b.id \
    WHERE b.batch_id = $1 AND b.input = 'queue' AND o.credits IS NOT NULL GROUP BY b.project_id";
const PRUNED: &str = "SELECT project_id, status, n FROM batch_pruned WHERE batch_id = $1";

/// Makes the `batch.finished` of batches that have ended with other counts than told before.
#[derive(Clone, Copy, Debug)]
pub struct FinishBatches {
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Write for FinishBatches {
    /// How many records were made.
    type Out = usize;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<usize, LedgerError>> {
        Box::pin(async move {
            let over: Vec<String> = sqlx::query_scalar(OVER).bind(AT_ONCE).fetch_all(&mut *db).await?;
            let mut made = 0;
            for batch in over {
                made += usize::from(finish(db, &batch, self.now_ms).await?);
            }
            Ok(made)
        })
    }
}

impl Ledger {
    /// Whether there is a batch to be finished. Only the queue's have an end that somebody hears of.
    pub async fn has_batch_over(&self) -> Result<bool, LedgerError> {
        if *self.input() != Input::Queue {
            return Ok(false);
        }
        let first: Option<String> =
            sqlx::query_scalar(OVER).bind(1).fetch_optional(&self.reader().pool).await?;
        Ok(first.is_some())
    }
}

/// The first size that is given counts.
pub(super) async fn announce_size(
    db: &mut SqliteConnection,
    batch: &str,
    size: u64,
) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO batch (batch_id, size, received, ended, unsent, changed, revision) VALUES ($1, $2, 0, 0, 0, TRUE, 0) \
         ON CONFLICT (batch_id) DO UPDATE SET size = excluded.size, changed = TRUE WHERE batch.size IS NULL",
    )
    .bind(batch)
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .execute(db)
    .await?;
    Ok(())
}

/// `true`: there was something new to tell.
async fn finish(db: &mut SqliteConnection, batch: &str, now_ms: i64) -> Result<bool, LedgerError> {
    let (size, revision, told): (i64, i64, Option<String>) =
        sqlx::query_as("SELECT size, revision, counts FROM batch WHERE batch_id = $1")
            .bind(batch)
            .fetch_one(&mut *db)
            .await?;
    let Some((projects, last_ms)) = count(db, batch).await? else {
        // The numbers drifted, which the sum that must be 0 tells (P8); not to be counted again for ever.
        sqlx::query("UPDATE batch SET changed = FALSE WHERE batch_id = $1").bind(batch).execute(db).await?;
        return Ok(false);
    };
    let mut finished = BatchFinished {
        batch_id: batch.to_owned(),
        revision: u32::try_from(revision + 1).unwrap_or(u32::MAX),
        size: u64::try_from(size).unwrap_or(0),
        projects,
        finished_at: time(last_ms),
    };
    let counts = json!(finished.counts());
    let is_new = told.and_then(|told| serde_json::from_str(&told).ok()) != Some(counts.clone());
    if is_new {
        insert_batch_record(db, &finished, now_ms).await?;
    } else {
        finished.revision -= 1;
    }
    sqlx::query("UPDATE batch SET changed = FALSE, revision = $2, counts = $3 WHERE batch_id = $1")
        .bind(batch)
        .bind(i64::from(finished.revision))
        .bind(counts.to_string())
        .execute(db)
        .await?;
    Ok(is_new)
}

/// What each project has in a batch.
type Projects = BTreeMap<String, ProjectPart>;

/// Counts the rows of a batch; and when the last of its briefs ended, milliseconds since 1970. `None`: not all have.
async fn count(db: &mut SqliteConnection, batch: &str) -> Result<Option<(Projects, i64)>, LedgerError> {
    let briefs: Vec<(String, String, i64, i64)> =
        sqlx::query_as(BRIEFS).bind(batch).fetch_all(&mut *db).await?;
    let mut parts = Vec::new();
    for query in [CONTAINERS, CREDITS, PRUNED] {
        let found: Vec<(String, String, i64)> = sqlx::query_as(query).bind(batch).fetch_all(&mut *db).await?;
        parts.extend(found);
    }

    let mut projects = Projects::new();
    let mut last_ms = 0;
    for (project, state, n, changed_ms) in briefs {
        let state = BriefState::from_word(&state)
            .ok_or_else(|| LedgerError::Corrupt(format!("a brief of batch {batch} is '{state}'")))?;
        let counts = &mut projects.entry(project).or_default().counts;
        counts.received += whole(n);
        let Some(ended) = of_state(counts, state) else { return Ok(None) };
        *ended += whole(n);
        last_ms = last_ms.max(changed_ms);
    }
    for (project, what, n) in parts {
        let part = projects.entry(project).or_default();
        let containers = &mut part.counts.containers;
        match what.as_str() {
            "credits" => *part.credits_estimate.get_or_insert(0) += whole(n),
            "completed" => containers.completed += whole(n),
            "canceled" => containers.canceled += whole(n),
            // `lost` was told as failed.
            _ => containers.failed += whole(n),
        }
    }
    Ok(Some((projects, last_ms)))
}

fn whole(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// Where briefs in this state are counted; `None`: they have not ended.
fn of_state(counts: &mut BatchCounts, state: BriefState) -> Option<&mut u64> {
    match state {
        BriefState::Completed => Some(&mut counts.completed),
        BriefState::Partial => Some(&mut counts.partial),
        BriefState::Failed => Some(&mut counts.failed),
        BriefState::Canceled => Some(&mut counts.canceled),
        BriefState::Scheduled
        | BriefState::Waiting
        | BriefState::Held
        | BriefState::Submitting
        | BriefState::Running
        | BriefState::Parked => None,
    }
}

#[cfg(test)]
pub(super) const PLANNED: [&str; 5] = [OVER, BRIEFS, CONTAINERS, CREDITS, PRUNED];
