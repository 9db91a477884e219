//! Two things at the same moment, and time that goes wrong: whoever is first, nothing is bought twice and nothing is lost.
//! Each scene is judged by the checker.
//!
//! The moment is made, not hoped for: the API is frozen while a request waits at it, or the worker while commands come.
//! Races in which hours pass are lived by stages under a stepped clock (`src/app/simulation/races.rs`).

mod clock;
mod in_flight;
mod operators;
mod restored;

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd};
use crate::support::{Variable, eventually};

/// A broker, an API, a folder for the ledger, and what came out so far.
struct Scene {
    broker: TestBroker,
    sandbox: SandboxProcess,
    dir: TempDir,
    variables: Vec<Variable>,
    evidence: Evidence,
}

impl Scene {
    /// Two POSTs of one key at once would make two jobs.
    async fn set(sandbox: &str, more: &[(&'static str, &str)]) -> Self {
        let arguments = ["--tier", "unlimited", "--overlap-makes-two"];
        let arguments = arguments.into_iter().chain(sandbox.split_whitespace());
        let sandbox = SandboxProcess::spawn(&arguments.collect::<Vec<_>>()).await;
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let ledger = format!("sqlite://{}", dir.path().join("briefd.db").display());
        let pace = [
            ("BRIEFD__LEDGER__URL", ledger.as_str()),
            ("BRIEFD__LAYERS__TIER", "unlimited"),
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "1s"),
            ("BRIEFD__SUBMIT__RETRY_INITIAL", "50ms"),
            ("BRIEFD__SUBMIT__RETRY_MAX", "200ms"),
            ("BRIEFD__SUBMIT__PROBE_INTERVAL", "300ms"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", "200ms"),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "200ms"),
        ];
        let own = pace.iter().chain(more).map(|(name, value)| (*name, (*value).to_owned()));
        let variables = [broker.variables(), sandbox.variables(), own.collect()].concat();
        Self { broker, sandbox, dir, variables, evidence: Evidence::default() }
    }

    async fn worker(&self) -> Worker {
        let mut worker = Worker::spawn(self.dir.path(), &self.variables);
        worker.wait_ready().await;
        worker
    }

    /// Publishes a brief, of which a run shall end.
    async fn send(&mut self, brief: &Value) {
        self.broker.publish(brief).await;
        let run = brief["run"].as_u64().unwrap_or(1);
        self.evidence.expected_runs.push(ExpectedRun { run, ..ExpectedRun::first_of(brief) });
    }

    /// Publishes a brief again, and waits until it is decided about in this way.
    async fn send_again(&self, worker: &Worker, brief: &Value, result: &str) {
        let series = format!("briefd_briefs_received_total{{result=\"{result}\"}}");
        let before = worker.series(&series).await;
        self.broker.publish(brief).await;
        worker.wait_series(&series, before + 1.0).await;
    }

    /// Takes records until so many different ones have come.
    async fn take_until(&mut self, count: usize) {
        let enough = eventually(2 * PROMPTLY, async || {
            let taken = self.broker.take_rest("records").await;
            self.evidence.records.extend(taken);
            (self.distinct() >= count).then_some(())
        });
        let enough = enough.await;
        assert!(enough.is_some(), "{} of {count} records came: {:#?}", self.distinct(), self.told());
    }

    fn distinct(&self) -> usize {
        let ids = self.evidence.records.iter().map(|record| record.json()["recordId"].to_string());
        ids.collect::<BTreeSet<_>>().len()
    }

    /// Brief, run, type and code of each record, repeats left out, in this order.
    fn told(&self) -> BTreeSet<(String, u64, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let records = self.evidence.records.iter().map(Message::json);
        records
            .map(|it| {
                let run = it["run"].as_u64().unwrap_or(0);
                (text(&it["briefId"]), run, text(&it["type"]), text(&it["error"]["code"]))
            })
            .collect()
    }

    /// Starts a command; what it says is piped.
    fn command(&self, arguments: &[&str]) -> Child {
        let mut command = briefd(self.dir.path(), arguments, &self.variables);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Standard output of a command that does what it was asked for.
    async fn done(&self, arguments: &[&str]) -> String {
        let child = self.command(arguments);
        let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        text(&output.stdout)
    }

    /// Waits until the API has made so many jobs.
    async fn jobs_made(&self, count: u64) {
        let made = eventually(PROMPTLY, async || {
            (self.sandbox.account().await["jobsMade"].as_u64()? >= count).then_some(())
        });
        assert!(made.await.is_some(), "{count} jobs are made");
    }

    /// Ends the worker and judges everything that is left behind. Returns what the API was asked for.
    async fn finish(mut self, mut worker: Worker) -> Value {
        worker.wait_series("briefd_outbox_pending", 0.0).await;
        worker.wait_series("briefd_ledger_imbalance", 0.0).await;
        worker.process.sigterm();
        assert!(worker.process.wait_exit(PROMPTLY).await.success());
        self.evidence.records.extend(self.broker.take_rest("records").await);
        self.evidence.dead_letters.extend(self.broker.take_rest("briefs.dead").await);
        self.evidence.account = self.sandbox.account().await;
        let evidence = self.evidence.with_ledger(self.dir.path()).await;
        evidence.assert_clean();
        evidence.account
    }
}

/// A brief whose fate at the API is what `wish` says.
fn brief(id: &str, wish: &Value) -> Value {
    json!({"projectId": "p", "batchId": "b", "briefId": id, "brief": {"hook": id}, "metadata": {"sandbox": wish}})
}

/// The same, asking for a run.
fn run(brief: &Value, run: u64) -> Value {
    let mut brief = brief.clone();
    brief["run"] = json!(run);
    brief
}
