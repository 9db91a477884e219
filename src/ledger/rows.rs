//! What rows look like, and the few statements that several writes share.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;

use super::totals::bump_all;
use super::{LedgerError, sets};
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
    Request,
    Plan,
}

impl Table {
    const fn next_id(self) -> &'static str {
        match self {
            Self::Brief => "SELECT coalesce(max(id), 0) + 1 FROM brief",
            Self::Job => "SELECT coalesce(max(id), 0) + 1 FROM job",
            Self::Outbox => "SELECT coalesce(max(id), 0) + 1 FROM outbox",
            Self::Request => "SELECT coalesce(max(id), 0) + 1 FROM request",
            Self::Plan => "SELECT coalesce(max(id), 0) + 1 FROM plan",
        }
    }
}

/// A brief's run, by numbers.
pub(super) type At = (i64, i64);

/// A line of a brief's story.
pub(super) struct Note {
    pub of: At,
    pub at_ms: i64,
    pub what: &'static str,
    /// JSON.
    detail: String,
}

impl Note {
    /// `detail`: an object, a type of its own where many are written.
    pub(super) fn new(of: At, at_ms: i64, what: &'static str, detail: &impl Serialize) -> Self {
        // Texts and numbers: nothing here can fail.
        Self { of, at_ms, what, detail: serde_json::to_string(detail).unwrap_or_default() }
    }
}

/// Adds a line to a brief's story.
pub(super) async fn note(
    db: &mut SqliteConnection,
    of: At,
    at_ms: i64,
    what: &'static str,
    detail: &Value,
) -> Result<(), LedgerError> {
    notes(db, &[Note::new(of, at_ms, what, detail)]).await
}

/// Adds lines to stories, in this order.
pub(super) async fn notes(db: &mut SqliteConnection, notes: &[Note]) -> Result<(), LedgerError> {
    if notes.is_empty() {
        return Ok(());
    }
    let insert = ("INSERT INTO history (brief, run, at, what, detail) ", "");
    sets::insert(db, insert, notes, |row, note| {
        bind_at(row, &note.of);
        row.push_bind(note.at_ms).push_bind(note.what).push_bind(note.detail.as_str());
    })
    .await
}

/// A run that comes into another state, and its brief with it if it is the current one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub of: At,
    pub state: BriefState,
    pub at_ms: i64,
}

/// Moves the current run of a brief, and the brief with it, to `state`.
pub(super) async fn move_brief(
    db: &mut SqliteConnection,
    of: At,
    state: BriefState,
    at_ms: i64,
) -> Result<(), LedgerError> {
    sqlx::query("UPDATE run SET state = $3 WHERE brief = $1 AND run = $2")
        .bind(of.0)
        .bind(of.1)
        .bind(state.word())
        .execute(&mut *db)
        .await?;
    move_briefs(db, &[Moved { of, state, at_ms }]).await
}

/// Moves briefs whose current runs came into another state, each named once.
pub(super) async fn move_briefs(db: &mut SqliteConnection, moved: &[Moved]) -> Result<(), LedgerError> {
    let brief = (
        "WITH moved (brief, run, state, at) AS (",
        ") UPDATE brief SET state = moved.state, changed_at = moved.at FROM moved \
         WHERE brief.id = moved.brief AND brief.run = moved.run",
    );
    sets::change(db, brief, moved, |row, one| {
        bind_at(row, &one.of);
        row.push_bind(one.state.word()).push_bind(one.at_ms);
    })
    .await?;
    Ok(())
}

/// Binds the numbers of a brief's run.
pub(super) fn bind_at(row: &mut sets::Values, (brief, run): &At) {
    row.push_bind(*brief).push_bind(*run);
}

/// A run whose state shall follow from its jobs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    pub of: At,
    pub at_ms: i64,
    /// A POST of it is about to leave.
    pub submitted: bool,
    /// Something of it was accepted.
    pub touched: bool,
}

/// The state of an open run follows from its jobs, trouble first; the brief moves with it.
pub(super) async fn follow_jobs(db: &mut SqliteConnection, of: At, at_ms: i64) -> Result<(), LedgerError> {
    follow_all_jobs(db, &[Followed { of, at_ms, submitted: false, touched: false }]).await
}

/// The same for many runs, each named once.
pub(super) async fn follow_all_jobs(db: &mut SqliteConnection, runs: &[Followed]) -> Result<(), LedgerError> {
    let run = (
        "WITH followed (brief, run, at, submitted) AS (",
        ") UPDATE run SET state = (SELECT CASE min(CASE j.state WHEN 'parked' THEN 1 WHEN 'submitting' THEN 2 WHEN 'running' THEN 3 END) \
         WHEN 1 THEN 'parked' WHEN 2 THEN 'submitting' WHEN 3 THEN 'running' ELSE 'waiting' END \
         FROM job j WHERE j.brief = run.brief AND j.run = run.run), \
         submitted_at = CASE WHEN followed.submitted THEN coalesce(run.submitted_at, followed.at) ELSE run.submitted_at END \
         FROM followed WHERE run.brief = followed.brief AND run.run = followed.run",
    );
    sets::change(db, run, runs, |row, one| {
        bind_at(row, &one.of);
        row.push_bind(one.at_ms).push_bind(one.submitted);
    })
    .await?;
    let brief = (
        "WITH followed (brief, run, at, touched) AS (",
        ") UPDATE brief SET state = r.state, changed_at = followed.at, touched = brief.touched OR followed.touched \
         FROM followed CROSS JOIN run r WHERE r.brief = followed.brief AND r.run = followed.run \
         AND brief.id = followed.brief AND brief.run = followed.run",
    );
    sets::change(db, brief, runs, |row, one| {
        bind_at(row, &one.of);
        row.push_bind(one.at_ms).push_bind(one.touched);
    })
    .await?;
    Ok(())
}

/// Changes how many records a run owes and has made, and the running totals with it (P8).
pub(super) async fn owe(db: &mut SqliteConnection, of: At, owed: i64, made: i64) -> Result<(), LedgerError> {
    if owed == 0 && made == 0 {
        return Ok(());
    }
    sqlx::query("UPDATE run SET owed = owed + $3, made = made + $4 WHERE brief = $1 AND run = $2")
        .bind(of.0)
        .bind(of.1)
        .bind(owed)
        .bind(made)
        .execute(&mut *db)
        .await?;
    bump_all(db, &[("owed", owed), ("made", made), ("open", owed - made)]).await
}

/// Milliseconds as a timestamp; what cannot be a time becomes 1970.
pub(super) fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The detail of a history line that names one thing.
pub(super) fn detail(name: &str, value: impl Into<Value>) -> Value {
    json!({ name: value.into() })
}
