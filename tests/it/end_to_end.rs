//! From the input queue to the output exchange with everything real but the API: the shortest proof that the pieces
//! fit.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};

#[tokio::test]
async fn a_batch_passes_from_the_queue_to_the_queue_and_nothing_is_bought_twice() {
    let broker = TestBroker::connect().await;
    let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
    let dir = TempDir::new().unwrap();
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__SUBMIT__REPEAT_AFTER", "500ms".to_owned()));
    variables.push(("BRIEFD__TRACK__POLL_INITIAL", "50ms".to_owned()));
    variables.push(("BRIEFD__TRACK__POLL_MAX", "200ms".to_owned()));
    variables.push(("BRIEFD__TRACK__SWEEP_INTERVAL", "100ms".to_owned()));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;

    let brief = |id: &str, variants: u64, wish| {
        json!({"projectId": "p.1", "batchId": "b", "briefId": id, "variantCount": variants,
            "format": "slideshow_remix", "brief": {"hook": id}, "metadata": {"sandbox": wish}})
    };
    let briefs = [
        brief("plain", 1, json!({})),
        brief("one of two fails", 2, json!({"failVariants": [2]})),
        brief("answer lost", 1, json!({"faults": ["accepted-unanswered"]})),
        brief("refused", 3, json!({"refuse": "MODERATION_BLOCKED"})),
    ];
    for brief in &briefs {
        broker.publish(brief).await;
    }
    broker.publish(&briefs[0]).await;
    broker.publish_with(b"no brief", lapin::BasicProperties::default()).await;

    let mut records = broker.take_records(5, PROMPTLY).await;
    let dead_letters = broker.take_dead_letters(1, PROMPTLY).await;
    let decided = "briefd_briefs_received_total{result=\"duplicate\"}";
    assert!(worker.metrics().await.contains(decided));
    worker.process.sigterm();
    assert!(worker.process.wait_exit(Duration::from_secs(25)).await.success());
    assert_eq!(worker.process.stdout(), "");
    records.extend(broker.take_rest("records").await);
    Evidence {
        account: sandbox.account().await,
        records,
        dead_letters,
        expected_runs: briefs.iter().map(ExpectedRun::first_of).collect(),
        expected_dead_letters: vec!["UNREADABLE"],
    }
    .assert_clean();
}

#[tokio::test]
async fn a_worker_that_was_killed_goes_on_where_it_was() {
    let broker = TestBroker::connect().await;
    let sandbox = SandboxProcess::spawn(&["--speed", "100", "--tier", "unlimited"]).await;
    let dir = TempDir::new().unwrap();
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__SUBMIT__REPEAT_AFTER", "500ms".to_owned()));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let brief = json!({"projectId": "p", "briefId": "x", "brief": {"hook": "x"},
        "metadata": {"sandbox": {"seconds": 100}}});
    broker.publish(&brief).await;
    worker.process.sigkill();
    drop(worker);

    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let records = broker.take_records(1, PROMPTLY).await;
    Evidence {
        account: sandbox.account().await,
        records,
        expected_runs: vec![ExpectedRun::first_of(&brief)],
        ..Evidence::default()
    }
    .assert_clean();
}
