//! What came out: same id, same bytes; and one result for each variant of each run.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::report::{Promise, Report};
use super::{ExpectedRun, difference};
use crate::support::message::{Envelope, Message};

/// The fields of a record that the judge looks at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    #[serde(rename = "recordId")]
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub project_id: Option<String>,
    pub batch_id: Option<String>,
    pub brief_id: Option<String>,
    pub run: u64,
    pub variant: Option<u64>,
    pub job_id: Option<String>,
    pub container_id: Option<String>,
    error: Option<RecordError>,
    /// The body that was refused, of a `brief.failed`.
    request: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RecordError {
    code: String,
    details: Value,
}

/// Codes that tell of the account or the API, never of a brief.
const OF_THE_ACCOUNT: [&str; 8] = [
    "BILLING_EXHAUSTED",
    "KILL_SWITCH",
    "UNAUTHENTICATED",
    "FORBIDDEN_SCOPE",
    "RATE_LIMITED",
    "IDEMPOTENCY_IN_PROGRESS",
    "API_DOWN",
    "OTHER_ORGANIZATION",
];

/// A run of a brief: project, batch, brief, run.
pub type Run = (String, String, String, u64);

impl Record {
    pub fn run(&self) -> Run {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        (text(&self.project_id), text(&self.batch_id), text(&self.brief_id), self.run)
    }

    pub fn is_container(&self) -> bool {
        self.kind.starts_with("container.")
    }

    /// `(jobId, containerId)`: the generation it tells of.
    pub fn generation(&self) -> Option<(&str, &str)> {
        Some((self.job_id.as_deref()?, self.container_id.as_deref()?))
    }

    /// The error's code; empty when there is none.
    pub fn code(&self) -> &str {
        self.error.as_ref().map_or("", |error| &error.code)
    }

    /// It costs more than the brief itself allows: that is the brief's own failure.
    fn is_over_its_own_budget(&self) -> bool {
        let required = self.error.as_ref().and_then(|error| error.details["required"].as_f64());
        let allowed = self.request["budget"]["maxCredits"].as_f64();
        self.code() == "BILLING_EXHAUSTED"
            && required.zip(allowed).is_some_and(|(required, allowed)| required > allowed)
    }

    /// How a violation calls it.
    pub fn name(&self) -> String {
        let variant = self.variant.map_or_else(String::new, |variant| format!(" variant {variant}"));
        format!("{} {}{variant} ({})", self.kind, name_of(&self.run()), self.id)
    }
}

/// How a violation calls a run.
pub fn name_of((project, batch, brief, run): &Run) -> String {
    format!("{project}/{batch}/{brief} run {run}")
}

/// Each record once, by its id, with what travelled beside it.
pub struct Results(BTreeMap<String, (Record, Option<Envelope>)>);

impl Results {
    /// Reads what was received; says which messages are no records, and which repeats differ.
    pub fn read(messages: &[Message], report: &mut Report) -> Self {
        let mut first: BTreeMap<String, &Message> = BTreeMap::new();
        let mut records = BTreeMap::new();
        for (index, message) in messages.iter().enumerate() {
            let record: Record = match serde_json::from_slice(&message.body) {
                Ok(record) => record,
                Err(error) => {
                    report.add(Promise::P4, format!("message {index} is no record: {error}"));
                    continue;
                }
            };
            match first.get(&record.id) {
                None => {
                    first.insert(record.id.clone(), message);
                    records.insert(record.id.clone(), (record, message.envelope.clone()));
                }
                Some(earlier) if *earlier != message => {
                    let (name, how) = (record.name(), difference::of(earlier, message));
                    report.add(Promise::P4, format!("{name} was published again and differs: {how}"));
                }
                Some(_) => {}
            }
        }
        Self(records)
    }

    /// Every record, each once, in no order that means anything.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.0.values().map(|(record, _)| record)
    }

    /// No record blames a brief for what is the account's trouble.
    pub fn check_troubles(&self, report: &mut Report) {
        for record in self.records() {
            if OF_THE_ACCOUNT.contains(&record.code()) && !record.is_over_its_own_budget() {
                report.add(Promise::P6, format!("{} failed with {}", record.name(), record.code()));
            }
        }
    }

    /// Every expected run has ended once in each variant, nothing else has, and the envelopes are right.
    pub fn check_runs(&self, expected: &[ExpectedRun], report: &mut Report) {
        let mut runs: BTreeMap<Run, Vec<&Record>> = BTreeMap::new();
        for record in self.records().filter(|record| record.kind != "batch.finished") {
            runs.entry(record.run()).or_default().push(record);
        }
        let mut correlations = BTreeMap::new();
        for run in expected {
            let key = (
                run.project_id.clone(),
                run.batch_id.clone().unwrap_or_default(),
                run.brief_id.clone(),
                run.run,
            );
            check_run(run, &name_of(&key), &runs.remove(&key).unwrap_or_default(), report);
            correlations.insert(key, run.correlation_id.as_str());
        }
        for record in runs.into_values().flatten() {
            report.add(Promise::P2, format!("{} was not asked for", record.name()));
        }
        for (record, envelope) in self.0.values() {
            if let Some(envelope) = envelope {
                check_envelope(record, envelope, correlations.get(&record.run()).copied(), report);
            }
        }
    }
}

/// One result for each variant, or one for the whole brief.
fn check_run(run: &ExpectedRun, name: &str, records: &[&Record], report: &mut Report) {
    let (whole, containers): (Vec<&Record>, Vec<&Record>) =
        records.iter().partition(|record| record.kind == "brief.failed");
    match (whole.len(), containers.is_empty()) {
        (1, true) => return,
        (0, _) => {}
        (1, false) => {
            report.add(Promise::P2, format!("{name} has a brief.failed beside records of containers"));
        }
        (many, _) => report.add(Promise::P2, format!("{name} has {many} different brief.failed")),
    }
    let mut variants: BTreeMap<Option<u64>, Vec<&Record>> = BTreeMap::new();
    for record in containers {
        variants.entry(record.variant).or_default().push(record);
    }
    for variant in &run.variants {
        let records = variants.remove(&Some(*variant)).unwrap_or_default();
        match records.as_slice() {
            [] if whole.is_empty() => {
                report.add(Promise::P2, format!("{name} variant {variant} was lost: no record of it"));
            }
            [] | [_] => {}
            // What was given up as lost may turn up.
            [one, two] if [one, two].iter().any(|record| record.code() == "GENERATION_LOST") => {}
            many => {
                let names = many.iter().map(|record| record.name()).collect::<Vec<_>>().join(", ");
                report.add(Promise::P2, format!("{name} variant {variant} has several results: {names}"));
            }
        }
    }
    for record in variants.into_values().flatten() {
        let (name, asked) = (record.name(), &run.variants);
        report
            .add(Promise::P2, format!("{name} is of a variant that was not asked for: those are {asked:?}"));
    }
}

/// Routing key and properties are those of the contract.
fn check_envelope(record: &Record, envelope: &Envelope, correlation: Option<&str>, report: &mut Report) {
    let routing_key = match &record.project_id {
        Some(project) if record.kind != "batch.finished" => {
            format!("{}.{}", record.kind, project.replace('.', "_"))
        }
        Some(_) | None => record.kind.clone(),
    };
    let mut must_be = |property: &str, found: Option<&str>, wanted: &str| {
        if found != Some(wanted) {
            report.add(Promise::P4, format!("{} has {property} {found:?}, not {wanted:?}", record.name()));
        }
    };
    let mode = envelope.delivery_mode.map(|mode| mode.to_string());
    must_be("routing key", Some(&envelope.routing_key), &routing_key);
    must_be("message_id", envelope.message_id.as_deref(), &record.id);
    must_be("type", envelope.kind.as_deref(), &record.kind);
    must_be("content_type", envelope.content_type.as_deref(), "application/json");
    must_be("delivery_mode", mode.as_deref(), "2");
    if let Some(correlation) = correlation {
        must_be("correlation_id", envelope.correlation_id.as_deref(), correlation);
    }
}
