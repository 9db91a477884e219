//! `rate_limit.json`: every figure, for machines.

use std::path::{Path, PathBuf};

use briefd::clock::Clock;
use serde_json::{Value, json};

use super::SPEED;
use super::measure::Row;

/// `target/bench`, made if need be.
pub fn folder() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp is in target");
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).expect("target can be written to");
    folder
}

/// Writes the file.
pub fn write(folder: &Path, rows: &[Row]) {
    let report = json!({
        "benchmark": "rate_limit",
        "command": command(),
        "date": today(),
        "machine": machine(),
        "apiSecondsPerSecond": SPEED,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    std::fs::write(folder.join("rate_limit.json"), format!("{report:#}\n"))
        .expect("target/bench can be written to");
}

/// What was asked for.
pub fn command() -> String {
    let ours: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let profile = if cfg!(debug_assertions) { " --profile dev" } else { "" };
    let separator = if ours.is_empty() { "" } else { " -- " };
    format!("cargo bench{profile} --bench rate_limit{separator}{}", ours.join(" "))
}

/// The date, as the report and the table tell it.
pub fn today() -> String {
    Clock::system().now().strftime("%Y-%m-%d").to_string()
}

/// Processor and cores, for people who compare.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores, {}", model.map_or("unknown processor", |(_, name)| name.trim()))
}

fn row(row: &Row) -> Value {
    let targets = row.load.targets();
    let [p50, p95, p99] = targets.lag_seconds;
    json!({
        "client": row.client.name(),
        "tier": row.load.tier.name,
        "briefs": row.load.briefs,
        "variants": row.load.variants,
        "makespanSeconds": row.makespan_seconds,
        "idealSeconds": row.ideal_seconds,
        "makespanOverIdeal": row.makespan_over_ideal(),
        "firstStartSeconds": row.starts_seconds.0,
        "lastStartSeconds": row.starts_seconds.1,
        "runningMax": row.running_max,
        "lagSeconds": row.lag,
        "rateLimited": row.rate_limited,
        "readsPerContainer": row.reads_per_container,
        "requests": row.requests,
        "targets": {
            "makespanOverIdeal": targets.makespan_over_ideal,
            "lagSeconds": {"p50": p50, "p95": p95, "p99": p99},
            "rateLimited": targets.rate_limited,
            "readsPerContainer": targets.reads_per_container,
        },
        "violations": row.violations,
    })
}
