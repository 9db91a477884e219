//! PURE. `Retry-After` and `Date`: what servers write there, and what we make of it.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// Nobody is asked again sooner, whatever the header says.
const SHORTEST: Duration = Duration::from_secs(1);
/// A longer wait is more likely a server's mistake than its wish; who still refuses then says so again.
const LONGEST: Duration = Duration::from_mins(10);

/// How long to wait, between 1 s and 10 min. `None` when the text is neither whole seconds nor an HTTP date. A date
/// counts from `server_now`.
pub(super) fn parse(text: &str, server_now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that are too many for a number are still "very long".
        text.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        // A date that has passed means "now".
        Duration::try_from(http_date(text)?.duration_since(server_now)).unwrap_or(SHORTEST)
    };
    Some(wait.clamp(SHORTEST, LONGEST))
}

/// The time of an HTTP date (`Sun, 06 Nov 1994 08:49:37 GMT`), whatever weekday it claims.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_odd_retry_after_is_clamped_or_ignored() {
        let now = http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let seconds = |text| parse(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds(" 7 "), Some(7));
        assert_eq!(seconds("0"), Some(1));
        assert_eq!(seconds("86400"), Some(600));
        assert_eq!(seconds("99999999999999999999999999"), Some(600));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(seconds("Mon, 06 Nov 1994 07:00:00 GMT"), Some(1));
        assert_eq!(seconds("Sun, 06 Nov 2094 07:00:00 GMT"), Some(600));
        for nonsense in ["", "soon", "-5", "1.5", "+3", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(seconds(nonsense), None, "{nonsense:?}");
        }
    }
}
