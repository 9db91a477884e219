//! The bytes of a POST, composed of what came in. They are made once and stored; nothing here re-serializes a value.

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
    let field = |name: &str, value: &str| format!("\"{name}\":{}", serde_json::Value::from(value));
    let mut fields = field("projectId", &identity.project_id);
    if !identity.batch_id.is_empty() {
        fields = format!("{fields},{}", field("batchId", &identity.batch_id));
    }
    fields = format!("{fields},{}", field("briefId", &identity.brief_id));
    with_first_fields(&fields, request)
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
