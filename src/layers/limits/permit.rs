//! A place in a queue, and what is at its end: the right to send one request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::bucket::Grant;
use super::{Class, Limits, Priority};

/// A place in a queue; left when dropped, with or without a grant.
pub(super) struct Place<'a> {
    limits: &'a Limits,
    class: Class,
    ticket: u64,
    wake: Arc<Notify>,
}

impl<'a> Place<'a> {
    pub(super) fn take(limits: &'a Limits, class: Class, priority: Priority) -> Self {
        let wake = Arc::new(Notify::new());
        let ticket = {
            let mut state = limits.lock();
            let ticket = state.next_ticket;
            state.next_ticket = ticket.wrapping_add(1);
            ticket
        };
        limits.with(class, |bucket| bucket.enqueue(ticket, priority, Arc::clone(&wake)));
        Self { limits, class, ticket, wake }
    }

    pub(super) const fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Waits until it may be this place's turn.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.limits.with(self.class, |bucket| bucket.leave(self.ticket));
    }
}

/// The right to send one request. Counts until 61/60 of the window after [`Permit::answered`], or after its drop.
#[derive(Debug)]
#[must_use = "dropping a permit uses it up"]
pub struct Permit {
    limits: Limits,
    class: Class,
    grant: Grant,
    settled: bool,
}

/// How a start was answered, as far as the limits care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAnswer {
    /// A job runs.
    Accepted,
    /// 429, with the time to wait.
    TooMany(Duration),
    /// Anything else, or nothing.
    Other,
}

/// What a start ran into that was answered with 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The rate: no start is permitted before the wait is over.
    Rate,
    /// The cap on running jobs: starts wait until a job ends. When the wait is over one tries.
    RunningJobs,
}

impl Permit {
    pub(super) fn new(limits: &Limits, class: Class, grant: Grant) -> Self {
        Self { limits: limits.clone(), class, grant, settled: false }
    }

    /// The answer is there, or the request has failed or timed out.
    pub fn answered(self) {
        drop(self);
    }

    /// Like [`Permit::answered`], of a start. After a 429: what it ran into. While the bucket had room for another start
    /// beside it, or the cap on running jobs is known to be reached, that is the cap.
    pub fn start_answered(mut self, answer: StartAnswer) -> Option<Bound> {
        self.settled = true;
        let (grant, now_ms) = (self.grant, self.limits.0.clock.now_ms());
        let (bound, known) = self.limits.with(self.class, |bucket| {
            let known = bucket.is_capped();
            (bucket.start_answered(grant, answer, now_ms), known)
        });
        if bound == Some(Bound::RunningJobs) && !known {
            tracing::info!("the API runs no more jobs at once; each start waits until a job has ended");
        }
        bound
    }

    /// No request was sent, and none will be: the permit is free again at once.
    pub fn unused(mut self) {
        self.settled = true;
        let (grant, now_ms) = (self.grant, self.limits.0.clock.now_ms());
        self.limits.with(self.class, |bucket| bucket.unused(grant, now_ms));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            let now_ms = self.limits.0.clock.now_ms();
            self.limits.with(self.class, |bucket| bucket.answered(now_ms));
        }
    }
}
