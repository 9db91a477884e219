//! The figures of a plan: what it starts, what that costs at most, how long it takes. Stored with the plan, so that
//! what is asked before it starts is what was shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Made;
use crate::job::plan::{Deed, Step};
use crate::layers::Numbers;

/// What a plan amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    pub briefs: u64,
    pub containers: u64,
    /// Jobs that are started at most.
    pub starts: u64,
    /// Most credits that it may cost, as far as prices are known.
    pub credits_max: u64,
    /// Formats whose price nobody knows.
    pub unpriced: Vec<String>,
    pub by_format: BTreeMap<String, u64>,
    /// By the word of the deed.
    pub groups: Vec<Group>,
    /// Credits that are there, where the API told.
    pub balance: Option<i64>,
    /// Approved containers that go back to pending.
    pub approved_back_to_pending: u64,
    /// Seconds until the last one may start; `None`: there is no limit.
    pub last_start_seconds: Option<u64>,
    /// Starts in a window of the rate limit, and its seconds.
    pub start_rate: Option<(u32, u64)>,
}

/// Briefs to which the same happens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub deed: String,
    pub briefs: u64,
    pub containers: u64,
    pub starts: u64,
    /// `None`: the price of one of them is not known.
    pub credits_max: Option<u64>,
}

impl Figures {
    /// `rate`: the limits that the worker keeps.
    pub(super) fn of(made: &Made, rate: Option<Numbers>) -> Self {
        let steps = &made.plan.steps;
        let sum = |count: fn(&Step) -> u64| steps.iter().map(count).sum::<u64>();
        let mut by_format = BTreeMap::<String, u64>::new();
        for (format, n) in steps.iter().flat_map(|step| &step.formats) {
            *by_format.entry(format.clone()).or_default() += n;
        }
        let price = |format: &String| made.credits.prices.get(format).copied();
        let starts = sum(Step::starts);
        Self {
            briefs: count(steps.len()),
            containers: sum(Step::containers),
            starts,
            credits_max: by_format
                .iter()
                .filter_map(|(format, n)| Some(price(format)?.saturating_mul(*n)))
                .fold(0, u64::saturating_add),
            unpriced: by_format.keys().filter(|format| price(format).is_none()).cloned().collect(),
            groups: Deed::ALL.into_iter().filter_map(|deed| Group::of(deed, steps)).collect(),
            by_format,
            balance: made.credits.available,
            approved_back_to_pending: sum(Step::approved),
            last_start_seconds: rate.map(|rate| {
                let windows = starts.div_ceil(u64::from(rate.starts.max(1))).saturating_sub(1);
                windows.saturating_mul(rate.window.as_secs())
            }),
            start_rate: rate.map(|rate| (rate.starts, rate.window.as_secs())),
        }
    }
}

impl Group {
    fn of(deed: Deed, steps: &[Step]) -> Option<Self> {
        let mut group = Self { deed: deed.word().to_owned(), credits_max: Some(0), ..Self::default() };
        for step in steps.iter().filter(|step| step.deed == deed) {
            group.briefs += 1;
            group.containers += step.containers();
            group.starts += step.starts();
            group.credits_max =
                group.credits_max.zip(step.credits).map(|(sum, credits)| sum.saturating_add(credits));
        }
        (group.briefs > 0).then_some(group)
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
