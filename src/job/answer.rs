//! What an answer of the API means for a submit: the one classification.
//!
//! The table is the API reference's: by `code` first, by HTTP status only where the code is unknown or absent.
//! What follows for a *job* also depends on its earlier attempts; that is [`super::state`]'s part.

use std::time::Duration;

use serde_json::Value;

/// A readable 2xx to a POST that starts generation. Both documented shapes end up here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The API's job id.
    pub job_id: String,
    /// Ids of the containers the answer names, in the order of their variants; at least one.
    pub container_ids: Vec<String>,
    /// What `auto` became, when the answer tells.
    pub format: Option<String>,
}

/// Anything but a readable 2xx.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// No connection came about (refused, DNS, TLS): the request never left. Holds a one-line cause.
    NotConnected(String),
    /// The request may have left, and nothing readable came back.
    NoAnswer(NoAnswer),
    /// The API answered with its error envelope.
    Refusal(Refusal),
}

/// The request may have left, and nothing readable came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// In which way.
    pub kind: NoAnswerKind,
    /// HTTP status, if a head arrived.
    pub status: Option<u16>,
    /// One line for people, without URL query and without secrets.
    pub detail: String,
}

/// In which way no readable answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NoAnswerKind {
    /// Nothing, or not everything, within the time.
    Timeout,
    /// The connection broke before the answer was complete.
    Reset,
    /// An answer arrived that is not what the API documents: no envelope, cut JSON, a 2xx without the fields.
    Unreadable,
}

/// The API's error envelope: `{"error":{"code","message","requestId","details"?}}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The API's code, unchanged.
    pub code: String,
    /// The API's message.
    pub message: String,
    /// The API's request id: a repeat of one seen before is a replay.
    pub request_id: Option<String>,
    /// The API's details, unchanged.
    pub details: Option<Value>,
    /// `Retry-After`, parsed and clamped by the client; `None` when absent or nonsense.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// `details.subcode`, which some conflicts carry.
    pub fn subcode(&self) -> Option<&str> {
        self.details.as_ref()?.get("subcode")?.as_str()
    }

    /// `details.candidates` of a conflict names at least one layer.
    fn names_candidates(&self) -> bool {
        let candidates = self.details.as_ref().and_then(|details| details.get("candidates"));
        candidates.and_then(Value::as_array).is_some_and(|layers| !layers.is_empty())
    }
}

impl Trouble {
    /// The API said, with its envelope, that what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Refusal(refusal) => refusal.status == 404,
            Self::NotConnected(_) | Self::NoAnswer(_) => false,
        }
    }
}

/// What a [`Trouble`] means for a submit, before the job's earlier attempts are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// This brief fails, for good.
    Refused,
    /// The API has seen this key or id: look our container up first.
    SeenBefore,
    /// The same POST later; costs no attempt.
    Wait(Wait),
    /// The account's or the project's trouble: starts are held, nothing fails.
    Hold(HoldScope, HoldReason),
    /// The request never left: harmless.
    NotConnected,
    /// Whether a job was made is not known: same key, same bytes, later.
    Unknown,
}

/// Why the same POST is sent later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// Too many requests, or too many running jobs.
    RateLimited,
    /// The first call with this key is still being served.
    InProgress,
}

/// Whose trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldScope {
    /// The key's or the organization's.
    Account,
    /// The project's.
    Project,
}

/// Why starts are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldReason {
    /// The key is bad or missing.
    Unauthenticated,
    /// The key lacks a scope.
    ForbiddenScope,
    /// The key or the organization is switched off.
    KillSwitch,
    /// No credits.
    BillingExhausted,
    /// A code that this version does not know; it stands in the [`Refusal`].
    Other,
}

/// What `trouble` means for a submit.
pub fn verdict(trouble: &Trouble) -> Verdict {
    match trouble {
        Trouble::NotConnected(_) => Verdict::NotConnected,
        Trouble::NoAnswer(_) => Verdict::Unknown,
        Trouble::Refusal(refusal) => {
            verdict_of_code(refusal).unwrap_or_else(|| verdict_of_status(refusal.status))
        }
    }
}

/// Credits that a `BILLING_EXHAUSTED` says this one brief needs (`details.required`), rounded up. More than the
/// brief's own `budget.maxCredits` is that brief's failure, not a hold.
pub fn required_credits(refusal: &Refusal) -> Option<u64> {
    credits(refusal, "required", f64::ceil)
}

/// Credits that a `BILLING_EXHAUSTED` says there are (`details.available`), rounded down.
pub fn available_credits(refusal: &Refusal) -> Option<u64> {
    credits(refusal, "available", f64::floor)
}

fn credits(refusal: &Refusal, name: &str, round: fn(f64) -> f64) -> Option<u64> {
    let credits = refusal.details.as_ref()?.get(name)?;
    credits.as_u64().or_else(|| {
        let credits = round(credits.as_f64().filter(|credits| *credits >= 0.0)?);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates, and it is not negative"
        )]
        let credits = credits as u64;
        Some(credits)
    })
}

/// Codes never change meaning, so a known one decides whatever the status is.
fn verdict_of_code(refusal: &Refusal) -> Option<Verdict> {
    Some(match refusal.code.as_str() {
        "UNAUTHENTICATED" => Verdict::Hold(HoldScope::Account, HoldReason::Unauthenticated),
        "FORBIDDEN_SCOPE" => Verdict::Hold(HoldScope::Account, HoldReason::ForbiddenScope),
        "KILL_SWITCH" => Verdict::Hold(HoldScope::Account, HoldReason::KillSwitch),
        "BILLING_EXHAUSTED" => Verdict::Hold(HoldScope::Project, HoldReason::BillingExhausted),
        "RATE_LIMITED" => Verdict::Wait(Wait::RateLimited),
        "VALIDATION_FAILED" | "VALIDATION" | "MODERATION_BLOCKED" | "NOT_FOUND" => Verdict::Refused,
        "IDEMPOTENCY_CONFLICT" => Verdict::SeenBefore,
        "CONFLICT" => match refusal.subcode() {
            Some("IDEMPOTENCY_IN_PROGRESS") => Verdict::Wait(Wait::InProgress),
            Some("JOB_CANCEL_UNAVAILABLE") => Verdict::Refused,
            Some(_) | None if refusal.names_candidates() => Verdict::Refused,
            // Perhaps our `id` was used before; an unknown subcode does not exclude that, and looking costs little.
            Some(_) | None => Verdict::SeenBefore,
        },
        _ => return None,
    })
}

/// For codes that this version does not know.
fn verdict_of_status(status: u16) -> Verdict {
    match status {
        401 => Verdict::Hold(HoldScope::Account, HoldReason::Unauthenticated),
        402 => Verdict::Hold(HoldScope::Project, HoldReason::BillingExhausted),
        403 => Verdict::Hold(HoldScope::Account, HoldReason::ForbiddenScope),
        400 | 404 | 409 | 410 | 413 | 422 => Verdict::Refused,
        408 | 425 => Verdict::Unknown,
        300..=499 => Verdict::Hold(HoldScope::Account, HoldReason::Other),
        _ => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(code: &str, status: u16, details: Option<Value>) -> Refusal {
        let code = code.to_owned();
        Refusal { status, code, message: String::new(), request_id: None, details, retry_after: None }
    }

    #[test]
    fn the_table_of_verdicts_is_the_one_in_the_api_reference() {
        let no_answer = |kind, status| Trouble::NoAnswer(NoAnswer { kind, status, detail: String::new() });
        let mut rows: Vec<(String, String, Trouble)> = vec![
            ("(no connection)".into(), String::new(), Trouble::NotConnected(String::new())),
            ("(timeout)".into(), String::new(), no_answer(NoAnswerKind::Timeout, None)),
            ("(reset)".into(), String::new(), no_answer(NoAnswerKind::Reset, None)),
            ("(unreadable)".into(), "202".into(), no_answer(NoAnswerKind::Unreadable, Some(202))),
            ("(no envelope)".into(), "404".into(), no_answer(NoAnswerKind::Unreadable, Some(404))),
            ("(no envelope)".into(), "502".into(), no_answer(NoAnswerKind::Unreadable, Some(502))),
        ];
        let mut refused = |code: &str, status: u16, details: Option<Value>| {
            let shown = details.as_ref().map(|details| format!(" {details}")).unwrap_or_default();
            rows.push((
                format!("{code}{shown}"),
                status.to_string(),
                Trouble::Refusal(refusal(code, status, details)),
            ));
        };
        refused("UNAUTHENTICATED", 401, None);
        refused("FORBIDDEN_SCOPE", 403, None);
        refused("KILL_SWITCH", 503, None);
        refused("BILLING_EXHAUSTED", 402, Some(json!({"required": 120, "available": 3})));
        refused("RATE_LIMITED", 429, None);
        refused("VALIDATION_FAILED", 422, None);
        refused("VALIDATION", 422, None);
        refused("MODERATION_BLOCKED", 400, None);
        refused("MODERATION_BLOCKED", 451, None);
        refused("NOT_FOUND", 404, None);
        refused("CONFLICT", 409, Some(json!({"candidates": ["a", "b"]})));
        refused("CONFLICT", 409, Some(json!({"subcode": "IDEMPOTENCY_IN_PROGRESS"})));
        refused("CONFLICT", 409, Some(json!({"subcode": "JOB_CANCEL_UNAVAILABLE"})));
        refused("CONFLICT", 409, Some(json!({"subcode": "SOMETHING_NEW"})));
        refused("CONFLICT", 409, None);
        refused("IDEMPOTENCY_CONFLICT", 409, None);
        for status in [
            302, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 414, 418, 422, 425, 429, 499, 500, 502,
            503, 599,
        ] {
            refused("A_NEW_CODE", status, None);
        }
        let lines = rows
            .iter()
            .map(|(code, status, trouble)| format!("| {code} | {status} | {:?} |", verdict(trouble)));
        let table = lines.collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(format!("| code | HTTP | verdict |\n|---|---|---|\n{table}"), @r#"
        | code | HTTP | verdict |
        |---|---|---|
        | (no connection) |  | NotConnected |
        | (timeout) |  | Unknown |
        | (reset) |  | Unknown |
        | (unreadable) | 202 | Unknown |
        | (no envelope) | 404 | Unknown |
        | (no envelope) | 502 | Unknown |
        | UNAUTHENTICATED | 401 | Hold(Account, Unauthenticated) |
        | FORBIDDEN_SCOPE | 403 | Hold(Account, ForbiddenScope) |
        | KILL_SWITCH | 503 | Hold(Account, KillSwitch) |
        | BILLING_EXHAUSTED {"required":120,"available":3} | 402 | Hold(Project, BillingExhausted) |
        | RATE_LIMITED | 429 | Wait(RateLimited) |
        | VALIDATION_FAILED | 422 | Refused |
        | VALIDATION | 422 | Refused |
        | MODERATION_BLOCKED | 400 | Refused |
        | MODERATION_BLOCKED | 451 | Refused |
        | NOT_FOUND | 404 | Refused |
        | CONFLICT {"candidates":["a","b"]} | 409 | Refused |
        | CONFLICT {"subcode":"IDEMPOTENCY_IN_PROGRESS"} | 409 | Wait(InProgress) |
        | CONFLICT {"subcode":"JOB_CANCEL_UNAVAILABLE"} | 409 | Refused |
        | CONFLICT {"subcode":"SOMETHING_NEW"} | 409 | SeenBefore |
        | CONFLICT | 409 | SeenBefore |
        | IDEMPOTENCY_CONFLICT | 409 | SeenBefore |
        | A_NEW_CODE | 302 | Hold(Account, Other) |
        | A_NEW_CODE | 400 | Refused |
        | A_NEW_CODE | 401 | Hold(Account, Unauthenticated) |
        | A_NEW_CODE | 402 | Hold(Project, BillingExhausted) |
        | A_NEW_CODE | 403 | Hold(Account, ForbiddenScope) |
        | A_NEW_CODE | 404 | Refused |
        | A_NEW_CODE | 405 | Hold(Account, Other) |
        | A_NEW_CODE | 408 | Unknown |
        | A_NEW_CODE | 409 | Refused |
        | A_NEW_CODE | 410 | Refused |
        | A_NEW_CODE | 413 | Refused |
        | A_NEW_CODE | 414 | Hold(Account, Other) |
        | A_NEW_CODE | 418 | Hold(Account, Other) |
        | A_NEW_CODE | 422 | Refused |
        | A_NEW_CODE | 425 | Unknown |
        | A_NEW_CODE | 429 | Hold(Account, Other) |
        | A_NEW_CODE | 499 | Hold(Account, Other) |
        | A_NEW_CODE | 500 | Unknown |
        | A_NEW_CODE | 502 | Unknown |
        | A_NEW_CODE | 503 | Unknown |
        | A_NEW_CODE | 599 | Unknown |
        "#);
    }

    #[test]
    fn required_credits_are_read_and_rounded_up() {
        let required = |details| required_credits(&refusal("BILLING_EXHAUSTED", 402, details));
        assert_eq!(required(Some(json!({"required": 120}))), Some(120));
        assert_eq!(required(Some(json!({"required": 120.5}))), Some(121));
        assert_eq!(required(Some(json!({"required": -1}))), None);
        assert_eq!(required(Some(json!({"required": "120"}))), None);
        assert_eq!(required(None), None);
        let available = refusal("BILLING_EXHAUSTED", 402, Some(json!({"available": 3.9})));
        assert_eq!(available_credits(&available), Some(3));
    }

    #[test]
    fn only_an_envelope_can_say_not_found() {
        let no_envelope =
            NoAnswer { kind: NoAnswerKind::Unreadable, status: Some(404), detail: String::new() };
        assert!(Trouble::Refusal(refusal("NOT_FOUND", 404, None)).is_not_found());
        assert!(!Trouble::NoAnswer(no_envelope).is_not_found());
    }
}
