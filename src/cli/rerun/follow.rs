//! Hands a plan to the worker, and looks how far it is.

use std::time::{Duration, Instant};

use super::super::hold::who;
use super::super::progress::Screen;
use crate::app::requests::{Asked, ask_and_hear};
use crate::clock::Clock;
use crate::config::Settings;
use crate::ledger::{LedgerError, PlanEnds, PlanRow, PlanState, Reader, StoredPlan};

/// How long to wait for the worker, which looks every second.
const HEAR_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait for its briefs to be started, so that those that were left out can be named.
const STARTED_WITHIN: Duration = Duration::from_secs(5);
/// How often a plan is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Briefs that are named.
const NAMED: u32 = 20;

/// How far a plan is.
pub(super) struct Far {
    pub plan: StoredPlan,
    pub ends: PlanEnds,
    /// Briefs that were left out, the first of them.
    pub left_out: Vec<PlanRow>,
    /// Whether somebody is there to start them.
    pub has_worker: bool,
}

impl Far {
    /// Whether every brief of the plan was started and completed.
    pub(super) fn all_completed(&self) -> bool {
        self.plan.state == PlanState::Started
            && self.plan.left_out == 0
            && self.ends.open == 0
            && self.ends.not_completed == 0
    }

    /// Whether nothing more happens by itself.
    fn has_ended(&self) -> bool {
        let stands = match self.plan.state {
            PlanState::Started | PlanState::Stopped | PlanState::Planned | PlanState::Draft => true,
            PlanState::Starting | PlanState::Canary => false,
        };
        stands && self.ends.open == 0
    }
}

/// Asks for a plan to be carried out.
pub(super) async fn ask(
    settings: &Settings,
    (plan, canary): (i64, Option<u64>),
    reason: &str,
) -> Result<(), LedgerError> {
    let asked = Asked::Rerun { plan, canary };
    ask_and_hear(settings, &asked, (&who(), reason), HEAR_WITHIN).await.map(drop)
}

/// How far a plan is once its briefs were started, or soon; `to_the_end`: once they have ended.
pub(super) async fn until(
    reader: &Reader,
    number: i64,
    to_the_end: bool,
    screen: &Screen,
) -> Result<Far, LedgerError> {
    let (clock, began) = (Clock::system(), Instant::now());
    let mut bar = None;
    let mut told = false;
    loop {
        let far = look(reader, number).await?;
        if far.has_ended() {
            return Ok(far);
        }
        if to_the_end {
            let bar = bar.get_or_insert_with(|| {
                let all = far.plan.pending + far.plan.started + far.plan.left_out;
                screen.bar(u64::try_from(all).unwrap_or(0))
            });
            bar.set_message(if far.plan.state == PlanState::Canary {
                "ended, canary first"
            } else {
                "ended"
            });
            bar.set_position(u64::try_from(far.ends.completed + far.ends.not_completed).unwrap_or(0));
            if !far.has_worker && !told {
                screen.say("no worker runs: waiting for a briefd run to go on with it");
                told = true;
            }
        } else if far.plan.state != PlanState::Starting || began.elapsed() >= STARTED_WITHIN {
            return Ok(far);
        }
        clock.sleep(LOOK_AGAIN).await;
    }
}

async fn look(reader: &Reader, number: i64) -> Result<Far, LedgerError> {
    let gone = || LedgerError::Corrupt(format!("plan {number} has gone"));
    // Its state first: what has ended when all were started has ended for good.
    let plan = reader.plan(number).await?.ok_or_else(gone)?;
    Ok(Far {
        ends: reader.plan_ends(number).await?,
        left_out: reader.plan_rows(number, Some("left_out"), (0, NAMED)).await?,
        has_worker: reader.has_worker(),
        plan,
    })
}
