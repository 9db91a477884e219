//! Many jobs that run: memory, and how long a start takes.

use std::time::{Duration, Instant};

use super::broker::{channel, fill};
use super::process::resident_mib;
use super::support::broker::TestBroker;
use super::support::process::{SandboxProcess, Worker};
use super::worker::{brief, start, stop, variables};
use super::{Line, folder};

/// Nothing ends while it is measured.
const SANDBOX: [&str; 6] = ["--tier", "unlimited", "--min-seconds", "100000", "--max-seconds", "100000"];
/// How long jobs may take to start.
const PATIENCE: Duration = Duration::from_mins(10);
const LOOK: Duration = Duration::from_millis(100);
const SCRAPES: usize = 20;
/// So long it is followed before the memory is looked at.
const SETTLE: Duration = Duration::from_secs(15);

/// Lets more and more jobs run; the worker is started again with the most.
pub async fn measure(url: &str, counts: &[usize]) -> Vec<Line> {
    let broker = TestBroker::connect_to(url.to_owned()).await;
    let sandbox = SandboxProcess::spawn(&SANDBOX).await;
    let dir = folder();
    let variables = variables(&broker, &sandbox);
    let worker = start(dir.path(), &variables).await;
    let mut lines = vec![line_of_memory(0, &worker, "")];
    let mut sent = 0;
    for &count in counts {
        eprintln!("{count} jobs running …");
        let bodies: Vec<Vec<u8>> = (sent..count).map(|n| brief(n).to_string().into_bytes()).collect();
        fill(&channel(url).await, broker.name("briefs").as_str(), "brief", &bodies).await;
        sent = count;
        all_running(&worker, count).await;
        lines.push(line_of_memory(count, &worker, "≤ 150 MiB"));
        lines.push(line_of_scrapes(count, &worker).await);
    }
    stop(worker).await;
    let began = Instant::now();
    let worker = start(dir.path(), &variables).await;
    let took = began.elapsed().as_secs_f64();
    lines.push((format!("start with {sent} jobs running, until /readyz"), format!("{took:.1} s"), "≤ 5 s"));
    tokio::time::sleep(SETTLE).await;
    lines.push(line_of_memory(sent, &worker, "≤ 150 MiB"));
    stop(worker).await;
    lines
}

async fn all_running(worker: &Worker, count: usize) {
    let began = Instant::now();
    let all = f64::from(u32::try_from(count).expect("a count of a benchmark"));
    loop {
        let running = worker.series("briefd_jobs{state=\"running\"}").await;
        if running >= all {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{running} of {count} jobs run after {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(SETTLE).await;
}

/// What Prometheus waits for, at worst of some.
async fn line_of_scrapes(count: usize, worker: &Worker) -> Line {
    let mut worst = Duration::ZERO;
    for _ in 0..SCRAPES {
        let began = Instant::now();
        worker.metrics().await;
        worst = worst.max(began.elapsed());
    }
    (format!("scrape with {count} jobs running, worst of {SCRAPES}"), format!("{worst:.1?}"), "≤ 20 ms")
}

fn line_of_memory(count: usize, worker: &Worker, target: &'static str) -> Line {
    let mib = resident_mib(worker.process.id());
    (format!("memory with {count} jobs running"), format!("{mib:.0} MiB"), target)
}
