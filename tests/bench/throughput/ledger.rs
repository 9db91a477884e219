//! The ledger alone, with more callers than it can serve at once: briefs received, claimed, accepted and settled; then
//! their records noted as published.

use std::time::{Duration, Instant};

use briefd::brief::Rules;
use briefd::clock::Clock;
use briefd::flow::{Delivery, SendOutcome};
use briefd::ledger::{
    AttemptOutcome, Claim, ContainerEnd, Decide, Ended, Input, Ledger, MarkSent, OpenOptions, Received,
    RecordOutcome, Sent, Settle, Started, Told, Turn,
};
use briefd::telemetry::Metrics;
use futures::{StreamExt as _, stream};
use serde_json::json;
use tempfile::TempDir;

use super::Rate;

/// As the worker's settings have it: `amqp.prefetch`, `publish.concurrency`.
const PREFETCH: usize = 500;
const PUBLISHED_AT_ONCE: u32 = 256;
/// So many that the ledger is what limits, and not who waits for it.
const CONCURRENCY: u32 = 1_000;

/// How fast the ledger is.
pub struct Measured {
    /// Briefs from received to settled.
    pub settled: Rate,
    /// Records noted as published.
    pub published: Rate,
}

/// Brings `count` briefs from received to published.
pub async fn measure(count: usize) -> Measured {
    // On the disk that holds target/, since a /tmp in memory would flatter the ledger.
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("target/tmp can be written to");
    let clock = Clock::system();
    let options = OpenOptions {
        clock: clock.clone(),
        metrics: Metrics::new([]),
        origin: "http://127.0.0.1:9".to_owned(),
        input: Input::Queue,
        repeat_after: Duration::from_mins(1),
        beat: Box::new(|| {}),
    };
    let ledger = Ledger::open(&dir.path().join("briefd.db"), options).await.expect("a ledger can be made");
    let received: Vec<Received> = (0..count).map(received).collect();
    let began = Instant::now();
    tokio::join!(insert(&ledger, &clock, received), run(&ledger, &clock, count));
    let settled = Rate { count, took: began.elapsed() };
    let began = Instant::now();
    publish(&ledger, &clock, count).await;
    Measured { settled, published: Rate { count, took: began.elapsed() } }
}

async fn insert(ledger: &Ledger, clock: &Clock, received: Vec<Received>) {
    let mut received = received.into_iter().peekable();
    while received.peek().is_some() {
        let deliveries = received.by_ref().take(PREFETCH).collect();
        let decide =
            Decide { deliveries, input: Input::Queue, now_ms: clock.now_ms(), send_container_id: true };
        ledger.write(decide).await.expect("it can be written");
    }
}

/// Claims as permits come, and settles each job as its answers would.
async fn run(ledger: &Ledger, clock: &Clock, count: usize) {
    let (mut done, mut turn) = (0, Turn::default());
    while done < count {
        let claim = Claim {
            limit: CONCURRENCY,
            boot: ledger.boot().to_owned(),
            input: Input::Queue,
            now_ms: clock.now_ms(),
            key_fingerprint: "key".to_owned(),
            held_projects: Vec::new(),
            held_batches: Vec::new(),
            submitting_max: CONCURRENCY,
            running_max: 0,
            ended_before_ms: clock.ms_ago(Duration::from_mins(1)),
            probe_project: None,
            probing: false,
            beyond: 0,
            turn: turn.clone(),
            forget_starts_ms: None,
        };
        let work = ledger.write(claim).await.expect("it can be written");
        turn = work.turn;
        done += work.claimed.len();
        stream::iter(work.claimed)
            .for_each_concurrent(None, async |job| {
                let container = format!("cnt_{}", job.id);
                let started = Started {
                    job_id: Some(format!("job_{}", job.id)),
                    container_ids: vec![container.clone()],
                    format: None,
                };
                let now_ms = clock.now_ms();
                let outcome = RecordOutcome {
                    job: job.id,
                    boot: ledger.boot().to_owned(),
                    attempt: job.attempts,
                    outcome: AttemptOutcome::Accepted(started),
                    told: Told::default(),
                    now_ms,
                    retry_ms: now_ms,
                };
                ledger.write(outcome).await.expect("it can be written");
                let end = ContainerEnd {
                    container: container.clone(),
                    ended: Ended::Completed,
                    record: Some(
                        json!({"id": container, "status": "completed", "caption": "x".repeat(300)})
                            .to_string(),
                    ),
                    error: None,
                    format: None,
                    ended_ms: now_ms,
                    credits_estimate: Some(120),
                };
                let settle = Settle { job: job.id, ends: vec![end], close: true, now_ms };
                ledger.write(settle).await.expect("it can be written");
            })
            .await;
    }
}

async fn publish(ledger: &Ledger, clock: &Clock, count: usize) {
    let mut done = 0;
    while done < count {
        let rows = ledger.pending(PUBLISHED_AT_ONCE, clock.now_ms()).await.expect("it can be read");
        done += rows.len();
        let sent = rows
            .iter()
            .map(|row| Sent {
                row: row.message.row,
                outcome: SendOutcome::Sent,
                retry_ms: 0,
                drop_unroutable: false,
                was_alone: false,
            })
            .collect();
        ledger.write(MarkSent { sent, now_ms: clock.now_ms() }).await.expect("it can be written");
    }
}

fn received(n: usize) -> Received {
    let rules = Rules::strict(10_000);
    let body = json!({
        "projectId": format!("project-{}", n % 3), "batchId": "throughput", "briefId": format!("brief-{n}"),
        "brief": {"hook": format!("Three things nobody tells you about shoe number {n}")},
    });
    let delivery = Delivery { body: body.to_string().into_bytes(), ..Delivery::default() };
    Received::of(delivery, &rules)
}
