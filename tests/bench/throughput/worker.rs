//! The worker: briefs that wait in the queue, until every record is confirmed.

use std::path::Path;
use std::time::{Duration, Instant};

use briefd::ledger::Reader;
use serde_json::{Value, json};

use super::Rate;
use super::broker::{channel, fill};
use super::process::{Usage, cpu_seconds, peak_mib};
use super::support::Variable;
use super::support::broker::TestBroker;
use super::support::node::Node;
use super::support::process::{SandboxProcess, Worker};

/// No rate limit, no generation time.
pub const SANDBOX: [&str; 6] = ["--tier", "unlimited", "--min-seconds", "0", "--max-seconds", "0"];
/// A run that takes longer is given up.
const PATIENCE: Duration = Duration::from_mins(10);
const STOP: Duration = Duration::from_secs(30);
/// How often it is looked whether all is done.
const LOOK: Duration = Duration::from_millis(50);

/// What a run showed.
pub struct Measured {
    pub rate: Rate,
    pub commits: f64,
    pub rows_per_commit: f64,
    pub requests_per_brief: f64,
    pub usage: Vec<Usage>,
    pub violations: Vec<String>,
}

impl Measured {
    /// What several runs of as many briefs showed, each figure their mean; of memory the most.
    pub fn mean(runs: Vec<Self>) -> Self {
        let rates: Vec<Rate> = runs.iter().map(|run| run.rate).collect();
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let mean = |of: &dyn Fn(&Self) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        let usage = |(n, first): (usize, &Usage)| Usage {
            name: first.name,
            cpu_us: mean(&|run| run.usage[n].cpu_us),
            peak_mib: runs.iter().map(|run| run.usage[n].peak_mib).fold(0.0, f64::max),
        };
        Self {
            rate: Rate::of_all(&rates),
            commits: mean(&|run| run.commits),
            rows_per_commit: mean(&|run| run.rows_per_commit),
            requests_per_brief: mean(&|run| run.requests_per_brief),
            usage: runs[0].usage.iter().enumerate().map(usage).collect(),
            violations: runs.into_iter().flat_map(|run| run.violations).collect(),
        }
    }
}

/// Runs `count` briefs through a worker.
pub async fn measure(node: &Node, count: usize, dir: &Path) -> Measured {
    measure_from(node, (0, count), dir).await
}

/// The same with briefs that are numbered from `first` on.
pub async fn measure_from(node: &Node, (first, count): (usize, usize), dir: &Path) -> Measured {
    let broker = TestBroker::connect_to(node.url().to_owned()).await;
    let sandbox = SandboxProcess::spawn(&SANDBOX).await;
    let mut variables = variables(&broker, &sandbox);
    variables.push(("BRIEFD__TRACK__POLL_INITIAL", LOOK_AFTER.to_owned()));
    variables.push(("BRIEFD__TRACK__SWEEP_INTERVAL", LOOK_AFTER.to_owned()));
    // Once without work: its queues are there, and what a first start does is done.
    stop(start(dir, &variables).await).await;
    let bodies: Vec<Vec<u8>> = (first..first + count).map(|n| brief(n).to_string().into_bytes()).collect();
    fill(&channel(node.url()).await, broker.name("briefs").as_str(), "brief", &bodies).await;

    let others = [("the sandbox", sandbox.process.id()), ("RabbitMQ", node.process_id())];
    let before = others.map(|(_, pid)| cpu_seconds(pid));
    let began = Instant::now();
    let worker = start(dir, &variables).await;
    let all = f64::from(u32::try_from(count).expect("a count of a benchmark"));
    loop {
        let done = worker.series("briefd_records_published_total{type=\"container.completed\"}").await;
        if done >= all {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{done} of {count} records after {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
    let rate = Rate { count, took: began.elapsed() };
    let usage = |(name, pid): (&'static str, u32), before: f64| Usage {
        name,
        cpu_us: (cpu_seconds(pid) - before) * 1e6 / all,
        peak_mib: peak_mib(pid),
    };
    let mut usages = vec![usage(("briefd", worker.process.id()), 0.0)];
    usages.extend(others.into_iter().zip(before).map(|(other, before)| usage(other, before)));
    let commits = worker.series("briefd_ledger_commit_rows_count").await;
    let rows = worker.series("briefd_ledger_commit_rows_sum").await;
    let requests = requests(&worker.metrics().await);
    stop(worker).await;
    let account = sandbox.account_summary().await;
    let mut violations = imbalance(dir).await;
    if account["jobsMade"] != json!(count) {
        violations.push(format!("{} jobs for {count} briefs", account["jobsMade"]));
    }
    let records = broker.count("records").await;
    if records != count {
        violations.push(format!("{records} records for {count} briefs"));
    }
    Measured {
        rate,
        commits,
        rows_per_commit: rows / commits,
        requests_per_brief: requests / all,
        usage: usages,
        violations,
    }
}

/// `submit.concurrency`: as many POSTs at once as an API without a rate limit is worth; the built-in 32 are for one that
/// has a limit.
const CONCURRENCY: &str = "256";

/// `track.poll_initial` and `track.sweep_interval`: the built-in seconds are for jobs that take minutes, and for an API that
/// counts reads.
const LOOK_AFTER: &str = "1s";

/// What does not add up in the ledger of a worker that has stopped; its own gauge was counted when it started.
pub async fn imbalance(dir: &Path) -> Vec<String> {
    let ledger = Reader::open(&dir.join("briefd.db")).await.expect("there is a ledger");
    ledger.imbalance().await.expect("it can be counted").lines
}

/// The built-in settings, but for an API without a rate limit.
pub fn variables(broker: &TestBroker, sandbox: &SandboxProcess) -> Vec<Variable> {
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__LAYERS__TIER", "unlimited".to_owned()));
    variables.push(("BRIEFD__SUBMIT__CONCURRENCY", CONCURRENCY.to_owned()));
    variables.push(("BRIEFD__LOG__LEVEL", "warn".to_owned()));
    variables
}

pub async fn start(dir: &Path, variables: &[Variable]) -> Worker {
    let mut worker = Worker::spawn(dir, variables);
    worker.wait_ready().await;
    worker
}

pub async fn stop(mut worker: Worker) {
    worker.process.sigterm();
    let status = worker.process.wait_exit(STOP).await;
    assert!(status.success(), "{status}: {}", worker.process.stderr());
}

pub fn brief(n: usize) -> Value {
    json!({
        "projectId": format!("project-{}", n % 3), "batchId": "throughput", "briefId": format!("brief-{n}"),
        "format": "video_remix",
        "brief": {"hook": format!("Three things nobody tells you about shoe number {n}"), "topic": "running shoes"},
        "targetPlatforms": ["tiktok"], "metadata": {"cmsId": n},
    })
}

/// All requests to the API, whatever became of them.
pub fn requests(metrics: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with("briefd_api_requests_total{"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
