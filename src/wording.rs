//! PURE. How numbers, times and names are written wherever people read them: log lines, `/readyz`, and what commands
//! print. One place, so that the same thing is called the same everywhere.

use jiff::Timestamp;

/// What briefs without a batch are listed under.
pub const NO_BATCH: &str = "(no batch)";

/// A count with its thousands set apart: `5,000`.
pub fn thousands(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if n < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 brief`, `2 briefs`.
pub fn counted(n: i64, one: &str) -> String {
    format!("{} {one}{}", thousands(n), if n == 1 { "" } else { "s" })
}

/// A stored time for a sentence: UTC, the day only if it is another one.
pub fn since_when(ms: i64, now_ms: i64) -> String {
    const DAY_MS: i64 = 24 * 3_600_000;
    let pattern =
        if ms.div_euclid(DAY_MS) == now_ms.div_euclid(DAY_MS) { "%H:%MZ" } else { "%Y-%m-%d %H:%MZ" };
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.strftime(pattern).to_string())
}

/// A batch as it is listed.
pub fn batch_name(batch: &str) -> &str {
    if batch.is_empty() { NO_BATCH } else { batch }
}

/// An argument that a shell takes as it is.
pub fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "._:/@%+=,-".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

/// The first `width` characters at most, the last of them `…` where something is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}
