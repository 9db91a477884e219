//! `briefd resolve`: a person decides about what nothing else can decide, beside a worker and without one.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd};
use crate::support::{Variable, eventually};

struct Scene {
    broker: TestBroker,
    sandbox: SandboxProcess,
    worker: Worker,
    variables: Vec<Variable>,
    dir: TempDir,
}

impl Scene {
    /// A worker with one brief that is parked: nobody knows whether its first POST was bought, and the API refuses the
    /// second one. `first`: what became of the first.
    async fn parked(first: &str) -> Self {
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let sandbox = SandboxProcess::spawn(&["--speed", "500", "--tier", "unlimited"]).await;
        let mut variables = [broker.variables(), sandbox.variables()].concat();
        let own = [
            ("BRIEFD__LAYERS__TIER", "unlimited"),
            ("BRIEFD__LAYERS__SEND_CONTAINER_ID", "false"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", "200ms"),
            ("BRIEFD__SUBMIT__RETRY_INITIAL", "50ms"),
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "300ms"),
        ];
        variables.extend(own.map(|(name, value)| (name, value.to_owned())));
        variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/ledger.db", dir.path().display())));
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        sandbox.change("faults", &json!({ "unknown-code": 1.0 })).await;
        let wish = json!({ "sandbox": { "faults": [first] } });
        broker
            .publish(&json!({"projectId": "p", "briefId": "x", "brief": {"hook": "x"}, "metadata": wish}))
            .await;
        worker.wait_series("briefd_jobs{state=\"parked\"}", 1.0).await;
        sandbox.change("faults", &json!({})).await;
        Self { broker, sandbox, worker, variables, dir }
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        run(self.dir.path(), arguments, &self.variables)
    }

    fn refused(&self, arguments: &[&str], why: &str) {
        let (code, _, said) = self.run(arguments);
        assert!(code == Some(2) && said.contains(why), "{arguments:?}: {code:?} {said}");
    }

    fn done(&self, arguments: &[&str], words: &str) {
        let (code, told, said) = self.run(arguments);
        assert!(code == Some(0) && told.contains(words), "{arguments:?}: {code:?} {told} {said}");
    }

    async fn record(&self) -> Value {
        self.broker.take_records(1, PROMPTLY).await[0].json()
    }
}

fn run(dir: &Path, arguments: &[&str], variables: &[Variable]) -> (Option<i32>, String, String) {
    let output = briefd(dir, arguments, variables).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_repeat_under_the_same_key_collects_what_was_bought_and_the_story_tells_who_decided() {
    let scene = Scene::parked("accepted-unanswered").await;
    scene.refused(&["resolve", "x", "--reason", "none given"], "required");
    scene.refused(&["resolve", "x", "--repeat", "--never-accepted"], "cannot be used with");
    scene.refused(&["resolve", "y", "--repeat", "--yes"], "no brief 'y' is in the ledger");
    scene.refused(&["resolve", "x", "--batch", "b", "--repeat", "--yes"], "no brief 'x' in batch b");
    scene.refused(&["resolve", "x", "--repeat"], "add --yes");
    scene.refused(&["resolve", "x", "--never-accepted"], "a rerun buys it again");
    scene.refused(&["resolve", "x", "--repeat", "--yes", "--container", "cnt_1"], "leave --container out");
    scene.done(
        &["resolve", "x", "--repeat", "--yes", "--reason", "support: it is there"],
        "job 1 is submitting now",
    );
    let record = scene.record().await;
    assert_eq!((&record["type"], &record["briefId"]), (&json!("container.completed"), &json!("x")));
    let account = scene.sandbox.account().await;
    assert_eq!(account["jobsMade"], 1);
    scene.refused(&["resolve", "x", "--repeat", "--yes"], "is completed, not parked");
    scene.done(&["show", "x"], "because: support: it is there");
    assert_eq!(scene.worker.series("briefd_ledger_imbalance").await.to_bits(), 0.0_f64.to_bits());
}

#[tokio::test]
async fn a_job_that_a_person_found_is_followed_once_a_worker_runs() {
    let mut scene = Scene::parked("accepted-unanswered").await;
    scene.worker.process.sigterm();
    assert!(scene.worker.process.wait_exit(PROMPTLY).await.success());
    let ended = eventually(PROMPTLY, async || {
        (scene.sandbox.account().await["containers"]["completed"] == 1).then_some(())
    });
    assert!(ended.await.is_some());
    let job = scene.sandbox.account().await["jobs"][0]["id"].as_str().unwrap().to_owned();
    scene.refused(&["resolve", "x", "--accepted", "job_nobody"], "the API knows no job job_nobody");
    scene.done(&["resolve", "x", "--accepted", &job], "No worker runs");
    scene.refused(&["resolve", "x", "--accepted", &job], "is running, not parked");
    scene.worker = Worker::spawn(scene.dir.path(), &scene.variables);
    scene.worker.wait_ready().await;
    let record = scene.record().await;
    assert_eq!((&record["type"], &record["jobId"]), (&json!("container.completed"), &json!(job)));
    assert_eq!(scene.sandbox.account().await["jobsMade"], 1);
}

#[tokio::test]
async fn one_that_was_never_accepted_fails_with_the_apis_own_refusal_and_is_counted() {
    let scene = Scene::parked("reset-before").await;
    scene.done(&["resolve", "x", "--never-accepted", "--yes"], "job 1 is rejected now");
    let record = scene.record().await;
    assert_eq!((&record["type"], &record["error"]["code"]), (&json!("brief.failed"), &json!("QUANTUM_FLUX")));
    let failures = "briefd_failures_total{code=\"other\",project=\"other\",source=\"layers\"}";
    scene.worker.wait_series(failures, 1.0).await;
    assert_eq!(scene.sandbox.account().await["jobsMade"], 0);
}

#[tokio::test]
async fn of_two_decisions_at_once_the_second_is_told_that_it_came_too_late() {
    let scene = Scene::parked("accepted-unanswered").await;
    // The worker is frozen while both are stored, and carries them out in order.
    scene.worker.process.freeze_between_writes(&scene.dir.path().join("ledger.db")).await;
    let command = |decision: &str| {
        let mut command = briefd(scene.dir.path(), &["resolve", "x", decision, "--yes"], &scene.variables);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let both = [command("--repeat"), command("--never-accepted")];
    let stored = eventually(PROMPTLY, async || {
        let reader = briefd::ledger::Reader::open(&scene.dir.path().join("ledger.db")).await.unwrap();
        (reader.open_requests(10).await.unwrap().len() == 2).then_some(())
    });
    assert!(stored.await.is_some());
    scene.worker.process.thaw();
    let outputs = both.map(|child| child.wait_with_output().unwrap());
    let mut codes: Vec<_> = outputs.iter().map(|output| output.status.code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(2)], "{outputs:?}");
    let late = outputs.iter().find(|output| output.status.code() == Some(2)).unwrap();
    assert!(String::from_utf8_lossy(&late.stderr).contains("somebody else was first"), "{late:?}");
}
