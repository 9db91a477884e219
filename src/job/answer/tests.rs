//! The one classification, row by row, held against the table in CONTRIBUTING.md.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn refusal(code: &str, status: u16, details: Option<Value>) -> Refusal {
    let code = code.to_owned();
    Refusal { status, code, message: String::new(), request_id: None, details, retry_after: None }
}

fn no_answer(kind: NoAnswerKind, status: Option<u16>) -> Trouble {
    Trouble::NoAnswer(NoAnswer { kind, status, detail: String::new() })
}

/// What a verdict means, for people.
fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Refused => "the brief fails with this code",
        Verdict::SeenBefore => "look our container up: there, it is followed; not there, the brief fails",
        Verdict::Wait(Wait::RateLimited) => "the same POST after `Retry-After`; starts slow down",
        Verdict::Wait(Wait::InProgress) => "the same POST after `Retry-After`",
        Verdict::Hold(HoldScope::Account, HoldReason::Unauthenticated) => {
            "hold the account: `UNAUTHENTICATED`"
        }
        Verdict::Hold(HoldScope::Account, HoldReason::ForbiddenScope) => {
            "hold the account: `FORBIDDEN_SCOPE`"
        }
        Verdict::Hold(HoldScope::Account, HoldReason::KillSwitch) => "hold the account: `KILL_SWITCH`",
        Verdict::Hold(HoldScope::Account, HoldReason::BillingExhausted) => {
            "hold the account: `BILLING_EXHAUSTED`"
        }
        Verdict::Hold(HoldScope::Project, HoldReason::BillingExhausted) => {
            "hold the project: `BILLING_EXHAUSTED`"
        }
        Verdict::Hold(HoldScope::Account, HoldReason::Other) => "hold the account: that code",
        Verdict::Hold(HoldScope::Project, _) => "hold the project: that code",
        Verdict::NotConnected => "nothing left: the same POST later",
        Verdict::Unknown => "outcome unknown: the same POST after `submit.repeat_after`",
    }
}

/// What the API documents, and the status it documents beside it.
fn documented() -> Vec<(&'static str, u16, Option<Value>, &'static str)> {
    let subcode = |subcode| Some(json!({ "subcode": subcode }));
    vec![
        ("UNAUTHENTICATED", 401, None, ""),
        ("FORBIDDEN_SCOPE", 403, None, ""),
        ("KILL_SWITCH", 503, None, ""),
        ("BILLING_EXHAUSTED", 402, Some(json!({"required": 120, "available": 3})), ""),
        ("RATE_LIMITED", 429, None, ""),
        ("VALIDATION_FAILED", 422, None, ""),
        ("VALIDATION", 422, None, ""),
        ("MODERATION_BLOCKED", 422, None, ""),
        ("NOT_FOUND", 404, None, ""),
        ("CONFLICT", 409, Some(json!({"candidates": [{"projectLayerId": "a"}]})), ", naming `candidates`"),
        ("CONFLICT", 409, subcode("IDEMPOTENCY_IN_PROGRESS"), ", `IDEMPOTENCY_IN_PROGRESS`"),
        ("CONFLICT", 409, subcode("JOB_CANCEL_UNAVAILABLE"), ", `JOB_CANCEL_UNAVAILABLE`"),
        ("CONFLICT", 409, subcode("SOMETHING_NEW"), ", another subcode"),
        ("CONFLICT", 409, None, ", nothing else"),
        ("IDEMPOTENCY_CONFLICT", 409, None, ""),
    ]
}

fn table() -> String {
    let mut rows = vec![
        (
            "no connection came about".to_owned(),
            String::new(),
            verdict(&Trouble::NotConnected(String::new())),
        ),
        (
            "nothing, or not all of it, in time".to_owned(),
            String::new(),
            verdict(&no_answer(NoAnswerKind::Timeout, None)),
        ),
        ("the connection broke".to_owned(), String::new(), verdict(&no_answer(NoAnswerKind::Reset, None))),
        (
            "a body without what is needed".to_owned(),
            "2xx".to_owned(),
            verdict(&no_answer(NoAnswerKind::Unreadable, Some(202))),
        ),
        (
            "a body that is not the error envelope".to_owned(),
            "any other".to_owned(),
            verdict(&no_answer(NoAnswerKind::Unreadable, Some(404))),
        ),
    ];
    for (code, status, details, note) in documented() {
        let trouble = Trouble::Refusal(refusal(code, status, details));
        rows.push((format!("`{code}`{note}"), status.to_string(), verdict(&trouble)));
    }
    let mut unknown: BTreeMap<&str, (Vec<u16>, Verdict)> = BTreeMap::new();
    for status in 300..=599 {
        let verdict = verdict(&Trouble::Refusal(refusal("A_NEW_CODE", status, None)));
        unknown.entry(meaning(verdict)).or_insert((Vec::new(), verdict)).0.push(status);
    }
    let mut unknown: Vec<_> = unknown.into_values().collect();
    unknown.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (statuses, verdict) in unknown {
        rows.push(("any other code".to_owned(), spans(&statuses), verdict));
    }
    let lines = rows
        .into_iter()
        .map(|(answer, status, verdict)| format!("| {answer} | {status} | {} |\n", meaning(verdict)));
    lines.collect()
}

/// `[400, 401, 402, 409]` as `400–402, 409`.
fn spans(statuses: &[u16]) -> String {
    let spans = statuses.chunk_by(|before, after| before + 1 == *after);
    let span = |span: &[u16]| match span {
        [first, .., last] => format!("{first}–{last}"),
        [] | [_] => span.iter().map(u16::to_string).collect(),
    };
    spans.map(span).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_table_of_answers_in_contributing_is_the_one_in_the_code() {
    let table = format!("| answer | HTTP | what follows |\n|---|---|---|\n{}\n", table());
    let document = include_str!("../../../CONTRIBUTING.md");
    assert!(document.contains(&table), "CONTRIBUTING.md needs this table:\n\n{table}");
}

#[test]
fn a_known_code_means_the_same_under_every_status() {
    for (code, status, details, _) in documented() {
        let expected = verdict(&Trouble::Refusal(refusal(code, status, details.clone())));
        for status in [200, 301, 400, 401, 402, 403, 404, 418, 422, 429, 500, 502, 599, 999] {
            let other = verdict(&Trouble::Refusal(refusal(code, status, details.clone())));
            assert_eq!(other, expected, "{code} with {status}");
        }
    }
}

#[test]
fn what_left_and_was_not_answered_is_unknown_whatever_came_instead() {
    for kind in [NoAnswerKind::Timeout, NoAnswerKind::Reset, NoAnswerKind::Unreadable] {
        for status in [None, Some(202), Some(301), Some(401), Some(404), Some(409), Some(429), Some(502)] {
            assert_eq!(verdict(&no_answer(kind, status)), Verdict::Unknown, "{kind:?} {status:?}");
        }
    }
}

#[test]
fn required_credits_are_read_and_rounded_up() {
    let required = |details| required_credits(&refusal("BILLING_EXHAUSTED", 402, details));
    assert_eq!(required(Some(json!({"required": 120}))), Some(120));
    assert_eq!(required(Some(json!({"required": 120.5}))), Some(121));
    assert_eq!(required(Some(json!({"required": -1}))), None);
    assert_eq!(required(Some(json!({"required": "120"}))), None);
    assert_eq!(required(None), None);
}

#[test]
fn only_an_envelope_that_says_so_can_say_not_found() {
    let said = |code, status| Trouble::Refusal(refusal(code, status, None)).is_not_found();
    assert!(said("NOT_FOUND", 404));
    assert!(said("NOT_FOUND", 400), "the code counts");
    assert!(said("CONTAINER_GONE", 404));
    assert!(!said("CONTAINER_GONE", 410));
    assert!(!said("FORBIDDEN_SCOPE", 404), "a key that may not see it proves nothing");
    assert!(!said("RATE_LIMITED", 404));
    assert!(!no_answer(NoAnswerKind::Unreadable, Some(404)).is_not_found());
}
