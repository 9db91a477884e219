//! What can go wrong, by name: before the work, after it, on reads, and in the course of a generation.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;

use super::draw::Draw;
use super::errors::Refusal;
use super::options::{OptionsError, known};
use super::time::http_date;

/// One way in which the API misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum Fault {
    /// A start is accepted, then the connection is closed without an answer.
    AcceptedUnanswered,
    /// A start is accepted, then the connection is reset.
    AcceptedReset,
    /// A start is accepted, then answered with 500 and an envelope.
    Accepted500,
    /// A start is accepted, then a gateway answers 502 with an HTML page.
    Error502Html,
    /// A start is accepted; of the answer's JSON only the first half comes.
    CutJson,
    /// A start is accepted and answered late ([`super::Options::slow_seconds`]).
    Slow,
    /// The connection is reset before anything is done.
    ResetBefore,
    /// 500 with an envelope, nothing done.
    Error500,
    /// 422 with a code that no documentation knows.
    UnknownCode,
    /// 403 with a code that no documentation knows.
    UnknownCode403,
    /// 500 with a code that no documentation knows.
    UnknownCode500,
    /// 503 `KILL_SWITCH`, while `whoami` says that nothing is switched off.
    KillSwitch,
    /// 429 whose `Retry-After` is an HTTP date, absent, 0, huge or nonsense.
    OddRetryAfter,
    /// A read's connection is reset.
    ReadReset,
    /// A read is answered with 500 and an envelope.
    ReadError500,
    /// A read is answered with 502 and an HTML page.
    ReadError502Html,
    /// A read is answered with the first half of its JSON.
    ReadCutJson,
    /// A read is answered late.
    ReadSlow,
    /// While it is being assembled, a container has a status that no documentation knows: `polishing`.
    UnknownStatus,
    /// A cancel is accepted, and the job completes all the same.
    CancelIgnored,
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    After,
    Read,
    Course,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 20] = [
        Self::AcceptedUnanswered,
        Self::AcceptedReset,
        Self::Accepted500,
        Self::Error502Html,
        Self::CutJson,
        Self::Slow,
        Self::ResetBefore,
        Self::Error500,
        Self::UnknownCode,
        Self::UnknownCode403,
        Self::UnknownCode500,
        Self::KillSwitch,
        Self::OddRetryAfter,
        Self::ReadReset,
        Self::ReadError500,
        Self::ReadError502Html,
        Self::ReadCutJson,
        Self::ReadSlow,
        Self::UnknownStatus,
        Self::CancelIgnored,
    ];

    /// The name in options, in `metadata.sandbox` and in the account.
    pub fn name(self) -> &'static str {
        match self {
            Self::AcceptedUnanswered => "accepted-unanswered",
            Self::AcceptedReset => "accepted-reset",
            Self::Accepted500 => "accepted-500",
            Self::Error502Html => "error-502-html",
            Self::CutJson => "cut-json",
            Self::Slow => "slow",
            Self::ResetBefore => "reset-before",
            Self::Error500 => "error-500",
            Self::UnknownCode => "unknown-code",
            Self::UnknownCode403 => "unknown-code-403",
            Self::UnknownCode500 => "unknown-code-500",
            Self::KillSwitch => "kill-switch",
            Self::OddRetryAfter => "odd-retry-after",
            Self::ReadReset => "read-reset",
            Self::ReadError500 => "read-error-500",
            Self::ReadError502Html => "read-error-502-html",
            Self::ReadCutJson => "read-cut-json",
            Self::ReadSlow => "read-slow",
            Self::UnknownStatus => "unknown-status",
            Self::CancelIgnored => "cancel-ignored",
        }
    }

    fn moment(self) -> Moment {
        match self {
            Self::AcceptedUnanswered
            | Self::AcceptedReset
            | Self::Accepted500
            | Self::Error502Html
            | Self::CutJson
            | Self::Slow => Moment::After,
            Self::ResetBefore
            | Self::Error500
            | Self::UnknownCode
            | Self::UnknownCode403
            | Self::UnknownCode500
            | Self::KillSwitch
            | Self::OddRetryAfter => Moment::Before,
            Self::ReadReset
            | Self::ReadError500
            | Self::ReadError502Html
            | Self::ReadCutJson
            | Self::ReadSlow => Moment::Read,
            Self::UnknownStatus | Self::CancelIgnored => Moment::Course,
        }
    }
}

impl FromStr for Fault {
    type Err = OptionsError;

    fn from_str(name: &str) -> Result<Self, OptionsError> {
        known("fault", name, &Self::ALL.map(|fault| (fault.name(), fault)))
    }
}

impl TryFrom<String> for Fault {
    type Error = OptionsError;

    fn try_from(name: String) -> Result<Self, OptionsError> {
        name.parse()
    }
}

/// What strikes one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Strike {
    /// Instead of the work.
    pub(super) before: Option<Fault>,
    /// The answer comes late.
    pub(super) slow: Option<Fault>,
    /// What becomes of the answer; also for reads.
    pub(super) answer: Option<Fault>,
}

impl Strike {
    /// What strikes a POST that starts generation: what the brief wished for, else what chance brings.
    pub(super) fn start(shares: &BTreeMap<Fault, f64>, wished: &[Fault], draw: Draw) -> Self {
        if wished.is_empty() {
            let hits = |(fault, share): (&Fault, &f64)| draw.hits(fault.name(), *share).then_some(*fault);
            return Self::of(&shares.iter().filter_map(hits).collect::<Vec<_>>(), false);
        }
        Self::of(wished, false)
    }

    /// What strikes a GET.
    pub(super) fn read(shares: &BTreeMap<Fault, f64>, draw: Draw) -> Self {
        let hits = |(fault, share): (&Fault, &f64)| draw.hits(fault.name(), *share).then_some(*fault);
        Self::of(&shares.iter().filter_map(hits).collect::<Vec<_>>(), true)
    }

    fn of(faults: &[Fault], read: bool) -> Self {
        let slow = |fault: &Fault| matches!(fault, Fault::Slow | Fault::ReadSlow);
        let wanted = if read { Moment::Read } else { Moment::After };
        let of_moment = |moment| faults.iter().filter(move |fault| fault.moment() == moment);
        Self {
            before: if read { None } else { of_moment(Moment::Before).next().copied() },
            slow: of_moment(wanted).find(|fault| slow(fault)).copied(),
            answer: of_moment(wanted).find(|fault| !slow(fault)).copied(),
        }
    }

    /// Whether the caller does not learn what became of its request.
    pub(super) fn loses_answer(self) -> bool {
        self.answer.is_some()
    }
}

/// The 429 of [`Fault::OddRetryAfter`].
pub(super) fn oddly_rate_limited(draw: Draw, now_ms: i64) -> Refusal {
    let refusal = Refusal::rate_limited(1);
    let retry_after = match draw.between("odd retry after", 0, 5) {
        0 => Some(http_date(now_ms.saturating_add(2_000))),
        1 => None,
        2 => Some("0".to_owned()),
        3 => Some("99999999999".to_owned()),
        4 => Some("-5".to_owned()),
        _ => Some("soon".to_owned()),
    };
    Refusal { retry_after, ..refusal }
}
