//! PURE. When to look at a job: the API's documented cadence, as a function of the job's age.
//!
//! The documented loop waits `poll_initial`, and `poll_factor` times as long after each look, up to `poll_max`. Summed
//! up, its interval at age *t* is `poll_initial + (poll_factor - 1) × t`: nothing has to be remembered for a job, and a
//! restart, or a project that stops being swept, goes on where the loop would be.

use std::time::Duration;

use crate::config;

/// Overdue jobs are looked at this many `poll_max` apart.
const SLOWER: u32 = 6;
/// A job that sweeps cover is looked at by itself this many `poll_max` apart: a list that never lets go of an ended
/// container would hide it for ever.
const DISTRUST: u32 = 30;
/// A job that was given up is looked at once a day.
const DAY_MS: i64 = 24 * 3_600_000;

/// The intervals of `[track]`, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cadence {
    pub initial_ms: i64,
    factor: f64,
    pub max_ms: i64,
    pub sweep_ms: i64,
    pub overdue_ms: i64,
    pub give_up_ms: i64,
}

impl Cadence {
    pub(super) fn new(settings: &config::Track) -> Self {
        Self {
            initial_ms: millis(settings.poll_initial).max(1),
            factor: settings.poll_factor,
            max_ms: millis(settings.poll_max).max(1),
            sweep_ms: millis(settings.sweep_interval).max(1),
            overdue_ms: millis(settings.overdue_after),
            give_up_ms: millis(settings.give_up_after),
        }
    }

    /// How long after a look at a job of this age the next one is. Its jitter is at most 5 %, differs from job to job,
    /// and is the same in each run.
    pub(super) fn poll_ms(&self, age_ms: i64, job: i64) -> i64 {
        let interval_ms = if self.is_overdue(age_ms) {
            self.max_ms.saturating_mul(i64::from(SLOWER))
        } else {
            #[expect(clippy::cast_precision_loss, reason = "an age in milliseconds fits into 53 bits")]
            let grown = (self.factor - 1.0).max(0.0) * age_ms.max(0) as f64;
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and is capped right away")]
            self.initial_ms.saturating_add(grown as i64).min(self.max_ms)
        };
        with_jitter(interval_ms, job)
    }

    /// How long after a look at a job that sweeps cover the next one is.
    pub(super) fn distrust_ms(&self, job: i64) -> i64 {
        with_jitter(self.max_ms.saturating_mul(i64::from(DISTRUST)), job)
    }

    /// How long after a look at a job that was given up the next one is.
    pub(super) fn lost_ms(job: i64) -> i64 {
        with_jitter(DAY_MS, job)
    }

    /// When a job that was given up is looked at first: somewhere within the hour, not all at once at a start.
    pub(super) fn first_lost_ms(job: i64) -> i64 {
        spread(DAY_MS / 24, job)
    }

    pub(super) fn is_overdue(&self, age_ms: i64) -> bool {
        age_ms > self.overdue_ms
    }

    /// Two answers further apart than this say nothing about the time between them.
    pub(super) fn longest_gap_ms(&self) -> i64 {
        self.max_ms.saturating_mul(2 * i64::from(SLOWER))
    }
}

fn with_jitter(interval_ms: i64, job: i64) -> i64 {
    interval_ms.saturating_add(spread(interval_ms / 20, job))
}

fn spread(width_ms: i64, job: i64) -> i64 {
    if width_ms <= 0 { 0 } else { job.wrapping_mul(7_919).rem_euclid(width_ms) }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn looks_are_as_far_apart_as_in_the_documented_loop() {
        let cadence = Cadence::new(&Settings::builtin().track);
        let (mut age_ms, mut interval_ms) = (2_000.0_f64, 2_000.0_f64);
        for _ in 0..30 {
            interval_ms = (interval_ms * 1.3).min(10_000.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a few minutes")]
            let ours = cadence.poll_ms(age_ms as i64, 0) as f64;
            assert!((ours - interval_ms).abs() <= 1.0, "{ours} instead of {interval_ms} at {age_ms}");
            age_ms += interval_ms;
        }
    }

    #[test]
    fn jitter_only_ever_adds_and_never_more_than_a_twentieth() {
        let cadence = Cadence::new(&Settings::builtin().track);
        for job in 0..1_000 {
            let interval_ms = cadence.poll_ms(1_000_000, job);
            assert!((10_000..=10_500).contains(&interval_ms), "{interval_ms}");
            assert!(cadence.poll_ms(0, job) >= 1_000);
        }
    }

    #[test]
    fn an_overdue_job_is_looked_at_more_slowly() {
        let cadence = Cadence::new(&Settings::builtin().track);
        assert_eq!(cadence.poll_ms(3_600_000, 0), 10_000);
        assert_eq!(cadence.poll_ms(3_600_001, 0), 60_000);
    }
}
