//! (being built)
#![allow(missing_docs)]
use crate::brief::Identity;
use jiff::Timestamp;
use serde_json::value::RawValue;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    ContainerCompleted,
    ContainerFailed,
    ContainerCanceled,
    BriefFailed,
}
impl RecordType {
    pub fn word(self) -> &'static str {
        ""
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Remedy {
    Rerun,
    Change,
    None,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Source {
    Layers,
    Briefd,
}
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct RecordError {
    pub code: String,
    pub message: String,
    pub request_id: Option<String>,
    pub details: Option<serde_json::Value>,
    pub source: Source,
    pub stage: Option<String>,
    pub remedy: Remedy,
}
pub struct Record {
    pub kind: RecordType,
    pub identity: Identity,
    pub run: u32,
    pub variant: Option<u8>,
    pub variant_count: u8,
    pub job_id: Option<String>,
    pub container_id: Option<String>,
    pub format: Option<String>,
    pub container: Option<Box<RawValue>>,
    pub error: Option<RecordError>,
    pub request: Option<Box<RawValue>>,
    pub metadata: Option<Box<RawValue>>,
    pub credits_estimate: Option<u64>,
    pub enqueued_at: Option<Timestamp>,
    pub received_at: Timestamp,
    pub submitted_at: Option<Timestamp>,
    pub finished_at: Timestamp,
}
impl Record {
    pub fn id(&self) -> uuid::Uuid {
        uuid::Uuid::nil()
    }
    pub fn to_bytes(&self) -> Vec<u8> {
        vec![]
    }
}
pub fn routing_key(_k: RecordType, _p: &str) -> String {
    String::new()
}
pub fn remedy(_c: &str, _s: Source) -> Remedy {
    Remedy::Rerun
}
