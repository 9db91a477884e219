//! Holds, seen from the submit stage: what they leave to be claimed, how they are tested, how they are set and lifted.

use std::sync::Arc;

use super::Submit;
use crate::job::Refusal;
use crate::job::answer::{self, HoldReason};
use crate::layers::Priority;
use crate::ledger::{Claim, Claimed, Hold, HoldScope, LedgerError, LiftHold, SetHold};
use crate::stages::back_off::after;

/// `KILL_SWITCH` is probed this much slower than other holds.
const KILL_SWITCH_SLOWER: u32 = 5;

impl Submit {
    /// What may be claimed in view of the holds in force; `None`: nothing. Tests what is due for a test.
    pub(super) async fn plan_claim(&self, free: u32) -> Result<Option<(Claim, Arc<Vec<Hold>>)>, LedgerError> {
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
            probe_project: None,
        };
        let holds = Arc::new(self.desk.ledger.reader().holds().await?);
        for hold in holds.iter() {
            let due = hold.probe_ms.is_some_and(|probe_ms| probe_ms <= now_ms);
            let lifted = due && self.probe(hold, &mut claim).await?;
            if lifted {
                continue;
            }
            match &hold.scope {
                HoldScope::Account if due => claim.limit = 1,
                HoldScope::Account => return Ok(None),
                HoldScope::Project(id) => claim.held_projects.push(id.clone()),
                HoldScope::Batch(id) => claim.held_batches.push(id.clone()),
            }
        }
        Ok(Some((claim, holds)))
    }

    /// Tests a hold that the API set. `true`: lifted. Otherwise it is tested by one job, or again later.
    async fn probe(&self, hold: &Hold, claim: &mut Claim) -> Result<bool, LedgerError> {
        if let Err(error) = self.api.reload_key() {
            tracing::warn!(stage = "submit", %error, "the API key cannot be read again");
        }
        claim.key_fingerprint = self.api.key_fingerprint();
        let found = match &hold.scope {
            HoldScope::Account => self.probe_account(hold).await,
            HoldScope::Project(_) => self.probe_credits(hold).await,
            HoldScope::Batch(_) => Found::Still,
        };
        let next = SetHold(Hold { probe_ms: Some(self.next_probe(&hold.reason)), ..hold.clone() });
        match found {
            Found::Gone => {
                self.lift(hold).await?;
                return Ok(true);
            }
            Found::Still => {
                self.desk.ledger.write(next).await?;
                if hold.scope == HoldScope::Account {
                    claim.limit = 0;
                }
            }
            Found::AskWithAJob => {
                self.desk.ledger.write(next).await?;
                claim.limit = 1;
                if let HoldScope::Project(id) = &hold.scope {
                    claim.probe_project = Some(id.clone());
                }
            }
        }
        Ok(false)
    }

    async fn probe_account(&self, hold: &Hold) -> Found {
        let permit = self.limits.acquire_read(Priority::Ended).await;
        let answer = self.api.whoami().await;
        permit.answered();
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
        let permit = self.limits.acquire_read(Priority::Ended).await;
        let answer = self.api.credits().await;
        permit.answered();
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
                target = hold.scope.target(),
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
            by_api: true,
            since_ms: self.desk.clock.now_ms(),
            probe_ms: Some(self.next_probe(code)),
        };
        match self.desk.ledger.write(SetHold(hold.clone())).await {
            Ok(true) => {
                tracing::warn!(
                    stage = "submit",
                    scope = hold.scope.word(),
                    target = hold.scope.target(),
                    reason = code,
                    detail = hold.detail,
                    "starts are held; nothing fails, and it goes on by itself once this is mended"
                );
            }
            Ok(false) => {}
            Err(error) => tracing::error!(stage = "submit", %error, "a hold could not be stored"),
        }
    }
}

/// What a probe found.
enum Found {
    Gone,
    Still,
    AskWithAJob,
}
