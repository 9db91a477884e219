//! What must hold for every text that an API may answer with: for tests and fuzzers.

#![allow(clippy::missing_panics_doc, reason = "to panic is what it is for")]

use std::time::Duration;

use jiff::Timestamp;

use super::{retry_after, wire};

/// Reads `text` as each answer there is, and panics where a reading says more than the text does.
pub fn answers_tell_no_lie(text: &str) {
    for asked in [None, Some("asked")] {
        if let Ok(accepted) = wire::acceptance(text, asked) {
            assert!(!accepted.job_id.is_empty(), "accepted without a job");
            assert!(!accepted.container_ids.is_empty(), "accepted without a container");
            assert!(accepted.container_ids.iter().all(|id| !id.is_empty()), "a container without an id");
            assert!(text.contains("jobId") || text.contains('\\'), "a job that is not in the text");
        }
    }
    if let Ok(job) = wire::job(text, "asked") {
        assert!(!job.job_id.is_empty() && job.container_ids.iter().all(|id| !id.is_empty()));
        assert!(job.error.is_none_or(|error| !error.code.is_empty()));
    }
    if let Ok(container) = wire::container(text, "asked") {
        assert!(!container.id.is_empty());
        assert_eq!(container.record, text.trim_ascii(), "the record is not what the API sent");
        let value: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&container.record);
        assert!(value.is_ok(), "a record that is no JSON");
    }
    if let Ok(page) = wire::list(text) {
        assert!(page.items.iter().all(|item| !item.id.is_empty()), "a container without an id");
        assert!(page.next_cursor.is_none_or(|cursor| !cursor.is_empty()), "a page that leads nowhere");
    }
    for status in [200, 402, 409, 429, 500] {
        if let Some(refusal) = wire::refusal(text, status) {
            assert!(!refusal.code.is_empty(), "refused without a code");
            assert_eq!((refusal.status, refusal.retry_after), (status, None));
        }
    }
    if let Ok(credits) = wire::credits(text)
        && let (None, Some(_)) = (credits.available, credits.balance)
    {
        assert_eq!(credits.reserved, None, "balance and reserved tell what is available");
    }
    // Only that they come to an end.
    _ = (wire::cancel(text), wire::progress(text), wire::whoami(text));
    if let Some(wait) = retry_after::parse(text, Timestamp::UNIX_EPOCH) {
        assert!((Duration::from_secs(1)..=Duration::from_mins(10)).contains(&wait), "{wait:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    /// JSON as nobody means it: names that are asked for, values of every type, repeated, cut, deep, huge.
    fn answer() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "jobId",
            "containerIds",
            "containerId",
            "status",
            "error",
            "code",
            "message",
            "items",
            "nextCursor",
            "id",
            "details",
            "requestId",
            "brief",
            "createdAt",
            "lastError",
            "result",
            "format",
            "balance",
            "reservedCredits",
            "available",
            "estimatedCreditsPerFormat",
            "accepted",
            "job\\u0049d",
        ]);
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("1e999".to_owned()),
            Just("-0".to_owned()),
            Just("99999999999999999999999999999999".to_owned()),
            Just(r#""\ud83d""#.to_owned()),
            Just(r#""""#.to_owned()),
            Just(r#""\u0000""#.to_owned()),
            Just("\"completed\"".to_owned()),
            Just("\"2026-01-01T00:00:00Z\"".to_owned()),
            Just("[".repeat(300) + &"]".repeat(300)),
            "[a-z0-9\u{0}é]{0,6}".prop_map(|text| format!("\"{text}\"")),
        ];
        let value = leaf.prop_recursive(3, 24, 5, move |inner| {
            let field = (name.clone(), inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec(field, 0..5).prop_map(|fields| format!("{{ {} }}", fields.join(" ,"))),
            ]
        });
        (value, any::<prop::sample::Index>(), prop::bool::weighted(0.1)).prop_map(|(text, at, cut)| {
            let at = if cut { text.floor_char_boundary(at.index(text.len().max(1))) } else { text.len() };
            text[..at].to_owned()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn no_answer_is_read_as_more_than_it_says(text in answer()) {
            answers_tell_no_lie(&text);
        }
    }

    #[test]
    fn long_answers_are_read_in_bounded_time() {
        const LONG: usize = 1024 * 1024;
        let began = Instant::now();
        for text in [
            "[".repeat(LONG),
            "{\"a\":".repeat(LONG / 5),
            format!("{{\"details\":{}", "[{\"a\":".repeat(LONG / 6)),
            format!(
                "{{\"error\":{{\"code\":\"X\",\"details\":{}{}}}}}",
                "[".repeat(LONG / 2),
                "]".repeat(LONG / 2)
            ),
            format!("{{\"status\":\"completed\",\"brief\":{}1e999{}}}", "[".repeat(100), "]".repeat(100)),
            format!("{{\"jobId\":\"{}\",\"containerIds\":[\"c\"]}}", "j".repeat(LONG)),
            format!("{{\"jobId\":\"j\",\"containerIds\":[{}\"c\"]}}", "\"c\",".repeat(LONG / 64)),
            format!(
                "{{\"jobId\":\"j\",\"containerIds\":[{}]}}",
                (0..LONG / 16).map(|n| format!("\"{n}\",")).collect::<String>() + "1"
            ),
            format!("{{\"items\":[{}]}}", vec!["{\"id\":\"c\"}"; LONG / 200].join(",")),
            "9".repeat(LONG),
            format!("{{{}\"jobId\":1}}", "\"jobId\":\"j\",".repeat(LONG / 32)),
        ] {
            answers_tell_no_lie(&text);
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    }
}
