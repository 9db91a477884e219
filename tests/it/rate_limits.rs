//! The API's limits are kept whatever happens to the process, and its cap on running jobs is found without hammering.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::judge_first_runs;
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker};
use crate::support::{Variable, eventually};

/// Everything has to be over by then.
const PATIENCE: Duration = Duration::from_mins(1);

fn variables(broker: &TestBroker, sandbox: &SandboxProcess, more: &[(&'static str, &str)]) -> Vec<Variable> {
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    broker.variables().into_iter().chain(sandbox.variables()).chain(more).collect()
}

fn briefs(count: usize, project: impl Fn(usize) -> String) -> Vec<Value> {
    let brief = |n| json!({"projectId": project(n), "briefId": format!("b{n}"), "format": "slideshow_remix", "brief": {"hook": "x"}});
    (0..count).map(brief).collect()
}

async fn judge(sandbox: &SandboxProcess, dir: &Path, briefs: &[Value], records: Vec<Message>) {
    assert!(records.iter().all(|record| record.json()["type"] == "container.completed"));
    judge_first_runs(sandbox, dir, records, briefs).await;
}

async fn refused(sandbox: &SandboxProcess) -> u64 {
    sandbox.account().await["rateLimited"].as_u64().unwrap()
}

async fn made(sandbox: &SandboxProcess) -> u64 {
    sandbox.account().await["jobsMade"].as_u64().unwrap()
}

async fn reads(sandbox: &SandboxProcess) -> u64 {
    let account = sandbox.account().await;
    account["reads"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

#[tokio::test]
async fn two_kills_in_the_middle_cost_no_429_on_a_standard_key() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    // A minute of the API is three seconds: 20 starts and 120 reads in each.
    let sandbox = SandboxProcess::spawn(&["--tier", "standard", "--speed", "20"]).await;
    let variables = variables(
        &broker,
        &sandbox,
        &[
            ("BRIEFD__LAYERS__LIMITS__WINDOW", "3s"),
            ("BRIEFD__LAYERS__REQUEST_TIMEOUT", "2s"),
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "1s"),
            // As eager as can be, so that the limit is what holds it back.
            ("BRIEFD__TRACK__POLL_INITIAL", "20ms"),
            ("BRIEFD__TRACK__POLL_MAX", "50ms"),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "50ms"),
        ],
    );
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    // A project each: jobs that no sweep covers, so that reads are short.
    let briefs = briefs(60, |n| format!("p{n}"));
    for brief in &briefs {
        broker.publish(brief).await;
    }
    for _ in 0..2 {
        // Most of what may be read in a window has just been read; or else, on a slow machine, there is still a window of
        // starts to come.
        let before = reads(&sandbox).await;
        let kill_at = eventually(PATIENCE, async || {
            (reads(&sandbox).await >= before + 90 || made(&sandbox).await >= 40).then_some(())
        });
        kill_at.await.expect("jobs are started and followed");
        worker.process.sigkill();
        assert!(made(&sandbox).await < 60, "the kill came too late to prove anything");
        worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
    }
    let mut records = Vec::new();
    let mut seen = Vec::new();
    while seen.len() < 60 {
        let taken = broker.take_records(60 - seen.len(), PATIENCE).await;
        assert!(!taken.is_empty(), "{} of 60 records came", seen.len());
        seen.extend(taken.iter().map(|record| record.json()["recordId"].to_string()));
        seen.sort_unstable();
        seen.dedup();
        records.extend(taken);
    }
    worker.wait_series("briefd_api_limit{class=\"read\"}", 120.0).await;
    assert_eq!(refused(&sandbox).await, 0, "{}", worker.process.stderr());
    judge(&sandbox, dir.path(), &briefs, records).await;
}

#[tokio::test]
async fn at_the_cap_on_running_jobs_everybody_waits_for_a_place_and_nobody_fails() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox =
        SandboxProcess::spawn(&["--tier", "unlimited", "--speed", "60", "--running-cap", "3"]).await;
    let variables = variables(
        &broker,
        &sandbox,
        &[
            ("BRIEFD__LAYERS__TIER", "unlimited"),
            ("BRIEFD__SUBMIT__CONCURRENCY", "8"),
            ("BRIEFD__TRACK__POLL_INITIAL", "20ms"),
            ("BRIEFD__TRACK__POLL_MAX", "100ms"),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "100ms"),
        ],
    );
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let briefs = briefs(20, |_| "p".to_owned());
    for brief in &briefs {
        broker.publish(brief).await;
    }
    let records = broker.take_records(20, PATIENCE).await;
    assert_eq!(worker.process.stderr().matches("runs no more jobs at once").count(), 1);
    worker.wait_series("briefd_briefs{project=\"other\",state=\"completed\"}", 20.0).await;
    worker.wait_series("briefd_briefs{project=\"other\",state=\"failed\"}", 0.0).await;
    let refused = refused(&sandbox).await;
    assert!(refused > 0, "the cap was never reached");
    assert!(refused <= 20, "{refused} refusals at twenty ends of jobs");
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    judge(&sandbox, dir.path(), &briefs, records).await;
}
