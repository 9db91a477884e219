//! The stage against the simulator, or a scripted API, with a real ledger, on a clock that moves only when told to. What
//! the other stages do is done by hand. Between two steps of the clock every read that is due is made and taken in.

mod fixture;
mod lost;
mod odd_lists;
mod polls;
mod regenerated;
mod sweeps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::*;
use crate::brief::Rules;
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::layers::{ApiKey, Tier};
use crate::flow::Delivery;
use crate::layers::{Client, Numbers, TraceContext};
use crate::ledger::{
    AttemptOutcome, Claim, Claimed, Decide, Found, Imbalance, Input, Inspect, Inspected, Ledger, LedgerError,
    OpenOptions, Received, RecordOutcome, Started, Told,
};
use crate::sandbox::{self, Options, Sandbox};
use crate::stages::look_up::end_of;
use crate::telemetry::{Health, Metrics, TroubleLog};

const START: &str = "2026-05-01T00:00:00Z";

/// Longest that anything real may take.
const LIMIT: Duration = Duration::from_secs(20);

struct Bench {
    clock: Clock,
    rounds: Rounds,
    track: Track,
    folder: TempDir,
    /// The API's, where it is another one than ours; moved together with it.
    api_clock: Option<Clock>,
}

fn clock() -> Clock {
    Clock::stepped(START.parse().unwrap())
}

async fn simulator(options: Options, clock: &Clock) -> sandbox::Running {
    Sandbox::start_with(options, clock.clone()).await.unwrap()
}

impl Bench {
    /// Against a simulator on the same clock.
    async fn on(options: Options) -> (Self, sandbox::Running) {
        let clock = clock();
        let api = simulator(options, &clock).await;
        (Self::against(&api.base_url, &api.api_key, clock, None).await, api)
    }

    async fn against(base_url: &str, key: &str, clock: Clock, numbers: Option<Numbers>) -> Self {
        Self::open(tempfile::tempdir().unwrap(), (base_url, key), clock, numbers).await
    }

    async fn open(
        folder: TempDir,
        (base_url, key): (&str, &str),
        clock: Clock,
        numbers: Option<Numbers>,
    ) -> Self {
        let mut settings = Settings::builtin();
        settings.layers.base_url = Url::parse(&format!("{base_url}/")).unwrap();
        settings.layers.api_key = ApiKey::Given(SecretString::from(key.to_owned()));
        settings.layers.tier = Tier::Unlimited;
        let metrics = Metrics::new([]);
        let deadline = Instant::now() + LIMIT;
        let ledger = loop {
            let options = OpenOptions {
                clock: clock.clone(),
                metrics: metrics.clone(),
                origin: settings.layers.origin(),
                input: Input::Queue,
                repeat_after: Duration::ZERO,
                beat: Box::new(|| {}),
            };
            match Ledger::open(&folder.path().join("ledger.db"), options).await {
                Ok(ledger) => break ledger,
                Err(LedgerError::Locked { .. }) if Instant::now() < deadline => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let desk = Desk {
            ledger,
            clock: clock.clone(),
            metrics: metrics.clone(),
            health: Health::new(&["track"], &[], clock.now()),
            stopping: CancellationToken::new(),
            aliases: Arc::new(BTreeMap::new()),
            reads_held: Arc::default(),
            reads: Arc::default(),
            troubles: TroubleLog::new(clock.clone()),
        };
        let track = Track {
            desk,
            api: Client::new(&settings.layers, clock.clone(), metrics.clone()).unwrap(),
            limits: Limits::new(numbers, clock.clone(), metrics),
            settings: Arc::new(settings.track.clone()),
            prices: Prices::new(&BTreeMap::new()),
            probe_interval: Duration::from_mins(1),
        };
        Self { api_clock: None, clock, rounds: Rounds::new(track.clone()), track, folder }
    }

    /// The process ends and another one starts, against the same API.
    async fn restart(self, (base_url, key): (&str, &str)) -> Self {
        let Self { rounds, track, folder, clock, .. } = self;
        drop((rounds, track));
        Self::open(folder, (base_url, key), clock, None).await
    }

    fn ledger(&self) -> &Ledger {
        &self.track.desk.ledger
    }

    /// Receives a brief and claims its job.
    async fn claim(&self, message: Value) -> Claimed {
        self.receive(&message).await;
        let claim = Claim {
            limit: 1,
            boot: self.ledger().boot().to_owned(),
            input: Input::Queue,
            now_ms: self.clock.now_ms(),
            key_fingerprint: "k".to_owned(),
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            submitting_max: 1_000,
            running_max: 0,
            probe_project: None,
            probing: false,
            beyond: 0,
            ended_before_ms: i64::MAX,
            forget_starts_ms: None,
            turn: crate::ledger::Turn::default(),
        };
        self.ledger().write(claim).await.unwrap().claimed.remove(0)
    }

    async fn receive(&self, message: &Value) {
        let rules = Rules::strict(10_000);
        let delivery = Delivery { body: message.to_string().into_bytes(), ..Delivery::default() };
        let received = Received::of(delivery, &rules);
        let decide = Decide {
            deliveries: vec![received],
            input: Input::Queue,
            now_ms: self.clock.now_ms(),
            send_container_id: true,
        };
        self.ledger().write(decide).await.unwrap();
    }

    /// Receives a brief and has the API start it; returns its containers.
    async fn start(&self, message: Value) -> Vec<String> {
        let job = self.claim(message).await;
        let key = Uuid::parse_str(&job.idempotency_key).unwrap();
        let trace = TraceContext::default();
        let answer = match &job.container {
            None => self.track.api.submit(&job.project_id, key, &job.body, trace).await,
            Some(container) => self.track.api.regenerate(container, key, &job.body, trace).await,
        };
        let started = Started::from(answer.unwrap());
        let containers = started.container_ids.clone();
        self.accepted(&job, started).await;
        containers
    }

    /// Receives a brief of which somebody else says what the API answered.
    async fn start_as(&self, message: Value, job_id: Option<&str>, containers: &[&str]) {
        let job = self.claim(message).await;
        let container_ids = containers.iter().map(|id| (*id).to_owned()).collect();
        let started = Started { job_id: job_id.map(ToOwned::to_owned), container_ids, format: None };
        self.accepted(&job, started).await;
    }

    async fn accepted(&self, job: &Claimed, started: Started) {
        let outcome = RecordOutcome {
            job: job.id,
            boot: self.ledger().boot().to_owned(),
            attempt: job.attempts,
            outcome: AttemptOutcome::Accepted(started),
            told: Told::default(),
            now_ms: self.clock.now_ms(),
            retry_ms: self.clock.now_ms(),
        };
        self.ledger().write(outcome).await.unwrap();
    }

    /// A rerun reads the containers that ended badly, and stores their ends.
    async fn inspect(&self) {
        let inspect = Inspect {
            limit: 10,
            boot: self.ledger().boot().to_owned(),
            input: Input::Queue,
            now_ms: self.clock.now_ms(),
        };
        for inspection in self.ledger().write(inspect).await.unwrap() {
            let reading = self.track.api.container(&inspection.container).await.unwrap();
            let (job, found) = (inspection.id, Found::Ended(end_of(&reading)));
            assert!(
                self.ledger().write(Inspected { job, found, now_ms: self.clock.now_ms() }).await.unwrap()
            );
        }
    }

    /// Reads whatever is due, until nothing is.
    async fn round(&mut self) {
        self.rounds.turn().await;
    }

    /// Time passes in steps of half a second.
    async fn pass(&mut self, seconds: u64) {
        self.pass_by(Duration::from_secs(seconds), Duration::from_millis(500)).await;
    }

    async fn pass_by(&mut self, time: Duration, step: Duration) {
        let steps = time.as_millis().div_ceil(step.as_millis());
        for _ in 0..steps {
            self.advance(step);
            self.round().await;
        }
    }

    fn advance(&self, step: Duration) {
        self.clock.advance(step);
        if let Some(clock) = &self.api_clock {
            clock.advance(step);
        }
    }

    /// The records made so far, in order.
    async fn records(&self) -> Vec<Value> {
        let rows = self.ledger().pending(10_000, self.clock.now_ms()).await.unwrap();
        assert_eq!(self.ledger().reader().imbalance().await.unwrap(), Imbalance::default());
        rows.iter().map(|row| serde_json::from_slice(&row.message.body).unwrap()).collect()
    }

    /// Of each record: brief, variant and type.
    async fn told(&self) -> Vec<(String, i64, String)> {
        let told = |record: &Value| {
            (
                record["briefId"].as_str().unwrap().to_owned(),
                record["variant"].as_i64().unwrap(),
                record["type"].as_str().unwrap().to_owned(),
            )
        };
        self.records().await.iter().map(told).collect()
    }
}

fn brief(project: &str, id: &str, more: &Value) -> Value {
    let mut message = json!({ "projectId": project, "briefId": id, "brief": { "hook": id } });
    for (name, value) in more.as_object().unwrap() {
        message[name] = value.clone();
    }
    message
}

/// Which fate a brief wishes for.
fn wish(wish: &Value) -> Value {
    json!({ "metadata": { "sandbox": wish } })
}

fn seconds(seconds: u64) -> Value {
    wish(&json!({ "seconds": seconds }))
}

fn all_reads(api: &sandbox::Running) -> u64 {
    let reads = api.account().reads;
    reads.job + reads.container + reads.list
}
