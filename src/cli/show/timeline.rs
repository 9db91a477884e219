//! What happened to a brief, in order of time: its history, and what only its jobs, containers and records tell.

use serde_json::{Value, json};

use crate::ledger::{HistoryLine, Story};

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// Milliseconds since 1970.
    pub at: i64,
    pub run: i64,
    pub what: String,
    pub detail: Value,
}

/// Everything that has a time, oldest first; of the same time, as it was stored.
pub(super) fn events(story: &Story) -> Vec<Event> {
    let mut events: Vec<Event> = story.history.iter().map(told).collect();
    for job in &story.jobs {
        if let Some(at) = job.accepted_at {
            let detail = json!({ "job": job.id, "apiJobId": job.api_job_id });
            events.push(Event { at, run: job.run, what: "accepted".to_owned(), detail });
        }
    }
    for container in &story.containers {
        let detail = json!({ "variant": container.variant, "id": container.id });
        events.push(Event {
            at: container.known_at,
            run: container.run,
            what: "container".to_owned(),
            detail: detail.clone(),
        });
        if let Some(at) = container.ended_at {
            let what = format!("container {}", container.status);
            events.push(Event { at, run: container.run, what, detail });
        }
    }
    for record in &story.records {
        if let Some(at) = record.sent_at {
            let detail = json!({
                "type": record.kind,
                "variant": record.variant,
                "messageId": record.message_id,
                "times": record.sends,
            });
            let run = record.run.unwrap_or(story.brief.run);
            events.push(Event { at, run, what: "confirmed".to_owned(), detail });
        }
    }
    events.sort_by_key(|event| event.at);
    events
}

fn told(line: &HistoryLine) -> Event {
    let detail =
        serde_json::from_str(&line.detail).unwrap_or_else(|_not_json| Value::String(line.detail.clone()));
    Event { at: line.at, run: line.run, what: line.what.clone(), detail }
}

impl Event {
    /// What happened, part by part: what is there, without names where the value speaks for itself.
    pub(super) fn facts(&self) -> Vec<String> {
        let Value::Object(fields) = &self.detail else {
            return vec![self.what.clone(), plain(&self.detail)];
        };
        let of_record = fields.contains_key("type");
        let told = fields.iter().filter(|(_, value)| !is_empty(value)).filter_map(|(name, value)| {
            let value = plain(value);
            match name.as_str() {
                "outcome" | "detail" | "message" | "code" | "type" | "result" => Some(value),
                "state" => Some(format!("→ {value}")),
                // Told where the records are listed.
                "messageId" | "times" if of_record => None,
                name => Some(format!("{name} {value}")),
            }
        });
        std::iter::once(self.what.clone()).chain(told).collect()
    }
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value.as_str().is_some_and(str::is_empty)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}
