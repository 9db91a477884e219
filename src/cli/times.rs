//! Times as people give and read them.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

pub(super) use crate::wording::since_when;

/// `--since`: so long ago, or from a time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    Ago(Duration),
    At(Timestamp),
}

impl Since {
    /// In milliseconds since 1970.
    pub(super) fn ms(self, now_ms: i64) -> i64 {
        match self {
            Self::Ago(duration) => {
                now_ms.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
            }
            Self::At(time) => time.as_millisecond(),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(duration) = humantime::parse_duration(text) {
            return Ok(Self::Ago(duration));
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        let midnight = text.parse::<Date>().ok().and_then(|day| day.to_zoned(TimeZone::UTC).ok());
        match midnight {
            Some(time) => Ok(Self::At(time.timestamp())),
            None => Err(
                "give a duration (\"2h\", \"3days\") or a time (\"2026-05-02T01:00:00Z\", \"2026-05-02\")"
                    .to_owned(),
            ),
        }
    }
}

/// A stored time as JSON has it: ISO 8601 with `Z`.
pub(super) fn iso(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}

/// A stored time for a line of text: UTC, to the millisecond.
pub(super) fn stamp(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string())
}

/// How long ago, in one unit: `5s`, `12m`, `3h`, `4d`.
pub(super) fn age(ms: i64, now_ms: i64) -> String {
    match (now_ms - ms).max(0) / 1_000 {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// How much longer, roughly: `21 min`, `4.2 h`, `3 days`.
pub(super) fn roughly(left: Duration) -> String {
    match left.as_secs().div_ceil(60).max(1) {
        minutes @ 0..90 => format!("{minutes} min"),
        minutes @ 90..2_880 => format!("{}.{} h", minutes / 60, minutes % 60 / 6),
        minutes => format!("{} days", minutes.div_ceil(1_440)),
    }
}
