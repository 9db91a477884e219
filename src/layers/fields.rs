//! PURE. A JSON object read field by field: what is missing, `null` or of another type is simply not there, and of a
//! repeated name the last counts. Values are kept as text until they are asked for, so a number that no double can
//! hold hurts only its own field.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::job::{ApiError, ApiStatus};

/// So deep is looked for the part of a value that cannot be held. Each level reads the text once more.
const MENDED_LEVELS: u8 = 8;

/// A JSON object, its values not looked at yet.
pub(super) struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// `None` for whatever is not an object.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    /// The JSON text of a field; `None` for `null` too.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|raw| raw.get()).filter(|text| *text != "null")
    }

    /// A field that is a `T`.
    pub(super) fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// Text that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.read::<String>(name).filter(|text| !text.is_empty())
    }

    /// Text for people. Half a surrogate pair, as left by who cuts texts in UTF-16, costs one character and not all.
    pub(super) fn prose(&self, name: &str) -> Option<String> {
        self.read::<Prose>(name).map(|prose| prose.0).filter(|text| !text.is_empty())
    }

    /// A field as a value. What of it cannot be held (a number beyond any double, a nesting without end) hurts only
    /// itself: its JSON text stands in its place.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        self.raw(name).map(|text| value_of(text, MENDED_LEVELS))
    }

    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::of(self.raw(name)?)
    }

    pub(super) fn array(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// `status`
    pub(super) fn status(&self) -> Option<ApiStatus> {
        self.text("status").map(|word| ApiStatus::from_word(&word))
    }

    /// A number of credits, rounded down.
    pub(super) fn credits(&self, name: &str) -> Option<i64> {
        self.read::<i64>(name).or_else(|| {
            let credits = self.read::<f64>(name)?.floor();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "`as` saturates, which is near enough for a wallet"
            )]
            let credits = credits as i64;
            Some(credits)
        })
    }

    /// The names of the fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// `containerIds` and `containerId`, each once, in this order.
    pub(super) fn container_ids(&self) -> Vec<String> {
        let (mut ids, mut seen) = (Vec::new(), HashSet::new());
        let many = self.array("containerIds").unwrap_or_default();
        let many = many.into_iter().filter_map(|raw| serde_json::from_str::<String>(raw.get()).ok());
        for id in many.chain(self.text("containerId")) {
            if !id.is_empty() && seen.insert(id.clone()) {
                ids.push(id);
            }
        }
        ids
    }

    /// `error` of a job, `lastError` of a container.
    pub(super) fn error(&self, name: &str) -> Option<ApiError> {
        let unknown = || "UNKNOWN".to_owned();
        if let Some(error) = self.object(name) {
            let code = error.text("code").unwrap_or_else(unknown);
            return Some(ApiError { code, message: error.prose("message").unwrap_or_default() });
        }
        Some(ApiError { code: unknown(), message: self.prose(name)? })
    }
}

fn value_of(text: &str, levels: u8) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    let as_text = || Value::String(text.to_owned());
    let Some(levels) = levels.checked_sub(1) else { return as_text() };
    if let Some(fields) = Fields::of(text) {
        return fields.0.into_iter().map(|(name, raw)| (name, value_of(raw.get(), levels))).collect();
    }
    if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) {
        return items.into_iter().map(|raw| value_of(raw.get(), levels)).collect();
    }
    serde_json::from_str::<Prose>(text).map_or_else(|_| as_text(), |prose| Value::String(prose.0))
}

/// A JSON string of which half surrogate pairs became replacement characters.
struct Prose(String);

impl<'de> Deserialize<'de> for Prose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Prose;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Prose, E> {
                Ok(Prose(String::from_utf8_lossy(bytes).into_owned()))
            }
        }
        // As bytes serde_json hands out what no `str` can hold.
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_held_hurts_only_itself() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let text = format!(
            r#"{{"details":{{"subcode":"S","big":1e999,"list":[1,-1e999,{{"cut":"a\ud83d"}}],"deep":{deep}}},"deep":{deep}}}"#
        );
        let fields = Fields::of(&text).unwrap();
        let details = fields.value("details").unwrap();
        assert_eq!(details.get("subcode"), Some(&json!("S")));
        assert_eq!(details.get("big"), Some(&json!("1e999")));
        assert_eq!(details.get("list"), Some(&json!([1, "-1e999", {"cut": "a\u{fffd}\u{fffd}\u{fffd}"}])));
        let text_of_the_rest = details.get("deep").unwrap().to_string();
        assert!(text_of_the_rest.len() > 100_000, "it is there, unread");
        assert!(fields.value("deep").is_some());
        assert_eq!(fields.value("absent"), None);
    }

    #[test]
    fn of_a_repeated_name_the_last_counts() {
        let fields = Fields::of(r#"{"jobId":"a","jobId":7,"jobId":"b","status":"x","status":null}"#).unwrap();
        assert_eq!(fields.text("jobId").as_deref(), Some("b"));
        assert_eq!(fields.text("status"), None);
    }

    #[test]
    fn a_text_for_people_survives_half_an_emoji_and_an_id_does_not() {
        let fields = Fields::of(r#"{"message":"Run \ud83d","jobId":"job_\ud83d","n":7,"list":[1]}"#).unwrap();
        assert!(fields.prose("message").unwrap().starts_with("Run \u{fffd}"));
        assert_eq!(fields.text("jobId"), None, "nothing could be asked by it");
        assert_eq!((fields.prose("n"), fields.prose("list")), (None, None));
    }
}
