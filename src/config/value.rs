//! Layered values: finding them, and writing them for people.

use ::config::{Map, Value, ValueKind};

/// Values longer than this are cut in messages.
const SHOWN_CHARS_MAX: usize = 80;

/// The value at a path.
pub(super) fn find<'v, 'k>(root: &'v Value, path: impl IntoIterator<Item = &'k str>) -> Option<&'v Value> {
    path.into_iter().try_fold(root, |value, part| {
        let ValueKind::Table(table) = &value.kind else { return None };
        table.get(part)
    })
}

/// The value if it is text.
pub(super) fn text(value: &Value) -> Option<&str> {
    if let ValueKind::String(text) = &value.kind { Some(text) } else { None }
}

/// The value as JSON, which for what settings hold is also TOML.
pub(super) fn json(value: &Value) -> serde_json::Value {
    match &value.kind {
        ValueKind::Nil => serde_json::Value::Null,
        ValueKind::Boolean(flag) => (*flag).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::U64(number) => (*number).into(),
        ValueKind::I128(number) => number.to_string().into(),
        ValueKind::U128(number) => number.to_string().into(),
        ValueKind::Float(number) => (*number).into(),
        ValueKind::String(text) => text.as_str().into(),
        ValueKind::Array(items) => items.iter().map(json).collect(),
        ValueKind::Table(table) => json_table(table),
    }
}

fn json_table(table: &Map<String, Value>) -> serde_json::Value {
    table.iter().map(|(key, value)| (key.clone(), json(value))).collect()
}

/// Whether a text holds what looks like an API key that went astray.
pub(super) fn holds_key(text: &str) -> bool {
    ["lp_live_", "lp_test_"].iter().any(|start| text.contains(start))
}

/// The value for a message: as TOML, shortened.
pub(super) fn shown(value: &Value) -> String {
    let text = json(value).to_string();
    let text = if holds_key(&text) || (text.contains("://") && text.contains('@')) {
        // An address with a user, in a place that has none, also in a list: it may hold a password too.
        "(not shown)".to_owned()
    } else if value.kind == ValueKind::Nil {
        "(a date)".to_owned()
    } else {
        text
    };
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Words for a message: `"a", "b" or "c"`.
pub(super) fn one_of<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let quoted: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
