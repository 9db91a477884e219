//! How fast it goes, and how much longer it takes: an estimate, and said to be one.

use std::time::Duration;

use super::super::table::thousands;
use super::super::times::roughly;
use super::facts::BatchFacts;
use crate::config::Layers;
use crate::config::layers::Tier;
use crate::job::BriefState;
use crate::layers::Numbers;
use crate::layers::limits::numbers;
use crate::ledger::{LedgerError, Pace, Reader};

/// How much longer a batch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Everything has ended.
    Done,
    /// What waits, and what is announced, starts within about this.
    About(Duration),
    /// Everything has been started; generation takes minutes.
    Soon,
    /// Only what is held or parked is left: it depends on people.
    Stuck(BriefState),
    /// Only what is not due yet is left.
    Later,
    /// What has come has ended, but fewer briefs have come than were announced.
    Incoming,
}

impl Left {
    pub(super) fn of(batch: &BatchFacts, numbers: Option<Numbers>) -> Self {
        let n = |state| batch.counts.get(state);
        let incoming = batch.size.map_or(0, |size| (size - batch.counts.total()).max(0));
        if batch.counts.open() == 0 {
            if incoming > 0 { Self::Incoming } else { Self::Done }
        } else if n(BriefState::Waiting) > 0 {
            Self::About(to_start(n(BriefState::Waiting) + incoming, numbers))
        } else if n(BriefState::Running) + n(BriefState::Submitting) > 0 {
            Self::Soon
        } else if n(BriefState::Held) > 0 {
            Self::Stuck(BriefState::Held)
        } else if n(BriefState::Parked) > 0 {
            Self::Stuck(BriefState::Parked)
        } else {
            Self::Later
        }
    }

    pub(super) fn word(self) -> String {
        match self {
            Self::Done => "done".to_owned(),
            Self::About(left) => roughly(left),
            Self::Soon => "soon".to_owned(),
            Self::Stuck(state) => state.word().to_owned(),
            Self::Later => "later".to_owned(),
            Self::Incoming => "incoming".to_owned(),
        }
    }

    /// In seconds, where there is a number.
    pub(super) fn seconds(self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::About(left) => Some(left.as_secs()),
            Self::Soon | Self::Stuck(_) | Self::Later | Self::Incoming => None,
        }
    }
}

/// How long `waiting` starts take at the rate limit's pace.
fn to_start(waiting: i64, numbers: Option<Numbers>) -> Duration {
    let Some(numbers) = numbers.filter(|numbers| numbers.starts < u32::MAX) else {
        return Duration::from_mins(1);
    };
    let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
    numbers.window.saturating_mul(waiting) / numbers.starts.max(1)
}

/// The rate limits that a worker at this ledger keeps; `None`: none.
pub(in crate::cli) async fn limits(reader: &Reader, layers: &Layers) -> Result<Option<Numbers>, LedgerError> {
    // What the API told the worker goes before what the settings begin with.
    let told = match layers.tier {
        Tier::Auto => reader.meta("tier").await?.as_deref().and_then(Numbers::with_tier_word),
        Tier::Standard | Tier::Pilot | Tier::Partner | Tier::Unlimited => None,
    };
    let told = told.map(|told| told.overridden(layers.limits));
    Ok(told.or_else(|| numbers(layers.tier, layers.limits)))
}

/// How fast it goes, and how fast it may.
#[derive(Debug)]
pub(super) struct PaceFacts {
    /// The limits in force; `None`: none.
    pub numbers: Option<Numbers>,
    pub starts: i64,
    pub reads: i64,
    pub known_after_ms: Option<i64>,
}

impl PaceFacts {
    pub(super) async fn gather(reader: &Reader, layers: &Layers, now_ms: i64) -> Result<Self, LedgerError> {
        let numbers = limits(reader, layers).await?;
        let window = numbers.map_or(Numbers::STANDARD.window, |numbers| numbers.window);
        let since_ms = now_ms - i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let Pace { starts, reads, known_after_ms } = reader.pace(since_ms, now_ms).await?;
        Ok(Self { numbers, starts, reads, known_after_ms })
    }

    pub(super) fn window(&self) -> Duration {
        self.numbers.map_or(Numbers::STANDARD.window, |numbers| numbers.window)
    }

    /// One of the limits; `None`: there is none.
    pub(super) fn limit(&self, of: impl Fn(Numbers) -> u32) -> Option<u32> {
        self.numbers.map(of).filter(|limit| *limit < u32::MAX)
    }

    /// `Starts 20 of 20 a minute   reads 97 of 120   results known after 2.1 s (median)`; `None`: nothing moves.
    pub(super) fn sentence(&self) -> Option<String> {
        if self.starts == 0 && self.reads == 0 && self.known_after_ms.is_none() {
            return None;
        }
        let of = |n: i64, limit: Option<u32>| match limit {
            Some(limit) => format!("{} of {}", thousands(n), thousands(limit.into())),
            None => thousands(n),
        };
        let window = match self.window().as_secs() {
            60 => "a minute".to_owned(),
            _ => format!("in {}", humantime::format_duration(self.window())),
        };
        let mut parts = vec![
            format!("Starts {} {window}", of(self.starts, self.limit(|numbers| numbers.starts))),
            format!("reads {}", of(self.reads, self.limit(|numbers| numbers.reads))),
        ];
        if let Some(ms) = self.known_after_ms {
            parts.push(format!("results known after {}.{} s (median)", ms / 1_000, ms % 1_000 / 100));
        }
        Some(parts.join("   "))
    }
}
