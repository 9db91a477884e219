//! Holds, seen from the submit stage: what they leave to be claimed, how they are tested, how they are set and lifted.

use std::sync::Arc;
use std::time::Duration;

use super::Submit;
use crate::job::Refusal;
use crate::job::answer::{self, HoldReason};
use crate::layers::{Class, Priority};
use crate::ledger::{Claim, Claimed, Hold, HoldScope, LedgerError, LiftHold, SetHold};
use crate::stages::back_off::after;
use crate::stages::{belongs, say_held};

/// How long the test of one hold may take.
const PROBE_LIMIT: Duration = Duration::from_secs(5);
/// `KILL_SWITCH` is probed this much slower than other holds.
const KILL_SWITCH_SLOWER: u32 = 5;

impl Submit {
    /// What may be claimed in view of the holds in force, with them. Tests what is due for a test.
    pub(super) async fn plan_claim(&self, free: u32) -> Result<(Claim, Arc<Vec<Hold>>), LedgerError> {
        let now_ms = self.desk.clock.now_ms();
        let mut claim = Claim {
            limit: free,
            boot: self.desk.ledger.boot().to_owned(),
            input: self.desk.ledger.input().clone(),
            now_ms,
            key_fingerprint: self.api.key_fingerprint(),
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            submitting_max: u32::try_from(self.settings.concurrency).unwrap_or(u32::MAX),
            running_max: self.running_max,
            repeat_after_ms: after(0, self.settings.repeat_after),
            probe_project: None,
            probing: false,
            forget_starts_ms: self.limits.forget_before_ms(Class::Start),
        };
        let holds = Arc::new(self.desk.ledger.reader().holds().await?);
        let mut found = Vec::with_capacity(holds.len());
        for (hold, due) in holds.iter().zip(due_for_a_test(&holds, now_ms)) {
            found.push(match (due, hold.probe_ms) {
                (true, _) => self.probe(hold, &mut claim).await?,
                (false, Some(_)) => Found::NotYet,
                (false, None) => Found::Still,
            });
        }
        bound_by_holds(&mut claim, holds.iter().zip(found));
        Ok((claim, holds))
    }

    /// Tests a hold that the API set, and lifts it if it is over.
    async fn probe(&self, hold: &Hold, claim: &mut Claim) -> Result<Found, LedgerError> {
        self.reload_key(claim).await;
        let found = match &hold.scope {
            HoldScope::Account => self.probe_account(hold).await,
            HoldScope::Project(_) => self.probe_credits(hold).await,
            HoldScope::Batch { .. } => Found::Still,
        };
        let next = SetHold(Hold { probe_ms: Some(self.next_probe(&hold.reason)), ..hold.clone() });
        match found {
            Found::Gone => self.lift(hold).await?,
            Found::Still | Found::NotYet | Found::AskWithAJob => {
                self.desk.ledger.write(next).await?;
            }
        }
        Ok(found)
    }

    /// A new key may be that of another organization, under which nothing is started.
    async fn reload_key(&self, claim: &mut Claim) {
        match self.api.reload_key() {
            Ok(false) => {}
            Ok(true) => {
                let me = self.ask(self.api.whoami()).await.and_then(Result::ok);
                if let Some(organization) = me.and_then(|me| me.organization_id)
                    && !belongs(&self.desk, organization).await
                {
                    claim.limit = 0;
                }
            }
            Err(error) => {
                tracing::warn!(stage = "submit", %error, "the API key cannot be read again");
            }
        }
        claim.key_fingerprint = self.api.key_fingerprint();
    }

    async fn probe_account(&self, hold: &Hold) -> Found {
        let Some(answer) = self.ask(self.api.whoami()).await else { return Found::Still };
        match answer {
            Ok(me) if me.kill_switch == Some(true) || me.access_revoked == Some(true) => Found::Still,
            Ok(me) if hold.reason == "FORBIDDEN_SCOPE" => match me.scopes {
                Some(scopes) if !scopes.iter().any(|scope| scope == "content:write") => Found::Still,
                Some(_) => Found::Gone,
                None => Found::AskWithAJob,
            },
            Ok(me) if hold.reason == "KILL_SWITCH" && me.kill_switch.is_none() => Found::AskWithAJob,
            Ok(_) if hold.reason == "UNAUTHENTICATED" || hold.reason == "KILL_SWITCH" => Found::Gone,
            Ok(_) => Found::AskWithAJob,
            Err(trouble) if trouble.is_not_found() => Found::AskWithAJob,
            Err(_) => Found::Still,
        }
    }

    async fn probe_credits(&self, hold: &Hold) -> Found {
        let Some(answer) = self.ask(self.api.credits()).await else { return Found::Still };
        match answer {
            Ok(credits) => match (credits.available, hold.required) {
                (Some(available), Some(required)) if available >= required => Found::Gone,
                (Some(_), Some(_)) => Found::Still,
                (None, _) | (_, None) => Found::AskWithAJob,
            },
            Err(trouble) if trouble.is_not_found() => Found::AskWithAJob,
            Err(_) => Found::Still,
        }
    }

    /// One read, given up after a while: everything else of the stage waits for it. `None`: no answer in time.
    async fn ask<T>(&self, read: impl Future<Output = T> + Send) -> Option<T> {
        let asked = async {
            let permit = self.limits.acquire_read(Priority::Ended).await;
            let answer = read.await;
            permit.answered();
            answer
        };
        let in_time = tokio::time::timeout(PROBE_LIMIT, asked);
        self.desk.stopping.run_until_cancelled(in_time).await?.ok()
    }

    pub(super) async fn lift(&self, hold: &Hold) -> Result<(), LedgerError> {
        let lifted = self
            .desk
            .ledger
            .write(LiftHold { scope: hold.scope.clone(), reason: Some(hold.reason.clone()) })
            .await?;
        if lifted > 0 {
            tracing::info!(
                stage = "submit",
                scope = hold.scope.word(),
                project = hold.scope.project(),
                batch = hold.scope.batch(),
                reason = hold.reason,
                "the hold is over; starts go on"
            );
        }
        Ok(())
    }

    fn next_probe(&self, reason: &str) -> i64 {
        let slower = if reason == "KILL_SWITCH" { KILL_SWITCH_SLOWER } else { 1 };
        after(self.desk.clock.now_ms(), self.settings.probe_interval * slower)
    }

    pub(super) async fn hold(
        &self,
        job: &Claimed,
        scope: answer::HoldScope,
        reason: HoldReason,
        refusal: Option<&Refusal>,
    ) {
        let code = match reason {
            HoldReason::Unauthenticated => "UNAUTHENTICATED",
            HoldReason::ForbiddenScope => "FORBIDDEN_SCOPE",
            HoldReason::KillSwitch => "KILL_SWITCH",
            HoldReason::BillingExhausted => "BILLING_EXHAUSTED",
            HoldReason::Other => refusal.map_or("OTHER", |refusal| refusal.code.as_str()),
        };
        let scope = match scope {
            answer::HoldScope::Account => HoldScope::Account,
            answer::HoldScope::Project => HoldScope::Project(job.project_id.clone()),
        };
        let hold = Hold {
            scope,
            reason: code.to_owned(),
            detail: refusal.map(|refusal| refusal.message.clone()).unwrap_or_default(),
            required: refusal
                .and_then(answer::required_credits)
                .and_then(|credits| i64::try_from(credits).ok()),
            available: None,
            stops_reads: false,
            by_api: true,
            since_ms: self.desk.clock.now_ms(),
            probe_ms: Some(self.next_probe(code)),
            easing: false,
        };
        match self.desk.ledger.write(SetHold(hold.clone())).await {
            Ok(true) => say_held(&self.desk, &hold).await,
            Ok(false) => {}
            Err(error) => tracing::error!(stage = "submit", %error, "a hold could not be stored"),
        }
    }
}

/// Which holds are to be tested now. Those on the account together: tested in turns, each of two that only a job can
/// test would find the other one in its way.
fn due_for_a_test(holds: &[Hold], now_ms: i64) -> Vec<bool> {
    let due = |hold: &Hold| hold.probe_ms.is_some_and(|probe_ms| probe_ms <= now_ms);
    let of_account = |hold: &Hold| hold.scope == HoldScope::Account && hold.probe_ms.is_some();
    let account_due = holds.iter().any(|hold| of_account(hold) && due(hold));
    holds.iter().map(|hold| due(hold) || (account_due && of_account(hold))).collect()
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The hold is over.
    Gone,
    /// It is in force: the API says so, or an operator wants it.
    Still,
    /// It is not its time to be tested.
    NotYet,
    /// Only a job can tell.
    AskWithAJob,
}

/// Narrows a claim to what its holds leave. One job may test a hold, but only where no other hold stands in its way: what
/// an operator holds is not tested. Where a job tests the account, it may be one of a project that the API held: should
/// all work be in such projects, nothing else would ever be tried.
fn bound_by_holds<'a>(claim: &mut Claim, holds: impl Iterator<Item = (&'a Hold, Found)>) {
    let mut tested = Vec::new();
    let mut waiting = Vec::new();
    for (hold, found) in holds {
        match (&hold.scope, found) {
            (_, Found::Gone) => {}
            (HoldScope::Account, Found::Still | Found::NotYet) => claim.limit = 0,
            (HoldScope::Account, Found::AskWithAJob) => claim.probing = true,
            (HoldScope::Project(id), Found::Still) => claim.held_projects.push(id.clone()),
            (HoldScope::Project(id), Found::NotYet) => waiting.push(id.clone()),
            (HoldScope::Project(id), Found::AskWithAJob) => tested.push(id.clone()),
            (HoldScope::Batch { project, batch }, Found::Still | Found::NotYet | Found::AskWithAJob) => {
                claim.held_batches.push((project.clone().unwrap_or_default(), batch.clone()));
            }
        }
    }
    if !claim.probing {
        let free = |id: &&String| !claim.held_projects.contains(id) && !waiting.contains(id);
        claim.probe_project = tested.iter().find(free).cloned();
        claim.probing = claim.probe_project.is_some();
        claim.held_projects.append(&mut tested);
        claim.held_projects.append(&mut waiting);
    }
    if claim.probing {
        claim.limit = claim.limit.min(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Input;

    fn hold(scope: HoldScope, by_api: bool) -> Hold {
        Hold {
            scope,
            reason: if by_api { "BILLING_EXHAUSTED" } else { "OPERATOR" }.to_owned(),
            detail: String::new(),
            required: None,
            available: None,
            stops_reads: false,
            by_api,
            since_ms: 0,
            probe_ms: by_api.then_some(0),
            easing: false,
        }
    }

    fn bound(holds: &[(Hold, Found)]) -> Claim {
        let mut claim = Claim {
            limit: 32,
            boot: String::new(),
            input: Input::Queue,
            now_ms: 0,
            key_fingerprint: String::new(),
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            submitting_max: 32,
            running_max: 0,
            repeat_after_ms: 0,
            probe_project: None,
            probing: false,
            forget_starts_ms: None,
        };
        bound_by_holds(&mut claim, holds.iter().map(|(hold, found)| (hold, *found)));
        claim
    }

    #[test]
    fn holds_on_the_account_are_tested_together_and_never_those_of_an_operator() {
        let of = |scope, by_api, probe_ms| Hold { probe_ms, ..hold(scope, by_api) };
        let holds = [
            of(HoldScope::Account, true, Some(1_000)),
            of(HoldScope::Account, true, Some(9_000)),
            of(HoldScope::Account, false, None),
            of(HoldScope::Project("p".to_owned()), true, Some(9_000)),
        ];
        assert_eq!(due_for_a_test(&holds, 999), [false; 4]);
        assert_eq!(due_for_a_test(&holds, 1_000), [true, true, false, false]);
    }

    #[test]
    fn an_account_hold_that_is_still_in_force_lets_no_job_test_it() {
        assert_eq!(bound(&[(hold(HoldScope::Account, true), Found::Still)]).limit, 0);
        assert_eq!(bound(&[(hold(HoldScope::Account, true), Found::AskWithAJob)]).limit, 1);
        let two = [
            (hold(HoldScope::Account, false), Found::Still),
            (hold(HoldScope::Account, true), Found::AskWithAJob),
        ];
        assert_eq!(bound(&two).limit, 0);
    }

    #[test]
    fn the_job_that_tests_the_account_may_be_one_of_a_project_that_the_api_held_but_no_operator() {
        let account = (hold(HoldScope::Account, true), Found::AskWithAJob);
        let project = |by_api| hold(HoldScope::Project("p".to_owned()), by_api);
        let claim = bound(&[account.clone(), (project(true), Found::NotYet)]);
        assert_eq!((claim.limit, claim.probing, claim.held_projects.is_empty()), (1, true, true));
        let claim = bound(&[account.clone(), (project(true), Found::NotYet), (project(false), Found::Still)]);
        assert_eq!(claim.held_projects, ["p"]);
        let claim = bound(&[(project(true), Found::NotYet)]);
        assert_eq!((claim.limit, claim.probing, claim.held_projects), (32, false, vec!["p".to_owned()]));
    }

    #[test]
    fn a_project_that_an_operator_holds_too_is_not_tested_by_a_job() {
        let project = || HoldScope::Project("p".to_owned());
        let api_only = bound(&[(hold(project(), true), Found::AskWithAJob)]);
        assert_eq!((api_only.limit, api_only.probe_project.as_deref()), (1, Some("p")));
        let both =
            bound(&[(hold(project(), true), Found::AskWithAJob), (hold(project(), false), Found::Still)]);
        assert_eq!(both.probe_project, None);
        assert!(both.held_projects.contains(&"p".to_owned()));
    }

    #[test]
    fn of_two_projects_that_only_a_job_can_test_one_is_tested_and_the_other_waits() {
        let project = |id: &str| (hold(HoldScope::Project(id.to_owned()), true), Found::AskWithAJob);
        let claim = bound(&[project("p"), project("q")]);
        assert_eq!(claim.probe_project.as_deref(), Some("p"));
        assert!(claim.held_projects.contains(&"q".to_owned()));
    }
}
