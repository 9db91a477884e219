//! The ledger on real files. Every write of a [`Bench`] is followed by counting everything again (P8).

mod batch;
mod cancel;
mod conflicts;
mod decisions;
mod life;
mod opening;
mod order;
mod outbox;
mod plans;
mod prune;
mod readers;
mod regenerate;
mod remembered;
mod resolve;
mod spent;
mod storm;
mod sums;
mod together;
mod unknown;
mod views;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::TempDir;

use super::*;
use crate::brief::Rules;
use crate::clock::Clock;
use crate::flow::{Delivery, Properties, SendOutcome};
use crate::job::JobState;
use crate::record::{RecordError, Source};
use crate::telemetry::Metrics;

/// `submit.repeat_after` in these tests.
const REPEAT_AFTER: Duration = Duration::from_mins(1);

/// A ledger in a folder of its own, under a clock that stands still.
struct Bench {
    ledger: Ledger,
    clock: Clock,
    metrics: Metrics,
    input: Input,
    folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::stepped("2026-05-01T00:00:00Z".parse().unwrap());
        Self::open(folder, clock, Input::Queue).await
    }

    /// Opens the ledger in `folder`, as soon as an earlier writer has let go of it.
    async fn open(folder: TempDir, clock: Clock, input: Input) -> Self {
        let metrics = Metrics::new([]);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let ledger = loop {
            match Ledger::open(&path_in(&folder), options(&clock, &metrics, &input)).await {
                Ok(ledger) => break ledger,
                Err(LedgerError::Locked { .. }) if std::time::Instant::now() < deadline => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        Self { ledger, clock, metrics, input, folder }
    }

    /// The process dies and another one starts.
    async fn crash(self) -> Self {
        let input = self.input.clone();
        self.restart_for(input).await
    }

    async fn restart_for(self, input: Input) -> Self {
        let Self { ledger, clock, folder, .. } = self;
        drop(ledger);
        let bench = Self::open(folder, clock, input).await;
        bench.check().await;
        bench
    }

    fn path(&self) -> PathBuf {
        path_in(&self.folder)
    }

    fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    fn minutes_pass(&self, minutes: u64) {
        self.clock.advance(Duration::from_mins(minutes));
    }

    /// How SQLite answers a query, step after step.
    async fn plan(&self, query: &str) -> String {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
                .fetch_all(&self.ledger.reader().pool)
                .await
                .unwrap();
        plan.into_iter().map(|(_, _, _, step)| step).collect::<Vec<_>>().join("; ")
    }

    async fn check(&self) {
        let imbalance = self.ledger.reader().imbalance().await.unwrap();
        assert_eq!(imbalance, Imbalance::default());
    }

    async fn write<W: Write>(&self, write: W) -> Result<W::Out, LedgerError> {
        let result = self.ledger.write(write).await;
        self.check().await;
        result
    }

    async fn send_all(&self, deliveries: Vec<Received>) -> Vec<(Decision, Option<i64>)> {
        let decide =
            Decide { deliveries, input: self.input.clone(), now_ms: self.now(), send_container_id: true };
        self.write(decide).await.unwrap()
    }

    async fn send(&self, message: Value) -> Decision {
        self.send_all(vec![received(&message.to_string())]).await[0].0
    }

    fn claim_of(&self, limit: u32) -> Claim {
        Claim {
            limit,
            boot: self.ledger.boot().to_owned(),
            input: self.input.clone(),
            now_ms: self.now(),
            key_fingerprint: "key-1".to_owned(),
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            submitting_max: 32,
            running_max: 0,
            ended_before_ms: self.now() - i64::try_from(REPEAT_AFTER.as_millis()).unwrap(),
            probe_project: None,
            probing: false,
            beyond: 0,
            forget_starts_ms: None,
            turn: Turn::default(),
        }
    }

    async fn claim(&self) -> Vec<Claimed> {
        self.write(self.claim_of(10)).await.unwrap().claimed
    }

    /// The one job that is due.
    async fn claim_one(&self) -> Claimed {
        let mut claimed = self.claim().await;
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        claimed.remove(0)
    }

    async fn record(&self, job: i64, outcome: AttemptOutcome) -> Result<JobState, LedgerError> {
        let attempt = sqlx::query_scalar("SELECT attempts FROM job WHERE id = $1").bind(job);
        let attempt: i64 = attempt.fetch_one(&self.ledger.reader().pool).await.unwrap();
        self.record_attempt((job, attempt), outcome).await
    }

    async fn record_attempt(
        &self,
        (job, attempt): (i64, i64),
        outcome: AttemptOutcome,
    ) -> Result<JobState, LedgerError> {
        let write = RecordOutcome {
            job,
            boot: self.ledger.boot().to_owned(),
            attempt,
            outcome,
            told: Told::default(),
            now_ms: self.now(),
            retry_ms: self.now(),
        };
        self.write(write).await
    }

    async fn accept(&self, job: i64, containers: &[&str]) {
        let state = self.record(job, accepted(Some(&format!("job_{job}")), containers)).await.unwrap();
        assert_eq!(state, JobState::Running);
    }

    async fn refuse(&self, job: i64, code: &str) {
        let state = self.record(job, refused(code)).await.unwrap();
        assert_eq!(state, JobState::Rejected);
    }

    async fn lose_answer(&self, job: i64) {
        let state = self.record(job, AttemptOutcome::Again(Again::Unanswered)).await.unwrap();
        assert_eq!(state, JobState::Submitting);
    }

    async fn settle(&self, job: i64, ends: &[(&str, Ended)], close: bool) -> usize {
        let ends = ends.iter().map(|(id, ended)| self.end(id, *ended)).collect();
        let settled = self.write(Settle { job, ends, close, now_ms: self.now() }).await.unwrap();
        settled.newly.iter().filter(|newly| **newly).count() + settled.missing
    }

    fn end(&self, container: &str, ended: Ended) -> ContainerEnd {
        let error = match ended {
            Ended::Completed => None,
            Ended::Failed => Some(RecordError::new(Source::Layers, "RENDER_FAILED", "it broke")),
            Ended::Canceled => Some(RecordError::new(Source::Layers, "CANCELED", "canceled at the API")),
        };
        ContainerEnd {
            container: container.to_owned(),
            ended,
            record: Some(format!(r#"{{ "id":"{container}","status":"{}" }}"#, ended.word())),
            error,
            format: Some("video_remix".to_owned()),
            ended_ms: self.now(),
            credits_estimate: Some(120),
        }
    }

    /// Sends a brief and takes it through generation to its ends.
    async fn run_through(&self, message: Value, ends: &[(&str, Ended)]) {
        assert!(matches!(self.send(message).await, Decision::New | Decision::Replaced | Decision::Rerun));
        let job = self.claim_one().await;
        let ids: Vec<&str> = ends.iter().map(|(id, _)| *id).collect();
        self.accept(job.id, &ids).await;
        self.settle(job.id, ends, true).await;
    }

    async fn inspect(&self) -> Vec<Inspection> {
        let inspect = Inspect {
            limit: 10,
            boot: self.ledger.boot().to_owned(),
            input: self.input.clone(),
            now_ms: self.now(),
        };
        self.write(inspect).await.unwrap()
    }

    async fn inspected(&self, job: i64, found: Found) -> bool {
        self.write(Inspected { job, found, now_ms: self.now() }).await.unwrap()
    }

    /// Every container of a rerun was looked at and may be regenerated.
    async fn inspected_all(&self) {
        for inspection in self.inspect().await {
            assert!(self.inspected(inspection.id, Found::Ended("old".to_owned())).await);
        }
    }

    async fn pending(&self) -> Vec<PendingRow> {
        self.ledger.pending(1_000, self.now()).await.unwrap()
    }

    /// Everything that is due leaves; returns the records among it.
    async fn publish(&self) -> Vec<Value> {
        let rows = self.pending().await;
        let sent = rows.iter().map(|row| sent(row, SendOutcome::Sent)).collect();
        self.write(MarkSent { sent, now_ms: self.now() }).await.unwrap();
        rows.iter().filter_map(|row| serde_json::from_slice(&row.message.body).ok()).collect()
    }

    /// What consumers would read off the pending records: type, run, variant.
    async fn pending_records(&self) -> Vec<(String, i64, Option<i64>)> {
        let rows = self.pending().await;
        let records = rows.iter().map(|row| serde_json::from_slice::<Value>(&row.message.body).unwrap());
        let told = records.map(|record| {
            (
                record["type"].as_str().unwrap().to_owned(),
                record["run"].as_i64().unwrap(),
                record["variant"].as_i64(),
            )
        });
        told.collect()
    }

    /// State and current run of the only brief.
    async fn brief_state(&self) -> (String, i64) {
        sqlx::query_as("SELECT state, run FROM brief").fetch_one(&self.ledger.reader().pool).await.unwrap()
    }

    async fn job_states(&self) -> Vec<String> {
        self.texts("SELECT state FROM job ORDER BY id").await
    }

    async fn texts(&self, query: &'static str) -> Vec<String> {
        sqlx::query_scalar(query).fetch_all(&self.ledger.reader().pool).await.unwrap()
    }

    async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.ledger.reader().pool).await.unwrap()
    }

    /// A connection beside the worker that may write.
    async fn beside(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path()).connect().await.unwrap()
    }

    /// Changes rows behind the ledger's back.
    async fn doctor(&self, statement: &'static str) {
        let mut connection = self.beside().await;
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

fn path_in(folder: &TempDir) -> PathBuf {
    folder.path().join("briefd.db")
}

fn options(clock: &Clock, metrics: &Metrics, input: &Input) -> OpenOptions {
    OpenOptions {
        clock: clock.clone(),
        metrics: metrics.clone(),
        origin: "https://api.layers.com".to_owned(),
        input: input.clone(),
        repeat_after: REPEAT_AFTER,
        beat: Box::new(|| {}),
    }
}

fn received(text: &str) -> Received {
    let rules = Rules::strict(10_000);
    let properties = Properties { correlation_id: Some("corr-1".to_owned()), ..Properties::default() };
    let delivery = Delivery { body: text.as_bytes().to_vec(), properties, ..Delivery::default() };
    Received::of(delivery, &rules)
}

/// A valid brief with this hook, and whatever `more` adds.
fn brief(hook: &str, more: Value) -> Value {
    let mut message = json!({ "projectId": "p", "briefId": "b", "brief": { "hook": hook } });
    let (Some(fields), Value::Object(more)) = (message.as_object_mut(), more) else { panic!("objects") };
    fields.extend(more);
    message
}

/// The same brief for an identity of its own.
fn numbered(number: usize, more: Value) -> Value {
    let mut message = brief("Run", more);
    message["briefId"] = json!(format!("b{number}"));
    message
}

fn accepted(job_id: Option<&str>, containers: &[&str]) -> AttemptOutcome {
    AttemptOutcome::Accepted(Started {
        job_id: job_id.map(ToOwned::to_owned),
        container_ids: containers.iter().map(|id| (*id).to_owned()).collect(),
        format: Some("video_remix".to_owned()),
    })
}

fn refused(code: &str) -> AttemptOutcome {
    let error = RecordError::new(Source::Layers, code, "no");
    AttemptOutcome::Rejected(crate::job::Event::Refused, Box::new(error))
}

fn sent(row: &PendingRow, outcome: SendOutcome) -> Sent {
    Sent { row: row.message.row, outcome, retry_ms: 0, drop_unroutable: false, was_alone: false }
}

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

const DONE: Ended = Ended::Completed;
const FAILED: Ended = Ended::Failed;
const CANCELED: Ended = Ended::Canceled;
