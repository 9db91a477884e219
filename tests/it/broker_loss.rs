//! The broker is away: at the start, in the middle, with a bang or without a word. The worker says so once, waits, and
//! goes on by itself; what it was given is neither lost nor bought twice.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::{Evidence, judge_first_runs};
use crate::support::forwarder::{Forwarder, Line};
use crate::support::node::Node;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};
use crate::support::{Variable, eventually};

/// What the worker says when a connection is lost, or does not come about.
const LOST: &str = "no working RabbitMQ connection; trying again until there is one connection=";
/// What it says when a lost one is back.
const BACK: &str = "the RabbitMQ connection works again connection=";

/// A worker has one connection for each.
const SIDES: [&str; 2] = ["\"consume\"", "\"publish\""];

/// A brief that is its id.
pub fn brief(id: &str) -> Value {
    json!({"projectId": "p", "briefId": id, "format": "slideshow_remix", "brief": {"hook": id}})
}

/// A sandbox that generates in a second at most.
pub async fn sandbox() -> SandboxProcess {
    let fast = ["--speed", "100", "--tier", "unlimited", "--min-seconds", "1", "--max-seconds", "100"];
    SandboxProcess::spawn(&fast).await
}

/// The settings that make a worker look at its jobs often.
pub fn quick() -> Vec<Variable> {
    vec![
        ("BRIEFD__LAYERS__TIER", "unlimited".to_owned()),
        ("BRIEFD__TRACK__POLL_INITIAL", "50ms".to_owned()),
        ("BRIEFD__TRACK__POLL_MAX", "200ms".to_owned()),
        ("BRIEFD__TRACK__SWEEP_INTERVAL", "100ms".to_owned()),
    ]
}

/// How often the worker said something about each side.
fn said(worker: &Worker, words: &str) -> [usize; 2] {
    let said = worker.process.stderr();
    SIDES.map(|side| said.matches(&format!("{words}{side}")).count())
}

async fn wait_said(worker: &Worker, words: &str, times: usize) {
    let enough = eventually(PROMPTLY, async || (said(worker, words) == [times; 2]).then_some(()));
    let seen = enough.await;
    assert!(seen.is_some(), "not {times} × {words:?}:\n{}", worker.process.stderr());
}

async fn status(worker: &Worker, path: &str) -> Option<u16> {
    worker.look(path).await.map(|(status, _)| status)
}

/// One brief, from the queue to the queue.
async fn does_its_work(broker: &TestBroker, sandbox: &SandboxProcess, dir: &Path, mut worker: Worker) {
    let asked = brief("after all");
    broker.publish(&asked).await;
    let records = broker.take_records(1, PROMPTLY).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    judge_first_runs(sandbox, dir, records, &[asked]).await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_yet_is_waited_for_and_mentioned_once() {
    let broker = TestBroker::connect().await;
    let sandbox = sandbox().await;
    let mut forwarder = Forwarder::reserve();
    let dir = TempDir::new().unwrap();
    let mut variables = [broker.variables(), sandbox.variables(), quick()].concat();
    variables.push(("BRIEFD__AMQP__URL", forwarder.on_the_way_to(broker.url())));
    let mut worker = Worker::spawn(dir.path(), &variables);

    wait_said(&worker, LOST, 1).await;
    assert!(worker.process.stderr().contains("Connection refused"), "{}", worker.process.stderr());
    assert_eq!(status(&worker, "/healthz").await, Some(200), "a restart would not help");
    let (status_code, ready) = worker.look("/readyz").await.unwrap();
    assert_eq!(
        (status_code, &ready["components"]),
        (503, &json!({"broker": false, "ledger": true, "stages": true}))
    );

    // Each side tries again and again, and does not say so each time.
    forwarder.listen(broker.url());
    let calls = eventually(PROMPTLY, async || (forwarder.calls() >= 4).then_some(()));
    assert!(calls.await.is_some(), "it has tried {} times", forwarder.calls());
    assert_eq!(said(&worker, LOST), [1, 1]);
    assert_eq!(status(&worker, "/healthz").await, Some(200));

    forwarder.set(Line::Open);
    worker.wait_ready().await;
    assert_eq!(said(&worker, LOST), [1, 1]);
    assert_eq!(worker.series("briefd_amqp_reconnects_total").await.to_string(), "0", "the first connection");
    does_its_work(&broker, &sandbox, dir.path(), worker).await;
}

#[tokio::test]
async fn connections_that_are_cut_or_fall_silent_are_replaced_although_nothing_is_sent() {
    let broker = TestBroker::connect().await;
    let sandbox = sandbox().await;
    let mut forwarder = Forwarder::reserve();
    forwarder.listen(broker.url());
    forwarder.set(Line::Open);
    let dir = TempDir::new().unwrap();
    let mut variables = [broker.variables(), sandbox.variables(), quick()].concat();
    variables.push(("BRIEFD__AMQP__URL", forwarder.on_the_way_to(broker.url())));
    variables.push(("BRIEFD__AMQP__HEARTBEAT", "1s".to_owned()));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;

    for (times, line) in [(1, Line::Closed), (2, Line::Silent)] {
        forwarder.set(line);
        wait_said(&worker, LOST, times).await;
        let noticed =
            eventually(PROMPTLY, async || status(&worker, "/readyz").await.filter(|status| *status == 503));
        assert!(noticed.await.is_some(), "/readyz does not tell");
        forwarder.set(Line::Closed);
        forwarder.set(Line::Open);
        worker.wait_ready().await;
        wait_said(&worker, BACK, times).await;
    }
    assert_eq!(worker.series("briefd_amqp_reconnects_total").await.to_string(), "4");
    for side in SIDES {
        let connected = format!("briefd_amqp_connected{{connection={side}}}");
        assert_eq!(worker.series(&connected).await.to_string(), "1");
    }
    does_its_work(&broker, &sandbox, dir.path(), worker).await;
}

#[tokio::test]
async fn a_broker_that_restarts_in_the_middle_costs_nothing() {
    const BRIEFS: usize = 60;
    let mut node = Node::start().await;
    let broker = TestBroker::connect_to(node.url().to_owned()).await;
    let sandbox = sandbox().await;
    let dir = TempDir::new().unwrap();
    let mut variables = [broker.variables(), sandbox.variables(), quick()].concat();
    // Some briefs are still in the queue, some are at the API, and some have ended when it goes.
    variables.push(("BRIEFD__INTAKE__MAX_BACKLOG", "20".to_owned()));
    variables.push(("BRIEFD__AMQP__PREFETCH", "5".to_owned()));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let briefs: Vec<Value> = (1..=BRIEFS).map(|number| brief(&format!("brief {number}"))).collect();
    for brief in &briefs {
        broker.publish(brief).await;
    }
    let mut records = broker.take_records(5, PROMPTLY).await;
    assert_eq!(records.len(), 5);
    let started = sandbox.account().await["jobsMade"].as_u64().unwrap();
    assert!(started < 50, "the middle was missed: {started} jobs have been started");

    node.restart().await;
    worker.wait_ready().await;
    // A record whose confirm was lost comes again, so that more may come than there are briefs.
    let all = eventually(PROMPTLY, async || {
        records.extend(broker.take_rest("records").await);
        (worker.series("briefd_briefs{project=\"other\",state=\"completed\"}").await.to_string()
            == BRIEFS.to_string()
            && worker.series("briefd_outbox_pending").await.to_string() == "0")
            .then_some(())
    });
    assert!(all.await.is_some(), "{} records came; it said:\n{}", records.len(), worker.process.stderr());

    assert_eq!(said(&worker, LOST), [1, 1], "{}", worker.process.stderr());
    assert_eq!(said(&worker, BACK), [1, 1], "{}", worker.process.stderr());
    assert!(!worker.process.stderr().contains("ERROR"), "{}", worker.process.stderr());
    assert!(worker.series("briefd_amqp_reconnects_total").await > 1.0);
    assert_eq!(worker.series("briefd_ledger_imbalance").await.to_string(), "0");
    worker.process.sigterm();
    assert!(worker.process.wait_exit(Duration::from_secs(25)).await.success());
    records.extend(broker.take_rest("records").await);
    Evidence::of_first_runs(sandbox.account().await, records, &briefs)
        .set_aside(broker.take_rest("briefs.dead").await, &[])
        .with_ledger(dir.path())
        .await
        .assert_clean();
}
