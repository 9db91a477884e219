//! Whose job it is, for lines about it.

use super::{LedgerError, Reader};

/// The brief of a job, as people know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Whose {
    /// Its id within project and batch.
    pub brief_id: String,
    /// Its batch; '': none.
    pub batch_id: String,
    /// W3C trace context of its message.
    pub traceparent: Option<String>,
}

impl Reader {
    /// Whose job this is; nobody's, if there is no such job.
    pub async fn whose(&self, job: i64) -> Result<Whose, LedgerError> {
        let found = sqlx::query_as(
            "SELECT b.brief_id, b.batch_id, r.traceparent FROM job j JOIN brief b ON b.id = j.brief \
             JOIN run r ON r.brief = j.brief AND r.run = j.run WHERE j.id = $1",
        );
        Ok(found.bind(job).fetch_optional(&self.pool).await?.unwrap_or_default())
    }
}
