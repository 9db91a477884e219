//! Time comes in here, and nowhere else.
//!
//! Two kinds of time are needed. *Wall time* ([`Clock::now`]) is stored, compared with the API's stamps and
//! shown to people; it never goes back within one ledger, whatever NTP does ([`Clock::raise_floor`]).
//! *Waiting* ([`Clock::sleep`]) is monotonic. Intervals that belong to the API's pace can be scaled
//! by the sandbox's speed when settings are made; the clock itself always runs at its own pace.
//!
//! Tests use [`Clock::stepped`]: wall time stands still until [`Clock::advance`] moves it, and sleepers wake then.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// A source of time. Cheap to clone; clones share one time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The newest time that was handed out or raised to, in milliseconds since 1970.
    floor_ms: AtomicI64,
    /// `Some` for a stepped clock: its time in milliseconds since 1970.
    stepped_ms: Option<watch::Sender<i64>>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Arc::new(Inner { floor_ms: AtomicI64::new(i64::MIN), stepped_ms: None }))
    }

    /// A clock that stands still at `start` until [`Clock::advance`] moves it.
    pub fn stepped(start: Timestamp) -> Self {
        let (sender, _) = watch::channel(start.as_millisecond());
        Self(Arc::new(Inner { floor_ms: AtomicI64::new(i64::MIN), stepped_ms: Some(sender) }))
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
            None => Timestamp::now().as_millisecond(),
        };
        self.0.floor_ms.fetch_max(read_ms, Ordering::AcqRel).max(read_ms)
    }

    /// Makes sure that [`Clock::now`] never returns a time before `newest_ms` (the newest time in a ledger).
    pub fn raise_floor(&self, newest_ms: i64) {
        self.0.floor_ms.fetch_max(newest_ms, Ordering::AcqRel);
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
