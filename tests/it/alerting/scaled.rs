//! The rules as they are, with all their times a sixtieth: minutes become seconds.

/// So much shorter.
pub const FACTOR: u64 = 60;

/// Bounds in the rules that are times, or depend on one, and stand there as plain numbers; and a time that cannot be
/// shorter: connections come back at their own pace.
const BOUNDS: [(&str, &str); 4] = [
    ("briefd_stage_last_step_timestamp_seconds > 300", "briefd_stage_last_step_timestamp_seconds > 5"),
    ("briefd_outbox_oldest_seconds > 600", "briefd_outbox_oldest_seconds > 10"),
    ("briefd:detection_lag_seconds:p95_15m > 60", "briefd:detection_lag_seconds:p95_15m > 1"),
    ("briefd_amqp_reconnects_total[15000ms]", "briefd_amqp_reconnects_total[60000ms]"),
];

/// `for: 15m`, `[15m]` and `offset 1h`, and the bounds above.
pub fn scaled(rules: &str) -> String {
    let mut text = String::new();
    for line in rules.lines() {
        let is_time = line.trim_start().starts_with("for: ");
        let is_question = line.contains("briefd_") || line.contains("briefd:") || line.contains("up{");
        text += &if is_time || is_question { shorter(line) } else { line.to_owned() };
        text.push('\n');
    }
    for (whole, part) in BOUNDS {
        assert!(text.contains(whole), "the rules no longer ask for {whole}");
        text = text.replace(whole, part);
    }
    text
}

/// The durations that follow `for: `, `[` or `offset `, in milliseconds of a sixtieth.
fn shorter(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    let start = |rest: &str| {
        ["for: ", "[", "offset "].iter().filter_map(|mark| Some(rest.find(mark)? + mark.len())).min()
    };
    while let Some(at) = start(rest) {
        let (before, after) = rest.split_at(at);
        text += before;
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit = match after[digits..].chars().next() {
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            _ => 0,
        };
        rest = match after[..digits].parse::<u64>() {
            Ok(n) if unit > 0 => {
                text += &format!("{}ms", n * unit / FACTOR);
                &after[digits + 1..]
            }
            Ok(_) | Err(_) => after,
        };
    }
    text + rest
}

#[test]
fn every_time_of_the_rules_is_shorter_and_nothing_else_differs() {
    let line = "expr: min_over_time(x[15m]) and x offset 1h > 0 and y{a=\"b\"}[90] * 3600";
    let short = "expr: min_over_time(x[15000ms]) and x offset 60000ms > 0 and y{a=\"b\"}[90] * 3600";
    assert_eq!(shorter(line), short);
    assert_eq!(shorter("for: 2m"), "for: 2000ms");
}
