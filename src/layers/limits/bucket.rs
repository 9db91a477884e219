//! One class of requests, without clock or I/O: what is out, what is cooling, who waits. Times are milliseconds since 1970.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Priority;

/// No limit.
const UNLIMITED: u32 = u32::MAX;

/// One class of requests.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: u32,
    /// How long an answered request still counts.
    cooling_ms: i64,
    /// Requests under way.
    out: u32,
    /// When the requests that still count were answered, oldest first. At most `limit` plus what was preloaded.
    answered_ms: VecDeque<i64>,
    /// Nothing is granted before.
    slow_until_ms: i64,
    /// Who waits, by priority, then in order of arrival.
    queues: [VecDeque<Waiter>; Priority::ALL.len()],
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    wake: Arc<Notify>,
}

/// What a waiter is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Go ahead; the request is counted as out.
    Granted,
    /// It is your turn, after so many milliseconds at the earliest, or when woken.
    After(i64),
    /// Wait until woken.
    NotYet,
}

impl Bucket {
    pub(super) fn new(limit: u32, window: Duration) -> Self {
        let mut bucket = Self {
            limit,
            cooling_ms: 0,
            out: 0,
            answered_ms: VecDeque::new(),
            slow_until_ms: i64::MIN,
            queues: Default::default(),
        };
        bucket.set_limit(limit, window);
        bucket
    }

    /// What is out or cooling goes on to count, by the new window.
    pub(super) fn set_limit(&mut self, limit: u32, window: Duration) {
        self.limit = limit;
        // 61/60 of the window, rounded up: how the API counts is not published, nor how exact its clock is.
        let cooling_ms = window.as_millis().saturating_mul(61).div_ceil(60).saturating_add(1);
        self.cooling_ms = i64::try_from(cooling_ms).unwrap_or(i64::MAX);
    }

    pub(super) const fn limit(&self) -> u32 {
        self.limit
    }

    /// Requests that could leave now, [`u32::MAX`] without a limit.
    pub(super) fn available(&mut self, now_ms: i64) -> u32 {
        if now_ms < self.slow_until_ms {
            return 0;
        }
        if self.limit == UNLIMITED {
            return UNLIMITED;
        }
        while self
            .answered_ms
            .front()
            .is_some_and(|answered_ms| answered_ms.saturating_add(self.cooling_ms) <= now_ms)
        {
            self.answered_ms.pop_front();
        }
        let cooling = u32::try_from(self.answered_ms.len()).unwrap_or(u32::MAX);
        self.limit.saturating_sub(self.out.saturating_add(cooling))
    }

    /// Takes a place now, if there is one and nobody waits for it.
    pub(super) fn take(&mut self, now_ms: i64) -> bool {
        let granted = self.first().is_none() && self.available(now_ms) > 0;
        if granted {
            self.out = self.out.saturating_add(1);
        }
        granted
    }

    pub(super) fn enqueue(&mut self, ticket: u64, priority: Priority, wake: Arc<Notify>) {
        self.queues[priority as usize].push_back(Waiter { ticket, wake });
        self.wake_first();
    }

    /// The waiter has its grant, or has given up.
    pub(super) fn leave(&mut self, ticket: u64) {
        for queue in &mut self.queues {
            queue.retain(|waiter| waiter.ticket != ticket);
        }
        self.wake_first();
    }

    /// Whether it is this waiter's turn. A granted one still has to [`Bucket::leave`].
    pub(super) fn turn(&mut self, ticket: u64, now_ms: i64) -> Turn {
        if self.first().is_none_or(|first| first.ticket != ticket) {
            return Turn::NotYet;
        }
        if self.available(now_ms) > 0 {
            self.out = self.out.saturating_add(1);
            return Turn::Granted;
        }
        let slow_ms = self.slow_until_ms.saturating_sub(now_ms);
        // With more cooling than the limit (preloaded, or the limit sank) several have to end first.
        let used = (self.out as usize).saturating_add(self.answered_ms.len());
        let must_end = used.saturating_add(1).saturating_sub(self.limit as usize);
        let full_ms = match must_end.checked_sub(1) {
            None => Some(0),
            Some(last) => self
                .answered_ms
                .get(last)
                .map(|answered_ms| answered_ms.saturating_add(self.cooling_ms).saturating_sub(now_ms)),
        };
        match full_ms {
            Some(full_ms) => Turn::After(full_ms.max(slow_ms).max(1)),
            // Requests are out, and their end wakes us.
            None => Turn::NotYet,
        }
    }

    /// A request was answered, or will never be.
    pub(super) fn answered(&mut self, now_ms: i64) {
        self.out = self.out.saturating_sub(1);
        self.count(now_ms);
        self.wake_first();
    }

    /// A request never left: its place is free at once.
    pub(super) fn unused(&mut self) {
        self.out = self.out.saturating_sub(1);
        self.wake_first();
    }

    /// Counts a request that was answered then.
    pub(super) fn count(&mut self, answered_ms: i64) {
        if self.limit != UNLIMITED {
            let place = self.answered_ms.partition_point(|other_ms| *other_ms <= answered_ms);
            self.answered_ms.insert(place, answered_ms);
        }
    }

    pub(super) fn slow_until(&mut self, until_ms: i64) {
        self.slow_until_ms = self.slow_until_ms.max(until_ms);
        self.wake_first();
    }

    fn first(&self) -> Option<&Waiter> {
        self.queues.iter().find_map(VecDeque::front)
    }

    pub(super) fn wake_first(&self) {
        if let Some(first) = self.first() {
            first.wake.notify_one();
        }
    }
}
