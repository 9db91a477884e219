//! Looking after the file itself: is it sound, a copy of it while it is in use, and a log that does not grow for ever.

use std::path::Path;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::open::{quiet, set_meta};
use super::writer::Write;
use super::{Ledger, LedgerError, Reader};

const PRUNE_BEFORE: &str = "prune_before";

impl Reader {
    /// What is wrong with the file itself, a line each and not more than a screenful; empty: sound. Reads all of it.
    pub async fn damage(&self) -> Result<Vec<String>, LedgerError> {
        let mut lines: Vec<String> =
            sqlx::query_scalar("PRAGMA integrity_check(20)").fetch_all(&self.pool).await?;
        lines.retain(|line| line != "ok");
        let strays: Vec<(String, i64)> =
            sqlx::query_as("SELECT \"table\", count(*) FROM pragma_foreign_key_check GROUP BY 1")
                .fetch_all(&self.pool)
                .await?;
        lines.extend(strays.into_iter().map(|(table, n)| format!("{n} rows of {table} refer to none")));
        Ok(lines)
    }

    /// Copies the ledger as it is now to a new file, whoever writes meanwhile. The log of changes cannot be emptied
    /// until the copy is made.
    pub async fn copy_to(&self, file: &Path) -> Result<(), LedgerError> {
        sqlx::query("VACUUM INTO $1").bind(file.to_string_lossy()).execute(&self.pool).await?;
        Ok(())
    }
}

impl Ledger {
    /// Empties the log of changes (`-wal`) into the ledger, unless somebody reads for longer than `patience`: everybody
    /// who writes waits meanwhile. `true`: done.
    ///
    /// `SQLite` does so by itself, but only when nobody is reading; under readers that overlap without a gap the log
    /// would grow without end.
    pub async fn checkpoint(&self, patience: Duration) -> Result<bool, LedgerError> {
        let options = SqliteConnectOptions::new().filename(self.reader().path()).busy_timeout(patience);
        let mut connection = quiet(options).connect().await?;
        // Most of it without anybody waiting: emptying it then takes a moment.
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut connection).await?;
        let (busy, _, _): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(busy == 0)
    }

    /// An operator's wish to prune what ended before this, milliseconds since 1970.
    pub async fn prune_before(&self) -> Result<Option<i64>, LedgerError> {
        Ok(self.reader().meta(PRUNE_BEFORE).await?.and_then(|before| before.parse().ok()))
    }
}

/// Notes an operator's wish to prune what ended before this, milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct PruneBefore(pub i64);

impl Write for PruneBefore {
    type Out = ();

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move { set_meta(db, PRUNE_BEFORE, &self.0.to_string()).await })
    }
}
