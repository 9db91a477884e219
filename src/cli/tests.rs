//! The reading commands on a ledger that was written as the worker writes it.

mod help;
mod lists;
mod record_lines;
mod status_pages;
mod stories;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use clap::Parser as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Cli, Command, Outcome, UsageError, is_broken_pipe, list, records, show, status};
use crate::brief::Rules;
use crate::clock::Clock;
use crate::config::Settings;
use crate::flow::{Delivery, Properties, SendOutcome};
use crate::job::Event;
use crate::ledger::{
    Again, AttemptOutcome, Claim, Claimed, ContainerEnd, Decide, Ended, Hold, HoldScope, Input, Ledger,
    LiftHold, MarkSent, OpenOptions, Received, RecordOutcome, Sent, SetHold, Settle, Started, Told,
};
use crate::record::{RecordError, Source};
use crate::telemetry::Metrics;

const ACME: &str = "254a4ce1-f4ca-42b1-9e36-17ca45ef3d39";
const SPRING: &str = "2026-05-spring";

/// A worker's ledger, and the settings of whoever reads beside it.
struct World {
    ledger: Ledger,
    clock: Clock,
    settings: Settings,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::builtin();
        settings.ledger.path = folder.path().join("ledger.db");
        settings.projects = BTreeMap::from([("acme-fit".to_owned(), ACME.to_owned())]);
        let start: Timestamp = "2026-05-02T01:00:00Z".parse().unwrap();
        let clock = Clock::stepped(start);
        let options = OpenOptions {
            clock: clock.clone(),
            metrics: Metrics::new([]),
            origin: "https://api.layers.com".to_owned(),
            input: Input::Queue,
            beat: Box::new(|| {}),
            repeat_after: Duration::from_mins(1),
        };
        let ledger = Ledger::open(&settings.ledger.path, options).await.unwrap();
        Self { ledger, clock, settings, _folder: folder }
    }

    /// Receives one brief; time goes on by a second.
    async fn receive(&self, project: &str, batch: &str, brief: &str, more: Value) {
        let mut message = json!({ "projectId": project, "briefId": brief, "brief": { "topic": brief } });
        if !batch.is_empty() {
            message["batchId"] = batch.into();
        }
        for (name, value) in more.as_object().unwrap() {
            message[name] = value.clone();
        }
        let body = message.to_string().into_bytes();
        let rules = Rules { projects: &self.settings.projects, ..Rules::strict(65_536) };
        let properties = Properties { message_id: Some(format!("m-{brief}")), ..Properties::default() };
        let delivery = Delivery { position: 1, body, properties, ..Delivery::default() };
        let received = Received::of(delivery, &rules);
        self.clock.advance(Duration::from_secs(1));
        let decide = Decide {
            deliveries: vec![received],
            input: Input::Queue,
            now_ms: self.clock.now_ms(),
            send_container_id: true,
        };
        self.ledger.write(decide).await.unwrap();
    }

    /// Claims the job of the highest priority.
    async fn claim(&self) -> Claimed {
        let claim = Claim {
            limit: 1,
            boot: self.ledger.boot().to_owned(),
            input: Input::Queue,
            now_ms: self.clock.now_ms(),
            key_fingerprint: "key".to_owned(),
            submitting_max: 32,
            running_max: 0,
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            ended_before_ms: i64::MAX,
            probe_project: None,
            probing: false,
            beyond: 0,
            forget_starts_ms: None,
            turn: crate::ledger::Turn::default(),
        };
        self.ledger.write(claim).await.unwrap().claimed.remove(0)
    }

    async fn outcome(&self, job: &Claimed, outcome: AttemptOutcome, told: Told) {
        self.clock.advance(Duration::from_secs(1));
        let now_ms = self.clock.now_ms();
        let boot = self.ledger.boot().to_owned();
        let record = RecordOutcome {
            job: job.id,
            boot,
            attempt: job.attempts,
            outcome,
            told,
            now_ms,
            retry_ms: now_ms,
        };
        self.ledger.write(record).await.unwrap();
    }

    /// Receives a brief and has it accepted with as many containers as it asks for.
    async fn start(&self, project: &str, batch: &str, brief: &str, containers: usize) -> Claimed {
        self.receive(project, batch, brief, json!({ "variantCount": containers, "priority": 9 })).await;
        let job = self.claim().await;
        let started = Started {
            job_id: Some(format!("job_{brief}")),
            container_ids: (1..=containers).map(|variant| format!("cnt_{brief}_{variant}")).collect(),
            format: Some("video_remix".to_owned()),
        };
        let told =
            Told { status: Some(202), request_id: Some(format!("req_{brief}")), detail: String::new() };
        self.outcome(&job, AttemptOutcome::Accepted(started), told).await;
        job
    }

    /// Receives a brief and brings it to its end: one end for each of its containers.
    async fn generate(&self, project: &str, batch: &str, brief: &str, ends: &[Ended]) {
        let job = self.start(project, batch, brief, ends.len()).await;
        self.clock.advance(Duration::from_secs(90));
        let now_ms = self.clock.now_ms();
        let ends = (1..).zip(ends).map(|(variant, ended)| {
            let id = format!("cnt_{brief}_{variant}");
            let error = match ended {
                Ended::Completed => None,
                Ended::Failed => Some(RecordError::new(Source::Layers, "RENDER_FAILED", "a frame was lost")),
                Ended::Canceled => Some(RecordError::new(Source::Layers, "CANCELED", "canceled")),
            };
            ContainerEnd {
                record: Some(api_record(&id, *ended)),
                container: id,
                ended: *ended,
                error,
                format: None,
                ended_ms: now_ms - 2_000,
                credits_estimate: Some(120),
            }
        });
        let settle = Settle { job: job.id, ends: ends.collect(), close: true, now_ms };
        self.ledger.write(settle).await.unwrap();
    }

    async fn refuse(&self, project: &str, batch: &str, brief: &str, code: &str) {
        self.receive(project, batch, brief, json!({ "priority": 9 })).await;
        let job = self.claim().await;
        let error = Box::new(RecordError::new(Source::Layers, code, "the brief failed safety"));
        let told =
            Told { status: Some(422), request_id: Some("req_422".to_owned()), detail: code.to_owned() };
        self.outcome(&job, AttemptOutcome::Rejected(Event::Refused, error), told).await;
    }

    async fn park(&self, project: &str, batch: &str, brief: &str) {
        self.receive(project, batch, brief, json!({ "priority": 9 })).await;
        let job = self.claim().await;
        let error =
            Box::new(RecordError::new(Source::Briefd, "CRASH_LOOP", "claimed ten times without an outcome"));
        let told = Told { detail: "cut off".to_owned(), ..Told::default() };
        self.outcome(&job, AttemptOutcome::Parked(Event::CrashLoop, error), told).await;
    }

    async fn hold(&self, scope: HoldScope, reason: &str, required: Option<i64>) {
        let hold = Hold {
            scope,
            reason: reason.to_owned(),
            detail: required.map(|_| "credits are short".to_owned()).unwrap_or_default(),
            required,
            available: required.map(|_| 40),
            stops_reads: false,
            by_api: true,
            since_ms: self.clock.now_ms(),
            probe_ms: Some(self.clock.now_ms() + 60_000),
            easing: false,
        };
        self.ledger.write(SetHold(hold)).await.unwrap();
    }

    /// Publishes what is due, up to `limit`.
    async fn publish(&self, limit: u32) {
        let now_ms = self.clock.now_ms();
        let due = self.ledger.pending(limit, now_ms).await.unwrap();
        let sent = due.into_iter().map(|row| Sent {
            row: row.message.row,
            outcome: SendOutcome::Sent,
            retry_ms: now_ms,
            drop_unroutable: false,
            was_alone: false,
        });
        self.ledger.write(MarkSent { sent: sent.collect(), now_ms }).await.unwrap();
    }

    /// One batch with every kind of trouble, one that went well, and a brief without a batch.
    async fn with_trouble() -> Self {
        use Ended::{Canceled, Completed, Failed};
        let world = Self::new().await;
        world.generate(ACME, SPRING, "s-01", &[Completed]).await;
        world.generate(ACME, SPRING, "s-02", &[Completed, Failed]).await;
        world.generate("nova", SPRING, "n-01", &[Failed]).await;
        world.generate("nova", SPRING, "n-02", &[Canceled]).await;
        world.refuse(ACME, SPRING, "s-03", "MODERATION_BLOCKED").await;
        world.park(ACME, SPRING, "s-04").await;
        world.publish(4).await;
        world.generate("nova", "teaser-nova", "t-01", &[Completed]).await;
        world.generate("nova", "", "s-01", &[Completed]).await;
        world.start(ACME, SPRING, "s-05", 1).await;
        world.hold(HoldScope::Project(ACME.to_owned()), "BILLING_EXHAUSTED", Some(120)).await;
        world.receive(ACME, SPRING, "s-06", json!({})).await;
        world.receive(ACME, SPRING, "s-07-with-a-name-that-fits-no-column", json!({})).await;
        world.receive("nova", SPRING, "n-03", json!({ "batchSize": 5000 })).await;
        world.receive("nova", SPRING, "n-04", json!({ "notBefore": "2026-05-03T00:00:00Z" })).await;
        world.clock.advance(Duration::from_mins(2));
        world
    }

    /// Runs a command line as `main` does.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only the commands that read are tested here")]
    async fn try_run(&self, line: &[&str], out: &mut impl Write) -> anyhow::Result<Outcome> {
        let words = std::iter::once("briefd").chain(line.iter().copied());
        match Cli::try_parse_from(words)?.command {
            Command::Status(args) => status::run(args, &self.settings, &self.clock, out).await,
            Command::List(args) => list::run(args, &self.settings, &self.clock, out).await,
            Command::Show(args) => show::run(args, &self.settings, &self.clock, out).await,
            Command::Records(args) => records::run(args, &self.settings, (&self.clock, true), out).await,
            other => panic!("not a command that reads: {other:?}"),
        }
    }

    async fn run(&self, line: &[&str]) -> String {
        let mut out = Vec::new();
        assert_eq!(self.try_run(line, &mut out).await.unwrap(), Outcome::Done);
        String::from_utf8(out).unwrap()
    }

    /// The briefs that `list` finds.
    async fn listed(&self, filter: &[&str]) -> Vec<String> {
        let text = self.run(&[&["list", "--json"], filter].concat()).await;
        let brief =
            |line| serde_json::from_str::<Value>(line).unwrap()["briefId"].as_str().unwrap().to_owned();
        text.lines().map(brief).collect()
    }
}

/// What the API tells about a container that has ended.
fn api_record(id: &str, ended: Ended) -> String {
    let url =
        format!("https://cdn.example/{id}/a-name-that-is-as-long-as-those-that-are-signed-for-a-day.mp4");
    let assets = if ended == Ended::Completed { json!([{ "kind": "video", "url": url }]) } else { json!([]) };
    json!({ "id": id, "status": ended.word(), "assets": assets }).to_string()
}

fn assert_fits(page: &str) {
    for line in page.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

impl World {
    async fn again(&self, job: &Claimed, again: Again, status: Option<u16>, detail: &str) {
        let told = Told { status, request_id: None, detail: detail.to_owned() };
        self.outcome(job, AttemptOutcome::Again(again), told).await;
    }

    /// A brief of which a POST was lost, one that is parked, one that waits, and a hold because of it all.
    async fn with_an_api_in_trouble() -> Self {
        let world = Self::new().await;
        world.park(ACME, SPRING, "s-04").await;
        world.receive(ACME, SPRING, "s-01", json!({ "priority": 9 })).await;
        let lost = world.claim().await;
        world.again(&lost, Again::Unanswered, None, "no answer within 30 s").await;
        world.receive(ACME, SPRING, "s-02", json!({ "priority": 9 })).await;
        world.hold(HoldScope::Account, "API_DOWN", None).await;
        world.clock.advance(Duration::from_mins(2));
        world
    }
}
