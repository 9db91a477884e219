//! What became of messages that were sent: only a real confirmation of that very message marks it sent.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;

use super::sets::Values;
use super::writer::Write;
use super::{LedgerError, sets};
use crate::flow::SendOutcome;

/// A message that closed its channel this often while alone is parked.
const ALONE_LIMIT: i64 = 2;

/// Sends records again, unchanged: those that have left, were dropped, or were parked. Only the queue's have somebody
/// who hears them.
#[derive(Clone, Debug)]
pub struct SendAgain {
    /// The outbox rows.
    pub rows: Vec<i64>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Write for SendAgain {
    /// How many shall leave now that did not before.
    type Out = usize;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<usize, LedgerError>> {
        Box::pin(async move {
            let mut again = 0;
            for row in &self.rows {
                let changed = sqlx::query(
                    "UPDATE outbox SET state = 'pending', due_at = $2, attempts = 0, alone = 0 WHERE id = $1 \
                     AND channel = 'record' AND input = 'queue' AND state IN ('sent', 'dropped', 'parked')",
                )
                .bind(row)
                .bind(self.now_ms)
                .execute(&mut *db)
                .await?;
                again += usize::from(changed.rows_affected() == 1);
            }
            Ok(again)
        })
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }
}

/// What became of one row.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The row.
    pub row: i64,
    /// What the sink said.
    pub outcome: SendOutcome,
    /// When to try again, milliseconds since 1970.
    pub retry_ms: i64,
    /// No queue is bound, and this type may be dropped then.
    pub drop_unroutable: bool,
    /// It was the only message of its batch.
    pub was_alone: bool,
}

/// Notes what became of a batch. Only a real confirmation of that very message marks it sent.
#[derive(Debug)]
pub struct MarkSent {
    /// One for each message of the batch.
    pub sent: Vec<Sent>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Write for MarkSent {
    /// How many were parked.
    type Out = usize;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<usize, LedgerError>> {
        Box::pin(async move {
            let confirmed = |sent: &&Sent| sent.outcome == SendOutcome::Sent;
            let rows: Vec<i64> = self.sent.iter().filter(confirmed).map(|sent| sent.row).collect();
            self.confirm(db, &rows).await?;
            let mut parked = 0;
            let mut unroutable = BTreeMap::new();
            let mut forbidden = BTreeMap::new();
            for sent in self.sent.iter().filter(|sent| !confirmed(sent)) {
                parked += usize::from(self.mark(db, sent).await?);
                if sent.outcome == SendOutcome::Unroutable && !sent.drop_unroutable {
                    let key = RoutingKey::of(db, sent.row).await?;
                    let until_ms = unroutable.entry(key).or_insert(sent.retry_ms);
                    *until_ms = sent.retry_ms.max(*until_ms);
                }
                if sent.outcome == SendOutcome::Forbidden {
                    let key = RoutingKey::of(db, sent.row).await?;
                    forbidden.insert((key.input, key.channel), sent.retry_ms);
                }
            }
            for ((input, channel), until_ms) in forbidden {
                delay_exchange(db, (&input, &channel), until_ms).await?;
            }
            for (key, until_ms) in unroutable {
                key.delay(db, until_ms).await?;
            }
            Ok(parked)
        })
    }

    fn rows(&self) -> usize {
        self.sent.len()
    }
}

impl MarkSent {
    /// Notes real confirmations. A dead letter's body is the broker's now; a record's is kept for the next time.
    async fn confirm(&self, db: &mut SqliteConnection, rows: &[i64]) -> Result<(), LedgerError> {
        for part in sets::parts(rows) {
            let update = (
                "UPDATE outbox SET state = 'sent', sent_at = ?, sends = sends + 1, attempts = 0, \
                 body = CASE channel WHEN 'dead_letter' THEN x'' ELSE body END WHERE state = 'pending' AND id IN (",
                ")",
            );
            let mut values = Values::default();
            values.push_bind(self.now_ms);
            sets::ids_behind(update, values, part).execute(db).await?;
        }
        Ok(())
    }

    /// Notes one outcome; `true`: the row is parked.
    async fn mark(&self, db: &mut SqliteConnection, sent: &Sent) -> Result<bool, LedgerError> {
        match sent.outcome {
            SendOutcome::Sent => self.confirm(db, &[sent.row]).await.map(|()| false),
            SendOutcome::Unroutable if sent.drop_unroutable => {
                sqlx::query("UPDATE outbox SET state = 'dropped' WHERE id = $1 AND state = 'pending'")
                    .bind(sent.row)
                    .execute(db)
                    .await?;
                Ok(false)
            }
            SendOutcome::Unroutable | SendOutcome::Refused | SendOutcome::Forbidden => {
                self.delay(db, sent, false).await
            }
            SendOutcome::Unknown { channel_closed } => {
                self.delay(db, sent, channel_closed && sent.was_alone).await
            }
            SendOutcome::Impossible => self.park(db, sent.row).await,
        }
    }

    async fn delay(
        &self,
        db: &mut SqliteConnection,
        sent: &Sent,
        suspect: bool,
    ) -> Result<bool, LedgerError> {
        let alone: Option<i64> = sqlx::query_scalar(
            "UPDATE outbox SET due_at = $2, attempts = attempts + 1, alone = alone + $3 \
             WHERE id = $1 AND state = 'pending' RETURNING alone",
        )
        .bind(sent.row)
        .bind(sent.retry_ms)
        .bind(i64::from(suspect))
        .fetch_optional(&mut *db)
        .await?;
        if alone.is_some_and(|times| times >= ALONE_LIMIT) {
            return self.park(db, sent.row).await;
        }
        Ok(false)
    }

    async fn park(&self, db: &mut SqliteConnection, row: i64) -> Result<bool, LedgerError> {
        let changed = sqlx::query("UPDATE outbox SET state = 'parked' WHERE id = $1 AND state = 'pending'")
            .bind(row)
            .execute(db)
            .await?;
        Ok(changed.rows_affected() == 1)
    }
}

/// Everything that goes to one exchange waits: we may not publish there.
async fn delay_exchange(
    db: &mut SqliteConnection,
    (input, channel): (&str, &str),
    until_ms: i64,
) -> Result<(), LedgerError> {
    sqlx::query(
        "UPDATE outbox SET due_at = $3 WHERE state = 'pending' AND input = $1 AND channel = $2 AND due_at < $3",
    )
    .bind(input)
    .bind(channel)
    .bind(until_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// Where messages go that nobody is bound for.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
struct RoutingKey {
    input: String,
    channel: String,
    key: String,
}

impl RoutingKey {
    async fn of(db: &mut SqliteConnection, row: i64) -> Result<Self, LedgerError> {
        Ok(sqlx::query_as("SELECT input, channel, routing_key AS key FROM outbox WHERE id = $1")
            .bind(row)
            .fetch_one(db)
            .await?)
    }

    /// Everything that goes there waits, not only the rows that were tried.
    async fn delay(&self, db: &mut SqliteConnection, until_ms: i64) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE outbox SET due_at = $4 WHERE state = 'pending' AND input = $1 AND channel = $2 \
             AND routing_key = $3 AND due_at < $4",
        )
        .bind(&self.input)
        .bind(&self.channel)
        .bind(&self.key)
        .bind(until_ms)
        .execute(db)
        .await?;
        Ok(())
    }
}
