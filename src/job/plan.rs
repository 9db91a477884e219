//! PURE. What a rerun would do with each brief: look again, regenerate, submit anew, or leave out, and why.
//!
//! Invariants:
//! - Only what ended without a result is run again, unless it was asked for by name: canceled, or rejected by a reviewer.
//! - A container that exists is never made a second time beside itself: it is regenerated, after a look. A brief is
//!   submitted anew only if the API never named a container of it.
//! - What the API would refuse again as it is costs nothing: it is left out, unless it was changed, or somebody insists.
//!
//! It buys nothing and starts nothing. By the time a plan is carried out each brief is looked at again.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::BriefState;
use crate::brief::Identity;
use crate::record::{Remedy, Source, remedy};

/// The code by which `--code` takes what a reviewer rejected.
pub const REJECTED: &str = "REJECTED";

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Briefs whose current run this is.
    pub run: i64,
    /// Only what has one of these codes; empty: whatever it has.
    pub codes: Vec<String>,
    /// What was canceled, too.
    pub canceled: bool,
    /// What a reviewer rejected, too.
    pub rejected: bool,
    /// Also what would be refused again as it is.
    pub include_unchanged: bool,
    /// Spend no more than this.
    pub credits_max: Option<u64>,
}

/// What is known of a brief that may be run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The ledger's number of it.
    pub brief: i64,
    /// Which brief.
    pub identity: Identity,
    /// Its current run.
    pub run: i64,
    /// Its state.
    pub state: BriefState,
    /// When it changed last, milliseconds since 1970.
    pub changed_ms: i64,
    /// When it first came, milliseconds since 1970.
    pub received_ms: i64,
    /// 0 to 9, as the rerun would have it.
    pub priority: u8,
    /// What was asked for.
    pub format: String,
    /// Containers asked for, as the rerun would have it.
    pub variant_count: u8,
    /// Its containers.
    pub containers: Vec<Container>,
    /// Why it failed as a whole.
    pub trouble: Option<Code>,
    /// Whether the rerun asks for something else.
    pub change: Change,
}

/// One container of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Which variant.
    pub variant: i64,
    /// The API has named it.
    pub named: bool,
    /// Where it stands.
    pub status: ContainerStatus,
    /// Why its latest record is no completed one.
    pub trouble: Option<Code>,
    /// What was made, or asked for.
    pub format: String,
    /// A reviewer approved it.
    pub approved: bool,
    /// A reviewer rejected it.
    pub rejected: bool,
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContainerStatus {
    /// At work.
    Running,
    /// With a result.
    Completed,
    /// Without one.
    Failed,
    /// Because somebody asked.
    Canceled,
    /// Given up; it may have a result by now.
    Lost,
}

impl ContainerStatus {
    /// The status of the ledger's word.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "running" => Self::Running,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "canceled" => Self::Canceled,
            "lost" => Self::Lost,
            _other => return None,
        })
    }
}

/// An error code, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code.
    pub code: String,
    /// Who says so.
    pub source: Source,
}

impl Code {
    fn remedy(&self) -> Remedy {
        remedy(&self.code, self.source)
    }
}

/// Whether a rerun asks for something else than the run before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// For the same.
    None,
    /// For something else; these paths outside of `brief` differ.
    Changed(Vec<String>),
    /// For what cannot be asked for, and why.
    Invalid(String),
}

/// What happens to a brief.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Deed {
    /// Its containers were given up: what they are by now is free, only what failed is regenerated.
    LookAgain,
    /// Its containers are regenerated under their ids.
    Regenerate,
    /// It never got a container: it is submitted anew.
    Anew,
}

impl Deed {
    /// Every deed.
    pub const ALL: [Self; 3] = [Self::LookAgain, Self::Regenerate, Self::Anew];

    /// The word in plans.
    pub const fn word(self) -> &'static str {
        match self {
            Self::LookAgain => "look again",
            Self::Regenerate => "regenerate",
            Self::Anew => "submit anew",
        }
    }
}

/// Why a brief is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// What was changed cannot be asked for.
    Invalid(String),
    /// Containers exist, so only `brief` may change; these paths differ, too.
    OnlyBrief(Vec<String>),
    /// The API would refuse it again as it is.
    Refused(String),
    /// A rerun cannot help.
    NoHelp(String),
    /// It was canceled, and that was not asked for.
    Canceled,
    /// No container that exists is to be made again.
    NothingToDo,
    /// It has not ended.
    NotEnded(BriefState),
    /// Its current run is another one than was asked for.
    OtherRun(i64),
    /// Nobody knows what it costs, and no more than so much is to be spent.
    PriceUnknown(String),
    /// It does not fit into what is to be spent.
    OverBudget,
}

/// A brief that is run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which, as it was looked at.
    pub candidate: Candidate,
    /// What happens to it.
    pub deed: Deed,
    /// Variants that are regenerated; none for one that is submitted anew.
    pub taken: Vec<i64>,
    /// Containers by format.
    pub formats: BTreeMap<String, u64>,
    /// Most credits that it may cost; `None`: nobody knows.
    pub credits: Option<u64>,
}

impl Step {
    /// Jobs that are started for it at most.
    pub fn starts(&self) -> u64 {
        match self.deed {
            Deed::LookAgain | Deed::Regenerate => number(self.taken.len()),
            Deed::Anew => 1,
        }
    }

    /// Containers that it may make.
    pub fn containers(&self) -> u64 {
        self.formats.values().sum()
    }

    /// Approved containers of it whose approval goes back to pending.
    pub fn approved(&self) -> u64 {
        let taken = |one: &&Container| one.approved && self.taken.contains(&one.variant);
        number(self.candidate.containers.iter().filter(taken).count())
    }

    /// Whether a variant is taken because a reviewer rejected it.
    pub fn is_rejected(&self, variant: i64) -> bool {
        let one = self.candidate.containers.iter().find(|one| one.variant == variant);
        one.is_some_and(|one| one.status == ContainerStatus::Completed)
    }
}

/// What a rerun would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Briefs that are run again, in the order in which they start.
    pub steps: Vec<Step>,
    /// Briefs that are left out, and why, in the order in which they came.
    pub left_out: Vec<(Identity, Reason)>,
}

/// Decides about each candidate. `price`: credits of one container of a format.
pub fn plan(candidates: Vec<Candidate>, wish: &Wish, price: impl Fn(&str) -> Option<u64>) -> Plan {
    let mut plan = Plan::default();
    for candidate in candidates {
        match wish.verdict(&candidate) {
            Verdict::Take(deed, taken) => plan.steps.push(step(candidate, deed, taken, &price)),
            Verdict::LeaveOut(reason) => plan.left_out.push((candidate.identity, reason)),
            Verdict::NotMeant => {}
        }
    }
    plan.steps.sort_by_key(|step| {
        (Reverse(step.candidate.priority), step.candidate.received_ms, step.candidate.brief)
    });
    if let Some(max) = wish.credits_max {
        plan.keep_within(max);
    }
    plan
}

impl Plan {
    /// Whole briefs in their order, each if it still fits.
    fn keep_within(&mut self, max: u64) {
        let mut spent = 0_u64;
        for step in std::mem::take(&mut self.steps) {
            match step.credits {
                None => {
                    let formats = step.formats.keys().cloned().collect::<Vec<_>>().join(", ");
                    self.left_out.push((step.candidate.identity, Reason::PriceUnknown(formats)));
                }
                Some(credits) if credits <= max.saturating_sub(spent) => {
                    spent = spent.saturating_add(credits);
                    self.steps.push(step);
                }
                Some(_) => self.left_out.push((step.candidate.identity, Reason::OverBudget)),
            }
        }
    }
}

fn step(candidate: Candidate, deed: Deed, taken: Vec<i64>, price: impl Fn(&str) -> Option<u64>) -> Step {
    let mut formats = BTreeMap::new();
    match deed {
        Deed::Anew => {
            formats.insert(candidate.format.clone(), u64::from(candidate.variant_count));
        }
        Deed::LookAgain | Deed::Regenerate => {
            for one in candidate.containers.iter().filter(|one| taken.contains(&one.variant)) {
                *formats.entry(one.format.clone()).or_default() += 1;
            }
        }
    }
    let credits = formats
        .iter()
        .map(|(format, n)| Some(price(format)?.saturating_mul(*n)))
        .try_fold(0_u64, |sum, credits| Some(sum.saturating_add(credits?)));
    Step { candidate, deed, taken, formats, credits }
}

enum Verdict {
    Take(Deed, Vec<i64>),
    LeaveOut(Reason),
    /// Nobody asked about it.
    NotMeant,
}

impl Wish {
    fn verdict(&self, candidate: &Candidate) -> Verdict {
        match candidate.state {
            BriefState::Scheduled
            | BriefState::Waiting
            | BriefState::Held
            | BriefState::Submitting
            | BriefState::Running
            | BriefState::Parked => return Verdict::LeaveOut(Reason::NotEnded(candidate.state)),
            BriefState::Completed => {
                if !(self.rejected && candidate.containers.iter().any(|one| one.rejected)) {
                    return Verdict::NotMeant;
                }
            }
            BriefState::Partial | BriefState::Failed | BriefState::Canceled => {}
        }
        if candidate.run != self.run {
            return Verdict::LeaveOut(Reason::OtherRun(candidate.run));
        }
        if let Change::Invalid(why) = &candidate.change {
            return Verdict::LeaveOut(Reason::Invalid(why.clone()));
        }
        if candidate.containers.iter().any(|one| one.named) {
            self.existing(candidate)
        } else {
            self.anew(candidate)
        }
    }

    /// A brief that never got a container.
    fn anew(&self, candidate: &Candidate) -> Verdict {
        let of_container = candidate.containers.iter().find_map(|one| one.trouble.as_ref());
        let trouble = candidate.trouble.as_ref().or(of_container);
        if !self.means(trouble.map(|trouble| trouble.code.as_str())) {
            return Verdict::NotMeant;
        }
        if candidate.state == BriefState::Canceled && !self.canceled {
            return Verdict::LeaveOut(Reason::Canceled);
        }
        match self.in_vain(candidate, trouble) {
            Some(reason) => Verdict::LeaveOut(reason),
            None => Verdict::Take(Deed::Anew, Vec::new()),
        }
    }

    /// A brief of which containers exist.
    fn existing(&self, candidate: &Candidate) -> Verdict {
        let mut taken = Vec::new();
        let mut all_lost = true;
        let mut left = None;
        for one in &candidate.containers {
            match self.takes(candidate, one) {
                Ok(true) => {
                    taken.push(one.variant);
                    all_lost &= one.status == ContainerStatus::Lost;
                }
                Ok(false) => {}
                Err(reason) => left = Some(left.map_or(reason.clone(), |before: Reason| before.min(reason))),
            }
        }
        match (taken.is_empty(), left, &candidate.change) {
            (true, Some(reason), _) => Verdict::LeaveOut(reason),
            (true, None, _) if !self.codes.is_empty() => Verdict::NotMeant,
            (true, None, _) => Verdict::LeaveOut(Reason::NothingToDo),
            (false, _, Change::Changed(others)) if !others.is_empty() => {
                Verdict::LeaveOut(Reason::OnlyBrief(others.clone()))
            }
            (false, _, _) if all_lost => Verdict::Take(Deed::LookAgain, taken),
            (false, _, _) => Verdict::Take(Deed::Regenerate, taken),
        }
    }

    /// Whether a container is taken; `false`: nobody asked about it.
    fn takes(&self, candidate: &Candidate, one: &Container) -> Result<bool, Reason> {
        let code = one.trouble.as_ref().map(|trouble| trouble.code.as_str());
        match one.status {
            ContainerStatus::Running => Ok(false),
            ContainerStatus::Completed => Ok(self.rejected && one.rejected && self.means(Some(REJECTED))),
            ContainerStatus::Canceled => match (self.means(code), self.canceled) {
                (false, _) => Ok(false),
                (true, false) => Err(Reason::Canceled),
                (true, true) => Ok(true),
            },
            ContainerStatus::Failed | ContainerStatus::Lost => {
                if !self.means(code) {
                    return Ok(false);
                }
                if !one.named {
                    return Err(Reason::NoHelp(code.unwrap_or_default().to_owned()));
                }
                self.in_vain(candidate, one.trouble.as_ref()).map_or(Ok(true), Err)
            }
        }
    }

    /// Why another run would end like the one before; `None`: it may not.
    fn in_vain(&self, candidate: &Candidate, trouble: Option<&Code>) -> Option<Reason> {
        let trouble = trouble?;
        if self.include_unchanged || matches!(candidate.change, Change::Changed(_)) {
            return None;
        }
        match trouble.remedy() {
            Remedy::Rerun => None,
            Remedy::Change => Some(Reason::Refused(trouble.code.clone())),
            Remedy::None => Some(Reason::NoHelp(trouble.code.clone())),
        }
    }

    fn means(&self, code: Option<&str>) -> bool {
        self.codes.is_empty() || code.is_some_and(|code| self.codes.iter().any(|asked| asked == code))
    }
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
