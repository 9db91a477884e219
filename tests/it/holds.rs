//! Holds by hand: nothing starts, nothing fails, and it goes on when it is released. Asked for beside a worker, and
//! without one. And what an idle worker finds out by itself about key and API.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, Process, SandboxProcess, Worker, briefd, free_port};
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
async fn a_batch_that_a_mistake_runs_through_is_stopped_mended_by_sending_it_again_and_released() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox =
        SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited", "--two-layers", "p"]).await;
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__TRACK__POLL_INITIAL", "50ms".to_owned()));
    variables.push(("BRIEFD__TRACK__POLL_MAX", "200ms".to_owned()));
    variables.push(("BRIEFD__LAYERS__TIER", "unlimited".to_owned()));
    variables.push(("BRIEFD__SUBMIT__CONCURRENCY", "4".to_owned()));
    variables.push(("BRIEFD__SUBMIT__STOP_AFTER_REFUSALS", "5".to_owned()));
    variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/ledger.db", dir.path().display())));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let brief = |project: &str, n: usize| json!({"projectId": project, "batchId": "b", "briefId": n.to_string(), "brief": {"hook": "x"}});
    for n in 0..40 {
        broker.publish(&brief("p", n)).await;
    }
    broker.publish(&brief("q", 0)).await;
    let held = "briefd_holds{reason=\"OTHER\",scope=\"batch\"}";
    worker.wait_series(held, 1.0).await;
    let mut records = Vec::new();
    let completed = |records: &[Message]| {
        records.iter().filter(|record| record.json()["type"] == "container.completed").count()
    };
    let goes_on = eventually(PROMPTLY, async || {
        records.extend(broker.take_rest("records").await);
        (completed(&records) == 1).then_some(())
    });
    assert!(goes_on.await.is_some(), "the other project");
    let status = ran(dir.path(), &["status"], &variables);
    let status = status.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(status.contains("batch b of p: CONFLICT since"), "{status}");
    assert!(
        status.contains("several layers: lay_organic, lay_paid; set projectLayerId in the briefs"),
        "{status}"
    );
    assert!(status.contains("briefd release --project p --batch b"), "{status}");

    // The worker starts anew: it is still held.
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    let posts = sandbox.account().await["posts"]["generate"].as_u64().unwrap();
    assert!(posts <= 5 + 4 + 1, "{posts} POSTs");
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    for n in 0..40 {
        let mut mended = brief("p", n);
        mended["projectLayerId"] = json!("lay_paid");
        broker.publish(&mended).await;
    }
    let replaced = "briefd_briefs_received_total{result=\"replaced\"}";
    worker.wait_series(replaced, 40.0).await;
    assert_eq!(sandbox.account().await["posts"]["generate"], posts);
    ran(dir.path(), &["release", "--project", "p", "--batch", "b", "--reason", "mended"], &variables);
    let more = eventually(PROMPTLY, async || {
        records.extend(broker.take_rest("records").await);
        (completed(&records) == 41).then_some(())
    });
    assert!(more.await.is_some(), "{} completed", completed(&records));
    worker.wait_series(held, 0.0).await;
    let account = sandbox.account().await;
    assert_eq!(account["jobsMade"], 41, "each bought once");
}

#[tokio::test]
async fn generate_ends_when_only_refused_batches_are_left_and_goes_on_after_the_release() {
    let dir = TempDir::new().unwrap();
    let sandbox =
        SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited", "--two-layers", "p"]).await;
    let mut variables = sandbox.variables();
    variables.push(("BRIEFD__LAYERS__TIER", "unlimited".to_owned()));
    variables.push(("BRIEFD__SUBMIT__CONCURRENCY", "1".to_owned()));
    variables.push(("BRIEFD__SUBMIT__STOP_AFTER_REFUSALS", "3".to_owned()));
    variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/ledger.db", dir.path().display())));
    let projects = ["p", "q"];
    let write = |layer: Option<&str>| {
        let line = |n: usize| {
            let mut brief =
                json!({"projectId": projects[n % 2], "briefId": n.to_string(), "brief": {"hook": "x"}});
            if let (Some(layer), 0) = (layer, n % 2) {
                brief["projectLayerId"] = json!(layer);
            }
            brief.to_string()
        };
        std::fs::write(dir.path().join("b.jsonl"), (0..20).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    };
    let generate = ["generate", "b.jsonl", "--out", "records.jsonl"];
    write(None);
    let mut first = Process::start(dir.path(), briefd(dir.path(), &generate, &variables));
    assert_eq!(first.wait_exit(PROMPTLY).await.code(), Some(4), "{}", first.stderr());
    let said = first.stderr();
    assert!(said.contains("stopped: CONFLICT: ") && said.contains("projectLayerId"), "{said}");
    assert_eq!(sandbox.account().await["jobsMade"], 10, "the other project is through");

    write(Some("lay_paid"));
    ran(dir.path(), &["release", "--project", "p", "--batch", "b"], &variables);
    let mut second = Process::start(dir.path(), briefd(dir.path(), &generate, &variables));
    assert_eq!(second.wait_exit(PROMPTLY).await.code(), Some(0), "{}", second.stderr());
    assert_eq!(sandbox.account().await["jobsMade"], 20, "each bought once");
}

#[tokio::test]
async fn a_batch_can_be_held_in_one_project_alone() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited"]).await;
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__TRACK__POLL_INITIAL", "50ms".to_owned()));
    variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/ledger.db", dir.path().display())));
    let held = ["--project", "p", "--batch", "b"];
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    ran(dir.path(), &[&["hold"], &held[..]].concat(), &variables);
    worker.wait_series("briefd_holds{reason=\"OPERATOR\",scope=\"batch\"}", 1.0).await;
    let at = |project: &str, batch: &str| json!({"projectId": project, "batchId": batch, "briefId": "x", "brief": {"hook": "x"}});
    for (project, batch) in [("p", "b"), ("p", "other"), ("q", "b")] {
        broker.publish(&at(project, batch)).await;
    }
    let mut through: Vec<String> = broker
        .take_records(2, PROMPTLY)
        .await
        .iter()
        .map(|record| format!("{} {}", record.json()["projectId"], record.json()["batchId"]))
        .collect();
    through.sort();
    assert_eq!(through, ["\"p\" \"other\"", "\"q\" \"b\""]);
    // What is held otherwise is not released by less.
    ran(dir.path(), &["release", "--batch", "b"], &variables);
    ran(dir.path(), &["hold", "--project", "p"], &variables);
    ran(dir.path(), &["release", "--project", "p"], &variables);
    worker.wait_series("briefd_holds{reason=\"OPERATOR\",scope=\"project\"}", 0.0).await;
    assert_eq!(sandbox.account().await["jobsMade"], 2);
    ran(dir.path(), &[&["release"], &held[..]].concat(), &variables);
    broker.take_records(1, PROMPTLY).await;
    ran(dir.path(), &["hold"], &variables);
    worker.wait_series("briefd_holds{reason=\"OPERATOR\",scope=\"account\"}", 1.0).await;
    ran(dir.path(), &["release"], &variables);
    worker.wait_series("briefd_holds{reason=\"OPERATOR\",scope=\"account\"}", 0.0).await;
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
