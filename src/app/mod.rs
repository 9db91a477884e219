//! Builds the stages from the settings, runs them, drains them.
//!
//! [`Worker`] is what `run` and `generate` share: the ledger with its lock, the API client with its limits, the four
//! stages over one source and one sink. The two commands differ in where deliveries come from, where records go, and
//! when it is over.

mod account;
mod cancel;
pub mod credits;
pub mod doctor;
pub mod enqueue;
pub mod evidence;
mod gauges;
pub mod generate;
mod growth;
mod permits;
pub mod reconcile;
pub mod requests;
pub mod rerun;
pub mod run;
#[cfg(test)]
mod simulation;
pub mod survey;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Settings;
use crate::config::layers::Tier;
use crate::flow::{Sink, Source};
use crate::layers::{self, Limits, Numbers};
use crate::ledger::{Input, Ledger, LedgerError, OpenOptions};
use crate::stages::holds::keep_reads;
use crate::stages::intake::{Intake, Rulebook, Sum};
use crate::stages::publish::Publish;
use crate::stages::submit::{Submit, Trial};
use crate::stages::track::Track;
use crate::stages::{Desk, Prices};
use crate::telemetry::{Health, Metrics, TroubleLog};

/// The stages, by the names that metrics and `/healthz` use.
pub const STAGES: [&str; 4] = ["intake", "submit", "track", "publish"];

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The API client.
    #[error(transparent)]
    Api(#[from] layers::BuildError),
    /// The address of the HTTP endpoints.
    #[error(transparent)]
    Http(#[from] crate::telemetry::http::BindError),
    /// A signal handler.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// Everything but the source and the sink.
pub struct Worker {
    /// What every stage has.
    pub desk: Desk,
    /// The API.
    pub api: layers::Client,
    /// Its rate limits.
    pub limits: Limits,
    /// What containers cost.
    pub prices: Prices,
    settings: Arc<Settings>,
    /// Canceled once the API was asked who we are: no job is started before.
    asked: CancellationToken,
}

/// The stages at work.
pub struct Stages<S, K> {
    intake: JoinHandle<(S, Sum)>,
    submit: JoinHandle<()>,
    track: JoinHandle<()>,
    publish: JoinHandle<K>,
    drain: CancellationToken,
}

/// What the stages leave behind; `None` where the grace was too short.
pub struct Ended<S, K> {
    /// The source, and what came in.
    pub intake: Option<(S, Sum)>,
    /// The sink.
    pub sink: Option<K>,
}

impl Worker {
    /// Opens the ledger (taking the worker lock) and prepares the API client. Nothing is asked of anybody yet.
    pub async fn open(settings: Settings, input: Input, clock: Clock) -> Result<Self, StartError> {
        let metrics = Metrics::new(settings.projects.keys().map(String::as_str));
        let health = Health::new(&STAGES, &["broker", "ledger", "stages"], clock.now());
        let beat = {
            let (health, clock) = (health.clone(), clock.clone());
            Box::new(move || health.writer_step(clock.now()))
        };
        let options = OpenOptions {
            clock: clock.clone(),
            metrics: metrics.clone(),
            origin: settings.layers.origin(),
            input,
            repeat_after: settings.submit.repeat_after,
            beat,
        };
        let api = layers::Client::new(&settings.layers, clock.clone(), metrics.clone())?;
        let ledger = Ledger::open(&settings.ledger.path, options).await?;
        health.set_ready("ledger", true);
        let limits = Limits::of_worker(
            known_numbers(&settings, &ledger).await?,
            settings.layers.request_timeout,
            clock.clone(),
            metrics.clone(),
        );
        permits::remember(&limits, &ledger).await?;
        let aliases: BTreeMap<String, String> =
            settings.projects.iter().map(|(alias, id)| (id.clone(), alias.clone())).collect();
        let desk = Desk {
            ledger,
            troubles: TroubleLog::new(clock.clone()),
            clock,
            metrics,
            health,
            stopping: CancellationToken::new(),
            aliases: Arc::new(aliases),
            reads_held: Arc::default(),
            reads: Arc::default(),
        };
        // Before anything is read: the holds of an earlier process are in force.
        keep_reads(&desk).await?;
        let prices = Prices::new(&settings.layers.prices);
        let asked = CancellationToken::new();
        Ok(Self { desk, api, limits, prices, settings: Arc::new(settings), asked })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Starts the four stages over `source` and `sink`, and the quiet ones beside them.
    pub fn start<S, K>(&self, source: S, rulebook: Rulebook, sink: K) -> Stages<S, K>
    where
        S: Source + 'static,
        K: Sink + 'static,
    {
        let drain = CancellationToken::new();
        let intake = Intake { desk: self.desk.clone(), source, settings: rulebook, api: self.api.clone() };
        let publish = Publish {
            desk: self.desk.clone(),
            sink,
            settings: self.settings.publish.clone(),
            optional: self.settings.amqp.output.optional.clone(),
            drain: drain.clone(),
        };
        permits::spawn(self, drain.clone());
        account::spawn(self);
        gauges::spawn(self, drain.clone());
        growth::spawn(self, drain.clone());
        requests::spawn(self);
        cancel::spawn(self);
        rerun::spawn(self);
        let stages = Stages {
            intake: tokio::spawn(intake.run()),
            submit: tokio::spawn(self.submit().run()),
            track: tokio::spawn(self.track().run()),
            publish: tokio::spawn(publish.run()),
            drain,
        };
        self.desk.health.set_ready("stages", true);
        stages
    }

    fn submit(&self) -> Submit {
        Submit {
            desk: self.desk.clone(),
            api: self.api.clone(),
            limits: self.limits.clone(),
            settings: Arc::new(self.settings.submit.clone()),
            running_max: self.settings.layers.max_running_jobs,
            prices: self.prices.clone(),
            may_start: self.asked.clone(),
            trial: Trial::default(),
            observed: Arc::default(),
        }
    }

    fn track(&self) -> Track {
        Track {
            desk: self.desk.clone(),
            api: self.api.clone(),
            limits: self.limits.clone(),
            settings: Arc::new(self.settings.track.clone()),
            prices: self.prices.clone(),
            probe_interval: self.settings.submit.probe_interval,
        }
    }

    /// The message rules of this worker.
    pub fn rulebook(&self) -> Rulebook {
        Rulebook {
            intake: self.settings.intake.clone(),
            projects: self.settings.projects.clone(),
            batch: None,
            default_batch: None,
            batch_size: None,
            send_container_id: self.settings.layers.send_container_id,
        }
    }
}

/// The limits of the settings, or of the tier that `whoami` told last: it is asked again, but what was drawn before is
/// counted against them first.
async fn known_numbers(settings: &Settings, ledger: &Ledger) -> Result<Option<Numbers>, LedgerError> {
    let (tier, overrides) = (settings.layers.tier, settings.layers.limits);
    let told = if tier == Tier::Auto { ledger.tier().await? } else { None };
    let told = told.as_deref().and_then(Numbers::with_tier_word);
    Ok(told.map(|told| told.overridden(overrides)).or_else(|| layers::limits::numbers(tier, overrides)))
}

/// What a command brings that opens the ledger for a moment because no worker runs.
fn options_beside(settings: &Settings, input: Input, clock: &Clock) -> OpenOptions {
    OpenOptions {
        clock: clock.clone(),
        metrics: Metrics::new([]),
        origin: settings.layers.origin(),
        input,
        repeat_after: settings.submit.repeat_after,
        beat: Box::new(|| {}),
    }
}

impl<S, K> Stages<S, K> {
    /// Whether the source has ended and everything of it is decided.
    pub fn intake_ended(&self) -> bool {
        self.intake.is_finished()
    }

    /// Stops in order within `grace`: nothing new is taken, requests in flight finish, what is made is sent. What is
    /// not done by then is cut off; the ledger knows how far it was.
    pub async fn stop(self, desk: &Desk, grace: Duration) -> Ended<S, K> {
        desk.stopping.cancel();
        let deadline = tokio::time::Instant::now() + grace;
        let Self { mut intake, mut submit, mut track, mut publish, drain } = self;
        let intake_ended = finish("intake", &mut intake, deadline).await;
        let clean = finish("submit", &mut submit, deadline).await.is_some()
            & finish("track", &mut track, deadline).await.is_some();
        drain.cancel();
        desk.ledger.wake().publish().notify_one();
        let sink = finish("publish", &mut publish, deadline).await;
        for stage in STAGES {
            desk.health.stage_ended(stage);
        }
        if clean
            && intake_ended.is_some()
            && let Err(error) = desk.ledger.stop_cleanly().await
        {
            tracing::warn!(%error, "the orderly stop could not be noted; the next start is a careful one");
        }
        Ended { intake: intake_ended, sink }
    }
}

/// Waits for a stage until `deadline`, then cuts it off.
async fn finish<T>(name: &str, stage: &mut JoinHandle<T>, deadline: tokio::time::Instant) -> Option<T> {
    match tokio::time::timeout_at(deadline, &mut *stage).await {
        Ok(Ok(value)) => Some(value),
        Ok(Err(error)) => {
            tracing::error!(stage = name, %error, "a bug: a stage panicked");
            None
        }
        Err(_late) => {
            stage.abort();
            tracing::warn!(
                stage = name,
                "cut off at the end of the grace; nothing is lost, the next start goes on"
            );
            None
        }
    }
}
