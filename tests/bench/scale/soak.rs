//! Full speed for a long time: what stays flat, and what is bounded.
//!
//! The queue never runs empty, records are taken as they come, and what is finished is pruned after a minute, so that
//! everything the worker ever does goes on at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use lapin::options::BasicConsumeOptions;
use lapin::types::{FieldTable, ShortString};
use serde_json::{Value, json};

use super::broker::{channel, fill};
use super::process::resident_mib;
use super::support::broker::TestBroker;
use super::support::process::{SandboxProcess, Worker};
use super::worker::{SANDBOX, brief, imbalance, start, stop, variables};
use super::{Line, folder};

/// Briefs that are under way, the queue included, are topped up to this.
const UNDER_WAY: usize = 8_000;
/// Briefs of one batch: one that is open is not pruned.
const BATCH: usize = 1_000;
const LOOK: Duration = Duration::from_millis(100);
const SAMPLE: Duration = Duration::from_secs(10);
/// What the first minute is to a long run; a short one has a shorter one.
const WARM_UP: Duration = Duration::from_mins(1);
/// How long what is under way may take in the end.
const PATIENCE: Duration = Duration::from_mins(5);
const MIB: f64 = 1024.0 * 1024.0;

/// How it stood at a moment.
struct Sample {
    at: Duration,
    published: usize,
    memory_mib: f64,
    wal_mib: f64,
    ledger_mib: f64,
    descriptors: usize,
}

/// What a run showed: lines for the table, the samples, and what was lost or bought twice.
pub struct Soaked {
    pub lines: Vec<Line>,
    pub samples: Vec<Value>,
    pub violations: Vec<String>,
}

/// Keeps the worker busy for so long.
pub async fn measure(url: &str, length: Duration) -> Soaked {
    eprintln!("full speed for {length:?} …");
    let broker = TestBroker::connect_to(url.to_owned()).await;
    let sandbox = SandboxProcess::spawn(&SANDBOX).await;
    let dir = folder();
    let mut variables = variables(&broker, &sandbox);
    variables.push(("BRIEFD__LEDGER__KEEP_FINISHED", "1m".to_owned()));
    let worker = start(dir.path(), &variables).await;
    let taken = take_all(url, broker.name("records")).await;
    let input = channel(url).await;
    let (began, mut sent, mut samples) = (Instant::now(), 0, Vec::new());
    print_head();
    while began.elapsed() < length {
        let missing = UNDER_WAY.saturating_sub(sent - taken.load(Ordering::Relaxed));
        let bodies: Vec<Vec<u8>> = (sent..sent + missing).map(message).collect();
        fill(&input, broker.name("briefs").as_str(), "brief", &bodies).await;
        sent += missing;
        if began.elapsed() >= SAMPLE * u32::try_from(samples.len() + 1).expect("few samples") {
            samples.push(sample(began, &worker, dir.path(), &taken, samples.last()));
        }
        tokio::time::sleep(LOOK).await;
    }
    samples.push(sample(began, &worker, dir.path(), &taken, samples.last()));
    let mut violations = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while taken.load(Ordering::Relaxed) < sent && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    let rate = rate(&samples);
    stop(worker).await;
    let jobs = sandbox.account_summary().await["jobsMade"].clone();
    let records = taken.load(Ordering::Relaxed);
    if records != sent {
        violations.push(format!("{records} records for {sent} briefs"));
    }
    if jobs != json!(sent) {
        violations.push(format!("{jobs} jobs for {sent} briefs"));
    }
    violations.extend(imbalance(dir.path()).await);
    let mut lines = vec![
        (format!("soak of {} s: briefs", length.as_secs()), sent.to_string(), ""),
        ("briefs a second".to_owned(), format!("{rate:.0}"), ""),
    ];
    lines.extend(summed_up(&samples, WARM_UP.min(length / 4)));
    Soaked { lines, samples: samples.iter().map(Sample::json).collect(), violations }
}

fn message(n: usize) -> Vec<u8> {
    let mut brief = brief(n);
    brief["batchId"] = json!(format!("soak-{}", n / BATCH));
    brief.to_string().into_bytes()
}

/// Takes every record off the queue; counts them.
async fn take_all(url: &str, queue: ShortString) -> Arc<AtomicUsize> {
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut records = channel(url)
        .await
        .basic_consume(queue, "soak".into(), options, FieldTable::default())
        .await
        .expect("the queue can be consumed");
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Some(record) = records.next().await {
            let record = record.expect("the broker goes on");
            // A batch that ends has a record of its own.
            if record.routing_key.as_str().contains("container") {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    taken
}

fn sample(
    began: Instant,
    worker: &Worker,
    dir: &Path,
    taken: &AtomicUsize,
    before: Option<&Sample>,
) -> Sample {
    #[expect(clippy::cast_precision_loss, reason = "sizes of files for a table")]
    let mib = |file: &str| std::fs::metadata(dir.join(file)).map_or(0.0, |file| file.len() as f64 / MIB);
    let pid = worker.process.id();
    let sample = Sample {
        at: began.elapsed(),
        published: taken.load(Ordering::Relaxed),
        memory_mib: resident_mib(pid),
        wal_mib: mib("briefd.db-wal"),
        ledger_mib: mib("briefd.db"),
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
    };
    println!(
        "| {:>6} s | {:>9} | {:>6.0} /s | {:>6.1} MiB | {:>6.1} MiB | {:>8.1} MiB | {:>5} |",
        sample.at.as_secs(),
        sample.published,
        per_second(before, &sample),
        sample.memory_mib,
        sample.wal_mib,
        sample.ledger_mib,
        sample.descriptors
    );
    sample
}

fn print_head() {
    println!("|     time |   records |     rate |     memory |        WAL |       ledger | files |");
    println!("|---------:|----------:|---------:|-----------:|-----------:|-------------:|------:|");
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
fn per_second(before: Option<&Sample>, after: &Sample) -> f64 {
    let (published, at) = before.map_or((0, Duration::ZERO), |before| (before.published, before.at));
    (after.published - published) as f64 / after.at.saturating_sub(at).as_secs_f64()
}

/// From the first sample to the last.
fn rate(samples: &[Sample]) -> f64 {
    match samples {
        [first, .., last] => per_second(Some(first), last),
        [] | [_] => 0.0,
    }
}

/// What was the least and the most, once everything was warm.
fn summed_up(samples: &[Sample], warm_up: Duration) -> Vec<Line> {
    let range = |of: fn(&Sample) -> f64| {
        let warm = samples.iter().filter(|sample| sample.at >= warm_up).map(of);
        warm.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)))
    };
    let most = |of: fn(&Sample) -> f64| samples.iter().map(of).fold(0.0, f64::max);
    let (least_memory, most_memory) = range(|sample| sample.memory_mib);
    let after = format!("after {} s", warm_up.as_secs());
    vec![
        (format!("memory {after}: min"), format!("{least_memory:.1} MiB"), ""),
        (format!("memory {after}: max"), format!("{most_memory:.1} MiB"), "flat"),
        ("WAL max".to_owned(), format!("{:.1} MiB", most(|sample| sample.wal_mib)), "≤ 64 MiB"),
        ("ledger max".to_owned(), format!("{:.1} MiB", most(|sample| sample.ledger_mib)), ""),
        ("open files max".to_owned(), format!("{}", most_files(samples)), ""),
    ]
}

fn most_files(samples: &[Sample]) -> usize {
    samples.iter().map(|sample| sample.descriptors).max().unwrap_or(0)
}

impl Sample {
    fn json(&self) -> Value {
        json!({
            "seconds": self.at.as_secs_f64(), "records": self.published, "memoryMib": self.memory_mib,
            "walMib": self.wal_mib, "ledgerMib": self.ledger_mib, "openFiles": self.descriptors,
        })
    }
}
