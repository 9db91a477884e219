//! Refusals and their envelope: `{"error":{"code","message","requestId","details"?}}`.

use serde_json::{Value, json};

use super::options::{Options, Revision};

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    /// HTTP status.
    pub(super) status: u16,
    /// The code callers branch on.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// What the code's documentation promises beside it.
    pub(super) details: Option<Box<Value>>,
    /// `Retry-After`, as sent.
    pub(super) retry_after: Option<String>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), details: None, retry_after: None }
    }

    pub(super) fn unauthenticated() -> Self {
        Self::new(401, "UNAUTHENTICATED", "The API key is missing, unknown or revoked.")
    }

    pub(super) fn kill_switch() -> Self {
        Self::new(503, "KILL_SWITCH", "This organization has been switched off.")
    }

    pub(super) fn forbidden_scope(scope: &str) -> Self {
        let refusal = Self::new(403, "FORBIDDEN_SCOPE", format!("The API key lacks the scope {scope}."));
        refusal.with_details(json!({ "requiredScope": scope }))
    }

    pub(super) fn rate_limited(retry_after_seconds: i64) -> Self {
        let refusal = Self::new(429, "RATE_LIMITED", "Too many requests of this class.");
        Self { retry_after: Some(retry_after_seconds.to_string()), ..refusal }
    }

    pub(super) fn running_cap(cap: u64, running: u64) -> Self {
        let refusal =
            Self::new(429, "RATE_LIMITED", format!("{running} jobs are running; the cap is {cap}."));
        Self { retry_after: Some("5".to_owned()), ..refusal }
    }

    pub(super) fn invalid(path: &str, problem: &str) -> Self {
        Self::new(422, "VALIDATION_FAILED", format!("{path}: {problem}"))
            .with_details(json!({ "issues": [{ "path": path, "message": problem }] }))
    }

    pub(super) fn moderation() -> Self {
        Self::new(422, "MODERATION_BLOCKED", "The brief failed the safety check.")
    }

    pub(super) fn billing(required: u64, available: u64) -> Self {
        Self::new(
            402,
            "BILLING_EXHAUSTED",
            format!("{required} credits are needed, {available} are available."),
        )
        .with_details(json!({ "required": required, "available": available }))
    }

    pub(super) fn not_found(what: &str, id: &str) -> Self {
        Self::new(404, "NOT_FOUND", format!("There is no {what} {id}."))
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "CONFLICT", message)
    }

    pub(super) fn conflict_of(subcode: &str, message: impl Into<String>) -> Self {
        Self::conflict(message).with_details(json!({ "subcode": subcode }))
    }

    pub(super) fn in_progress() -> Self {
        let refusal = Self::conflict_of(
            "IDEMPOTENCY_IN_PROGRESS",
            "The first request with this key is still being served.",
        );
        Self { retry_after: Some("1".to_owned()), ..refusal }
    }

    pub(super) fn idempotency_conflict() -> Self {
        Self::new(409, "IDEMPOTENCY_CONFLICT", "This Idempotency-Key was used with another body.")
    }

    /// A refusal with the code a brief wished for, with the status and the details that belong to it.
    pub(super) fn wished(code: &str, (required, available): (u64, u64)) -> Self {
        let status = match code {
            "BILLING_EXHAUSTED" => return Self::billing(required, available),
            "MODERATION_BLOCKED" => return Self::moderation(),
            "UNAUTHENTICATED" => 401,
            "FORBIDDEN_SCOPE" => 403,
            "KILL_SWITCH" => 503,
            "NOT_FOUND" => 404,
            "CONFLICT" | "IDEMPOTENCY_CONFLICT" => 409,
            "RATE_LIMITED" => 429,
            _ => 422,
        };
        Self::new(status, code, "The brief asked the sandbox for this refusal.")
    }

    pub(super) fn with_details(self, details: Value) -> Self {
        Self { details: Some(Box::new(details)), ..self }
    }

    /// Whether a repeat of the same key and body gets this very answer again.
    pub(super) fn is_replayed(&self, options: &Options) -> bool {
        match self.status {
            401 | 403 | 429 => false,
            402 => options.replay_billing && options.replay_refusals,
            status => status < 500 && options.replay_refusals,
        }
    }

    /// The code as a revision calls it.
    fn code_in(&self, revision: Revision) -> &str {
        match (revision, self.code.as_str()) {
            (Revision::B, "VALIDATION_FAILED") => "VALIDATION",
            (Revision::A | Revision::B, code) => code,
        }
    }

    /// The envelope.
    pub(super) fn body(&self, revision: Revision, request_id: &str) -> String {
        let mut error =
            json!({ "code": self.code_in(revision), "message": self.message, "requestId": request_id });
        if let (Some(details), Some(fields)) = (&self.details, error.as_object_mut()) {
            fields.insert("details".to_owned(), Value::clone(details));
        }
        json!({ "error": error }).to_string()
    }
}
