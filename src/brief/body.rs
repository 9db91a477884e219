//! The bytes of a POST, composed of what came in. They are made once and stored; nothing here re-serializes a value.

use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::compare::same_json;
use super::{Identity, strict};

/// The body of a generate: `id` put first, everything else byte for byte.
pub fn body(request: &str, id: Option<Uuid>) -> String {
    match id {
        Some(id) => with_first_fields(&format!("\"id\":\"{id}\""), request),
        None => request.to_owned(),
    }
}

/// The body of a regenerate: `{}` when both requests have the same `brief`, else a patch with the new one,
/// byte for byte.
pub fn regenerate_body(run1_request: &str, request: &str) -> String {
    match (raw_brief(run1_request), raw_brief(request)) {
        (_, None) => "{}".to_owned(),
        (Some(old), Some(new)) if same_json(old.get(), new.get()) => "{}".to_owned(),
        (Some(_) | None, Some(new)) => format!("{{\"patch\":{{\"brief\":{new}}}}}"),
    }
}

/// The message that asks for a brief again: its ids, then its request byte for byte. Scheduling fields are left out;
/// what has expired once would expire again.
pub fn enqueueable(identity: &Identity, request: &str) -> String {
    let field = |name: &str, value: &str| format!("\"{name}\":{}", Value::from(value));
    let mut fields = field("projectId", &identity.project_id);
    if !identity.batch_id.is_empty() {
        fields = format!("{fields},{}", field("batchId", &identity.batch_id));
    }
    fields = format!("{fields},{}", field("briefId", &identity.brief_id));
    with_first_fields(&fields, request)
}

/// The message put into a batch: its own `batchId` and `batchSize` are replaced, everything else stays byte for byte.
/// A message that is no JSON object stays as it is.
pub fn with_batch(message: &str, batch: &str, size: Option<u64>) -> String {
    let Ok(fields) = strict::raw_fields(message) else { return message.to_owned() };
    let mut parts = vec![format!("\"batchId\":{}", Value::from(batch))];
    parts.extend(size.map(|size| format!("\"batchSize\":{size}")));
    let others = fields.iter().filter(|(name, _)| !["batchId", "batchSize"].contains(&name.as_str()));
    parts.extend(others.map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))));
    format!("{{{}}}", parts.join(","))
}

fn with_first_fields(fields: &str, request: &str) -> String {
    match request.trim_start().strip_prefix('{') {
        Some(rest) if rest.trim_start().starts_with('}') => format!("{{{fields}{rest}"),
        Some(rest) => format!("{{{fields},{rest}"),
        None => request.to_owned(),
    }
}

fn raw_brief(request: &str) -> Option<&RawValue> {
    let fields = strict::raw_fields(request).ok()?;
    fields.into_iter().find(|(name, _)| name == "brief").map(|(_, value)| value)
}
