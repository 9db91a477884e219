//! How fast the engine is: no rate limit, no generation time.
//!
//! Thousands of briefs wait in a quorum queue; the worker takes, starts, follows and publishes them, until every record is
//! confirmed. Everything is real but the API, which is the sandbox in a process of its own. For scale the same run
//! measures its parts alone, on the same machine at the same time: the broker (consume, publish with confirms,
//! acknowledge, with the same client library), the ledger, the API.
//!
//! Prints one table and writes `throughput.json` to `target/bench`. A slow machine fails nothing; the exit code is 1 if
//! something was lost or bought twice.

#![expect(unreachable_pub, reason = "a benchmark has no outside; `pub` is what a module shows to the others")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark without its parts fails by a panic, and its result goes to standard output"
)]

#[path = "throughput/api.rs"]
mod api;
#[path = "throughput/broker.rs"]
mod broker;
#[path = "throughput/ledger.rs"]
mod ledger;
mod machine;
#[path = "throughput/process.rs"]
#[allow(dead_code, reason = "what `scale` measures with, too")]
mod process;
#[path = "throughput/rate.rs"]
mod rate;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the tests stand on; a benchmark needs a part of it")]
mod support;
#[path = "throughput/worker.rs"]
mod worker;

use std::process::ExitCode;

use clap::Parser as _;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::rate::Rate;
use self::support::node::Node;
use self::worker::Measured;

/// How fast the engine is, and its parts alone.
#[derive(Debug, clap::Parser)]
#[command(name = "throughput")]
struct Args {
    /// Briefs that wait in the queue
    #[arg(long, default_value_t = 20_000)]
    briefs: usize,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// Times that the briefs pass through a worker, each with the broker alone before and after it.
const ROUNDS: usize = 5;

async fn broker_alone(node: &Node, args: &Args) -> Rate {
    eprint!("the broker alone …");
    // What was measured before would else still be on its way to the disk.
    rustix::fs::sync();
    let rate = broker::measure(node.url(), args.briefs * 2).await;
    eprintln!(" {:.0} messages a second", rate.per_second());
    rate
}

async fn worker(node: &Node, args: &Args) -> Measured {
    eprint!("the worker: {} briefs …", args.briefs);
    // On the disk that holds target/, since a /tmp in memory would flatter the ledger.
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("target/tmp can be written to");
    rustix::fs::sync();
    let measured = worker::measure(node, args.briefs, dir.path()).await;
    eprintln!(" {:.0} a second", measured.rate.per_second());
    measured
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let node = Node::start().await;
    // In turns, since a machine is not equally fast all the time.
    let mut brokers = vec![broker_alone(&node, &args).await];
    let mut workers = Vec::new();
    for _ in 0..ROUNDS {
        workers.push(worker(&node, &args).await);
        brokers.push(broker_alone(&node, &args).await);
    }
    let (worker, broker) = (Measured::mean(workers), Rate::of_all(&brokers));
    eprintln!("the ledger alone …");
    let ledger = ledger::measure(args.briefs).await;
    eprintln!("the API alone …");
    let api = api::measure(args.briefs.min(5_000)).await;

    println!("{}, {}, {}\n", machine::command("throughput"), machine::today(), machine::machine());
    let ratio = worker.rate.per_second() / broker.per_second();
    let mut lines = vec![
        ("briefs a second".to_owned(), format!("{:.0}", worker.rate.per_second()), "≥ 2,000"),
        ("÷ broker alone".to_owned(), format!("{ratio:.3}"), "≥ 0.15"),
        ("broker alone, messages a second".to_owned(), format!("{:.0}", broker.per_second()), ""),
        (
            "ledger alone, briefs a second".to_owned(),
            format!("{:.0}", ledger.settled.per_second()),
            "≥ 8,000",
        ),
        ("ledger alone, sent marks a second".to_owned(), format!("{:.0}", ledger.published.per_second()), ""),
        ("API alone, briefs a second".to_owned(), format!("{:.0}", api.per_second()), ""),
        ("rows a commit".to_owned(), format!("{:.0}", worker.rows_per_commit), ""),
        ("commits".to_owned(), format!("{:.0}", worker.commits), ""),
        ("requests a brief".to_owned(), format!("{:.2}", worker.requests_per_brief), ""),
    ];
    for usage in &worker.usage {
        let target = if usage.name == "briefd" { "aim ≤ 250 µs" } else { "" };
        lines.push((format!("CPU of {} a brief", usage.name), format!("{:.0} µs", usage.cpu_us), target));
        lines.push((format!("peak memory of {}", usage.name), format!("{:.0} MiB", usage.peak_mib), ""));
    }
    for (name, value, target) in &lines {
        println!("| {name:<33} | {value:>10} | {target:<12} |");
    }
    let figures: Value = lines.iter().map(|(name, value, _)| (name.clone(), json!(value))).collect();
    let report = json!({
        "benchmark": "throughput", "command": machine::command("throughput"), "date": machine::today(),
        "machine": machine::machine(), "briefs": args.briefs, "figures": figures, "violations": worker.violations,
    });
    let path = machine::folder().join("throughput.json");
    std::fs::write(&path, format!("{report:#}\n")).expect("target/bench can be written to");
    println!("\nwritten: {}", path.display());
    if worker.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    for violation in worker.violations.iter().take(20) {
        println!("  {violation}");
    }
    println!("FAILED: {} violations", worker.violations.len());
    ExitCode::from(1)
}
