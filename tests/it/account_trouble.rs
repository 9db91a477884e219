//! The account's trouble is not the brief's (P6): work is held, none of it fails, and it goes on by itself.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::judge_first_runs;
use crate::support::process::{API_KEY, PROMPTLY, SandboxProcess, Worker, briefd};
use crate::support::{Variable, eventually};

fn variables(broker: &TestBroker, sandbox: &SandboxProcess) -> Vec<Variable> {
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__LAYERS__TIER", "unlimited".to_owned()));
    variables.push(("BRIEFD__SUBMIT__PROBE_INTERVAL", "300ms".to_owned()));
    variables.push(("BRIEFD__SUBMIT__CONCURRENCY", "4".to_owned()));
    variables.push(("BRIEFD__TRACK__POLL_INITIAL", "50ms".to_owned()));
    variables.push(("BRIEFD__TRACK__POLL_MAX", "200ms".to_owned()));
    variables
}

/// What a command beside the worker of `dir` needs.
fn with_ledger(variables: &[Variable], dir: &Path) -> Vec<Variable> {
    let ledger = ("BRIEFD__LEDGER__URL", format!("sqlite://{}", dir.join("briefd.db").display()));
    [variables, &[ledger]].concat()
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
    judge_first_runs(&sandbox, dir.path(), records, &briefs).await;
    assert_eq!(worker.series("briefd_ledger_imbalance").await.to_bits(), 0.0_f64.to_bits());
}

async fn broke(credits: &str) -> SandboxProcess {
    let arguments =
        ["--speed", "200", "--tier", "unlimited", "--credits", credits, "--forget-billing-refusals"];
    SandboxProcess::spawn(&arguments).await
}

#[tokio::test]
async fn an_empty_wallet_holds_every_project_at_once_and_says_what_is_needed_and_what_is_there() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = broke("240").await;
    let variables = variables(&broker, &sandbox);
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let briefs = [briefs(3, "p"), briefs(3, "q")].concat();
    for brief in &briefs {
        broker.publish(brief).await;
    }
    let mut records = broker.take_records(2, PROMPTLY).await;
    worker.wait_series("briefd_holds{reason=\"BILLING_EXHAUSTED\",scope=\"account\"}", 1.0).await;
    let read = eventually(PROMPTLY, async || {
        (sandbox.account().await["reads"]["credits"].as_u64()? > 5).then_some(())
    });
    assert!(read.await.is_some(), "it is tested by reading");
    let posts = sandbox.account().await["posts"]["generate"].as_u64().unwrap();
    assert!(posts <= 6, "{posts} POSTs");
    let status = briefd(dir.path(), &["status"], &with_ledger(&variables, dir.path())).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("account: BILLING_EXHAUSTED since"), "{status}");
    assert!(status.contains("(needs 120, has 0)"), "{status}");

    sandbox.change("account", &json!({"balance": 100_000})).await;
    records.extend(broker.take_records(4, PROMPTLY).await);
    worker.wait_said("the hold is over; starts go on").await;
    judge_first_runs(&sandbox, dir.path(), records, &briefs).await;
}

#[tokio::test]
async fn when_credits_end_what_could_be_paid_is_bought_and_the_rest_waits_for_more() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    // 120 credits a video: five of twelve, and the rest would do for something cheaper. A refused start is decided anew,
    // as after the API's 24 h.
    let sandbox = broke("700").await;
    let mut worker = Worker::spawn(dir.path(), &variables(&broker, &sandbox));
    worker.wait_ready().await;
    let briefs = briefs(12, "broke");
    for brief in &briefs {
        broker.publish(brief).await;
    }
    let mut records = broker.take_records(5, PROMPTLY).await;
    worker.wait_series("briefd_holds{reason=\"BILLING_EXHAUSTED\",scope=\"project\"}", 1.0).await;
    worker.wait_series("briefd_briefs{project=\"other\",state=\"failed\"}", 0.0).await;
    assert_eq!(sandbox.account_summary().await["jobsMade"], 5);

    sandbox.change("account", &json!({"balance": 100_000})).await;
    records.extend(broker.take_records(7, PROMPTLY).await);
    worker.wait_series("briefd_holds{reason=\"BILLING_EXHAUSTED\",scope=\"project\"}", 0.0).await;
    judge_first_runs(&sandbox, dir.path(), records, &briefs).await;
}

#[tokio::test]
async fn a_refusal_that_the_api_replays_holds_nobody_else() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    // Five of six can be paid; the API keeps its 402 under the sixth one's key although credits come back.
    let sandbox = SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited", "--credits", "700"]).await;
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

#[tokio::test]
async fn a_key_that_dies_in_the_middle_and_an_organization_that_is_switched_off_only_cost_time() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox =
        SandboxProcess::spawn(&["--speed", "50", "--tier", "unlimited", "--start-seconds", "2"]).await;
    let mut worker = Worker::spawn(dir.path(), &variables(&broker, &sandbox));
    worker.wait_ready().await;
    let briefs = briefs(60, "p");
    for brief in &briefs {
        broker.publish(brief).await;
    }
    let mut records = Vec::new();
    let troubles = [("keyRevoked", "UNAUTHENTICATED", 8), ("killSwitch", "KILL_SWITCH", 16)];
    for (what, reason, running) in troubles {
        let some = eventually(PROMPTLY, async || {
            (sandbox.account_summary().await["jobsMade"].as_u64()? > running).then_some(())
        });
        assert!(some.await.is_some());
        sandbox.change("account", &json!({ what: true })).await;
        let held = format!("briefd_holds{{reason=\"{reason}\",scope=\"account\"}}");
        worker.wait_series(&held, 1.0).await;
        let posts = sandbox.account().await["posts"]["generate"].clone();
        let whoami = sandbox.account().await["reads"]["whoami"].as_u64().unwrap();
        let probed = eventually(PROMPTLY, async || {
            (sandbox.account().await["reads"]["whoami"].as_u64()? > whoami + 1).then_some(())
        });
        assert!(probed.await.is_some());
        assert_eq!(sandbox.account().await["posts"]["generate"], posts, "nothing starts while it is held");
        sandbox.change("account", &json!({ what: false })).await;
        worker.wait_series(&held, 0.0).await;
    }
    records.extend(broker.take_records(60, PROMPTLY).await);
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    let said = worker.process.stderr();
    for reason in ["UNAUTHENTICATED", "KILL_SWITCH"] {
        let told = |words: &str| {
            said.lines()
                .filter(|line| line.contains(words) && line.contains(&format!("\"{reason}\"")))
                .count()
        };
        assert_eq!((told("starts are held"), told("the hold is over")), (1, 1), "{reason}: {said}");
    }
    judge_first_runs(&sandbox, dir.path(), records, &briefs).await;
}

#[tokio::test]
async fn an_api_that_is_silent_for_a_while_is_told_once_and_costs_one_job_more_than_there_are_places() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited"]).await;
    let mut variables = variables(&broker, &sandbox);
    variables.push(("BRIEFD__LAYERS__REQUEST_TIMEOUT", "1s".to_owned()));
    variables.push(("BRIEFD__SUBMIT__REPEAT_AFTER", "1s".to_owned()));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    sandbox.change("faults", &json!({"reset-before": 1.0})).await;
    let briefs = briefs(60, "p");
    for brief in &briefs {
        broker.publish(brief).await;
    }
    let held = "briefd_holds{reason=\"API_DOWN\",scope=\"account\"}";
    worker.wait_series(held, 1.0).await;
    // Reads are answered, starts are not: one job at a time tries it, each time another one.
    let tried = eventually(PROMPTLY, async || {
        (sandbox.account().await["posts"]["generate"].as_u64()? >= 4 + 3).then_some(())
    });
    assert!(tried.await.is_some());
    assert_eq!(sandbox.account().await["keys"].as_object().unwrap().len(), 4 + 1, "jobs of unknown outcome");
    worker.wait_series(held, 1.0).await;
    sandbox.change("faults", &json!({})).await;
    let records = broker.take_records(60, PROMPTLY).await;
    worker.wait_series(held, 0.0).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    let said = worker.process.stderr();
    assert_eq!(said.matches("starts are held").count(), 1, "{said}");
    let over: Vec<&str> = said.lines().filter(|line| line.contains("the hold is over")).collect();
    assert!(over.len() == 1 && over[0].contains("lasted=") && over[0].contains("API_DOWN"), "{said}");
    judge_first_runs(&sandbox, dir.path(), records, &briefs).await;
}

/// A worker with four starts whose answers are lost, and a new key before they are repeated.
async fn rotated(send_container_id: bool) -> (TestBroker, SandboxProcess, Worker, Vec<Value>, TempDir) {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let new_key = "lp_test_fedcba9876543210_0123456789abcdef0123456789abcdef0123456789a";
    let sandbox =
        SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited", "--api-key", new_key]).await;
    let file = dir.path().join("key");
    std::fs::write(&file, API_KEY).unwrap();
    let mut variables = variables(&broker, &sandbox);
    variables.push(("LAYERS_API_KEY", String::new()));
    variables.push(("BRIEFD__LAYERS__API_KEY_FILE", file.display().to_string()));
    variables.push(("BRIEFD__LAYERS__SEND_CONTAINER_ID", send_container_id.to_string()));
    variables.push(("BRIEFD__SUBMIT__REPEAT_AFTER", "3s".to_owned()));
    let worker = {
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        worker
    };
    let mut briefs = briefs(4, "p");
    for brief in &mut briefs {
        brief["metadata"] = json!({"sandbox": {"faults": ["accepted-reset"]}});
        broker.publish(brief).await;
    }
    let lost =
        eventually(PROMPTLY, async || (sandbox.account_summary().await["jobsMade"] == 4).then_some(()));
    assert!(lost.await.is_some());
    std::fs::write(&file, new_key).unwrap();
    (broker, sandbox, worker, briefs, dir)
}

#[tokio::test]
async fn under_a_new_key_a_lost_start_with_our_id_is_repeated_and_not_bought_again() {
    let (broker, sandbox, worker, briefs, dir) = rotated(true).await;
    let records = broker.take_records(4, PROMPTLY).await;
    assert!(worker.process.stderr().contains("API_DOWN"), "the key file is read when a hold is tested");
    assert_eq!(sandbox.account().await["posts"]["generate"], 8);
    judge_first_runs(&sandbox, dir.path(), records, &briefs).await;
}

#[tokio::test]
async fn under_a_new_key_a_lost_start_without_our_id_is_left_to_a_person() {
    let (_broker, sandbox, worker, _briefs, _dir) = rotated(false).await;
    worker.wait_series("briefd_jobs{state=\"parked\"}", 4.0).await;
    let account = sandbox.account().await;
    assert_eq!((&account["posts"]["generate"], &account["jobsMade"]), (&json!(4), &json!(4)));
}

#[tokio::test]
async fn under_another_organization_nothing_is_sent_and_under_its_own_it_goes_on() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--speed", "200", "--tier", "unlimited"]).await;
    let under = |organization: &str| {
        let mut variables = variables(&broker, &sandbox);
        variables.push(("BRIEFD__LAYERS__ORGANIZATION", organization.to_owned()));
        variables
    };
    let briefs = briefs(3, "p");
    let mut worker = Worker::spawn(dir.path(), &under("org_a"));
    worker.wait_ready().await;
    broker.publish(&briefs[0]).await;
    let mut records = broker.take_records(1, PROMPTLY).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());

    let mut worker = Worker::spawn(dir.path(), &under("org_b"));
    worker.wait_ready().await;
    broker.publish(&briefs[1]).await;
    broker.publish(&briefs[2]).await;
    let held = "briefd_holds{reason=\"OTHER_ORGANIZATION\",scope=\"account\"}";
    worker.wait_series(held, 1.0).await;
    let whoami = sandbox.account().await["reads"]["whoami"].as_u64().unwrap();
    let probed = eventually(PROMPTLY, async || {
        (sandbox.account().await["reads"]["whoami"].as_u64()? > whoami + 3).then_some(())
    });
    assert!(probed.await.is_some());
    assert_eq!(sandbox.account().await["posts"]["generate"], 1);
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    assert_eq!(worker.process.stderr().matches("starts are held").count(), 1, "{}", worker.process.stderr());

    let mut worker = Worker::spawn(dir.path(), &under("org_a"));
    worker.wait_ready().await;
    records.extend(broker.take_records(2, PROMPTLY).await);
    worker.wait_series(held, 0.0).await;
    judge_first_runs(&sandbox, dir.path(), records, &briefs).await;
}
