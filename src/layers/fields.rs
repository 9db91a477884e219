//! PURE. A JSON object read field by field: what is missing, `null` or of another type is simply not there, and of a
//! repeated name the last counts. Values are kept as text until they are asked for, so a number that no double can
//! hold hurts only its own field.
//!
//! Whatever is kept of an answer has a longest length here, since it goes into the ledger, the log and the records: an
//! id that is longer is not there (nothing could be asked by it), a word or a text for people is cut, and of details
//! stays what fits. Only the record of a container is kept whole, which is why whole answers have a longest length too.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::job::{ApiError, ApiStatus};
use crate::wording::cut;

/// Longest id; the API's are under 50 bytes, and a server refuses a URL of some kilobytes.
pub(super) const ID_BYTES_MAX: usize = 512;
/// Longest word: a code, a status, a stage, a format.
pub(super) const WORD_CHARS_MAX: usize = 128;
/// Longest text for people.
pub(super) const PROSE_CHARS_MAX: usize = 2_000;
/// Longest JSON text of details.
pub(super) const DETAILS_BYTES_MAX: usize = 16 * 1024;
/// Longest JSON text of one field of details that are too long; those by which briefd decides are far shorter.
const DETAIL_BYTES_MAX: usize = 2 * 1024;
/// Most texts of a list.
const TEXTS_MAX: usize = 100;

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

    /// What something is asked by.
    pub(super) fn id(&self, name: &str) -> Option<String> {
        self.read::<String>(name).filter(|id| is_id(id))
    }

    /// A word that is not empty, cut to [`WORD_CHARS_MAX`]: what is cut is none that anybody knows.
    pub(super) fn word(&self, name: &str) -> Option<String> {
        self.read::<String>(name).filter(|word| !word.is_empty()).map(|word| cut(&word, WORD_CHARS_MAX))
    }

    /// A list of words.
    pub(super) fn words(&self, name: &str) -> Option<Vec<String>> {
        let words = self.read::<Vec<String>>(name)?;
        Some(words.iter().take(TEXTS_MAX).map(|word| cut(word, WORD_CHARS_MAX)).collect())
    }

    /// Text for people, cut to [`PROSE_CHARS_MAX`]. Half a surrogate pair, as left by who cuts texts in UTF-16, costs
    /// one character and not all.
    pub(super) fn prose(&self, name: &str) -> Option<String> {
        self.read::<Prose>(name).map(|prose| cut(&prose.0, PROSE_CHARS_MAX)).filter(|text| !text.is_empty())
    }

    /// A field as a value. What of it cannot be held (a number beyond any double, a nesting without end) hurts only
    /// itself: its JSON text stands in its place.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        self.raw(name).map(|text| value_of(text, MENDED_LEVELS))
    }

    /// `details` of an error. Of those that are too long stay the fields that are short, as many as fit.
    pub(super) fn details(&self) -> Option<Value> {
        let text = self.raw("details")?;
        if text.len() <= DETAILS_BYTES_MAX {
            return Some(value_of(text, MENDED_LEVELS));
        }
        let mut left = DETAILS_BYTES_MAX;
        let mut fits = |name: &str, raw: &str| {
            let length = name.len().saturating_add(raw.len());
            let fits = raw.len() <= DETAIL_BYTES_MAX && length <= left;
            left -= if fits { length } else { 0 };
            fits
        };
        let fields = Self::of(text)?.0.into_iter();
        let kept: Value = fields
            .map(|(name, raw)| (name, first_items(raw.get())))
            .filter(|(name, raw)| fits(name, raw))
            .map(|(name, raw)| (name, value_of(&raw, MENDED_LEVELS)))
            .collect();
        Some(kept)
    }

    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        self.word(name)?.parse().ok()
    }

    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::of(self.raw(name)?)
    }

    pub(super) fn array(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// `status`
    pub(super) fn status(&self) -> Option<ApiStatus> {
        self.word("status").map(|word| ApiStatus::from_word(&word))
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
        for id in many.chain(self.id("containerId")) {
            if is_id(&id) && seen.insert(id.clone()) {
                ids.push(id);
            }
        }
        ids
    }

    /// `error` of a job, `lastError` of a container.
    pub(super) fn error(&self, name: &str) -> Option<ApiError> {
        let unknown = || "UNKNOWN".to_owned();
        if let Some(error) = self.object(name) {
            let code = error.word("code").unwrap_or_else(unknown);
            return Some(ApiError { code, message: error.prose("message").unwrap_or_default() });
        }
        Some(ApiError { code: unknown(), message: self.prose(name)? })
    }
}

/// Whether anything can be asked by it.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ID_BYTES_MAX
}

/// Of a list that is too long for one field of details its first items: that there are any may decide.
fn first_items(text: &str) -> Cow<'_, str> {
    let items = Some(text)
        .filter(|text| text.len() > DETAIL_BYTES_MAX)
        .and_then(|text| serde_json::from_str(text).ok());
    let Some::<Vec<&RawValue>>(items) = items else { return Cow::Borrowed(text) };
    let mut left = DETAIL_BYTES_MAX.saturating_sub(2);
    let fitting = items.into_iter().map(RawValue::get).take_while(|item| {
        left = left.saturating_sub(item.len().saturating_add(1));
        left > 0
    });
    Cow::Owned(format!("[{}]", fitting.collect::<Vec<_>>().join(",")))
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
    fn what_is_kept_of_a_long_text_is_short() {
        let long = "é".repeat(5_000);
        let fields = [("word", &*long), ("id", &*long), ("short", "s")];
        let text = json!(fields.into_iter().collect::<BTreeMap<_, _>>()).to_string();
        let fields = Fields::of(&text).unwrap();
        assert_eq!(fields.word("word").unwrap(), "é".repeat(WORD_CHARS_MAX - 1) + "…");
        assert_eq!(fields.prose("word").unwrap(), "é".repeat(PROSE_CHARS_MAX - 1) + "…");
        assert_eq!(fields.id("id"), None, "half an id asks for something else");
        assert_eq!(
            [fields.word("short"), fields.prose("short"), fields.id("short")].map(Option::unwrap),
            ["s"; 3]
        );
        let list = json!({ "words": vec![&long; 500], "containerIds": [long, "c"] }).to_string();
        let list = Fields::of(&list).unwrap();
        let words = list.words("words").unwrap();
        assert!(words.len() == TEXTS_MAX && words.iter().all(|word| word.chars().count() == WORD_CHARS_MAX));
        assert_eq!(list.container_ids(), ["c"]);
    }

    #[test]
    fn of_details_that_are_too_long_stays_what_decides() {
        let details_of = |details: &Value| {
            let text = json!({ "details": details }).to_string();
            Fields::of(&text).unwrap().details()
        };
        let small = json!({ "subcode": "S", "list": vec![7; 4_000] });
        assert_eq!(details_of(&small).as_ref(), Some(&small), "unchanged as long as it is not too long");
        let layer = json!({ "projectLayerId": "lay_1", "name": "Organic" });
        let long = json!({
            "aaa": "x".repeat(DETAILS_BYTES_MAX), "available": 7, "candidates": vec![&layer; 10_000], "required": 120,
            "subcode": "S", "zzz": { "deep": "x".repeat(DETAIL_BYTES_MAX) },
        });
        let kept = details_of(&long).unwrap();
        assert_eq!(
            [&kept["available"], &kept["required"], &kept["subcode"]],
            [&json!(7), &json!(120), &json!("S")]
        );
        let candidates = kept["candidates"].as_array().unwrap();
        assert!(
            candidates.len() > 10 && candidates.iter().all(|kept| *kept == layer),
            "{}",
            candidates.len()
        );
        assert_eq!(kept.as_object().unwrap().len(), 4, "what is long in itself is left out");
        let many: BTreeMap<String, &str> = (0..10_000).map(|n| (format!("k{n}"), "v")).collect();
        assert!(details_of(&json!(many)).unwrap().to_string().len() < 2 * DETAILS_BYTES_MAX);
        assert_eq!(details_of(&json!("x".repeat(DETAILS_BYTES_MAX))), None);
    }

    #[test]
    fn of_a_repeated_name_the_last_counts() {
        let fields = Fields::of(r#"{"jobId":"a","jobId":7,"jobId":"b","status":"x","status":null}"#).unwrap();
        assert_eq!(fields.id("jobId").as_deref(), Some("b"));
        assert_eq!(fields.word("status"), None);
    }

    #[test]
    fn a_text_for_people_survives_half_an_emoji_and_an_id_does_not() {
        let fields = Fields::of(r#"{"message":"Run \ud83d","jobId":"job_\ud83d","n":7,"list":[1]}"#).unwrap();
        assert!(fields.prose("message").unwrap().starts_with("Run \u{fffd}"));
        assert_eq!(fields.id("jobId"), None, "nothing could be asked by it");
        assert_eq!((fields.prose("n"), fields.prose("list")), (None, None));
    }
}
