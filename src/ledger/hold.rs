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
    /// One batch; '' are the briefs without one.
    Batch {
        /// Its briefs in this project only, by its id.
        project: Option<String>,
        /// The batch's id.
        batch: String,
    },
}

impl HoldScope {
    /// The metric's label and the ledger's word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Project(_) => "project",
            Self::Batch { .. } => "batch",
        }
    }

    /// The project's id; '': the account, or a batch in whatever project.
    pub fn project(&self) -> &str {
        match self {
            Self::Account => "",
            Self::Project(id) => id,
            Self::Batch { project, .. } => project.as_deref().unwrap_or(""),
        }
    }

    /// The batch's id; '' for what is no batch.
    pub fn batch(&self) -> &str {
        match self {
            Self::Account | Self::Project(_) => "",
            Self::Batch { batch, .. } => batch,
        }
    }

    /// Whether it stops the briefs of this batch of this project.
    pub fn stops(&self, project_id: &str, batch_id: &str) -> bool {
        match self {
            Self::Account => true,
            Self::Project(id) => id == project_id,
            Self::Batch { project, batch } => {
                batch == batch_id && project.as_ref().is_none_or(|project| project == project_id)
            }
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
    /// Credits that there are, where the API told.
    pub available: Option<i64>,
    /// Reads are pointless too (a dead key): only probes ask the API.
    pub stops_reads: bool,
    /// Set by an answer (and tested by probes), not by an operator.
    pub by_api: bool,
    /// Since when, milliseconds since 1970.
    pub since_ms: i64,
    /// When it is tested next, milliseconds since 1970; `None`: it is not tested.
    pub probe_ms: Option<i64>,
    /// It seems to be over: one job at a time starts, until one was accepted.
    pub easing: bool,
}

#[derive(sqlx::FromRow)]
struct HoldRow {
    scope: String,
    project: String,
    batch: String,
    class: String,
    reason: String,
    detail: String,
    required: Option<i64>,
    available: Option<i64>,
    set_by: String,
    since: i64,
    probe_at: Option<i64>,
    easing: bool,
}

impl Reader {
    /// Every hold in force, oldest first.
    pub async fn holds(&self) -> Result<Vec<Hold>, LedgerError> {
        let rows: Vec<HoldRow> = sqlx::query_as(
            "SELECT scope, project, batch, class, reason, detail, required, available, set_by, since, probe_at, easing \
             FROM hold ORDER BY since, project, batch, reason",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let scope = match row.scope.as_str() {
                    "account" => HoldScope::Account,
                    "project" => HoldScope::Project(row.project),
                    "batch" => HoldScope::Batch {
                        project: Some(row.project).filter(|project| !project.is_empty()),
                        batch: row.batch,
                    },
                    other => return Err(LedgerError::Corrupt(format!("a hold on a '{other}'"))),
                };
                Ok(Hold {
                    scope,
                    reason: row.reason,
                    detail: row.detail,
                    required: row.required,
                    available: row.available,
                    stops_reads: row.class == "all",
                    by_api: row.set_by == "api",
                    since_ms: row.since,
                    probe_ms: row.probe_at,
                    easing: row.easing,
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
            let known: Option<i64> = sqlx::query_scalar(
                "SELECT since FROM hold WHERE scope = $1 AND project = $2 AND batch = $3 AND reason = $4",
            )
            .bind(hold.scope.word())
            .bind(hold.scope.project())
            .bind(hold.scope.batch())
            .bind(&hold.reason)
            .fetch_optional(&mut *db)
            .await?;
            sqlx::query(
                "INSERT INTO hold (scope, project, batch, class, reason, detail, required, available, set_by, since, probe_at, \
                 easing) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
                 ON CONFLICT (scope, project, batch, reason) DO UPDATE SET class = excluded.class, detail = excluded.detail, \
                 required = excluded.required, available = excluded.available, probe_at = excluded.probe_at, \
                 easing = excluded.easing",
            )
            .bind(hold.scope.word())
            .bind(hold.scope.project())
            .bind(hold.scope.batch())
            .bind(if hold.stops_reads { "all" } else { "starts" })
            .bind(&hold.reason)
            .bind(&hold.detail)
            .bind(hold.required)
            .bind(hold.available)
            .bind(if hold.by_api { "api" } else { "operator" })
            .bind(hold.since_ms)
            .bind(hold.probe_ms)
            .bind(hold.easing)
            .execute(db)
            .await?;
            Ok(known.is_none())
        })
    }
}

/// What is known better about a hold in force: when it is tested next, that it eases off, what the wallet has. Does
/// nothing to one that was lifted meanwhile.
#[derive(Clone, Debug)]
pub struct ChangeHold(pub Hold);

impl Write for ChangeHold {
    /// Whether it is in force.
    type Out = bool;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move {
            let hold = &self.0;
            let changed = sqlx::query(
                "UPDATE hold SET required = $5, available = $6, probe_at = $7, easing = $8 \
                 WHERE scope = $1 AND project = $2 AND batch = $3 AND reason = $4",
            )
            .bind(hold.scope.word())
            .bind(hold.scope.project())
            .bind(hold.scope.batch())
            .bind(&hold.reason)
            .bind(hold.required)
            .bind(hold.available)
            .bind(hold.probe_ms)
            .bind(hold.easing)
            .execute(db)
            .await?;
            Ok(changed.rows_affected() > 0)
        })
    }
}

/// Lifts a hold.
#[derive(Clone, Debug)]
pub struct LiftHold {
    /// What it stopped.
    pub scope: HoldScope,
    /// Its reason code; `None`: whatever stops that scope, but not the key of another organization: under that one
    /// nothing that was bought can be found again, so no word of a person lifts it.
    pub reason: Option<String>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// Which holds a [`LiftHold`] lifts.
macro_rules! lifted {
    ($statement:literal) => {
        concat!(
            $statement,
            " FROM hold WHERE scope = $1 AND project = $2 AND batch = $3 AND (reason = $4 OR ($4 IS NULL AND reason <> 'OTHER_ORGANIZATION'))"
        )
    };
}
/// What briefs waited for belongs to their story.
const REMEMBER: &str = lifted!(
    "INSERT INTO hold_past (scope, project, batch, reason, detail, set_by, since, lifted_at) \
     SELECT scope, project, batch, reason, detail, set_by, since, $5"
);
const LIFT: &str = lifted!("DELETE");

impl Write for LiftHold {
    /// How many were in force.
    type Out = u64;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<u64, LedgerError>> {
        Box::pin(async move {
            let mut lifted = 0;
            for statement in [REMEMBER, LIFT] {
                lifted = sqlx::query(statement)
                    .bind(self.scope.word())
                    .bind(self.scope.project())
                    .bind(self.scope.batch())
                    .bind(&self.reason)
                    .bind(self.now_ms)
                    .execute(&mut *db)
                    .await?
                    .rows_affected();
            }
            Ok(lifted)
        })
    }
}
