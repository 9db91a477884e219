//! One class of requests, without clock or I/O: what is out, what is cooling, who waits. Times are milliseconds since 1970.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::cap::{Cap, Pass};
use super::slices::{Draw, Stock};
use super::{Bound, Priority, StartAnswer};

/// No limit.
const UNLIMITED: u32 = u32::MAX;

/// One class of requests.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: u32,
    /// How long an answered request still counts.
    cooling_ms: i64,
    /// How long a stored slice may be granted from.
    life_ms: i64,
    /// Requests under way.
    out: u32,
    /// When the requests that still count were answered, oldest first. At most `limit` plus what was remembered.
    answered_ms: VecDeque<i64>,
    /// Nothing is granted before.
    slow_until_ms: i64,
    /// What is stored and may be granted; `None`: nothing needs to be stored.
    stock: Option<Stock>,
    /// The cap on running jobs; only starts run into it.
    cap: Cap,
    /// Who waits, by priority, then in order of arrival.
    queues: [VecDeque<Waiter>; Priority::ALL.len()],
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    wake: Arc<Notify>,
}

/// What a waiter is told.
#[derive(Debug)]
pub(super) enum Turn {
    /// Go ahead; the request is counted as out.
    Granted(Grant),
    /// It is your turn, after so many milliseconds at the earliest, or when woken.
    After(i64),
    /// Wait until woken.
    NotYet,
}

/// What is known of a request that may leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pass: Pass,
    /// Another one could have left with it: should the API refuse it, its rate is not the reason.
    left_room: bool,
}

impl Bucket {
    pub(super) fn new(limit: u32, window: Duration, stock: Option<Stock>) -> Self {
        let mut bucket = Self {
            limit,
            cooling_ms: 0,
            life_ms: 0,
            out: 0,
            answered_ms: VecDeque::new(),
            slow_until_ms: i64::MIN,
            stock,
            cap: Cap::default(),
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
        self.life_ms = Stock::life_ms(window);
        self.wake_first();
    }

    /// Requests that could leave now, [`u32::MAX`] without a limit.
    pub(super) fn available(&mut self, now_ms: i64) -> u32 {
        if now_ms < self.slow_until_ms {
            return 0;
        }
        self.rate_room(now_ms).min(self.cap.room(now_ms))
    }

    fn rate_room(&mut self, now_ms: i64) -> u32 {
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
    pub(super) fn take(&mut self, now_ms: i64) -> Option<Grant> {
        if self.first().is_some() { None } else { self.grant(now_ms) }
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
        if let Some(grant) = self.grant(now_ms) {
            return Turn::Granted(grant);
        }
        // Who stores a slice for us knows when that is worth while, and wakes us.
        let wait_ms = if self.is_out_of_stock(now_ms) { None } else { self.opens_after(now_ms) };
        wait_ms.map_or(Turn::NotYet, Turn::After)
    }

    fn grant(&mut self, now_ms: i64) -> Option<Grant> {
        if self.available(now_ms) == 0 || self.is_out_of_stock(now_ms) {
            return None;
        }
        if let Some(stock) = &mut self.stock {
            stock.take();
        }
        self.out = self.out.saturating_add(1);
        let left_room = self.rate_room(now_ms) > 0;
        Some(Grant { pass: self.cap.take(now_ms), left_room })
    }

    /// Whether a slice has to be stored before the next request may leave.
    fn is_out_of_stock(&self, now_ms: i64) -> bool {
        self.limit != UNLIMITED && self.stock.as_ref().is_some_and(|stock| stock.ready(now_ms) == 0)
    }

    /// Milliseconds until a request may leave, if that depends on time alone.
    fn opens_after(&self, now_ms: i64) -> Option<i64> {
        // With more cooling than the limit (remembered, or the limit sank) several have to end first.
        let used = (self.out as usize).saturating_add(self.answered_ms.len());
        let must_end = used.saturating_add(1).saturating_sub(self.limit as usize);
        let full_ms = match must_end.checked_sub(1) {
            None => i64::MIN,
            // Requests are out, and their end wakes us.
            Some(last) => self.answered_ms.get(last)?.saturating_add(self.cooling_ms),
        };
        let opens_ms = full_ms.max(self.slow_until_ms).max(self.cap.opens_ms());
        Some(opens_ms.saturating_sub(now_ms).max(1))
    }

    /// A slice to store, if somebody waits for one. It is drawn from then on, until [`Bucket::slice_stored`].
    pub(super) fn draw(&mut self, now_ms: i64) -> Draw {
        let waiters = self.queues.iter().map(VecDeque::len).sum::<usize>();
        if waiters == 0 || !self.is_out_of_stock(now_ms) {
            return Draw::Nothing;
        }
        let available = self.available(now_ms);
        let opens_after = self.opens_after(now_ms);
        let limit = self.limit;
        match &mut self.stock {
            Some(stock) if !stock.is_drawing() => {
                if available == 0 {
                    return opens_after.map_or(Draw::Nothing, Draw::After);
                }
                stock.begin();
                let waiters = u32::try_from(waiters).unwrap_or(u32::MAX);
                Draw::Now(Stock::size(waiters, limit).min(available))
            }
            Some(_) | None => Draw::Nothing,
        }
    }

    /// A slice of `n` that was drawn then is stored; 0: it was not.
    pub(super) fn slice_stored(&mut self, n: u32, drawn_ms: i64) {
        let until_ms = drawn_ms.saturating_add(self.life_ms);
        if let Some(stock) = &mut self.stock {
            stock.end(n, until_ms);
        }
        self.wake_first();
    }

    /// A request was answered, or will never be.
    pub(super) fn answered(&mut self, now_ms: i64) {
        self.out = self.out.saturating_sub(1);
        self.count(now_ms, 1);
        self.wake_first();
    }

    /// A start was answered. Tells which bound it ran into, if it did.
    pub(super) fn start_answered(&mut self, grant: Grant, answer: StartAnswer, now_ms: i64) -> Option<Bound> {
        let bound = match answer {
            StartAnswer::Accepted => {
                self.cap.accepted(grant.pass);
                None
            }
            StartAnswer::Other => {
                self.cap.put_back(grant.pass, now_ms);
                None
            }
            StartAnswer::TooMany(wait) if grant.left_room || self.cap.is_reached() => {
                self.cap.refused(grant.pass, wait, now_ms);
                Some(Bound::RunningJobs)
            }
            StartAnswer::TooMany(wait) => {
                self.slow_until(after(now_ms, wait));
                Some(Bound::Rate)
            }
        };
        self.answered(now_ms);
        bound
    }

    /// A job ended: if the cap on running jobs was reached, one more may start.
    pub(super) fn job_ended(&mut self) {
        self.cap.job_ended();
        self.wake_first();
    }

    /// A request never left: its place is free at once.
    pub(super) fn unused(&mut self, grant: Grant, now_ms: i64) {
        self.out = self.out.saturating_sub(1);
        self.cap.put_back(grant.pass, now_ms);
        self.wake_first();
    }

    /// Counts `n` requests that were answered then.
    pub(super) fn count(&mut self, answered_ms: i64, n: u32) {
        if self.limit != UNLIMITED {
            let place = self.answered_ms.partition_point(|other_ms| *other_ms <= answered_ms);
            for _ in 0..n {
                self.answered_ms.insert(place, answered_ms);
            }
        }
    }

    pub(super) fn slow_until(&mut self, until_ms: i64) {
        self.slow_until_ms = self.slow_until_ms.max(until_ms);
        self.wake_first();
    }

    /// Whether the cap on running jobs is known to be reached.
    pub(super) const fn is_capped(&self) -> bool {
        self.cap.is_reached()
    }

    /// How long a stored slice may be granted from.
    pub(super) const fn life_ms(&self) -> i64 {
        self.life_ms
    }

    /// How long after it was drawn a stored request may count, not reckoning how long its answer takes; `None`: none
    /// has to be stored.
    pub(super) fn reach_ms(&self) -> Option<i64> {
        (self.limit != UNLIMITED).then(|| self.life_ms.saturating_add(self.cooling_ms))
    }

    fn first(&self) -> Option<&Waiter> {
        self.queues.iter().find_map(VecDeque::front)
    }

    fn wake_first(&self) {
        if let Some(first) = self.first() {
            first.wake.notify_one();
        }
    }
}

/// `now_ms` and `wait` after it.
pub(super) fn after(now_ms: i64, wait: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}
