//! How fast it goes just now.

use super::super::{LedgerError, Reader};

/// Records that are looked at, the newest of them.
const RECORDS: i64 = 200;
/// Older ones tell nothing about now.
const RECENT_MS: i64 = 3_600_000;

/// The worker's pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Starts that were drawn from the rate limit.
    pub starts: i64,
    /// Reads that were drawn from it.
    pub reads: i64,
    /// Milliseconds from the end at the API to the record, the median of the newest; `None`: there are none.
    pub known_after_ms: Option<i64>,
}

/// The newest rows by their number: one look at the end of the table, however long it is.
const KNOWN_AFTER: &str = "SELECT created_at - ended_at FROM outbox WHERE id > (SELECT max(id) FROM outbox) - $1 \
    AND channel = 'record' AND ended_at IS NOT NULL AND created_at >= $2";

impl Reader {
    /// What was drawn from the rate limit since `since_ms`, and how soon results are known; times are milliseconds since
    /// 1970.
    pub async fn pace(&self, since_ms: i64, now_ms: i64) -> Result<Pace, LedgerError> {
        let (starts, reads) = sqlx::query_as(
            "SELECT coalesce(sum(n) FILTER (WHERE class = 'start'), 0), coalesce(sum(n) FILTER (WHERE class = 'read'), 0) \
             FROM spent WHERE drawn_at > $1",
        )
        .bind(since_ms)
        .fetch_one(&self.pool)
        .await?;
        let mut lags: Vec<i64> = sqlx::query_scalar(KNOWN_AFTER)
            .bind(RECORDS)
            .bind(now_ms - RECENT_MS)
            .fetch_all(&self.pool)
            .await?;
        lags.sort_unstable();
        // Our clock and the API's need not agree.
        let known_after_ms = lags.get(lags.len() / 2).map(|lag| (*lag).max(0));
        Ok(Pace { starts, reads, known_after_ms })
    }
}

#[cfg(test)]
pub(super) const PLANNED: [&str; 1] = [KNOWN_AFTER];
