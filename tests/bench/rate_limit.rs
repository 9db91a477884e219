//! How close to the API's rate limit the worker lives, and what a client with the documented poll loop makes of the
//! same limit.
//!
//! Everything is real but the API: `briefd run` and `briefd sandbox` as processes, a private RabbitMQ node in between,
//! the documented limits of each tier. API time runs [`SPEED`] times as fast as ours, and with it every interval of
//! briefd that belongs to the API's pace; what belongs to this machine (commits, confirms, wake-ups) does not, so it
//! counts [`SPEED`] times in the figures.
//!
//! Prints one table, writes `rate_limit.json` and `rate_limit.svg` to `target/bench`. A slow machine fails nothing; the
//! exit code is 1 if something was lost or bought twice.

#![expect(unreachable_pub, reason = "a benchmark has no outside; `pub` is what a module shows to the others")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark without its parts fails by a panic, and its result goes to standard output"
)]

#[path = "rate_limit/api_time.rs"]
mod api_time;
#[path = "rate_limit/load.rs"]
mod load;
mod machine;
#[path = "rate_limit/measure.rs"]
mod measure;
#[path = "rate_limit/plot.rs"]
mod plot;
#[path = "rate_limit/poll_loop.rs"]
mod poll_loop;
#[path = "rate_limit/received.rs"]
mod received;
#[path = "rate_limit/report.rs"]
mod report;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the tests stand on; a benchmark needs a part of it")]
mod support;
#[path = "rate_limit/table.rs"]
mod table;
#[path = "rate_limit/world.rs"]
mod world;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use self::load::Load;
use self::measure::Row;
use self::support::node::Node;
use self::world::Client;

/// API seconds in one of ours.
const SPEED: f64 = 20.0;

/// Violations that are shown for each run; `rate_limit.json` has all.
const SHOWN: usize = 20;

/// How close to the API's rate limit the worker lives, beside the documented poll loop.
#[derive(Debug, clap::Parser)]
#[command(name = "rate_limit")]
struct Args {
    /// The standard tier only
    #[arg(long)]
    quick: bool,
    /// So many briefs at most in each load, to try the benchmark itself
    #[arg(long, value_name = "N")]
    briefs: Option<usize>,
    /// Only loads whose name contains this, such as "partner" or "5000x1"
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn loads(&self) -> Vec<Load> {
        let mut loads = Load::all();
        loads.retain(|load| !self.quick || load.tier == load::STANDARD);
        for load in &mut loads {
            load.briefs = load.briefs.min(self.briefs.unwrap_or(usize::MAX)).max(1);
        }
        loads.retain(|load| self.only.as_ref().is_none_or(|only| load.name().contains(only)));
        loads
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut rows = Vec::new();
    // Whichever ends first, all that was started ends with it: processes, queues, the node.
    let interrupted = tokio::select! {
        () = run_all(args.loads(), &mut rows) => None,
        code = interrupted() => Some(code),
    };
    // What was measured before a signal stays of use.
    let code = conclude(&rows);
    match interrupted {
        None => code,
        Some(code) => {
            println!("INTERRUPTED: the loads that are missing were not measured");
            ExitCode::from(code)
        }
    }
}

/// 128 and the signal's number, when one comes.
async fn interrupted() -> u8 {
    let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be awaited");
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be awaited");
    tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    }
}

async fn run_all(loads: Vec<Load>, rows: &mut Vec<Row>) {
    let node = Node::start().await;
    for load in loads {
        for client in [Client::Briefd, Client::PollLoop] {
            if client == Client::PollLoop && !load.with_poll_loop {
                continue;
            }
            let took = load.ideal_guess_seconds() / SPEED;
            eprintln!("{}, {}: about {took:.0} s …", load.name(), client.name());
            let scene = world::play(node.url(), &load, client).await;
            let row = measure::measure(&load, client, &scene);
            for violation in row.violations.iter().take(SHOWN) {
                eprintln!("  {violation}");
            }
            rows.push(row);
        }
    }
}

fn conclude(rows: &[Row]) -> ExitCode {
    let folder = machine::folder();
    println!("{}, {}, {}\n", machine::command("rate_limit"), machine::today(), machine::machine());
    print!("{}", table::render(rows));
    report::write(&folder, rows);
    plot::draw(&folder.join("rate_limit.svg"), rows).expect("the plot can be drawn");
    println!("\nwritten: {0}/rate_limit.json, {0}/rate_limit.svg", folder.display());
    let broken = rows.iter().map(|row| row.violations.len()).sum::<usize>();
    if broken > 0 {
        println!("FAILED: {broken} violations: something was lost, bought twice, or is not over; see above");
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}
