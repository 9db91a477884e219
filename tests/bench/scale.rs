//! How the worker grows: memory and start with many jobs running, speed with many briefs finished, bytes for each, and
//! what it costs when there is nothing to do.
//!
//! Everything is real but the API, which is the sandbox in a process of its own. The finished briefs are copies of ones
//! that a worker has brought to their end.
//!
//! Prints one table and writes `scale.json` to `target/bench`. A slow machine fails nothing; the exit code is 1 if
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
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the tests stand on; a benchmark needs a part of it")]
mod support;
#[path = "throughput/worker.rs"]
#[allow(dead_code, reason = "the same")]
mod worker;

use std::process::ExitCode;

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
    #[arg(long)]
    quick: bool,
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
    let share = if args.quick { 20 } else { 1 };
    let node = Node::start().await;
    let mut lines: Vec<Line> = Vec::new();
    lines.extend(running::measure(node.url(), &[1_000, 10_000, 100_000].map(|n| n / share)).await);
    let (more, violations) = finished::measure(node.url(), 10_000 / share, 1_000_000 / share).await;
    lines.extend(more);
    lines.extend(idle::measure(node.url()).await);

    println!("{}, {}, {}\n", machine::command("scale"), machine::today(), machine::machine());
    for (name, value, target) in &lines {
        println!("| {name:<52} | {value:>10} | {target:<10} |");
    }
    let figures: Value = lines.iter().map(|(name, value, _)| (name.clone(), json!(value))).collect();
    let report = json!({
        "benchmark": "scale", "command": machine::command("scale"), "date": machine::today(),
        "machine": machine::machine(), "figures": figures, "violations": violations,
    });
    let path = machine::folder().join("scale.json");
    std::fs::write(&path, format!("{report:#}\n")).expect("target/bench can be written to");
    println!("\nwritten: {}", path.display());
    if violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    violations.iter().take(20).for_each(|violation| println!("  {violation}"));
    println!("FAILED: {} violations", violations.len());
    ExitCode::from(1)
}
