//! `briefd run`: RabbitMQ in, RabbitMQ out, until a signal.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{StartError, Worker};
use crate::broker::{Consumer, Publisher, Sampler, Status};
use crate::clock::Clock;
use crate::config::Settings;
use crate::ledger::Input;
use crate::telemetry::http::{self, Endpoints};
use crate::telemetry::service_manager;

/// How long saying goodbye to the broker may take, for each connection.
const CLOSE: Duration = Duration::from_secs(2);

/// A signal so soon after the first is the same one, sent to the process and to its group (as `timeout` does).
const ECHO: Duration = Duration::from_millis(300);

/// Runs the worker until SIGTERM or SIGINT, then stops in order. A second signal ends it at once.
pub async fn run(settings: Settings) -> Result<(), StartError> {
    let mut signals = Signals::new()?;
    let clock = Clock::system();
    let grace = settings.shutdown.grace;
    let amqp = settings.amqp.clone();
    let listener = http::bind(settings.http.listen).await?;
    let listen = settings.http.listen;
    let worker = Worker::open(settings, Input::Queue, clock.clone()).await?;
    let desk = worker.desk.clone();
    let shown = tokio_util::sync::CancellationToken::new();
    let endpoints = Endpoints {
        metrics: desk.metrics.clone(),
        health: desk.health.clone(),
        clock: clock.clone(),
        refresh: None,
    };
    let server = tokio::spawn(http::serve(listener, endpoints, shown.clone()));

    // The ledger was written when it was opened, so the consumer may open (a delivery limit counts connections).
    let consumer =
        Consumer::start(amqp.clone(), clock.clone(), desk.metrics.clone(), desk.ledger.was_unclean());
    let publisher =
        Publisher::start(amqp.clone(), &worker.settings().publish, clock.clone(), desk.metrics.clone());
    let sampler = Sampler::new(amqp.clone(), clock.clone(), desk.metrics.clone(), (&consumer, &publisher));
    let sampling = tokio::spawn(sampler.run());
    let watching = tokio::spawn(watch_broker(desk.clone(), consumer.status(), publisher.status()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        broker = amqp.address,
        api = worker.settings().layers.origin(),
        ledger = %worker.settings().ledger.path.display(),
        metrics = %listen,
        "briefd is at work"
    );
    let stages = worker.start(consumer, worker.rulebook(), publisher);
    service_manager::ready();
    let feeding = tokio::spawn(service_manager::watch(desk.health.clone(), clock));

    let name = signals.next().await;
    service_manager::stopping();
    tracing::info!(signal = name, grace = ?grace, "stopping: nothing new is taken, what is under way finishes");
    let stop = async {
        let ended = stages.stop(&desk, grace.saturating_sub(CLOSE)).await;
        if let Some((consumer, _)) = ended.intake {
            consumer.close(CLOSE).await;
        }
        if let Some(publisher) = ended.sink {
            publisher.close(CLOSE).await;
        }
    };
    tokio::select! {
        () = stop => tracing::info!("stopped"),
        name = signals.second() => tracing::warn!(signal = name, "stopped at once; the next start goes on from the ledger"),
    }
    sampling.abort();
    watching.abort();
    feeding.abort();
    shown.cancel();
    drop(tokio::time::timeout(CLOSE, server).await);
    Ok(())
}

/// `/readyz` wants the broker up.
async fn watch_broker(desk: crate::stages::Desk, consume: Status, publish: Status) {
    loop {
        desk.health.set_ready("broker", consume.connected() && publish.connected());
        desk.clock.sleep(Duration::from_millis(250)).await;
    }
}

/// SIGTERM and SIGINT, as they come.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> Result<Self, StartError> {
        let listen = |kind| signal(kind).map_err(StartError::Signals);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Right after the first: waits for another one that somebody meant. Cancel-safe.
    pub async fn second(&mut self) -> &'static str {
        let first = Instant::now();
        loop {
            let name = self.next().await;
            if first.elapsed() > ECHO {
                return name;
            }
        }
    }
}
