//! How the worker grows: memory and start with many jobs running, speed with many briefs finished, bytes for each, and
//! what it costs when there is nothing to do.
//!
//! Everything is real but the API, which is the sandbox in a process of its own. The finished briefs are copies of ones
//! that a worker has brought to their end.
//!
//! With `--soak` it is something else that grows: time. The worker is kept at full speed for so long, and looked at every
//! ten seconds.
//!
//! Prints one table and writes `scale.json` (or `soak.json`) to `target/bench`. A slow machine fails nothing; the exit code is 1 if
//! something was lost or bought twice.

#![expect(unreachable_pub, reason = "a benchmark has no outside; `pub` is what a module shows to the others")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark without its parts fails by a panic, and its result goes to standard output"
)]

#[path = "throughput/broker.rs"]
#[allow(dead_code, reason = "what `throughput` measures; this benchmark needs a part of it")]
mod broker;
#[path = "scale/finished.rs"]
mod finished;
#[path = "scale/idle.rs"]
mod idle;
mod machine;
#[path = "throughput/process.rs"]
#[allow(dead_code, reason = "the same")]
mod process;
#[path = "throughput/rate.rs"]
mod rate;
#[path = "scale/running.rs"]
mod running;
#[path = "scale/soak.rs"]
mod soak;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the tests stand on; a benchmark needs a part of it")]
mod support;
#[path = "throughput/worker.rs"]
#[allow(dead_code, reason = "the same")]
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::rate::Rate;
use self::support::node::Node;

/// How the worker grows.
#[derive(Debug, clap::Parser)]
#[command(name = "scale")]
struct Args {
    /// A twentieth of everything
    #[arg(long, conflicts_with_all = ["jobs", "finished", "soak"])]
    quick: bool,
    /// How many jobs run when the memory is looked at
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    jobs: Vec<usize>,
    /// How many briefs are finished when others pass
    #[arg(long, default_value_t = 1_000_000)]
    finished: usize,
    /// Only this: full speed for so long, say 10m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    soak: Option<Duration>,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// One line of the table: what, how much, and what must be reached.
pub type Line = (String, String, &'static str);

/// On the disk that holds target/, since a /tmp in memory would flatter the ledger.
pub fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("target/tmp can be written to")
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let node = Node::start().await;
    let mut lines: Vec<Line> = Vec::new();
    let (mut samples, mut violations) = (Vec::new(), Vec::new());
    if let Some(length) = args.soak {
        let soaked = soak::measure(node.url(), length).await;
        lines.extend(soaked.lines);
        (samples, violations) = (soaked.samples, soaked.violations);
    } else {
        let share = if args.quick { 20 } else { 1 };
        let jobs: Vec<usize> = args.jobs.iter().map(|n| n / share).collect();
        lines.extend(running::measure(node.url(), &jobs).await);
        let finished = args.finished / share;
        let (more, found) = finished::measure(&node, finished.min(20_000 / share), finished).await;
        lines.extend(more);
        violations.extend(found);
        lines.extend(idle::measure(node.url()).await);
    }

    println!("{}, {}, {}\n", machine::command("scale"), machine::today(), machine::machine());
    for (name, value, target) in &lines {
        println!("| {name:<52} | {value:>10} | {target:<10} |");
    }
    let figures: Value = lines.iter().map(|(name, value, _)| (name.clone(), json!(value))).collect();
    let name = if args.soak.is_some() { "soak" } else { "scale" };
    let report = json!({
        "benchmark": name, "command": machine::command("scale"), "date": machine::today(),
        "machine": machine::machine(), "figures": figures, "samples": samples,
        "violations": violations,
    });
    let path = machine::folder().join(format!("{name}.json"));
    std::fs::write(&path, format!("{report:#}\n")).expect("target/bench can be written to");
    println!("\nwritten: {}", path.display());
    if violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    violations.iter().take(20).for_each(|violation| println!("  {violation}"));
    println!("FAILED: {} violations", violations.len());
    ExitCode::from(1)
}
