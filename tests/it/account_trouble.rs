//! The account's trouble is not the brief's (P6): work is held, none of it fails, and it goes on by itself.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};
use crate::support::{Variable, eventually};

fn variables(broker: &TestBroker, sandbox: &SandboxProcess) -> Vec<Variable> {
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__SUBMIT__PROBE_INTERVAL", "300ms".to_owned()));
    variables.push(("BRIEFD__SUBMIT__CONCURRENCY", "4".to_owned()));
    variables.push(("BRIEFD__TRACK__POLL_INITIAL", "50ms".to_owned()));
    variables.push(("BRIEFD__TRACK__POLL_MAX", "200ms".to_owned()));
    variables
}

fn briefs(count: usize, project: &str) -> Vec<Value> {
    (0..count)
        .map(|n| json!({"projectId": project, "briefId": format!("b{n}"), "format": "video_remix", "brief": {"hook": "x"}}))
        .collect()
}

#[tokio::test]
async fn a_revoked_key_holds_everything_and_nothing_fails_until_it_is_restored() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited"]).await;
    sandbox.change("account", &json!({"keyRevoked": true})).await;
    let mut worker = Worker::spawn(dir.path(), &variables(&broker, &sandbox));
    worker.wait_ready().await;
    let briefs = briefs(12, "p");
    for brief in &briefs {
        broker.publish(brief).await;
    }
    worker.wait_series("briefd_holds{reason=\"UNAUTHENTICATED\",scope=\"account\"}", 1.0).await;
    let (status, ready) = worker.look("/readyz").await.unwrap();
    assert_eq!(status, 200, "a rollout must be able to bring the new key");
    assert!(ready["holds"][0].as_str().unwrap().contains("UNAUTHENTICATED"), "{ready}");
    // A few probes later it is still one hold, said once.
    let probed = eventually(PROMPTLY, async || {
        (sandbox.account().await["reads"]["whoami"].as_u64()? > 3).then_some(())
    });
    assert!(probed.await.is_some());
    let refused = sandbox.account().await["posts"]["generate"].as_u64().unwrap();
    assert!(refused <= 4, "{refused} POSTs were refused: more than were in flight");
    assert_eq!(worker.process.stderr().matches("starts are held").count(), 1, "{}", worker.process.stderr());

    sandbox.change("account", &json!({"keyRevoked": false})).await;
    let records = broker.take_records(12, PROMPTLY).await;
    Evidence {
        account: sandbox.account().await,
        records,
        expected_runs: briefs.iter().map(ExpectedRun::first_of).collect(),
        ..Evidence::default()
    }
    .assert_clean();
    assert_eq!(worker.series("briefd_ledger_imbalance").await.to_bits(), 0.0_f64.to_bits());
}

#[tokio::test]
async fn when_credits_end_what_could_be_paid_is_bought_and_the_rest_waits_for_more() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    // 120 credits a video: five of twelve. A refused start is decided anew, as after the API's 24 h.
    let sandbox = SandboxProcess::spawn(&[
        "--speed",
        "200",
        "--tier",
        "unlimited",
        "--credits",
        "600",
        "--forget-billing-refusals",
    ])
    .await;
    let mut worker = Worker::spawn(dir.path(), &variables(&broker, &sandbox));
    worker.wait_ready().await;
    let briefs = briefs(12, "broke");
    for brief in &briefs {
        broker.publish(brief).await;
    }
    let mut records = broker.take_records(5, PROMPTLY).await;
    worker.wait_series("briefd_holds{reason=\"BILLING_EXHAUSTED\",scope=\"project\"}", 1.0).await;
    worker.wait_series("briefd_briefs{project=\"other\",state=\"failed\"}", 0.0).await;
    assert_eq!(sandbox.account().await["jobsMade"], 5);

    sandbox.change("account", &json!({"balance": 100_000})).await;
    records.extend(broker.take_records(7, PROMPTLY).await);
    worker.wait_series("briefd_holds{reason=\"BILLING_EXHAUSTED\",scope=\"project\"}", 0.0).await;
    Evidence {
        account: sandbox.account().await,
        records,
        expected_runs: briefs.iter().map(ExpectedRun::first_of).collect(),
        ..Evidence::default()
    }
    .assert_clean();
}

#[tokio::test]
async fn a_refusal_that_the_api_replays_holds_nobody_else() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    // Five of six can be paid; the API keeps its 402 under the sixth one's key although credits come back.
    let sandbox = SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited", "--credits", "600"]).await;
    let mut worker = Worker::spawn(dir.path(), &variables(&broker, &sandbox));
    worker.wait_ready().await;
    for brief in briefs(6, "broke") {
        broker.publish(&brief).await;
    }
    worker.wait_series("briefd_holds{reason=\"BILLING_EXHAUSTED\",scope=\"project\"}", 1.0).await;
    sandbox.change("account", &json!({"balance": 100_000})).await;
    worker.wait_series("briefd_holds{reason=\"BILLING_EXHAUSTED\",scope=\"project\"}", 0.0).await;
    // Asked again, and answered with the refusal of then: no new hold, and those behind it go on.
    let repeated = eventually(PROMPTLY, async || {
        (sandbox.account().await["posts"]["generate"].as_u64()? > 7).then_some(())
    });
    assert!(repeated.await.is_some());
    let later =
        json!({"projectId": "broke", "briefId": "later", "format": "video_remix", "brief": {"hook": "y"}});
    broker.publish(&later).await;
    let records = broker.take_records(6, Duration::from_secs(20)).await;
    assert!(records.iter().any(|record| record.json()["briefId"] == "later"));
    worker.wait_series("briefd_briefs{project=\"other\",state=\"failed\"}", 0.0).await;
}
