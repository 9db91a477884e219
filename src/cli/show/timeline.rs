//! What happened to a brief, in order of time: its history, and what only its jobs, containers and records tell.

use serde_json::{Value, json};

use crate::job::{self, JobState};
use crate::ledger::{ContainerStory, HistoryLine, JobStory, Story};

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
        // The latest run that made it is known; it came to be in the run that was submitted by then.
        let submitted =
            story.runs.iter().filter(|run| run.submitted_at.is_some_and(|at| at <= container.known_at));
        events.push(Event {
            at: container.known_at,
            run: submitted.map(|run| run.run).max().unwrap_or(container.run),
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

/// When it became known what became of a job whose outcome was unknown, and by what. `None`: it was never unknown, or
/// still is.
pub(super) fn became_known(story: &Story, job: &JobStory) -> Option<(i64, String)> {
    let since_ms = job.unknown_first_at?;
    let known = |line: &&HistoryLine| {
        let detail: Value = serde_json::from_str(&line.detail).unwrap_or_default();
        let state = detail.get("state").and_then(Value::as_str).and_then(JobState::from_word);
        let open = matches!(state, None | Some(JobState::Ready | JobState::Submitting | JobState::Parked));
        let decisive = match line.what.as_str() {
            "attempt" => !open,
            // A person asks for a repeat: still unknown.
            "resolved" => !matches!(state, Some(JobState::Submitting)),
            _ => false,
        };
        line.at >= since_ms && detail.get("job").and_then(Value::as_i64) == Some(job.id) && decisive
    };
    let line = story.history.iter().find(known)?;
    let detail: Value = serde_json::from_str(&line.detail).unwrap_or_default();
    let outcome = detail.get("outcome").and_then(Value::as_str).and_then(job::Event::from_name);
    let by = match (line.what.as_str(), outcome) {
        ("resolved", _) => "a person decided",
        (_, Some(outcome)) => outcome.words(),
        (_, None) => "by an attempt",
    };
    Some((line.at, by.to_owned()))
}

/// A file that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asset {
    pub kind: String,
    /// Where it was when the container ended.
    pub url: String,
}

/// The files that the API's record of a container names.
pub(super) fn assets(container: &ContainerStory) -> Vec<Asset> {
    let record: Value =
        container.record.as_deref().and_then(|record| serde_json::from_str(record).ok()).unwrap_or_default();
    let told = |asset: &Value| {
        let url = asset["url"].as_str()?.to_owned();
        Some(Asset { kind: asset["kind"].as_str().unwrap_or("asset").to_owned(), url })
    };
    record["assets"].as_array().into_iter().flatten().filter_map(told).collect()
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
                // Told where the records are listed.
                "messageId" | "times" if of_record => None,
                // Stored by the name it has in the program.
                "outcome" => {
                    Some(job::Event::from_name(&value).map_or(value, |event| event.words().to_owned()))
                }
                "who" => Some(format!("by {value}")),
                "reason" => Some(format!("because: {value}")),
                "requestId" => Some(format!("request {value}")),
                "apiJobId" | "jobId" => Some(format!("at the API {value}")),
                "messageId" => Some(format!("message {value}")),
                "status" => Some(format!("HTTP {value}")),
                "detail" | "message" | "code" | "type" | "result" => Some(value),
                "state" => Some(format!("→ {value}")),
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
