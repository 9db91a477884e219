//! What came out: same id, same bytes; and one result for each variant of each run.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ExpectedRun;
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
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RecordError {
    code: String,
}

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

    fn code(&self) -> &str {
        self.error.as_ref().map_or("", |error| &error.code)
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
    pub fn read(messages: &[Message], violations: &mut Vec<String>) -> Self {
        let mut first: BTreeMap<String, &Message> = BTreeMap::new();
        let mut records = BTreeMap::new();
        for (index, message) in messages.iter().enumerate() {
            let record: Record = match serde_json::from_slice(&message.body) {
                Ok(record) => record,
                Err(error) => {
                    violations.push(format!("message {index} is no record: {error}"));
                    continue;
                }
            };
            match first.get(&record.id) {
                None => {
                    first.insert(record.id.clone(), message);
                    records.insert(record.id.clone(), (record, message.envelope.clone()));
                }
                Some(earlier) if *earlier != message => {
                    violations.push(format!(
                        "{} was published again with other bytes or properties",
                        record.name()
                    ));
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

    /// Every expected run has ended once in each variant, nothing else has, and the envelopes are right.
    pub fn check_runs(&self, expected: &[ExpectedRun], violations: &mut Vec<String>) {
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
            check_run(run, &name_of(&key), &runs.remove(&key).unwrap_or_default(), violations);
            correlations.insert(key, run.correlation_id.as_str());
        }
        violations.extend(
            runs.into_values().flatten().map(|record| format!("{} was not asked for", record.name())),
        );
        for (record, envelope) in self.0.values() {
            if let Some(envelope) = envelope {
                check_envelope(record, envelope, correlations.get(&record.run()).copied(), violations);
            }
        }
    }
}

/// One result for each variant, or one for the whole brief.
fn check_run(run: &ExpectedRun, name: &str, records: &[&Record], violations: &mut Vec<String>) {
    let (whole, containers): (Vec<&Record>, Vec<&Record>) =
        records.iter().partition(|record| record.kind == "brief.failed");
    match (whole.len(), containers.is_empty()) {
        (1, true) => return,
        (0, _) => {}
        (1, false) => violations.push(format!("{name} has a brief.failed beside records of containers")),
        (many, _) => violations.push(format!("{name} has {many} different brief.failed")),
    }
    let mut variants: BTreeMap<Option<u64>, Vec<&Record>> = BTreeMap::new();
    for record in containers {
        variants.entry(record.variant).or_default().push(record);
    }
    for variant in &run.variants {
        let records = variants.remove(&Some(*variant)).unwrap_or_default();
        match records.as_slice() {
            [] if whole.is_empty() => {
                violations.push(format!("{name} variant {variant} was lost: no record of it"));
            }
            [] | [_] => {}
            // What was given up as lost may turn up.
            [one, two] if [one, two].iter().any(|record| record.code() == "GENERATION_LOST") => {}
            many => {
                let names = many.iter().map(|record| record.name()).collect::<Vec<_>>();
                violations
                    .push(format!("{name} variant {variant} has several results: {}", names.join(", ")));
            }
        }
    }
    violations.extend(variants.into_values().flatten().map(|record| {
        format!("{} is of a variant that was not asked for: those are {:?}", record.name(), run.variants)
    }));
}

/// Routing key and properties are those of the contract.
fn check_envelope(
    record: &Record,
    envelope: &Envelope,
    correlation: Option<&str>,
    violations: &mut Vec<String>,
) {
    let routing_key = match &record.project_id {
        Some(project) if record.kind != "batch.finished" => {
            format!("{}.{}", record.kind, project.replace('.', "_"))
        }
        Some(_) | None => record.kind.clone(),
    };
    let mut must_be = |property: &str, found: Option<&str>, wanted: &str| {
        if found != Some(wanted) {
            violations.push(format!("{} has {property} {found:?}, not {wanted:?}", record.name()));
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
