//! From a delivery to a brief, or to the one reason why nobody can tell which brief it is.

use std::collections::BTreeMap;

use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::excerpt::{bounded, excerpt};
use super::validate::{sorted, violation, violations};
use super::{Brief, Fingerprint, VARIANTS_MAX, routing, strict};
use crate::config::work::{MissingBriefId, Validation};
use crate::flow::Delivery;

/// What the settings and the command line say about reading messages.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// A longer message is unreadable.
    pub max_message_bytes: u64,
    /// What is done about unknown fields and enum values.
    pub validation: Validation,
    /// Identity of messages without `briefId`.
    pub missing_brief_id: MissingBriefId,
    /// Alias → project id.
    pub projects: &'a BTreeMap<String, String>,
    /// `--batch`: the batch of every message, whatever it says itself.
    pub batch: Option<&'a str>,
    /// The batch of messages that name none: a file's stem.
    pub default_batch: Option<&'a str>,
    /// Size of the batch that one of the two above makes.
    pub batch_size: Option<u64>,
}

/// What rules point at that know no alias.
static NO_PROJECTS: BTreeMap<String, String> = BTreeMap::new();

impl Rules<'static> {
    /// Those that add nothing to a message and let nothing unknown through: no alias, no batch, identity by content.
    pub const fn strict(max_message_bytes: u64) -> Self {
        Self {
            max_message_bytes,
            validation: Validation::Strict,
            missing_brief_id: MissingBriefId::Content,
            projects: &NO_PROJECTS,
            batch: None,
            default_batch: None,
            batch_size: None,
        }
    }
}

/// Why nobody can tell which brief a message is about. The text is one line for people and never holds the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The source itself could not make a message of it.
    #[error("{0}")]
    Fault(String),
    /// `content_encoding` is neither absent nor `utf-8`.
    #[error("content_encoding is {0}; send plain UTF-8 JSON, not compressed")]
    ContentEncoding(String),
    /// Longer than `intake.max_message_bytes`.
    #[error("the message has {bytes} bytes; intake.max_message_bytes allows {max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest that is read.
        max: u64,
    },
    /// Not UTF-8.
    #[error("the message is not UTF-8: byte {0} fits no character")]
    NotUtf8(usize),
    /// Not JSON.
    #[error("the message is not JSON: {0}")]
    NotJson(String),
    /// JSON, but it does not mean one thing only: repeated keys, numbers beyond ±2^53.
    #[error("the message is ambiguous: {0}")]
    Ambiguous(String),
    /// JSON, but not an object.
    #[error("the message is not a JSON object")]
    NotAnObject,
    /// No `projectId`.
    #[error("projectId is missing; every brief names its project")]
    NoProject,
    /// An id that is not a text of 1 to 200 bytes without control characters.
    #[error("{field} {problem}; ids are texts of 1 to 200 bytes without control characters")]
    UnfitId {
        /// `projectId`, `batchId`, `briefId` or `message_id`.
        field: &'static str,
        /// In which way.
        problem: &'static str,
    },
}

/// Reads one delivery. The first thing that makes it unreadable decides; whatever else is wrong ends up in
/// [`Brief::violations`].
pub fn parse(delivery: &Delivery, rules: &Rules<'_>) -> Result<Brief, Unreadable> {
    let text = text(delivery, rules.max_message_bytes)?;
    let mut message = match strict::parse(text)? {
        Value::Object(message) => message,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(Unreadable::NotAnObject);
        }
    };
    let fields = strict::raw_fields(text)?;
    let fingerprint = Fingerprint::of(&fingerprinted(&message))?;
    let identity = routing::identity(&message, &delivery.properties, rules, fingerprint)?;

    let mut found = Vec::new();
    if message.shift_remove("id").is_some() {
        found.push(violation("id", "is made by briefd; leave it out"));
    }
    let schedule = routing::schedule(&message, rules, &identity.batch_id, &mut found);
    let variant_count = routing::integer(message.get("variantCount"))
        .and_then(|count| u8::try_from(count).ok())
        .filter(|count| (1..=VARIANTS_MAX).contains(count));
    let format = message.get("format").and_then(Value::as_str).map(str::to_owned);
    found.extend(violations(&Value::Object(message), rules.validation));
    Ok(Brief {
        identity,
        run: schedule.run,
        batch_size: schedule.batch_size,
        priority: schedule.priority,
        not_before: schedule.not_before,
        expires_at: schedule.expires_at,
        fingerprint,
        request: request(&fields),
        metadata: metadata(&fields),
        variant_count: variant_count.unwrap_or(1),
        format,
        violations: sorted(found),
    })
}

/// The message as text, if its envelope allows.
fn text(delivery: &Delivery, max_message_bytes: u64) -> Result<&str, Unreadable> {
    if let Some(fault) = &delivery.fault {
        return Err(Unreadable::Fault(bounded(fault)));
    }
    let encoding = delivery.properties.content_encoding.as_deref().unwrap_or_default();
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("utf-8") {
        return Err(Unreadable::ContentEncoding(excerpt(encoding)));
    }
    let bytes = delivery.body.len();
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > max_message_bytes) {
        return Err(Unreadable::TooLarge { bytes, max: max_message_bytes });
    }
    let text =
        std::str::from_utf8(&delivery.body).map_err(|error| Unreadable::NotUtf8(error.valid_up_to() + 1))?;
    match text.chars().next() {
        None => Err(Unreadable::NotJson("it is empty".to_owned())),
        Some('\u{feff}') => {
            Err(Unreadable::NotJson("it starts with a byte order mark; leave that out".to_owned()))
        }
        Some(_) => Ok(text),
    }
}

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        let mut problem = error.to_string();
        if error.line() <= 1 {
            // Of a file of briefs each line is a message: a line 1 in line 6 misleads.
            problem = problem.replace(" at line 1 column ", " at column ");
        }
        let problem = bounded(&problem);
        match error.classify() {
            Category::Data => Self::Ambiguous(problem),
            Category::Io | Category::Syntax | Category::Eof => Self::NotJson(problem),
        }
    }
}

fn is_request_field(name: &str) -> bool {
    name != "id" && !routing::FIELDS.contains(&name)
}

/// What the fingerprint is taken of: the request without `metadata`, because pipelines stamp run ids there.
fn fingerprinted(message: &Map<String, Value>) -> Value {
    let fields = message.iter().filter(|(name, _)| is_request_field(name) && *name != "metadata");
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The API's fields, values byte for byte, in the order received.
fn request(fields: &[(String, &RawValue)]) -> String {
    let fields = fields.iter().filter(|(name, _)| is_request_field(name));
    let fields: Vec<_> =
        fields.map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
    format!("{{{}}}", fields.join(","))
}

fn metadata(fields: &[(String, &RawValue)]) -> Option<String> {
    let (_, value) = fields.iter().find(|(name, _)| name == "metadata")?;
    (value.get() != "null").then(|| value.get().to_owned())
}
