//! What waits, and for what: an API that does not answer, or batches that a person must mend.

use super::claim::{batches_of, held_list, projects_of};
use super::{HoldScope, Ledger, LedgerError, Reader};

/// Jobs of one batch in one project that wait for a start.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct WaitingPart {
    /// The project's id.
    pub project_id: String,
    /// The batch; '' for briefs without one.
    pub batch_id: String,
    /// Whether it is not their time yet.
    pub scheduled: bool,
    /// How many.
    pub n: i64,
}

/// Whether a job is of one of the batches in the list.
macro_rules! held {
    () => {
        "EXISTS (SELECT 1 FROM json_each($2) AS held WHERE json_extract(held.value, '$[1]') = batch_id \
         AND json_extract(held.value, '$[0]') IN ('', project_id))"
    };
}

impl Reader {
    /// What waits for a start, by batch, at `now_ms`. Reads all that waits, which is at most
    /// `intake.max_backlog`: a second for a hundred thousand, so not every two seconds, and not while nothing is held.
    pub async fn waiting_parts(&self, now_ms: i64) -> Result<Vec<WaitingPart>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT project_id, batch_id, attempts = 0 AND due_at > $1 AS scheduled, count(*) AS n FROM job \
             WHERE state = 'ready' AND claim IS NULL GROUP BY project_id, batch_id, scheduled",
        )
        .bind(now_ms)
        .fetch_all(&self.pool)
        .await?)
    }
}

impl Ledger {
    /// The scheduled parts of [`Reader::waiting_parts`], of this input. Reads only them, and what waits for a repeat.
    pub async fn scheduled_parts(&self, now_ms: i64) -> Result<Vec<WaitingPart>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT project_id, batch_id, TRUE AS scheduled, count(*) AS n FROM job WHERE state = 'ready' \
             AND claim IS NULL AND input = $1 AND due_at > $2 AND attempts = 0 GROUP BY project_id, batch_id",
        )
        .bind(self.input().word())
        .bind(now_ms)
        .fetch_all(&self.reader().pool)
        .await?)
    }

    /// Jobs of this input that keep their place because their last attempt got no answer, and the project of one. Those of
    /// held projects and batches keep none, and are not asked about meanwhile: they do not count.
    pub async fn silent(&self, held: &[HoldScope]) -> Result<(u32, Option<String>), LedgerError> {
        let (n, project): (i64, Option<String>) = sqlx::query_as(concat!(
            "SELECT count(*), max(project_id) FROM job WHERE silent AND input = $1 AND state IN ('ready', 'submitting') \
             AND project_id NOT IN (SELECT value FROM json_each($3)) AND NOT ",
            held!(),
        ))
        .bind(self.input().word())
        .bind(held_list(&batches_of(held)))
        .bind(held_list(&projects_of(held)))
        .fetch_one(&self.reader().pool)
        .await?;
        Ok((u32::try_from(n).unwrap_or(u32::MAX), project))
    }

    /// Whether everything of this input that is still open belongs to these batches (as in [`super::Claim::held_batches`]),
    /// and nothing waits to be sent.
    pub async fn waits_only_for(&self, batches: &[(String, String)]) -> Result<bool, LedgerError> {
        // Each part has an index of its own on what is open.
        let other: i64 = sqlx::query_scalar(concat!(
            "SELECT EXISTS (SELECT 1 FROM job WHERE input = $1 AND state = 'running') \
             OR EXISTS (SELECT 1 FROM job WHERE input = $1 AND state = 'ready' AND claim IS NOT NULL) \
             OR EXISTS (SELECT 1 FROM job WHERE input = $1 AND state = 'submitting' AND claim IS NOT NULL) \
             OR EXISTS (SELECT 1 FROM job WHERE input = $1 AND state = 'submitting' AND claim IS NULL AND NOT ",
            held!(),
            ") OR EXISTS (SELECT 1 FROM job WHERE input = $1 AND state = 'ready' AND claim IS NULL AND NOT ",
            held!(),
            ") OR EXISTS (SELECT 1 FROM outbox WHERE input = $1 AND state = 'pending')",
        ))
        .bind(self.input().word())
        .bind(held_list(batches))
        .fetch_one(&self.reader().pool)
        .await?;
        Ok(other == 0)
    }
}
