//! How much longer it takes: an estimate, and said to be one.

use std::time::Duration;

use super::super::times::roughly;
use super::facts::BatchFacts;
use crate::config::Layers;
use crate::config::layers::Tier;
use crate::job::BriefState;

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
    pub(super) fn of(batch: &BatchFacts, layers: &Layers) -> Self {
        let n = |state| batch.counts.get(state);
        let incoming = batch.size.map_or(0, |size| (size - batch.counts.total()).max(0));
        if batch.counts.open() == 0 {
            if incoming > 0 { Self::Incoming } else { Self::Done }
        } else if n(BriefState::Waiting) > 0 {
            Self::About(to_start(n(BriefState::Waiting) + incoming, layers))
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

/// How long `waiting` starts take at the tier's rate.
fn to_start(waiting: i64, layers: &Layers) -> Duration {
    let starts = layers.limits.starts.map_or_else(
        || match layers.tier {
            Tier::Auto | Tier::Standard => Some(20),
            Tier::Pilot => Some(60),
            Tier::Partner => Some(300),
            Tier::Unlimited => None,
        },
        Some,
    );
    let Some(starts) = starts else { return Duration::from_mins(1) };
    let window = layers.limits.window.unwrap_or(Duration::from_mins(1));
    let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
    window.saturating_mul(waiting) / starts.max(1)
}
