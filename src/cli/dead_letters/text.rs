//! How dead letters are shown. What is in them comes from anybody: nothing of it reaches a terminal as a control
//! character, and no API key reaches it at all.

use serde_json::{Value, json};

use super::super::names::Projects;
use super::super::table::{Column, Layout, wrap};
use super::super::times::since_when;
use crate::broker::DeadLetter;
use crate::layers::Client;

/// How API keys begin, of whatever organization.
const KEYS: [&str; 2] = ["lp_live_", "lp_test_"];
/// What stands where a key stood.
const BLANK: &str = "[redacted]";
/// Details are told under the row, so far in.
const INDENT: &str = "     ";

const COLUMNS: [Column; 6] = [
    Column::number("N"),
    Column::word("ID"),
    Column::name("REASON"),
    Column::word("AT"),
    Column::name("BRIEF"),
    Column::number("SIZE"),
];

/// What a page is made with.
pub(super) struct Page<'a> {
    pub projects: Projects<'a>,
    pub client: Client,
    pub now_ms: i64,
}

impl Page<'_> {
    /// `text` without our API key, and without what looks like anybody's.
    fn blank(&self, text: &str) -> String {
        blank_keys(&self.client.blank_key(text))
    }

    /// A row for each, with its detail under it.
    pub(super) fn table(&self, letters: &[(usize, DeadLetter)]) -> Vec<String> {
        if letters.is_empty() {
            return Vec::new();
        }
        let rows: Vec<_> = letters.iter().map(|(number, letter)| self.row(*number, letter)).collect();
        let layout = Layout::fit(&COLUMNS, &rows);
        let mut lines = vec![layout.head()];
        // A cut key is still most of a key, so it is blanked before anything is cut.
        for (row, (_, letter)) in rows.iter().zip(letters) {
            lines.push(layout.line(row));
            lines.extend(wrap(INDENT, &self.blank(&plain(&letter.detail()))));
        }
        lines
    }

    fn row(&self, number: usize, letter: &DeadLetter) -> Vec<String> {
        let at = letter.at().map(|at| since_when(at.as_millisecond(), self.now_ms));
        vec![
            number.to_string(),
            letter.id(),
            self.blank(&plain(letter.reason())),
            at.unwrap_or_else(|| "-".to_owned()),
            self.blank(&plain(&self.brief(letter))),
            size(letter.body().len()),
        ]
    }

    /// `project/brief` where that can be read.
    fn brief(&self, letter: &DeadLetter) -> String {
        let ids = Ids::of(letter.body());
        match (ids.project, ids.brief) {
            (None, None) => "-".to_owned(),
            (project, brief) => {
                let project = project.as_deref().map_or("?", |id| self.projects.name(id));
                format!("{project}/{}", brief.as_deref().unwrap_or("?"))
            }
        }
    }

    /// One line for programs.
    pub(super) fn json(&self, number: usize, letter: &DeadLetter) -> String {
        let ids = Ids::of(letter.body());
        let line = json!({
            "n": number,
            "id": letter.id(),
            "reason": letter.reason(),
            "at": letter.at().map(|at| at.to_string()),
            "projectId": ids.project,
            "batchId": ids.batch,
            "briefId": ids.brief,
            "bytes": letter.body().len(),
            "detail": letter.detail(),
            "messageId": letter.properties().message_id,
        });
        self.blank(&line.to_string())
    }

    /// Everything about one of them.
    pub(super) fn story(&self, number: usize, letter: &DeadLetter) -> String {
        let mut lines = vec![format!("dead letter {number}, id {}", letter.id())];
        let at = letter.at().map_or_else(String::new, |at| format!(" at {at}"));
        lines.push(format!("{}{at}", plain(letter.reason())));
        lines.extend(wrap("  ", &plain(&letter.detail())));
        lines.push(String::new());
        let Value::Object(mut properties) = serde_json::to_value(letter.properties()).unwrap_or_default()
        else {
            return self.blank(&lines.join("\n"));
        };
        let headers = properties.remove("headers");
        for (name, value) in properties.iter().filter(|(_, value)| !value.is_null()) {
            lines.push(format!("{name}: {}", one_line(value)));
        }
        for (name, value) in headers.as_ref().and_then(Value::as_object).into_iter().flatten() {
            lines.push(format!("header {}: {}", plain(name), one_line(value)));
        }
        lines.push(format!("\n{}:", size(letter.body().len())));
        lines.push(body(letter.body()));
        lines.push(String::new());
        self.blank(&lines.join("\n"))
    }
}

/// Whose brief it seems to be.
#[derive(Default)]
struct Ids {
    project: Option<String>,
    batch: Option<String>,
    brief: Option<String>,
}

impl Ids {
    fn of(body: &[u8]) -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return Self::default() };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        Self { project: text("projectId"), batch: text("batchId"), brief: text("briefId") }
    }
}

/// JSON set out in lines, anything else as the text it is.
fn body(bytes: &[u8]) -> String {
    // The JSON library escapes control characters in texts by itself.
    let pretty =
        serde_json::from_slice::<Value>(bytes).ok().and_then(|json| serde_json::to_string_pretty(&json).ok());
    let text = pretty.unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned());
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

fn one_line(value: &Value) -> String {
    plain(&value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
}

/// Without control characters, which could tell a terminal anything.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{}.{} KiB", bytes / 1_024, bytes % 1_024 * 10 / 1_024),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

/// Blanks what looks like an API key.
fn blank_keys(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = KEYS.iter().filter_map(|begin| rest.find(begin)).min() {
        let (before, key) = rest.split_at(at);
        let end = key.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(key.len());
        clean.push_str(before);
        clean.push_str(BLANK);
        rest = key.split_at(end).1;
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anybodys_key_is_blanked_and_no_control_character_is_shown() {
        let text = r#"{"a":"lp_live_0123456789abcdef_0123","b":"lp_test_x","c":1}"#;
        assert_eq!(blank_keys(text), r#"{"a":"[redacted]","b":"[redacted]","c":1}"#);
        assert_eq!(blank_keys("no key"), "no key");
        assert_eq!(body(b"a\x1b[31mred\nb"), "a\u{fffd}[31mred\nb");
        assert_eq!(body(br#"{"a":"\u001b"}"#), "{\n  \"a\": \"\\u001b\"\n}");
    }

    #[test]
    fn sizes_are_told_in_units_people_read() {
        assert_eq!(
            [0, 1_023, 1_536, 262_144, 3_145_728].map(size),
            ["0 B", "1023 B", "1.5 KiB", "256.0 KiB", "3.0 MiB"]
        );
    }
}
