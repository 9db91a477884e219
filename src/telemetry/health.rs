//! What is known about how this process is doing: written by stages and connections, read by `/healthz` and `/readyz`.
//!
//! *Healthy* asks whether the process still moves: a restart would help if not. *Ready* asks whether it can do its
//! work. Holds and warnings are neither: a restart would not lift them, and a rollout that brings the new API key
//! must not be stopped by them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// A stage or the writer that has not moved for longer is late.
pub const LATE_AFTER_SECONDS: i64 = 60;

/// The ledger's writer, in reports.
const WRITER: &str = "writer";

/// How this process is doing. Cheap to clone; clones share one state.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// When each stage, and the writer, last moved.
    steps: BTreeMap<&'static str, Timestamp>,
    components: BTreeMap<&'static str, bool>,
    notices: Vec<Notice>,
}

/// Something a person should know, which does not make the process unready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which list it belongs to.
    pub kind: NoticeKind,
    /// One line, without secrets.
    pub text: String,
}

/// Which list a notice belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Work that is held, and why.
    Hold,
    /// What is not as it should be.
    Warning,
}

/// The answer of `/healthz`.
#[derive(Debug, Serialize)]
pub(super) struct Healthz {
    pub(super) healthy: bool,
    late: Vec<Late>,
}

#[derive(Debug, Serialize)]
struct Late {
    name: &'static str,
    last_step: Timestamp,
    seconds: i64,
}

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
pub(super) struct Readyz {
    pub(super) ready: bool,
    components: BTreeMap<&'static str, bool>,
    holds: Vec<String>,
    warnings: Vec<String>,
}

impl Readyz {
    /// In one line, for a service manager: what is awaited, else what is held.
    pub(super) fn sentence(&self) -> String {
        let down: Vec<&str> = self.components.iter().filter(|(_, up)| !**up).map(|(name, _)| *name).collect();
        match (down.is_empty(), self.holds.as_slice()) {
            (false, _) => format!("waits for: {}", down.join(", ")),
            (true, []) => "at work".to_owned(),
            (true, [hold, ..]) => format!("at work; {hold}"),
        }
    }
}

impl Health {
    /// Expects steps of `stages` and of the writer from `now` on, and `components` (broker, ledger, stages) to
    /// become ready; none of them is yet.
    pub fn new(stages: &[&'static str], components: &[&'static str], now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(State {
            steps: stages.iter().chain(&[WRITER]).map(|name| (*name, now)).collect(),
            components: components.iter().map(|name| (*name, false)).collect(),
            notices: Vec::new(),
        })))
    }

    /// A stage has taken a step, or looked and found nothing to do.
    pub fn stage_step(&self, stage: &'static str, now: Timestamp) {
        self.state().steps.insert(stage, now);
    }

    /// The ledger's writer has committed, or has nothing to commit.
    pub fn writer_step(&self, now: Timestamp) {
        self.state().steps.insert(WRITER, now);
    }

    /// A stage has ended in an orderly way and no steps are to be expected of it.
    pub fn stage_ended(&self, stage: &'static str) {
        self.state().steps.remove(stage);
    }

    /// Whether a component is up.
    pub fn set_ready(&self, component: &'static str, ready: bool) {
        self.state().components.insert(component, ready);
    }

    /// Replaces the list of holds and warnings.
    pub fn set_notices(&self, notices: Vec<Notice>) {
        self.state().notices = notices;
    }

    pub(super) fn healthz(&self, now: Timestamp) -> Healthz {
        let state = self.state();
        let late: Vec<Late> = state
            .steps
            .iter()
            .map(|(name, last_step)| Late {
                name,
                last_step: *last_step,
                seconds: now.duration_since(*last_step).as_secs(),
            })
            .filter(|late| late.seconds > LATE_AFTER_SECONDS)
            .collect();
        Healthz { healthy: late.is_empty(), late }
    }

    pub(super) fn readyz(&self) -> Readyz {
        let state = self.state();
        let texts = |kind| {
            let of_kind = state.notices.iter().filter(move |notice| notice.kind == kind);
            of_kind.map(|notice| notice.text.clone()).collect()
        };
        Readyz {
            ready: state.components.values().all(|ready| *ready),
            holds: texts(NoticeKind::Hold),
            warnings: texts(NoticeKind::Warning),
            components: state.components.clone(),
        }
    }

    /// Each write leaves the state whole, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_reads_what_is_awaited_and_else_what_is_held() {
        let health = Health::new(&[], &["broker", "ledger"], Timestamp::UNIX_EPOCH);
        health.set_ready("ledger", true);
        assert_eq!(health.readyz().sentence(), "waits for: broker");
        health.set_ready("broker", true);
        assert_eq!(health.readyz().sentence(), "at work");
        let text = "HELD account: OPERATOR".to_owned();
        health.set_notices(vec![Notice { kind: NoticeKind::Hold, text }]);
        assert_eq!(health.readyz().sentence(), "at work; HELD account: OPERATOR");
    }
}
