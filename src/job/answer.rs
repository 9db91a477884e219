//! What an answer of the API means for a submit: the one classification.
//!
//! The table is the API reference's: by `code` first, by HTTP status only where the code is unknown or absent. For people
//! it stands in CONTRIBUTING.md, where a test holds it against this file.
//! What follows for a *job* also depends on its earlier attempts; that is [`super::state`]'s part.

use std::fmt;
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
    /// The API's code, unchanged unless it is longer than 128 characters.
    pub code: String,
    /// The API's message, cut to 2,000 characters.
    pub message: String,
    /// The API's request id: a repeat of one seen before is a replay.
    pub request_id: Option<String>,
    /// The API's details; of more than 16 KiB what fits.
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

/// One line for people, as far as it is already known what was asked for.
impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected(detail) => formatter.write_str(detail),
            Self::NoAnswer(lost) => formatter.write_str(&lost.detail),
            Self::Refusal(refusal) => write!(formatter, "{}: {}", refusal.code, refusal.message),
        }
    }
}

impl Trouble {
    /// The API said, with its envelope, that what was asked for does not exist: by the code it documents, or with a 404
    /// whose code this version does not know. A 404 with another known code says something else.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Refusal(refusal) => {
                refusal.code == "NOT_FOUND" || (refusal.status == 404 && verdict_of_code(refusal).is_none())
            }
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
mod tests;
