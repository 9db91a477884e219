//! What stands in `examples/` holds: the files are what their readers are told, the programs do what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use briefd::brief::{Brief, Rules, Unreadable, parse};
use briefd::files::BriefFile;
use briefd::flow::Source as _;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::process::{PROMPTLY, Process};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn briefs(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(example(name)).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// One of the Python programs, with the interpreter that `tests/run` prepared.
fn python(name: &str, arguments: &[&str]) -> Command {
    let python = std::env::var("BRIEFD_TEST_PYTHON").expect(
        "BRIEFD_TEST_PYTHON names no Python with pika: run the tests with tests/run, which makes one",
    );
    let mut command = Command::new(python);
    command.arg(example(name)).args(arguments);
    command
}

#[test]
fn the_launch_batch_is_24_briefs_over_two_projects_worth_3190_credits() {
    let briefs = briefs("spring-launch.jsonl");
    let distinct =
        |name: &str| briefs.iter().map(|brief| brief[name].as_str().unwrap()).collect::<BTreeSet<_>>().len();
    assert_eq!(
        (briefs.len(), distinct("briefId"), distinct("projectId"), distinct("batchId")),
        (24, 24, 2, 1)
    );
    let mut containers = BTreeMap::new();
    for brief in &briefs {
        *containers.entry(brief["format"].as_str().unwrap()).or_insert(0) +=
            brief["variantCount"].as_u64().unwrap();
        assert_eq!(brief["batchSize"], 24);
    }
    assert_eq!(containers, BTreeMap::from([("slideshow_remix", 11), ("ugc_remix", 8), ("video_remix", 14)]));
    let credits = |brief: &Value| brief["budget"]["maxCredits"].as_u64().unwrap();
    assert_eq!(briefs.iter().map(credits).sum::<u64>(), 3_190);
}

#[test]
fn the_launch_batch_lets_the_simulator_misbehave_but_nothing_fail() {
    let wishes = briefs("spring-launch.jsonl").into_iter().map(|brief| brief["metadata"]["sandbox"].clone());
    let wishes: Vec<_> = wishes.filter(|wish| !wish.is_null()).collect();
    let faults =
        wishes.iter().filter_map(|wish| wish["faults"].as_array()).flatten().filter_map(Value::as_str);
    let mut faults: Vec<_> = faults.collect();
    faults.sort_unstable();
    assert_eq!(faults, ["accepted-unanswered", "error-502-html", "error-502-html", "error-502-html", "slow"]);
    let harmless = ["faults", "seconds"];
    for name in wishes.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        assert!(harmless.contains(&name.as_str()), "{name} would make a brief fail");
    }
}

/// Reads a file as `generate` does.
async fn read(name: &str) -> Vec<Result<Brief, Unreadable>> {
    let rules = Rules::strict(256 * 1024);
    let mut file = BriefFile::open(&example(name)).unwrap();
    let mut briefs = Vec::new();
    while let Some(deliveries) = file.receive(100).await {
        briefs.extend(deliveries.iter().map(|delivery| parse(delivery, &rules)));
    }
    briefs
}

#[tokio::test]
async fn the_csv_file_holds_the_same_briefs_as_the_jsonl_file_and_all_are_valid() {
    let (lines, rows) = (read("spring-launch.jsonl").await, read("spring-launch.csv").await);
    assert_eq!((lines.len(), rows.len()), (24, 24));
    for (line, row) in lines.into_iter().zip(rows) {
        let (line, row) = (line.unwrap(), row.unwrap());
        assert_eq!((&line.violations, &row.violations), (&vec![], &vec![]), "{:?}", line.identity);
        assert_eq!((line.identity, line.fingerprint), (row.identity, row.fingerprint));
        assert_eq!(
            (line.priority, line.batch_size, line.metadata),
            (row.priority, row.batch_size, row.metadata)
        );
    }
}

#[tokio::test]
async fn the_file_with_failures_has_one_line_that_cannot_be_read_and_two_invalid_briefs() {
    let read = read("with-failures.jsonl").await;
    assert_eq!(read.iter().filter(|brief| brief.is_err()).count(), 1);
    assert_eq!(read.iter().flatten().filter(|brief| !brief.is_valid()).count(), 2);
    let text = std::fs::read_to_string(example("with-failures.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 12);
    let briefs = briefs("with-failures.jsonl");
    assert_eq!(briefs.len(), 11);
    assert!(briefs.iter().all(|brief| brief["batchSize"] == 11), "a batch counts its readable briefs");
}

#[tokio::test]
async fn the_producer_publishes_every_line_as_it_is_persistent_and_with_an_id() {
    let broker = TestBroker::connect().await;
    broker.declare_input().await;
    let (dir, file) = (TempDir::new().unwrap(), example("with-failures.jsonl"));
    let exchange = broker.name("briefs");
    let arguments = [file.to_str().unwrap(), "--url", broker.url(), "--exchange", exchange.as_str()];
    let mut producer = Process::start(dir.path(), python("produce.py", &arguments));
    assert!(producer.wait_exit(PROMPTLY).await.success(), "{}", producer.stderr());
    assert!(producer.stdout().starts_with("12 briefs published"));

    let taken = broker.take_rest("briefs").await;
    let bodies: Vec<_> = taken.iter().map(|message| String::from_utf8_lossy(&message.body)).collect();
    assert_eq!(bodies, std::fs::read_to_string(file).unwrap().lines().collect::<Vec<_>>());
    let envelopes: Vec<_> = taken.iter().filter_map(|message| message.envelope.as_ref()).collect();
    assert!(envelopes.iter().all(|envelope| envelope.delivery_mode == Some(2)));
    assert_eq!(
        envelopes.iter().filter_map(|envelope| envelope.message_id.as_ref()).collect::<BTreeSet<_>>().len(),
        12
    );
}

#[tokio::test]
async fn the_producer_says_so_when_no_queue_would_get_a_brief() {
    let broker = TestBroker::connect().await;
    let (dir, file) = (TempDir::new().unwrap(), example("spring-launch.jsonl"));
    let exchange = broker.name("containers");
    // Without the queue that was bound for records, nothing would get it.
    let arguments = [file.to_str().unwrap(), "--url", broker.url(), "--exchange", exchange.as_str()];
    broker.delete_records_queue().await;
    let mut producer = Process::start(dir.path(), python("produce.py", &arguments));
    assert_eq!(producer.wait_exit(PROMPTLY).await.code(), Some(1));
    assert!(producer.stderr().starts_with("line 1: no queue is bound"), "{}", producer.stderr());
}

#[tokio::test]
async fn the_consumer_follows_the_rule_whatever_the_order() {
    let broker = TestBroker::connect().await;
    let dir = TempDir::new().unwrap();
    let (exchange, queue) = (broker.name("containers"), broker.name("example"));
    let consumer = |end: [&str; 2]| {
        let arguments = ["--url", broker.url(), "--exchange", exchange.as_str(), "--queue", queue.as_str()];
        let mut command = python("consume.py", &arguments);
        command.args(end);
        Process::start(dir.path(), command)
    };
    // The first one finds nothing, but leaves its queue bound.
    let mut process = consumer(["--idle", "0.1"]);
    assert!(process.wait_exit(PROMPTLY).await.success(), "{}", process.stderr());
    assert_eq!(process.stderr(), "0 containers: nothing came\n");
    let record = |id: &str, kind: &str, brief: &str, run: u64, variant: Option<u64>| {
        json!({"recordId": id, "type": kind, "projectId": "p", "batchId": "b", "briefId": brief, "run": run,
            "variant": variant, "variantCount": 2, "containerId": "cnt",
            "error": if kind == "container.completed" { Value::Null } else { json!({"code": "X", "remedy": "rerun"}) }})
    };
    let records = [
        record("1", "container.completed", "late failure", 1, Some(1)),
        record("1", "container.completed", "late failure", 1, Some(1)),
        record("2", "container.failed", "late failure", 1, Some(1)),
        record("3", "container.completed", "rerun first", 2, Some(1)),
        record("4", "container.failed", "rerun first", 1, Some(1)),
        record("5", "container.canceled", "rerun first", 2, Some(2)),
        record("6", "brief.failed", "whole", 1, None),
        json!({"recordId": "7", "type": "batch.finished", "batchId": "b", "revision": 1, "containers": {}}),
    ];
    for record in &records {
        broker.publish_record(record).await;
    }
    let mut process = consumer(["--count", "7"]);
    assert!(process.wait_exit(PROMPTLY).await.success(), "{}", process.stderr());
    assert_eq!(process.stdout().lines().count(), 7, "a repeat is dropped:\n{}", process.stdout());
    let summary = "5 containers: 2 brief.failed, 1 container.canceled, 2 container.completed\n";
    assert_eq!(process.stderr(), summary);
    assert_eq!(broker.take_rest("example").await, [], "everything is acknowledged");
}
