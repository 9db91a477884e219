//! intake: reads deliveries, decides about them, commits the decisions, then acknowledges. In this order, always.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::Desk;
use super::desk::LOOK_AGAIN;
use crate::brief::{Rules, Unreadable};
use crate::flow::{Delivery, Source};
use crate::layers;
use crate::ledger::{Decide, Decision, LedgerError, Received, Write};
use crate::telemetry::TraceIds;
use crate::telemetry::event::{DeadLettered, Decided, IntakePaused, InvalidBrief};

/// Deliveries that share one decision and one commit at most.
const BATCH: usize = 500;
/// A commit that takes longer is a pause, of which an operator is told.
const BEHIND_AFTER: Duration = Duration::from_secs(2);

/// The intake stage over a source.
pub struct Intake<S> {
    /// What every stage has.
    pub desk: Desk,
    /// Where deliveries come from.
    pub source: S,
    /// Intake and message rules.
    pub settings: Rulebook,
    /// Knows the API key, so that it is kept out of the ledger.
    pub api: layers::Client,
}

/// What intake goes by.
#[derive(Clone, Debug)]
pub struct Rulebook {
    /// `[intake]`
    pub intake: crate::config::Intake,
    /// `[projects]`
    pub projects: std::collections::BTreeMap<String, String>,
    /// `--batch`
    pub batch: Option<String>,
    /// A file's stem.
    pub default_batch: Option<String>,
    /// Lines of the file, when they make a batch.
    pub batch_size: Option<u64>,
    /// `layers.send_container_id`
    pub send_container_id: bool,
}

/// What came in, in sum.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// How many of each decision.
    pub decisions: std::collections::BTreeMap<Decision, u64>,
}

impl<S: Source> Intake<S> {
    /// Runs until the source has ended, or the stage is told to stop and what was taken is decided.
    pub async fn run(mut self) -> (S, Sum) {
        let mut sum = Sum::default();
        let mut stopped = false;
        let mut paused = false;
        loop {
            self.desk.step("intake");
            if !stopped && self.desk.stopping.is_cancelled() {
                self.source.stop().await;
                stopped = true;
            }
            if !stopped {
                paused = self.mind_the_backlog(paused).await;
            }
            let batch = if stopped {
                self.source.receive(BATCH).await
            } else {
                tokio::select! {
                    batch = self.source.receive(BATCH) => batch,
                    () = self.desk.stopping.cancelled() => continue,
                    () = self.desk.clock.sleep(LOOK_AGAIN) => continue,
                    () = self.desk.ledger.wake().intake().notified() => continue,
                }
            };
            let Some(batch) = batch else { break };
            let batch = batch.into_iter().map(|delivery| self.read(delivery)).collect();
            if !self.decide(batch, &mut sum).await {
                // Not committed, so not acknowledged: whoever starts next gets it again.
                break;
            }
        }
        (self.source, sum)
    }

    /// Takes nothing from the source while too much is open; what does not fit waits there.
    async fn mind_the_backlog(&mut self, paused: bool) -> bool {
        let open = match self.desk.ledger.reader().open_briefs().await {
            Ok(open) => open,
            Err(error) => {
                tracing::warn!(stage = "intake", %error, "cannot count what is open");
                return paused;
            }
        };
        let max = self.settings.intake.max_backlog;
        // Hysteresis: a tenth of room before it goes on.
        let pause = if paused { open > max - max / 10 } else { open >= max };
        if pause != paused {
            self.source.pause(pause).await;
            IntakePaused::Backlog { paused: pause, open, max }.emit(&self.desk.metrics);
        }
        pause
    }

    /// Decides a batch, commits, acknowledges. `false`: told to stop while the ledger could not be written.
    ///
    /// A delivery that cannot be recorded, although the ledger can be written, is set aside with the reason: it must
    /// not block what is behind it.
    async fn decide(&mut self, batch: Vec<Received>, sum: &mut Sum) -> bool {
        let batch = match self.commit(batch, sum).await {
            Ok(()) => Vec::new(),
            Err((error, _)) if error.is_of_the_ledger() => return false,
            Err((error, batch)) => {
                tracing::error!(stage = "intake", %error, "a batch could not be recorded; its deliveries are decided one by one");
                batch
            }
        };
        for received in batch {
            let Err((error, mut alone)) = self.commit(vec![received], sum).await else { continue };
            if error.is_of_the_ledger() {
                return false;
            }
            for received in &mut alone {
                received.content = Err(Unreadable::Fault(format!("it could not be recorded: {error}")));
            }
            while let Err((error, again)) = self.commit(alone, sum).await {
                tracing::error!(stage = "intake", %error, "a delivery could not even be set aside");
                if self.desk.stopping.is_cancelled() {
                    return false;
                }
                self.desk.clock.sleep(LOOK_AGAIN).await;
                alone = again;
            }
        }
        self.source.acknowledge().await;
        self.desk.ledger.wake().submit().notify_one();
        self.desk.ledger.wake().publish().notify_one();
        true
    }

    /// Commits one batch, or gives it back with the reason why it is not committed.
    async fn commit(
        &mut self,
        deliveries: Vec<Received>,
        sum: &mut Sum,
    ) -> Result<(), (LedgerError, Vec<Received>)> {
        let decide = Arc::new(Decide {
            deliveries,
            input: self.desk.ledger.input().clone(),
            now_ms: self.desk.clock.now_ms(),
            send_container_id: self.settings.send_container_id,
        });
        tracing::debug!(stage = "intake", deliveries = decide.deliveries.len(), "deciding");
        let decisions = match write(&self.desk, Arc::clone(&decide)).await {
            Ok(decisions) => decisions,
            Err(error) => {
                return Err(match Arc::into_inner(decide) {
                    Some(decide) => (error, decide.deliveries),
                    // The writer lets go of it before it answers. Were it otherwise, an empty batch to decide one by one
                    // would look like a batch that is decided; this one stays with its source.
                    None => (LedgerError::Closed, Vec::new()),
                });
            }
        };
        for ((decision, _), received) in decisions.iter().zip(&decide.deliveries) {
            *sum.decisions.entry(*decision).or_default() += 1;
            self.count(*decision, received);
        }
        Ok(())
    }

    fn count(&self, decision: Decision, received: &Received) {
        let metrics = &self.desk.metrics;
        Decided { result: decision.word(), position: received.position }.emit(metrics);
        let identity = received.content.as_ref().map(|brief| &brief.identity).ok();
        let brief = identity.map_or("", |identity| &identity.brief_id);
        let batch = identity.map_or("", |identity| &identity.batch_id);
        let traceparent = received.properties.headers.get("traceparent").and_then(|value| value.as_str());
        let trace = TraceIds::of(traceparent);
        let reason = match decision {
            Decision::Unreadable => "UNREADABLE",
            Decision::Conflict => "BRIEF_CONFLICT",
            Decision::Invalid => {
                let label = self.desk.project_label(identity.map_or("", |identity| &identity.project_id));
                return InvalidBrief { brief, batch, label, trace }.emit(metrics);
            }
            Decision::New
            | Decision::Duplicate
            | Decision::Republished
            | Decision::Replaced
            | Decision::Rerun => return self.desk.troubles.answered(SUBJECT),
        };
        let detail = &told(received);
        DeadLettered { reason, brief, batch, trace, detail }.emit(metrics, &self.desk.troubles);
    }

    /// Parses one delivery. A message that holds the API key is unreadable, and the key is blanked in it.
    fn read(&self, delivery: Delivery) -> Received {
        let mut received = Received::of(delivery, &self.rules());
        if let Some(blanked) = self.blanked(&String::from_utf8_lossy(&received.body)) {
            received.body = blanked.into_bytes();
            received.content = Err(Unreadable::Fault(SECRET.to_owned()));
        }
        let beside = serde_json::to_string(&received.properties).unwrap_or_default();
        if let Some(blanked) = self.blanked(&beside) {
            received.properties = serde_json::from_str(&blanked).unwrap_or_default();
            received.content = Err(Unreadable::Fault(SECRET.to_owned()));
        }
        received
    }

    fn blanked(&self, text: &str) -> Option<String> {
        let blanked = self.api.blank_key(text);
        (blanked != text).then_some(blanked)
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            max_message_bytes: self.settings.intake.max_message_bytes,
            validation: self.settings.intake.validation,
            missing_brief_id: self.settings.intake.identity,
            projects: &self.settings.projects,
            batch: self.settings.batch.as_deref(),
            default_batch: self.settings.default_batch.as_deref(),
            batch_size: self.settings.batch_size,
        }
    }
}

/// Writes decisions. That a write takes its time is no news; that nothing is taken for so long is.
async fn write(desk: &Desk, decide: Arc<Decide>) -> Result<<Decide as Write>::Out, LedgerError> {
    let mut write = pin!(desk.write_until_done("intake", decide));
    tokio::select! {
        biased;
        written = &mut write => return written,
        () = desk.clock.sleep(BEHIND_AFTER) => {}
    }
    IntakePaused::Ledger { paused: true }.emit(&desk.metrics);
    let written = write.await;
    IntakePaused::Ledger { paused: false }.emit(&desk.metrics);
    written
}

/// Which message it is, and what cannot be used about it.
fn told(received: &Received) -> String {
    let id = received.properties.message_id.as_ref().map_or(String::new(), |id| format!(", message id {id}"));
    let why = received.content.as_ref().err().map_or(String::new(), |why| format!(": {why}"));
    format!("position {}{id}{why}", received.position)
}

/// What troubles are told under.
const SUBJECT: &str = "intake";

const SECRET: &str =
    "the message holds the Layers API key; it was blanked here: replace the key, and keep it out of messages";

#[cfg(test)]
mod tests;
