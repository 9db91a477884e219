//! Stores what is drawn from the rate limits before it is used, and remembers it after a restart.
//!
//! Beside the stages: whoever waits for a read or a short write waits for a slice of permits to be stored here, one
//! commit for all who wait. While the ledger cannot be written they go on waiting, and it is tried again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::clock::Clock;
use crate::layers::{Class, Limits};
use crate::ledger::{Ledger, LedgerError, Spend};

/// How soon a ledger that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Counts what processes before this one have drawn.
pub(super) async fn remember(limits: &Limits, ledger: &Ledger) -> Result<(), LedgerError> {
    for (class, drawn_ms, n) in ledger.spent().await? {
        // A word that is unknown is that of a later version, which this one cannot open.
        if let Some(class) = Class::with_word(&class) {
            limits.remember(class, drawn_ms, n);
        }
    }
    Ok(())
}

/// Ends with `drain`, and lets go of the ledger then: what still goes on asks the API nothing.
pub(super) fn spawn(worker: &Worker, drain: CancellationToken) {
    let (limits, ledger, clock) =
        (worker.limits.clone(), worker.desk.ledger.clone(), worker.desk.clock.clone());
    tokio::spawn(async move { drain.run_until_cancelled(run(limits, ledger, clock)).await });
}

async fn run(limits: Limits, ledger: Ledger, clock: Clock) {
    loop {
        let slice = limits.slice_wanted().await;
        let class = slice.class();
        let spend = Spend {
            class: class.word(),
            drawn_ms: slice.drawn_ms(),
            n: slice.n(),
            forget_before_ms: limits.forget_before_ms(class).unwrap_or(i64::MIN),
        };
        match ledger.write(spend).await {
            Ok(()) => slice.stored(),
            Err(error) => {
                drop(slice);
                // The ledger says it, once.
                tracing::debug!(%error, "permits could not be stored; the API is asked nothing until they can");
                clock.sleep(AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use sqlx::{ConnectOptions as _, Connection as _};
    use tempfile::TempDir;

    use super::*;
    use crate::config::Settings;
    use crate::layers::{Numbers, Priority};
    use crate::ledger::{Input, OpenOptions};
    use crate::telemetry::Metrics;

    const PROMPTLY: Duration = Duration::from_secs(30);

    /// A ledger in a folder of its own, limits whose slices it keeps, and the clock of both.
    struct Scene {
        folder: TempDir,
        clock: Clock,
        ledger: Ledger,
        limits: Limits,
        metrics: Metrics,
    }

    impl Scene {
        async fn set(clock: Clock) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let metrics = Metrics::new([]);
            let options = crate::app::options_beside(&Settings::builtin(), Input::Queue, &clock);
            let options = OpenOptions { metrics: metrics.clone(), ..options };
            let ledger = Ledger::open(&folder.path().join("briefd.db"), options).await.unwrap();
            let limits = limits(&clock);
            tokio::spawn(run(limits.clone(), ledger.clone(), clock.clone()));
            Self { folder, clock, ledger, limits, metrics }
        }

        async fn beside(&self) -> SqliteConnection {
            let file = self.folder.path().join("briefd.db");
            SqliteConnectOptions::new().filename(file).connect().await.unwrap()
        }

        /// Rows that the writer was asked to write so far, those that failed included.
        fn asked(&self) -> f64 {
            self.metrics.ledger_commit_rows.get_sample_sum()
        }

        async fn read(&self) {
            let permit = self.limits.acquire_read(Priority::Poll);
            tokio::time::timeout(PROMPTLY, permit).await.expect("a read is permitted").answered();
        }
    }

    fn limits(clock: &Clock) -> Limits {
        let numbers = Some(Numbers::STANDARD);
        Limits::of_worker(numbers, Duration::from_secs(30), clock.clone(), Metrics::new([]))
    }

    #[tokio::test]
    async fn a_read_is_stored_before_it_is_permitted_and_counts_after_a_restart() {
        let scene = Scene::set(Clock::stepped("2026-05-01T00:00:00Z".parse().unwrap())).await;
        scene.read().await;
        scene.read().await;
        let row = ("read".to_owned(), scene.clock.now_ms(), 1);
        assert_eq!(scene.ledger.spent().await.unwrap(), [row.clone(), row]);
        let again = limits(&scene.clock);
        let fresh = again.available(Class::Read);
        remember(&again, &scene.ledger).await.unwrap();
        assert_eq!(again.available(Class::Read), fresh - 2);
    }

    #[tokio::test]
    async fn all_who_wait_share_one_commit() {
        let scene = Scene::set(Clock::system()).await;
        let mut lock = scene.beside().await;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
        let reads = futures::future::join_all((0..12).map(|_| scene.read()));
        let freed = async {
            // The first slice may have been drawn before all had come.
            tokio::task::yield_now().await;
            sqlx::query("COMMIT").execute(&mut lock).await.unwrap();
        };
        futures::future::join(reads, freed).await;
        let rows = scene.ledger.spent().await.unwrap();
        assert!(rows.len() <= 2, "{rows:?}");
        assert_eq!(rows.iter().map(|(_, _, n)| n).sum::<u32>(), 12);
    }

    #[tokio::test]
    async fn reads_wait_while_the_ledger_cannot_be_written_and_it_is_tried_once_a_second() {
        let scene = Scene::set(Clock::stepped("2026-05-01T00:00:00Z".parse().unwrap())).await;
        let mut beside = scene.beside().await;
        sqlx::query("ALTER TABLE spent RENAME TO gone").execute(&mut beside).await.unwrap();
        let limits = scene.limits.clone();
        let waiting = tokio::spawn(async move { limits.acquire_read(Priority::Poll).await.answered() });
        for _ in 0..3 {
            let before = scene.asked();
            for _ in 0..20 {
                let write = Spend { class: "read", drawn_ms: 0, n: 1, forget_before_ms: 0 };
                scene.ledger.write(write).await.unwrap_err();
            }
            let tries = scene.asked() - before - 20.0;
            assert!(tries < 1.5, "{tries} tries while the clock stood still");
            scene.clock.advance(AGAIN);
        }
        assert!(!waiting.is_finished());
        sqlx::query("ALTER TABLE gone RENAME TO spent").execute(&mut beside).await.unwrap();
        let began = Instant::now();
        while !waiting.is_finished() {
            assert!(began.elapsed() < PROMPTLY, "it goes on by itself");
            scene.clock.advance(AGAIN);
            tokio::task::yield_now().await;
        }
        beside.close().await.unwrap();
    }
}
