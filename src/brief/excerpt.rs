//! Pieces of foreign text in our own sentences: short, on one line, without control characters.

use serde_json::Value;

/// Most characters of a foreign value that we repeat.
const EXCERPT_CHARS_MAX: usize = 60;
/// Most characters of any one text about a violation.
const TEXT_CHARS_MAX: usize = 300;

/// A foreign text in quotation marks, cut to 60 characters.
pub(super) fn excerpt(text: &str) -> String {
    format!("\"{}\"", cut(text, EXCERPT_CHARS_MAX))
}

/// A foreign value as a sentence names it: its text, its number, or what it is.
pub(super) fn excerpt_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => excerpt(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A whole text of ours that may contain foreign parts, cut to 300 characters.
pub(super) fn bounded(text: &str) -> String {
    cut(text, TEXT_CHARS_MAX)
}

fn cut(text: &str, chars_max: usize) -> String {
    let printable = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    if text.chars().nth(chars_max).is_none() {
        return text.chars().map(printable).collect();
    }
    text.chars().take(chars_max - 1).map(printable).chain(['…']).collect()
}
