//! What rows look like, and the few statements that several writes share.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;

use super::LedgerError;
use super::totals::bump;
use crate::brief::Identity;
use crate::job::BriefState;

/// Whose briefs: those of the queue, or those of a file. `run` works on the queue's, `generate` on its file's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// RabbitMQ.
    Queue,
    /// A file, by the name it was given.
    File(String),
}

impl Input {
    /// The word in the ledger.
    pub fn word(&self) -> String {
        match self {
            Self::Queue => "queue".to_owned(),
            Self::File(name) => format!("file:{name}"),
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue => formatter.write_str("the queue"),
            Self::File(name) => write!(formatter, "the file {name}"),
        }
    }
}

/// A brief and its current run, as the writes need it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct BriefRow {
    pub id: i64,
    pub project_id: String,
    pub batch_id: String,
    pub brief_id: String,
    pub input: String,
    pub run: i64,
    pub state: String,
    pub touched: bool,
    pub pruned_at: Option<i64>,
}

impl BriefRow {
    pub(super) fn identity(&self) -> Identity {
        Identity {
            project_id: self.project_id.clone(),
            batch_id: self.batch_id.clone(),
            brief_id: self.brief_id.clone(),
        }
    }

    pub(super) fn state(&self) -> Result<BriefState, LedgerError> {
        BriefState::from_word(&self.state)
            .ok_or_else(|| LedgerError::Corrupt(format!("brief {} is '{}'", self.id, self.state)))
    }

    pub(super) async fn find(
        db: &mut SqliteConnection,
        identity: &Identity,
    ) -> Result<Option<Self>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT id, project_id, batch_id, brief_id, input, run, state, touched, pruned_at FROM brief \
             WHERE project_id = $1 AND batch_id = $2 AND brief_id = $3",
        )
        .bind(&identity.project_id)
        .bind(&identity.batch_id)
        .bind(&identity.brief_id)
        .fetch_optional(db)
        .await?)
    }

    pub(super) async fn by_id(db: &mut SqliteConnection, id: i64) -> Result<Self, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT id, project_id, batch_id, brief_id, input, run, state, touched, pruned_at FROM brief WHERE id = $1",
        )
        .bind(id)
        .fetch_one(db)
        .await?)
    }
}

/// A row of `run`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct RunRow {
    pub brief: i64,
    pub run: i64,
    pub fingerprint: String,
    pub request: String,
    pub metadata: Option<String>,
    pub format: Option<String>,
    pub variant_count: i64,
    pub priority: i64,
    pub not_before: Option<i64>,
    pub expires_at: Option<i64>,
    pub correlation_id: Option<String>,
    pub traceparent: Option<String>,
    pub tracestate: Option<String>,
    pub enqueued_at: Option<i64>,
    pub received_at: i64,
    pub submitted_at: Option<i64>,
    pub state: String,
    pub owed: i64,
    pub made: i64,
}

impl RunRow {
    pub(super) async fn find(
        db: &mut SqliteConnection,
        brief: i64,
        run: i64,
    ) -> Result<Option<Self>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT brief, run, fingerprint, request, metadata, format, variant_count, priority, not_before, expires_at, \
             correlation_id, traceparent, tracestate, enqueued_at, received_at, submitted_at, state, owed, made \
             FROM run WHERE brief = $1 AND run = $2",
        )
        .bind(brief)
        .bind(run)
        .fetch_optional(db)
        .await?)
    }

    pub(super) async fn get(db: &mut SqliteConnection, brief: i64, run: i64) -> Result<Self, LedgerError> {
        Self::find(db, brief, run)
            .await?
            .ok_or_else(|| LedgerError::Corrupt(format!("brief {brief} has no run {run}")))
    }
}

/// The next free id of a table. Only the one writer assigns ids.
pub(super) async fn next_id(db: &mut SqliteConnection, table: Table) -> Result<i64, LedgerError> {
    Ok(sqlx::query_scalar(table.next_id()).fetch_one(db).await?)
}

/// Tables whose ids the writer assigns.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    Brief,
    Job,
    Outbox,
    Delivery,
    Request,
    History,
    Plan,
}

impl Table {
    const fn next_id(self) -> &'static str {
        match self {
            Self::Brief => "SELECT coalesce(max(id), 0) + 1 FROM brief",
            Self::Job => "SELECT coalesce(max(id), 0) + 1 FROM job",
            Self::Outbox => "SELECT coalesce(max(id), 0) + 1 FROM outbox",
            Self::Delivery => "SELECT coalesce(max(id), 0) + 1 FROM delivery",
            Self::Request => "SELECT coalesce(max(id), 0) + 1 FROM request",
            Self::History => "SELECT coalesce(max(id), 0) + 1 FROM history",
            Self::Plan => "SELECT coalesce(max(id), 0) + 1 FROM plan",
        }
    }
}

/// Adds a line to a brief's story.
pub(super) async fn note(
    db: &mut SqliteConnection,
    (brief, run): (i64, i64),
    at: i64,
    what: &str,
    detail: &Value,
) -> Result<(), LedgerError> {
    let id = next_id(db, Table::History).await?;
    sqlx::query("INSERT INTO history (id, brief, run, at, what, detail) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(id)
        .bind(brief)
        .bind(run)
        .bind(at)
        .bind(what)
        .bind(detail.to_string())
        .execute(db)
        .await?;
    Ok(())
}

/// Moves the current run of a brief, and the brief with it, to `state`.
pub(super) async fn move_brief(
    db: &mut SqliteConnection,
    (brief, run): (i64, i64),
    state: BriefState,
    at: i64,
) -> Result<(), LedgerError> {
    sqlx::query("UPDATE run SET state = $3 WHERE brief = $1 AND run = $2")
        .bind(brief)
        .bind(run)
        .bind(state.word())
        .execute(&mut *db)
        .await?;
    sqlx::query("UPDATE brief SET state = $3, changed_at = $4 WHERE id = $1 AND run = $2")
        .bind(brief)
        .bind(run)
        .bind(state.word())
        .bind(at)
        .execute(db)
        .await?;
    Ok(())
}

/// The state of an open run follows from its jobs, trouble first; the brief moves with it.
pub(super) async fn follow_jobs(
    db: &mut SqliteConnection,
    at: (i64, i64),
    now_ms: i64,
) -> Result<(), LedgerError> {
    let (parked, submitting, running): (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE state = 'parked'), count(*) FILTER (WHERE state = 'submitting'), \
         count(*) FILTER (WHERE state = 'running') FROM job WHERE brief = $1 AND run = $2",
    )
    .bind(at.0)
    .bind(at.1)
    .fetch_one(&mut *db)
    .await?;
    let state = if parked > 0 {
        BriefState::Parked
    } else if submitting > 0 {
        BriefState::Submitting
    } else if running > 0 {
        BriefState::Running
    } else {
        BriefState::Waiting
    };
    move_brief(db, at, state, now_ms).await
}

/// Changes how many records a run owes and has made, and the running totals with it (P8).
pub(super) async fn owe(
    db: &mut SqliteConnection,
    (brief, run): (i64, i64),
    owed: i64,
    made: i64,
) -> Result<(), LedgerError> {
    if owed == 0 && made == 0 {
        return Ok(());
    }
    sqlx::query("UPDATE run SET owed = owed + $3, made = made + $4 WHERE brief = $1 AND run = $2")
        .bind(brief)
        .bind(run)
        .bind(owed)
        .bind(made)
        .execute(&mut *db)
        .await?;
    bump(db, "owed", owed).await?;
    bump(db, "made", made).await?;
    bump(db, "open", owed - made).await
}

/// Milliseconds as a timestamp; what cannot be a time becomes 1970.
pub(super) fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The detail of a history line that names one thing.
pub(super) fn detail(name: &str, value: impl Into<Value>) -> Value {
    json!({ name: value.into() })
}
