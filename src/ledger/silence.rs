//! Briefs that the API has left without an answer: what `status` tells while nothing is held yet.

use super::{LedgerError, Reader};

/// Briefs whose last attempt got no answer, or whose outcome is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// A POST of theirs may have left: each is asked about again under its key.
    pub unknown: i64,
    /// Since when the oldest of these, milliseconds since 1970.
    pub unknown_since: Option<i64>,
    /// Nothing of theirs has left: no connection came about.
    pub unsent: i64,
    /// Since when the oldest of these, milliseconds since 1970.
    pub unsent_since: Option<i64>,
}

/// From the two small partial indexes of jobs that are silent, and jobs that are `submitting`.
const SILENT: &str = "SELECT count(DISTINCT CASE WHEN unknown THEN brief END), min(CASE WHEN unknown THEN since END), \
    count(DISTINCT CASE WHEN NOT unknown THEN brief END), min(CASE WHEN NOT unknown THEN since END) FROM ( \
    SELECT brief, unknown_first_at IS NOT NULL AS unknown, coalesce(unknown_first_at, attempt_at) AS since FROM job \
    WHERE silent AND state IN ('ready', 'submitting') AND ($1 IS NULL OR batch_id = $1) \
    UNION SELECT brief, TRUE, unknown_first_at FROM job \
    WHERE state = 'submitting' AND unknown_first_at IS NOT NULL AND ($1 IS NULL OR batch_id = $1))";

impl Reader {
    /// How many briefs wait for an answer of the API that did not come; of this batch only, if given.
    pub async fn silence(&self, batch: Option<&str>) -> Result<Silence, LedgerError> {
        let (unknown, unknown_since, unsent, unsent_since) =
            sqlx::query_as(SILENT).bind(batch).fetch_one(&self.pool).await?;
        Ok(Silence { unknown, unknown_since, unsent, unsent_since })
    }
}
