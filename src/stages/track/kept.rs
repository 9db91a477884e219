//! One read in five is kept for polls of regenerated containers, while there are any.
//!
//! Polls go last, and a bucket that is full of other reads would starve them; but no sweep shows a regenerated
//! container, so its poll is the only way to see its end. After every four other reads one waiting poll goes to the
//! front of the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Semaphore;

use crate::layers::{Limits, Permit, Priority};

/// Other reads for each one that is kept.
const OTHERS: u32 = 4;

/// Counts other reads and lets polls through. Cheap to clone; clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Kept(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    others: AtomicU32,
    waiting: AtomicU32,
    turns: Semaphore,
}

impl Default for Kept {
    fn default() -> Self {
        Self(Arc::new(Inner {
            others: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            turns: Semaphore::new(0),
        }))
    }
}

impl Kept {
    /// Another read has got its permit.
    pub(super) fn other_granted(&self) {
        if self.0.waiting.load(Ordering::Acquire) == 0 {
            return;
        }
        let others = self.0.others.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
        if others.is_multiple_of(OTHERS) && self.0.turns.available_permits() == 0 {
            self.0.turns.add_permits(1);
        }
    }

    /// A permit for a poll of a regenerated container. Cancel-safe.
    pub(super) async fn acquire(&self, limits: &Limits) -> Permit {
        let _waiting = Waiting::new(self);
        tokio::select! {
            biased;
            permit = limits.acquire_read(Priority::Poll) => return permit,
            Ok(turn) = self.0.turns.acquire() => turn.forget(),
        }
        limits.acquire_read(Priority::Ended).await
    }
}

struct Waiting<'a>(&'a Kept);

impl<'a> Waiting<'a> {
    fn new(kept: &'a Kept) -> Self {
        kept.0.waiting.fetch_add(1, Ordering::AcqRel);
        Self(kept)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::layers::Numbers;
    use crate::telemetry::Metrics;

    #[tokio::test]
    async fn a_poll_gets_through_while_others_always_wait() {
        let clock = Clock::stepped(jiff::Timestamp::UNIX_EPOCH);
        let numbers = Numbers { reads: 1, writes: 1, starts: 1, window: Duration::from_mins(1) };
        let limits = Limits::new(Some(numbers), clock.clone(), Metrics::new([]));
        let kept = Kept::default();
        let poll = tokio::spawn({
            let (kept, limits) = (kept.clone(), limits.clone());
            // The first permit is gone before it comes.
            limits.acquire_read(Priority::Ended).await.answered();
            async move { kept.acquire(&limits).await.answered() }
        });
        // Four that always have another read to make.
        let others: Vec<_> = (0..4)
            .map(|_| {
                let (kept, limits) = (kept.clone(), limits.clone());
                tokio::spawn(async move {
                    loop {
                        limits.acquire_read(Priority::Ended).await.answered();
                        kept.other_granted();
                    }
                })
            })
            .collect();
        let mut minutes = 0;
        while !poll.is_finished() {
            minutes += 1;
            assert!(minutes <= 12, "it starves");
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            clock.advance(Duration::from_secs(62));
        }
        assert!(minutes >= 5, "it came before its turn: {minutes}");
        for other in others {
            other.abort();
        }
    }
}
