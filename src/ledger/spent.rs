//! What a process drew from the API's rate limits, so that the one after it does not draw it again.
//!
//! One small table for reads, short writes and starts: how many requests were drawn when. Starts are stored by the claim
//! that takes them ([`super::Claim`]), the others in slices, before the first request of a slice leaves ([`Spend`]). How
//! long a row counts is not known here; who inserts one says which are too old to keep.

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;

use super::open::set_meta;
use super::writer::Write;
use super::{Ledger, LedgerError};

/// The class of what a claim takes.
const START: &str = "start";
/// Rows that are read at most, the newest of them. The fastest key makes a fifth of that before they are forgotten.
const MOST: i64 = 100_000;

/// Stores that requests of one class may leave from now on.
#[derive(Clone, Debug)]
pub struct Spend {
    /// `read` or `write`.
    pub class: &'static str,
    /// When they were drawn, milliseconds since 1970.
    pub drawn_ms: i64,
    /// How many.
    pub n: u32,
    /// What was drawn before is forgotten, whatever its class.
    pub forget_before_ms: i64,
}

impl Write for Spend {
    type Out = ();

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(insert(db, self.class, self.drawn_ms, i64::from(self.n), self.forget_before_ms))
    }
}

/// Stores that `n` starts may leave from now on, if any.
pub(super) async fn spend_starts(
    db: &mut SqliteConnection,
    n: usize,
    drawn_ms: i64,
    forget_before_ms: i64,
) -> Result<(), LedgerError> {
    match i64::try_from(n).unwrap_or(i64::MAX) {
        0 => Ok(()),
        n => insert(db, START, drawn_ms, n, forget_before_ms).await,
    }
}

async fn insert(
    db: &mut SqliteConnection,
    class: &str,
    drawn_ms: i64,
    n: i64,
    forget_before_ms: i64,
) -> Result<(), LedgerError> {
    sqlx::query("DELETE FROM spent WHERE drawn_at < $1").bind(forget_before_ms).execute(&mut *db).await?;
    sqlx::query("INSERT INTO spent (class, drawn_at, n) VALUES ($1, $2, $3)")
        .bind(class)
        .bind(drawn_ms)
        .bind(n)
        .execute(&mut *db)
        .await?;
    Ok(())
}

/// The name in `meta` of what `whoami` told last.
const TIER: &str = "tier";

/// Stores the tier that `whoami` told: what is spent is counted against its numbers at the next start, too, before
/// anybody has asked again.
#[derive(Clone, Debug)]
pub struct RememberTier(pub String);

impl Write for RememberTier {
    type Out = ();

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(set_meta(db, TIER, &self.0))
    }
}

impl Ledger {
    /// What was drawn and is not forgotten, the oldest first: class, milliseconds since 1970, how many.
    pub async fn spent(&self) -> Result<Vec<(String, i64, u32)>, LedgerError> {
        let rows: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT class, drawn_at, n FROM spent ORDER BY drawn_at DESC LIMIT $1")
                .bind(MOST)
                .fetch_all(&self.reader().pool)
                .await?;
        let counted = |(class, drawn_ms, n)| (class, drawn_ms, u32::try_from(n).unwrap_or(u32::MAX));
        Ok(rows.into_iter().rev().map(counted).collect())
    }

    /// The tier that `whoami` told last.
    pub async fn tier(&self) -> Result<Option<String>, LedgerError> {
        self.reader().meta(TIER).await
    }
}
