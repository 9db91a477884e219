//! The record as JSON: its fields in their order, and the published schema made of the same type.

use jiff::Timestamp;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Record, RecordError, RecordType, SCHEMA, batch};
use crate::brief::drop_number_formats;

/// The JSON Schema (2020-12) of a record.
pub fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().for_serialize().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<AnyRecord<'static>>().to_value();
    drop_number_formats(&mut schema);
    schema
}

/// What became of one container, of a brief that never got one, or of a whole batch: `type` tells which.
#[derive(JsonSchema)]
#[schemars(untagged, title = "briefd record")]
#[expect(dead_code, reason = "stands for both in the schema")]
enum AnyRecord<'a> {
    Brief(Wire<'a>),
    Batch(batch::Wire<'a>),
}

#[expect(
    clippy::expect_used,
    reason = "texts, numbers and JSON that was parsed before: nothing here can fail"
)]
pub(super) fn bytes(record: &Record) -> Vec<u8> {
    serde_json::to_vec(&Wire::of(record)).expect("a record is JSON")
}

/// What became of one container, or of a brief that never got one. Records may repeat (same `recordId`: drop) and come
/// in any order. Keep one row per `(projectId, batchId, briefId, variant)`: the highest `run` wins; within a run
/// `completed` beats the others; `brief.failed` stands for all variants of its run.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "container.* or brief.failed")]
struct Wire<'a> {
    /// Always `briefd.record/1`.
    #[schemars(extend("const" = SCHEMA))]
    schema: &'static str,
    /// Same record, same id; also the AMQP `message_id`.
    #[schemars(with = "String", extend("format" = "uuid"))]
    record_id: Uuid,
    /// What it tells.
    r#type: RecordType,
    /// The Layers project's id.
    project_id: &'a str,
    /// The batch, if the brief belongs to one.
    batch_id: Option<&'a str>,
    /// The brief within project and batch.
    brief_id: &'a str,
    /// Which run of the brief.
    #[schemars(with = "u64", range(min = 1))]
    run: u32,
    /// Which variant, from 1; null on `brief.failed`.
    #[schemars(with = "Option<u64>", range(min = 1))]
    variant: Option<u8>,
    /// How many variants the brief asked for.
    #[schemars(with = "u64", range(min = 1, max = 5))]
    variant_count: u8,
    /// The API's job.
    job_id: Option<&'a str>,
    /// The API's container.
    container_id: Option<&'a str>,
    /// What was made: what `auto` became.
    format: Option<&'a str>,
    /// The API's record, verbatim, unknown fields included. `approvalStatus` is that at the end of generation.
    #[schemars(with = "Option<Map<String, Value>>")]
    container: Option<&'a RawValue>,
    /// Why it did not complete; null on `container.completed`.
    error: Option<&'a RecordError>,
    /// On `brief.failed`: the message, to be mended and enqueued as it is.
    #[schemars(with = "Option<Map<String, Value>>")]
    request: Option<&'a RawValue>,
    /// The brief message's `metadata`.
    #[schemars(with = "Option<Value>")]
    metadata: Option<&'a RawValue>,
    /// What the run was expected to cost, in credits.
    credits_estimate: Option<u64>,
    /// When the brief was enqueued, if its publisher says.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    enqueued_at: Option<Timestamp>,
    /// When briefd received the brief.
    #[schemars(with = "String", extend("format" = "date-time"))]
    received_at: Timestamp,
    /// When the API was asked.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    submitted_at: Option<Timestamp>,
    /// When it ended: the API's time where it gives one.
    #[schemars(with = "String", extend("format" = "date-time"))]
    finished_at: Timestamp,
}

impl<'a> Wire<'a> {
    fn of(record: &'a Record) -> Self {
        let identity = &record.identity;
        Self {
            schema: SCHEMA,
            record_id: record.id(),
            r#type: record.kind,
            project_id: &identity.project_id,
            batch_id: Some(identity.batch_id.as_str()).filter(|batch| !batch.is_empty()),
            brief_id: &identity.brief_id,
            run: record.run,
            variant: record.variant,
            variant_count: record.variant_count,
            job_id: record.job_id.as_deref(),
            container_id: record.container_id.as_deref(),
            format: record.format.as_deref(),
            container: record.container.as_deref(),
            error: record.error.as_ref(),
            request: record.request.as_deref(),
            metadata: record.metadata.as_deref(),
            credits_estimate: record.credits_estimate,
            enqueued_at: record.enqueued_at,
            received_at: record.received_at,
            submitted_at: record.submitted_at,
            finished_at: record.finished_at,
        }
    }
}
