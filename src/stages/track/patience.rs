//! PURE. How long a job is followed: time counts only while the API answers.
//!
//! A job is given up when the API has answered our reads of it for `give_up_after`, and ten times more after that. The
//! time between two answers counts if nothing went wrong in between and they are not too far apart; an outage, ours or
//! theirs, counts nothing.

/// Answered reads that are still made once the time is over.
const FURTHER_READS: u8 = 10;
/// Noted in the ledger at most this often, and in steps of a two-hundredth of the whole.
const NOTE_MS: i64 = 60_000;
const NOTE_PARTS: i64 = 200;

/// What is known about how patient we were with one job. Times in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    answered_ms: i64,
    noted_ms: i64,
    /// The last answer, if nothing went wrong since; 0: none.
    last_ms: i64,
    further: u8,
    /// It was said that the job is overdue.
    pub flagged: bool,
}

impl Patience {
    /// Goes on from what was noted.
    pub(super) fn noted(answered_ms: i64) -> Self {
        Self { answered_ms, noted_ms: answered_ms, ..Self::default() }
    }

    /// The API answered something about the job.
    pub(super) fn answered(&mut self, now_ms: i64, longest_gap_ms: i64) {
        let gap_ms = now_ms.saturating_sub(self.last_ms);
        if self.last_ms > 0 && (0..=longest_gap_ms).contains(&gap_ms) {
            self.answered_ms = self.answered_ms.saturating_add(gap_ms);
        }
        self.last_ms = now_ms;
    }

    /// The API answered a read of the job itself. Whether it is to be given up.
    pub(super) fn answered_read(&mut self, now_ms: i64, (longest_gap_ms, give_up_ms): (i64, i64)) -> bool {
        let was_over = self.answered_ms >= give_up_ms;
        self.answered(now_ms, longest_gap_ms);
        if was_over {
            self.further = self.further.saturating_add(1);
        }
        self.further >= FURTHER_READS
    }

    /// A read of the job was not answered.
    pub(super) fn silent(&mut self) {
        self.last_ms = 0;
    }

    /// For how long the API has answered about the job.
    pub(super) fn answered_ms(&self) -> i64 {
        self.answered_ms
    }

    /// What to note in the ledger now, if it is time to.
    pub(super) fn take_note(&mut self, give_up_ms: i64) -> Option<i64> {
        let due = self.answered_ms - self.noted_ms >= NOTE_MS.max(give_up_ms / NOTE_PARTS);
        due.then(|| {
            self.noted_ms = self.answered_ms;
            self.answered_ms
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const LIMITS: (i64, i64) = (120_000, HOUR);

    #[test]
    fn only_answered_time_counts_and_ten_more_reads_follow() {
        let mut patience = Patience::default();
        let mut now_ms = 1;
        assert!(!patience.answered_read(now_ms, LIMITS));
        for _ in 0..60 {
            now_ms += 60_000;
            assert!(!patience.answered_read(now_ms, LIMITS));
        }
        for further in 1..=10 {
            now_ms += 60_000;
            assert_eq!(patience.answered_read(now_ms, LIMITS), further == 10, "{further}");
        }
    }

    #[test]
    fn silence_counts_nothing_however_long() {
        let mut patience = Patience::default();
        let _first = patience.answered_read(1, LIMITS);
        patience.silent();
        let _after_failures = patience.answered_read(60_000, LIMITS);
        let _after_a_long_gap = patience.answered_read(10 * HOUR, LIMITS);
        assert_eq!(patience.take_note(0), None);
        let _counted = patience.answered_read(10 * HOUR + 60_000, LIMITS);
        assert_eq!(patience.take_note(0), Some(60_000));
    }

    #[test]
    fn what_was_noted_is_gone_on_from_and_noted_again_only_in_steps() {
        let mut patience = Patience::noted(HOUR);
        assert!(!patience.answered_read(1, LIMITS), "the first of ten");
        assert_eq!(patience.take_note(HOUR), None);
        patience.answered(60_000, LIMITS.0);
        assert_eq!(patience.take_note(HOUR), None, "a millisecond too early");
        patience.answered(60_001, LIMITS.0);
        assert_eq!(patience.take_note(HOUR), Some(HOUR + 60_000));
        assert_eq!(patience.take_note(HOUR), None);
    }
}
