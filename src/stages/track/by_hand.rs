//! The stage turned by hand, for simulations that move the clock themselves.

use std::time::Duration;

use super::Track;
use super::round::Rounds;

/// Reads in one turn, at which it would be reading without end.
const READS_MAX: usize = 100_000;
/// Longest that one read may take.
const LIMIT: Duration = Duration::from_mins(1);

/// The stage, with nothing under way.
pub(crate) struct ByHand(Rounds);

impl ByHand {
    pub(crate) fn new(stage: Track) -> Self {
        Self(Rounds::new(stage))
    }

    /// Reads whatever is due now, until nothing is.
    pub(crate) async fn turn(&mut self) {
        self.0.turn().await;
    }
}

impl Rounds {
    /// Reads whatever is due now, until nothing is.
    pub(super) async fn turn(&mut self) {
        self.find_new().await;
        for _ in 0..READS_MAX {
            let _until_due = self.start_due();
            if self.is_idle() {
                return;
            }
            tokio::time::timeout(LIMIT, self.next_report()).await.unwrap();
        }
        panic!("it reads without end");
    }
}
