//! Ages and counts for gauges, each by an index on what is open.

use super::{Ledger, LedgerError};

/// Counts and oldest times of what is open.
#[derive(Clone, Copy, Debug, Default, sqlx::FromRow)]
pub struct Ages {
    /// Jobs that may start now.
    pub due: i64,
    /// Running jobs accepted before the given time.
    pub overdue: i64,
    /// Jobs in `submitting` with an unknown attempt that was made before the given time.
    pub unknown: i64,
    /// When the oldest ready job became due, milliseconds since 1970.
    pub oldest_ready: Option<i64>,
    /// When the oldest job in `submitting` was first tried.
    pub oldest_submitting: Option<i64>,
    /// When the oldest running job was accepted.
    pub oldest_running: Option<i64>,
    /// When the oldest message that has not left was made.
    pub oldest_outbox: Option<i64>,
    /// First unknown attempt of the key-only job that has waited longest.
    pub key_only_unknown: Option<i64>,
}

impl Ledger {
    /// Ages of what is open, at `now_ms`.
    pub async fn ages(&self, now_ms: i64, overdue_ms: i64, unknown_ms: i64) -> Result<Ages, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT (SELECT count(*) FROM job WHERE state = 'ready' AND claim IS NULL AND input = $1 AND due_at <= $2) AS due, \
             (SELECT count(*) FROM job WHERE state = 'running' AND input = $1 AND accepted_at < $3) AS overdue, \
             (SELECT count(*) FROM job WHERE state = 'submitting' AND input = $1 AND unknown_first_at < $4) AS unknown, \
             (SELECT min(due_at) FROM job WHERE state = 'ready' AND claim IS NULL AND input = $1 AND due_at <= $2) AS oldest_ready, \
             (SELECT min(attempt_at) FROM job WHERE state = 'submitting' AND input = $1) AS oldest_submitting, \
             (SELECT min(accepted_at) FROM job WHERE state = 'running' AND input = $1) AS oldest_running, \
             (SELECT min(created_at) FROM outbox WHERE state = 'pending' AND input = $1) AS oldest_outbox, \
             (SELECT min(unknown_first_at) FROM job WHERE state = 'submitting' AND input = $1 AND alias IS NULL \
             AND unknown_key IS NOT NULL) AS key_only_unknown",
        )
        .bind(self.input().word())
        .bind(now_ms)
        .bind(overdue_ms)
        .bind(unknown_ms)
        .fetch_one(&self.reader().pool)
        .await?)
    }

    /// Whether anything of this input is still under way: a job that is open, or a message that has not left.
    pub async fn is_busy(&self) -> Result<bool, LedgerError> {
        Ok(sqlx::query_scalar(
            // Each part has an index of its own on what is open.
            "SELECT EXISTS (SELECT 1 FROM job WHERE state = 'ready' AND claim IS NULL AND input = $1) \
             OR EXISTS (SELECT 1 FROM job WHERE state = 'ready' AND claim IS NOT NULL AND input = $1) \
             OR EXISTS (SELECT 1 FROM job WHERE state = 'submitting' AND input = $1) \
             OR EXISTS (SELECT 1 FROM job WHERE state = 'running' AND input = $1) \
             OR EXISTS (SELECT 1 FROM outbox WHERE state = 'pending' AND input = $1)",
        )
        .bind(self.input().word())
        .fetch_one(&self.reader().pool)
        .await?)
    }
}
