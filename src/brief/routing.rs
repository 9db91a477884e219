//! The fields that tell briefd what to do with a brief: who it is, when and how urgently it starts.
//!
//! An unfit id makes a message unreadable (nobody could be told which brief failed); every other unfit routing field
//! is a violation of a brief that has an identity.

use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::excerpt::excerpt;
use super::validate::violation;
use super::{Fingerprint, Identity, PRIORITY_DEFAULT, Rules, Unreadable, Violation};
use crate::config::work::MissingBriefId;
use crate::flow::Properties;

/// Names of the routing fields; all other fields but `id` are the API's.
pub(super) const FIELDS: [&str; 8] =
    ["projectId", "batchId", "briefId", "run", "batchSize", "priority", "notBefore", "expiresAt"];

/// Longest id.
const ID_BYTES_MAX: usize = 200;

/// Project and batch of a message, which decide with the brief id which brief it is.
pub(super) fn identity(
    fields: &Map<String, Value>,
    properties: &Properties,
    rules: &Rules<'_>,
    fingerprint: Fingerprint,
) -> Result<Identity, Unreadable> {
    let project = id(fields, "projectId")?.ok_or(Unreadable::NoProject)?;
    let own_batch = id(fields, "batchId")?;
    let batch = match rules.batch.or(own_batch).or(rules.default_batch) {
        Some(batch) => fit("batchId", batch)?,
        None => "",
    };
    let brief = match (id(fields, "briefId")?, rules.missing_brief_id, &properties.message_id) {
        (Some(brief), _, _) => brief.to_owned(),
        (None, MissingBriefId::MessageId, Some(message)) => fit("message_id", message)?.to_owned(),
        (None, MissingBriefId::MessageId, None) | (None, MissingBriefId::Content, _) => {
            format!("sha256:{fingerprint}")
        }
    };
    let project = rules.projects.get(project).map_or(project, String::as_str);
    Ok(Identity { project_id: project.to_owned(), batch_id: batch.to_owned(), brief_id: brief })
}

fn id<'a>(fields: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, Unreadable> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => fit(name, text).map(Some),
        Some(_) => Err(Unreadable::UnfitId { field: name, problem: "is not a text" }),
    }
}

fn fit<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Unreadable> {
    let problem = if text.is_empty() {
        "is empty"
    } else if text.len() > ID_BYTES_MAX {
        "is longer than 200 bytes"
    } else if text.contains(char::is_control) {
        "has control characters in it"
    } else {
        return Ok(text);
    };
    Err(Unreadable::UnfitId { field, problem })
}

/// When and how urgently a brief starts. What is unfit has its default here and a violation elsewhere.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) run: u32,
    pub(super) batch_size: Option<u64>,
    pub(super) priority: u8,
    pub(super) not_before: Option<Timestamp>,
    pub(super) expires_at: Option<Timestamp>,
}

/// Reads the scheduling fields. Adds only those violations that the schema cannot find.
pub(super) fn schedule(
    fields: &Map<String, Value>,
    rules: &Rules<'_>,
    batch_id: &str,
    violations: &mut Vec<Violation>,
) -> Schedule {
    let own_size = integer(fields.get("batchSize")).filter(|size| *size >= 1);
    let names_batch = fields.get("batchId").is_some_and(|batch| !batch.is_null());
    let batch_size = match (rules.batch, names_batch) {
        // `--batch` makes one batch of the file, whatever its lines say.
        (Some(_), _) => rules.batch_size.or(own_size),
        (None, true) => own_size,
        (None, false) => own_size.or(rules.batch_size),
    };
    if batch_id.is_empty() && fields.get("batchSize").is_some_and(|size| !size.is_null()) {
        violations.push(violation("batchSize", "needs a batchId beside it"));
    }
    let run = integer(fields.get("run")).and_then(|run| u32::try_from(run).ok()).filter(|run| *run >= 1);
    let priority = integer(fields.get("priority")).and_then(|priority| u8::try_from(priority).ok());
    Schedule {
        run: run.unwrap_or(1),
        batch_size: batch_size.filter(|_| !batch_id.is_empty()),
        priority: priority.filter(|priority| *priority <= 9).unwrap_or(PRIORITY_DEFAULT),
        not_before: time(fields, "notBefore", violations),
        expires_at: time(fields, "expiresAt", violations),
    }
}

/// A whole number from 0, also when written as `2.0`: to JSON Schema that is an integer.
pub(crate) fn integer(value: Option<&Value>) -> Option<u64> {
    let number = value?.as_number()?;
    number.as_u64().or_else(|| {
        let float = number.as_f64().filter(|float| *float >= 0.0 && float.fract() == 0.0)?;
        format!("{float:.0}").parse().ok()
    })
}

fn time(fields: &Map<String, Value>, name: &str, violations: &mut Vec<Violation>) -> Option<Timestamp> {
    let text = fields.get(name)?.as_str()?;
    let time = Timestamp::from_str(text).ok();
    if time.is_none() {
        let problem = format!("{} is not a time like 2026-05-01T09:00:00Z", excerpt(text));
        violations.push(violation(name, &problem));
    }
    time
}
