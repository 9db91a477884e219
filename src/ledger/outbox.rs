//! The outbox: records and dead letters that shall leave, in the order they were made, kept after they left so that
//! the same record can be sent again with the same bytes (P4).

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::cancel::{CANCELED, is_wished};
use super::rows::{BriefRow, Input, Note, RunRow, Table, detail, next_id, note, notes, owe, time};
use super::runs::{Chosen, Containers, give_jobs, make_current};
use super::{Ledger, LedgerError, sets};
use crate::brief::{enqueueable, keys};
use crate::flow::{COUNTED_BY_BROKER, Channel, Outgoing, Properties};
use crate::job::BriefState;
use crate::record::{BATCH_FINISHED, BatchFinished, Record, RecordError, RecordType};

/// Longest text of a dead letter's reason that is kept.
const DETAIL_BYTES: usize = 1_000;

/// A message that is set aside, with why.
#[derive(Debug)]
pub(super) struct DeadLetter<'a> {
    pub reason: &'static str,
    pub detail: String,
    pub body: &'a [u8],
    pub properties: &'a Properties,
    pub position: u64,
}

impl DeadLetter<'_> {
    /// An id that follows from what came and why it is set aside. A delivery whose acknowledgement got lost comes again and
    /// is set aside again, in a row of its own; by this id whoever reads dead letters can drop the repeat.
    fn same_for_repeats(&self) -> Uuid {
        let mut came = self.properties.clone();
        // The broker counts deliveries there.
        came.headers.retain(|name, _| !COUNTED_BY_BROKER.contains(&name.as_str()));
        let beside = serde_json::to_vec(&came).unwrap_or_default();
        let parts = [b"briefd/1", self.reason.as_bytes(), beside.as_slice(), self.body];
        Uuid::new_v5(&keys::DEAD_LETTER_NAMESPACE, &parts.join(&b'\n'))
    }
}

/// Stores a dead letter; it leaves like a record does.
pub(super) async fn insert_dead_letter(
    db: &mut SqliteConnection,
    input: &Input,
    letter: &DeadLetter<'_>,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let id = next_id(db, Table::Outbox).await?;
    let message_id = format!("dead-{id}");
    let same = letter.same_for_repeats();
    let mut properties = letter.properties.clone();
    let mut header = |name: &str, value: Value| {
        properties.headers.insert(name.to_owned(), value);
    };
    let cut = letter.detail.floor_char_boundary(DETAIL_BYTES);
    header("x-briefd-id", json!(same));
    header("x-briefd-reason", json!(letter.reason));
    header("x-briefd-detail", json!(letter.detail[..cut]));
    header("x-briefd-at", json!(time(now_ms).to_string()));
    header("x-briefd-position", json!(letter.position));
    let row = NewRow {
        channel: "dead_letter",
        input: input.word(),
        properties: to_text(&properties, &message_id)?,
        message_id,
        kind: letter.reason.to_owned(),
        routing_key: String::new(),
        body: letter.body.to_vec(),
        of: None,
        batch: None,
        credits: None,
        ended_ms: None,
        made_ms: now_ms,
    };
    insert_messages(db, &[row]).await
}

/// Stores the record of a batch that has ended.
pub(super) async fn insert_batch_record(
    db: &mut SqliteConnection,
    finished: &BatchFinished,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let message_id = finished.id().to_string();
    let row = NewRow {
        channel: "record",
        input: Input::Queue.word(),
        properties: to_text(&finished.properties(), &message_id)?,
        message_id,
        kind: BATCH_FINISHED.to_owned(),
        routing_key: BATCH_FINISHED.to_owned(),
        body: finished.to_bytes(),
        batch: Some(finished.batch_id.clone()),
        of: None,
        credits: None,
        ended_ms: None,
        made_ms: now_ms,
    };
    insert_messages(db, &[row]).await
}

/// A message that shall leave, before it has a number.
pub(super) struct NewRow {
    channel: &'static str,
    input: String,
    message_id: String,
    kind: String,
    routing_key: String,
    body: Vec<u8>,
    /// JSON.
    properties: String,
    of: Option<(i64, i64, Option<i64>)>,
    /// Of a record about a whole batch: which.
    batch: Option<String>,
    credits: Option<u64>,
    ended_ms: Option<i64>,
    /// When it was made; it is due at once.
    made_ms: i64,
}

fn to_text(properties: &Properties, message_id: &str) -> Result<String, LedgerError> {
    serde_json::to_string(properties)
        .map_err(|error| LedgerError::Corrupt(format!("properties of {message_id}: {error}")))
}

/// Stores messages that shall leave, in this order.
pub(super) async fn insert_messages(db: &mut SqliteConnection, rows: &[NewRow]) -> Result<(), LedgerError> {
    let insert = (
        "INSERT INTO outbox (channel, input, message_id, kind, routing_key, body, properties, brief, run, variant, \
         ended_at, batch_id, credits, state, due_at, created_at) ",
        "",
    );
    sets::insert(db, insert, rows, |place, row| {
        place.push_bind(row.channel).push_bind(row.input.clone());
        place.push_bind(row.message_id.clone()).push_bind(row.kind.clone());
        place.push_bind(row.routing_key.clone()).push_bind(row.body.clone());
        place.push_bind(row.properties.clone()).push_bind(row.of.map(|(brief, _, _)| brief));
        place.push_bind(row.of.map(|(_, run, _)| run)).push_bind(row.of.and_then(|(_, _, variant)| variant));
        place.push_bind(row.ended_ms).push_bind(row.batch.clone());
        place.push_bind(row.credits.and_then(|credits| i64::try_from(credits).ok()));
        place.push_bind("pending").push_bind(row.made_ms).push_bind(row.made_ms);
    })
    .await
}

/// What a record says about its container.
#[derive(Clone, Debug)]
pub(super) struct ContainerPart<'a> {
    pub kind: RecordType,
    pub variant: i64,
    pub variant_count: i64,
    /// The container whose id the job's key text ends with, for a regenerate.
    pub regenerated: Option<&'a str>,
    /// Empty: the API never named it.
    pub container_id: &'a str,
    pub job_id: Option<&'a str>,
    pub format: Option<&'a str>,
    pub record: Option<&'a str>,
    pub error: Option<&'a RecordError>,
    pub credits_estimate: Option<u64>,
    pub ended_ms: i64,
}

/// Stores the record of one container; the run has made one more.
pub(super) async fn insert_container_record(
    db: &mut SqliteConnection,
    brief: &BriefRow,
    run: &RunRow,
    part: &ContainerPart<'_>,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let (row, said) = container_record(brief, run, part, now_ms)?;
    insert_messages(db, &[row]).await?;
    notes(db, &[said]).await?;
    owe(db, (run.brief, run.run), 0, 1).await
}

/// The record of one container, and the line about it in the brief's story.
pub(super) fn container_record(
    brief: &BriefRow,
    run: &RunRow,
    part: &ContainerPart<'_>,
    now_ms: i64,
) -> Result<(NewRow, Note), LedgerError> {
    let mut record = base_record(brief, run, part.kind)?;
    if let Some(container) = part.regenerated {
        record.key_text = keys::key_text(&record.identity, record.run, Some(container));
    }
    record.variant = u8::try_from(part.variant).ok();
    record.variant_count = u8::try_from(part.variant_count).unwrap_or(u8::MAX);
    record.job_id = part.job_id.map(ToOwned::to_owned);
    record.container_id = Some(part.container_id.to_owned()).filter(|id| !id.is_empty());
    record.format = part.format.map(ToOwned::to_owned).or_else(|| run.format.clone());
    record.container = part.record.map(raw).transpose()?;
    record.error = part.error.cloned();
    record.credits_estimate = part.credits_estimate;
    record.finished_at = time(part.ended_ms);
    record_row(brief, run, (&record, Some(part.variant), part.ended_ms), now_ms)
}

/// Ends a run without any container: one record for all of it.
pub(super) async fn insert_brief_failed(
    db: &mut SqliteConnection,
    at: (i64, i64),
    error: &RecordError,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let brief = BriefRow::by_id(db, at.0).await?;
    let run = RunRow::get(db, at.0, at.1).await?;
    let mut record = base_record(&brief, &run, RecordType::BriefFailed)?;
    record.request = Some(raw(&enqueueable(&brief.identity(), &run.request))?);
    record.error = Some(error.clone());
    record.finished_at = time(now_ms);
    owe(db, at, 1 - run.owed, 0).await?;
    let (row, said) = record_row(&brief, &run, (&record, None, now_ms), now_ms)?;
    insert_messages(db, &[row]).await?;
    notes(db, &[said]).await?;
    owe(db, at, 0, 1).await?;
    let state = if error.code == "CANCELED" { BriefState::Canceled } else { BriefState::Failed };
    end_run(db, at, state, now_ms).await
}

/// Ends the current run in `state`, and starts the next one if it was asked for meanwhile and this one failed.
pub(super) async fn end_run(
    db: &mut SqliteConnection,
    at: (i64, i64),
    state: BriefState,
    now_ms: i64,
) -> Result<(), LedgerError> {
    super::rows::move_brief(db, at, state, now_ms).await?;
    sqlx::query("UPDATE run SET finished_at = $3 WHERE brief = $1 AND run = $2")
        .bind(at.0)
        .bind(at.1)
        .bind(now_ms)
        .execute(&mut *db)
        .await?;
    note(db, at, now_ms, "ended", &detail("state", state.word())).await?;
    let next = (at.0, at.1 + 1);
    let Some(remembered) = RunRow::find(db, next.0, next.1).await?.filter(|run| run.state == "remembered")
    else {
        return Ok(());
    };
    if let Some(why) = why_not_rerun(db, at, state).await? {
        return drop_remembered(db, at, why, now_ms).await;
    }
    let brief = BriefRow::by_id(db, at.0).await?;
    make_current(db, (remembered.brief, remembered.run), &brief.input, now_ms).await?;
    // The alias of a run that starts later follows the setting under which the first run was made.
    let with_alias: Option<i64> =
        sqlx::query_scalar("SELECT id FROM job WHERE brief = $1 AND alias IS NOT NULL LIMIT 1")
            .bind(at.0)
            .fetch_optional(&mut *db)
            .await?;
    give_jobs(db, next, (Chosen::NotCompleted, with_alias.is_some()), now_ms).await
}

/// Forgets the rerun of `at` that was asked for while it was open, if there is one.
pub(super) async fn drop_remembered(
    db: &mut SqliteConnection,
    at: (i64, i64),
    why: &'static str,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let dropped = sqlx::query("DELETE FROM run WHERE brief = $1 AND run = $2 AND state = 'remembered'")
        .bind(at.0)
        .bind(at.1 + 1)
        .execute(&mut *db)
        .await?;
    if dropped.rows_affected() == 0 {
        return Ok(());
    }
    note(db, at, now_ms, "rerun dropped", &json!({ "run": at.1 + 1, "why": why })).await
}

/// Why a rerun that was asked for while the run was open is not carried out; `None`: it is.
async fn why_not_rerun(
    db: &mut SqliteConnection,
    at: (i64, i64),
    ended: BriefState,
) -> Result<Option<&'static str>, LedgerError> {
    if ended == BriefState::Completed {
        return Ok(Some("everything completed"));
    }
    if ended == BriefState::Canceled || is_wished(db, at).await? {
        return Ok(Some(CANCELED));
    }
    let containers = Containers::of(db, at.0).await?;
    Ok((containers.named > 0 && containers.to_do == 0).then_some("every container that exists completed"))
}

fn base_record(brief: &BriefRow, run: &RunRow, kind: RecordType) -> Result<Record, LedgerError> {
    let identity = brief.identity();
    let number = u32::try_from(run.run).unwrap_or(u32::MAX);
    Ok(Record {
        kind,
        key_text: keys::key_text(&identity, number, None),
        identity,
        run: number,
        variant: None,
        variant_count: u8::try_from(run.variant_count).unwrap_or(u8::MAX),
        job_id: None,
        container_id: None,
        format: run.format.clone(),
        container: None,
        error: None,
        request: None,
        metadata: run.metadata.as_deref().map(raw).transpose()?,
        credits_estimate: None,
        enqueued_at: run.enqueued_at.map(time),
        received_at: time(run.received_at),
        submitted_at: run.submitted_at.map(time),
        finished_at: time(run.received_at),
    })
}

/// What the story says of a record.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    variant: Option<i64>,
    message_id: &'a str,
}

fn record_row(
    brief: &BriefRow,
    run: &RunRow,
    (record, variant, ended_ms): (&Record, Option<i64>, i64),
    now_ms: i64,
) -> Result<(NewRow, Note), LedgerError> {
    let headers = [("traceparent", &run.traceparent), ("tracestate", &run.tracestate)];
    let received = Properties {
        correlation_id: run.correlation_id.clone(),
        headers: headers
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))))
            .collect(),
        ..Properties::default()
    };
    let message_id = record.id().to_string();
    let detail = Line { kind: record.kind.word(), variant, message_id: &message_id };
    let said = Note::new((run.brief, run.run), now_ms, "record", &detail);
    let row = NewRow {
        channel: "record",
        input: brief.input.clone(),
        properties: to_text(&record.properties(&received), &message_id)?,
        message_id,
        kind: record.kind.word().to_owned(),
        routing_key: record.routing_key(),
        body: record.to_bytes(),
        of: Some((run.brief, run.run, variant)),
        credits: record.credits_estimate,
        ended_ms: Some(ended_ms),
        made_ms: now_ms,
        batch: None,
    };
    Ok((row, said))
}

fn raw(text: &str) -> Result<Box<RawValue>, LedgerError> {
    RawValue::from_string(text.to_owned())
        .map_err(|error| LedgerError::Corrupt(format!("stored JSON: {error}")))
}

/// Sends a brief's latest records again, unchanged: that of each container, or the one of the brief. They go to whoever
/// asks; but what the queue's consumers have not got yet, goes to them first.
pub(super) async fn publish_again(
    db: &mut SqliteConnection,
    brief: i64,
    input: &Input,
    now_ms: i64,
) -> Result<u64, LedgerError> {
    let run: i64 =
        sqlx::query_scalar("SELECT run FROM brief WHERE id = $1").bind(brief).fetch_one(&mut *db).await?;
    let whole: Option<i64> =
        sqlx::query_scalar("SELECT id FROM outbox WHERE brief = $1 AND run = $2 AND kind = 'brief.failed'")
            .bind(brief)
            .bind(run)
            .fetch_optional(&mut *db)
            .await?;
    let query = match whole {
        Some(_) => {
            "UPDATE outbox SET input = CASE WHEN state = 'pending' AND input = 'queue' THEN input ELSE $3 END, \
             state = 'pending', due_at = $2, attempts = 0, alone = 0 \
             WHERE brief = $1 AND kind = 'brief.failed' AND run = (SELECT run FROM brief WHERE id = $1)"
        }
        None => {
            "UPDATE outbox SET input = CASE WHEN state = 'pending' AND input = 'queue' THEN input ELSE $3 END, \
             state = 'pending', due_at = $2, attempts = 0, alone = 0 \
             WHERE id IN (SELECT max(id) FROM outbox WHERE brief = $1 AND variant IS NOT NULL GROUP BY variant)"
        }
    };
    let changed =
        sqlx::query(query).bind(brief).bind(now_ms).bind(input.word()).execute(db).await?.rows_affected();
    Ok(changed)
}

/// One row that shall leave now.
#[derive(Clone, Debug)]
pub struct PendingRow {
    /// What to send.
    pub message: Outgoing,
    /// The record's type, or the dead letter's reason.
    pub kind: String,
    /// Times it was tried in vain.
    pub attempts: u32,
    /// It closed a channel while alone: send it alone again.
    pub suspect: bool,
    /// When it ended at the API, and whether it was never confirmed before: for the detection lag.
    pub first_ended_ms: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct OutboxRow {
    id: i64,
    channel: String,
    message_id: String,
    kind: String,
    routing_key: String,
    body: Vec<u8>,
    properties: String,
    attempts: i64,
    alone: i64,
    sends: i64,
    ended_at: Option<i64>,
}

pub(super) const PENDING: &str = "SELECT id, channel, message_id, kind, routing_key, body, properties, attempts, alone, sends, ended_at \
    FROM outbox WHERE state = 'pending' AND input = $1 AND due_at <= $2 ORDER BY due_at, id LIMIT $3";

impl Ledger {
    /// Up to `limit` rows that are due, in the order they were made.
    pub async fn pending(&self, limit: u32, now_ms: i64) -> Result<Vec<PendingRow>, LedgerError> {
        let rows: Vec<OutboxRow> = sqlx::query_as(PENDING)
            .bind(self.input().word())
            .bind(now_ms)
            .bind(limit)
            .fetch_all(&self.reader().pool)
            .await?;
        rows.into_iter().map(OutboxRow::pending).collect()
    }
}

impl OutboxRow {
    fn pending(self) -> Result<PendingRow, LedgerError> {
        let channel = match self.channel.as_str() {
            "record" => Channel::Record,
            "dead_letter" => Channel::DeadLetter,
            other => return Err(LedgerError::Corrupt(format!("outbox row {} is a '{other}'", self.id))),
        };
        let properties = serde_json::from_str(&self.properties).map_err(|error| {
            LedgerError::Corrupt(format!("properties of outbox row {}: {error}", self.id))
        })?;
        Ok(PendingRow {
            message: Outgoing {
                row: self.id,
                channel,
                routing_key: self.routing_key,
                message_id: self.message_id,
                body: self.body,
                properties,
            },
            kind: self.kind,
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            suspect: self.alone > 0,
            first_ended_ms: self.ended_at.filter(|_| self.sends == 0),
        })
    }
}
