//! The stage turned by hand, for simulations that move the clock themselves.

use super::Track;
use super::round::Rounds;

/// Reads in one turn, at which it would be reading without end.
const READS_MAX: usize = 10_000;

/// The stage, with nothing under way.
pub(crate) struct ByHand(Rounds);

impl ByHand {
    pub(crate) fn new(stage: Track) -> Self {
        Self(Rounds::new(stage))
    }

    /// Reads whatever is due now, until nothing is.
    pub(crate) async fn turn(&mut self) {
        self.0.find_new().await;
        for _ in 0..READS_MAX {
            let _until_due = self.0.start_due();
            if self.0.is_idle() {
                return;
            }
            self.0.next_report().await;
        }
        panic!("it reads without end");
    }
}
