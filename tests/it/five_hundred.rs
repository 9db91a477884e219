//! Five hundred briefs of every fate pass through a real broker while the worker is stopped, killed, or loses its
//! ledger: every container still has one record, and every brief was bought once.
//!
//! The sandbox serves each start for a while, and a repeat that overlaps with the first makes a second job: whoever
//! repeats a POST too early has bought twice.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use briefd::clock::Clock;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::Evidence;
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};
use crate::support::{Variable, eventually};

const BRIEFS: u64 = 500;
/// Everything has to be over by then.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long an orderly stop may take.
const GRACE: Duration = Duration::from_secs(10);
/// A start is being served for a fifth of a second; for half a second, if its answer is late or gets lost.
const SANDBOX: &str = "--speed 60 --tier unlimited --overlap-makes-two --start-seconds 12 --in-flight-seconds 18 \
    --slow-seconds 18 --min-seconds 30 --max-seconds 90";
/// API time after which a start that was cut off is certainly served.
const SERVED_AFTER: Duration = Duration::from_secs(12 + 18 + 18);
/// Of a record, what tells of the worker's own doings rather than of the container.
const OWN_TIMES: [&str; 3] = ["receivedAt", "submittedAt", "finishedAt"];
/// Starts that have left, or are about to, and whose outcome is not recorded.
const OUT: &str = "SELECT count(*) FROM job WHERE state = 'submitting' AND claim IS NOT NULL";
const CUT_OFF: &str = "found jobs whose submission was cut off";

#[tokio::test]
async fn a_stop_in_the_middle_and_a_restart_neither_lose_nor_buy_again() {
    let mut scene = Scene::set().await;
    let mut worker = scene.start_worker().await;
    scene.publish_all_and_take_some().await;

    worker.process.sigterm();
    let status = worker.process.wait_exit(GRACE).await;
    assert_eq!(status.code(), Some(0), "an orderly stop is no failure");
    scene.take_rest().await;
    assert!(scene.distinct() < scene.owed(), "the stop came too late to prove anything");

    let worker = scene.start_worker().await;
    assert!(!worker.process.stderr().contains(CUT_OFF), "an orderly stop cuts nothing off");
    scene.finish(worker).await.assert_clean();
}

#[tokio::test]
async fn two_kills_in_the_middle_neither_lose_nor_buy_again() {
    let mut scene = Scene::set().await;
    // Only the key guards, because it is all that there is for a regenerate.
    scene.variables.push(("BRIEFD__LAYERS__SEND_CONTAINER_ID", "false".to_owned()));
    let mut worker = scene.start_worker().await;
    // A refusal of a POST that a kill cut off is believed ten minutes later; no test can wait for that.
    let (refused, others): (Vec<Value>, Vec<Value>) = scene.briefs.iter().cloned().partition(is_refused);
    let mut parts = others.chunks(others.len().div_ceil(3));
    scene.publish(&refused).await;
    scene.publish(parts.next().unwrap()).await;
    scene.take_all_refusals().await;
    for part in parts {
        scene.publish(part).await;
        scene.kill_while_a_post_is_out(&mut worker).await;
        assert!(scene.distinct() < scene.owed(), "the kill came too late to prove anything");

        worker = scene.start_worker().await;
        assert!(worker.process.stderr().contains(CUT_OFF), "no POST was in flight when it was killed");
    }
    Evidence { crashes: 2, ..scene.finish(worker).await }.assert_clean();
}

#[tokio::test]
async fn a_ledger_lost_in_the_middle_costs_nothing_when_the_same_messages_come_again() {
    let mut scene = Scene::set().await;
    let mut worker = scene.start_worker().await;
    scene.publish_all_and_take_some().await;
    worker.process.sigkill();
    drop(worker);
    scene.take_rest().await;
    assert!(scene.distinct() < scene.owed(), "the ledger was lost too late to prove anything");
    scene.lose_ledger();
    let lost_at = Clock::system().now();
    // Which POSTs were in flight is lost, too, so nobody can wait for each of them: they have to be over.
    scene.sandbox.let_pass(SERVED_AFTER).await;

    let worker = scene.start_worker().await;
    scene.publish_all().await;
    scene.await_second_receipt(&worker).await;
    let first = scene.distinct();
    let mut evidence = scene.finish(worker).await;
    assert!(first < scene.owed(), "nothing was left to publish");
    // The new ledger tells of everything once more, and agrees with all that came since.
    let since = evidence.records.iter().filter(|record| received_at(record) > lost_at).cloned().collect();
    Evidence { records: since, ..evidence.clone() }.assert_clean();
    // It knows of nothing that came before, so its records tell of its own doings; all else must be as before.
    evidence.ledger = None;
    for record in &mut evidence.records {
        *record = without_own_doings(record);
    }
    evidence.assert_clean();
}

#[tokio::test]
async fn a_message_is_acknowledged_only_once_it_is_in_the_ledger() {
    let mut scene = Scene::set().await;
    scene.briefs.truncate(20);
    let mut worker = scene.start_worker().await;
    let lock = lock_ledger(scene.dir.path()).await;
    scene.publish_all().await;
    let paused = eventually(PROMPTLY, async || {
        let paused = worker.series("briefd_intake_paused{reason=\"ledger\"}").await;
        (paused > 0.0).then_some(())
    });
    paused.await.expect("intake tries to write what it has taken");
    worker.process.sigkill();
    lock.close().await.unwrap();

    let worker = scene.start_worker().await;
    scene.finish(worker).await.assert_clean();
}

#[tokio::test]
async fn a_record_that_no_queue_took_is_published_after_a_kill() {
    let mut scene = Scene::set().await;
    scene.briefs.truncate(20);
    scene.broker.delete_records_queue().await;
    let mut worker = scene.start_worker().await;
    scene.publish_all().await;
    let returned = eventually(PROMPTLY, async || {
        let returned = worker.series("briefd_unroutable_total{type=\"container.completed\"}").await;
        (returned > 0.0).then_some(())
    });
    returned.await.expect("the broker returns what it cannot route, and that counts");
    worker.process.sigkill();
    scene.broker.declare_records_queue().await;

    let worker = scene.start_worker().await;
    scene.finish(worker).await.assert_clean();
}

/// Nobody else can write the ledger in `dir` while this lives.
pub async fn lock_ledger(dir: &Path) -> SqliteConnection {
    let ledger = SqliteConnectOptions::new().filename(dir.join("briefd.db"));
    let mut lock = ledger.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    lock
}

/// The broker, the API, the place of the ledger, and what has come out so far.
struct Scene {
    broker: TestBroker,
    sandbox: SandboxProcess,
    variables: Vec<Variable>,
    dir: TempDir,
    briefs: Vec<Value>,
    records: Vec<Message>,
    ids: HashSet<String>,
}

impl Scene {
    async fn set() -> Self {
        let sandbox = SandboxProcess::spawn(&SANDBOX.split_whitespace().collect::<Vec<_>>()).await;
        let broker = TestBroker::connect().await;
        let mut variables = [broker.variables(), sandbox.variables()].concat();
        variables.extend([
            // `whoami` has no word for it, because the API has no such tier.
            ("BRIEFD__LAYERS__TIER", "unlimited".to_owned()),
            ("BRIEFD__SHUTDOWN__GRACE", format!("{}s", GRACE.as_secs())),
            ("BRIEFD__SUBMIT__CONCURRENCY", "64".to_owned()),
            // More than the sandbox needs to serve a start whose answer got lost, which is half a second.
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "1s".to_owned()),
            ("BRIEFD__SUBMIT__RETRY_INITIAL", "20ms".to_owned()),
            ("BRIEFD__SUBMIT__RETRY_MAX", "200ms".to_owned()),
            ("BRIEFD__SUBMIT__PROBE_INTERVAL", "200ms".to_owned()),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms".to_owned()),
            ("BRIEFD__TRACK__POLL_MAX", "200ms".to_owned()),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "200ms".to_owned()),
        ]);
        Self {
            broker,
            sandbox,
            variables,
            dir: TempDir::new().unwrap(),
            briefs: (0..BRIEFS).map(brief).collect(),
            records: Vec::new(),
            ids: HashSet::new(),
        }
    }

    async fn start_worker(&self) -> Worker {
        let mut worker = Worker::spawn(self.dir.path(), &self.variables);
        worker.wait_ready().await;
        worker
    }

    async fn publish_all(&self) {
        self.publish(&self.briefs).await;
    }

    /// The second half has only just been sent then, so much is under way, however slow the machine is.
    async fn publish_all_and_take_some(&mut self) {
        let half = self.briefs.len() / 2;
        self.publish(&self.briefs[..half]).await;
        self.take_until(150).await;
        self.publish(&self.briefs[half..]).await;
    }

    async fn publish(&self, briefs: &[Value]) {
        stream::iter(briefs).for_each_concurrent(32, |brief| self.broker.publish(brief)).await;
    }

    /// Takes records until so many different ones have come.
    async fn take_until(&mut self, count: usize) {
        let began = std::time::Instant::now();
        while self.distinct() < count {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let taken = self.broker.take_records(count - self.distinct(), left).await;
            assert!(!taken.is_empty(), "{} of {count} records came within {PATIENCE:?}", self.distinct());
            self.keep(taken);
        }
    }

    async fn take_all_refusals(&mut self) {
        let refused = self.briefs.iter().filter(|brief| is_refused(brief)).count();
        let told = |record: &Message| record.json()["error"]["code"] == "MODERATION_BLOCKED";
        let mut count = 0;
        while count < refused {
            self.take_until(self.distinct() + 1).await;
            count += usize::from(self.records.last().is_some_and(told));
        }
    }

    async fn take_rest(&mut self) {
        let rest = self.broker.take_rest("records").await;
        self.keep(rest);
    }

    fn keep(&mut self, taken: Vec<Message>) {
        self.ids.extend(taken.iter().map(|record| record.json()["recordId"].to_string()));
        self.records.extend(taken);
    }

    fn distinct(&self) -> usize {
        self.ids.len()
    }

    fn count(&self) -> f64 {
        f64::from(u32::try_from(self.briefs.len()).unwrap())
    }

    /// How many different records there must be in the end.
    fn owed(&self) -> usize {
        let owed = self.briefs.iter().map(|brief| {
            if is_refused(brief) || !is_valid(brief) { 1 } else { brief["variantCount"].as_u64().unwrap() }
        });
        usize::try_from(owed.sum::<u64>()).unwrap()
    }

    /// Stops it where it stands, as often as it takes until starts have left, or are about to, whose outcome is not
    /// recorded, and kills it there. A start is being served for a while, so there is time while some wait.
    async fn kill_while_a_post_is_out(&self, worker: &mut Worker) {
        let killed = eventually(PROMPTLY, async || {
            worker.process.freeze();
            let out = self.number(OUT).await;
            if out > 0 {
                worker.process.sigkill();
            } else {
                worker.process.thaw();
            }
            (out > 0).then_some(())
        });
        killed.await.expect("POSTs still leave");
    }

    /// A number out of the ledger.
    async fn number(&self, query: &'static str) -> i64 {
        let ledger = SqliteConnectOptions::new().filename(self.dir.path().join("briefd.db")).read_only(true);
        let mut ledger = ledger.connect().await.unwrap();
        let number = sqlx::query_scalar(query).fetch_one(&mut ledger).await.unwrap();
        ledger.close().await.unwrap();
        number
    }

    fn lose_ledger(&self) {
        let mut lost = 0;
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("briefd.db")) {
                std::fs::remove_file(path).unwrap();
                lost += 1;
            }
        }
        assert!(lost > 0, "there was no ledger to lose");
    }

    /// Waits until each brief has been decided about.
    async fn await_second_receipt(&self, worker: &Worker) {
        let count = async |result| {
            worker.series(&format!("briefd_briefs_received_total{{result=\"{result}\"}}")).await
        };
        let all = eventually(PATIENCE, async || {
            (count("new").await + count("invalid").await >= self.count()).then_some(())
        });
        all.await.expect("the messages are taken from the queue");
    }

    /// Waits for the last records, stops the worker, and sees whether the ledger says the same.
    async fn finish(&mut self, mut worker: Worker) -> Evidence {
        self.take_until(self.owed()).await;
        worker.process.sigterm();
        assert_eq!(worker.process.wait_exit(GRACE).await.code(), Some(0));
        self.take_rest().await;
        self.check_ledger().await;
        let account = self.sandbox.account().await;
        let keys = account["keys"].as_object().unwrap().len();
        let sent = self.briefs.iter().filter(|brief| is_valid(brief)).count();
        assert_eq!(keys, sent, "a brief has one key, whoever asks and however often");
        let dead_letters = self.broker.take_rest("briefs.dead").await;
        Evidence::of_first_runs(account, std::mem::take(&mut self.records), &self.briefs)
            .set_aside(dead_letters, &[])
            .with_ledger(self.dir.path())
            .await
    }

    /// A worker counts all rows again when it starts; the gauges of states are set after that.
    async fn check_ledger(&self) {
        let worker = self.start_worker().await;
        let briefs = |state| format!("briefd_briefs{{project=\"other\",state=\"{state}\"}}");
        let counted =
            eventually(PROMPTLY, async || (worker.series(&briefs("completed")).await > 0.0).then_some(()));
        counted.await.expect("the gauges are brought up to date");
        for name in ["briefd_ledger_imbalance", "briefd_outbox_pending", "briefd_outbox_parked"] {
            worker.wait_series(name, 0.0).await;
        }
        for state in ["ready", "submitting", "running", "parked"] {
            worker.wait_series(&format!("briefd_jobs{{state=\"{state}\"}}"), 0.0).await;
        }
        let mut ended = 0.0;
        for state in ["completed", "partial", "failed"] {
            ended += worker.series(&briefs(state)).await;
        }
        assert!(ended.total_cmp(&self.count()).is_eq(), "{ended} of {} briefs have ended", self.count());
    }
}

fn is_refused(brief: &Value) -> bool {
    !brief["metadata"]["sandbox"]["refuse"].is_null()
}

fn is_valid(brief: &Value) -> bool {
    brief["variantCount"].as_u64().unwrap() <= 5
}

/// Of twenty briefs, eight complete at once, and each of the others has a fate of its own.
fn brief(n: u64) -> Value {
    let variants = 1 + n % 3;
    let wish = match n % 20 {
        0 => json!({"fail": "RENDER_FAILED"}),
        1 => json!({"failVariants": [variants]}),
        2 => json!({"refuse": "MODERATION_BLOCKED"}),
        3 => json!({"faults": ["accepted-unanswered"]}),
        4 => json!({"faults": ["error-502-html"]}),
        5 => json!({"faults": ["accepted-reset"], "fail": "RENDER_FAILED"}),
        6 => json!({"faults": ["cut-json"], "failVariants": [1]}),
        7 => json!({"faults": ["accepted-500"]}),
        8 => json!({"faults": ["error-500"]}),
        9 => json!({"faults": ["reset-before"]}),
        10 => json!({"faults": ["slow"]}),
        _ => json!({}),
    };
    // An API that is asked for nine would refuse; it never hears of it.
    let variants = if n % 20 == 11 { 9 } else { variants };
    let format = ["video_remix", "slideshow_remix", "ugc_remix", "auto"][usize::try_from(n % 4).unwrap()];
    json!({
        "projectId": format!("project.{}", n % 3), "batchId": format!("batch-{}", n % 2), "briefId": format!("brief-{n}"),
        "variantCount": variants, "format": format,
        "priority": if n % 20 == 2 { 9 } else { 4 }, "brief": {"hook": format!("Hook {n}")}, "metadata": {"sandbox": wish},
    })
}

fn received_at(record: &Message) -> jiff::Timestamp {
    record.json()["receivedAt"].as_str().unwrap().parse().unwrap()
}

/// The record without what differs between two ledgers that tell of the same container.
pub fn without_own_doings(record: &Message) -> Message {
    let mut json = record.json();
    for name in OWN_TIMES {
        json[name] = Value::Null;
    }
    // The job tells the stage, and the job is read only where no sweep has shown the end.
    if let Some(stage) = json.pointer_mut("/error/stage") {
        *stage = Value::Null;
    }
    Message { body: json.to_string().into_bytes(), envelope: record.envelope.clone() }
}
