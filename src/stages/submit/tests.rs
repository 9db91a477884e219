//! The submit stage over a real ledger and the real sandbox, step by step under a clock that stands still. A gate before
//! the sandbox loses or refuses what the sandbox itself would answer.

mod key_only;
mod look_first;
mod refusals;
mod siblings;
mod trial;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::brief::Rules;
use crate::clock::Clock;
use crate::config::layers::ApiKey;
use crate::flow::Delivery;
use crate::ledger::{
    ContainerEnd, Decide, Decision, Ended, Input, Ledger, OpenOptions, Received, Resolution, Resolve,
    Resolved, Settle, Story,
};
use crate::record::{RecordError, Source};
use crate::sandbox::gate::{Gate, Post};
use crate::sandbox::{ContainerIds, Options, Sandbox};
use crate::telemetry::{Health, Metrics, TroubleLog};

const KEYS: [&str; 2] = ["lp_test_one_0123456789", "lp_test_two_0123456789"];

struct Bench {
    stage: Submit,
    sandbox: Sandbox,
    gate: Gate,
    _folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let clock = Clock::stepped("2026-05-01T00:00:00Z".parse().unwrap());
        let options = Options { api_keys: KEYS.map(ToOwned::to_owned).to_vec(), ..options };
        let sandbox = Sandbox::new(options, clock.clone());
        let gate = Gate::default();
        let base_url = gate.serve(&sandbox).await;
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new([]);
        let settings = config::Settings::builtin();
        let path = folder.path().join("briefd.db");
        let ledger = Ledger::open(
            &path,
            OpenOptions {
                clock: clock.clone(),
                metrics: metrics.clone(),
                origin: "http://127.0.0.1".to_owned(),
                input: Input::Queue,
                repeat_after: settings.submit.repeat_after,
                beat: Box::new(|| {}),
            },
        );
        let ledger = ledger.await.unwrap();
        let layers = config::Layers {
            base_url: base_url.parse().unwrap(),
            api_key: ApiKey::Given(SecretString::from(KEYS[0])),
            ..settings.layers
        };
        let desk = Desk {
            ledger,
            clock: clock.clone(),
            metrics: metrics.clone(),
            health: Health::new(&["submit"], &[], clock.now()),
            stopping: CancellationToken::new(),
            aliases: Arc::new(BTreeMap::new()),
            reads_held: Arc::new(AtomicBool::new(false)),
            reads: Arc::default(),
            troubles: TroubleLog::new(clock.clone()),
        };
        let stage = Submit {
            desk,
            api: layers::Client::new(&layers, clock.clone(), metrics.clone()).unwrap(),
            limits: Limits::new(Some(layers::Numbers::STANDARD), clock, metrics),
            settings: Arc::new(settings.submit),
            running_max: 0,
            prices: Prices::default(),
            may_start: CancellationToken::new(),
            trial: Trial::default(),
            observed: Arc::default(),
        };
        Self { stage, sandbox, gate, _folder: folder }
    }

    async fn decide(&self, message: Value, send_container_id: bool) -> Decision {
        let rules = Rules::strict(10_000);
        let delivery = Delivery { body: message.to_string().into_bytes(), ..Delivery::default() };
        let received = Received::of(delivery, &rules);
        let decide = Decide {
            deliveries: vec![received],
            input: Input::Queue,
            now_ms: self.now_ms(),
            send_container_id,
        };
        self.stage.desk.ledger.write(decide).await.unwrap()[0].0
    }

    /// Sends one brief; `more` goes beside its `brief`.
    async fn send(&self, id: &str, more: Value) -> Decision {
        self.decide(brief(id, more), true).await
    }

    /// One round of the stage, until everything that it started is recorded.
    async fn step(&self) {
        let mut under_way = UnderWay::default();
        self.stage.round(&mut under_way).await.unwrap();
        while let Some(ended) = under_way.inspections.join_next().await {
            ended.unwrap();
        }
        while let Some(ended) = under_way.posts.join_next().await {
            ended.unwrap();
        }
    }

    /// What is to be done about the next POSTs; then as many steps, far enough apart for a repeat.
    async fn posts(&self, script: &[Post]) {
        for post in script {
            self.gate.next(post.clone());
            self.step().await;
            self.minutes_pass(6);
        }
    }

    /// Another step at which whatever is due may go through.
    async fn go_on(&self) {
        self.step().await;
        self.minutes_pass(6);
    }

    fn minutes_pass(&self, minutes: u64) {
        self.stage.desk.clock.advance(Duration::from_mins(minutes));
    }

    fn now_ms(&self) -> i64 {
        self.stage.desk.clock.now_ms()
    }

    async fn story(&self, id: &str) -> Story {
        let reader = self.stage.desk.ledger.reader();
        let found = reader.find_briefs(id, (None, None), 1).await.unwrap();
        reader.story(found[0].id).await.unwrap()
    }

    /// The state of the brief's last job.
    async fn state(&self, id: &str) -> String {
        self.story(id).await.jobs.last().unwrap().state.clone()
    }

    async fn containers(&self, id: &str) -> usize {
        self.story(id).await.containers.len()
    }

    fn jobs_made(&self) -> u64 {
        self.sandbox.account().jobs_made
    }

    fn reads(&self) -> u64 {
        self.sandbox.account().reads.container
    }

    async fn resolve(&self, id: &str, resolution: Resolution) -> Resolved {
        let jobs = self.story(id).await.jobs.iter().map(|job| job.id).collect();
        let resolve = Resolve {
            jobs,
            resolution,
            who: "anna".to_owned(),
            reason: "asked support".to_owned(),
            now_ms: self.now_ms(),
        };
        self.stage.desk.ledger.write(resolve).await.unwrap()
    }

    /// Settles a container of the brief's last job as the tracker would.
    async fn settle(&self, id: &str, variant: usize, ended: Ended, close: bool) {
        let story = self.story(id).await;
        let error = RecordError::new(Source::Layers, "RENDER_FAILED", "it broke");
        let end = ContainerEnd {
            container: story.containers[variant - 1].id.clone(),
            ended,
            record: Some("{}".to_owned()),
            error: (ended != Ended::Completed).then_some(error),
            format: None,
            ended_ms: self.now_ms(),
            credits_estimate: None,
        };
        let job = story.jobs.last().unwrap().id;
        let settle = Settle { job, ends: vec![end], close, now_ms: self.now_ms() };
        self.stage.desk.ledger.write(settle).await.unwrap();
    }

    /// The promise behind all of it: one intent, one key, one body, one job.
    fn assert_never_twice(&self) {
        let account = self.sandbox.account();
        for (key, seen) in &account.keys {
            assert_eq!(seen.bodies.len(), 1, "{key} had several bodies");
        }
        for (key, jobs) in &account.jobs_by_key {
            assert_eq!(jobs.len(), 1, "{key} made several jobs");
        }
        let unique: std::collections::BTreeSet<_> = account.jobs.iter().map(|job| &job.body_sha256).collect();
        assert_eq!(unique.len(), account.jobs.len(), "one body made several jobs");
    }
}

fn brief(id: &str, more: Value) -> Value {
    let mut message = json!({ "projectId": "p", "briefId": id, "brief": { "hook": id } });
    let (Some(fields), Value::Object(more)) = (message.as_object_mut(), more) else { panic!("objects") };
    fields.extend(more);
    message
}
