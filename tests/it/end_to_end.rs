//! From the input queue to the output exchange with everything real but the API: the shortest proof that the pieces
//! fit.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::{Evidence, judge_first_runs};
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};
use crate::support::{Variable, eventually};

/// An API that generates in about a second.
async fn sandbox() -> SandboxProcess {
    SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await
}

/// The settings of a worker between this broker and this sandbox, at the sandbox's pace.
fn variables(broker: &TestBroker, sandbox: &SandboxProcess) -> Vec<Variable> {
    let pace = [
        ("BRIEFD__SUBMIT__REPEAT_AFTER", "500ms"),
        ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
        ("BRIEFD__TRACK__POLL_MAX", "200ms"),
        ("BRIEFD__TRACK__SWEEP_INTERVAL", "100ms"),
    ];
    let pace = pace.map(|(name, value)| (name, value.to_owned()));
    [broker.variables(), sandbox.variables(), pace.to_vec()].concat()
}

#[tokio::test]
async fn a_batch_passes_from_the_queue_to_the_queue_and_nothing_is_bought_twice() {
    let (broker, sandbox, dir) = (TestBroker::connect().await, sandbox().await, TempDir::new().unwrap());
    let mut worker = Worker::spawn(dir.path(), &variables(&broker, &sandbox));
    worker.wait_ready().await;

    let brief = |id: &str, variants: u64, wish| {
        json!({"projectId": "p.1", "batchId": "b", "briefId": id, "variantCount": variants,
            "format": "slideshow_remix", "brief": {"hook": id}, "metadata": {"sandbox": wish}})
    };
    let briefs = [
        // Three seconds: still open when its repeat comes.
        brief("plain", 1, json!({"seconds": 300})),
        brief("one of two fails", 2, json!({"failVariants": [2]})),
        brief("answer lost", 1, json!({"faults": ["accepted-unanswered"]})),
        brief("refused", 3, json!({"refuse": "MODERATION_BLOCKED"})),
    ];
    for brief in &briefs {
        broker.publish(brief).await;
    }
    broker.publish(&briefs[0]).await;
    broker.publish_with(b"no brief", lapin::BasicProperties::default()).await;

    let dead_letters = broker.take_dead_letters(1, PROMPTLY).await;
    let mut records = broker.take_records(5, PROMPTLY).await;
    let counted = eventually(PROMPTLY, async || {
        let metrics = worker.metrics().await;
        metrics.contains("briefd_briefs_received_total{result=\"duplicate\"} 1\n").then_some(())
    });
    assert!(counted.await.is_some(), "{}", worker.metrics().await);
    worker.process.sigterm();
    assert!(worker.process.wait_exit(Duration::from_secs(25)).await.success());
    assert_eq!(worker.process.stdout(), "");
    records.extend(broker.take_rest("records").await);
    Evidence::of_first_runs(sandbox.account().await, records, &briefs)
        .set_aside(dead_letters, &["UNREADABLE"])
        .with_ledger(dir.path())
        .await
        .assert_clean();
}

#[tokio::test]
async fn a_worker_that_was_killed_goes_on_with_what_it_had_bought() {
    let (broker, sandbox, dir) = (TestBroker::connect().await, sandbox().await, TempDir::new().unwrap());
    let variables = variables(&broker, &sandbox);
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let brief = json!({"projectId": "p", "briefId": "x", "brief": {"hook": "x"},
        "metadata": {"sandbox": {"seconds": 100}}});
    broker.publish(&brief).await;
    let bought = eventually(PROMPTLY, async || (sandbox.account().await["jobsMade"] == 1).then_some(()));
    assert!(bought.await.is_some());
    worker.process.sigkill();
    drop(worker);

    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let records = broker.take_records(1, PROMPTLY).await;
    judge_first_runs(&sandbox, dir.path(), records, &[brief]).await;
}
