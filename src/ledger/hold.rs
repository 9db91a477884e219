//! Holds: why starts wait although nothing is wrong with the briefs (P6). They survive restarts.

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;

use super::writer::Write;
use super::{LedgerError, Reader};

/// What a hold stops.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoldScope {
    /// Everything.
    Account,
    /// One project, by its id.
    Project(String),
    /// One batch of one project, or of all (then the project is empty).
    Batch(String),
}

impl HoldScope {
    /// The metric's label and the ledger's word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Project(_) => "project",
            Self::Batch(_) => "batch",
        }
    }

    /// What it names; '' for the account.
    pub fn target(&self) -> &str {
        match self {
            Self::Account => "",
            Self::Project(id) | Self::Batch(id) => id,
        }
    }
}

/// One hold in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What it stops.
    pub scope: HoldScope,
    /// Why, as a code.
    pub reason: String,
    /// Why, in one line.
    pub detail: String,
    /// Credits that a start needs, where the API told.
    pub required: Option<i64>,
    /// Set by an answer (and tested by probes), not by an operator.
    pub by_api: bool,
    /// Since when, milliseconds since 1970.
    pub since_ms: i64,
    /// When it is tested next, milliseconds since 1970; `None`: it is not tested.
    pub probe_ms: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct HoldRow {
    scope: String,
    target: String,
    reason: String,
    detail: String,
    required: Option<i64>,
    set_by: String,
    since: i64,
    probe_at: Option<i64>,
}

impl Reader {
    /// Every hold in force, oldest first.
    pub async fn holds(&self) -> Result<Vec<Hold>, LedgerError> {
        let rows: Vec<HoldRow> = sqlx::query_as(
            "SELECT scope, target, reason, detail, required, set_by, since, probe_at FROM hold ORDER BY since, target",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let scope = match row.scope.as_str() {
                    "account" => HoldScope::Account,
                    "project" => HoldScope::Project(row.target),
                    "batch" => HoldScope::Batch(row.target),
                    other => return Err(LedgerError::Corrupt(format!("a hold on a '{other}'"))),
                };
                Ok(Hold {
                    scope,
                    reason: row.reason,
                    detail: row.detail,
                    required: row.required,
                    by_api: row.set_by == "api",
                    since_ms: row.since,
                    probe_ms: row.probe_at,
                })
            })
            .collect()
    }
}

/// Sets a hold, or moves the next probe of one that is in force.
#[derive(Clone, Debug)]
pub struct SetHold(pub Hold);

impl Write for SetHold {
    /// Whether it is new.
    type Out = bool;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move {
            let hold = &self.0;
            let known: Option<i64> =
                sqlx::query_scalar("SELECT since FROM hold WHERE scope = $1 AND target = $2 AND reason = $3")
                    .bind(hold.scope.word())
                    .bind(hold.scope.target())
                    .bind(&hold.reason)
                    .fetch_optional(&mut *db)
                    .await?;
            sqlx::query(
                "INSERT INTO hold (scope, target, class, reason, detail, required, set_by, since, probe_at) \
                 VALUES ($1, $2, 'starts', $3, $4, $5, $6, $7, $8) ON CONFLICT (scope, target, reason) \
                 DO UPDATE SET detail = excluded.detail, required = excluded.required, probe_at = excluded.probe_at",
            )
            .bind(hold.scope.word())
            .bind(hold.scope.target())
            .bind(&hold.reason)
            .bind(&hold.detail)
            .bind(hold.required)
            .bind(if hold.by_api { "api" } else { "operator" })
            .bind(hold.since_ms)
            .bind(hold.probe_ms)
            .execute(db)
            .await?;
            Ok(known.is_none())
        })
    }
}

/// Lifts a hold.
#[derive(Clone, Debug)]
pub struct LiftHold {
    /// What it stopped.
    pub scope: HoldScope,
    /// Its reason code; `None`: whatever stops that scope.
    pub reason: Option<String>,
}

impl Write for LiftHold {
    /// How many were in force.
    type Out = u64;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<u64, LedgerError>> {
        Box::pin(async move {
            let lifted = sqlx::query(
                "DELETE FROM hold WHERE scope = $1 AND target = $2 AND ($3 IS NULL OR reason = $3)",
            )
            .bind(self.scope.word())
            .bind(self.scope.target())
            .bind(&self.reason)
            .execute(db)
            .await?;
            Ok(lifted.rows_affected())
        })
    }
}
