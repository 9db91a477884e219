//! A POST path that never answers: what was bought is collected all the same, once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};

#[tokio::test]
async fn what_was_bought_is_published_although_no_post_is_ever_answered() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&[
        "--speed",
        "200",
        "--tier",
        "unlimited",
        "--overlap-makes-two",
        "--fault",
        "accepted-unanswered=1",
    ])
    .await;
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__LAYERS__TIER", "unlimited".to_owned()));
    variables.push(("BRIEFD__TRACK__POLL_INITIAL", "50ms".to_owned()));
    variables.push(("BRIEFD__TRACK__POLL_MAX", "200ms".to_owned()));
    variables.push(("BRIEFD__SUBMIT__RETRY_INITIAL", "50ms".to_owned()));
    variables.push(("BRIEFD__SUBMIT__RETRY_MAX", "200ms".to_owned()));
    variables.push(("BRIEFD__SUBMIT__REPEAT_AFTER", "300ms".to_owned()));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let briefs: Vec<Value> = (1..=4)
        .map(|n| json!({"projectId": "p", "briefId": format!("b{n}"), "variantCount": if n == 4 { 3 } else { 1 }, "brief": {"hook": format!("x{n}")}}))
        .collect();
    for brief in &briefs {
        broker.publish(brief).await;
    }
    let records = broker.take_records(6, PROMPTLY).await;
    let of = |kind: &str| records.iter().filter(|record| record.json()["type"] == kind).count();
    assert_eq!((of("container.completed"), of("container.failed")), (4, 2));
    let failed = records.iter().filter(|record| record.json()["type"] == "container.failed");
    for record in failed {
        assert_eq!(record.json()["error"]["code"], "CONTAINER_MISSING", "never named, so never seen");
    }
    worker.wait_series("briefd_outcome_unknown", 0.0).await;
    // A look-up tells no job id, so the account is compared by containers.
    let account = sandbox.account().await;
    assert_eq!(account["jobsMade"], 4);
    let first_of = |job: &Value| job["containerIds"][0].as_str().unwrap().to_owned();
    let bought: BTreeSet<String> = account["jobs"].as_array().unwrap().iter().map(first_of).collect();
    let completed =
        records.iter().map(Message::json).filter(|record| record["type"] == "container.completed");
    let published: BTreeSet<String> =
        completed.map(|record| record["containerId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(bought, published);
    for (key, seen) in account["keys"].as_object().unwrap() {
        assert_eq!(seen["bodies"].as_array().unwrap().len(), 1, "{key} was sent with several bodies");
    }
}
