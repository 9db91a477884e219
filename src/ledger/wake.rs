//! How stages wake each other after a commit. A lost wake-up costs seconds, never a job: stages also look on a timer.

use std::sync::Arc;

use tokio::sync::Notify;

/// One bell for each stage. Cheap to clone; clones ring the same bells.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Bells>);

#[derive(Debug, Default)]
struct Bells {
    intake: Notify,
    submit: Notify,
    track: Notify,
    publish: Notify,
}

impl Wake {
    /// Rung when the backlog has shrunk.
    pub fn intake(&self) -> &Notify {
        &self.0.intake
    }

    /// Rung when a job may be due.
    pub fn submit(&self) -> &Notify {
        &self.0.submit
    }

    /// Rung when a job is running.
    pub fn track(&self) -> &Notify {
        &self.0.track
    }

    /// Rung when the outbox has something new.
    pub fn publish(&self) -> &Notify {
        &self.0.publish
    }
}
