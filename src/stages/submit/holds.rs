//! Holds, seen from the submit stage: what they leave to be claimed, and of what one job may be tried.

use super::probe::Tests;
use super::{InForce, Submit, UnderWay};
use crate::layers::Class;
use crate::ledger::{Claim, Hold, HoldScope, LedgerError, Work};
use crate::stages::holds::{API_DOWN, keep_reads, lift};

/// After so long one more job may be started that keeps no place yet, to see whether the API is down for all.
const BEYOND_EACH_MS: i64 = 10 * 60 * 1_000;

/// What may be claimed now.
pub(super) struct Plan {
    /// Whatever no hold is in the way of.
    pub(super) claim: Claim,
    /// One job for each of these, before that.
    pub(super) tries: Vec<Try>,
    /// The holds, for those who are claimed.
    pub(super) holds: Vec<Hold>,
}

/// One job of a scope that is held, to see whether the trouble is over. Each time another one, so that one that is
/// refused whatever happens does not keep the hold in force for all.
pub(super) struct Try {
    /// The account, or a project.
    scope: HoldScope,
    pub(super) claim: Claim,
}

impl Submit {
    /// What may be claimed in view of the holds in force. Tests what is due for a test.
    pub(super) async fn plan(&self, free: u32, under_way: &mut UnderWay) -> Result<Plan, LedgerError> {
        let now_ms = self.desk.clock.now_ms();
        let refused = self.observed.refusals.held();
        let mut holds = keep_reads(&self.desk).await?;
        if self.test_due(&holds, &mut under_way.tests).await? {
            holds = keep_reads(&self.desk).await?;
        }
        self.observed.refusals.forget_released(&refused, &holds);
        self.observed.note_down(holds.iter().any(|hold| hold.reason == API_DOWN));
        under_way.take_ended();
        let UnderWay { tests, posting, .. } = under_way;
        let posting: Vec<&str> = posting.iter().map(|(_, project)| project.as_str()).collect();
        tests.asking.retain(|asked| holds.iter().any(|hold| !hold.easing && is_of(hold, asked)));
        let claim = Claim {
            limit: free,
            boot: self.desk.ledger.boot().to_owned(),
            input: self.desk.ledger.input().clone(),
            now_ms,
            key_fingerprint: self.api.key_fingerprint(),
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            submitting_max: u32::try_from(self.settings.concurrency).unwrap_or(u32::MAX),
            running_max: self.running_max,
            ended_before_ms: self.desk.clock.ms_ago(self.settings.repeat_after),
            probe_project: None,
            probing: false,
            beyond: beyond(&holds, now_ms),
            forget_starts_ms: self.limits.forget_before_ms(Class::Start),
            turn: crate::ledger::Turn::default(),
        };
        let stands = |hold: &Hold| {
            let asking = tests.asking.iter().any(|asked| is_of(hold, asked));
            if asking || hold.easing { Stands::OneJob } else { Stands::Closed }
        };
        let (mut claim, mut tries) = bound(claim, holds.iter().map(|hold| (hold, stands(hold))), &posting);
        if tests.check_key_ms.is_some() {
            claim.limit = 0;
            tries.clear();
        }
        Ok(Plan { claim, tries, holds })
    }

    /// A job was claimed to try a scope, or there was none. If nothing is due, a hold that seemed to be over is; and one
    /// of which only a job can tell lets reads go on, which tell as well: what runs was paid for, and is followed.
    pub(super) async fn tried(
        &self,
        tried: &Try,
        work: &Work,
        in_force: &InForce,
        tests: &mut Tests,
    ) -> Result<bool, LedgerError> {
        if work.full && work.claimed.is_empty() {
            return Ok(false);
        }
        // Where nothing is due, it is not searched for again before the hold's next test.
        let asked = std::mem::take(&mut tests.asking);
        tests.asking = asked.iter().filter(|(scope, _)| *scope != tried.scope).cloned().collect();
        if !work.claimed.is_empty() {
            return Ok(false);
        }
        let mut lifted = false;
        let reads = |hold: &Hold| hold.stops_reads && asked.iter().any(|asked| is_of(hold, asked));
        let over = |hold: &&Hold| hold.scope == tried.scope && (hold.easing || reads(hold));
        for hold in in_force.holds.iter().filter(over) {
            lift(&self.desk, hold).await?;
            lifted = true;
        }
        Ok(lifted)
    }
}

/// Jobs that a test of `API_DOWN` may start beyond the places: one, and one more for each ten minutes that it lasts.
fn beyond(holds: &[Hold], now_ms: i64) -> i64 {
    let down = holds.iter().find(|hold| hold.reason == API_DOWN);
    down.map_or(0, |hold| 1 + (now_ms - hold.since_ms).max(0) / BEYOND_EACH_MS)
}

fn is_of(hold: &Hold, (scope, reason): &(HoldScope, String)) -> bool {
    hold.scope == *scope && hold.reason == *reason
}

/// What a hold lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// Nothing.
    Closed,
    /// One job at a time.
    OneJob,
}

/// Narrows a claim to what its holds leave, and says of what one job may be tried: where no other hold stands in its
/// way, and none of that scope is under way. Where a job tries the account, it may be one of a project that the API
/// held: should all work be in such projects, nothing else would ever be tried.
fn bound<'a>(
    mut claim: Claim,
    holds: impl Iterator<Item = (&'a Hold, Stands)>,
    posting: &[&str],
) -> (Claim, Vec<Try>) {
    let mut account = None;
    let (mut closed, mut one): (Vec<&Hold>, Vec<&Hold>) = (Vec::new(), Vec::new());
    for (hold, stands) in holds {
        match (&hold.scope, stands) {
            (HoldScope::Account, Stands::OneJob) => account = account.or(Some(Stands::OneJob)),
            (HoldScope::Account, Stands::Closed) => account = Some(Stands::Closed),
            (HoldScope::Project(_), Stands::OneJob) => one.push(hold),
            (HoldScope::Project(_), Stands::Closed) => closed.push(hold),
            (HoldScope::Batch { project, batch }, _) => {
                claim.held_batches.push((project.clone().unwrap_or_default(), batch.clone()));
            }
        }
    }
    let ids = |holds: &[&Hold]| holds.iter().map(|hold| hold.scope.project().to_owned()).collect::<Vec<_>>();
    let try_one = Claim { limit: claim.limit.min(1), probing: true, ..claim.clone() };
    let mut tries = Vec::new();
    if account.is_some() {
        claim.limit = 0;
        if account == Some(Stands::OneJob) && posting.is_empty() {
            closed.retain(|hold| !hold.by_api);
            let claim = Claim { held_projects: ids(&closed), ..try_one };
            tries.push(Try { scope: HoldScope::Account, claim });
        }
        return (claim, tries);
    }
    for id in ids(&one) {
        let in_its_way =
            closed.iter().any(|hold| hold.scope.project() == id) || posting.contains(&id.as_str());
        if !in_its_way && !claim.held_projects.contains(&id) {
            let scope = HoldScope::Project(id.clone());
            tries.push(Try { scope, claim: Claim { probe_project: Some(id.clone()), ..try_one.clone() } });
        }
        claim.held_projects.push(id);
    }
    claim.held_projects.extend(ids(&closed));
    (claim, tries)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ledger::Input;

    pub(crate) fn hold(scope: HoldScope, by_api: bool) -> Hold {
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

    /// What is left to be claimed, with the scopes of which one job may be tried.
    fn left(holds: &[(Hold, Stands)], posting: &[&str]) -> (Claim, Vec<(HoldScope, Claim)>) {
        let claim = Claim {
            limit: 32,
            boot: String::new(),
            input: Input::Queue,
            now_ms: 0,
            key_fingerprint: String::new(),
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            submitting_max: 32,
            running_max: 0,
            ended_before_ms: i64::MAX,
            probe_project: None,
            probing: false,
            beyond: 0,
            forget_starts_ms: None,
            turn: crate::ledger::Turn::default(),
        };
        let (claim, tries) = bound(claim, holds.iter().map(|(hold, stands)| (hold, *stands)), posting);
        (claim, tries.into_iter().map(|one| (one.scope, one.claim)).collect())
    }

    fn project(id: &str, by_api: bool) -> Hold {
        hold(HoldScope::Project(id.to_owned()), by_api)
    }

    #[test]
    fn an_account_hold_lets_nothing_through_but_one_job_that_tries_it() {
        let account = |by_api| hold(HoldScope::Account, by_api);
        let (claim, tries) = left(&[(account(true), Stands::Closed)], &[]);
        assert_eq!((claim.limit, tries.len()), (0, 0));
        let (claim, tries) = left(&[(account(true), Stands::OneJob)], &[]);
        assert_eq!((claim.limit, tries.len(), tries[0].1.limit, tries[0].1.probing), (0, 1, 1, true));
        let two = [(account(false), Stands::Closed), (account(true), Stands::OneJob)];
        assert!(left(&two, &[]).1.is_empty());
        let two = [(account(true), Stands::OneJob), (account(false), Stands::Closed)];
        assert!(left(&two, &[]).1.is_empty());
        assert!(left(&[(account(true), Stands::OneJob)], &["q"]).1.is_empty(), "one at a time");
    }

    #[test]
    fn the_job_that_tries_the_account_may_be_one_of_a_project_that_the_api_held_but_no_operator() {
        let account = (hold(HoldScope::Account, true), Stands::OneJob);
        let (_, tries) = left(&[account.clone(), (project("p", true), Stands::Closed)], &[]);
        assert!(tries[0].1.held_projects.is_empty());
        let operators =
            [account, (project("p", true), Stands::Closed), (project("p", false), Stands::Closed)];
        assert_eq!(left(&operators, &[]).1[0].1.held_projects, ["p"]);
    }

    #[test]
    fn held_projects_are_tried_by_one_job_each_while_the_others_go_on() {
        let holds = [
            (project("p", true), Stands::OneJob),
            (project("q", true), Stands::OneJob),
            (project("r", true), Stands::Closed),
        ];
        let (claim, tries) = left(&holds, &["q", "other"]);
        assert_eq!((claim.limit, claim.held_projects), (32, vec!["p".into(), "q".into(), "r".into()]));
        assert_eq!(tries.len(), 1, "of q one is under way");
        assert_eq!((tries[0].1.limit, tries[0].1.probe_project.as_deref()), (1, Some("p")));
    }

    #[test]
    fn a_project_that_an_operator_holds_too_is_not_tried_by_a_job() {
        let both = [(project("p", true), Stands::OneJob), (project("p", false), Stands::Closed)];
        let (claim, tries) = left(&both, &[]);
        assert!(tries.is_empty());
        assert!(claim.held_projects.contains(&"p".to_owned()));
    }
}
