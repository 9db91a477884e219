//! The API's cap on running jobs, as far as 429s and ended jobs tell of it, without clock or I/O. Its number is not
//! published. Times are milliseconds since 1970.
//!
//! Until a start is refused for it, the cap is unknown and stops nothing. From then on a start needs a *place*: each job
//! that ends leaves one. When no place is known, one start is tried each time the wait of the refusal has passed; if it
//! is accepted, there were more places than we knew of, and two follow, then four: the cap is found without a burst of
//! refusals. Not here: the rate, and whether a 429 was the cap's at all.

use std::time::Duration;

/// So many free places are as good as no cap.
const PLENTY: u32 = 64;
/// Tries that go on being refused become as rare as this, or as the refusals ask for.
const RAREST_MS: i64 = 60_000;

/// The cap on running jobs.
#[derive(Debug, Default)]
pub(super) struct Cap {
    /// Jobs that ended so far.
    ended: u64,
    /// `None`: not known to be reached.
    reached: Option<Reached>,
}

#[derive(Debug)]
struct Reached {
    /// Places that jobs left.
    free: u32,
    /// Starts that may be tried without a place, because the last such try was accepted.
    tries: u32,
    /// When a start is tried anyway.
    try_at_ms: i64,
    /// How long until the next such try.
    wait_ms: i64,
    /// The wait that the last refusal asked for.
    asked_ms: i64,
}

/// By what right a start left, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    right: Right,
    /// Jobs that had ended by then.
    ended: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// The cap was not known to be reached.
    Open,
    /// A place was thought to be free.
    Place,
    /// To find out.
    Try,
}

impl Cap {
    pub(super) const fn is_reached(&self) -> bool {
        self.reached.is_some()
    }

    /// Starts that may leave now.
    pub(super) fn room(&self, now_ms: i64) -> u32 {
        match &self.reached {
            None => u32::MAX,
            Some(reached) => match reached.places() {
                0 => u32::from(reached.try_at_ms <= now_ms),
                places => places,
            },
        }
    }

    /// When there is room at the latest.
    pub(super) fn opens_ms(&self) -> i64 {
        let full = self.reached.as_ref().filter(|reached| reached.places() == 0);
        full.map_or(i64::MIN, |reached| reached.try_at_ms)
    }

    /// A start leaves, and takes up room if any is counted.
    pub(super) fn take(&mut self, now_ms: i64) -> Pass {
        let right = match &mut self.reached {
            None => Right::Open,
            Some(reached) if reached.free > 0 => {
                reached.free -= 1;
                Right::Place
            }
            Some(reached) => {
                match reached.tries.checked_sub(1) {
                    Some(rest) => reached.tries = rest,
                    // Nobody else tries before this one is answered, or for that long.
                    None => reached.try_at_ms = now_ms.saturating_add(reached.wait_ms),
                }
                Right::Try
            }
        };
        Pass { right, ended: self.ended }
    }

    /// No job came of a start that left, or it did not leave: what it took is free again.
    pub(super) fn put_back(&mut self, pass: Pass, now_ms: i64) {
        let Some(reached) = &mut self.reached else { return };
        match pass.right {
            Right::Open => {}
            Right::Place => reached.free = reached.free.saturating_add(1),
            Right::Try => reached.try_at_ms = reached.try_at_ms.min(now_ms),
        }
        self.forget_if_plenty();
    }

    /// The start was accepted. If that was a try, there is more room than we knew of.
    pub(super) fn accepted(&mut self, pass: Pass) {
        if let Some(reached) = &mut self.reached
            && pass.right == Right::Try
        {
            reached.tries = reached.tries.saturating_add(2);
            reached.wait_ms = reached.asked_ms;
            self.forget_if_plenty();
        }
    }

    /// A job ended.
    pub(super) fn job_ended(&mut self) {
        self.ended = self.ended.wrapping_add(1);
        if let Some(reached) = &mut self.reached {
            reached.free = reached.free.saturating_add(1);
            self.forget_if_plenty();
        }
    }

    /// The start was refused for the cap, with `wait` to come again.
    pub(super) fn refused(&mut self, pass: Pass, wait: Duration, now_ms: i64) {
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        // When it was refused no place was free; those of jobs that ended since it left may have come after that.
        let since = u32::try_from(self.ended.wrapping_sub(pass.ended)).unwrap_or(u32::MAX);
        let again_ms = now_ms.saturating_add(wait_ms);
        match &mut self.reached {
            None => {
                let reached =
                    Reached { free: since, tries: 0, try_at_ms: again_ms, wait_ms, asked_ms: wait_ms };
                self.reached = Some(reached);
            }
            Some(reached) => {
                reached.free = reached.free.min(since);
                reached.tries = 0;
                reached.asked_ms = wait_ms;
                if pass.right == Right::Try {
                    reached.wait_ms = reached.wait_ms.saturating_mul(2).min(RAREST_MS).max(wait_ms);
                    reached.try_at_ms = now_ms.saturating_add(reached.wait_ms);
                } else {
                    reached.try_at_ms = reached.try_at_ms.max(again_ms);
                }
            }
        }
    }

    fn forget_if_plenty(&mut self) {
        if self.reached.as_ref().is_some_and(|reached| reached.places() >= PLENTY) {
            self.reached = None;
        }
    }
}

impl Reached {
    fn places(&self) -> u32 {
        self.free.saturating_add(self.tries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(5);

    /// Starts that leave at `now_ms` until there is no room, `most` of them.
    fn burst(cap: &mut Cap, now_ms: i64, most: usize) -> Vec<Pass> {
        let mut passes = Vec::new();
        while passes.len() < most && cap.room(now_ms) > 0 {
            passes.push(cap.take(now_ms));
        }
        passes
    }

    #[test]
    fn each_job_that_ends_lets_one_start_leave_and_not_all_who_wait() {
        let mut cap = Cap::default();
        for pass in burst(&mut cap, 0, 32).into_iter().skip(3) {
            cap.refused(pass, WAIT, 100);
        }
        assert_eq!(cap.room(100), 0);
        cap.job_ended();
        cap.job_ended();
        let passes = burst(&mut cap, 200, 32);
        assert_eq!(passes.len(), 2);
        for pass in passes {
            cap.accepted(pass);
        }
        assert_eq!(cap.room(5_099), 0);
    }

    #[test]
    fn a_job_that_ended_while_the_refusal_was_on_its_way_is_not_forgotten() {
        let mut cap = Cap::default();
        let pass = cap.take(0);
        cap.job_ended();
        cap.refused(pass, WAIT, 100);
        assert_eq!(cap.room(100), 1, "else everybody would wait although nothing runs");
    }

    #[test]
    fn after_the_wait_one_start_tries_and_each_that_is_accepted_lets_two_follow() {
        let mut cap = Cap::default();
        let pass = cap.take(0);
        cap.refused(pass, WAIT, 0);
        assert_eq!((cap.room(4_999), cap.opens_ms()), (0, 5_000));
        let tried = burst(&mut cap, 5_000, 32);
        assert_eq!(tried.len(), 1);
        cap.accepted(tried[0]);
        let followed = burst(&mut cap, 5_100, 32);
        assert_eq!(followed.len(), 2);
        for pass in followed {
            cap.accepted(pass);
        }
        let followed = burst(&mut cap, 5_200, 32);
        assert_eq!(followed.len(), 4);
        cap.accepted(followed[0]);
        cap.refused(followed[1], WAIT, 5_300);
        assert_eq!(burst(&mut cap, 9_999, 32).len(), 0);
    }

    #[test]
    fn tries_that_are_refused_become_rarer() {
        let mut cap = Cap::default();
        let mut pass = cap.take(0);
        let mut now_ms = 0;
        let mut waits = Vec::new();
        for _ in 0..6 {
            cap.refused(pass, WAIT, now_ms);
            waits.push((cap.opens_ms() - now_ms) / 1_000);
            now_ms = cap.opens_ms();
            pass = cap.take(now_ms);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_start_of_which_no_job_came_gives_its_place_back() {
        let mut cap = Cap::default();
        let pass = cap.take(0);
        cap.refused(pass, WAIT, 0);
        cap.job_ended();
        let pass = cap.take(1);
        assert_eq!(cap.room(1), 0);
        cap.put_back(pass, 1);
        assert_eq!(cap.room(1), 1);
        let (place, tried) = (cap.take(1), cap.take(5_000));
        assert_eq!(cap.room(5_000), 0);
        cap.put_back(tried, 5_000);
        assert_eq!(cap.room(5_000), 1);
        cap.accepted(place);
    }

    #[test]
    fn many_free_places_are_no_cap_any_more() {
        let mut cap = Cap::default();
        let pass = cap.take(0);
        cap.refused(pass, WAIT, 0);
        for _ in 0..PLENTY {
            assert!(cap.is_reached());
            cap.job_ended();
        }
        assert_eq!(cap.room(0), u32::MAX);
    }
}
