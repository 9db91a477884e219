//! Rate limits: three buckets per key, and never more than the limit in *any* window of a minute.
//!
//! How the API counts is not published, so the sandbox counts in the way that forgives least: a sliding window.

use std::collections::VecDeque;

use super::call::Class;
use super::options::Tier;

const WINDOW_MS: i64 = 60_000;

/// The buckets of one key: when the requests of the last minute arrived.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    reads: VecDeque<i64>,
    writes: VecDeque<i64>,
    starts: VecDeque<i64>,
}

impl Buckets {
    /// Counts one request, or tells how many API milliseconds later there will be room. Refused ones do not count.
    pub(super) fn take(&mut self, tier: Tier, class: Class, now_ms: i64) -> Result<(), i64> {
        let Some(limit) = limit(tier, class) else { return Ok(()) };
        let bucket = match class {
            Class::Read => &mut self.reads,
            Class::Write => &mut self.writes,
            Class::Start => &mut self.starts,
        };
        while bucket.front().is_some_and(|at_ms| now_ms - at_ms >= WINDOW_MS) {
            bucket.pop_front();
        }
        match bucket.front() {
            Some(oldest_ms) if bucket.len() >= limit => Err(oldest_ms + WINDOW_MS - now_ms),
            Some(_) | None => {
                bucket.push_back(now_ms);
                Ok(())
            }
        }
    }
}

/// Requests a minute; `None`: no limit.
fn limit(tier: Tier, class: Class) -> Option<usize> {
    let (reads, writes, starts) = match tier {
        Tier::Standard => (120, 60, 20),
        Tier::Pilot => (1_200, 600, 60),
        Tier::Partner => (6_000, 3_000, 300),
        Tier::Unlimited => return None,
    };
    Some(match class {
        Class::Read => reads,
        Class::Write => writes,
        Class::Start => starts,
    })
}
