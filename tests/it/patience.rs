//! What waits must not keep from going on what could go on.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};
use crate::support::{Variable, eventually};

fn variables(broker: &TestBroker, sandbox: &SandboxProcess, more: &[(&'static str, &str)]) -> Vec<Variable> {
    let pace = [
        ("BRIEFD__LAYERS__TIER", "unlimited"),
        ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
        ("BRIEFD__TRACK__POLL_MAX", "200ms"),
        ("BRIEFD__SUBMIT__RETRY_INITIAL", "100ms"),
        ("BRIEFD__SUBMIT__REPEAT_AFTER", "500ms"),
    ];
    let own = pace.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned()));
    [broker.variables(), sandbox.variables(), own.collect()].concat()
}

fn brief(id: &str, run: u64) -> Value {
    json!({"projectId": "p", "batchId": "b", "briefId": id, "run": run, "format": "slideshow_remix", "brief": {"hook": id}})
}

#[tokio::test]
async fn a_large_rerun_that_waits_for_reads_keeps_neither_a_new_brief_nor_an_orderly_stop_waiting() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox =
        SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited", "--fail-share", "1"]).await;
    let mut worker = Worker::spawn(dir.path(), &variables(&broker, &sandbox, &[]));
    worker.wait_ready().await;
    for number in 0..50 {
        broker.publish(&brief(&format!("old {number}"), 1)).await;
    }
    assert_eq!(broker.take_records(50, PROMPTLY).await.len(), 50);
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());

    let scarce = [("BRIEFD__LAYERS__LIMITS__READS", "1"), ("BRIEFD__LAYERS__LIMITS__WINDOW", "1h")];
    let mut worker = Worker::spawn(dir.path(), &variables(&broker, &sandbox, &scarce));
    worker.wait_ready().await;
    for number in 0..50 {
        broker.publish(&brief(&format!("old {number}"), 2)).await;
    }
    worker.wait_series("briefd_briefs_received_total{result=\"rerun\"}", 50.0).await;
    broker.publish(&brief("new", 1)).await;
    let started = eventually(PROMPTLY, async || (sandbox.account().await["jobsMade"] == 51).then_some(()));
    assert!(started.await.is_some(), "the new brief waits behind containers that wait to be read");
    worker.process.sigterm();
    assert!(worker.process.wait_exit(Duration::from_secs(10)).await.success());
    assert!(!worker.process.stderr().contains("cut off"), "{}", worker.process.stderr());
}

#[tokio::test]
async fn nothing_is_bought_under_another_organization_however_late_the_api_says_who_we_are() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox =
        SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited", "--slow-seconds", "300"]).await;
    let of = |organization| variables(&broker, &sandbox, &[("BRIEFD__LAYERS__ORGANIZATION", organization)]);
    let mut worker = Worker::spawn(dir.path(), &of("ours"));
    worker.wait_ready().await;
    broker.publish(&brief("first", 1)).await;
    assert_eq!(broker.take_records(1, PROMPTLY).await.len(), 1);
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());

    sandbox.change("faults", &json!({"read-slow": 1.0})).await;
    broker.publish(&brief("second", 1)).await;
    let mut worker = Worker::spawn(dir.path(), &of("theirs"));
    worker.wait_ready().await;
    worker.wait_series("briefd_holds{reason=\"OTHER_ORGANIZATION\",scope=\"account\"}", 1.0).await;
    assert_eq!(sandbox.account().await["jobsMade"], 1);
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());

    let mut worker = Worker::spawn(dir.path(), &of("ours"));
    worker.wait_ready().await;
    assert_eq!(broker.take_records(1, PROMPTLY).await.len(), 1, "with the right key it goes on by itself");
}
