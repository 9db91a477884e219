//! A file run to its end, against the simulator, with a real ledger.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::app::survey::{Batching, Survey};
use crate::brief::parse;
use crate::flow::{Delivery, SendOutcome};
use crate::job::BriefState;
use crate::ledger::{
    AttemptOutcome, Claim, ContainerEnd, Decide, Decision, Ended as Outcome, Ledger, MarkSent, Mishap,
    OpenOptions, Received, RecordOutcome, Sent, Settle, Started, Told,
};
use crate::telemetry::Metrics;

fn brief(id: &str, variants: u64, wish: &Value) -> String {
    json!({"projectId": "p", "briefId": id, "variantCount": variants, "format": "slideshow_remix",
        "brief": {"hook": id}, "metadata": {"sandbox": wish}})
    .to_string()
}

/// Runs `spring.jsonl` of `folder` to its end, with records in `records.jsonl`.
async fn generate(folder: &Path, settings: &Settings) -> Report {
    let mut source = BriefFile::open(&folder.join("spring.jsonl")).unwrap();
    let survey = Survey::of(&mut source, settings, None).unwrap();
    let task = Task {
        name: folder.join("spring.jsonl").display().to_string(),
        batch: None,
        default_batch: source.stem().map(str::to_owned),
        batch_size: survey.batch_size,
        source,
        sink: JsonlSink::create(Some(&folder.join("records.jsonl"))).unwrap(),
    };
    let mut most = 0;
    let mut watch = |progress: &Progress| most = most.max(progress.states.total());
    let limit = Duration::from_mins(1);
    let report = tokio::time::timeout(limit, run(settings.clone(), task, Clock::system(), &mut watch));
    report.await.unwrap().unwrap()
}

fn records(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("records.jsonl")).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_run_to_its_end_and_again_without_buying_anything() {
    let folder = TempDir::new().unwrap();
    let lines = [
        brief("plain", 2, &json!({"seconds": 5})),
        brief("answer lost", 1, &json!({"seconds": 5, "faults": ["accepted-unanswered"]})),
        brief("breaks", 1, &json!({"seconds": 5, "fail": "RENDER_FAILED"})),
        brief("plain", 2, &json!({"seconds": 5})),
        "nonsense".to_owned(),
    ];
    fs::write(folder.path().join("spring.jsonl"), lines.join("\n")).unwrap();
    let mut settings = Settings::builtin();
    let simulated = Simulated::start(&mut settings, 100.0).await.unwrap();

    let report = generate(folder.path(), &settings).await;
    assert_eq!(report.end, End::Done);
    let results = &report.results;
    assert_eq!((results.states.get(BriefState::Completed), results.states.get(BriefState::Failed)), (2, 1));
    assert_eq!((results.containers(), results.credits), (3, Some(150)));
    assert_eq!(results.batches, ["spring"]);
    assert_eq!(results.mishaps.get(&Mishap::AnswerLost), Some(&1));
    assert_eq!(
        results.failures.iter().map(|failure| failure.code.as_str()).collect::<Vec<_>>(),
        ["RENDER_FAILED"]
    );
    assert_eq!(report.set_aside.iter().map(|note| note.line).collect::<Vec<_>>(), [Some(5)]);
    let first = records(folder.path());
    assert_eq!((first.len(), report.records), (4, 4));
    assert_eq!(simulated.account().jobs_made, 3);

    let again = generate(folder.path(), &settings).await;
    assert_eq!(records(folder.path()), first);
    assert_eq!(again.results.states, report.results.states);
    assert_eq!(again.results.mishaps.len(), 0);
    assert_eq!(simulated.account().posts.generate, 4);
}

/// One brief of two variants from a file; what a worker does to it is done by hand.
struct ByHand {
    ledger: Ledger,
    clock: Clock,
}

impl ByHand {
    async fn open(folder: &Path) -> Self {
        let clock = Clock::system();
        let options = OpenOptions {
            clock: clock.clone(),
            metrics: Metrics::new(std::iter::empty()),
            origin: "http://127.0.0.1".to_owned(),
            input: Input::File("spring.jsonl".to_owned()),
            repeat_after: Duration::ZERO,
            beat: Box::new(|| {}),
        };
        Self { ledger: Ledger::open(&folder.join("ledger.db"), options).await.unwrap(), clock }
    }

    async fn deliver(&self) -> Decision {
        let settings = Settings::builtin();
        let batching = Batching { batch: None, default_batch: Some("spring"), batch_size: None };
        let body = brief("two", 2, &json!({})).into_bytes();
        let delivery = Delivery { body: body.clone(), ..Delivery::default() };
        let received = Received {
            content: parse(&delivery, &batching.rules(&settings)),
            body,
            properties: delivery.properties,
            position: 1,
            redelivered: false,
        };
        let decide = Decide {
            deliveries: vec![received],
            input: self.ledger.input().clone(),
            now_ms: self.clock.now_ms(),
            send_container_id: true,
        };
        self.ledger.write(decide).await.unwrap()[0].0
    }

    async fn start(&self) -> i64 {
        let now_ms = self.clock.now_ms();
        let claim = Claim {
            limit: 1,
            boot: self.ledger.boot().to_owned(),
            input: self.ledger.input().clone(),
            now_ms,
            key_fingerprint: "k".to_owned(),
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            submitting_max: 10,
            running_max: 0,
            probe_project: None,
            probing: false,
            beyond: 0,
            forget_starts_ms: None,
            turn: crate::ledger::Turn::default(),
            ended_before_ms: i64::MAX,
        };
        let job = self.ledger.write(claim).await.unwrap().claimed[0].id;
        let container_ids = vec!["c1".to_owned(), "c2".to_owned()];
        let started = Started { job_id: Some("j".to_owned()), container_ids, format: None };
        let outcome = RecordOutcome {
            job,
            boot: self.ledger.boot().to_owned(),
            attempt: 1,
            outcome: AttemptOutcome::Accepted(started),
            told: Told::default(),
            now_ms,
            retry_ms: now_ms,
        };
        self.ledger.write(outcome).await.unwrap();
        job
    }

    async fn complete(&self, job: i64, container: &str) {
        let now_ms = self.clock.now_ms();
        let end = ContainerEnd {
            container: container.to_owned(),
            ended: Outcome::Completed,
            record: Some("{}".to_owned()),
            error: None,
            format: None,
            ended_ms: now_ms,
            credits_estimate: None,
        };
        self.ledger.write(Settle { job, ends: vec![end], close: false, now_ms }).await.unwrap();
    }

    /// Sends what is due; returns the variants of the records.
    async fn publish(&self) -> Vec<Value> {
        let now_ms = self.clock.now_ms();
        let rows = self.ledger.pending(10, now_ms).await.unwrap();
        let sent = rows.iter().map(|row| Sent {
            row: row.message.row,
            outcome: SendOutcome::Sent,
            retry_ms: now_ms,
            drop_unroutable: false,
            was_alone: false,
        });
        self.ledger.write(MarkSent { sent: sent.collect(), now_ms }).await.unwrap();
        let record = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap();
        rows.iter().map(|row| record(&row.message.body)["variant"].clone()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interrupted_command_has_shown_of_an_open_brief_is_shown_again() {
    let folder = TempDir::new().unwrap();
    let hand = ByHand::open(folder.path()).await;
    assert_eq!(hand.deliver().await, Decision::New);
    let job = hand.start().await;
    hand.complete(job, "c1").await;
    assert_eq!(hand.publish().await, [1]);
    // The same command once more: its file of records begins anew.
    assert_eq!(hand.deliver().await, Decision::Duplicate);
    assert_eq!(hand.publish().await, [1]);
    hand.complete(job, "c2").await;
    assert_eq!(hand.publish().await, [2]);
    assert_eq!(hand.ledger.reader().imbalance().await.unwrap().lines, Vec::<String>::new());
}
