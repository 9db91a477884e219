//! PURE. The outbound record: what became of one container, of a brief that never got one, or of a whole batch.
//!
//! Invariants:
//! - The same record has the same id and the same bytes, today and in a later version: ids come from
//!   [`keys::record_id`], fields have a fixed order, the API's record is carried as the raw text it came in.
//! - Every field is always present; what does not apply is `null`. New fields may be added, none changes its meaning.
//!
//! It does not decide what is published, or when: that is the ledger's part.

mod batch;
mod remedy;
mod wire;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::brief::{Identity, keys};
use crate::flow::Properties;

pub use batch::{BATCH_FINISHED, BatchCounts, BatchFinished, ContainerCounts, ProjectPart};
pub use remedy::{REMEDIES, Remedy, RemedyRow, remedy};
pub use wire::schema;

/// Value of a record's `schema` field.
pub const SCHEMA: &str = "briefd.record/1";
/// Longest AMQP routing key.
const ROUTING_KEY_BYTES_MAX: usize = 255;
/// Headers that are passed on from the brief message to its records.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// What became of one container, or of a whole run of a brief.
#[derive(Clone, Debug)]
pub struct Record {
    /// What it tells.
    pub kind: RecordType,
    /// Which brief.
    pub identity: Identity,
    /// Which run of it.
    pub run: u32,
    /// The key text of the job behind it, for a brief-level record that of the run ([`keys::key_text`]). Goes into the
    /// record's id only.
    pub key_text: String,
    /// Which variant, from 1; `None` for a brief-level record.
    pub variant: Option<u8>,
    /// How many variants the brief asked for.
    pub variant_count: u8,
    /// The API's job.
    pub job_id: Option<String>,
    /// The API's container.
    pub container_id: Option<String>,
    /// What was made: what `auto` became, where the API told.
    pub format: Option<String>,
    /// The API's record of the container, verbatim.
    pub container: Option<Box<RawValue>>,
    /// Why it did not complete.
    pub error: Option<RecordError>,
    /// For a brief-level record: the message to mend and enqueue again ([`crate::brief::enqueueable`]).
    pub request: Option<Box<RawValue>>,
    /// The message's `metadata`, verbatim.
    pub metadata: Option<Box<RawValue>>,
    /// What the run was expected to cost, in credits.
    pub credits_estimate: Option<u64>,
    /// The brief message's AMQP `timestamp`.
    pub enqueued_at: Option<Timestamp>,
    /// When briefd received the message.
    pub received_at: Timestamp,
    /// When the POST left that the API accepted.
    pub submitted_at: Option<Timestamp>,
    /// When it ended: the API's time where it gives one.
    pub finished_at: Timestamp,
}

impl Record {
    /// `recordId` and AMQP `message_id`: consumers drop repeats by it.
    pub fn id(&self) -> Uuid {
        keys::record_id(&self.key_text, self.variant, self.kind.word())
    }

    /// The AMQP routing key.
    pub fn routing_key(&self) -> String {
        routing_key(self.kind, &self.identity.project_id)
    }

    /// The JSON text on one line, unless the API's record or the metadata have line breaks in them. Same record, same
    /// bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        wire::bytes(self)
    }

    /// What travels beside the record. `received` is what travelled beside the brief message: its `correlation_id`
    /// (else the brief's id) and its trace headers are passed on.
    pub fn properties(&self, received: &Properties) -> Properties {
        let correlation = received.correlation_id.clone().unwrap_or_else(|| self.identity.brief_id.clone());
        let passed_on = |name: &str| Some((name.to_owned(), received.headers.get(name)?.clone()));
        Properties {
            message_id: Some(self.id().to_string()),
            correlation_id: Some(correlation),
            kind: Some(self.kind.word().to_owned()),
            content_type: Some("application/json".to_owned()),
            headers: TRACE_HEADERS.into_iter().filter_map(passed_on).collect(),
            ..Properties::default()
        }
    }
}

/// The type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
pub enum RecordType {
    /// The container completed.
    #[serde(rename = "container.completed")]
    ContainerCompleted,
    /// The container failed.
    #[serde(rename = "container.failed")]
    ContainerFailed,
    /// The container was canceled.
    #[serde(rename = "container.canceled")]
    ContainerCanceled,
    /// No container came to exist; stands for all variants of its run.
    #[serde(rename = "brief.failed")]
    BriefFailed,
}

impl RecordType {
    /// Every type.
    pub const ALL: [Self; 4] =
        [Self::ContainerCompleted, Self::ContainerFailed, Self::ContainerCanceled, Self::BriefFailed];

    /// The word in records, in the AMQP `type`, in metrics and in the ledger.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ContainerCompleted => "container.completed",
            Self::ContainerFailed => "container.failed",
            Self::ContainerCanceled => "container.canceled",
            Self::BriefFailed => "brief.failed",
        }
    }

    /// The type of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Why something did not complete. Fields stand in the order of the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordError {
    /// The API's code, unchanged, or one of briefd's own.
    pub code: String,
    /// One line for people.
    pub message: String,
    /// The API's request id, for its support.
    pub request_id: Option<String>,
    /// The API's details, unchanged up to 16 KiB; for `INVALID_BRIEF` an object with `violations`.
    pub details: Option<Value>,
    /// Who says so.
    pub source: Source,
    /// The stage in which generation failed, when told.
    pub stage: Option<String>,
    /// What helps.
    pub remedy: Remedy,
}

impl RecordError {
    /// An error with its remedy from the table, and nothing else known.
    pub fn new(source: Source, code: impl Into<String>, message: impl Into<String>) -> Self {
        let code = code.into();
        let remedy = remedy(&code, source);
        Self { code, message: message.into(), request_id: None, details: None, source, stage: None, remedy }
    }
}

/// Who says that something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The Layers API.
    Layers,
    /// briefd itself.
    Briefd,
}

impl Source {
    /// Both sources.
    pub const ALL: [Self; 2] = [Self::Layers, Self::Briefd];

    /// The word in records, in metrics and in the ledger.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Briefd => "briefd",
        }
    }

    /// The source of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.word() == word)
    }
}

/// The routing key of a record: its type, a dot, and the project with its dots as `_`, so that a consumer can bind
/// `container.*.PROJECT`. At most 255 bytes.
pub fn routing_key(kind: RecordType, project_id: &str) -> String {
    let mut key = format!("{}.{}", kind.word(), project_id.replace('.', "_"));
    key.truncate(key.floor_char_boundary(ROUTING_KEY_BYTES_MAX));
    key
}
