//! What happens to what comes in.

use crate::telemetry::{Incident, Metrics, TraceIds, TroubleLog, Weight};

/// What troubles are told under, and the stage.
const SUBJECT: &str = "intake";

/// A delivery was decided, and the decision is in the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// In one word.
    pub result: &'static str,
    /// Where it stood in its source.
    pub position: u64,
}

impl Decided {
    /// Counts it and says it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.briefs_received_total.with_label_values(&[self.result]).inc();
        tracing::debug!(stage = SUBJECT, result = self.result, position = self.position, "decided");
    }
}

/// A brief can never be started as it is: it has ended with a record.
#[derive(Clone, Copy, Debug)]
pub struct InvalidBrief<'a> {
    /// The brief.
    pub brief: &'a str,
    /// Its batch; '': none.
    pub batch: &'a str,
    /// The metric label of its project.
    pub label: &'a str,
    /// The trace that it belongs to.
    pub trace: TraceIds<'a>,
}

impl InvalidBrief<'_> {
    /// Counts it and says it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.failures_total.with_label_values(&["INVALID_BRIEF", "briefd", self.label]).inc();
        tracing::debug!(
            stage = SUBJECT,
            brief.id = self.brief,
            batch.id = self.batch,
            trace_id = self.trace.trace,
            parent_id = self.trace.parent,
            "invalid; its record tells why"
        );
    }
}

/// A message was set aside.
#[derive(Clone, Copy, Debug)]
pub struct DeadLettered<'a> {
    /// Why: one of a closed set.
    pub reason: &'static str,
    /// The brief; '': not known.
    pub brief: &'a str,
    /// Its batch; '': none.
    pub batch: &'a str,
    /// The trace that it belongs to.
    pub trace: TraceIds<'a>,
    /// Which message it is, and what cannot be used about it.
    pub detail: &'a str,
}

impl DeadLettered<'_> {
    /// Counts it and says it, once for many of a kind.
    pub fn emit(&self, metrics: &Metrics, troubles: &TroubleLog) {
        metrics.dead_lettered_total.with_label_values(&[self.reason]).inc();
        troubles.note(&Incident {
            subject: SUBJECT,
            kind: self.reason,
            weight: Weight::Warning,
            then: "the message is set aside: briefd dead-letters list",
            stage: SUBJECT,
            job: None,
            brief: self.brief,
            batch: self.batch,
            attempt: None,
            trace: self.trace,
            detail: self.detail,
        });
    }
}

/// Intake takes nothing for now, or takes again.
#[derive(Clone, Copy, Debug)]
pub enum IntakePaused {
    /// So many briefs are open, and so many may be.
    Backlog {
        /// Whether it takes nothing.
        paused: bool,
        /// Briefs that are open.
        open: u64,
        /// `intake.max_backlog`
        max: u64,
    },
    /// What it has taken could not be written for some time.
    Ledger {
        /// Whether it takes nothing.
        paused: bool,
    },
}

impl IntakePaused {
    /// Sets the gauge and says it.
    pub fn emit(&self, metrics: &Metrics) {
        let set = |reason, paused| metrics.intake_paused.with_label_values(&[reason]).set(i64::from(paused));
        match *self {
            Self::Backlog { paused, open, max } => {
                set("backlog", paused);
                tracing::info!(stage = SUBJECT, open, max, paused, "backlog");
            }
            Self::Ledger { paused: true } => {
                set("ledger", true);
                tracing::warn!(
                    stage = SUBJECT,
                    "nothing is taken: what was taken last is not in the ledger yet, and not acknowledged"
                );
            }
            Self::Ledger { paused: false } => {
                set("ledger", false);
                tracing::info!(stage = SUBJECT, "briefs are taken again: the ledger has the last ones");
            }
        }
    }
}
