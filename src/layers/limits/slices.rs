//! What outlives the process: permits are drawn in slices that are stored before the first of them is used.
//!
//! A process that is killed leaves requests behind whose answers nobody saw. Starts are stored one by one with their
//! claim; reads and short writes are too many for that, so a stock of them is stored at once, by whoever takes what
//! [`Limits::slice_wanted`] hands out: this module knows no store. Each stored row bounds its requests: they left within
//! [`Stock::life_ms`] after it was drawn, and were answered or given up within the request timeout after that.

use std::time::Duration;

use super::{Class, Limits};

/// A slice is at most this part of the limit, and lives for this part of the window.
const PART: u32 = 10;
/// A commit is given this long even where the window is that of a fast sandbox.
const SHORTEST_LIFE_MS: i64 = 1_000;

/// Permits that are stored and may be granted.
#[derive(Debug, Default)]
pub(super) struct Stock {
    ready: u32,
    until_ms: i64,
    /// A slice is being stored.
    drawing: bool,
}

/// What is to be drawn now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Draw {
    /// So many permits.
    Now(u32),
    /// Nothing before so many milliseconds have passed.
    After(i64),
    /// Nothing, until something happens.
    Nothing,
}

impl Stock {
    /// How long after it was drawn the permits of a slice may be granted.
    pub(super) fn life_ms(window: Duration) -> i64 {
        i64::try_from((window / PART).as_millis()).unwrap_or(i64::MAX).max(SHORTEST_LIFE_MS)
    }

    /// How many permits to draw for so many waiters.
    pub(super) fn size(waiters: u32, limit: u32) -> u32 {
        waiters.clamp(1, limit.div_ceil(PART).max(1))
    }

    pub(super) const fn ready(&self, now_ms: i64) -> u32 {
        if now_ms < self.until_ms { self.ready } else { 0 }
    }

    pub(super) const fn is_drawing(&self) -> bool {
        self.drawing
    }

    pub(super) const fn begin(&mut self) {
        self.drawing = true;
    }

    /// The slice is stored (`ready` permits of it are still to be had), or never will be (0).
    pub(super) const fn end(&mut self, ready: u32, until_ms: i64) {
        *self = Self { ready, until_ms, drawing: false };
    }

    /// One of the permits that are ready is granted.
    pub(super) const fn take(&mut self) {
        self.ready = self.ready.saturating_sub(1);
    }
}

/// Permits to be stored. Dropped without [`Slice::stored`] they were never drawn.
#[derive(Debug)]
#[must_use = "nobody is served before it is stored"]
pub struct Slice {
    limits: Limits,
    class: Class,
    n: u32,
    drawn_ms: i64,
    ended: bool,
}

impl Slice {
    /// Of what.
    pub fn class(&self) -> Class {
        self.class
    }

    /// How many.
    pub fn n(&self) -> u32 {
        self.n
    }

    /// When they were drawn, milliseconds since 1970.
    pub fn drawn_ms(&self) -> i64 {
        self.drawn_ms
    }

    /// It is stored durably: whoever waits is served. One that took too long is drawn again.
    pub fn stored(mut self) {
        self.ended = true;
        let (n, drawn_ms) = (self.n, self.drawn_ms);
        self.limits.with(self.class, |bucket| bucket.slice_stored(n, drawn_ms));
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        if !self.ended {
            let drawn_ms = self.drawn_ms;
            self.limits.with(self.class, |bucket| bucket.slice_stored(0, drawn_ms));
        }
    }
}

impl Limits {
    /// Waits until somebody waits for a permit that is not stored yet, and returns what to store. Cancel-safe. One caller
    /// at a time; without one, nobody who needs a stored permit is ever served.
    pub async fn slice_wanted(&self) -> Slice {
        loop {
            let now_ms = self.0.clock.now_ms();
            let mut soonest_ms: Option<i64> = None;
            for class in Class::ALL {
                let draw = self.lock().bucket(class).draw(now_ms);
                match draw {
                    Draw::Now(n) => {
                        return Slice { limits: self.clone(), class, n, drawn_ms: now_ms, ended: false };
                    }
                    Draw::After(wait_ms) => {
                        soonest_ms = Some(soonest_ms.map_or(wait_ms, |soonest_ms| soonest_ms.min(wait_ms)));
                    }
                    Draw::Nothing => {}
                }
            }
            self.change(soonest_ms).await;
        }
    }

    /// Waits until something has changed since the last call, or so many milliseconds have passed.
    async fn change(&self, at_most_ms: Option<i64>) {
        let changed = async {
            match &self.0.memory {
                Some(memory) => memory.changed.notified().await,
                // Nothing is ever stored.
                None => std::future::pending().await,
            }
        };
        let passed = async {
            match at_most_ms.and_then(|ms| u64::try_from(ms).ok()) {
                Some(ms) => self.0.clock.sleep(Duration::from_millis(ms)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = passed => {}
        }
    }

    /// Counts `n` requests that a process before this one drew at `drawn_ms`. Those that are long over cost nothing.
    pub fn remember(&self, class: Class, drawn_ms: i64, n: u32) {
        let now_ms = self.0.clock.now_ms();
        let timeout_ms = self.0.memory.as_ref().map_or(0, |memory| memory.timeout_ms);
        self.with(class, |bucket| {
            let latest_ms = drawn_ms.saturating_add(bucket.life_ms()).saturating_add(timeout_ms);
            // Nothing of it has been sent after that process ended, and it has ended.
            bucket.count(latest_ms.min(now_ms), n);
        });
    }

    /// What was drawn before this counts no more, in milliseconds since 1970; `None`: nothing of `class` needs to be
    /// stored. Twice as far back as is needed, for the doubt.
    pub fn forget_before_ms(&self, class: Class) -> Option<i64> {
        let memory = self.0.memory.as_ref()?;
        let reach_ms = self.lock().bucket(class).reach_ms()?.saturating_add(memory.timeout_ms);
        Some(self.0.clock.now_ms().saturating_sub(reach_ms.saturating_mul(2)))
    }
}
