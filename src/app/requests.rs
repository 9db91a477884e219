//! Carries out what operators asked for: one row of `request` after the other, within two seconds.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Worker;
use crate::clock::Clock;
use crate::config::Settings;
use crate::ledger::{
    Hold, HoldScope, Input, Ledger, LedgerError, LiftHold, Reader, Request, RequestDone, SetHold,
};
use crate::stages::Desk;
use crate::stages::holds::keep_reads;

const EVERY: Duration = Duration::from_secs(1);
/// Requests that one look takes at most.
const AT_ONCE: u32 = 100;
/// The reason code of a hold that an operator set.
const OPERATOR: &str = "OPERATOR";

/// Something an operator asks the worker for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    let path: &Path = &settings.ledger.path;
    let clock = Clock::system();
    let kind = match asked {
        Asked::Hold { .. } => "hold",
        Asked::Release { .. } => "release",
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
    Request::append(path, &request).await?;
    if Reader::open(path).await?.has_worker() {
        return Ok(HandedOver::ToTheWorker);
    }
    let ledger = match Ledger::open(path, super::options_beside(settings, Input::Queue, &clock)).await {
        Ok(ledger) => ledger,
        // A worker came between the two looks.
        Err(LedgerError::Locked { .. }) => return Ok(HandedOver::ToTheWorker),
        Err(error) => return Err(error),
    };
    carry_out_all(&ledger, &clock).await?;
    if !ledger.was_unclean() {
        // Otherwise the next worker must still know that the last one died.
        ledger.stop_cleanly().await?;
    }
    Ok(HandedOver::Done)
}

pub(super) fn spawn(worker: &Worker) {
    let desk: Desk = worker.desk.clone();
    tokio::spawn(async move {
        while !desk.stopping.is_cancelled() {
            match carry_out_all(&desk.ledger, &desk.clock).await {
                Ok(0) => {}
                Ok(_) => {
                    if let Err(error) = keep_reads(&desk).await {
                        tracing::warn!(%error, "the holds could not be read");
                    }
                    desk.ledger.wake().submit().notify_one();
                }
                Err(error) => tracing::warn!(%error, "a request could not be carried out; it is tried again"),
            }
            // What holds the ledger must not outlast the stages.
            desk.stopping.run_until_cancelled(desk.clock.sleep(EVERY)).await;
        }
    });
}

/// Carries out every open request; returns how many.
async fn carry_out_all(ledger: &Ledger, clock: &Clock) -> Result<usize, LedgerError> {
    let open = ledger.reader().open_requests(AT_ONCE).await?;
    for request in &open {
        let outcome = match serde_json::from_str::<Asked>(&request.args) {
            Ok(asked) => carry_out(ledger, clock, asked, request).await?,
            // A later version's request: not ours to understand, and not to be tried for ever.
            Err(error) => format!("not understood: {error}"),
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
    }
    Ok(open.len())
}

async fn carry_out(
    ledger: &Ledger,
    clock: &Clock,
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
            let lifted = ledger.write(LiftHold { scope: of.into(), reason: None }).await?;
            Ok(format!("{lifted} lifted"))
        }
    }
}
