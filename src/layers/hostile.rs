//! What must hold for every text that an API may answer with: for tests and fuzzers.

#![allow(clippy::missing_panics_doc, reason = "to panic is what it is for")]

use std::time::Duration;

use jiff::Timestamp;

use super::{retry_after, wire};
use crate::job::ApiError;

/// Longest id, and longest word in UTF-8.
const TEXT_BYTES_MAX: usize = 128 * 4;
/// Longest details, written out: what of them cannot be held becomes text, with its quotation marks escaped.
const DETAILS_BYTES_MAX: usize = 3 * 16 * 1024;

/// Reads `text` as each answer there is, and panics where a reading says more than the text does, or keeps more of it
/// than is ever kept.
pub fn answers_tell_no_lie(text: &str) {
    starts_tell_no_lie(text);
    readings_tell_no_lie(text);
    for status in [200, 402, 409, 429, 500] {
        if let Some(refusal) = wire::refusal(text, status) {
            assert!(!refusal.code.is_empty(), "refused without a code");
            assert_eq!((refusal.status, refusal.retry_after), (status, None));
            is_kept_short(&refusal.code, &refusal.message);
            are_words([&refusal.request_id]);
            let details = refusal.details.map(|details| details.to_string().len()).unwrap_or_default();
            assert!(details <= DETAILS_BYTES_MAX, "details of {details} bytes");
        }
    }
    if let Some(credits) = told(wire::credits(text)) {
        if let (None, Some(_)) = (credits.available, credits.balance) {
            assert_eq!(credits.reserved, None, "balance and reserved tell what is available");
        }
        are_words([&credits.billing_status, &credits.organization_id]);
        assert!(credits.per_format.len() <= 100 && credits.per_format.keys().all(|format| is_word(format)));
    }
    if let Some(whoami) = told(wire::whoami(text)) {
        let super::Whoami { organization_id, organization_name, workspace_id, .. } = whoami;
        are_words([&organization_id, &organization_name, &workspace_id, &whoami.api_key_id, &whoami.tier]);
        let scopes = whoami.scopes.unwrap_or_default();
        assert!(scopes.len() <= 100 && scopes.iter().all(|scope| is_word(scope)), "{} scopes", scopes.len());
    }
    if let Some(wait) = retry_after::parse(text, Timestamp::UNIX_EPOCH) {
        assert!((Duration::from_secs(1)..=Duration::from_mins(10)).contains(&wait), "{wait:?}");
    }
}

/// What starts jobs, and what ends them.
fn starts_tell_no_lie(text: &str) {
    for asked in [None, Some("asked")] {
        if let Some(accepted) = told(wire::acceptance(text, asked)) {
            assert!(!accepted.job_id.is_empty(), "accepted without a job");
            assert!(!accepted.container_ids.is_empty(), "accepted without a container");
            assert!(accepted.container_ids.len() <= 100, "{} containers", accepted.container_ids.len());
            assert!(accepted.container_ids.iter().all(|id| !id.is_empty() && is_word(id)), "not an id");
            assert!(text.contains("jobId") || text.contains('\\'), "a job that is not in the text");
            are_words([&Some(accepted.job_id), &accepted.format]);
        }
    }
    if let Some(canceled) = told(wire::cancel(text)) {
        let word = if canceled.accepted { "true" } else { "false" };
        assert!(text.contains(word), "nobody said {word}");
        are_words([&canceled.reason]);
    }
}

/// What is read of jobs and containers.
fn readings_tell_no_lie(text: &str) {
    if let Some(job) = told(wire::job(text, "asked")) {
        assert!(!job.job_id.is_empty() && job.container_ids.len() <= 100);
        assert!(job.container_ids.iter().all(|id| !id.is_empty() && is_word(id)), "not an id");
        are_words([&Some(job.job_id), &job.stage, &Some(job.status.word().to_owned())]);
        is_an_error(job.error.as_ref());
    }
    if let Some(container) = told(wire::container(text, "asked")) {
        assert!(!container.id.is_empty());
        assert_eq!(container.record, text.trim_ascii(), "the record is not what the API sent");
        let value: Result<&serde_json::value::RawValue, _> = serde_json::from_str(&container.record);
        assert!(value.is_ok(), "a record that is no JSON");
        are_words([&Some(container.id), &container.format, &container.approval_status]);
        are_words([&Some(container.status.word().to_owned())]);
        is_an_error(container.last_error.as_ref());
    }
    if let Some(progress) = told(wire::progress(text)) {
        are_words([&progress.stage, &Some(progress.status.word().to_owned())]);
        let numbers = [progress.stage_progress, progress.eta_seconds];
        assert!(numbers.into_iter().flatten().all(f64::is_finite), "a number that is none");
    }
    if let Some(page) = told(wire::list(text)) {
        for item in page.items {
            assert!(!item.id.is_empty(), "a container without an id");
            are_words([
                &Some(item.id),
                &item.format,
                &item.approval_status,
                &Some(item.status.word().to_owned()),
            ]);
        }
        let cursor = page.next_cursor;
        assert!(
            cursor.is_none_or(|cursor| (1..=8 * 1024).contains(&cursor.len())),
            "a page that leads nowhere"
        );
    }
}

/// What was read; else why not is one short clause, which repeats nothing of the text.
fn told<T>(reading: Result<T, String>) -> Option<T> {
    reading.inspect_err(|why| assert!(why.len() < 60 && why.is_ascii() && !why.contains('\n'), "{why}")).ok()
}

fn is_an_error(error: Option<&ApiError>) {
    if let Some(error) = error {
        assert!(!error.code.is_empty(), "an error without a code");
        is_kept_short(&error.code, &error.message);
    }
}

fn is_kept_short(code: &str, message: &str) {
    assert!(is_word(code), "a code of {} bytes", code.len());
    assert!(message.chars().count() <= 2_000, "a message of {} bytes", message.len());
}

fn is_word(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
}

fn are_words<const N: usize>(texts: [&Option<String>; N]) {
    for text in texts.into_iter().flatten() {
        assert!(is_word(text), "{} bytes are kept", text.len());
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
            "stage",
            "stageProgress",
            "reason",
            "approvalStatus",
            "scopes",
            "organizationId",
            "rateLimitTier",
            "killSwitch",
        ]);
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("0.5".to_owned()),
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

    /// As long as an answer may be by default.
    const LONG: usize = 8 * 1024 * 1024;

    /// Every field that is kept of any answer, as this JSON text.
    fn everywhere(value: &str) -> [String; 9] {
        let with = |fields: &[&str]| {
            let fields: Vec<String> = fields.iter().map(|name| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", fields.join(","))
        };
        let kept = ["format", "stage", "approvalStatus", "requestId", "reason", "createdAt"];
        [
            with(&["jobId"]).replacen('{', "{\"containerIds\":[\"c\"],", 1),
            with(&["containerId"]).replacen('{', "{\"jobId\":\"j\",", 1),
            with(&["status"]),
            with(&kept).replacen(
                '{',
                "{\"jobId\":\"j\",\"containerId\":\"c\",\"status\":\"failed\",\"accepted\":true,",
                1,
            ),
            format!("{{\"status\":\"failed\",\"lastError\":{0},\"error\":{0}}}", with(&["code", "message"])),
            format!("{{\"error\":{}}}", with(&["message", "requestId"]).replacen('{', "{\"code\":\"X\",", 1)),
            format!("{{\"error\":{}}}", with(&["details"]).replacen('{', "{\"code\":\"X\",", 1)),
            with(&["nextCursor"]).replacen('{', &format!("{{\"items\":[{}],", with(&["id", "status"])), 1),
            with(&[
                "organizationId",
                "organizationName",
                "apiKeyId",
                "scopes",
                "rateLimitTier",
                "billingStatus",
            ]),
        ]
    }

    #[test]
    fn every_answer_is_among_them() {
        let is_read = [
            |text: &str| wire::acceptance(text, None).is_ok(),
            |text: &str| wire::job(text, "j").is_ok_and(|job| job.error.is_some()),
            |text: &str| wire::container(text, "c").is_ok_and(|container| container.last_error.is_some()),
            |text: &str| {
                wire::list(text).is_ok_and(|page| page.next_cursor.is_some() && page.items.len() == 1)
            },
            |text: &str| wire::cancel(text).is_ok_and(|canceled| canceled.reason.is_some()),
            |text: &str| wire::progress(text).is_ok_and(|progress| progress.stage.is_some()),
            |text: &str| wire::whoami(text).is_ok_and(|whoami| whoami.organization_id.is_some()),
            |text: &str| wire::credits(text).is_ok_and(|credits| credits.billing_status.is_some()),
            |text: &str| wire::refusal(text, 500).is_some_and(|refusal| refusal.details.is_some()),
        ];
        let texts = everywhere("\"w\"");
        for (n, is_read) in is_read.iter().enumerate() {
            assert!(texts.iter().any(|text| is_read(text)), "answer {n}: {texts:?}");
        }
    }

    #[test]
    fn of_a_text_of_eight_mebibytes_in_any_field_little_is_kept() {
        let began = Instant::now();
        let texts = everywhere(&format!("\"{}\"", "é".repeat(LONG / 2)));
        for text in &texts {
            answers_tell_no_lie(text);
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
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
