//! Thirty of two hundred failed: the rerun is planned, tried on a few, carried out, killed in the middle and carried
//! on. It makes exactly what failed anew, once, and costs no more than the plan says.

mod agreement;
mod late;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::agreement::assert_own;
use crate::support::broker::TestBroker;
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd};
use crate::support::{Variable, eventually};

const BATCH: &str = "2026-05-spring";
const BRIEFS: u64 = 200;
/// A start is being served for a fifth of a second; a repeat that overlaps with it makes a second job.
const SANDBOX: &str = "--speed 60 --tier unlimited --overlap-makes-two --start-seconds 12 --in-flight-seconds 18 \
    --min-seconds 30 --max-seconds 60";
/// Everything has to be over by then.
const PATIENCE: Duration = Duration::from_mins(1);

/// Of 200 briefs 30 fail: twelve in generation, eight in one of two variants, six by moderation, four are invalid.
fn brief(n: u64) -> Value {
    let (variants, wish) = match n {
        0..12 => (1, json!({"fail": "RENDER_FAILED"})),
        12..20 => (2, json!({"failVariants": [2]})),
        20..26 => (1, json!({"refuse": "MODERATION_BLOCKED"})),
        26..30 => (9, json!({})),
        _ => (1, json!({})),
    };
    let format = ["video_remix", "slideshow_remix"][usize::from(n.is_multiple_of(2))];
    json!({
        "projectId": format!("project.{}", n % 3), "batchId": BATCH, "briefId": format!("brief-{n}"),
        "format": format, "variantCount": variants,
        "brief": {"hook": format!("Hook {n}")}, "metadata": {"sandbox": wish},
    })
}

/// What mends those that the API, or their own validation, would refuse again.
fn mended(n: u64) -> Value {
    json!({"briefId": format!("brief-{n}"), "variantCount": 2, "brief": {"hook": format!("Better {n}")}, "metadata": {"sandbox": {"refuse": null}}})
}

/// A second run of the brief, of these variants.
fn second(n: u64, variants: &[u64]) -> ExpectedRun {
    ExpectedRun { run: 2, variants: variants.to_vec(), ..ExpectedRun::first_of(&brief(n)) }
}

/// The second runs of the 20 that were accepted, and failed.
fn regenerated() -> Vec<ExpectedRun> {
    (0..12).map(|n| second(n, &[1])).chain((12..20).map(|n| second(n, &[2]))).collect()
}

struct Scene {
    broker: TestBroker,
    sandbox: SandboxProcess,
    variables: Vec<Variable>,
    dir: TempDir,
    records: Vec<Message>,
}

impl Scene {
    async fn set(sandbox: &str) -> Self {
        let sandbox = SandboxProcess::spawn(&sandbox.split_whitespace().collect::<Vec<_>>()).await;
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let ledger = format!("sqlite://{}", dir.path().join("briefd.db").display());
        let own = [
            ("BRIEFD__LEDGER__URL", ledger.as_str()),
            ("BRIEFD__LAYERS__TIER", "unlimited"),
            ("BRIEFD__SUBMIT__CONCURRENCY", "64"),
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "1s"),
            ("BRIEFD__SUBMIT__RETRY_INITIAL", "20ms"),
            ("BRIEFD__SUBMIT__RETRY_MAX", "200ms"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", "200ms"),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "200ms"),
        ];
        let own = own.map(|(name, value)| (name, value.to_owned())).to_vec();
        let variables = [broker.variables(), sandbox.variables(), own].concat();
        Self { broker, sandbox, variables, dir, records: Vec::new() }
    }

    async fn worker(&self) -> Worker {
        let mut worker = Worker::spawn(self.dir.path(), &self.variables);
        worker.wait_ready().await;
        worker
    }

    /// The first run of all, to its end.
    async fn first_run(&mut self) -> Worker {
        let worker = self.worker().await;
        let briefs: Vec<_> = (0..BRIEFS).map(brief).collect();
        stream::iter(&briefs).for_each_concurrent(32, |brief| self.broker.publish(brief)).await;
        self.take_until(208).await;
        worker
    }

    /// Takes records until so many different ones have come.
    async fn take_until(&mut self, count: usize) {
        let enough = eventually(PATIENCE, async || {
            let taken = self.broker.take_rest("records").await;
            self.records.extend(taken);
            (self.distinct() >= count).then_some(())
        });
        let enough = enough.await;
        assert!(enough.is_some(), "{} of {count} records came", self.distinct());
    }

    fn distinct(&self) -> usize {
        let ids = self.records.iter().map(|record| record.json()["recordId"].to_string());
        ids.collect::<BTreeSet<_>>().len()
    }

    /// Standard output of a command, and its exit code.
    async fn ran(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let mut command = briefd(self.dir.path(), arguments, &self.variables);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(text.lines().all(|line| line.starts_with('{') || line.chars().count() <= 80), "{text}");
        assert!(errors.is_empty() || output.status.code() != Some(0), "{arguments:?}: {errors}");
        (text.into_owned(), output.status.code())
    }

    /// The same as JSON, of a command that did what it was asked for.
    async fn told(&self, arguments: &[&str]) -> Value {
        let (text, code) = self.ran(arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|_| panic!("{text}"))
    }

    async fn account(&self) -> Value {
        self.sandbox.account().await
    }

    async fn finish(mut self, worker: Worker, second_runs: Vec<ExpectedRun>, crashes: usize) {
        worker.wait_series("briefd_outbox_pending", 0.0).await;
        worker.wait_series("briefd_ledger_imbalance", 0.0).await;
        let rest = self.broker.take_rest("records").await;
        self.records.extend(rest);
        assert_own(&self.records, &second_runs);
        self.assert_agreement().await;
        let first = (0..BRIEFS).map(|n| ExpectedRun::first_of(&brief(n)));
        self.judge(worker, first.chain(second_runs).collect(), crashes).await;
    }

    /// Stops the worker in order and judges what is there.
    async fn judge(mut self, mut worker: Worker, expected_runs: Vec<ExpectedRun>, crashes: usize) {
        worker.process.sigterm();
        assert!(worker.process.wait_exit(PROMPTLY).await.success());
        self.records.extend(self.broker.take_rest("records").await);
        Evidence {
            account: self.account().await,
            records: self.records,
            dead_letters: self.broker.take_rest("briefs.dead").await,
            expected_runs,
            crashes,
            ..Evidence::default()
        }
        .with_ledger(self.dir.path())
        .await
        .assert_clean();
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[tokio::test]
async fn a_plan_makes_exactly_what_failed_anew_and_costs_no_more_than_it_says() {
    let mut scene = Scene::set(SANDBOX).await;
    let worker = scene.first_run().await;
    let before = scene.account().await;
    scene.assert_agreement().await;

    let plan = scene.told(&["rerun", "--batch", BATCH, "--canary", "5", "--dry-run", "--json"]).await;
    assert_eq!((&plan["briefs"], &plan["containers"], &plan["starts"]), (&json!(20), &json!(20), &json!(20)));
    assert_eq!((plan["lookedAt"].as_u64(), plan["leftOut"].as_array().unwrap().len()), (Some(30), 10));
    assert_eq!(scene.account().await["jobsMade"], before["jobsMade"], "a dry run starts nothing");

    let (said, code) = scene.ran(&["rerun", "--plan", "1", "--reason", "spring", "--wait"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("plan 1: 20 of 20 briefs started\n  all ended: 20 completed, 0 did not"), "{said}");
    let (listed, _) = scene.ran(&["list", "--plan", "1", "--json"]).await;
    assert_eq!(listed.matches("\"run\":2").count(), 20, "{listed}");
    scene.take_until(228).await;
    let after = scene.account().await;
    assert_eq!(after["posts"]["regenerate"], 20);
    assert_eq!(number(&after["jobsMade"]), number(&before["jobsMade"]) + 20);
    let charged = |account: &Value| number(&account["credits"]["charged"]);
    assert!(
        charged(&after) - charged(&before) <= number(&plan["creditsMax"]),
        "more than {}",
        plan["creditsMax"]
    );

    // The same again, in every way there is, buys nothing.
    for arguments in
        [["rerun", "--plan", "1", "--json"].as_slice(), &["rerun", "--plan", "1", "--canary", "0", "--json"]]
    {
        assert_eq!(scene.told(arguments).await["startedNow"], false);
    }
    let (said, _) = scene.ran(&["rerun", "--batch", BATCH]).await;
    assert!(said.starts_with("nothing to run again among "), "{said}");
    assert_eq!(scene.account().await["jobsMade"], after["jobsMade"]);

    // Those that would be refused again are mended in a file, and submitted anew.
    let lines: Vec<_> = (20..30).map(|n| mended(n).to_string()).collect();
    std::fs::write(scene.dir.path().join("fix.jsonl"), lines.join("\n")).unwrap();
    let done = scene.told(&["rerun", "--patch", "fix.jsonl", "--wait", "--json"]).await;
    assert_eq!((&done["completed"], &done["state"]), (&json!(10), &json!("started")));
    scene.take_until(248).await;
    let anew = (20..30).map(|n| second(n, &[1, 2]));
    scene.finish(worker, regenerated().into_iter().chain(anew).collect(), 0).await;
}

#[tokio::test]
async fn a_worker_that_is_killed_in_the_middle_of_a_plan_goes_on_with_it_and_buys_nothing_twice() {
    let mut scene = Scene::set(SANDBOX).await;
    let mut worker = scene.first_run().await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    // Nobody is there to start them: the command stores what the next worker goes on with.
    let said = scene.ran(&["rerun", "--batch", BATCH, "--canary", "3"]).await.0;
    assert!(said.contains("plan 1: 3 of 20 briefs started; the other 17 start by themselves"), "{said}");
    assert!(said.contains("no worker runs: they go on with the next briefd run"), "{said}");

    for posts in [1, 8] {
        let mut worker = scene.worker().await;
        let arrived = eventually(PATIENCE, async || {
            (number(&scene.account().await["posts"]["regenerate"]) >= posts).then_some(())
        });
        assert!(arrived.await.is_some(), "{posts} containers are regenerated:\n{}", worker.process.stderr());
        worker.process.sigkill();
    }
    let worker = scene.worker().await;
    scene.take_until(228).await;
    let done = scene.told(&["rerun", "--plan", "1", "--wait", "--json"]).await;
    assert_eq!((&done["started"], &done["completed"]), (&json!(20), &json!(20)));
    scene.finish(worker, regenerated(), 2).await;
}

#[tokio::test]
async fn the_same_rerun_message_hours_apart_buys_once_whether_a_plan_or_a_message_came_first() {
    // An hour of the API's time in a second.
    let mut scene = Scene::set("--speed 3600 --tier unlimited").await;
    let worker = scene.worker().await;
    let message = |n: u64, run: u64| {
        json!({"projectId": "p", "batchId": "b", "briefId": format!("brief-{n}"), "run": run, "brief": {"hook": "x"},
            "metadata": {"sandbox": {"fail": "RENDER_FAILED"}}})
    };
    scene.broker.publish(&message(1, 1)).await;
    scene.broker.publish(&message(2, 1)).await;
    scene.take_until(2).await;
    let done = scene.told(&["rerun", "--brief", "brief-1", "--wait", "--json"]).await;
    assert_eq!(done["completed"], 1);
    for told_again in [1.0, 3.0, 5.0] {
        scene.broker.publish(&message(1, 2)).await;
        scene.broker.publish(&message(2, 2)).await;
        worker.wait_series("briefd_briefs_received_total{result=\"republished\"}", told_again).await;
        worker.wait_series("briefd_briefs_received_total{result=\"rerun\"}", 1.0).await;
        scene.take_until(4).await;
        scene.sandbox.let_pass(Duration::from_hours(2)).await;
    }
    let account = scene.account().await;
    assert_eq!((&account["jobsMade"], &account["posts"]["regenerate"]), (&json!(4), &json!(2)));
    assert_eq!(scene.distinct(), 4);
    let again = [1, 2].map(|n| ExpectedRun { run: 2, ..ExpectedRun::first_of(&message(n, 2)) });
    assert_own(&scene.records, &again);
    let first = [1, 2].map(|n| ExpectedRun::first_of(&message(n, 1)));
    scene.judge(worker, first.into_iter().chain(again).collect(), 0).await;
}

#[tokio::test]
async fn what_reviewers_rejected_is_made_anew_and_what_they_approved_is_not() {
    let mut scene = Scene::set("--speed 200 --tier unlimited --approval-required").await;
    let _worker = scene.worker().await;
    for n in 1..=3 {
        let brief = json!({"projectId": "p", "batchId": "b", "briefId": format!("brief-{n}"), "brief": {"hook": "x"}});
        scene.broker.publish(&brief).await;
    }
    scene.take_until(3).await;
    let container = |n: u64| {
        let of = |record: &&Message| record.json()["briefId"] == format!("brief-{n}");
        let record = scene.records.iter().find(of).unwrap().json();
        record["containerId"].as_str().unwrap().to_owned()
    };
    let why = json!({"reason": "off brand"});
    for n in [1, 2] {
        scene.sandbox.post_body(&format!("/v1/content/{}/reject", container(n)), &why).await;
    }
    let plan = scene.told(&["rerun", "--batch", "b", "--rejected", "--dry-run", "--json"]).await;
    assert_eq!((&plan["briefs"], &plan["groups"][0]["deed"]), (&json!(2), &json!("regenerate")));
    let done = scene.told(&["rerun", "--plan", "1", "--wait", "--json"]).await;
    assert_eq!(done["completed"], 2);
    scene.take_until(5).await;
    let account = scene.account().await;
    assert_eq!((&account["jobsMade"], &account["posts"]["regenerate"]), (&json!(5), &json!(2)));
    // Made anew they wait for a reviewer again.
    let again =
        scene.told(&["rerun", "--batch", "b", "--rejected", "--run", "2", "--dry-run", "--json"]).await;
    assert_eq!(again["plan"], Value::Null);
}

#[tokio::test]
async fn without_a_terminal_a_rerun_that_may_cost_needs_a_yes_and_a_dry_run_does_not() {
    let mut scene = Scene::set("--speed 200 --tier unlimited").await;
    let mut worker = scene.worker().await;
    let wish = json!({"sandbox": {"fail": "RENDER_FAILED"}});
    let brief =
        json!({"projectId": "p", "batchId": "b", "briefId": "x", "brief": {"hook": "x"}, "metadata": wish});
    scene.broker.publish(&brief).await;
    scene.take_until(1).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    scene.ran(&["rerun", "--batch", "b", "--dry-run"]).await;
    // An address that is not of this machine, and that nobody listens on.
    scene.variables.push(("BRIEFD__LAYERS__BASE_URL", "https://192.0.2.1".to_owned()));
    let mut command = briefd(scene.dir.path(), &["rerun", "--plan", "1"], &scene.variables);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("plan 1 starts up to 1 job for 1 container: https://192.0.2.1 may charge up to"),
        "{said}"
    );
    assert!(said.contains("briefd rerun --plan 1 --yes starts it"), "{said}");
    let (_, code) = scene.ran(&["rerun", "--plan", "7"]).await;
    assert_eq!(code, Some(2), "there is no such plan");
}
