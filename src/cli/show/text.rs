//! The story as text.

use super::super::names::{Projects, batch_name};
use super::super::table::{counted, wrap, wrap_facts};
use super::super::times::stamp;
use super::live::Live;
use super::timeline::{assets, became_known, events};
use crate::brief::body_hash;
use crate::job::BriefState;
use crate::ledger::{ContainerStory, HoldStory, JobStory, RecordStory, RunStory, Story};

/// Identity, runs, jobs, containers, records, then what happened.
pub(super) fn page(
    story: &Story,
    state: Option<BriefState>,
    live: Option<&Live>,
    projects: Projects<'_>,
) -> String {
    let mut lines = head(story, state, projects);
    lines.extend(
        live.into_iter().flat_map(|live| wrap_facts(&format!("{:<12}", "at the API"), &live.facts())),
    );
    section(&mut lines, "RUNS", story.runs.iter().flat_map(run));
    section(&mut lines, "JOBS", story.jobs.iter().flat_map(|one| job(story, one)));
    section(&mut lines, "CONTAINERS", story.containers.iter().flat_map(container));
    section(&mut lines, "RECORDS", story.records.iter().flat_map(record));
    section(&mut lines, "HOLDS THAT KEPT IT WAITING", story.holds.iter().flat_map(hold));
    let several = story.runs.len() > 1;
    let happened = events(story).into_iter().flat_map(|event| {
        let run = if several { format!("run {}  ", event.run) } else { String::new() };
        wrap_facts(&format!("  {}  {run}", stamp(event.at)), &event.facts())
    });
    section(&mut lines, "WHAT HAPPENED", happened);
    lines.join("\n")
}

fn section(lines: &mut Vec<String>, title: &str, content: impl Iterator<Item = String>) {
    let content: Vec<String> = content.collect();
    if !content.is_empty() {
        lines.push(String::new());
        lines.push(title.to_owned());
        lines.extend(content);
    }
}

fn head(story: &Story, state: Option<BriefState>, projects: Projects<'_>) -> Vec<String> {
    let brief = &story.brief;
    let mut lines = Vec::new();
    let mut field = |name: &str, text: &str| lines.extend(wrap(&format!("{name:<12}"), text));
    field("brief", &brief.brief_id);
    field("batch", batch_name(&brief.batch_id));
    match projects.alias(&brief.project_id) {
        Some(alias) => field("project", &format!("{alias} ({})", brief.project_id)),
        None => field("project", &brief.project_id),
    }
    let word = state.map_or(brief.state.as_str(), |state| state.word());
    field("state", &format!("{word}, run {}, since {}", brief.run, stamp(brief.changed_at)));
    field("received", &format!("{}, from {}", stamp(brief.received_at), source(&brief.input)));
    if let Some(at) = brief.pruned_at {
        field("pruned", &format!("{}: only its identity is kept", stamp(at)));
    }
    lines
}

fn source(input: &str) -> String {
    input.strip_prefix("file:").map_or_else(|| "the queue".to_owned(), |name| format!("the file {name}"))
}

fn run(run: &RunStory) -> Vec<String> {
    let mut facts = vec![
        run.state.clone(),
        run.format.clone().unwrap_or_else(|| "auto".to_owned()),
        counted(run.variant_count, "variant"),
        format!("priority {}", run.priority),
        format!("{} of {} made", run.made, counted(run.owed, "record")),
    ];
    let times = [
        ("not before", run.not_before),
        ("expires", run.expires_at),
        ("submitted", run.submitted_at),
        ("finished", run.finished_at),
    ];
    facts.extend(times.iter().filter_map(|(name, at)| at.map(|at| format!("{name} {}", stamp(at)))));
    facts.extend(run.correlation_id.as_ref().map(|id| format!("correlation {id}")));
    facts.push(format!("fingerprint {}", run.fingerprint));
    wrap_facts(&format!("  run {}  ", run.run), &facts)
}

fn job(story: &Story, job: &JobStory) -> Vec<String> {
    let mut facts = vec![
        format!("run {}", job.run),
        job.kind.clone(),
        job.state.clone(),
        counted(job.attempts, "POST"),
        format!("Idempotency-Key {}", job.idempotency_key),
        format!("body SHA-256 {}", body_hash(&job.body)),
    ];
    facts.extend(job.alias.as_ref().map(|id| format!("id {id}")));
    facts.extend(job.api_job_id.as_ref().map(|id| format!("at the API {id}")));
    if let Some(at) = job.unknown_first_at {
        match became_known(story, job) {
            Some((known_at, by)) => {
                facts.push(format!("outcome unknown from {}", stamp(at)));
                facts.push(format!("known since {}: {by}", stamp(known_at)));
            }
            None => facts.push(format!("outcome unknown since {}", stamp(at))),
        }
    }
    facts.extend(job.error.as_deref().map(error));
    wrap_facts(&format!("  job {}  ", job.id), &facts)
}

/// A stored error in a line: code, message, request id.
fn error(text: &str) -> String {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return text.to_owned() };
    let part =
        |names: [&str; 2]| names.iter().find_map(|name| value.get(name)?.as_str().map(ToOwned::to_owned));
    let request = part(["requestId", "request_id"]).map(|id| format!("request {id}"));
    let parts: Vec<String> =
        [part(["code", "code"]), part(["message", "message"]), request].into_iter().flatten().collect();
    parts.join(": ")
}

fn container(container: &ContainerStory) -> Vec<String> {
    let id = if container.id.is_empty() { "never named by the API" } else { &container.id };
    let mut facts = vec![id.to_owned(), container.status.clone(), format!("run {}", container.run)];
    facts.extend(assets(container).into_iter().map(|asset| format!("{} {}", asset.kind, asset.url)));
    wrap_facts(&format!("  variant {}  ", container.variant), &facts)
}

fn hold(hold: &HoldStory) -> Vec<String> {
    let until = hold.lifted_at.map_or_else(|| "in force".to_owned(), |at| format!("lifted {}", stamp(at)));
    let mut facts =
        vec![hold.reason.clone(), hold.scope.clone(), format!("since {}", stamp(hold.since)), until];
    facts.extend(Some(&hold.detail).filter(|detail| !detail.is_empty()).cloned());
    wrap_facts("  ", &facts)
}

fn record(record: &RecordStory) -> Vec<String> {
    let mut facts = vec![record.kind.clone()];
    facts.extend(record.run.map(|run| format!("run {run}")));
    facts.extend(record.variant.map(|variant| format!("variant {variant}")));
    facts.extend(record.code.clone());
    facts.push(match (record.state.as_str(), record.sent_at) {
        ("sent", Some(at)) => format!("confirmed {}", stamp(at)),
        (state, Some(at)) => format!("{state} again, confirmed {}", stamp(at)),
        (state, None) => state.to_owned(),
    });
    facts.push(format!("message {}", record.message_id));
    let mut lines = wrap_facts("  ", &facts);
    // Under its own first line.
    lines.iter_mut().skip(1).for_each(|line| line.insert_str(0, "  "));
    lines
}
