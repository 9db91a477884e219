//! What came out is what the ledger stored, and all that it stored came out.

use std::collections::{BTreeMap, BTreeSet};

use super::difference;
use super::ledger::{LedgerRows, OutboxRow};
use super::report::{Promise, Report};
use super::{Evidence, ExpectedRun};
use crate::support::message::{Envelope, Message};

/// Says what the ledger tells of results that does not fit what was asked for and what came out.
pub fn check(ledger: &LedgerRows, evidence: &Evidence, report: &mut Report) {
    check_sent(ledger, report);
    check_bytes(ledger, &evidence.records, report);
    check_asked(ledger, &evidence.expected_runs, report);
    check_ended(ledger, &evidence.expected_open, report);
    check_dead_letters(ledger, &evidence.dead_letters, report);
}

fn is_record(row: &OutboxRow) -> bool {
    row.channel == "record"
}

/// Every row of the outbox has left.
fn check_sent(ledger: &LedgerRows, report: &mut Report) {
    for row in &ledger.outbox {
        // The settings may let this one go when nobody listens.
        let may_be_dropped = row.kind == "batch.finished" && row.state == "dropped";
        if row.state != "sent" && !may_be_dropped {
            let (id, kind, state) = (&row.message_id, &row.kind, &row.state);
            report.add(Promise::P2, format!("{kind} {id} was never sent: in the outbox it is '{state}'"));
        }
    }
}

/// Every record that came is a row of the outbox, byte for byte, and every row that was confirmed came.
fn check_bytes(ledger: &LedgerRows, records: &[Message], report: &mut Report) {
    let rows: BTreeMap<&str, &OutboxRow> =
        ledger.outbox.iter().filter(|row| is_record(row)).map(|row| (row.message_id.as_str(), row)).collect();
    let mut came = BTreeSet::new();
    for record in records {
        let body = record.json();
        let id = body["recordId"].as_str().unwrap_or_default();
        let Some(row) = rows.get(id) else {
            report.add(
                Promise::P4,
                format!("record {id:?} was published, but the ledger knows none of that id"),
            );
            continue;
        };
        if came.insert(id.to_owned()) {
            let stored = as_message(row, record);
            if stored != *record {
                let how = difference::of(&stored, record);
                report.add(Promise::P4, format!("record {id} is not the one that is stored: {how}"));
            }
        }
    }
    for row in rows.values().filter(|row| row.state == "sent" && !came.contains(&row.message_id)) {
        report
            .add(Promise::P2, format!("{} {} was marked sent, and nobody got it", row.kind, row.message_id));
    }
}

/// The row as it must have come; what the row does not tell is taken from what did.
fn as_message(row: &OutboxRow, came: &Message) -> Message {
    let envelope = came.envelope.clone().map(|envelope| Envelope {
        routing_key: row.routing_key.clone(),
        message_id: Some(row.message_id.clone()),
        kind: Some(row.kind.clone()),
        ..envelope
    });
    Message { body: row.body.clone(), envelope }
}

/// Every run that was asked for is there.
fn check_asked(ledger: &LedgerRows, expected: &[ExpectedRun], report: &mut Report) {
    for run in expected {
        let batch = run.batch_id.clone().unwrap_or_default();
        let brief = ledger.briefs.iter().find(|brief| {
            (&brief.project_id, &brief.batch_id, &brief.brief_id) == (&run.project_id, &batch, &run.brief_id)
        });
        let stored = brief.and_then(|brief| {
            ledger.runs.iter().find(|row| row.brief == brief.id && i64::try_from(run.run) == Ok(row.run))
        });
        if stored.is_none() {
            let (project, id, run) = (&run.project_id, &run.brief_id, run.run);
            report.add(
                Promise::P2,
                format!("{project}/{batch}/{id} run {run} was asked for and is not stored"),
            );
        }
    }
}

/// Every run has ended, and in all its records.
fn check_ended(ledger: &LedgerRows, open: &[&str], report: &mut Report) {
    for brief in &ledger.briefs {
        if !has_ended(&brief.state) && brief.state != "parked" && !ledger.is_of(brief.id, open) {
            let name = ledger.name_of(brief.id, brief.run);
            report.add(Promise::P2, format!("{name} has not ended: the brief is '{}'", brief.state));
        }
    }
    for run in ledger.runs.iter().filter(|run| run.state != "parked" && !ledger.is_of(run.brief, open)) {
        let name = ledger.name_of(run.brief, run.run);
        if !has_ended(&run.state) && run.state != "superseded" {
            report.add(Promise::P2, format!("{name} has not ended: the run is '{}'", run.state));
        }
        let confirmed = |row: &&OutboxRow| {
            is_record(row) && row.brief == Some(run.brief) && row.run == Some(run.run) && row.state == "sent"
        };
        let confirmed = ledger.outbox.iter().filter(confirmed).count();
        if i64::try_from(confirmed) != Ok(run.owed) {
            let owed = run.owed;
            report.add(Promise::P2, format!("{name} owes {owed} records, {confirmed} of it were confirmed"));
        }
    }
}

fn has_ended(state: &str) -> bool {
    matches!(state, "completed" | "partial" | "failed" | "canceled")
}

/// What was set aside came, each once or again under the same id.
fn check_dead_letters(ledger: &LedgerRows, came: &[Message], report: &mut Report) {
    let came: BTreeSet<&str> = came.iter().map(|letter| letter.header("x-briefd-row")).collect();
    let stored = ledger.outbox.iter().filter(|row| row.is_queued_dead_letter());
    let stored: BTreeSet<&str> = stored.map(|row| row.message_id.as_str()).collect();
    for id in stored.difference(&came) {
        report.add(Promise::P5, format!("dead letter {id} is stored, and nobody got it"));
    }
    for id in came.difference(&stored) {
        report.add(Promise::P5, format!("dead letter {id:?} came, and the ledger does not know it"));
    }
}
