//! Holds by hand: nothing starts, nothing fails, and it goes on when it is released. Asked for beside a worker, and
//! without one. And what an idle worker finds out by itself about key and API.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd, free_port};
use crate::support::{Variable, eventually};

fn ran(dir: &Path, arguments: &[&str], variables: &[Variable]) -> String {
    let output = briefd(dir, arguments, variables).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn what_an_operator_holds_waits_over_a_restart_until_it_is_released() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited"]).await;
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__TRACK__POLL_INITIAL", "50ms".to_owned()));
    variables.push(("BRIEFD__TRACK__POLL_MAX", "200ms".to_owned()));
    variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/ledger.db", dir.path().display())));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let said = ran(dir.path(), &["hold", "--batch", "b", "--reason", "wrong hook"], &variables);
    assert!(said.contains("the worker carries it out"), "{said}");
    let held = "briefd_holds{reason=\"OPERATOR\",scope=\"batch\"} 1";
    assert!(
        eventually(PROMPTLY, async || worker.metrics().await.contains(held).then_some(())).await.is_some()
    );

    let brief =
        |batch: &str| json!({"projectId": "p", "batchId": batch, "briefId": "x", "brief": {"hook": "x"}});
    broker.publish(&brief("b")).await;
    broker.publish(&brief("other")).await;
    let records = broker.take_records(1, PROMPTLY).await;
    assert_eq!(records[0].json()["batchId"], "other");
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    assert_eq!(sandbox.account().await["jobsMade"], 1);
    let status = ran(dir.path(), &["status"], &variables);
    assert!(status.contains("! HELD") && status.contains("wrong hook"), "{status}");
    assert!(status.contains("1 brief waits, it has not failed."), "{status}");

    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    assert_eq!(sandbox.account().await["jobsMade"], 1, "the hold survives a restart");

    let said = ran(dir.path(), &["release", "--batch", "b"], &variables);
    assert!(said.contains("no worker runs"), "{said}");
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let records = broker.take_records(1, PROMPTLY).await;
    assert_eq!(records[0].json()["batchId"], "b");
    assert_eq!(sandbox.account().await["jobsMade"], 2);
}

#[tokio::test]
async fn a_refused_key_is_told_before_the_first_brief_and_a_good_one_lifts_the_hold_at_the_start() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--tier", "unlimited"]).await;
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/ledger.db", dir.path().display())));
    let held = "briefd_holds{reason=\"UNAUTHENTICATED\",scope=\"account\"}";
    let mut wrong = variables.clone();
    wrong.retain(|(name, _)| *name != "LAYERS_API_KEY");
    wrong.push(("LAYERS_API_KEY", "lp_test_unknown_0123456789".to_owned()));

    let mut worker = Worker::spawn(dir.path(), &wrong);
    worker.wait_ready().await;
    worker.wait_series(held, 1.0).await;
    worker.wait_said("starts are held").await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());

    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    worker.wait_series(held, 0.0).await;
}

#[tokio::test]
async fn an_api_that_is_gone_is_told_once_and_warned_of_by_readyz() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let mut variables = broker.variables();
    variables.push(("LAYERS_API_KEY", "lp_test_0123456789".to_owned()));
    variables.push(("BRIEFD__LAYERS__BASE_URL", format!("http://127.0.0.1:{}", free_port())));
    variables.push(("BRIEFD__SUBMIT__RETRY_INITIAL", "50ms".to_owned()));
    variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/ledger.db", dir.path().display())));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    for id in ["a", "b", "c", "d"] {
        broker.publish(&json!({"projectId": "p", "briefId": id, "brief": {"hook": "x"}})).await;
    }
    worker.wait_said("the Layers API cannot be reached").await;
    let warned = eventually(PROMPTLY, async || {
        let (status, ready) = worker.look("/readyz").await?;
        (status == 200 && ready["warnings"][0] == "the Layers API cannot be reached").then_some(())
    });
    assert!(warned.await.is_some());
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    let said = worker.process.stderr();
    assert_eq!(said.matches("the Layers API cannot be reached").count(), 1, "{said}");
}
