//! One process: a worker whose stages are turned by hand, on a runtime of its own. Dropping it is a crash: everything
//! ends where it is, between two instructions of whatever it was doing.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::ends::Broker;
use crate::app::{Worker, account, cancel, permits, requests, rerun};
use crate::clock::Clock;
use crate::config::Settings;
use crate::ledger::Input;
use crate::sandbox::gate::Gate;
use crate::stages::intake::Intake;
use crate::stages::publish::Publish;
use crate::stages::{submit, track};

/// Longest that one step may take.
const LIMIT: Duration = Duration::from_mins(1);

/// How often is looked whether a process that starts waits for the clock.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A worker.
pub(super) struct Process {
    // First: whatever runs ends before anything else is taken apart.
    runtime: Runtime,
    pub worker: Worker,
    submit: submit::by_hand::ByHand,
    track: track::by_hand::ByHand,
    broker: Broker,
    gate: Gate,
    /// The next step dies after so many polls.
    pub polls_left: Option<u32>,
}

/// What a process is asked to do.
pub(super) enum Step {
    Intake,
    Submit,
    /// Rounds of starts until nothing is due.
    SubmitAll,
    Track,
    Publish,
    /// What operators asked for.
    Requests,
    /// The API is asked to cancel what somebody canceled.
    Cancels,
    /// Plans of reruns that may go on.
    CarryOn,
}

/// It died on the way.
pub(super) struct Died;

impl Process {
    pub(super) fn start(settings: Settings, clock: Clock, broker: &Broker, gate: &Gate) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let worker = runtime.block_on(async {
            let worker = Worker::open(settings, Input::Queue, clock).await.unwrap();
            permits::spawn(&worker, CancellationToken::new());
            account::spawn(&worker);
            tokio::time::timeout(LIMIT, asked(&worker)).await.expect("whoami is asked");
            worker
        });
        let (submit, track) =
            (submit::by_hand::ByHand::new(worker.submit()), track::by_hand::ByHand::new(worker.track()));
        Self { runtime, worker, submit, track, broker: broker.clone(), gate: gate.clone(), polls_left: None }
    }

    /// Takes one step to its end, or to its death.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), Died> {
        let Self { runtime, worker, submit, track, broker, gate, polls_left } = self;
        let left = polls_left.take();
        let died = broker.died.clone();
        let broker = broker.clone();
        runtime.block_on(async {
            let work = mortal(take(step, worker, (submit, track), broker), left);
            tokio::select! {
                biased;
                () = died.notified() => Err(Died),
                () = gate.silent() => Err(Died),
                ended = tokio::time::timeout(LIMIT, work) => ended.expect("a step ends"),
            }
        })
    }

    /// Asks the ledger, or changes it.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Ends in order.
    pub(super) fn stop(self) {
        self.worker.desk.stopping.cancel();
        self.wait(self.worker.desk.ledger.stop_cleanly()).unwrap();
    }
}

/// Waits until the API was asked who we are. Where a hold stops reads, starts wait for a moment of the clock's time.
async fn asked(worker: &Worker) {
    while tokio::time::timeout(LOOK_AGAIN, worker.asked.cancelled()).await.is_err() {
        if worker.desk.reads_are_held() {
            worker.desk.clock.advance(Duration::from_secs(2));
        }
    }
}

async fn take(
    step: &Step,
    worker: &Worker,
    (submit, track): (&mut submit::by_hand::ByHand, &mut track::by_hand::ByHand),
    broker: Broker,
) {
    match step {
        Step::Intake => {
            let desk = worker.desk.clone();
            let intake =
                Intake { desk, source: broker, settings: worker.rulebook(), api: worker.api.clone() };
            intake.run().await;
        }
        Step::Submit => drop(submit.turn().await),
        Step::SubmitAll => {
            let mut rounds = 0;
            while submit.turn().await {
                rounds += 1;
                assert!(rounds < 200, "starts never come to rest");
            }
        }
        Step::Track => track.turn().await,
        Step::Publish => {
            let drain = CancellationToken::new();
            drain.cancel();
            let settings = worker.settings();
            let publish = Publish {
                desk: worker.desk.clone(),
                sink: broker,
                settings: settings.publish.clone(),
                optional: settings.amqp.output.optional.clone(),
                drain,
            };
            publish.run().await;
        }
        Step::Cancels => cancel::ask_due(worker).await,
        Step::CarryOn => {
            let desk = &worker.desk;
            let ours = worker.settings().layers.send_container_id;
            rerun::carry_on(&desk.ledger, &desk.clock, ours).await.unwrap();
        }
        Step::Requests => {
            let mut under_way = requests::UnderWay::default();
            while requests::carry_out_open(&worker.desk, &mut under_way).await {}
        }
    }
}

/// A future that dies after so many polls.
async fn mortal(work: impl Future<Output = ()>, polls: Option<u32>) -> Result<(), Died> {
    let mut left = polls.unwrap_or(u32::MAX);
    let mut work = pin!(work);
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(Err(Died));
        }
        left = left.saturating_sub(u32::from(left != u32::MAX));
        work.as_mut().poll(context).map(Ok)
    })
    .await
}
