//! One client on one load: a fresh sandbox, queues and ledger; then what the sandbox counted and what came out.

use std::path::Path;
use std::time::{Duration, Instant};

use briefd::config::Settings;
use futures::{StreamExt as _, stream};
use serde_json::Value;
use tempfile::TempDir;

use super::SPEED;
use super::api_time::{ApiTime, scaled};
use super::load::{Load, WINDOW_SECONDS};
use super::poll_loop;
use super::received::{Arrival, Received};
use super::support::Variable;
use super::support::broker::TestBroker;
use super::support::checker::{Evidence, ExpectedRun};
use super::support::message::Message;
use super::support::process::{SandboxProcess, Worker};

/// Messages that are on their way to the input queue at once.
const PUBLISHING: usize = 64;
/// A run that takes so many times the ideal is given up: something is lost, or hangs.
const PATIENCE_FACTOR: f64 = 4.0;
/// Added to it, for machines that take their time to start a process.
const PATIENCE: Duration = Duration::from_mins(1);
/// An orderly stop.
const STOP: Duration = Duration::from_secs(30);

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `briefd run`, RabbitMQ in and out.
    Briefd,
    /// The loop that the API's documentation shows, one task a job, RabbitMQ out.
    PollLoop,
}

impl Client {
    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Briefd => "briefd",
            Self::PollLoop => "loop",
        }
    }
}

/// What happened.
pub struct Scene {
    /// When the first brief was sent.
    pub began: Instant,
    /// The sandbox's clock.
    pub time: ApiTime,
    /// Records, in the order in which they came.
    pub arrivals: Vec<Arrival>,
    /// The sandbox's account.
    pub account: Value,
    /// What was lost, bought twice, or is not over.
    pub violations: Vec<String>,
}

/// Runs one client on one load to its end.
pub async fn play(broker_url: &str, load: &Load, client: Client) -> Scene {
    let broker = TestBroker::connect_to(broker_url.to_owned()).await;
    let speed = SPEED.to_string();
    let sandbox = SandboxProcess::spawn(&["--speed", &speed, "--tier", load.tier.name]).await;
    let time = ApiTime::read(sandbox.url()).await;
    let mut received = Received::open(&broker).await;
    let messages = load.messages();
    let bound = scaled(load.ideal_guess_seconds() * PATIENCE_FACTOR) + PATIENCE;
    let (began, trouble) = match client {
        Client::Briefd => run_briefd(&broker, &sandbox, load, (&messages, &mut received, bound)).await,
        Client::PollLoop => {
            let began = Instant::now();
            let work = poll_loop::run(&broker, sandbox.url(), &messages);
            let both = async { tokio::join!(work, received.until(load.containers())) };
            (began, tokio::time::timeout(bound, both).await.err().map(|_| not_over(bound)))
        }
    };
    received.rest().await;
    let account = sandbox.account().await;
    let evidence = Evidence {
        account: account.clone(),
        records: judged(client, std::mem::take(&mut received.messages)),
        dead_letters: if client == Client::Briefd {
            broker.take_rest("briefs.dead").await
        } else {
            Vec::new()
        },
        expected_runs: messages.iter().map(ExpectedRun::first_of).collect(),
        ..Evidence::default()
    };
    let violations = trouble.into_iter().chain(evidence.violations()).collect();
    Scene { began, time, arrivals: received.arrivals, account, violations }
}

/// The loop promises nothing about what travels beside a body.
fn judged(client: Client, messages: Vec<Message>) -> Vec<Message> {
    match client {
        Client::Briefd => messages,
        Client::PollLoop => {
            messages.into_iter().map(|message| Message { envelope: None, ..message }).collect()
        }
    }
}

fn not_over(bound: Duration) -> String {
    format!("it was not over after {} s", bound.as_secs())
}

/// Starts the worker, sends the briefs, takes the records, stops the worker. Returns when the first brief was sent, and
/// what went wrong.
async fn run_briefd(
    broker: &TestBroker,
    sandbox: &SandboxProcess,
    load: &Load,
    (messages, received, bound): (&[Value], &mut Received, Duration),
) -> (Instant, Option<String>) {
    // On the disk that holds target/, since a /tmp in memory would flatter the ledger.
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("target/tmp can be written to");
    let mut worker = start_worker(dir.path(), broker, sandbox, load).await;
    let began = Instant::now();
    let sending = stream::iter(messages).for_each_concurrent(PUBLISHING, |message| broker.publish(message));
    let done = async { tokio::join!(sending, received.until(load.containers())) };
    let mut trouble = tokio::select! {
        over = tokio::time::timeout(bound, done) => over.err().map(|_| not_over(bound)),
        status = worker.process.wait_exit(bound * 2) => Some(format!("briefd ended in the middle: {status}")),
    };
    if trouble.is_none() {
        worker.process.sigterm();
        let status = worker.process.wait_exit(STOP).await;
        trouble = (!status.success()).then(|| format!("briefd stopped with {status}"));
    }
    if trouble.is_some() {
        eprintln!("briefd said:\n{}", worker.process.stderr());
    }
    (began, trouble)
}

async fn start_worker(dir: &Path, broker: &TestBroker, sandbox: &SandboxProcess, load: &Load) -> Worker {
    let variables = [broker.variables(), sandbox.variables(), pace(load)].concat();
    let mut worker = Worker::spawn(dir, &variables);
    worker.wait_ready().await;
    worker
}

/// The built-in settings; what belongs to the API's pace is as much quicker as the sandbox is.
fn pace(load: &Load) -> Vec<Variable> {
    let settings = Settings::builtin();
    let (submit, track, publish) = (&settings.submit, &settings.track, &settings.publish);
    let mut variables =
        vec![("BRIEFD__LAYERS__TIER", load.tier.name.to_owned()), ("BRIEFD__LOG__LEVEL", "warn".to_owned())];
    let intervals = [
        ("BRIEFD__LAYERS__LIMITS__WINDOW", Duration::from_secs_f64(WINDOW_SECONDS)),
        ("BRIEFD__SUBMIT__REPEAT_AFTER", submit.repeat_after),
        ("BRIEFD__SUBMIT__RETRY_INITIAL", submit.retry_initial),
        ("BRIEFD__SUBMIT__RETRY_MAX", submit.retry_max),
        ("BRIEFD__SUBMIT__PROBE_INTERVAL", submit.probe_interval),
        ("BRIEFD__TRACK__POLL_INITIAL", track.poll_initial),
        ("BRIEFD__TRACK__POLL_MAX", track.poll_max),
        ("BRIEFD__TRACK__SWEEP_INTERVAL", track.sweep_interval),
        ("BRIEFD__TRACK__OVERDUE_AFTER", track.overdue_after),
        ("BRIEFD__TRACK__GIVE_UP_AFTER", track.give_up_after),
        ("BRIEFD__PUBLISH__RETRY_INITIAL", publish.retry_initial),
        ("BRIEFD__PUBLISH__RETRY_MAX", publish.retry_max),
    ];
    variables.extend(
        intervals.map(|(name, interval)| (name, format!("{}us", scaled(interval.as_secs_f64()).as_micros()))),
    );
    variables
}
