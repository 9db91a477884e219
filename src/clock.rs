//! Time comes in here, and nowhere else.
//!
//! Two kinds of time are needed. *Wall time* ([`Clock::now`]) is stored, compared with the API's stamps and
//! shown to people; it never goes back within one ledger, whatever NTP does ([`Clock::raise_floor`]), and it never
//! stands still: behind its floor it goes on at the machine's monotonic pace. A clock that waited for the wall clock to
//! catch up would stop every retry for as long as somebody's wrong date lasted.
//! *Waiting* ([`Clock::sleep`]) is monotonic. Intervals that belong to the API's pace can be scaled
//! by the sandbox's speed when settings are made; the clock itself always runs at its own pace.
//!
//! Tests use [`Clock::stepped`]: wall time stands still until [`Clock::advance`] moves it, and sleepers wake then.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::crash_point::clock_ahead_ms;

/// By so much at least the wall clock runs ahead of the time that passes when it is set, and not slewed.
const STEP_MS: i64 = 500;
/// Steps that are remembered; more than these count as one.
const STEPS_MAX: usize = 64;

/// A source of time. Cheap to clone; clones share one time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The newest time that was handed out or raised to, in milliseconds since 1970; less `elapsed` for a clock that
    /// runs.
    floor_ms: AtomicI64,
    /// When the floor rose by a step: how long the clock had run, and the floor before.
    steps: Mutex<VecDeque<(i64, i64)>>,
    /// Since when the machine's clock runs.
    started: Instant,
    /// `Some` for a stepped clock: its time in milliseconds since 1970.
    stepped_ms: Option<watch::Sender<i64>>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Inner {
            floor_ms: AtomicI64::new(i64::MIN),
            steps: Mutex::default(),
            started: Instant::now(),
            stepped_ms: None,
        }))
    }

    /// A clock that stands still at `start` until [`Clock::advance`] moves it.
    pub fn stepped(start: Timestamp) -> Self {
        let (sender, _) = watch::channel(start.as_millisecond());
        Self(Arc::new(Inner {
            floor_ms: AtomicI64::new(i64::MIN),
            steps: Mutex::default(),
            started: Instant::now(),
            stepped_ms: Some(sender),
        }))
    }

    /// The wall time, whole milliseconds, never before a time that was returned earlier.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The wall time in milliseconds since 1970, never before a time that was returned earlier.
    pub fn now_ms(&self) -> i64 {
        let read_ms = match &self.0.stepped_ms {
            Some(sender) => *sender.borrow(),
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
            None => Timestamp::now().as_millisecond().saturating_add(clock_ahead_ms()),
        };
        let elapsed_ms = self.elapsed_ms();
        self.rise(read_ms.saturating_sub(elapsed_ms), elapsed_ms).saturating_add(elapsed_ms)
    }

    /// What the wall time was so long ago, as time passes and not as the wall clock tells: one that was set ahead
    /// meanwhile has not made it longer ago. Waits that guard money are measured by this. Milliseconds since 1970.
    pub fn ms_ago(&self, ago: Duration) -> i64 {
        let now_ms = self.now_ms();
        let ago_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        let then_ms = self.elapsed_ms().saturating_sub(ago_ms);
        let steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match steps.iter().find(|(at_ms, _)| *at_ms > then_ms) {
            Some((_, floor_ms)) => floor_ms.saturating_add(then_ms),
            None => now_ms.saturating_sub(ago_ms),
        }
    }

    /// Raises the floor, and remembers it if that is a step. Returns the floor.
    fn rise(&self, to_ms: i64, elapsed_ms: i64) -> i64 {
        let floor = &self.0.floor_ms;
        let is_step = |before_ms: i64| before_ms > i64::MIN && to_ms.saturating_sub(before_ms) >= STEP_MS;
        if self.0.stepped_ms.is_some() || !is_step(floor.load(Ordering::Acquire)) {
            return floor.fetch_max(to_ms, Ordering::AcqRel).max(to_ms);
        }
        let mut steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let before_ms = floor.load(Ordering::Acquire);
        if is_step(before_ms) {
            if steps.len() < STEPS_MAX {
                steps.push_back((elapsed_ms, before_ms));
            } else if let Some(last) = steps.back_mut() {
                last.0 = elapsed_ms;
            }
        }
        floor.fetch_max(to_ms, Ordering::AcqRel).max(to_ms)
    }

    /// How far the floor has risen by itself: a stepped clock's stands still.
    fn elapsed_ms(&self) -> i64 {
        match &self.0.stepped_ms {
            Some(_) => 0,
            None => i64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// Makes sure that [`Clock::now`] never returns a time before `newest_ms` (the newest time in a ledger).
    pub fn raise_floor(&self, newest_ms: i64) {
        let elapsed_ms = self.elapsed_ms();
        self.rise(newest_ms.saturating_sub(elapsed_ms), elapsed_ms);
    }

    /// Waits for `duration`. Cancel-safe.
    pub async fn sleep(&self, duration: Duration) {
        let Some(sender) = &self.0.stepped_ms else {
            return tokio::time::sleep(duration).await;
        };
        let wait_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let mut time = sender.subscribe();
        let until_ms = time.borrow().saturating_add(wait_ms);
        // The sender lives in `self`, so the wait can end only by reaching the time.
        let _reached = time.wait_for(|now_ms| *now_ms >= until_ms).await;
    }

    /// Moves a stepped clock forward and wakes who sleeps until then. Does nothing on the machine's clock.
    pub fn advance(&self, by: Duration) {
        if let Some(sender) = &self.0.stepped_ms {
            let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            sender.send_modify(|now_ms| *now_ms = now_ms.saturating_add(by_ms));
        }
    }

    /// How many sleep until a stepped clock is moved on.
    #[cfg(test)]
    pub(crate) fn sleepers(&self) -> usize {
        self.0.stepped_ms.as_ref().map_or(0, watch::Sender::receiver_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_of_a_stepped_clock_wakes_when_its_time_has_come_and_not_before() {
        let clock = Clock::stepped(Timestamp::UNIX_EPOCH);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(10)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
    }

    #[tokio::test]
    async fn a_clock_that_is_behind_its_ledger_goes_on_from_there_and_does_not_stand_still() {
        let clock = Clock::system();
        let ahead_ms = clock.now_ms() + 3_600_000;
        clock.raise_floor(ahead_ms);
        let first_ms = clock.now_ms();
        assert!((ahead_ms..ahead_ms + 60_000).contains(&first_ms), "{}", first_ms - ahead_ms);
        let moves = async {
            while clock.now_ms() < first_ms + 20 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), moves).await.unwrap();
    }

    #[test]
    fn a_clock_that_is_set_ahead_makes_nothing_longer_ago() {
        const HOUR_MS: i64 = 3_600_000;
        let clock = Clock::system();
        let before_ms = clock.now_ms();
        let ago = Duration::from_mins(1);
        assert!((before_ms - 60_000..before_ms).contains(&clock.ms_ago(ago)));
        for step in 1..=100 {
            clock.raise_floor(before_ms + step * HOUR_MS);
            assert!(clock.now_ms() >= before_ms + step * HOUR_MS);
            let ago_ms = clock.ms_ago(ago);
            assert!((before_ms - 60_000..before_ms).contains(&ago_ms), "{step}: {}", before_ms - ago_ms);
        }
        let now_ms = clock.now_ms();
        assert!(clock.ms_ago(Duration::ZERO) >= now_ms, "what is now, is now");
    }

    #[test]
    fn time_never_goes_back_below_the_floor() {
        let clock = Clock::stepped(Timestamp::UNIX_EPOCH);
        clock.raise_floor(5_000);
        assert_eq!(clock.now_ms(), 5_000);
        clock.advance(Duration::from_secs(4));
        assert_eq!(clock.now_ms(), 5_000);
        clock.advance(Duration::from_secs(4));
        assert_eq!(clock.now_ms(), 8_000);
    }
}
