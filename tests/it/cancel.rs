//! `briefd cancel`: what was not started ends free, of what runs the API is asked, and the wish survives anything.

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
    async fn set(more: &[(&'static str, &str)]) -> Self {
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let sandbox = SandboxProcess::spawn(&["--speed", "20", "--tier", "unlimited"]).await;
        let mut variables = [broker.variables(), sandbox.variables()].concat();
        let own = [
            ("BRIEFD__LAYERS__TIER", "unlimited"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", "200ms"),
            ("BRIEFD__SUBMIT__RETRY_INITIAL", "50ms"),
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "2s"),
        ];
        variables.extend(own.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned())));
        variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/ledger.db", dir.path().display())));
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        Self { broker, sandbox, worker, variables, dir }
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = briefd(self.dir.path(), arguments, &self.variables).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn done(&self, arguments: &[&str], words: &str) {
        let (code, told, said) = self.run(arguments);
        assert!(code == Some(0) && flat(&told).contains(words), "{arguments:?}: {code:?} {told} {said}");
    }

    async fn publish(&self, id: &str, wish: Value) {
        let brief = json!({"projectId": "p", "batchId": "b", "briefId": id, "brief": {"hook": id},
                           "metadata": {"sandbox": wish}});
        self.broker.publish(&brief).await;
    }

    async fn jobs(&self, state: &str, n: f64) {
        self.worker.wait_series(&format!("briefd_jobs{{state=\"{state}\"}}"), n).await;
    }

    /// Type and code of each record, by brief.
    async fn records(&self, n: usize) -> Vec<(String, String, Value)> {
        let records = self.broker.take_records(n, PROMPTLY).await;
        let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
        let told = records.iter().map(|record| {
            let record = record.json();
            (text(&record, "briefId"), text(&record, "type"), record["error"]["code"].clone())
        });
        let mut told: Vec<_> = told.collect();
        told.sort_by(|one, other| one.0.cmp(&other.0));
        told
    }

    /// Killed, and started again.
    async fn restart(&mut self) {
        self.worker = Worker::spawn(self.dir.path(), &self.variables);
        self.worker.wait_ready().await;
    }
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn record(brief: &str, kind: &str, code: Option<&str>) -> (String, String, Value) {
    (brief.to_owned(), kind.to_owned(), json!(code))
}

#[tokio::test]
async fn of_a_batch_what_waits_ends_free_what_runs_is_canceled_or_completes_and_is_published() {
    let scene = Scene::set(&[("BRIEFD__LAYERS__MAX_RUNNING_JOBS", "2")]).await;
    scene.publish("1-runs", json!({"seconds": 400})).await;
    scene.publish("2-ignores", json!({"seconds": 240, "cancelIgnored": true})).await;
    scene.jobs("running", 2.0).await;
    scene.publish("3-waits", json!({})).await;
    scene.publish("4-waits", json!({})).await;
    scene.jobs("ready", 2.0).await;
    // Holds stop starts, not this.
    scene.done(&["hold", "--batch", "b"], "Stored");

    let (code, _, said) = scene.run(&["cancel", "--batch", "b"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("2 not started: ended at once, free") && said.contains("2 running"), "{said}");
    assert!(said.contains("add --yes"), "{said}");
    assert_eq!(scene.run(&["cancel", "--batch", "nobody", "--yes"]).0, Some(2));
    scene.done(
        &["cancel", "--batch", "b", "--reason", "wrong hook", "--yes"],
        "2 briefs ended before the start, free; 2 briefs running, the API is asked",
    );
    let expected = [
        record("1-runs", "container.canceled", Some("CANCELED")),
        record("2-ignores", "container.completed", None),
        record("3-waits", "brief.failed", Some("CANCELED")),
        record("4-waits", "brief.failed", Some("CANCELED")),
    ];
    assert_eq!(scene.records(4).await, expected);
    let account = scene.sandbox.account().await;
    assert_eq!(
        (&account["jobsMade"], &account["posts"]["cancel"]),
        (&json!(2), &json!(2)),
        "asked once each"
    );
    scene.done(&["cancel", "--batch", "b", "--yes"], "Nothing is to be canceled");
    scene.done(&["show", "1-runs"], "cancel asked for");
    assert_eq!(scene.worker.series("briefd_ledger_imbalance").await.to_bits(), 0.0_f64.to_bits());
}

#[tokio::test]
async fn a_wish_that_was_stored_just_before_a_kill_is_carried_out_by_the_next_worker() {
    let mut scene = Scene::set(&[("BRIEFD__LAYERS__MAX_RUNNING_JOBS", "1")]).await;
    scene.publish("1-runs", json!({"seconds": 400})).await;
    scene.jobs("running", 1.0).await;
    scene.publish("2-waits", json!({})).await;
    scene.jobs("ready", 1.0).await;
    // The worker is frozen while the wish is stored, and dies without having looked at it.
    scene.worker.process.freeze_between_writes(&scene.dir.path().join("ledger.db")).await;
    let mut command = briefd(scene.dir.path(), &["cancel", "--batch", "b", "--yes"], &scene.variables);
    let command = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let stored = eventually(PROMPTLY, async || {
        let reader = briefd::ledger::Reader::open(&scene.dir.path().join("ledger.db")).await.unwrap();
        (reader.open_requests(10).await.unwrap().len() == 1).then_some(())
    });
    assert!(stored.await.is_some());
    scene.worker.process.sigkill();
    assert!(command.wait_with_output().unwrap().status.success(), "stored");
    scene.restart().await;
    let expected = [
        record("1-runs", "container.canceled", Some("CANCELED")),
        record("2-waits", "brief.failed", Some("CANCELED")),
    ];
    assert_eq!(scene.records(2).await, expected);
    assert_eq!(scene.sandbox.account().await["jobsMade"], 1);
}

#[tokio::test]
async fn without_a_worker_what_waits_ends_and_what_runs_is_remembered_and_a_lost_answer_is_never_taken_for_nothing()
 {
    let mut scene = Scene::set(&[]).await;
    scene.publish("1-runs", json!({"seconds": 400})).await;
    scene.jobs("running", 1.0).await;
    scene.publish("2-lost", json!({"seconds": 400, "faults": ["accepted-unanswered"]})).await;
    let unknown = eventually(PROMPTLY, async || {
        let posts = scene.sandbox.account().await["jobsMade"].as_u64();
        (posts == Some(2)).then_some(())
    });
    assert!(unknown.await.is_some());
    // At once, before the POST is repeated.
    scene.worker.process.sigkill();
    scene.done(
        &["cancel", "--batch", "b", "--yes"],
        "1 brief running, the API is asked; 1 brief being submitted, the API is asked once that is known",
    );
    assert_eq!(scene.sandbox.account().await["posts"]["cancel"], 0);
    scene.restart().await;
    let expected = [
        record("1-runs", "container.canceled", Some("CANCELED")),
        record("2-lost", "container.canceled", Some("CANCELED")),
    ];
    assert_eq!(scene.records(2).await, expected);
    let account = scene.sandbox.account().await;
    assert_eq!((&account["jobsMade"], &account["posts"]["cancel"]), (&json!(2), &json!(2)));
}
