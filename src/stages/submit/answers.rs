//! What the outcome of a POST says about holds: it sets them, shows that they stand, or shows that they are over.
//!
//! A job knows the holds that were in force when it was claimed; it was let through to try those of its scope. Only of
//! these its success says something: what another hold's trouble is, it cannot know.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::Submit;
use super::refusals::{BatchOfProject, Refusals, what_mends};
use crate::job::answer::{self, HoldReason, available_credits, required_credits};
use crate::job::{Event, Refusal};
use crate::ledger::{
    Again, AttemptOutcome, ChangeHold, Claimed, Hold, HoldScope, LedgerError, RecordOutcome,
};
use crate::record::{RecordError, Source};
use crate::stages::holds::{
    API_DOWN, BILLING_EXHAUSTED, FORBIDDEN_SCOPE, KILL_SWITCH, OUTCOME_UNKNOWN, UNAUTHENTICATED, api_hold,
    ease, lift, next_probe, set,
};

/// The holds in force when jobs were claimed.
pub(super) struct InForce {
    pub(super) holds: Vec<Hold>,
    /// When that was, milliseconds since 1970.
    pub(super) at_ms: i64,
}

impl InForce {
    /// The holds that a job was let through to try.
    fn tried_by(&self, job: &Claimed) -> impl Iterator<Item = &Hold> {
        let tried = |hold: &&Hold| hold.by_api && hold.probe_ms.is_some();
        self.holds.iter().filter(tried).filter(|hold| hold.scope.stops(&job.project_id, &job.batch_id))
    }
}

/// What this process has seen of the API's answers. A restart begins anew.
#[derive(Debug, Default)]
pub struct Observed {
    pub(super) refusals: Refusals,
    /// `API_DOWN` is in force.
    down: AtomicBool,
    /// When a start was last accepted by a readable 2xx, milliseconds since 1970; 0: none was. A refusal does not count: the
    /// API may refuse some although it can start none.
    accepted_ms: AtomicI64,
    /// What the wallet had, and when that was read, milliseconds since 1970.
    wallet: tokio::sync::Mutex<Option<(i64, Option<i64>)>>,
}

impl Observed {
    pub(super) fn note_down(&self, down: bool) {
        self.down.store(down, Ordering::Release);
    }

    /// Whether a start was accepted after this.
    pub(super) fn accepted_since(&self, since_ms: i64) -> bool {
        self.accepted_ms.load(Ordering::Acquire) > since_ms
    }
}

impl Submit {
    /// Draws the conclusions from a recorded outcome.
    pub(super) async fn conclude(&self, job: &Claimed, write: &RecordOutcome, in_force: &InForce) {
        let of = (job.project_id.clone(), job.batch_id.clone());
        let concluded = match &write.outcome {
            AttemptOutcome::Again(Again::NotConnected | Again::Unanswered) => {
                self.unanswered(in_force, &write.told.detail).await
            }
            // It says nothing about the API, which accepts others.
            AttemptOutcome::Again(Again::Unheeded) => Ok(()),
            AttemptOutcome::Accepted(started) => {
                if started.job_id.is_some() {
                    self.observed.accepted_ms.store(write.now_ms, Ordering::Release);
                }
                self.observed.refusals.accepted(&of);
                self.answered(job, write, in_force).await
            }
            AttemptOutcome::Rejected(_, error) => {
                self.refused_again(&of, error).await;
                self.answered(job, write, in_force).await
            }
            AttemptOutcome::Again(_) | AttemptOutcome::Parked(..) => {
                self.answered(job, write, in_force).await
            }
        };
        if let Err(error) = concluded {
            tracing::error!(stage = "submit", %error, "a hold could not be changed");
        }
    }

    /// A start got no answer. Once each place is kept by such a job, the API counts as down.
    async fn unanswered(&self, in_force: &InForce, detail: &str) -> Result<(), LedgerError> {
        let holds = self.desk.ledger.reader().holds().await?;
        if let Some(known) = holds.iter().find(|hold| hold.reason == API_DOWN) {
            // Only who was let through to try it shows that it stands; others were on their way before.
            let tried = in_force.holds.iter().any(|hold| hold.reason == API_DOWN);
            return if known.easing && tried { self.stands(known).await } else { Ok(()) };
        }
        let held: Vec<HoldScope> = holds.iter().map(|hold| hold.scope.clone()).collect();
        let (silent, _) = self.desk.ledger.silent(&held).await?;
        if usize::try_from(silent).unwrap_or(usize::MAX) < self.settings.concurrency {
            return Ok(());
        }
        let detail = format!("none of {silent} starts got an answer, the last one: {detail}");
        // Tested at once: perhaps somebody answers reads.
        let now_ms = self.desk.clock.now_ms();
        set(&self.desk, api_hold(&self.desk, HoldScope::Account, API_DOWN, detail, Some(now_ms))).await;
        self.observed.note_down(true);
        Ok(())
    }

    async fn answered(
        &self,
        job: &Claimed,
        write: &RecordOutcome,
        in_force: &InForce,
    ) -> Result<(), LedgerError> {
        // A look-up without a POST shows nothing.
        if write.told.status.is_none() {
            return Ok(());
        }
        if self.observed.down.load(Ordering::Acquire) {
            let holds = self.desk.ledger.reader().holds().await?;
            if let Some(down) = holds.iter().find(|hold| hold.reason == API_DOWN) {
                self.seems_over(down).await?;
            }
        }
        for hold in in_force.tried_by(job).filter(|hold| proves_over(&hold.reason, write)) {
            self.seems_over(hold).await?;
        }
        Ok(())
    }

    /// One success: one job at a time. Another one: it is over.
    async fn seems_over(&self, hold: &Hold) -> Result<(), LedgerError> {
        if hold.easing { lift(&self.desk, hold).await } else { ease(&self.desk, hold).await }
    }

    /// The trouble is still there: nothing starts until the next test.
    async fn stands(&self, hold: &Hold) -> Result<(), LedgerError> {
        let probe_ms = Some(next_probe(&self.desk, self.settings.probe_interval, &hold.reason));
        let held = ChangeHold(Hold { easing: false, probe_ms, ..hold.clone() });
        self.desk.ledger.write(held).await.map(drop)
    }

    /// Refused for good, once more.
    async fn refused_again(&self, of: &BatchOfProject, error: &RecordError) {
        if error.source == Source::Layers {
            self.in_vain(of, &error.code, || what_mends(error)).await;
        }
    }

    /// A brief is one to which the API has no answer, while it accepts others. A mistake that all briefs of a batch share
    /// would keep every place for a while, again and again.
    pub(super) async fn unheeded(&self, job: &Claimed) {
        let of = (job.project_id.clone(), job.batch_id.clone());
        let detail = || "brief after brief of it got no answer, while others got theirs".to_owned();
        self.in_vain(&of, OUTCOME_UNKNOWN, detail).await;
    }

    /// One more of a batch came to nothing with this code: one too many holds the batch.
    async fn in_vain(&self, of: &BatchOfProject, code: &str, detail: impl FnOnce() -> String) {
        let refusals = &self.observed.refusals;
        if !refusals.refused(of, code, self.settings.stop_after_refusals) {
            return;
        }
        let scope = HoldScope::Batch { project: Some(of.0.clone()), batch: of.1.clone() };
        set(&self.desk, api_hold(&self.desk, scope, code, detail(), None)).await;
        refusals.hold(of);
    }

    /// A refusal that is not the brief's fault.
    pub(super) async fn hold(
        &self,
        job: &Claimed,
        (scope, reason): (answer::HoldScope, HoldReason),
        refusal: Option<&Refusal>,
        in_force: &InForce,
    ) {
        let code = match reason {
            HoldReason::Unauthenticated => UNAUTHENTICATED,
            HoldReason::ForbiddenScope => FORBIDDEN_SCOPE,
            HoldReason::KillSwitch => KILL_SWITCH,
            HoldReason::BillingExhausted => BILLING_EXHAUSTED,
            HoldReason::Other => refusal.map_or("OTHER", |refusal| refusal.code.as_str()),
        };
        let project = || HoldScope::Project(job.project_id.clone());
        let (scope, available) = match (scope, reason) {
            (_, HoldReason::BillingExhausted) => {
                let available = self.wallet(in_force.at_ms).await;
                let empty = available.is_some_and(|available| available < self.cheapest());
                (if empty { HoldScope::Account } else { project() }, available)
            }
            (answer::HoldScope::Account, _) => (HoldScope::Account, None),
            (answer::HoldScope::Project, _) => (project(), None),
        };
        let detail = refusal.map(|refusal| refusal.message.clone()).unwrap_or_default();
        let probe_ms = Some(next_probe(&self.desk, self.settings.probe_interval, code));
        let credits =
            |read: fn(&Refusal) -> Option<u64>| refusal.and_then(read).and_then(|n| i64::try_from(n).ok());
        let hold = Hold {
            required: credits(required_credits),
            available: credits(available_credits).or(available),
            ..api_hold(&self.desk, scope, code, detail, probe_ms)
        };
        // The API's latest word on the wallet, minutes before it is read again.
        if let Some(available) = credits(available_credits) {
            self.desk.metrics.set_credits(available);
        }
        set(&self.desk, hold.clone()).await;
        if let Err(error) = self.others(job, &hold, in_force).await {
            tracing::error!(stage = "submit", %error, "a hold could not be changed");
        }
    }

    /// What a refusal says about the other holds that its job was let through to try.
    async fn others(&self, job: &Claimed, set: &Hold, in_force: &InForce) -> Result<(), LedgerError> {
        for other in in_force.tried_by(job) {
            let same = other.scope == set.scope && other.reason == set.reason;
            if same || other.reason == API_DOWN {
                continue;
            }
            let no_credits = set.reason == BILLING_EXHAUSTED;
            if no_credits && other.reason == BILLING_EXHAUSTED && other.scope == HoldScope::Account {
                // Too little for this one, but the wallet is not empty any more.
                lift(&self.desk, other).await?;
            } else if no_credits && is_asked_first(&other.reason) {
                self.seems_over(other).await?;
            } else if other.easing {
                self.stands(other).await?;
            }
        }
        Ok(())
    }

    /// What the wallet has, read once for all that were refused after `since_ms`; `None`: not known.
    async fn wallet(&self, since_ms: i64) -> Option<i64> {
        let mut known = self.observed.wallet.lock().await;
        if let Some((read_ms, available)) = *known
            && read_ms >= since_ms
        {
            return available;
        }
        let read_ms = self.desk.clock.now_ms();
        let credits = self.ask(self.api.credits()).await.ok();
        let available = credits.and_then(|credits| {
            self.prices.learn(credits.per_format);
            credits.available
        });
        *known = Some((read_ms, available));
        available
    }
}

/// The API asks for these before it looks at the brief and at the wallet.
fn is_asked_first(reason: &str) -> bool {
    [UNAUTHENTICATED, FORBIDDEN_SCOPE, KILL_SWITCH].contains(&reason)
}

/// Whether this outcome of a POST could not be if the trouble were still there. A refusal of the brief shows that as well
/// where it is not believed yet: it is looked up, and no look-up is made while reads are held.
fn proves_over(reason: &str, write: &RecordOutcome) -> bool {
    match &write.outcome {
        // Told apart from those by the one who sees every answer.
        _ if reason == API_DOWN => false,
        AttemptOutcome::Accepted(started) => started.job_id.is_some(),
        AttemptOutcome::Rejected(Event::Refused, _) => is_asked_first(reason),
        AttemptOutcome::Again(_) | AttemptOutcome::Parked(..) => {
            is_asked_first(reason) && matches!(write.told.status, Some(400 | 404 | 409 | 422))
        }
        AttemptOutcome::Rejected(..) => false,
    }
}
