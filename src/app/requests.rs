//! Carries out what operators asked for: one row of `request` after the other, within two seconds. What takes longer
//! (canceling a large batch) gives the others their turn; what fails again and again is done with the failure as its
//! outcome, so that nothing behind it waits for ever.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reconcile::Adopt;
use super::{Worker, cancel, growth};
use crate::clock::Clock;
use crate::config::Settings;
use crate::ledger::{
    AdoptFound, CancelOf, Hold, HoldScope, Input, Ledger, LedgerError, LiftHold, PruneBefore, Reader,
    RecordFilter, Request, RequestDone, Resolution, Resolve, Resolved, SendAgain, SetHold, SettleLate,
};
use crate::record::RecordError;
use crate::stages::Desk;
use crate::stages::holds::keep_reads;
use crate::telemetry::event::FailedOnRequest;
use crate::wording::counted;

const EVERY: Duration = Duration::from_secs(1);
/// Requests that one look takes at most.
const AT_ONCE: u32 = 100;
/// Times that a request is tried which fails for a reason of its own.
const TRIES: u32 = 3;
/// The reason code of a hold that an operator set.
const OPERATOR: &str = "OPERATOR";

/// Something an operator asks the worker for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Asked {
    /// Stop starting jobs.
    Hold {
        /// Of what.
        of: Scope,
    },
    /// Start jobs again, whoever stopped them.
    Release {
        /// Of what.
        of: Scope,
    },
    /// Decide about parked jobs.
    Resolve {
        /// The ledger's numbers of them.
        jobs: Vec<i64>,
        /// What was decided.
        resolution: Resolution,
    },
    /// Send records again, unchanged.
    Records {
        /// Which.
        which: RecordFilter,
        /// None newer than this outbox row.
        until: i64,
    },
    /// End what was not started, ask the API to cancel what was.
    Cancel {
        /// What.
        of: CancelOf,
    },
    /// Take over what the API's list has told.
    Adopt {
        /// Containers of ours.
        what: Vec<Adopt>,
    },
    /// Carry a plan of reruns out.
    Rerun {
        /// Its number.
        plan: i64,
        /// Briefs to start first, and to wait for; `None`: as it was planned. 0 lets a stopped plan go on.
        canary: Option<u64>,
    },
    /// Prune what ended long ago.
    #[serde(rename_all = "camelCase")]
    Prune {
        /// Milliseconds since 1970.
        before_ms: i64,
    },
}

/// What a hold stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Everything.
    Account,
    /// One project, by its id.
    Project(String),
    /// One batch, in whatever project.
    Batch(String),
    /// One batch, in one project.
    BatchOfProject {
        /// The project's id.
        project: String,
        /// The batch's id.
        batch: String,
    },
}

impl From<Scope> for HoldScope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Account => Self::Account,
            Scope::Project(id) => Self::Project(id),
            Scope::Batch(batch) => Self::Batch { project: None, batch },
            Scope::BatchOfProject { project, batch } => Self::Batch { project: Some(project), batch },
        }
    }
}

/// How the outcome of a decision begins that was carried out.
pub const RESOLVED: &str = "resolved";
/// Records that one write puts back into the outbox.
const SENT_AGAIN_AT_ONCE: usize = 500;
/// The outcome of a release of what was not held.
pub const NOTHING_LIFTED: &str = "nothing was held";
/// How the outcome begins where something was taken over.
pub const ADOPTED: &str = "adopted";
/// How often the outcome of a request is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How a request was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedOver {
    /// A worker runs and carries it out.
    ToTheWorker,
    /// No worker runs; it is carried out already.
    Done,
}

/// Stores what `who` asks for, and carries it out if no worker is there to do it.
pub async fn ask(
    settings: &Settings,
    asked: &Asked,
    who: &str,
    reason: &str,
) -> Result<HandedOver, LedgerError> {
    hand_over(settings, asked, who, reason).await.map(|(_, handed_over)| handed_over)
}

/// The same, and waits for up to `within` for what came of it; `None`: the worker has not said so yet.
pub async fn ask_and_hear(
    settings: &Settings,
    asked: &Asked,
    (who, reason): (&str, &str),
    within: Duration,
) -> Result<(HandedOver, Option<String>), LedgerError> {
    let (id, handed_over) = hand_over(settings, asked, who, reason).await?;
    let reader = Reader::open_of_any_age(&settings.ledger.path).await?;
    let (clock, began) = (Clock::system(), std::time::Instant::now());
    loop {
        let outcome = reader.request_outcome(id).await?;
        if outcome.is_some() || began.elapsed() >= within {
            return Ok((handed_over, outcome));
        }
        clock.sleep(LOOK_AGAIN).await;
    }
}

async fn hand_over(
    settings: &Settings,
    asked: &Asked,
    who: &str,
    reason: &str,
) -> Result<(i64, HandedOver), LedgerError> {
    let path: &Path = &settings.ledger.path;
    let clock = Clock::system();
    let kind = match asked {
        Asked::Hold { .. } => "hold",
        Asked::Release { .. } => "release",
        Asked::Resolve { .. } => "resolve",
        Asked::Records { .. } => "records",
        Asked::Cancel { .. } => "cancel",
        Asked::Adopt { .. } => "adopt",
        Asked::Rerun { .. } => "rerun",
        Asked::Prune { .. } => "prune",
    };
    let args = serde_json::to_string(asked).map_err(|error| LedgerError::Corrupt(error.to_string()))?;
    let request = Request {
        id: 0,
        at: clock.now_ms(),
        kind: kind.to_owned(),
        args,
        who: who.to_owned(),
        reason: reason.to_owned(),
    };
    let id = Request::append(path, &request).await?;
    if Reader::open_of_any_age(path).await?.has_worker() {
        return Ok((id, HandedOver::ToTheWorker));
    }
    let ledger = match Ledger::open(path, super::options_beside(settings, Input::Queue, &clock)).await {
        Ok(ledger) => ledger,
        // A worker came between the two looks.
        Err(LedgerError::Locked { .. }) => return Ok((id, HandedOver::ToTheWorker)),
        Err(error) => return Err(error),
    };
    carry_out_beside(&ledger, &clock).await?;
    super::rerun::carry_on(&ledger, &clock, settings.layers.send_container_id).await?;
    if !ledger.was_unclean() {
        // Otherwise the next worker must still know that the last one died.
        ledger.stop_cleanly().await?;
    }
    ledger.close().await;
    Ok((id, HandedOver::Done))
}

pub(super) fn spawn(worker: &Worker) {
    let desk: Desk = worker.desk.clone();
    tokio::spawn(async move {
        let mut under_way = UnderWay::default();
        while !desk.stopping.is_cancelled() {
            if !carry_out_open(&desk, &mut under_way).await {
                // What holds the ledger must not outlast the stages.
                desk.stopping.run_until_cancelled(desk.clock.sleep(EVERY)).await;
            }
        }
    });
}

/// Carries out what is open now, or as much of it as is its turn. `true`: some of it has to go on at once.
pub(super) async fn carry_out_open(desk: &Desk, under_way: &mut UnderWay) -> bool {
    match carry_out_all((&desk.ledger, &desk.clock, Some(desk)), under_way).await {
        Ok(Carried { done: 0, left: false, .. }) => false,
        Ok(carried) => {
            if let Err(error) = keep_reads(desk).await {
                tracing::warn!(%error, "the holds could not be read");
            }
            ring(desk);
            carried.left
        }
        Err(error) => {
            tracing::warn!(%error, "a request could not be carried out; it is tried again");
            false
        }
    }
}

/// Carries out everything that is open where no worker runs; returns how many requests.
pub(crate) async fn carry_out_beside(ledger: &Ledger, clock: &Clock) -> Result<usize, LedgerError> {
    let (mut under_way, mut done) = (UnderWay::default(), 0);
    loop {
        let carried = carry_out_all((ledger, clock, None), &mut under_way).await?;
        done += carried.done;
        if !carried.is_open() {
            return Ok(done);
        }
    }
}

/// Whatever was asked for, each stage may have something to do now.
fn ring(desk: &Desk) {
    let wake = desk.ledger.wake();
    for bell in [wake.submit(), wake.track(), wake.publish(), wake.intake()] {
        bell.notify_one();
    }
}

/// Where a request is carried out: the ledger, its clock, and the desk of the worker, if it is one that does.
pub(super) type Place<'a> = (&'a Ledger, &'a Clock, Option<&'a Desk>);

/// What is known about requests that are not done yet. In memory: after a restart each begins anew, and finds that a
/// part of it is done.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    /// How far it is.
    after: BTreeMap<i64, i64>,
    /// How often it failed.
    failed: BTreeMap<i64, u32>,
}

/// What a look at the requests came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Carried {
    /// Requests that are done.
    done: usize,
    /// Some have to go on at once.
    left: bool,
    /// Some failed, and are tried again.
    failed: bool,
}

impl Carried {
    const fn is_open(self) -> bool {
        self.left || self.failed
    }
}

/// Carries out every open request, or as much of it as is its turn.
async fn carry_out_all(place: Place<'_>, under_way: &mut UnderWay) -> Result<Carried, LedgerError> {
    let (ledger, clock, _) = place;
    let mut carried = Carried::default();
    for request in &ledger.reader().open_requests(AT_ONCE).await? {
        let outcome = match attempt(place, request, under_way).await? {
            Try::Done(outcome) => outcome,
            Try::GoesOn => {
                carried.left = true;
                continue;
            }
            Try::Failed => {
                carried.failed = true;
                continue;
            }
        };
        tracing::info!(
            request = request.id,
            kind = request.kind,
            who = request.who,
            reason = request.reason,
            outcome,
            "a request was carried out"
        );
        ledger.write(RequestDone { id: request.id, outcome, now_ms: clock.now_ms() }).await?;
        under_way.after.remove(&request.id);
        under_way.failed.remove(&request.id);
        carried.done += 1;
    }
    Ok(carried)
}

/// What one try of a request came to.
enum Try {
    /// It is done, with this outcome.
    Done(String),
    /// It has to go on.
    GoesOn,
    /// It is tried again.
    Failed,
}

/// One try, or one turn, of a request. Only what the ledger itself cannot do now is an error, for all of them.
async fn attempt(place: Place<'_>, request: &Request, under_way: &mut UnderWay) -> Result<Try, LedgerError> {
    let asked = match serde_json::from_str::<Asked>(&request.args) {
        Ok(asked) => asked,
        // A later version's request: not ours to understand, and not to be tried for ever.
        Err(error) => return Ok(Try::Done(format!("not understood: {error}"))),
    };
    let result = match asked {
        Asked::Cancel { of } => {
            cancel::turn(place, (request.id, of), under_way.after.entry(request.id).or_default()).await
        }
        asked @ (Asked::Hold { .. }
        | Asked::Release { .. }
        | Asked::Resolve { .. }
        | Asked::Adopt { .. }
        | Asked::Records { .. }
        | Asked::Rerun { .. }
        | Asked::Prune { .. }) => carry_out(place, asked, request).await.map(Some),
    };
    match result {
        Err(error) if !error.is_of_the_ledger() => {
            let failed = under_way.failed.entry(request.id).or_default();
            *failed += 1;
            tracing::warn!(request = request.id, kind = request.kind, tries = *failed, %error, "a request failed");
            Ok(if *failed >= TRIES { Try::Done(format!("failed: {error}")) } else { Try::Failed })
        }
        Err(error) => Err(error),
        Ok(Some(outcome)) => Ok(Try::Done(outcome)),
        Ok(None) => Ok(Try::GoesOn),
    }
}

async fn carry_out(
    (ledger, clock, desk): Place<'_>,
    asked: Asked,
    request: &Request,
) -> Result<String, LedgerError> {
    match asked {
        Asked::Hold { of } => {
            let why = if request.reason.is_empty() { "no reason given" } else { &request.reason };
            let hold = Hold {
                scope: of.into(),
                reason: OPERATOR.to_owned(),
                detail: format!("{}: {why}", request.who),
                required: None,
                available: None,
                stops_reads: false,
                by_api: false,
                since_ms: clock.now_ms(),
                probe_ms: None,
                easing: false,
            };
            Ok(if ledger.write(SetHold(hold)).await? { "held" } else { "was held already" }.to_owned())
        }
        Asked::Release { of } => {
            let scope = HoldScope::from(of);
            let lift = LiftHold { scope: scope.clone(), reason: None, now_ms: clock.now_ms() };
            let lifted = ledger.write(lift).await?;
            let left = ledger.reader().holds().await?.into_iter().filter(|hold| hold.scope == scope).count();
            Ok(match left {
                0 if lifted == 0 => NOTHING_LIFTED.to_owned(),
                0 => format!("{lifted} lifted"),
                _ => format!("{lifted} lifted; what needs another API key stays"),
            })
        }
        Asked::Resolve { jobs, resolution } => {
            let resolved = ledger
                .write(Resolve {
                    jobs,
                    resolution,
                    who: request.who.clone(),
                    reason: request.reason.clone(),
                    now_ms: clock.now_ms(),
                })
                .await?;
            count(desk, &resolved.failed);
            Ok(told(&resolved))
        }
        Asked::Records { which, until } => {
            let rows = ledger.reader().records_to_send_again(&which, until).await?;
            let mut again = 0;
            for rows in rows.chunks(SENT_AGAIN_AT_ONCE) {
                again += ledger.write(SendAgain { rows: rows.to_vec(), now_ms: clock.now_ms() }).await?;
            }
            Ok(format!(
                "{} put into the outbox again",
                counted(i64::try_from(again).unwrap_or(i64::MAX), "record")
            ))
        }
        Asked::Adopt { what } => adopt(ledger, clock, what).await,
        Asked::Cancel { .. } => Ok("it takes turns".to_owned()),
        Asked::Rerun { plan, canary } => {
            let said = (request.who.as_str(), request.reason.as_str());
            super::rerun::approve(ledger, clock, (plan, canary), said).await
        }
        Asked::Prune { before_ms } if desk.is_some() => {
            ledger.write(PruneBefore(before_ms)).await?;
            Ok("pruned from now on".to_owned())
        }
        Asked::Prune { before_ms } => {
            Ok(format!("{} briefs pruned", growth::prune(ledger, clock, before_ms).await?))
        }
    }
}

async fn adopt(ledger: &Ledger, clock: &Clock, what: Vec<Adopt>) -> Result<String, LedgerError> {
    let (all, mut adopted) = (what.len(), 0);
    for one in what {
        let now_ms = clock.now_ms();
        let done = match one {
            Adopt::Found { job, container, format } => {
                ledger.write(AdoptFound { job, container, format, now_ms }).await?
            }
            Adopt::Late { job, end } => {
                let late = ledger.write(SettleLate { job, ends: vec![*end], now_ms }).await?;
                late.published.contains(&true)
            }
        };
        adopted += usize::from(done);
    }
    Ok(format!("{ADOPTED} {adopted} of {all}"))
}

/// Counts failures that were recorded because somebody asked; without a worker nobody reads the counters.
pub(super) fn count(desk: Option<&Desk>, failed: &[(String, RecordError)]) {
    let Some(desk) = desk else { return };
    for (project, error) in failed {
        let (source, label) = (error.source.word(), desk.project_label(project));
        FailedOnRequest { code: &error.code, source, label }.emit(&desk.metrics);
    }
}

/// What a decision changed, in one line.
fn told(resolved: &Resolved) -> String {
    let done = resolved.done.iter().map(|(job, state)| format!("job {job} is {} now", state.word()));
    let not = resolved.not_parked.iter().map(|(job, state)| format!("job {job} is not parked but {state}"));
    let head = if resolved.done.is_empty() { "nothing resolved" } else { RESOLVED };
    format!("{head}: {}", done.chain(not).collect::<Vec<_>>().join(", "))
}
