//! Delays that grow, with jitter, never above their cap.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// The delay before try number `attempt` + 1 (from 0), doubling from `initial` to `max`, with jitter.
pub(super) fn delay(initial: Duration, max: Duration, attempt: u32) -> Duration {
    // After twenty doublings the cap is reached whatever the settings; the iterator need not run further.
    let attempt = usize::try_from(attempt.min(20)).unwrap_or(20);
    let mut delays = ExponentialBuilder::default()
        .with_min_delay(initial)
        .with_max_delay(max)
        .with_jitter()
        .without_max_times()
        .build();
    // backon adds its jitter on top of the cap.
    delays.nth(attempt).unwrap_or(max).min(max)
}

/// Milliseconds since 1970 at `delay` after `now_ms`.
pub(super) fn after(now_ms: i64, delay: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_grows_and_never_exceeds_its_cap() {
        let (initial, max) = (Duration::from_secs(1), Duration::from_mins(5));
        for attempt in 0..40 {
            assert!(delay(initial, max, attempt) <= max);
        }
        assert!(delay(initial, max, 0) >= initial);
        assert_eq!(delay(initial, max, 30), max);
    }
}
