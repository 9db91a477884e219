//! Plans of reruns: stored when they are shown, carried out as they were shown, once.
//!
//! Life of a plan: `draft` (its rows are being stored) → `planned` → `starting` ⇄ `canary` (so many were started first,
//! and are waited for) → `started`; or `stopped`: not every brief of the canary completed. A row is `pending` until its
//! brief's next run is started, or it is left out because the brief changed since. Both happen in one transaction with
//! the row's own state, so whoever dies in the middle goes on where it was, and nothing starts twice.

mod start;

use std::path::Path;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use super::request::beside;
use super::rows::{Table, next_id};
use super::writer::Write;
use super::{LedgerError, Reader};
use crate::crash_point::reached;

pub use start::{PlanStep, StartPlanned};

/// Rows that are stored in one transaction: a worker beside must not wait for long.
const ROWS_AT_ONCE: usize = 200;

/// Where a plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PlanState {
    /// It is being stored.
    Draft,
    /// It was shown, and waits for a word.
    Planned,
    /// Its briefs are being started.
    Starting,
    /// Its first briefs were started, and are waited for.
    Canary,
    /// Not all of the first briefs completed: the others wait for a word.
    Stopped,
    /// All of its briefs were started or left out.
    Started,
}

impl PlanState {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Draft, Self::Planned, Self::Starting, Self::Canary, Self::Stopped, Self::Started];

    /// The ledger's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Planned => "planned",
            Self::Starting => "starting",
            Self::Canary => "canary",
            Self::Stopped => "stopped",
            Self::Started => "started",
        }
    }

    pub(super) fn from_word(word: &str) -> Result<Self, LedgerError> {
        let found = Self::ALL.into_iter().find(|state| state.word() == word);
        found.ok_or_else(|| LedgerError::Corrupt(format!("a plan is '{word}'")))
    }
}

/// A container that a rerun takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// Which variant.
    pub variant: i64,
    /// A reviewer rejected it: it is regenerated although it completed.
    pub rejected: bool,
}

/// What a run asks for, where it is not what the run before asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// Of the request, as hex.
    pub fingerprint: String,
    /// The API's request fields.
    pub request: String,
    /// `metadata`, raw JSON text.
    pub metadata: Option<String>,
    /// What is asked for.
    pub format: Option<String>,
    /// Containers asked for.
    pub variant_count: u8,
    /// 0 to 9, higher first.
    pub priority: u8,
    /// No POST before, milliseconds since 1970.
    pub not_before_ms: Option<i64>,
    /// Fails if no POST has left by then, milliseconds since 1970.
    pub expires_at_ms: Option<i64>,
}

/// One brief of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPlanRow {
    /// The ledger's number of the brief.
    pub brief: i64,
    /// Its run when it was looked at.
    pub from_run: i64,
    /// When it had changed last when it was looked at, milliseconds since 1970.
    pub changed_ms: i64,
    /// Containers to run again; none: it is submitted anew.
    pub take: Vec<Take>,
    /// What it asks for, if not what it asked for before.
    pub content: Option<Content>,
}

/// A plan that is to be stored.
#[derive(Clone, Debug)]
pub struct NewPlan {
    /// Who made it.
    pub who: String,
    /// Why, in their words.
    pub reason: String,
    /// What is shown of it, as JSON.
    pub shown: String,
    /// Start so many first, and wait for them; 0: all at once.
    pub canary: u64,
    /// Its briefs, in the order in which they start.
    pub rows: Vec<NewPlanRow>,
}

impl NewPlan {
    /// Stores it in the ledger at `path`, beside a worker that may be running; returns its number. Should this end in the
    /// middle, what is stored is a draft that nobody carries out.
    pub async fn store(&self, path: &Path, now_ms: i64) -> Result<i64, LedgerError> {
        let mut db = beside(path).await?;
        let mut transaction = db.begin_with("BEGIN IMMEDIATE").await?;
        let id = next_id(&mut transaction, Table::Plan).await?;
        sqlx::query(
            "INSERT INTO plan (id, at, who, reason, shown, state, canary, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $2)",
        )
        .bind(id)
        .bind(now_ms)
        .bind(&self.who)
        .bind(&self.reason)
        .bind(&self.shown)
        .bind(PlanState::Draft.word())
        .bind(i64::try_from(self.canary).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
        reached("ledger", "plan", "before_commit");
        transaction.commit().await?;
        reached("ledger", "plan", "after_commit");
        for (chunk, rows) in self.rows.chunks(ROWS_AT_ONCE).enumerate() {
            let mut transaction = db.begin_with("BEGIN IMMEDIATE").await?;
            for (at, row) in rows.iter().enumerate() {
                let place = i64::try_from(chunk * ROWS_AT_ONCE + at + 1).unwrap_or(i64::MAX);
                row.insert(&mut transaction, (id, place)).await?;
            }
            reached("ledger", "plan_rows", "before_commit");
            transaction.commit().await?;
            reached("ledger", "plan_rows", "after_commit");
        }
        reached("ledger", "planned", "before_commit");
        sqlx::query("UPDATE plan SET state = $2 WHERE id = $1")
            .bind(id)
            .bind(PlanState::Planned.word())
            .execute(&mut db)
            .await?;
        reached("ledger", "planned", "after_commit");
        db.close().await?;
        Ok(id)
    }
}

impl NewPlanRow {
    async fn insert(&self, db: &mut SqliteConnection, (plan, place): (i64, i64)) -> Result<(), LedgerError> {
        let broken =
            |error: serde_json::Error| LedgerError::Corrupt(format!("row {place} of a plan: {error}"));
        let take = serde_json::to_string(&self.take).map_err(broken)?;
        let content = self.content.as_ref().map(serde_json::to_string).transpose().map_err(broken)?;
        sqlx::query(
            "INSERT INTO plan_row (plan, place, brief, from_run, changed_at, take, content, state) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending')",
        )
        .bind(plan)
        .bind(place)
        .bind(self.brief)
        .bind(self.from_run)
        .bind(self.changed_ms)
        .bind(take)
        .bind(content)
        .execute(db)
        .await?;
        Ok(())
    }
}

/// Says that a plan is to be carried out.
#[derive(Clone, Debug)]
pub struct ApprovePlan {
    /// Its number.
    pub plan: i64,
    /// Start so many first, and wait for them; `None`: as it was planned. 0 also lets a stopped plan go on.
    pub canary: Option<u64>,
    /// Who says so, and why; '': as it was planned. It is the one who spends that the story names.
    pub said: (String, String),
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// What a word about a plan changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approved {
    /// It starts now.
    Starts,
    /// It had stopped, and goes on now.
    GoesOn,
    /// Nothing: it is under way or over already.
    Already(PlanState),
    /// There is no such plan.
    Unknown,
}

impl Write for ApprovePlan {
    type Out = Approved;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Approved, LedgerError>> {
        Box::pin(async move {
            let found: Option<(String, i64)> = sqlx::query_as("SELECT state, canary FROM plan WHERE id = $1")
                .bind(self.plan)
                .fetch_optional(&mut *db)
                .await?;
            let Some((state, planned)) = found else { return Ok(Approved::Unknown) };
            let asked = self.canary.map(|canary| i64::try_from(canary).unwrap_or(i64::MAX));
            let (approved, canary) = match (PlanState::from_word(&state)?, asked) {
                (PlanState::Planned, asked) => (Approved::Starts, asked.unwrap_or(planned)),
                (PlanState::Stopped, Some(0)) => (Approved::GoesOn, 0),
                (PlanState::Draft, _) => return Ok(Approved::Unknown),
                (
                    state @ (PlanState::Stopped
                    | PlanState::Starting
                    | PlanState::Canary
                    | PlanState::Started),
                    _,
                ) => return Ok(Approved::Already(state)),
            };
            let (who, reason) = &self.said;
            sqlx::query(
                "UPDATE plan SET state = $2, canary = $3, changed_at = $4, \
                 who = coalesce(nullif($5, ''), who), reason = coalesce(nullif($6, ''), reason) WHERE id = $1",
            )
                .bind(self.plan)
                .bind(PlanState::Starting.word())
                .bind(canary)
                .bind(self.now_ms)
                .bind(who)
                .bind(reason)
                .execute(db)
                .await?;
            Ok(approved)
        })
    }
}

/// Notes how the canary of a plan ended: the rest goes on by itself, or waits for a word.
#[derive(Clone, Debug)]
pub struct CanaryEnded {
    /// The plan.
    pub plan: i64,
    /// Every brief of it completed.
    pub completed: bool,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Write for CanaryEnded {
    type Out = ();

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let state = if self.completed { PlanState::Starting } else { PlanState::Stopped };
            sqlx::query(
                "UPDATE plan SET state = $2, changed_at = $3, canary = CASE WHEN $4 THEN 0 ELSE canary END \
                 WHERE id = $1 AND state = 'canary'",
            )
            .bind(self.plan)
            .bind(state.word())
            .bind(self.now_ms)
            .bind(self.completed)
            .execute(db)
            .await?;
            Ok(())
        })
    }
}

/// A stored plan, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPlan {
    /// Its number.
    pub id: i64,
    /// When it was made, milliseconds since 1970.
    pub at_ms: i64,
    /// By whom.
    pub who: String,
    /// Why, in their words.
    pub reason: String,
    /// What was shown of it, as JSON.
    pub shown: String,
    /// Where it stands.
    pub state: PlanState,
    /// Briefs that start first and are waited for; 0: none, or they have completed.
    pub canary: i64,
    /// When its state changed last, milliseconds since 1970.
    pub changed_ms: i64,
    /// Briefs whose turn has not come.
    pub pending: i64,
    /// Briefs that were started.
    pub started: i64,
    /// Briefs that were left out because they had changed.
    pub left_out: i64,
}

/// One brief of a stored plan.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PlanRow {
    /// Its place in the order of starting, from 1.
    pub place: i64,
    /// The ledger's number of the brief.
    pub brief: i64,
    /// The project.
    pub project_id: String,
    /// The batch, or ''.
    pub batch_id: String,
    /// Its id within project and batch.
    pub brief_id: String,
    /// `pending`, `started` or `left_out`.
    pub state: String,
    /// The run that was started.
    pub run: Option<i64>,
    /// The state of that run.
    pub run_state: Option<String>,
    /// Why it was left out.
    pub why: Option<String>,
}

/// How the runs that a plan started have ended, or have not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct PlanEnds {
    /// Not yet.
    pub open: i64,
    /// With everything that was asked for.
    pub completed: i64,
    /// Without.
    pub not_completed: i64,
}

type PlanTuple = (i64, i64, String, String, String, String, i64, i64);

impl Reader {
    /// One plan; a draft is none.
    pub async fn plan(&self, id: i64) -> Result<Option<StoredPlan>, LedgerError> {
        let found: Option<PlanTuple> = sqlx::query_as(
            "SELECT id, at, who, reason, shown, state, canary, changed_at FROM plan WHERE id = $1 AND state <> 'draft'",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        let Some((id, at_ms, who, reason, shown, state, canary, changed_ms)) = found else { return Ok(None) };
        let counts: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, count(*) FROM plan_row WHERE plan = $1 GROUP BY state")
                .bind(id)
                .fetch_all(&self.pool)
                .await?;
        let count = |state: &str| counts.iter().find(|(known, _)| known == state).map_or(0, |(_, n)| *n);
        Ok(Some(StoredPlan {
            id,
            at_ms,
            who,
            reason,
            shown,
            state: PlanState::from_word(&state)?,
            canary,
            changed_ms,
            pending: count("pending"),
            started: count("started"),
            left_out: count("left_out"),
        }))
    }

    /// Plans with something to do, oldest first: their numbers and states.
    pub async fn open_plans(&self) -> Result<Vec<(i64, PlanState)>, LedgerError> {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT id, state FROM plan WHERE state IN ('starting', 'canary') ORDER BY id")
                .fetch_all(&self.pool)
                .await?;
        rows.into_iter().map(|(id, state)| Ok((id, PlanState::from_word(&state)?))).collect()
    }

    /// Up to `limit` briefs of a plan after this place, in their order; `state`: only those in it.
    pub async fn plan_rows(
        &self,
        plan: i64,
        state: Option<&str>,
        (after, limit): (i64, u32),
    ) -> Result<Vec<PlanRow>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT p.place, p.brief, b.project_id, b.batch_id, b.brief_id, p.state, p.run, r.state AS run_state, p.why \
             FROM plan_row p JOIN brief b ON b.id = p.brief LEFT JOIN run r ON r.brief = p.brief AND r.run = p.run \
             WHERE p.plan = $1 AND p.place > $2 AND ($3 IS NULL OR p.state = $3) ORDER BY p.place LIMIT $4",
        )
        .bind(plan)
        .bind(after)
        .bind(state)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?)
    }

    /// How the runs that a plan started have ended.
    pub async fn plan_ends(&self, plan: i64) -> Result<PlanEnds, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT count(*) FILTER (WHERE r.state = 'completed') AS completed, \
             count(*) FILTER (WHERE r.state IN ('partial', 'failed', 'canceled', 'superseded')) AS not_completed, \
             count(*) FILTER (WHERE r.state NOT IN ('completed', 'partial', 'failed', 'canceled', 'superseded')) AS open \
             FROM plan_row p JOIN run r ON r.brief = p.brief AND r.run = p.run WHERE p.plan = $1 AND p.state = 'started'",
        )
        .bind(plan)
        .fetch_one(&self.pool)
        .await?)
    }
}
