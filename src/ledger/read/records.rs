//! The stored bytes of records, in the order they were made.

use serde::{Deserialize, Serialize};

use super::super::{LedgerError, Reader};
use super::OUTBOX;

/// Which records. As an operator asks for them, it is stored too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RecordFilter {
    /// Of this batch; '' for those of briefs without one.
    pub batch: Option<String>,
    /// Of this project.
    pub project: Option<String>,
    /// Of this type.
    pub kind: Option<String>,
    /// Made at or after, milliseconds since 1970.
    pub since_ms: Option<i64>,
}

/// One record as it was, or will be, published.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredRecord {
    /// The ledger's number of it.
    pub id: i64,
    /// Its bytes.
    pub body: Vec<u8>,
}

const WALK: &str = "SELECT o.id, o.body FROM outbox o LEFT JOIN brief b ON b.id = o.brief \
     WHERE o.id > $1 AND o.channel = 'record' AND ($2 IS NULL OR coalesce(b.batch_id, o.batch_id) = $2) \
     AND ($3 IS NULL OR b.project_id = $3) AND ($4 IS NULL OR o.kind = $4) ORDER BY o.id LIMIT $5";

/// What may be sent again: what has left, or cannot, and is the queue's.
macro_rules! again {
    () => {
        " AND o.input = 'queue' AND o.state <> 'pending'"
    };
}

/// `batch_id` as a term picks its index; `+` keeps the other terms from being tempting. The record about the batch itself
/// is of no project.
macro_rules! ids_of_batch {
    ($more:expr) => {
        concat!(
            "SELECT o.id FROM brief b CROSS JOIN outbox o ON o.brief = b.id WHERE b.batch_id = $1 \
             AND ($2 IS NULL OR b.project_id = $2) AND o.channel = 'record' AND ($3 IS NULL OR o.kind = $3) \
             AND +o.id > $4 AND +o.id <= $5",
            $more,
            " UNION ALL SELECT o.id FROM outbox o WHERE o.batch_id = $1 AND $2 IS NULL AND ($3 IS NULL OR o.kind = $3) \
             AND +o.id > $4 AND +o.id <= $5",
            $more
        )
    };
}
macro_rules! ids_of_project {
    ($more:expr) => {
        concat!(
            "SELECT o.id FROM brief b CROSS JOIN outbox o ON o.brief = b.id WHERE b.project_id = $1 \
             AND ($2 IS NULL OR b.batch_id = $2) AND o.channel = 'record' AND ($3 IS NULL OR o.kind = $3) \
             AND +o.id > $4 AND +o.id <= $5",
            $more
        )
    };
}
const IDS_OF_BATCH: &str = ids_of_batch!("");
const IDS_OF_PROJECT: &str = ids_of_project!("");
const AGAIN_OF_BATCH: &str = ids_of_batch!(again!());
const AGAIN_OF_PROJECT: &str = ids_of_project!(again!());
const AGAIN: &str = concat!(
    "SELECT o.id FROM outbox o WHERE o.channel = 'record' AND $1 IS NULL AND $2 IS NULL AND ($3 IS NULL OR o.kind = $3) \
     AND o.id > $4 AND o.id <= $5",
    again!()
);

impl Reader {
    /// The number of the newest outbox row; 0 when there is none.
    pub async fn newest_outbox_row(&self) -> Result<i64, LedgerError> {
        let newest: Option<i64> =
            sqlx::query_scalar("SELECT max(id) FROM outbox").fetch_one(&self.pool).await?;
        Ok(newest.unwrap_or(0))
    }

    /// Where a walk with this filter starts: after the last row that is older than its `since`.
    pub async fn records_start(&self, filter: &RecordFilter) -> Result<i64, LedgerError> {
        match filter.since_ms {
            Some(since_ms) => self.last_before(&OUTBOX, since_ms).await,
            None => Ok(0),
        }
    }

    /// Up to `limit` records after row `after`, in order.
    pub async fn records_after(
        &self,
        filter: &RecordFilter,
        after: i64,
        limit: u32,
    ) -> Result<Vec<StoredRecord>, LedgerError> {
        Ok(sqlx::query_as(WALK)
            .bind(after)
            .bind(&filter.batch)
            .bind(&filter.project)
            .bind(&filter.kind)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?)
    }

    /// The numbers of all records of a batch or project between two rows (`after`, up to and with `until`), in order:
    /// a few bytes each, so that a small batch in a large ledger is found without a walk. `None`: the filter names
    /// neither, walk instead.
    pub async fn record_ids(
        &self,
        filter: &RecordFilter,
        (after, until): (i64, i64),
    ) -> Result<Option<Vec<i64>>, LedgerError> {
        let query = match (&filter.batch, &filter.project) {
            (Some(_), _) => IDS_OF_BATCH,
            (None, Some(_)) => IDS_OF_PROJECT,
            (None, None) => return Ok(None),
        };
        self.ids(query, filter, (after, until)).await.map(Some)
    }

    /// The numbers of the records that may be sent again, of those up to and with row `until`, in order.
    pub async fn records_to_send_again(
        &self,
        filter: &RecordFilter,
        until: i64,
    ) -> Result<Vec<i64>, LedgerError> {
        let query = match (&filter.batch, &filter.project) {
            (Some(_), _) => AGAIN_OF_BATCH,
            (None, Some(_)) => AGAIN_OF_PROJECT,
            (None, None) => AGAIN,
        };
        let after = self.records_start(filter).await?;
        self.ids(query, filter, (after, until)).await
    }

    async fn ids(
        &self,
        query: &'static str,
        filter: &RecordFilter,
        (after, until): (i64, i64),
    ) -> Result<Vec<i64>, LedgerError> {
        let (first, second) = match (&filter.batch, &filter.project) {
            (Some(batch), project) => (Some(batch), project.as_ref()),
            (None, project) => (project.as_ref(), None),
        };
        let mut ids: Vec<i64> = sqlx::query_scalar(query)
            .bind(first)
            .bind(second)
            .bind(&filter.kind)
            .bind(after)
            .bind(until)
            .fetch_all(&self.pool)
            .await?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// The record of one outbox row.
    pub async fn record_body(&self, id: i64) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(sqlx::query_scalar("SELECT body FROM outbox WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?)
    }
}

#[cfg(test)]
pub(super) const PLANNED: [&str; 6] =
    [WALK, IDS_OF_BATCH, IDS_OF_PROJECT, AGAIN_OF_BATCH, AGAIN_OF_PROJECT, AGAIN];
