//! Tests holds by reading: who we are, what the wallet has, whether anybody answers at all.

use std::time::Duration;

use super::Submit;
use crate::job::{NoAnswer, NoAnswerKind, Trouble};
use crate::layers::{Credits, ListQuery, Priority, Whoami};
use crate::ledger::{ChangeHold, Hold, HoldScope, LedgerError};
use crate::stages::back_off::after;
use crate::stages::belongs;
use crate::stages::holds::{
    API_DOWN, BILLING_EXHAUSTED, FORBIDDEN_SCOPE, KILL_SWITCH, OTHER_ORGANIZATION, UNAUTHENTICATED,
    distrust_key, ease, next_probe, note_refusal,
};

/// How long one read of a test may take: everything else of the stage waits for it.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// When it is asked again whose a new key is, if nobody answered.
const CHECK_AGAIN: Duration = Duration::from_secs(5);

/// What the stage remembers of its tests between two rounds.
#[derive(Debug, Default)]
pub(super) struct Tests {
    /// Holds of which reading told that only a job can tell. One job does, then they wait for their next test.
    pub(super) asking: Vec<(HoldScope, String)>,
    /// The key was read again, and nobody has told yet whose it is: when to ask, milliseconds since 1970. Nothing
    /// starts before.
    pub(super) check_key_ms: Option<i64>,
}

/// What a test found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// The hold seems to be over.
    Gone,
    /// It is in force.
    Still,
    /// Only a job can tell.
    AskWithAJob,
}

/// What the tests of one round have read already.
#[derive(Default)]
struct Answers {
    me: Option<Result<Whoami, Trouble>>,
    /// The ledger belongs to the key's organization.
    ours: bool,
    credits: Option<Result<Credits, Trouble>>,
}

impl Submit {
    /// Tests the holds that are due for it. Returns whether holds may have changed.
    pub(super) async fn test_due(&self, holds: &[Hold], tests: &mut Tests) -> Result<bool, LedgerError> {
        let now_ms = self.desk.clock.now_ms();
        let due = due_for_a_test(holds, now_ms);
        let any_due = due.contains(&true);
        if !any_due && tests.check_key_ms.is_none_or(|check_ms| check_ms > now_ms) {
            return Ok(false);
        }
        let mut answers = Answers::default();
        if any_due {
            self.reload_key(tests);
        }
        if tests.check_key_ms.is_some() {
            self.whoami(&mut answers, tests).await;
        }
        for hold in holds.iter().zip(due).filter_map(|(hold, due)| due.then_some(hold)) {
            self.test(hold, &mut answers, tests).await?;
        }
        Ok(true)
    }

    async fn test(&self, hold: &Hold, answers: &mut Answers, tests: &mut Tests) -> Result<(), LedgerError> {
        let mut hold = hold.clone();
        let found = match &hold.scope {
            HoldScope::Account | HoldScope::Project(_) if hold.reason == BILLING_EXHAUSTED => {
                self.read_wallet(&mut hold, answers).await
            }
            HoldScope::Account if hold.reason == API_DOWN => self.look_for_life(answers, tests).await,
            HoldScope::Account if hold.reason == OTHER_ORGANIZATION => {
                self.whoami(answers, tests).await;
                if answers.ours { Found::Gone } else { Found::Still }
            }
            HoldScope::Account => about(&hold.reason, self.whoami(answers, tests).await),
            HoldScope::Project(_) => Found::AskWithAJob,
            HoldScope::Batch { .. } => Found::Still,
        };
        tests.asking.retain(|(scope, reason)| (scope, reason) != (&hold.scope, &hold.reason));
        if found == Found::Gone {
            return ease(&self.desk, &hold).await;
        }
        if found == Found::AskWithAJob {
            tests.asking.push((hold.scope.clone(), hold.reason.clone()));
        }
        hold.probe_ms = Some(next_probe(&self.desk, self.settings.probe_interval, &hold.reason));
        self.desk.ledger.write(ChangeHold(hold)).await.map(drop)
    }

    /// A new key may be that of another organization: until that is known, nothing starts and nothing is read.
    fn reload_key(&self, tests: &mut Tests) {
        let checked = tests.check_key_ms.is_none();
        distrust_key(&self.desk, true);
        match self.api.reload_key() {
            Ok(false) if checked => distrust_key(&self.desk, false),
            Ok(_) => tests.check_key_ms = Some(self.desk.clock.now_ms()),
            Err(error) => {
                distrust_key(&self.desk, !checked);
                tracing::warn!(stage = "submit", %error, "the API key cannot be read again");
            }
        }
    }

    /// The key that we begin with may be that of another organization, too, if the ledger has never been used with it.
    pub(super) async fn distrust_new_key(&self, tests: &mut Tests) {
        let key = self.api.key_fingerprint();
        let foreign = self.desk.ledger.reader().may_be_foreign(&key).await.unwrap_or_else(|error| {
            tracing::warn!(stage = "submit", %error, "it is not known whether the ledger was used with this API key");
            true
        });
        distrust_key(&self.desk, foreign);
        tests.check_key_ms = foreign.then(|| self.desk.clock.now_ms());
    }

    /// Asks who we are, once a round, and draws the conclusions about key and organization.
    async fn whoami<'a>(&self, answers: &'a mut Answers, tests: &mut Tests) -> &'a Result<Whoami, Trouble> {
        let me = match answers.me.take() {
            Some(known) => known,
            None => self.ask_who(answers, tests).await,
        };
        answers.me.insert(me)
    }

    async fn ask_who(&self, answers: &mut Answers, tests: &mut Tests) -> Result<Whoami, Trouble> {
        let me = self.ask(self.api.whoami()).await;
        let told = match &me {
            Ok(me) => {
                if let Some(organization) = me.organization_id.clone() {
                    let whose = (organization, self.api.key_fingerprint());
                    answers.ours = belongs(&self.desk, self.settings.probe_interval, whose).await;
                }
                true
            }
            Err(trouble) => {
                note_refusal(&self.desk, self.settings.probe_interval, trouble).await;
                trouble.is_not_found()
            }
        };
        if told {
            tests.check_key_ms = None;
            distrust_key(&self.desk, false);
        } else if tests.check_key_ms.is_some() {
            tests.check_key_ms = Some(after(self.desk.clock.now_ms(), CHECK_AGAIN));
        }
        me
    }

    /// `GET`s may be answered although starts are not, so an answer is only a reason to try one.
    async fn look_for_life(&self, answers: &mut Answers, tests: &mut Tests) -> Found {
        let me = self.whoami(answers, tests).await;
        if is_answer(me) && !me.as_ref().is_err_and(Trouble::is_not_found) {
            return Found::AskWithAJob;
        }
        // A deployment without whoami, or one whose whoami alone is broken.
        let Ok((_, Some(project))) = self.desk.ledger.silent(&[]).await else { return Found::AskWithAJob };
        let query = ListQuery { limit: Some(1), ..ListQuery::default() };
        let listed = self.ask(self.api.list(&project, &query)).await;
        if is_answer(&listed) { Found::AskWithAJob } else { Found::Still }
    }

    /// Whether the wallet has what is needed, which the hold tells from now on.
    async fn read_wallet(&self, hold: &mut Hold, answers: &mut Answers) -> Found {
        if answers.credits.is_none() {
            answers.credits = Some(self.ask(self.api.credits()).await);
        }
        let available = match &answers.credits {
            Some(Ok(credits)) => {
                self.prices.learn(credits.per_format.clone());
                credits.available
            }
            Some(Err(trouble)) if trouble.is_not_found() => None,
            Some(Err(trouble)) => {
                note_refusal(&self.desk, self.settings.probe_interval, trouble).await;
                return Found::Still;
            }
            None => return Found::Still,
        };
        hold.available = available.or(hold.available);
        let needed = match hold.scope {
            HoldScope::Account => Some(self.cheapest()),
            HoldScope::Project(_) | HoldScope::Batch { .. } => hold.required,
        };
        match (available, needed) {
            (Some(available), Some(needed)) if available >= needed => Found::Gone,
            (Some(_), Some(_)) => Found::Still,
            (None, _) | (_, None) => Found::AskWithAJob,
        }
    }

    /// Below this the wallet is empty.
    pub(super) fn cheapest(&self) -> i64 {
        self.prices.cheapest().and_then(|price| i64::try_from(price).ok()).unwrap_or(1).max(1)
    }

    /// One read, given up after a while.
    pub(super) async fn ask<T: Send>(
        &self,
        read: impl Future<Output = Result<T, Trouble>> + Send,
    ) -> Result<T, Trouble> {
        let asked = async {
            let permit = self.limits.acquire_read(Priority::Ended).await;
            let answer = read.await;
            permit.answered();
            answer
        };
        let in_time = tokio::time::timeout(READ_LIMIT, asked);
        match self.desk.stopping.run_until_cancelled(in_time).await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) | None => Err(no_answer()),
        }
    }
}

fn no_answer() -> Trouble {
    let detail = "no answer in time".to_owned();
    Trouble::NoAnswer(NoAnswer { kind: NoAnswerKind::Timeout, status: None, detail })
}

/// Whether the API itself has spoken, not the network or a gateway.
fn is_answer<T>(answer: &Result<T, Trouble>) -> bool {
    match answer {
        Ok(_) | Err(Trouble::Refusal(_)) => true,
        Err(Trouble::NotConnected(_) | Trouble::NoAnswer(_)) => false,
    }
}

/// What `whoami` tells about a hold of the account.
fn about(reason: &str, answer: &Result<Whoami, Trouble>) -> Found {
    let me = match answer {
        Ok(me) => me,
        Err(trouble) if trouble.is_not_found() => return Found::AskWithAJob,
        Err(_) => return Found::Still,
    };
    if me.kill_switch == Some(true) || me.access_revoked == Some(true) {
        return Found::Still;
    }
    match (reason, &me.scopes) {
        (FORBIDDEN_SCOPE, Some(scopes)) if !scopes.iter().any(|scope| scope == "content:write") => {
            Found::Still
        }
        (FORBIDDEN_SCOPE, Some(_)) | (UNAUTHENTICATED, _) => Found::Gone,
        (KILL_SWITCH, _) if me.kill_switch == Some(false) => Found::Gone,
        _ => Found::AskWithAJob,
    }
}

/// Which holds are to be tested now. Those on the account together: tested in turns, each of two that only a job can
/// test would find the other one in its way.
fn due_for_a_test(holds: &[Hold], now_ms: i64) -> Vec<bool> {
    let due = |hold: &Hold| !hold.easing && hold.probe_ms.is_some_and(|probe_ms| probe_ms <= now_ms);
    let of_account =
        |hold: &Hold| hold.scope == HoldScope::Account && hold.probe_ms.is_some() && !hold.easing;
    let account_due = holds.iter().any(|hold| of_account(hold) && due(hold));
    holds.iter().map(|hold| due(hold) || (account_due && of_account(hold))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::holds::tests::hold;
    use super::*;

    #[test]
    fn holds_on_the_account_are_tested_together_and_never_those_of_an_operator() {
        let of = |scope, by_api, probe_ms| Hold { probe_ms, ..hold(scope, by_api) };
        let holds = [
            of(HoldScope::Account, true, Some(1_000)),
            of(HoldScope::Account, true, Some(9_000)),
            of(HoldScope::Account, false, None),
            of(HoldScope::Project("p".to_owned()), true, Some(9_000)),
            Hold { easing: true, ..of(HoldScope::Account, true, Some(1_000)) },
        ];
        assert_eq!(due_for_a_test(&holds, 999), [false; 5]);
        assert_eq!(due_for_a_test(&holds, 1_000), [true, true, false, false, false]);
    }

    #[test]
    fn what_who_am_i_tells_about_a_hold() {
        let me = |kill_switch, scopes: Option<&[&str]>| Whoami {
            organization_id: None,
            organization_name: None,
            workspace_id: None,
            api_key_id: None,
            scopes: scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect()),
            tier: None,
            kill_switch,
            access_revoked: None,
            credit_balance: None,
        };
        let found = |reason, me: Whoami| about(reason, &Ok(me));
        assert_eq!(found(UNAUTHENTICATED, me(None, None)), Found::Gone);
        assert_eq!(found(UNAUTHENTICATED, me(Some(true), None)), Found::Still);
        assert_eq!(found(KILL_SWITCH, me(Some(false), None)), Found::Gone);
        assert_eq!(found(KILL_SWITCH, me(None, None)), Found::AskWithAJob);
        assert_eq!(found(FORBIDDEN_SCOPE, me(None, Some(&["content:read"]))), Found::Still);
        assert_eq!(found(FORBIDDEN_SCOPE, me(None, Some(&["content:write"]))), Found::Gone);
        assert_eq!(found(FORBIDDEN_SCOPE, me(None, None)), Found::AskWithAJob);
        assert_eq!(found("I_AM_NEW", me(None, None)), Found::AskWithAJob);
        assert_eq!(about(UNAUTHENTICATED, &Err(no_answer())), Found::Still);
    }
}
