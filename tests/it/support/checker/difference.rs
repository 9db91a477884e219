//! In what two messages differ: the JSON paths and the properties, old → new.

use serde_json::Value;

use crate::support::message::Message;

/// So many differences are told.
const TOLD_MAX: usize = 8;
/// Longest value that is told.
const VALUE_CHARS: usize = 60;

/// In what `new` differs from `old`.
pub fn of(old: &Message, new: &Message) -> String {
    let mut found = Vec::new();
    if old.body != new.body {
        compare_bodies(&old.body, &new.body, &mut found);
    }
    let properties = |message: &Message| serde_json::to_value(&message.envelope).unwrap_or_default();
    compare("properties", &properties(old), &properties(new), &mut found);
    let more = found.len().saturating_sub(TOLD_MAX);
    found.truncate(TOLD_MAX);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found.join("; ")
}

fn compare_bodies(old: &[u8], new: &[u8], found: &mut Vec<String>) {
    let json = |body| serde_json::from_slice::<Value>(body).ok();
    if let (Some(old), Some(new)) = (json(old), json(new)) {
        compare("", &old, &new, found);
    }
    if found.is_empty() {
        let same = old.iter().zip(new).take_while(|(old, new)| old == new).count();
        let from = |body: &[u8]| short(&String::from_utf8_lossy(&body[same.min(body.len())..]));
        found.push(format!("from byte {same} on: {} → {}", from(old), from(new)));
    }
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                compare(&below(name), value, new.get(name).unwrap_or(&Value::Null), found);
            }
            for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
                compare(&below(name), &Value::Null, value, found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{index}]"), old, new, found);
            }
        }
        _ if old == new => {}
        _ => found.push(format!("{path}: {} → {}", short(&old.to_string()), short(&new.to_string()))),
    }
}

fn short(text: &str) -> String {
    let mut short: String = text.chars().take(VALUE_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_and_properties_that_differ_are_told_old_and_new_shortened() {
        let old = json!({"a": {"b": [1, {"c": "x"}]}, "gone": 1, "same": 2, "long": "y".repeat(100)});
        let new = json!({"a": {"b": [1, {"c": "z"}]}, "same": 2, "more": null, "long": "w"});
        let mut new = Message {
            body: new.to_string().into_bytes(),
            envelope: Some(crate::support::message::Envelope::default()),
        };
        let old = Message { body: old.to_string().into_bytes(), envelope: new.envelope.clone() };
        new.envelope.as_mut().unwrap().correlation_id = Some("other".to_owned());
        let long = "y".repeat(VALUE_CHARS - 1);
        assert_eq!(
            of(&old, &new),
            format!(
                "a.b[1].c: \"x\" → \"z\"; gone: 1 → null; long: \"{long}… → \"w\"; properties.correlation_id: null → \"other\""
            )
        );
    }

    #[test]
    fn the_same_json_in_another_spelling_is_told_by_its_bytes() {
        let (old, new) = (Message::of_line("{\"a\": 1}"), Message::of_line("{\"a\":1}"));
        assert_eq!(of(&old, &new), "from byte 5 on:  1} → 1}");
    }
}
