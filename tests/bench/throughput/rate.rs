//! How fast something went.

use std::time::Duration;

/// So many of something in so much time.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many.
    pub count: usize,
    /// How long they took.
    pub took: Duration,
}

impl Rate {
    /// All of them, one after the other.
    pub fn of_all(rates: &[Self]) -> Self {
        Self {
            count: rates.iter().map(|rate| rate.count).sum(),
            took: rates.iter().map(|rate| rate.took).sum(),
        }
    }

    /// In one second.
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    pub fn per_second(self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }
}
