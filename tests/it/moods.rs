//! The API in its worst moods: a third of all answers bad in every way there is, credits that end, a project that is broke
//! beside one that is not. Whatever it does, each brief is bought once, nothing fails by it, and the log stays readable.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::judge_first_runs;
use crate::support::message::Message;
use crate::support::process::{API_KEY, PROMPTLY, SandboxProcess, Worker};
use crate::support::{Variable, eventually};

/// Everything has to be over by then.
const PATIENCE: Duration = Duration::from_mins(2);

/// Of a hundred starts, thirty are answered badly: half of those were carried out all the same.
pub const BAD_STARTS: [(&str, &str); 12] = [
    ("accepted-unanswered", "0.03"),
    ("accepted-reset", "0.03"),
    ("accepted-500", "0.03"),
    ("error-502-html", "0.03"),
    ("cut-json", "0.03"),
    ("slow", "0.03"),
    ("reset-before", "0.03"),
    ("error-500", "0.03"),
    ("unknown-code-403", "0.01"),
    ("unknown-code-500", "0.03"),
    ("kill-switch", "0.01"),
    ("odd-retry-after", "0.01"),
];
/// The same share of reads.
pub const BAD_READS: [(&str, &str); 6] = [
    ("read-reset", "0.06"),
    ("read-error-500", "0.06"),
    ("read-error-502-html", "0.06"),
    ("read-cut-json", "0.06"),
    ("read-slow", "0.06"),
    ("unknown-status", "0.1"),
];

/// The settings of a worker that is patient with such an API.
pub fn variables(broker: &TestBroker, sandbox: &SandboxProcess) -> Vec<Variable> {
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.extend(
        [
            ("BRIEFD__LAYERS__TIER", "unlimited"),
            // More than the sandbox needs to serve a start whose answer got lost.
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "1s"),
            ("BRIEFD__SUBMIT__RETRY_INITIAL", "50ms"),
            ("BRIEFD__SUBMIT__RETRY_MAX", "500ms"),
            ("BRIEFD__SUBMIT__PROBE_INTERVAL", "300ms"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", "200ms"),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "200ms"),
        ]
        .map(|(name, value)| (name, value.to_owned())),
    );
    variables
}

fn brief(project: &str, n: usize) -> Value {
    json!({
        "projectId": project, "batchId": "spring", "briefId": format!("b{n}"), "format": "video_remix",
        "variantCount": 1, "brief": {"hook": format!("Hook {n}")},
    })
}

async fn publish(broker: &TestBroker, briefs: &[Value]) {
    stream::iter(briefs).for_each_concurrent(16, |brief| broker.publish(brief)).await;
}

/// Takes records until every brief has one; repeats are kept too.
async fn take_all(broker: &TestBroker, briefs: usize) -> Vec<Message> {
    let began = std::time::Instant::now();
    let (mut records, mut ids) = (Vec::new(), BTreeSet::new());
    while ids.len() < briefs {
        let taken = broker.take_records(briefs - ids.len(), PATIENCE.saturating_sub(began.elapsed())).await;
        assert!(!taken.is_empty(), "{} of {briefs} records came within {PATIENCE:?}", ids.len());
        ids.extend(taken.iter().map(|record| record.json()["recordId"].to_string()));
        records.extend(taken);
    }
    records
}

/// Each of these faults came up at least once.
pub fn assert_all_struck<'a>(account: &Value, mut faults: impl Iterator<Item = &'a str>) {
    let struck = &account["faults"];
    let missed = faults.find(|name| struck[name].as_u64().unwrap_or(0) == 0);
    assert_eq!(missed, None, "it never struck: {struck}");
}

async fn judge(sandbox: &SandboxProcess, dir: &Path, records: Vec<Message>, briefs: &[Value]) {
    let not_completed =
        records.iter().map(Message::json).filter(|record| record["type"] != "container.completed");
    assert_eq!(
        not_completed.collect::<Vec<_>>(),
        Vec::<Value>::new(),
        "the account's trouble fails no brief"
    );
    judge_first_runs(sandbox, dir, records, briefs).await;
}

#[tokio::test]
async fn with_a_third_of_all_answers_bad_each_brief_completes_bought_once_and_the_log_has_a_line_a_trouble() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let faults = BAD_STARTS.iter().chain(&BAD_READS).map(|(name, share)| format!("--fault={name}={share}"));
    let faults: Vec<String> = faults.collect();
    // A start is being served for a twentieth of a second, and an overlapping repeat of it would be a second job.
    let moods = "--speed 60 --tier unlimited --overlap-makes-two --start-seconds 3 --in-flight-seconds 18 --slow-seconds 6";
    let arguments: Vec<&str> = moods.split_whitespace().chain(faults.iter().map(String::as_str)).collect();
    let sandbox = SandboxProcess::spawn(&arguments).await;
    let mut worker = Worker::spawn(dir.path(), &variables(&broker, &sandbox));
    worker.wait_ready().await;
    let briefs: Vec<Value> = (0..300).map(|n| brief("p", n)).collect();
    publish(&broker, &briefs).await;
    let mut records = take_all(&broker, briefs.len()).await;

    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    records.extend(broker.take_rest("records").await);
    let account = sandbox.account().await;
    judge(&sandbox, dir.path(), records, &briefs).await;
    assert_all_struck(&account, BAD_STARTS.iter().chain(&BAD_READS).map(|(name, _)| *name));
    let said = worker.process.stderr();
    let troubles = said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count();
    assert!(troubles <= 3 * (BAD_STARTS.len() + BAD_READS.len()), "{troubles} lines of trouble:\n{said}");
}

#[tokio::test]
async fn credits_for_fifty_of_a_hundred_and_twenty_buy_fifty_and_more_credits_buy_the_rest() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    // 120 credits a video. A refused start is decided anew, as after the API's 24 h.
    let arguments = "--speed 200 --tier unlimited --credits 6000 --forget-billing-refusals";
    let sandbox = SandboxProcess::spawn(&arguments.split_whitespace().collect::<Vec<_>>()).await;
    let mut variables = variables(&broker, &sandbox);
    variables.push(("BRIEFD__SUBMIT__CONCURRENCY", "8".to_owned()));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let briefs: Vec<Value> = (0..120).map(|n| brief("p", n)).collect();
    publish(&broker, &briefs).await;
    let mut records = take_all(&broker, 50).await;
    // Long after, for a hold that is tested every 0.3 s, it has still cost no start beside those in flight.
    let before = sandbox.account().await["reads"]["credits"].as_u64().unwrap();
    let probed = eventually(PROMPTLY, async || {
        (sandbox.account().await["reads"]["credits"].as_u64()? > before + 8).then_some(())
    });
    probed.await.expect("the hold is tested by reading");
    let account = sandbox.account().await;
    assert_eq!(account["jobsMade"], 50);
    let refused = account["answers"]["402"].as_u64().unwrap();
    assert!((1..=8).contains(&refused), "{refused} starts were refused: more than were in flight");
    worker.wait_series("briefd_briefs{project=\"other\",state=\"failed\"}", 0.0).await;

    sandbox.change("account", &json!({"balance": 100_000})).await;
    records.extend(take_all(&broker, 70).await);
    judge(&sandbox, dir.path(), records, &briefs).await;
}

#[tokio::test]
async fn of_two_projects_the_one_that_is_broke_never_slows_the_other() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let arguments = "--speed 200 --tier unlimited --project-credits broke=600 --forget-billing-refusals";
    let sandbox = SandboxProcess::spawn(&arguments.split_whitespace().collect::<Vec<_>>()).await;
    let mut worker = Worker::spawn(dir.path(), &variables(&broker, &sandbox));
    worker.wait_ready().await;
    let held = "briefd_holds{reason=\"BILLING_EXHAUSTED\",scope=\"project\"}";
    let broke: Vec<Value> = (0..30).map(|n| brief("broke", n)).collect();
    publish(&broker, &broke).await;
    let mut records = take_all(&broker, 5).await;
    worker.wait_series(held, 1.0).await;

    let rich: Vec<Value> = (0..60).map(|n| brief("rich", n)).collect();
    publish(&broker, &rich).await;
    let others = take_all(&broker, rich.len()).await;
    assert!(others.iter().all(|record| record.json()["projectId"] == "rich"));
    worker.wait_series(held, 1.0).await;
    worker.wait_series("briefd_briefs{project=\"other\",state=\"failed\"}", 0.0).await;
    records.extend(others);

    sandbox.change("account", &json!({"projectBalances": {"broke": 100_000}})).await;
    records.extend(take_all(&broker, 25).await);
    judge(&sandbox, dir.path(), records, &[broke, rich].concat()).await;
}

#[tokio::test]
async fn a_key_rotated_while_outcomes_are_unknown_buys_nothing_twice_and_that_of_others_buys_nothing() {
    const OTHERS: &str = "lp_test_fedcba9876543210_fedcba9876543210fedcba9876543210fedcba98765";
    const NEW: &str = "lp_test_00000000abcdef00_00000000abcdef0000000000abcdef0000000000abc";
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let others = format!("{OTHERS}=org_others");
    let sandbox = SandboxProcess::spawn(&[
        "--speed",
        "200",
        "--tier",
        "unlimited",
        "--api-key",
        NEW,
        "--api-key",
        &others,
        "--fault",
        "accepted-unanswered=1",
        "--overlap-makes-two",
    ])
    .await;
    let key = dir.path().join("key");
    std::fs::write(&key, API_KEY).unwrap();
    let mut variables = variables(&broker, &sandbox);
    variables.retain(|(name, _)| *name != "LAYERS_API_KEY");
    variables.push(("BRIEFD__LAYERS__API_KEY_FILE", key.display().to_string()));
    variables.push(("BRIEFD__SUBMIT__CONCURRENCY", "8".to_owned()));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let briefs: Vec<Value> = (0..24).map(|n| brief("p", n)).collect();
    publish(&broker, &briefs).await;
    // Each of the eight places is kept by a job that was bought, and nobody has heard of it.
    worker.wait_series("briefd_holds{reason=\"API_DOWN\",scope=\"account\"}", 1.0).await;
    let bought = sandbox.account().await["jobsMade"].as_u64().unwrap();
    assert!(bought >= 8, "{bought} jobs");

    std::fs::write(&key, OTHERS).unwrap();
    sandbox.change("account", &json!({"revokedKeys": [API_KEY]})).await;
    sandbox.change("faults", &json!({})).await;
    worker.wait_series("briefd_holds{reason=\"OTHER_ORGANIZATION\",scope=\"account\"}", 1.0).await;
    std::fs::write(&key, NEW).unwrap();
    let records = take_all(&broker, briefs.len()).await;
    let account = sandbox.account().await;
    assert_eq!(account["organizations"]["org_others"]["jobsMade"], 0);
    judge(&sandbox, dir.path(), records, &briefs).await;
}
