//! A stored brief as a message once more, with some of its fields changed.

use serde_json::{Map, Value};

use super::{Identity, enqueueable, strict};

/// Fields that say which brief it is, and no change of it may touch.
pub const IDENTITY_FIELDS: [&str; 6] = ["projectId", "batchId", "briefId", "run", "batchSize", "id"];

/// The message that asks for the next run of a brief: its ids, the run, its priority, its request byte for byte.
pub fn rerun_message(identity: &Identity, run: u32, priority: u8, request: &str) -> String {
    let message = enqueueable(identity, request);
    let fields = format!("\"run\":{run},\"priority\":{priority},");
    message.replacen('{', &format!("{{{fields}"), 1)
}

/// A message with changes merged in (RFC 7396: objects field by field, `null` takes a field away, all else replaces).
/// What no change touches keeps its bytes. A message that is no JSON object stays as it is.
pub fn patched(message: &str, changes: &Map<String, Value>) -> String {
    let Ok(fields) = strict::raw_fields(message) else { return message.to_owned() };
    let known: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let mut parts = Vec::with_capacity(fields.len());
    for (name, raw) in &fields {
        match changes.get(name) {
            None => parts.push((name.as_str(), raw.get().to_owned())),
            Some(Value::Null) => {}
            Some(change) => {
                let old = strict::parse(raw.get()).unwrap_or(Value::Null);
                parts.push((name.as_str(), merged(old, change).to_string()));
            }
        }
    }
    let new = changes.iter().filter(|(name, value)| !known.contains(&name.as_str()) && !value.is_null());
    parts.extend(new.map(|(name, value)| (name.as_str(), merged(Value::Null, value).to_string())));
    let parts: Vec<_> = parts.into_iter().map(|(name, raw)| format!("{}:{raw}", Value::from(name))).collect();
    format!("{{{}}}", parts.join(","))
}

fn merged(old: Value, change: &Value) -> Value {
    let Value::Object(change) = change else { return change.clone() };
    let mut object = match old {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    for (name, value) in change {
        if value.is_null() {
            object.shift_remove(name);
        } else {
            let old = object.get(name).cloned().unwrap_or(Value::Null);
            object.insert(name.clone(), merged(old, value));
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(message: &str, changes: &Value) -> String {
        patched(message, changes.as_object().unwrap())
    }

    #[test]
    fn what_no_change_touches_keeps_its_bytes() {
        let message = r#"{"projectId":"p","budget":{"maxCredits":1e2},"brief":{"hook":"old","cta":"go"}}"#;
        assert_eq!(
            patch(message, &json!({"brief": {"hook": "new"}, "priority": 9})),
            r#"{"projectId":"p","budget":{"maxCredits":1e2},"brief":{"hook":"new","cta":"go"},"priority":9}"#
        );
        assert_eq!(patch(message, &json!({})), message);
    }

    #[test]
    fn null_takes_a_field_away_and_lists_are_replaced() {
        let message = r#"{"a":[1,2],"brief":{"hook":"h","cta":"c"},"b":1}"#;
        assert_eq!(
            patch(
                message,
                &json!({"a": [3], "brief": {"cta": null, "angle": {"x": null}}, "b": null, "c": null})
            ),
            r#"{"a":[3],"brief":{"hook":"h","angle":{}}}"#
        );
    }

    #[test]
    fn a_rerun_asks_for_the_request_as_it_was() {
        let identity =
            Identity { project_id: "p".to_owned(), batch_id: String::new(), brief_id: "b".to_owned() };
        assert_eq!(
            rerun_message(&identity, 2, 7, r#"{"brief":{"hook":"\/"}}"#),
            r#"{"run":2,"priority":7,"projectId":"p","briefId":"b","brief":{"hook":"\/"}}"#
        );
    }
}
