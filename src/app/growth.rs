//! Keeps the ledger from growing for ever: prunes what ended long ago, in small steps, and empties the log of changes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::clock::Clock;
use crate::ledger::{Ledger, LedgerError, PruneMark, PruneStep, Pruned};

/// How often there is a look at what may be pruned.
const EVERY: Duration = Duration::from_secs(5);
/// A look that finds nothing may take so small a part of the time: what may not be pruned can be much.
const LOOK_SHARE: u32 = 200;
/// Everything else of the ledger goes first between two steps.
const PAUSE: Duration = Duration::from_millis(20);
/// A step that took longer is followed by one of half the size, one that took a quarter of it by one of twice the size.
const STEP: Duration = Duration::from_millis(10);
/// Briefs of the first step, and of any.
const FIRST: u32 = 16;
const MOST: u32 = 256;
/// A log of changes beyond this is emptied by force.
const WAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long that waits for who reads: everybody who writes waits meanwhile.
const PATIENCE: Duration = Duration::from_millis(50);
/// Beyond this it is worth more patience. At this size, and whenever it has doubled, people are told.
const WAL_BYTES_TOLD: u64 = 256 * 1024 * 1024;
const MORE_PATIENCE: Duration = Duration::from_millis(500);

/// Ends with `drain`, and lets go of the ledger then.
pub(super) fn spawn(worker: &Worker, drain: CancellationToken) {
    let growth = Growth {
        ledger: worker.desk.ledger.clone(),
        clock: worker.desk.clock.clone(),
        keep_finished: worker.settings().ledger.keep_finished,
        path: worker.settings().ledger.path.clone(),
        told_bytes: 0,
    };
    tokio::spawn(async move { drain.run_until_cancelled(growth.run()).await });
}

struct Growth {
    ledger: Ledger,
    clock: Clock,
    keep_finished: Duration,
    path: PathBuf,
    /// How large the log of changes was when people were told of it; 0: it is not too large.
    told_bytes: u64,
}

impl Growth {
    async fn run(mut self) {
        loop {
            let began = Instant::now();
            match self.prune().await {
                Ok(0) => {}
                Ok(briefs) => tracing::info!(briefs, "what ended long ago was pruned; tombstones stay"),
                Err(error) => tracing::warn!(%error, "the ledger could not be pruned; it is tried again"),
            }
            let took = began.elapsed();
            self.empty_the_log().await;
            self.clock.sleep(EVERY.max(took * LOOK_SHARE)).await;
        }
    }

    async fn prune(&self) -> Result<usize, LedgerError> {
        let keep_ms = i64::try_from(self.keep_finished.as_millis()).unwrap_or(i64::MAX);
        let by_age = self.clock.now_ms().saturating_sub(keep_ms);
        let before_ms = self.ledger.prune_before().await?.map_or(by_age, |asked| asked.max(by_age));
        prune(&self.ledger, &self.clock, before_ms).await
    }

    async fn empty_the_log(&mut self) {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        let bytes = std::fs::metadata(&wal).map_or(0, |file| file.len());
        let emptied = if bytes < WAL_BYTES_MAX {
            true
        } else {
            let patience = if bytes < WAL_BYTES_TOLD { PATIENCE } else { MORE_PATIENCE };
            match self.ledger.checkpoint(patience).await {
                Ok(emptied) => emptied,
                Err(error) => {
                    tracing::warn!(%error, "the ledger's log of changes could not be emptied");
                    return;
                }
            }
        };
        match (emptied, self.told_bytes) {
            (true, 0) => {}
            (true, _) => {
                tracing::info!("the ledger's log of changes is small again");
                self.told_bytes = 0;
            }
            (false, told) if bytes >= WAL_BYTES_TOLD.max(told.saturating_mul(2)) => {
                let mib = bytes / (1024 * 1024);
                tracing::warn!(
                    "{} has grown to {mib} MiB and goes on growing: somebody has been reading the ledger ever since. End the \
                     backup, the `briefd ledger check` or the SQLite shell that does",
                    wal.display()
                );
                self.told_bytes = bytes;
            }
            (false, _) => tracing::debug!(bytes, "somebody reads, so the ledger's log of changes stays"),
        }
    }
}

/// Prunes what ended before this, step by step; returns how many briefs. What it has done stays done when it is dropped.
pub(super) async fn prune(ledger: &Ledger, clock: &Clock, before_ms: i64) -> Result<usize, LedgerError> {
    steps(ledger, clock, before_ms, |_| {}).await
}

/// The same; tells of each step.
async fn steps(
    ledger: &Ledger,
    clock: &Clock,
    before_ms: i64,
    mut tell: impl FnMut(&Pruned),
) -> Result<usize, LedgerError> {
    let (mut limit, mut briefs, mut after) = (FIRST, 0, PruneMark::default());
    loop {
        let step = ledger.prune(PruneStep { before_ms, after, limit, now_ms: clock.now_ms() }).await?;
        if step.is_over {
            return Ok(briefs);
        }
        tell(&step);
        briefs += step.briefs;
        after = step.after;
        if step.took > STEP {
            limit = (limit / 2).max(1);
        } else if step.took < STEP / 4 {
            limit = (limit * 2).min(MOST);
        }
        clock.sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{Either, select};
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Connection as _};

    use super::*;
    use crate::ledger::{Input, OpenOptions, RememberTier};
    use crate::telemetry::Metrics;

    const BRIEFS: i64 = 2_000;
    /// Something else is written this often.
    const BESIDE: Duration = Duration::from_millis(2);

    async fn finished(folder: &tempfile::TempDir) -> (Ledger, Clock) {
        let (path, clock) = (folder.path().join("briefd.db"), Clock::system());
        let options = OpenOptions {
            clock: clock.clone(),
            metrics: Metrics::new(std::iter::empty()),
            origin: "http://127.0.0.1".to_owned(),
            input: Input::Queue,
            repeat_after: Duration::ZERO,
            beat: Box::new(|| {}),
        };
        let ledger = Ledger::open(&path, options).await.unwrap();
        let mut db = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        let numbers =
            format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {BRIEFS})");
        for statement in [
            "INSERT INTO brief SELECT i, 'p', 'b', i, 'queue', 1, 'completed', TRUE, 1, 1, NULL FROM n",
            "INSERT INTO run (brief, run, fingerprint, request, variant_count, priority, received_at, state, owed, made) \
             SELECT i, 1, 'f', '{}', 1, 4, 1, 'completed', 1, 1 FROM n",
            "INSERT INTO outbox (id, channel, input, message_id, kind, routing_key, body, properties, brief, run, variant, state, \
             due_at, created_at, credits) SELECT i, 'record', 'queue', i, 'container.completed', 'k', zeroblob(2000), '{}', i, 1, 1, \
             'sent', 1, 1, 120 FROM n",
            "INSERT INTO delivery SELECT i, 1, 'new', i, 1, NULL, FALSE FROM n",
            "INSERT INTO history SELECT i, i, 1, 1, 'received', '{}' FROM n",
        ] {
            sqlx::query(sqlx::AssertSqlSafe(format!("{numbers} {statement}")))
                .execute(&mut db)
                .await
                .unwrap();
        }
        db.close().await.unwrap();
        (ledger, clock)
    }

    /// How long one write takes, a moment from now.
    async fn waited(ledger: &Ledger, clock: &Clock) -> Duration {
        clock.sleep(BESIDE).await;
        let began = Instant::now();
        ledger.write(RememberTier("standard".to_owned())).await.unwrap();
        began.elapsed()
    }

    /// Prints the figures, and returns the longest.
    fn told(what: &str, waits: &mut [Duration]) -> Duration {
        waits.sort_unstable();
        let at = |share: usize| waits[(waits.len() - 1) * share / 1_000];
        let (n, most) = (waits.len(), at(1_000));
        println!("{n} {what}: {:.1?} (median), {:.1?} (99 %), {most:.1?} (most)", at(500), at(990));
        most
    }

    #[tokio::test]
    async fn others_write_while_much_is_pruned() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, clock) = finished(&folder).await;
        let mut alone = Vec::new();
        for _ in 0..200 {
            alone.push(waited(&ledger, &clock).await);
        }
        let mut held = Vec::new();
        let mut pruning = Box::pin(steps(&ledger, &clock, 2, |step| held.push(step.took)));
        let mut waits = Vec::new();
        let pruned = loop {
            match select(pruning, Box::pin(waited(&ledger, &clock))).await {
                Either::Left((pruned, _)) => break pruned.unwrap(),
                Either::Right((waited, rest)) => {
                    waits.push(waited);
                    pruning = rest;
                }
            }
        };
        let most = told("writes alone", &mut alone).max(told("writes beside pruning", &mut waits));
        let held = told("steps, each held the writer for", &mut held);
        // 50 ms on a machine that does nothing else; a step that is cut off there goes on in the next one.
        assert!(held < Duration::from_secs(10), "{held:?}");
        assert_eq!(i64::try_from(pruned).unwrap(), BRIEFS);
        assert!(waits.len() > 20, "pruning lets others go first: {}", waits.len());
        assert!(most < Duration::from_mins(1), "{most:?}");
    }
}
