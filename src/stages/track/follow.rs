//! When to look at a running job: the API's documented cadence.

use std::time::Duration;

use crate::config;
use crate::ledger::Running;

/// One job that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    job: Running,
    /// When to look next, milliseconds since 1970.
    pub due_ms: i64,
    /// A look is under way.
    pub looking: bool,
    interval: Duration,
    /// Since when the job is over and a container of it is not, milliseconds since 1970.
    terminal_since_ms: Option<i64>,
}

/// What one look needs to know.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub job: Running,
    terminal_since_ms: Option<i64>,
}

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It has ended; nothing is left to see.
    Forget,
    /// Look again on the cadence.
    Again {
        /// The job itself is over.
        terminal: bool,
    },
}

impl Followed {
    pub(super) fn new(job: Running, now_ms: i64, settings: &config::Track) -> Self {
        // A job that was accepted long ago (a restart) is looked at at once.
        let first_ms = job.accepted_ms.saturating_add(millis(settings.poll_initial));
        Self {
            due_ms: first_ms.clamp(now_ms, now_ms.saturating_add(millis(settings.poll_initial))),
            job,
            looking: false,
            interval: settings.poll_initial,
            terminal_since_ms: None,
        }
    }

    pub(super) fn look(&self) -> Look {
        Look { job: self.job.clone(), terminal_since_ms: self.terminal_since_ms }
    }

    /// Notes that a look has not brought the end, and when to look again.
    pub(super) fn again(&mut self, terminal: bool, now_ms: i64, settings: &config::Track) {
        self.looking = false;
        self.terminal_since_ms = terminal.then(|| self.terminal_since_ms.unwrap_or(now_ms));
        let overdue = now_ms.saturating_sub(self.job.accepted_ms) > millis(settings.overdue_after);
        // Overdue jobs are followed more slowly.
        let cap = if overdue { settings.poll_max * 6 } else { settings.poll_max };
        self.interval = self.interval.mul_f64(settings.poll_factor).min(cap);
        self.due_ms = now_ms.saturating_add(millis(self.interval)).saturating_add(self.jitter_ms());
    }

    /// At most 5 % of the interval, different for each job, the same in each run.
    fn jitter_ms(&self) -> i64 {
        let spread = millis(self.interval) / 20;
        if spread == 0 { 0 } else { self.job.job.wrapping_mul(7_919).rem_euclid(spread) }
    }
}

impl Look {
    /// How long the job has been over while a container of it was not.
    pub(super) fn contradicted_for(&self, now_ms: i64) -> Duration {
        let since_ms = self.terminal_since_ms.unwrap_or(now_ms);
        Duration::from_millis(u64::try_from(now_ms - since_ms).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
