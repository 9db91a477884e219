//! Carries plans out: a few briefs a write, so that nobody waits long for the ledger, from wherever it was left.

use std::time::Duration;

use crate::app::Worker;
use crate::clock::Clock;
use crate::ledger::{ApprovePlan, Approved, CanaryEnded, Ledger, LedgerError, PlanState, StartPlanned};

/// How often plans are looked at.
const EVERY: Duration = Duration::from_millis(500);

/// Notes that a plan is to be carried out; returns what came of it, in one line.
pub(in crate::app) async fn approve(
    ledger: &Ledger,
    clock: &Clock,
    (plan, canary): (i64, Option<u64>),
    (who, reason): (&str, &str),
) -> Result<String, LedgerError> {
    let said = (who.to_owned(), reason.to_owned());
    let approved = ledger.write(ApprovePlan { plan, canary, said, now_ms: clock.now_ms() }).await?;
    Ok(match approved {
        Approved::Starts => format!("plan {plan} starts"),
        Approved::GoesOn => format!("plan {plan} goes on"),
        Approved::Already(state) => format!("plan {plan} is {} already: nothing was done", state.word()),
        Approved::Unknown => format!("there is no plan {plan}"),
    })
}

/// Looks after plans until the worker stops.
pub(in crate::app) fn spawn(worker: &Worker) {
    let desk = worker.desk.clone();
    let send_container_id = worker.settings().layers.send_container_id;
    tokio::spawn(async move {
        while !desk.stopping.is_cancelled() {
            let carried = carry_on(&desk.ledger, &desk.clock, send_container_id);
            match desk.stopping.run_until_cancelled(carried).await {
                Some(Ok(0)) | None => {}
                Some(Ok(_)) => desk.ledger.wake().submit().notify_one(),
                Some(Err(error)) => {
                    tracing::warn!(%error, "a plan could not be carried on; it is tried again");
                }
            }
            desk.stopping.run_until_cancelled(desk.clock.sleep(EVERY)).await;
        }
    });
}

/// Starts whatever may start of all plans; returns how many briefs that were.
pub(in crate::app) async fn carry_on(
    ledger: &Ledger,
    clock: &Clock,
    send_container_id: bool,
) -> Result<usize, LedgerError> {
    let mut started_of_all = 0;
    for (plan, state) in ledger.reader().open_plans().await? {
        let goes_on = match state {
            PlanState::Starting => true,
            PlanState::Canary => canary_completed(ledger, clock, plan).await?,
            PlanState::Draft | PlanState::Planned | PlanState::Stopped | PlanState::Started => false,
        };
        if !goes_on {
            continue;
        }
        let mut started = 0;
        loop {
            let step = StartPlanned { plan, send_container_id, now_ms: clock.now_ms() };
            let step = ledger.write(step).await?;
            started += step.started;
            ledger.wake().submit().notify_one();
            if step.state != PlanState::Starting {
                tracing::info!(plan, state = step.state.word(), started, "a plan of reruns was carried on");
                break;
            }
            if step.started + step.left_out == 0 {
                break;
            }
        }
        started_of_all += started;
    }
    Ok(started_of_all)
}

/// Whether the canary of a plan has ended, and all of it completed.
async fn canary_completed(ledger: &Ledger, clock: &Clock, plan: i64) -> Result<bool, LedgerError> {
    let ends = ledger.reader().plan_ends(plan).await?;
    if ends.open > 0 {
        return Ok(false);
    }
    let completed = ends.not_completed == 0;
    ledger.write(CanaryEnded { plan, completed, now_ms: clock.now_ms() }).await?;
    if !completed {
        tracing::warn!(
            plan,
            not_completed = ends.not_completed,
            "a plan of reruns has stopped: not every brief of its canary completed; the others wait for \
             `briefd rerun --plan {plan} --canary 0`"
        );
    }
    Ok(completed)
}
