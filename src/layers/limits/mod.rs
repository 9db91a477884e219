//! When a request may leave: the API's rate limits, kept so that a 429 is a defect.
//!
//! Three separate buckets (reads, short writes, starts), each with a number a window. How the API counts is not
//! published, so no more than that number may fall into *any* stretch of time as long as the window: a permit comes
//! back 61/60 of the window after its request was *answered*, since the API counts somewhere between the two.
//!
//! Invariants:
//! - Out plus cooling permits of a class never exceed its number, preloaded ones aside.
//! - Within a class and priority, who came first is served first; a waiter that gives up costs nothing.
//! - A permit that is dropped counts like one whose request was answered then: perhaps it had left.
//!
//! Not here: which request is worth a permit, how long a 429 asks to wait, and what a restart remembers.

mod bucket;
mod numbers;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use self::bucket::{Bucket, Turn};
pub use self::numbers::{Numbers, numbers};
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// The API's three classes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Every GET.
    Read,
    /// A POST that starts no generation.
    Write,
    /// A POST that starts generation.
    Start,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Start];

    /// The label value.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Start => "start",
        }
    }
}

/// Which reads go first when permits are short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// A container that has ended: somebody waits for its record.
    Ended,
    /// A list page: it covers many containers.
    Sweep,
    /// One job or container, to see where it stands.
    Poll,
}

impl Priority {
    /// Every priority, the highest first.
    pub const ALL: [Self; 3] = [Self::Ended, Self::Sweep, Self::Poll];
}

/// The rate limits of one API key. Cheap to clone; clones share the permits.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    buckets: [Bucket; Class::ALL.len()],
    next_ticket: u64,
}

impl State {
    fn bucket(&mut self, class: Class) -> &mut Bucket {
        &mut self.buckets[class as usize]
    }
}

impl Limits {
    /// Buckets with every permit in place. `None`: no limit.
    pub fn new(numbers: Option<Numbers>, clock: Clock, metrics: Metrics) -> Self {
        let numbers = numbers.unwrap_or(Numbers::UNLIMITED);
        let buckets = Class::ALL.map(|class| Bucket::new(numbers.of(class), numbers.window));
        let limits =
            Self(Arc::new(Inner { clock, metrics, state: Mutex::new(State { buckets, next_ticket: 0 }) }));
        limits.show_limits();
        limits
    }

    /// Other numbers from now on (`whoami` told the tier). What is out or cooling goes on to count, except that a
    /// bucket without a limit has counted nothing.
    pub fn set_numbers(&self, numbers: Option<Numbers>) {
        let numbers = numbers.unwrap_or(Numbers::UNLIMITED);
        let mut state = self.lock();
        for class in Class::ALL {
            let bucket = state.bucket(class);
            bucket.set_limit(numbers.of(class), numbers.window);
            bucket.wake_first();
        }
        drop(state);
        self.show_limits();
    }

    /// A permit for one request, as soon as there is one; reads are served like [`Priority::Poll`]. Cancel-safe: a
    /// wait that is dropped gives its place up.
    pub async fn acquire(&self, class: Class) -> Permit {
        self.wait(class, Priority::Poll).await
    }

    /// A permit for one read. Cancel-safe.
    pub async fn acquire_read(&self, priority: Priority) -> Permit {
        self.wait(Class::Read, priority).await
    }

    /// A permit, if there is one now that nobody waits for.
    pub fn try_acquire(&self, class: Class) -> Option<Permit> {
        let now_ms = self.0.clock.now_ms();
        let granted = self.with(class, |bucket| bucket.take(now_ms));
        granted.then(|| Permit { limits: self.clone(), class, settled: false })
    }

    /// Permits that could be had now; [`u32::MAX`] without a limit. Also brings the metric up to date.
    pub fn available(&self, class: Class) -> u32 {
        let now_ms = self.0.clock.now_ms();
        self.with(class, |bucket| bucket.available(now_ms))
    }

    /// A 429 came: nothing of `class` is granted before `wait` has passed, with or without a limit.
    pub fn slow(&self, class: Class, wait: Duration) {
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let until_ms = self.0.clock.now_ms().saturating_add(wait_ms);
        self.with(class, |bucket| bucket.slow_until(until_ms));
    }

    /// Counts starts of a process before this one, by when they were answered. Those that are long over cost nothing.
    pub fn preload_starts(&self, answered: impl IntoIterator<Item = Timestamp>) {
        self.preload(Class::Start, answered);
    }

    /// Counts requests of a process before this one, by when they were answered.
    pub fn preload(&self, class: Class, answered: impl IntoIterator<Item = Timestamp>) {
        let now_ms = self.0.clock.now_ms();
        self.with(class, |bucket| {
            for time in answered {
                // A time to come is a clock's mistake, and must not take a permit away for longer than a window.
                bucket.count(time.as_millisecond().min(now_ms));
            }
        });
    }

    async fn wait(&self, class: Class, priority: Priority) -> Permit {
        let place = Place::take(self, class, priority);
        loop {
            // Reading the clock under the lock would be no more exact: time passes anyway.
            let now_ms = self.0.clock.now_ms();
            match self.with(class, |bucket| bucket.turn(place.ticket, now_ms)) {
                Turn::Granted => return Permit { limits: self.clone(), class, settled: false },
                Turn::NotYet => place.wake.notified().await,
                Turn::After(wait_ms) => {
                    let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(1));
                    tokio::select! {
                        () = self.0.clock.sleep(wait) => {}
                        () = place.wake.notified() => {}
                    }
                }
            }
        }
    }

    fn with<T>(&self, class: Class, change: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut state = self.lock();
        let bucket = state.bucket(class);
        let result = change(bucket);
        let left = bucket.available(self.0.clock.now_ms());
        drop(state);
        self.0.metrics.api_budget_remaining.with_label_values(&[class.word()]).set(i64::from(left));
        result
    }

    fn show_limits(&self) {
        for class in Class::ALL {
            let limit = self.with(class, |bucket| bucket.limit());
            self.0.metrics.api_limit.with_label_values(&[class.word()]).set(i64::from(limit));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in there is left half-done by a panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a queue; left when dropped, with or without a grant.
struct Place<'a> {
    limits: &'a Limits,
    class: Class,
    ticket: u64,
    wake: Arc<Notify>,
}

impl<'a> Place<'a> {
    fn take(limits: &'a Limits, class: Class, priority: Priority) -> Self {
        let wake = Arc::new(Notify::new());
        let mut state = limits.lock();
        let ticket = state.next_ticket;
        state.next_ticket = ticket.wrapping_add(1);
        state.bucket(class).enqueue(ticket, priority, Arc::clone(&wake));
        drop(state);
        Self { limits, class, ticket, wake }
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
    settled: bool,
}

impl Permit {
    /// The answer is there, or the request has failed or timed out.
    pub fn answered(self) {
        drop(self);
    }

    /// No request was sent, and none will be: the permit is free again at once.
    pub fn unused(mut self) {
        self.settled = true;
        self.limits.with(self.class, Bucket::unused);
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
