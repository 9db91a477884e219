//! Holds as they come and go, against the real simulator and a real ledger, under a clock that is moved by hand.

mod api_down;
mod lifted_gently;
mod refused;
mod unheeded;
mod wallet;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use super::*;
use crate::app::Worker;
use crate::brief::Rules;
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::layers::{ApiKey, Tier};
use crate::flow::Delivery;
use crate::ledger::{Decide, Decision, Hold, Input, Received};
use crate::sandbox::{Account, Options, Sandbox};

/// The stage, turned by hand, and the API.
struct Bench {
    stage: Submit,
    under_way: UnderWay,
    clock: Clock,
    api: Api,
    folder: TempDir,
}

/// A simulator that can go and come back at its address.
struct Api {
    address: SocketAddr,
    sandbox: Sandbox,
    serving: Option<DropGuard>,
    http: reqwest::Client,
}

impl Api {
    async fn start(options: Options, clock: &Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sandbox = Sandbox::new(options, clock.clone());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut api = Self { address, sandbox, serving: None, http };
        api.serve(listener);
        api
    }

    fn serve(&mut self, listener: TcpListener) {
        let (sandbox, stop) = (self.sandbox.clone(), CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move { sandbox.serve(listener, stopped).await });
        self.serving = Some(stop.drop_guard());
    }

    /// Nobody listens any more.
    async fn go_away(&mut self) {
        self.serving = None;
        while TcpListener::bind(self.address).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    /// Changes its `account` or its `faults`.
    async fn change(&self, what: &str, change: Value) {
        let url = format!("http://{}/_sandbox/{what}", self.address);
        let answer = self.http.put(url).body(change.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    fn account(&self) -> Account {
        self.sandbox.account()
    }

    fn posts(&self) -> u64 {
        self.account().posts.generate
    }
}

impl Bench {
    async fn new(options: Options) -> Self {
        Self::with(options, |_| {}).await
    }

    async fn with(options: Options, set: impl FnOnce(&mut Settings)) -> Self {
        let clock = Clock::stepped("2026-05-01T00:00:00Z".parse().unwrap());
        let api = Api::start(options, &clock).await;
        let folder = TempDir::new().unwrap();
        let mut settings = Settings::builtin();
        settings.layers.base_url = Url::parse(&format!("http://{}/", api.address)).unwrap();
        settings.layers.api_key = ApiKey::Given(api.sandbox.api_key().to_owned().into());
        settings.layers.tier = Tier::Unlimited;
        settings.ledger.path = folder.path().join("briefd.db");
        set(&mut settings);
        let worker = Worker::open(settings, Input::Queue, clock.clone()).await.unwrap();
        let stage = Submit {
            desk: worker.desk.clone(),
            api: worker.api.clone(),
            limits: worker.limits.clone(),
            settings: Arc::new(worker.settings().submit.clone()),
            running_max: worker.settings().layers.max_running_jobs,
            prices: worker.prices.clone(),
            may_start: CancellationToken::new(),
            trial: Trial::default(),
            observed: Arc::default(),
        };
        Self { stage, under_way: UnderWay::default(), clock, api, folder }
    }

    /// Briefs of a project, as they would come from the queue.
    async fn send(&self, project: &str, count: usize, more: Value) -> Vec<Decision> {
        let message = |number: usize| {
            let mut message = json!({ "projectId": project, "batchId": "b", "briefId": number.to_string(),
                "format": "video_remix", "brief": { "hook": "x" } });
            message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            received(&message)
        };
        let decide = Decide {
            deliveries: (0..count).map(message).collect(),
            input: Input::Queue,
            now_ms: self.clock.now_ms(),
            send_container_id: true,
        };
        let decided = self.stage.desk.ledger.write(decide).await.unwrap();
        decided.into_iter().map(|(decision, _)| decision).collect()
    }

    /// Everything that can be done now, until nothing is left.
    async fn settle(&mut self) {
        for _ in 0..2_000 {
            if self.turn().await == 0 {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// One round, and whatever it started to its end. Returns how many jobs that were.
    async fn turn(&mut self) -> usize {
        let round = self.stage.round(&mut self.under_way).await.unwrap();
        let mut posts = 0;
        while let Some(ended) = self.under_way.posts.join_next().await {
            ended.unwrap();
            posts += 1;
        }
        if matches!(round, Round::Busy) { posts.max(1) } else { posts }
    }

    /// Time passes in steps of five seconds.
    async fn pass(&mut self, time: Duration) {
        let step = Duration::from_secs(5);
        for _ in 0..time.as_secs() / step.as_secs() {
            self.clock.advance(step);
            self.settle().await;
        }
    }

    /// The same for long times, a minute at a time.
    async fn pass_minutes(&mut self, minutes: u32) {
        for _ in 0..minutes {
            self.clock.advance(MINUTE);
            self.settle().await;
        }
    }

    async fn holds(&self) -> Vec<Hold> {
        self.stage.desk.ledger.reader().holds().await.unwrap()
    }

    /// Scope, reason, and whether it eases off.
    async fn held(&self) -> Vec<(String, String, bool)> {
        let told = |hold: Hold| {
            let scope = format!("{} {}", hold.scope.word(), hold.scope.project());
            (scope.trim_end().to_owned(), hold.reason, hold.easing)
        };
        self.holds().await.into_iter().map(told).collect()
    }

    async fn number(&self, query: &'static str) -> i64 {
        let options = SqliteConnectOptions::new().filename(self.folder.path().join("briefd.db"));
        let mut connection = options.connect().await.unwrap();
        let number = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }

    /// Jobs of which a POST may have made a job or not.
    async fn unknown(&self) -> i64 {
        self.number("SELECT count(*) FROM job WHERE state = 'submitting' AND unknown_first_at IS NOT NULL")
            .await
    }

    async fn attempts_told(&self) -> i64 {
        self.number("SELECT count(*) FROM history WHERE what = 'attempt'").await
    }
}

fn received(message: &Value) -> Received {
    let rules = Rules::strict(10_000);
    let delivery = Delivery { body: message.to_string().into_bytes(), ..Delivery::default() };
    Received::of(delivery, &rules)
}

const MINUTE: Duration = Duration::from_mins(1);
