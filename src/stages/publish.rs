//! publish: sends what is in the outbox, and marks a message sent only on a real confirmation of that very message.
//!
//! A batch is the unit: its messages are in flight together and their fates are known together. A message that no
//! queue wants delays its routing key, not the others. After the broker closed a channel the messages of that batch go
//! one at a time, so that one the broker cannot take is found out; twice alone, and it is parked with an alert. Where the
//! broker does not let us publish at all, everything for that exchange waits, and nothing is parked.
//!
//! Before each batch of messages it looks whether a batch of briefs has ended: that is so once its last record is
//! confirmed, which is known here first.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Desk;
use super::back_off::{after, delay};
use super::desk::LOOK_AGAIN;
use crate::config;
use crate::flow::{Channel, SendOutcome, Sink};
use crate::ledger::{FinishBatches, LedgerError, MarkSent, PendingRow, Sent};
use crate::telemetry::event::{Published, Returned};

/// How often an unroutable key is mentioned in the log.
const SAY_AGAIN_MS: i64 = 60_000;

/// The publish stage over a sink.
pub struct Publish<K> {
    /// What every stage has.
    pub desk: Desk,
    /// Where messages go.
    pub sink: K,
    /// `[publish]`
    pub settings: config::Publish,
    /// Types that are dropped when no queue is bound.
    pub optional: Vec<String>,
    /// Ends the stage once nothing is left to send.
    pub drain: CancellationToken,
}

impl<K: Sink> Publish<K> {
    /// Runs until it is told to drain and nothing that is due is left.
    pub async fn run(mut self) -> K {
        let mut alone = 0_usize;
        let mut said: HashMap<String, i64> = HashMap::new();
        loop {
            self.desk.step("publish");
            // Also while there is nothing to send: who looks at /readyz wants to know now, not at the next record.
            tokio::select! {
                () = self.sink.ready() => {}
                () = self.drain.cancelled() => {}
                () = self.desk.clock.sleep(LOOK_AGAIN) => continue,
            }
            let sent = match self.step(&mut alone, &mut said).await {
                Ok(sent) => sent,
                Err(error) => {
                    tracing::error!(stage = "publish", %error, "what was sent could not be noted; it is sent again with the same ids");
                    0
                }
            };
            if sent > 0 {
                continue;
            }
            if self.drain.is_cancelled() {
                break;
            }
            let bell = self.desk.ledger.wake().publish();
            tokio::select! {
                () = bell.notified() => {}
                () = self.drain.cancelled() => {}
                () = self.desk.clock.sleep(LOOK_AGAIN) => {}
            }
        }
        self.sink
    }

    /// Sends one batch; returns how many messages it had.
    async fn step(
        &mut self,
        alone: &mut usize,
        said: &mut HashMap<String, i64>,
    ) -> Result<usize, LedgerError> {
        if self.desk.ledger.has_batch_over().await? {
            let now_ms = self.desk.clock.now_ms();
            self.desk.write_until_done("publish", FinishBatches { now_ms }).await?;
        }
        let limit = if *alone > 0 { 1 } else { self.settings.concurrency };
        let mut rows = self
            .desk
            .ledger
            .pending(u32::try_from(limit).unwrap_or(u32::MAX), self.desk.clock.now_ms())
            .await?;
        if let Some(first_suspect) = rows.iter().position(|row| row.suspect) {
            // A suspect travels alone, in its turn.
            rows.truncate(first_suspect.max(1));
        }
        if rows.is_empty() {
            return Ok(0);
        }
        let batch: Vec<_> = rows.iter().map(|row| row.message.clone()).collect();
        let outcomes = loop {
            match self.sink.send(&batch).await {
                ControlFlow::Continue(outcomes) => break outcomes,
                ControlFlow::Break(()) => {
                    // Not up; nothing was tried. While draining there is no time to wait for it.
                    tokio::select! {
                        () = self.sink.ready() => {}
                        () = self.drain.cancelled() => return Ok(0),
                        () = self.desk.clock.sleep(LOOK_AGAIN) => {}
                    }
                    self.desk.step("publish");
                }
            }
        };
        *alone = alone.saturating_sub(batch.len());
        let closed =
            outcomes.iter().any(|outcome| matches!(outcome, SendOutcome::Unknown { channel_closed: true }));
        if closed && batch.len() > 1 {
            *alone = batch.len();
        }
        let notes = Notes { desk: &self.desk, settings: &self.settings, optional: &self.optional };
        notes.take(&rows, &outcomes, said).await?;
        Ok(batch.len())
    }
}

/// Writes down what became of a batch. Apart from the sink, which need not be shareable between threads.
struct Notes<'a> {
    desk: &'a Desk,
    settings: &'a config::Publish,
    optional: &'a [String],
}

impl Notes<'_> {
    async fn take(
        &self,
        rows: &[PendingRow],
        outcomes: &[SendOutcome],
        said: &mut HashMap<String, i64>,
    ) -> Result<(), LedgerError> {
        let now_ms = self.desk.clock.now_ms();
        let was_alone = rows.len() == 1;
        let sent: Vec<Sent> = rows
            .iter()
            .zip(outcomes)
            .map(|(row, outcome)| Sent {
                row: row.message.row,
                outcome: *outcome,
                retry_ms: after(now_ms, self.retry_delay(row, *outcome)),
                drop_unroutable: self.optional.contains(&row.kind),
                was_alone,
            })
            .collect();
        let mark = std::sync::Arc::new(MarkSent { sent, now_ms });
        let parked = self.desk.write_until_done("publish", mark).await?;
        if parked > 0 {
            tracing::error!(
                stage = "publish",
                parked,
                "messages that the broker cannot take are parked; nothing else waits for them"
            );
        }
        for (row, outcome) in rows.iter().zip(outcomes) {
            self.count(row, *outcome, now_ms, said);
        }
        Ok(())
    }

    fn retry_delay(&self, row: &PendingRow, outcome: SendOutcome) -> Duration {
        match outcome {
            // It may be stored already; the repeat has the same id and goes out on a fresh channel.
            SendOutcome::Unknown { .. } | SendOutcome::Sent | SendOutcome::Impossible => Duration::ZERO,
            SendOutcome::Unroutable | SendOutcome::Refused | SendOutcome::Forbidden => {
                delay(self.settings.retry_initial, self.settings.retry_max, row.attempts)
            }
        }
    }

    fn count(&self, row: &PendingRow, outcome: SendOutcome, now_ms: i64, said: &mut HashMap<String, i64>) {
        let metrics = &self.desk.metrics;
        let (kind, routing_key) = (row.kind.as_str(), row.message.routing_key.as_str());
        let is_record = row.message.channel == Channel::Record;
        match outcome {
            SendOutcome::Sent if is_record => {
                let (message, lag_ms) =
                    (&row.message.message_id, row.first_ended_ms.map(|ended_ms| now_ms - ended_ms));
                Published { kind, message, lag_ms }.emit(metrics);
            }
            SendOutcome::Unroutable => {
                let loud = !self.optional.contains(&row.kind) && is_time_to_say(kind, now_ms, said);
                Returned { kind, routing_key, is_record, loud }.emit(metrics);
            }
            SendOutcome::Forbidden if is_time_to_say(kind, now_ms, said) => {
                let what = if is_record { "records are" } else { "dead letters are" };
                tracing::warn!(
                    stage = "publish",
                    kind,
                    routing_key,
                    "{what} kept: the broker does not let this user publish them; grant the write right (briefd doctor \
                     names it)"
                );
            }
            SendOutcome::Impossible => {
                tracing::error!(
                    stage = "publish",
                    message.id = row.message.message_id,
                    "a message cannot be expressed in AMQP and is parked"
                );
            }
            SendOutcome::Sent
            | SendOutcome::Refused
            | SendOutcome::Forbidden
            | SendOutcome::Unknown { .. } => {}
        }
    }
}

/// Whether it is told of this kind again.
fn is_time_to_say(kind: &str, now_ms: i64, said: &mut HashMap<String, i64>) -> bool {
    let last = said.entry(kind.to_owned()).or_insert(i64::MIN / 2);
    let is_time = now_ms - *last >= SAY_AGAIN_MS;
    if is_time {
        *last = now_ms;
    }
    is_time
}
