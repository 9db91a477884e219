//! `deploy/RUNBOOK.md` as a dashboard, so that a panel can point at its entry without leaving Grafana.

use serde_json::{Value, json};

use super::grafana::{RUNBOOK_UID, frame};

/// One part of the runbook.
pub struct Entry {
    /// The alert's name, or what the part is about.
    pub title: String,
    pub text: String,
    /// Its panel's number.
    pub panel: usize,
}

pub fn entries(runbook: &str) -> Vec<Entry> {
    let parts = runbook.trim_start_matches("# ").split("\n## ").enumerate();
    let entry = |(n, part): (usize, &str)| {
        let (title, text) = part.split_once('\n').expect("a part has a heading and a text");
        Entry { title: title.to_owned(), text: text.trim().to_owned(), panel: n + 1 }
    };
    parts.map(entry).collect()
}

pub fn dashboard(book: &[Entry]) -> Value {
    let mut y = 0;
    let mut panels = Vec::new();
    for entry in book {
        let height = 3 + entry.text.lines().count();
        panels.push(json!({
            "id": entry.panel, "type": "text", "title": entry.title,
            "gridPos": {"h": height, "w": 24, "x": 0, "y": y},
            "options": {"mode": "markdown", "content": entry.text},
        }));
        y += height;
    }
    frame(RUNBOOK_UID, "briefd: Runbook", "deploy/RUNBOOK.md: what to do for each alert.", &[], &panels)
}
