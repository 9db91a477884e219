//! Brings gauges and notices up to date from small tables, every two seconds; never a scan of a table that grows.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::clock::Clock;
use crate::job::{BriefState, JobState};
use crate::layers;
use crate::ledger::{Hold, LedgerError, Reader, Tally, WaitingPart};
use crate::stages::Desk;
use crate::telemetry::{HOLD_REASONS, HOLD_SCOPES, Metrics, Notice, NoticeKind};

const EVERY: Duration = Duration::from_secs(2);
const MINUTE_MS: i64 = 60_000;
/// From so many briefs on all rows are counted a while after the start: that reads the whole ledger, and what a worker
/// does first is what waited for it.
const MANY: i64 = 100_000;
const COUNTED_LATER: Duration = Duration::from_mins(10);
/// How old the numbers in the sentences about holds may become.
const COUNTED_AGAIN_MS: i64 = 20_000;
/// Fewer are counted each time.
const COUNTED_AT_ONCE: i64 = 2_000;

/// Ends with `drain`, and lets go of the ledger then.
pub(super) fn spawn(worker: &Worker, drain: CancellationToken) {
    let gauges = Gauges {
        desk: worker.desk.clone(),
        api: worker.api.clone(),
        path: worker.settings().ledger.path.clone(),
        overdue_ms: i64::try_from(worker.settings().track.overdue_after.as_millis()).unwrap_or(i64::MAX),
        held: Held::default(),
        waits: Waits::default(),
    };
    let Desk { ledger, clock, metrics, .. } = &worker.desk;
    let balance = balance(ledger.reader().clone(), clock.clone(), metrics.clone());
    let counted = drain.clone();
    tokio::spawn(async move { counted.run_until_cancelled(balance).await });
    tokio::spawn(async move { drain.run_until_cancelled(gauges.run()).await });
}

/// Counts the rows again and compares them with the running totals (P8), once.
async fn balance(reader: Reader, clock: Clock, metrics: Metrics) {
    let rows = reader.tally().await.unwrap_or_default();
    if rows.iter().filter(|row| row.what == "brief").map(|row| row.n).sum::<i64>() >= MANY {
        clock.sleep(COUNTED_LATER).await;
    }
    match reader.imbalance().await {
        Ok(found) => {
            metrics.ledger_imbalance.set(found.sum);
            for line in found.lines {
                tracing::error!(line, "the ledger does not add up");
            }
        }
        Err(error) => tracing::warn!(%error, "the ledger could not be counted"),
    }
}

struct Gauges {
    desk: Desk,
    api: layers::Client,
    path: PathBuf,
    overdue_ms: i64,
    held: Held,
    waits: Waits,
}

/// The holds in sentences, as they were made last: counting who waits behind the hold of a large batch is not for every
/// two seconds.
#[derive(Default)]
struct Held {
    holds: Vec<Hold>,
    made_ms: i64,
    sentences: Vec<String>,
}

/// What waits for a start, as it was counted last.
#[derive(Default)]
struct Waits {
    parts: Vec<WaitingPart>,
    looked_ms: i64,
}

impl Waits {
    /// Of some parts, how many it is not time for yet, and how many others a hold keeps from starting.
    fn scheduled_and_held(&self, holds: &[Hold], which: impl Fn(&&WaitingPart) -> bool) -> (i64, i64) {
        let mut found = (0, 0);
        for part in self.parts.iter().filter(which) {
            if part.scheduled {
                found.0 += part.n;
            } else if holds.iter().any(|hold| hold.scope.stops(&part.project_id, &part.batch_id)) {
                found.1 += part.n;
            }
        }
        found
    }
}

impl Gauges {
    async fn run(mut self) {
        loop {
            self.tell_of_the_ledger();
            if let Err(error) = self.update().await {
                tracing::debug!(%error, "gauges could not be brought up to date");
            }
            self.desk.clock.sleep(EVERY).await;
        }
    }

    /// `/readyz` is no while nothing can be written.
    fn tell_of_the_ledger(&self) {
        self.desk.health.set_ready("ledger", self.desk.ledger.trouble().is_none());
    }

    async fn update(&mut self) -> Result<(), LedgerError> {
        self.desk.troubles.look();
        let now_ms = self.desk.clock.now_ms();
        let holds = self.desk.ledger.reader().holds().await?;
        let tally = self.desk.ledger.reader().tally().await?;
        self.look_at_what_waits(&tally, &holds, now_ms).await?;
        self.tally(&tally, &holds);
        self.count_holds(&holds);
        self.tell(holds, now_ms).await?;
        let ages = self.desk.ledger.ages(now_ms, now_ms - self.overdue_ms, now_ms - MINUTE_MS).await?;
        let metrics = &self.desk.metrics;
        metrics.jobs_due.set(ages.due);
        metrics.jobs_overdue.set(ages.overdue);
        metrics.outcome_unknown.set(ages.unknown);
        let seconds = |since_ms: Option<i64>| {
            #[expect(clippy::cast_precision_loss, reason = "an age in milliseconds fits into 53 bits")]
            let age = since_ms.map_or(0.0, |since_ms| (now_ms - since_ms).max(0) as f64 / 1_000.0);
            age
        };
        for (state, since_ms) in [
            (JobState::Ready, ages.oldest_ready),
            (JobState::Submitting, ages.oldest_submitting),
            (JobState::Running, ages.oldest_running),
        ] {
            metrics.jobs_oldest_seconds.with_label_values(&[state.word()]).set(seconds(since_ms));
        }
        metrics.outbox_oldest_seconds.set(seconds(ages.oldest_outbox));
        #[expect(clippy::cast_precision_loss, reason = "a time span for a gauge")]
        metrics.key_window_seconds.set(
            ages.key_only_unknown
                .map_or(f64::INFINITY, |first_ms| (first_ms + 23 * 3_600_000 - now_ms) as f64 / 1_000.0),
        );
        self.files();
        Ok(())
    }

    /// What a stored `waiting` means depends on the time and on the holds. Thousands are not counted every two seconds.
    async fn look_at_what_waits(
        &mut self,
        rows: &[Tally],
        holds: &[Hold],
        now_ms: i64,
    ) -> Result<(), LedgerError> {
        let waiting: i64 =
            rows.iter().filter(|row| row.what == "brief" && row.state == "waiting").map(|row| row.n).sum();
        let is_old = now_ms - self.waits.looked_ms >= COUNTED_AGAIN_MS;
        if waiting < COUNTED_AT_ONCE || is_old || self.held.holds != holds {
            let parts = if holds.is_empty() {
                self.desk.ledger.scheduled_parts(now_ms).await?
            } else {
                self.desk.ledger.reader().waiting_parts(now_ms).await?
            };
            self.waits = Waits { parts, looked_ms: now_ms };
        }
        Ok(())
    }

    /// Sets each gauge once, to its final value: a scrape may come at any time.
    fn tally(&self, rows: &[Tally], holds: &[Hold]) {
        let metrics = &self.desk.metrics;
        let sum = |what: &str, state: &str, label: Option<&str>| -> i64 {
            let of_label =
                |row: &&Tally| label.is_none_or(|label| self.desk.project_label(&row.label) == label);
            rows.iter()
                .filter(|row| row.what == what && row.state == state)
                .filter(of_label)
                .map(|row| row.n)
                .sum()
        };
        for label in self.desk.aliases.values().map(String::as_str).chain(["other"]) {
            let of_label = |part: &&WaitingPart| self.desk.project_label(&part.project_id) == label;
            let (scheduled, held) = self.waits.scheduled_and_held(holds, of_label);
            for state in BriefState::ALL {
                let stored = sum("brief", state.word(), Some(label));
                let n = match state {
                    BriefState::Scheduled => scheduled,
                    BriefState::Held => held,
                    // The parts were counted a little earlier, or later.
                    BriefState::Waiting => (stored - scheduled - held).max(0),
                    BriefState::Submitting
                    | BriefState::Running
                    | BriefState::Completed
                    | BriefState::Partial
                    | BriefState::Failed
                    | BriefState::Canceled
                    | BriefState::Parked => stored,
                };
                metrics.briefs.with_label_values(&[state.word(), label]).set(n);
            }
        }
        for state in JobState::ALL {
            metrics.jobs.with_label_values(&[state.word()]).set(sum("job", state.word(), None));
        }
        metrics.outbox_pending.set(sum("outbox", "pending", None));
        metrics.outbox_parked.set(sum("outbox", "parked", None));
    }

    fn count_holds(&self, holds: &[Hold]) {
        for scope in HOLD_SCOPES {
            for reason in HOLD_REASONS {
                let alike =
                    |hold: &&Hold| hold.scope.word() == scope && Metrics::hold_label(&hold.reason) == reason;
                let n = i64::try_from(holds.iter().filter(alike).count()).unwrap_or(i64::MAX);
                self.desk.metrics.holds.with_label_values(&[scope, reason]).set(n);
            }
        }
    }

    /// What `/readyz` tells.
    async fn tell(&mut self, holds: Vec<Hold>, now_ms: i64) -> Result<(), LedgerError> {
        if self.held.holds != holds || now_ms - self.held.made_ms >= COUNTED_AGAIN_MS {
            let mut sentences = Vec::with_capacity(holds.len());
            for hold in &holds {
                let waiting = self.desk.ledger.reader().waiting_behind(hold).await?;
                let project = self.desk.project_name(hold.scope.project());
                sentences.push(hold.sentence(project, Some(waiting), now_ms).to_string());
            }
            self.held = Held { holds, made_ms: now_ms, sentences };
        }
        let of_hold = |text: &String| Notice { kind: NoticeKind::Hold, text: text.clone() };
        let mut notices: Vec<Notice> = self.held.sentences.iter().map(of_hold).collect();
        if let Some(text) = self.desk.ledger.trouble() {
            notices.push(Notice { kind: NoticeKind::Warning, text });
        }
        if self.api.is_unreachable() {
            let text = "the Layers API cannot be reached".to_owned();
            notices.push(Notice { kind: NoticeKind::Warning, text });
        }
        if let Some(text) = self.desk.reads.forbidden(self.desk.clock.now_ms()) {
            notices.push(Notice { kind: NoticeKind::Warning, text });
        }
        self.desk.health.set_notices(notices);
        Ok(())
    }

    fn files(&self) {
        let metrics = &self.desk.metrics;
        let bytes = |path: &std::path::Path| {
            std::fs::metadata(path).map_or(0, |file| i64::try_from(file.len()).unwrap_or(i64::MAX))
        };
        metrics.ledger_bytes.set(bytes(&self.path));
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        metrics.ledger_wal_bytes.set(bytes(&PathBuf::from(wal)));
        if let Ok(free) = crate::ledger::free_bytes(&self.path) {
            metrics.disk_free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Connection as _};
    use tempfile::TempDir;

    use super::*;
    use crate::ledger::{Input, Ledger, OpenOptions};

    /// What is counted of a ledger with so many briefs and a total that is wrong by seven, while time stands still.
    async fn counting(briefs: i64) -> (TempDir, Ledger, Clock, Metrics) {
        let (folder, clock, metrics) =
            (TempDir::new().unwrap(), Clock::stepped(Timestamp::UNIX_EPOCH), Metrics::new([]));
        let options = OpenOptions {
            clock: clock.clone(),
            metrics: metrics.clone(),
            origin: "http://127.0.0.1".to_owned(),
            input: Input::Queue,
            repeat_after: Duration::from_mins(1),
            beat: Box::new(|| {}),
        };
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&path, options).await.unwrap();
        let mut db = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
        sqlx::query("INSERT INTO total (name, n) VALUES ('decided', 7)").execute(&mut db).await.unwrap();
        sqlx::query("INSERT INTO tally (what, state, label, n) VALUES ('brief', 'completed', 'p', $1)")
            .bind(briefs)
            .execute(&mut db)
            .await
            .unwrap();
        db.close().await.unwrap();
        (folder, ledger, clock, metrics)
    }

    #[tokio::test]
    async fn a_small_ledger_is_counted_as_the_worker_starts() {
        let (_folder, ledger, clock, metrics) = counting(MANY - 1).await;
        balance(ledger.reader().clone(), clock, metrics.clone()).await;
        assert!(metrics.ledger_imbalance.get() >= 7);
    }

    #[tokio::test]
    async fn a_large_ledger_is_counted_ten_minutes_after_the_start_and_not_before() {
        let (_folder, ledger, clock, metrics) = counting(MANY).await;
        let counting = tokio::spawn(balance(ledger.reader().clone(), clock.clone(), metrics.clone()));
        while clock.sleepers() == 0 {
            assert!(!counting.is_finished(), "counted while the work waits");
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_mins(9));
        tokio::task::yield_now().await;
        assert_eq!((clock.sleepers(), metrics.ledger_imbalance.get()), (1, 0));
        clock.advance(Duration::from_mins(1));
        counting.await.unwrap();
        assert!(metrics.ledger_imbalance.get() >= 7);
    }
}
