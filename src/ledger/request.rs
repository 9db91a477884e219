//! What operators ask for. Commands append one row in a short transaction; the worker carries it out.

use std::path::Path;

use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::open::quiet;
use super::rows::{Table, next_id};
use super::writer::Write;
use super::{LedgerError, Reader};
use crate::crash_point::reached;

/// Something an operator asked for.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Request {
    /// Its number.
    pub id: i64,
    /// When, milliseconds since 1970.
    pub at: i64,
    /// What: `hold`, `release`, …
    pub kind: String,
    /// Of what, as JSON.
    pub args: String,
    /// By whom.
    pub who: String,
    /// Why, in their words.
    pub reason: String,
}

impl Request {
    /// Appends a request to the ledger at `path`, beside a worker that may be running; returns its number.
    pub async fn append(path: &Path, asked: &Self) -> Result<i64, LedgerError> {
        let mut connection = beside(path).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let id = next_id(&mut transaction, Table::Request).await?;
        sqlx::query("INSERT INTO request (id, at, kind, args, who, reason) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(id)
            .bind(asked.at)
            .bind(&asked.kind)
            .bind(&asked.args)
            .bind(&asked.who)
            .bind(&asked.reason)
            .execute(&mut *transaction)
            .await?;
        reached("ledger", "append", "before_commit");
        transaction.commit().await?;
        reached("ledger", "append", "after_commit");
        connection.close().await?;
        Ok(id)
    }
}

/// A connection that may write, in short transactions, beside a worker that may be running.
pub(super) async fn beside(path: &Path) -> Result<SqliteConnection, LedgerError> {
    if !path.exists() {
        return Err(LedgerError::Missing(path.to_owned()));
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(std::time::Duration::from_secs(10))
        .foreign_keys(true);
    Ok(quiet(options).connect().await?)
}

impl Reader {
    /// Requests that nobody has carried out yet, oldest first.
    pub async fn open_requests(&self, limit: u32) -> Result<Vec<Request>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT id, at, kind, args, who, reason FROM request WHERE done_at IS NULL ORDER BY id LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await?)
    }

    /// What came of a request; `None`: nobody has carried it out yet.
    pub async fn request_outcome(&self, id: i64) -> Result<Option<String>, LedgerError> {
        Ok(sqlx::query_scalar(
            "SELECT coalesce(outcome, '') FROM request WHERE id = $1 AND done_at IS NOT NULL",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?)
    }
}

/// Notes that a request was carried out.
#[derive(Clone, Debug)]
pub struct RequestDone {
    /// Its number.
    pub id: i64,
    /// What came of it, in one line.
    pub outcome: String,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Write for RequestDone {
    type Out = ();

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            sqlx::query("UPDATE request SET done_at = $2, outcome = $3 WHERE id = $1 AND done_at IS NULL")
                .bind(self.id)
                .bind(self.now_ms)
                .bind(&self.outcome)
                .execute(db)
                .await?;
            Ok(())
        })
    }
}
