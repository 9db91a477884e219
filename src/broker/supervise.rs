//! Keeps one side connected, for ever: what the consumer and the publisher have in common.
//!
//! A side that loses its connection, its channel or its consumer throws all of it away, says so once, and builds it
//! again from scratch, topology included. Delays grow from a quarter of a second to half a minute, with jitter, and
//! start small again only after a connection has been good for a while: one that falls at once does not count as up.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::connect::{Connection, Purpose, connect};
use super::{DISCARD_LIMIT, topology};
use crate::clock::Clock;
use crate::config::Amqp;
use crate::telemetry::Metrics;
use crate::telemetry::event::Connected;

/// First delay, before jitter.
const DELAY_MIN: Duration = Duration::from_millis(250);
/// Largest delay before jitter; jitter at most doubles it.
const DELAY_MAX: Duration = Duration::from_secs(15);
/// A connection that lived this long was good: the next delay is a small one.
const STEADY_AFTER: Duration = Duration::from_secs(10);
/// How often an outage that goes on is mentioned again.
const REMIND_EVERY: Duration = Duration::from_mins(1);

/// Keeps one side connected. Clones share one state.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    pub(super) amqp: Arc<Amqp>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) status: Status,
    purpose: Purpose,
    outage: Arc<Mutex<Outage>>,
}

impl Supervisor {
    pub(super) fn new(amqp: Amqp, purpose: Purpose, clock: Clock, metrics: Metrics) -> Self {
        let status = Status::new(purpose, metrics.clone());
        let outage = Arc::new(Mutex::new(Outage::new()));
        Self { amqp: Arc::new(amqp), clock, metrics, status, purpose, outage }
    }

    /// A connection with its topology, as soon as there can be one. Waits out what [`Supervisor::failed`] asked for.
    /// Cancel-safe: given up, it leaves nothing behind.
    pub(super) async fn connect(&self) -> Arc<Connection> {
        loop {
            if let Some(delay) = self.take_delay() {
                self.clock.sleep(delay).await;
            }
            match self.try_connect().await {
                Ok(connection) => {
                    self.status.set(&connection);
                    return connection;
                }
                Err(cause) => self.failed(&cause),
            }
        }
    }

    async fn try_connect(&self) -> Result<Arc<Connection>, String> {
        let connection = connect(&self.amqp, self.purpose).await.map_err(|error| error.to_string())?;
        if let Err(error) = topology::declare(&connection, &self.amqp).await {
            connection.close(DISCARD_LIMIT).await;
            return Err(error.to_string());
        }
        Ok(Arc::new(connection))
    }

    /// Notes that there is no working connection, and why.
    pub(super) fn failed(&self, cause: &str) {
        let (purpose, address) = (self.purpose.word(), self.amqp.address.as_str());
        self.status.set_works(false);
        match self.outage().fail(Instant::now()) {
            Mention::First => tracing::warn!(
                connection = purpose,
                broker = address,
                cause,
                "no working RabbitMQ connection; trying again until there is one"
            ),
            Mention::Reminder => {
                tracing::warn!(
                    connection = purpose,
                    broker = address,
                    cause,
                    "still no working RabbitMQ connection"
                );
            }
            Mention::Quiet => {
                tracing::debug!(
                    connection = purpose,
                    broker = address,
                    cause,
                    "RabbitMQ connection failed again"
                );
            }
        }
    }

    /// Notes that everything works. Costs nothing when it did before.
    pub(super) fn works(&self) {
        let Some(again) = self.outage().works(Instant::now()) else { return };
        self.status.set_works(true);
        let (connection, broker) = (self.purpose.word(), self.amqp.address.as_str());
        Connected { connection, broker, again }.emit(&self.metrics);
    }

    fn take_delay(&self) -> Option<Duration> {
        self.outage().delay.take()
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How loud a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mention {
    First,
    Reminder,
    Quiet,
}

/// What is remembered about failures, without any I/O.
#[derive(Debug)]
struct Outage {
    delays: <ExponentialBuilder as BackoffBuilder>::Backoff,
    /// To be waited before the next try.
    delay: Option<Duration>,
    /// Since when all works; `None` while it does not.
    works_since: Option<Instant>,
    /// When the outage was last mentioned; `None` if there is none.
    mentioned: Option<Instant>,
    has_worked: bool,
}

impl Outage {
    fn new() -> Self {
        Self { delays: delays(), delay: None, works_since: None, mentioned: None, has_worked: false }
    }

    fn fail(&mut self, now: Instant) -> Mention {
        if self.works_since.take().is_some_and(|since| now.duration_since(since) >= STEADY_AFTER) {
            self.delays = delays();
        }
        self.delay = Some(self.delays.next().unwrap_or(DELAY_MAX));
        match self.mentioned {
            Some(last) if now.duration_since(last) < REMIND_EVERY => Mention::Quiet,
            mentioned => {
                self.mentioned = Some(now);
                if mentioned.is_none() { Mention::First } else { Mention::Reminder }
            }
        }
    }

    /// `Some(true)`: works again. `Some(false)`: works for the first time. `None`: worked already.
    fn works(&mut self, now: Instant) -> Option<bool> {
        if self.works_since.is_some() {
            return None;
        }
        self.works_since = Some(now);
        self.mentioned = None;
        Some(std::mem::replace(&mut self.has_worked, true))
    }
}

/// The one place where chance comes in: many workers must not come back in the same instant.
fn delays() -> <ExponentialBuilder as BackoffBuilder>::Backoff {
    ExponentialBuilder::default()
        .with_min_delay(DELAY_MIN)
        .with_factor(2.0)
        .with_max_delay(DELAY_MAX)
        .without_max_times()
        .with_jitter()
        .build()
}

/// How one side's connection is, for those who look from outside. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Status(Arc<StatusInner>);

#[derive(Debug)]
struct StatusInner {
    purpose: Purpose,
    metrics: Metrics,
    connection: Mutex<Weak<Connection>>,
    works: AtomicBool,
    consuming: AtomicBool,
    foreign_consumers: AtomicU32,
}

impl Status {
    fn new(purpose: Purpose, metrics: Metrics) -> Self {
        Self(Arc::new(StatusInner {
            purpose,
            metrics,
            connection: Mutex::new(Weak::new()),
            works: AtomicBool::new(false),
            consuming: AtomicBool::new(false),
            foreign_consumers: AtomicU32::new(0),
        }))
    }

    /// Whether there is a connection that stands, with all on it that this side needs, as far as it knows: a broker
    /// that lets us in and then gives us no consumer is not up.
    pub fn connected(&self) -> bool {
        self.0.works.load(Ordering::Relaxed) && self.connection().is_some_and(|connection| connection.is_up())
    }

    /// Consumers of the input queue that are not this one, when last looked. One ledger goes with one queue:
    /// there should be none.
    pub fn foreign_consumers(&self) -> u32 {
        self.0.foreign_consumers.load(Ordering::Relaxed)
    }

    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        self.0.connection.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Sets the gauge by what is true now: a connection that is not used notices its end late.
    pub(super) fn refresh(&self) {
        self.gauge(self.connected());
    }

    pub(super) fn set_consuming(&self, consuming: bool) {
        self.0.consuming.store(consuming, Ordering::Relaxed);
    }

    /// Takes in how many consumers the input queue has.
    pub(super) fn see_consumers(&self, consumers: u32) {
        let ours = u32::from(self.0.consuming.load(Ordering::Relaxed));
        self.0.foreign_consumers.store(consumers.saturating_sub(ours), Ordering::Relaxed);
    }

    fn set(&self, connection: &Arc<Connection>) {
        *self.0.connection.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(connection);
    }

    fn set_works(&self, works: bool) {
        self.0.works.store(works, Ordering::Relaxed);
        self.gauge(works);
    }

    fn gauge(&self, up: bool) {
        self.0.metrics.amqp_connected.with_label_values(&[self.0.purpose.word()]).set(i64::from(up));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_mentioned_once_and_then_once_a_minute() {
        let start = Instant::now();
        let mut outage = Outage::new();
        assert_eq!(outage.fail(start), Mention::First);
        assert_eq!(outage.fail(start + Duration::from_secs(59)), Mention::Quiet);
        assert_eq!(outage.fail(start + REMIND_EVERY), Mention::Reminder);
        assert_eq!(outage.fail(start + Duration::from_secs(61)), Mention::Quiet);
        assert_eq!(outage.works(start + Duration::from_secs(62)), Some(false));
        assert_eq!(outage.works(start + Duration::from_secs(63)), None);
        assert_eq!(outage.fail(start + Duration::from_secs(64)), Mention::First);
        assert_eq!(outage.works(start + Duration::from_secs(65)), Some(true));
    }

    #[test]
    fn delays_grow_to_half_a_minute_and_start_small_again_only_after_a_steady_time() {
        let start = Instant::now();
        let mut outage = Outage::new();
        for _ in 0..20 {
            outage.fail(start);
        }
        let grown = outage.delay.take().unwrap();
        assert!((DELAY_MAX..=DELAY_MAX * 2).contains(&grown), "{grown:?}");

        outage.works(start);
        outage.fail(start + Duration::from_secs(1));
        assert!(outage.delay.take().unwrap() >= DELAY_MAX, "a connection that falls at once was not up");

        outage.works(start);
        outage.fail(start + STEADY_AFTER);
        assert!(outage.delay.take().unwrap() <= DELAY_MIN * 2);
    }
}
