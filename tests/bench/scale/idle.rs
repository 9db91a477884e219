//! Nothing to do: what that costs.

use std::time::Duration;

use super::process::cpu_seconds;
use super::support::broker::TestBroker;
use super::support::process::SandboxProcess;
use super::worker::{SANDBOX, requests, start, stop, variables};
use super::{Line, folder};

/// What a start does is over by then.
const SETTLE: Duration = Duration::from_secs(5);
const WATCH: Duration = Duration::from_secs(30);

/// Watches a worker that waits for its first brief.
pub async fn measure(url: &str) -> Vec<Line> {
    eprintln!("idle …");
    let broker = TestBroker::connect_to(url.to_owned()).await;
    let sandbox = SandboxProcess::spawn(&SANDBOX).await;
    let dir = folder();
    let worker = start(dir.path(), &variables(&broker, &sandbox)).await;
    tokio::time::sleep(SETTLE).await;
    let (cpu, asked) = (cpu_seconds(worker.process.id()), requests(&worker.metrics().await));
    tokio::time::sleep(WATCH).await;
    let cpu = (cpu_seconds(worker.process.id()) - cpu) / WATCH.as_secs_f64() * 100.0;
    let asked = (requests(&worker.metrics().await) - asked) * 60.0 / WATCH.as_secs_f64();
    stop(worker).await;
    vec![
        ("idle: CPU, of one core".to_owned(), format!("{cpu:.1} %"), "< 1 %"),
        ("idle: requests to the API a minute".to_owned(), format!("{asked:.0}"), "0"),
    ]
}
