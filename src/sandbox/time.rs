//! API time: it starts with the wall clock and then runs `speed` times as fast.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;

/// The time of one sandbox.
#[derive(Clone, Debug)]
pub(super) struct ApiTime {
    clock: Clock,
    start_ms: i64,
    speed: f64,
}

impl ApiTime {
    pub(super) fn new(clock: Clock, speed: f64) -> Self {
        Self { start_ms: clock.now_ms(), clock, speed }
    }

    /// API milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        let elapsed_ms = self.clock.now_ms().saturating_sub(self.start_ms);
        self.start_ms.saturating_add(scaled_ms(elapsed_ms, self.speed))
    }

    /// Waits for so many API milliseconds.
    pub(super) async fn sleep_ms(&self, api_ms: i64) {
        let real_ms = scaled_ms(api_ms, 1.0 / self.speed);
        self.clock.sleep(Duration::from_millis(u64::try_from(real_ms).unwrap_or(0))).await;
    }
}

/// `ms` times `factor`, and the nearest thing to it at the ends of what can be written.
pub(super) fn scaled_ms(ms: i64, factor: f64) -> i64 {
    let duration = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    seconds_ms(duration.as_secs_f64() * factor)
}

/// Seconds as milliseconds.
pub(super) fn seconds_ms(seconds: f64) -> i64 {
    let duration = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds as whole seconds, rounded up.
pub(super) fn whole_seconds(ms: i64) -> i64 {
    ms.max(0).saturating_add(999) / 1000
}

/// ISO 8601 with milliseconds and `Z`.
pub(super) fn iso(ms: i64) -> String {
    format!("{:.3}", timestamp(ms))
}

/// The form of HTTP headers: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(ms: i64) -> String {
    timestamp(ms).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}
