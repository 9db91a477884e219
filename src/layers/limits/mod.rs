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
//! - The limits of a worker hold across a restart: a read or short write leaves only on a stored permit (`slices`), and
//!   whoever takes starts stores them with what is started.
//!
//! The cap on running jobs is another bound of starts (`cap`). Not here: which request is worth a permit, how long a 429
//! asks to wait, and where permits are stored.

mod bucket;
mod cap;
mod numbers;
mod permit;
mod slices;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use self::bucket::{Bucket, Turn, after};
pub use self::numbers::{Numbers, numbers};
use self::permit::Place;
pub use self::permit::{Bound, Permit, StartAnswer};
pub use self::slices::Slice;
use self::slices::Stock;
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

    /// The class of this label value.
    pub fn with_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.word() == word)
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
    /// What the limits of a worker have besides; `None`: nothing outlives this process, and nobody else has a share.
    memory: Option<Memory>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Memory {
    /// How long a request may take.
    timeout_ms: i64,
    /// Rings for whoever stores slices.
    changed: Notify,
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
    /// Buckets with every permit in place, of which nothing outlives this process. `None`: no limit.
    pub fn new(numbers: Option<Numbers>, clock: Clock, metrics: Metrics) -> Self {
        Self::build(numbers, None, clock, metrics)
    }

    /// The limits of a worker, whose requests may take as long as `timeout`: reads and short writes wait for
    /// [`Limits::slice_wanted`], and some reads are left to commands beside it.
    pub fn of_worker(numbers: Option<Numbers>, timeout: Duration, clock: Clock, metrics: Metrics) -> Self {
        let memory = Memory { timeout_ms: after(0, timeout), changed: Notify::new() };
        Self::build(numbers, Some(memory), clock, metrics)
    }

    fn build(numbers: Option<Numbers>, memory: Option<Memory>, clock: Clock, metrics: Metrics) -> Self {
        let numbers = numbers.unwrap_or(Numbers::UNLIMITED);
        let buckets = Class::ALL.map(|class| {
            let stored = memory.is_some() && class != Class::Start;
            Bucket::new(numbers.of(class), numbers.window, stored.then(Stock::default))
        });
        let state = Mutex::new(State { buckets, next_ticket: 0 });
        let limits = Self(Arc::new(Inner { clock, metrics, memory, state }));
        limits.set_numbers(Some(numbers));
        limits
    }

    /// Other numbers from now on (`whoami` told the tier). What is out or cooling goes on to count, except that a
    /// bucket without a limit has counted nothing.
    pub fn set_numbers(&self, numbers: Option<Numbers>) {
        let numbers = numbers.unwrap_or(Numbers::UNLIMITED);
        let ours = if self.0.memory.is_some() { numbers.of_worker() } else { numbers };
        for class in Class::ALL {
            self.with(class, |bucket| bucket.set_limit(ours.of(class), ours.window));
            let allowed = i64::from(numbers.of(class));
            self.0.metrics.api_limit.with_label_values(&[class.word()]).set(allowed);
        }
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
        let grant = self.with(class, |bucket| bucket.take(now_ms))?;
        Some(Permit::new(self, class, grant))
    }

    /// Permits that could be had now; [`u32::MAX`] without a limit. Also brings the metric up to date.
    pub fn available(&self, class: Class) -> u32 {
        let now_ms = self.0.clock.now_ms();
        self.with(class, |bucket| bucket.available(now_ms))
    }

    /// A 429 came: nothing of `class` is granted before `wait` has passed, with or without a limit.
    pub fn slow(&self, class: Class, wait: Duration) {
        let until_ms = after(self.0.clock.now_ms(), wait);
        self.with(class, |bucket| bucket.slow_until(until_ms));
    }

    /// A job ended at the API. Where the cap on running jobs was reached, one more may start.
    pub fn job_ended(&self) {
        self.with(Class::Start, Bucket::job_ended);
    }

    async fn wait(&self, class: Class, priority: Priority) -> Permit {
        let place = Place::take(self, class, priority);
        loop {
            // Reading the clock under the lock would be no more exact: time passes anyway.
            let now_ms = self.0.clock.now_ms();
            match self.with(class, |bucket| bucket.turn(place.ticket(), now_ms)) {
                Turn::Granted(grant) => return Permit::new(self, class, grant),
                Turn::NotYet => place.woken().await,
                Turn::After(wait_ms) => {
                    let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(1));
                    tokio::select! {
                        () = self.0.clock.sleep(wait) => {}
                        () = place.woken() => {}
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
        if let Some(memory) = &self.0.memory {
            memory.changed.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in there is left half-done by a panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
