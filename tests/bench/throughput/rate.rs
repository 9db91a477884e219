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
    /// In one second.
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
    pub fn per_second(self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }
}
