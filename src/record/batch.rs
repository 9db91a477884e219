//! `batch.finished`: what became of a whole batch, once it has ended.
//!
//! It is told again, under the next revision, each time its counts have changed and the batch has ended again. What
//! counts is how many ended how; what they cost and when is told beside it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SCHEMA;
use crate::brief::keys;
use crate::flow::Properties;

/// Its type, its AMQP `type`, and its routing key.
pub const BATCH_FINISHED: &str = "batch.finished";

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFinished {
    /// The batch.
    pub batch_id: String,
    /// How often it has ended with other counts, this time included.
    pub revision: u32,
    /// How many briefs it was said to have.
    pub size: u64,
    /// By project id.
    pub projects: BTreeMap<String, ProjectPart>,
    /// When the last of its briefs ended.
    pub finished_at: Timestamp,
}

/// What one project has in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectPart {
    /// How its briefs and containers ended.
    pub counts: BatchCounts,
    /// What all their runs are thought to have cost, as far as prices are known.
    pub credits_estimate: Option<u64>,
}

/// How briefs ended, each in its latest run, and their containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCounts {
    /// Briefs that came.
    pub received: u64,
    /// Briefs of which every container completed.
    pub completed: u64,
    /// Briefs of which some did.
    pub partial: u64,
    /// Briefs of which none did.
    pub failed: u64,
    /// Briefs that somebody canceled.
    pub canceled: u64,
    /// The containers of them all.
    pub containers: ContainerCounts,
}

/// How containers ended, each in its latest run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerCounts {
    /// With a result.
    pub completed: u64,
    /// Without one.
    pub failed: u64,
    /// Because somebody asked.
    pub canceled: u64,
}

impl BatchFinished {
    /// `recordId` and AMQP `message_id`.
    pub fn id(&self) -> Uuid {
        keys::batch_record_id(&self.batch_id, self.revision)
    }

    /// The counts of each project: a batch that ends again with the same ones has nothing new to tell.
    pub fn counts(&self) -> BTreeMap<String, BatchCounts> {
        self.projects.iter().map(|(project, part)| (project.clone(), part.counts)).collect()
    }

    /// The JSON text on one line.
    #[expect(clippy::expect_used, reason = "texts and numbers: nothing here can fail")]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&Wire::of(self)).expect("a record is JSON")
    }

    /// What travels beside it.
    pub fn properties(&self) -> Properties {
        Properties {
            message_id: Some(self.id().to_string()),
            correlation_id: Some(self.batch_id.clone()),
            kind: Some(BATCH_FINISHED.to_owned()),
            content_type: Some("application/json".to_owned()),
            ..Properties::default()
        }
    }
}

/// The type of the record that is about a whole batch.
#[derive(Clone, Copy, Serialize, JsonSchema)]
enum Kind {
    #[serde(rename = "batch.finished")]
    BatchFinished,
}

/// What became of a whole batch: sent once `batchSize` briefs of it have ended and all their records are confirmed, and
/// again each time its counts have changed and it has ended again. Keep the highest `revision` of each `batchId`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "batch.finished")]
pub(super) struct Wire<'a> {
    /// Always `briefd.record/1`.
    #[schemars(extend("const" = SCHEMA))]
    schema: &'static str,
    /// Same record, same id; also the AMQP `message_id`.
    #[schemars(with = "String", extend("format" = "uuid"))]
    record_id: Uuid,
    /// What it tells.
    r#type: Kind,
    /// The batch.
    batch_id: &'a str,
    /// From 1; the highest one tells.
    #[schemars(with = "u64", range(min = 1))]
    revision: u32,
    /// How many briefs the batch was said to have: the first `batchSize` given.
    #[schemars(range(min = 1))]
    size: u64,
    /// Briefs that came. What was dead-lettered is no brief.
    received: u64,
    /// Briefs of which every container completed, as of their latest run.
    completed: u64,
    /// Briefs of which some containers completed.
    partial: u64,
    /// Briefs of which no container completed.
    failed: u64,
    /// Briefs that somebody canceled.
    canceled: u64,
    /// The containers of these briefs, as of their latest run.
    containers: ContainerCounts,
    /// The same for each project, in order of their ids.
    by_project: Vec<WireProject<'a>>,
    /// What all runs of these briefs are thought to have cost, in credits; null when no price is known.
    credits_estimate: Option<u64>,
    /// When the last of its briefs ended.
    #[schemars(with = "String", extend("format" = "date-time"))]
    finished_at: Timestamp,
}

/// What one project has in the batch.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WireProject<'a> {
    project_id: &'a str,
    received: u64,
    completed: u64,
    partial: u64,
    failed: u64,
    canceled: u64,
    containers: ContainerCounts,
    credits_estimate: Option<u64>,
}

impl<'a> Wire<'a> {
    fn of(batch: &'a BatchFinished) -> Self {
        let mut all = ProjectPart::default();
        batch.projects.values().for_each(|part| all.add(part));
        let counts = all.counts;
        Self {
            schema: SCHEMA,
            record_id: batch.id(),
            r#type: Kind::BatchFinished,
            batch_id: &batch.batch_id,
            revision: batch.revision,
            size: batch.size,
            received: counts.received,
            completed: counts.completed,
            partial: counts.partial,
            failed: counts.failed,
            canceled: counts.canceled,
            containers: counts.containers,
            by_project: batch.projects.iter().map(|(id, part)| WireProject::of(id, part)).collect(),
            credits_estimate: all.credits_estimate,
            finished_at: batch.finished_at,
        }
    }
}

impl<'a> WireProject<'a> {
    fn of(project_id: &'a str, ProjectPart { counts, credits_estimate }: &ProjectPart) -> Self {
        Self {
            project_id,
            received: counts.received,
            completed: counts.completed,
            partial: counts.partial,
            failed: counts.failed,
            canceled: counts.canceled,
            containers: counts.containers,
            credits_estimate: *credits_estimate,
        }
    }
}

impl ProjectPart {
    fn add(&mut self, other: &Self) {
        let (sum, more) = (&mut self.counts, &other.counts);
        sum.received += more.received;
        sum.completed += more.completed;
        sum.partial += more.partial;
        sum.failed += more.failed;
        sum.canceled += more.canceled;
        sum.containers.completed += more.containers.completed;
        sum.containers.failed += more.containers.failed;
        sum.containers.canceled += more.containers.canceled;
        if let Some(credits) = other.credits_estimate {
            *self.credits_estimate.get_or_insert(0) += credits;
        }
    }
}
