//! `batch.finished` through the real broker: once a revision, after all other records, whoever dies on the way; and records
//! that are sent again.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd};
use crate::support::{Variable, eventually};

struct Scene {
    broker: TestBroker,
    sandbox: SandboxProcess,
    worker: Worker,
    variables: Vec<Variable>,
    dir: TempDir,
    /// In the order in which they were taken from the queue.
    records: Vec<Message>,
}

impl Scene {
    async fn new(more: &[(&'static str, &str)]) -> Self {
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
        let own = [
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "500ms"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", "200ms"),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "100ms"),
            ("BRIEFD__PUBLISH__RETRY_MAX", "1s"),
        ];
        let own = own.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned()));
        let mut variables = [broker.variables(), sandbox.variables(), own.collect()].concat();
        variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/briefd.db", dir.path().display())));
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        Self { broker, sandbox, worker, variables, dir, records: Vec::new() }
    }

    /// Kills the worker where it stands, and starts another one.
    async fn kill(&mut self) {
        self.worker.process.sigkill();
        self.worker = Worker::spawn(self.dir.path(), &self.variables);
        self.worker.wait_ready().await;
    }

    /// Takes records until one is of this type, and returns it.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let taken = self.broker.take_records(1, PROMPTLY).await;
            assert!(!taken.is_empty(), "no {kind} came; the worker said:\n{}", self.worker.process.stderr());
            let record = taken[0].json();
            self.records.extend(taken);
            if record["type"] == kind {
                return record;
            }
        }
    }

    /// Runs a command beside the worker; returns what it printed.
    fn run(&self, arguments: &[&str]) -> String {
        let output = briefd(self.dir.path(), arguments, &self.variables).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn brief(project: &str, id: &str, wish: &Value) -> Value {
    json!({"projectId": project, "batchId": "b", "briefId": id, "format": "slideshow_remix",
        "brief": {"hook": id}, "metadata": {"sandbox": wish}})
}

/// Each revision once, however often it was sent; and where the first of it stands.
fn ends(records: &[Message]) -> BTreeMap<u64, (usize, Message)> {
    let mut ends = BTreeMap::new();
    for (at, message) in records.iter().enumerate().filter(|(_, message)| is_end(message)) {
        let revision = message.json()["revision"].as_u64().unwrap();
        let (_, first) = ends.entry(revision).or_insert_with(|| (at, message.clone()));
        assert_eq!(first, message, "a repeat has the same bytes");
    }
    ends
}

fn is_end(message: &Message) -> bool {
    message.json()["type"] == "batch.finished"
}

#[tokio::test]
async fn a_batch_is_told_finished_once_a_revision_whoever_is_killed_on_the_way() {
    let mut scene = Scene::new(&[]).await;
    let mut briefs = [
        brief("p.1", "completes", &json!({})),
        brief("p.1", "slow", &json!({"seconds": 250})),
        brief("q", "fails", &json!({"failVariants": [1], "regenerate": {"seconds": 100}})),
    ];
    for brief in &briefs {
        scene.broker.publish(brief).await;
    }
    // The last message of the batch is a repeat, and the only one that says how many there are.
    let mut last = briefs[0].clone();
    last["batchSize"] = json!(3);
    scene.broker.publish(&last).await;
    scene.worker.wait_series("briefd_briefs_received_total{result=\"new\"}", 3.0).await;
    scene.until("container.failed").await;
    scene.kill().await;
    let first = scene.until("batch.finished").await;
    assert_eq!(
        (&first["revision"], &first["size"], &first["received"], &first["completed"], &first["failed"]),
        (&json!(1), &json!(3), &json!(3), &json!(2), &json!(1))
    );
    let project = |record: &Value, at: usize| {
        let part = &record["byProject"][at];
        (part["projectId"].clone(), part["containers"].clone())
    };
    let containers = |completed, failed| json!({"completed": completed, "failed": failed, "canceled": 0});
    assert_eq!(project(&first, 0), (json!("p.1"), containers(2, 0)));
    assert_eq!(project(&first, 1), (json!("q"), containers(0, 1)));
    scene.kill().await;

    briefs[2]["run"] = json!(2);
    scene.broker.publish(&briefs[2]).await;
    let regenerating = eventually(PROMPTLY, async || {
        (scene.sandbox.account().await["posts"]["regenerate"] == 1).then_some(())
    });
    assert!(regenerating.await.is_some());
    scene.kill().await;
    scene.until("container.completed").await;
    let second = scene.until("batch.finished").await;
    assert_eq!(
        (&second["revision"], &second["completed"], &second["failed"]),
        (&json!(2), &json!(3), &json!(0))
    );
    assert_eq!(project(&second, 1), (json!("q"), containers(1, 0)));

    // A repeat sends its records once more, and no end.
    scene.broker.publish(&briefs[2]).await;
    scene.until("container.completed").await;
    assert_eq!(scene.worker.series("briefd_ledger_imbalance").await.to_string(), "0");
    scene.worker.process.sigterm();
    assert!(scene.worker.process.wait_exit(PROMPTLY).await.success());
    scene.records.extend(scene.broker.take_rest("records").await);

    let ends = ends(&scene.records);
    assert_eq!(ends.keys().copied().collect::<Vec<_>>(), [1, 2]);
    let mut told = std::collections::BTreeSet::new();
    for (at, message) in scene.records.iter().enumerate().filter(|(_, message)| !is_end(message)) {
        let record = message.json();
        let first_time = told.insert(record["recordId"].to_string());
        let revision = if record["run"] == 2 { 2 } else { 1 };
        assert!(!first_time || at < ends[&revision].0, "the end came before {record}");
    }
    let mut expected: Vec<_> = briefs.iter().map(ExpectedRun::first_of).collect();
    expected.push(ExpectedRun { run: 2, ..expected[2].clone() });
    let records = std::mem::take(&mut scene.records);
    Evidence {
        account: scene.sandbox.account().await,
        records,
        dead_letters: scene.broker.take_rest("briefs.dead").await,
        expected_runs: expected,
        crashes: 3,
        ..Evidence::default()
    }
    .with_ledger(scene.dir.path())
    .await
    .assert_clean();
}

#[tokio::test]
async fn what_nobody_was_bound_for_is_dropped_and_counted_and_can_be_sent_again() {
    let optional = ("BRIEFD__AMQP__OUTPUT__OPTIONAL", "batch.finished, container.completed");
    let mut scene = Scene::new(&[optional]).await;
    scene.broker.delete_records_queue().await;
    let mut only = brief("p", "only", &json!({}));
    only["batchSize"] = json!(1);
    scene.broker.publish(&only).await;
    scene.worker.wait_series("briefd_unroutable_total{type=\"batch.finished\"}", 1.0).await;
    scene.worker.wait_series("briefd_outbox_pending", 0.0).await;
    let printed = scene.run(&["records", "--batch", "b"]);
    assert_eq!(printed.lines().count(), 2);
    scene.broker.declare_records_queue().await;
    let told = scene.run(&["records", "--batch", "b", "--publish", "--yes", "--reason", "bound too late"]);
    assert_eq!(told, "2 records put into the outbox again.\n");
    scene.until("batch.finished").await;
    let came: Vec<_> =
        scene.records.iter().map(|record| String::from_utf8(record.body.clone()).unwrap()).collect();
    assert_eq!(came, printed.lines().collect::<Vec<_>>());
    let published = "briefd_records_published_total{type=\"batch.finished\"}";
    scene.worker.wait_series(published, 1.0).await;
    assert_eq!(scene.sandbox.account().await["jobsMade"], 1);

    // Without a worker they wait for the next one.
    scene.worker.process.sigterm();
    assert!(scene.worker.process.wait_exit(PROMPTLY).await.success());
    let told = scene.run(&["records", "--type", "batch.finished", "--publish", "--yes"]);
    assert!(told.starts_with("1 record put into the outbox again. No worker runs"), "{told}");
    scene.worker = Worker::spawn(scene.dir.path(), &scene.variables);
    let again = scene.until("batch.finished").await;
    assert_eq!(again.to_string(), serde_json::from_str::<Value>(&came[1]).unwrap().to_string());
}

#[tokio::test]
async fn a_story_tells_how_far_a_running_container_is_and_what_came_out() {
    let mut scene = Scene::new(&[]).await;
    scene.broker.publish(&brief("p", "slow", &json!({"seconds": 30_000}))).await;
    let live = eventually(PROMPTLY, async || {
        let output =
            briefd(scene.dir.path(), &["show", "slow", "--json"], &scene.variables).output().unwrap();
        let story: Value = serde_json::from_slice(&output.stdout).ok()?;
        story["live"]["etaSeconds"].as_f64()
    });
    assert!(live.await.is_some(), "{}", scene.run(&["show", "slow"]));
    assert!(scene.run(&["show", "slow"]).contains(" s left"));
    let progress = async || scene.sandbox.account().await["reads"]["progress"].as_u64().unwrap();
    let before = progress().await;
    assert!(scene.run(&["show", "slow", "--offline", "--json"]).contains("\"live\": null"));
    assert_eq!(progress().await, before);
    // The API is away: the story is told all the same.
    scene.sandbox.process.sigkill();
    assert!(scene.run(&["show", "slow"]).contains("at the API  not known: "));
}
