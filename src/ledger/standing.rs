//! Whether the ledger can be written: said in one line when that ends, and in one when it begins again.
//!
//! A full disk fails every write of every stage, each again and again; the writer sees them all, so it alone speaks. Small
//! writes may still find room where large ones fail, so a trouble is over only when nothing has failed for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::LedgerError;

/// So long nothing has failed: stages try again once a second.
const OVER_AFTER: Duration = Duration::from_secs(3);

/// Whether the ledger can be written. Cheap to clone; clones share one state.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing(Arc<Mutex<Option<Trouble>>>);

#[derive(Debug)]
struct Trouble {
    /// What `/readyz` says too.
    sentence: String,
    since: Instant,
    last: Instant,
    failed: u64,
}

impl Standing {
    /// What is wrong, as one line for people; `None`: the ledger can be written.
    pub(super) fn trouble(&self) -> Option<String> {
        self.state().as_ref().map(|trouble| trouble.sentence.clone())
    }

    /// A write failed. Only an error that may pass is the ledger's trouble; others are those of what was to be written.
    pub(super) fn failed(&self, error: &LedgerError) {
        if !error.may_pass() {
            return;
        }
        let now = Instant::now();
        let mut state = self.state();
        if let Some(trouble) = state.as_mut() {
            trouble.last = now;
            trouble.failed = trouble.failed.saturating_add(1);
            return;
        }
        let sentence = format!("the ledger cannot be written: {}", error.cause_and_remedy());
        tracing::error!(
            "{sentence}; until then nothing is acknowledged and nothing is started, and it goes on by itself"
        );
        *state = Some(Trouble { sentence, since: now, last: now, failed: 1 });
    }

    /// To be called about once a second: says when the trouble is over.
    pub(super) fn look(&self) {
        let mut state = self.state();
        if let Some(trouble) = state.take_if(|trouble| trouble.last.elapsed() >= OVER_AFTER) {
            let (failed, seconds) = (trouble.failed, trouble.since.elapsed().as_secs());
            tracing::info!(failed, seconds, "the ledger can be written again");
        }
    }

    /// Each write leaves the state whole, so a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
