//! Setting, easing and lifting holds: what the stages share. Each hold is told once when it is set and once when it is
//! over, whatever happens between.
//!
//! While a hold that stops reads too is in force, [`Desk::reads_held`] says so: a dead key can read nothing, and another
//! organization's 404s would be taken for missing containers.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;

use super::Desk;
use super::back_off::after;
use crate::job::{Refusal, Trouble};
use crate::ledger::{ChangeHold, Hold, HoldScope, LedgerError, LiftHold, SetHold};

/// The API does not know the key.
pub const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
/// The key lacks a scope.
pub(super) const FORBIDDEN_SCOPE: &str = "FORBIDDEN_SCOPE";
/// The key or the organization is switched off.
pub(super) const KILL_SWITCH: &str = "KILL_SWITCH";
/// The key belongs to another organization than the ledger.
pub(super) const OTHER_ORGANIZATION: &str = "OTHER_ORGANIZATION";
/// No credits.
pub(super) const BILLING_EXHAUSTED: &str = "BILLING_EXHAUSTED";
/// No start is answered.
pub(super) const API_DOWN: &str = "API_DOWN";
/// A batch of which brief after brief got no answer, while others got theirs.
pub(super) const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";

/// `KILL_SWITCH` is tested this much slower than other holds.
const KILL_SWITCH_SLOWER: u32 = 5;
/// How long a read that was refused for want of a scope is told about.
const TOLD_FOR_MS: i64 = 5 * 60_000;

/// What keeps [`Desk::reads_held`] right although several tasks change holds, and what a refused read told.
#[derive(Debug, Default)]
pub struct Reads(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Holds set so far: who looked at the holds before the latest one must not let reads go.
    set: u64,
    /// The key was read again and may be that of another organization.
    unchecked_key: bool,
    /// When a read was last refused for want of a scope, milliseconds since 1970, and in which words.
    forbidden: Option<(i64, String)>,
}

impl Reads {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why some reads are refused, if one was lately.
    pub fn forbidden(&self, now_ms: i64) -> Option<String> {
        self.with(|state| {
            let (last_ms, text) = state.forbidden.as_ref()?;
            (now_ms - last_ms <= TOLD_FOR_MS).then(|| text.clone())
        })
    }
}

/// A hold that an answer of the API sets, tested at `probe_ms`.
pub(super) fn api_hold(
    desk: &Desk,
    scope: HoldScope,
    reason: &str,
    detail: String,
    probe_ms: Option<i64>,
) -> Hold {
    Hold {
        scope,
        reason: reason.to_owned(),
        detail,
        required: None,
        available: None,
        stops_reads: [UNAUTHENTICATED, KILL_SWITCH, OTHER_ORGANIZATION].contains(&reason),
        by_api: true,
        since_ms: desk.clock.now_ms(),
        probe_ms,
        easing: false,
    }
}

/// When a hold is tested next.
pub(super) fn next_probe(desk: &Desk, interval: Duration, reason: &str) -> i64 {
    let slower = if reason == KILL_SWITCH { KILL_SWITCH_SLOWER } else { 1 };
    after(desk.clock.now_ms(), interval.saturating_mul(slower))
}

/// Sets a hold, or says anew of one in force that the trouble is there.
pub(super) async fn set(desk: &Desk, hold: Hold) {
    if hold.stops_reads {
        desk.reads_held.store(true, Ordering::Release);
    }
    let new = desk.ledger.write(SetHold(hold.clone())).await;
    desk.reads.with(|state| {
        state.set += 1;
        if hold.stops_reads {
            desk.reads_held.store(true, Ordering::Release);
        }
    });
    match new {
        Ok(true) => say_held(desk, &hold).await,
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "a hold could not be stored"),
    }
}

/// Says that a hold was set, in the words of `/readyz` and `briefd status`: whose, why, how many wait, what to do.
async fn say_held(desk: &Desk, hold: &Hold) {
    // The sentence matters more than the number in it.
    let waiting = desk.ledger.reader().waiting_behind(hold).await.ok();
    let sentence = hold.sentence(desk.project_name(hold.scope.project()), waiting, desk.clock.now_ms());
    tracing::warn!(
        scope = hold.scope.word(),
        project.id = hold.scope.project(),
        batch.id = hold.scope.batch(),
        reason = hold.reason,
        "starts are held: {sentence}"
    );
}

/// A hold seems to be over: one job at a time starts. The submit stage lifts it.
pub(super) async fn ease(desk: &Desk, hold: &Hold) -> Result<(), LedgerError> {
    desk.ledger.write(ChangeHold(Hold { easing: true, ..hold.clone() })).await?;
    keep_reads(desk).await.map(drop)
}

/// A hold is over.
pub(super) async fn lift(desk: &Desk, hold: &Hold) -> Result<(), LedgerError> {
    let now_ms = desk.clock.now_ms();
    let lift = LiftHold { scope: hold.scope.clone(), reason: Some(hold.reason.clone()), now_ms };
    if desk.ledger.write(lift).await? > 0 {
        let lasted = SignedDuration::from_millis((now_ms - hold.since_ms).max(0));
        tracing::info!(
            scope = hold.scope.word(),
            project = hold.scope.project(),
            batch = hold.scope.batch(),
            reason = hold.reason,
            lasted = %format_args!("{lasted:#}"),
            "the hold is over; starts go on"
        );
    }
    keep_reads(desk).await.map(drop)
}

/// A read showed that the account's hold with this reason seems to be over.
pub async fn seems_over(desk: &Desk, reason: &'static str) {
    let eased = async {
        let holds = desk.ledger.reader().holds().await?;
        let of_reason = |hold: &&Hold| {
            hold.scope == HoldScope::Account && hold.reason == reason && hold.by_api && !hold.easing
        };
        match holds.iter().find(of_reason) {
            Some(hold) => ease(desk, hold).await,
            None => Ok(()),
        }
    };
    match eased.await {
        Ok(()) => desk.ledger.wake().submit().notify_one(),
        Err(error) => tracing::error!(%error, "a hold could not be eased"),
    }
}

/// Reads the holds in force and brings [`Desk::reads_held`] in step with them.
pub async fn keep_reads(desk: &Desk) -> Result<Vec<Hold>, LedgerError> {
    let looked = look(desk).await?;
    looked.keep_reads(desk);
    Ok(looked.holds)
}

/// The holds in force, and how many were set before they were read.
pub(super) struct Looked {
    holds: Vec<Hold>,
    before: u64,
}

pub(super) async fn look(desk: &Desk) -> Result<Looked, LedgerError> {
    let before = desk.reads.with(|state| state.set);
    Ok(Looked { holds: desk.ledger.reader().holds().await?, before })
}

impl Looked {
    pub(super) fn keep_reads(&self, desk: &Desk) {
        let held = self.holds.iter().any(|hold| hold.stops_reads && !hold.easing);
        desk.reads.with(|state| {
            if held || state.set == self.before {
                desk.reads_held.store(held || state.unchecked_key, Ordering::Release);
            }
        });
    }
}

/// Until it is known whose key it is, nothing is read under it.
pub(super) fn distrust_key(desk: &Desk, unchecked: bool) {
    desk.reads.with(|state| {
        state.unchecked_key = unchecked;
        if unchecked {
            desk.reads_held.store(true, Ordering::Release);
        }
    });
}

/// Notes why a *read* was refused. A dead key or a switched-off organization holds everything, as it does when a start
/// is refused; `probe_interval` is `submit.probe_interval`. A read that lacks its scope holds nothing, since starts do
/// not need it: it is told, once in the log and for as long as it goes on by `/readyz`. Any other trouble is none of
/// its business.
pub async fn note_refusal(desk: &Desk, probe_interval: Duration, trouble: &Trouble) {
    let Trouble::Refusal(refusal) = trouble else { return };
    let reason = match (refusal.code.as_str(), refusal.status) {
        (UNAUTHENTICATED, _) => UNAUTHENTICATED,
        (KILL_SWITCH, _) => KILL_SWITCH,
        (FORBIDDEN_SCOPE, _) | (_, 403) => return forbidden(desk, refusal),
        (_, 401) => UNAUTHENTICATED,
        _ => return,
    };
    // One that is known keeps the time of its test.
    let known = desk.ledger.reader().holds().await.unwrap_or_default();
    let in_force = |hold: &Hold| hold.scope == HoldScope::Account && hold.reason == reason && !hold.easing;
    if known.iter().any(in_force) {
        return;
    }
    let probe_ms = next_probe(desk, probe_interval, reason);
    set(desk, api_hold(desk, HoldScope::Account, reason, refusal.message.clone(), Some(probe_ms))).await;
}

fn forbidden(desk: &Desk, refusal: &Refusal) {
    let now_ms = desk.clock.now_ms();
    let known = desk.reads.forbidden(now_ms).is_some();
    let text = format!("the API key lacks a scope for some reads: {}: {}", refusal.code, refusal.message);
    if !known {
        tracing::warn!(
            code = refusal.code,
            detail = refusal.message,
            "reads are refused: give the API key its scopes (content:read, jobs:read); nothing fails meanwhile, but what \
             they would tell is not known"
        );
    }
    desk.reads.with(|state| state.forbidden = Some((now_ms, text)));
}
