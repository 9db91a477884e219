//! Keeps the ledger from growing for ever: prunes what ended long ago, in small steps, and empties the log of changes.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::clock::Clock;
use crate::ledger::{Ledger, LedgerError, Prune};

/// How often there is a look at what may be pruned.
const EVERY: Duration = Duration::from_secs(5);
/// Everything else of the ledger goes first between two steps.
const PAUSE: Duration = Duration::from_millis(20);
/// A step that took longer is followed by one of half the size, one that took a quarter of it by one of twice the size.
const STEP: Duration = Duration::from_millis(20);
/// Briefs of the first step, and of any.
const FIRST: u32 = 16;
const MOST: u32 = 256;
/// A log of changes beyond this is emptied by force.
const WAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Ends with `drain`, and lets go of the ledger then.
pub(super) fn spawn(worker: &Worker, drain: CancellationToken) {
    let growth = Growth {
        ledger: worker.desk.ledger.clone(),
        clock: worker.desk.clock.clone(),
        keep_finished: worker.settings().ledger.keep_finished,
        path: worker.settings().ledger.path.clone(),
    };
    tokio::spawn(async move { drain.run_until_cancelled(growth.run()).await });
}

struct Growth {
    ledger: Ledger,
    clock: Clock,
    keep_finished: Duration,
    path: PathBuf,
}

impl Growth {
    async fn run(self) {
        loop {
            match self.prune().await {
                Ok(0) => {}
                Ok(briefs) => tracing::info!(briefs, "what ended long ago was pruned; tombstones stay"),
                Err(error) => tracing::warn!(%error, "the ledger could not be pruned; it is tried again"),
            }
            self.empty_the_log().await;
            self.clock.sleep(EVERY).await;
        }
    }

    async fn prune(&self) -> Result<usize, LedgerError> {
        let keep_ms = i64::try_from(self.keep_finished.as_millis()).unwrap_or(i64::MAX);
        let by_age = self.clock.now_ms().saturating_sub(keep_ms);
        let before_ms = self.ledger.prune_before().await?.map_or(by_age, |asked| asked.max(by_age));
        prune(&self.ledger, &self.clock, before_ms).await
    }

    async fn empty_the_log(&self) {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        if std::fs::metadata(wal).map_or(0, |file| file.len()) < WAL_BYTES_MAX {
            return;
        }
        match self.ledger.checkpoint().await {
            Ok(done) => tracing::debug!(done, "the ledger's log of changes was to be emptied"),
            Err(error) => tracing::warn!(%error, "the ledger's log of changes could not be emptied"),
        }
    }
}

/// Prunes what ended before this, step by step; returns how many briefs. What it has done stays done when it is dropped.
pub(super) async fn prune(ledger: &Ledger, clock: &Clock, before_ms: i64) -> Result<usize, LedgerError> {
    let (mut limit, mut briefs) = (FIRST, 0);
    loop {
        let step = ledger.write(Prune { before_ms, limit, now_ms: clock.now_ms() }).await?;
        briefs += step.briefs;
        if step.briefs == 0 && step.set_aside == 0 {
            return Ok(briefs);
        }
        if step.took > STEP {
            limit = (limit / 2).max(1);
        } else if step.took < STEP / 4 {
            limit = (limit * 2).min(MOST);
        }
        clock.sleep(PAUSE).await;
    }
}
