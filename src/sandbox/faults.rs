//! What can go wrong, by name: before the work, after it, on reads, and in the course of a generation.

use std::str::FromStr;

use serde::Deserialize;

use super::call::{Call, Class};
use super::choices::known;
use super::options::OptionsError;

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Instead of the work.
    Before,
    /// A POST's answer, after the work.
    After,
    /// A GET's answer.
    Read,
    /// While a job runs.
    Course,
}

/// One line for each fault: what it is called in code and outside, when it strikes, what it does.
macro_rules! faults {
    ($($fault:ident $name:literal $moment:ident $meaning:literal)*) => {
        /// One way in which the API misbehaves.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub enum Fault {
            $(#[doc = $meaning] $fault,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Self] = &[$(Self::$fault),*];

            /// The name in options, headers, `metadata.sandbox` and the account.
            pub fn name(self) -> &'static str {
                match self { $(Self::$fault => $name,)* }
            }

            /// What it does, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$fault => $meaning,)* }
            }

            pub(super) fn moment(self) -> Moment {
                match self { $(Self::$fault => Moment::$moment,)* }
            }
        }
    };
}

faults! {
    AcceptedUnanswered "accepted-unanswered" After "A start is accepted, then the connection is closed without an answer."
    AcceptedReset "accepted-reset" After "A start is accepted, then the connection is reset."
    Accepted500 "accepted-500" After "A start is accepted, then answered with 500 and an envelope."
    Error502Html "error-502-html" After "A start is accepted, then a gateway answers 502 with an HTML page."
    CutJson "cut-json" After "A start is accepted; of the answer's JSON only the first half comes."
    Slow "slow" After "A start is accepted and answered late."
    ResetBefore "reset-before" Before "The connection is reset before anything is done."
    Error500 "error-500" Before "500 with an envelope, nothing done."
    UnknownCode "unknown-code" Before "422 with a code that no documentation knows, nothing done."
    UnknownCode403 "unknown-code-403" Before "403 with a code that no documentation knows, nothing done."
    UnknownCode500 "unknown-code-500" Before "500 with a code that no documentation knows, nothing done."
    KillSwitch "kill-switch" Before "503 `KILL_SWITCH`, while `whoami` says that nothing is switched off."
    OddRetryAfter "odd-retry-after" Before "429 with any one of the six odd forms of `Retry-After` below."
    OddRetryAfterDate "odd-retry-after-date" Before "429 whose `Retry-After` is an HTTP date, two seconds ahead."
    OddRetryAfterAbsent "odd-retry-after-absent" Before "429 without `Retry-After`."
    OddRetryAfterZero "odd-retry-after-zero" Before "429 whose `Retry-After` is 0."
    OddRetryAfterHuge "odd-retry-after-huge" Before "429 whose `Retry-After` is 99999999999."
    OddRetryAfterNegative "odd-retry-after-negative" Before "429 whose `Retry-After` is -5."
    OddRetryAfterNonsense "odd-retry-after-nonsense" Before "429 whose `Retry-After` is the word `soon`."
    ReadReset "read-reset" Read "A read's connection is reset."
    ReadError500 "read-error-500" Read "A read is answered with 500 and an envelope."
    ReadError502Html "read-error-502-html" Read "A read is answered with 502 and an HTML page."
    ReadCutJson "read-cut-json" Read "A read is answered with the first half of its JSON."
    ReadOddRetryAfter "read-odd-retry-after" Read "A read is answered with 429 and any odd form of `Retry-After`."
    ReadSlow "read-slow" Read "A read is answered late."
    UnknownStatus "unknown-status" Course "While it is being assembled, a container has a status that no documentation knows: `polishing`."
    CancelIgnored "cancel-ignored" Course "A cancel is accepted, and the job completes all the same."
}

impl Fault {
    /// Whether it can strike this request, when asked for by name.
    pub(super) fn fits(self, call: &Call) -> bool {
        match self.moment() {
            Moment::Before => true,
            Moment::After => call.class() != Class::Read,
            Moment::Read => call.class() == Class::Read,
            Moment::Course => {
                call.class() == Class::Start
                    || (self == Self::CancelIgnored && matches!(call, Call::Cancel { .. }))
            }
        }
    }
}

impl FromStr for Fault {
    type Err = OptionsError;

    fn from_str(name: &str) -> Result<Self, OptionsError> {
        let table: Vec<_> = Self::ALL.iter().map(|fault| (fault.name(), *fault)).collect();
        known("fault", name, &table)
    }
}

impl TryFrom<String> for Fault {
    type Error = OptionsError;

    fn try_from(name: String) -> Result<Self, OptionsError> {
        name.parse()
    }
}
