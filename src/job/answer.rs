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
}
