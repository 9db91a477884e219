//! `rate_limit.json`: every figure, for machines.

use std::path::Path;

use serde_json::{Value, json};

use super::SPEED;
use super::machine::{command, machine, today};
use super::measure::Row;

/// Writes the file.
pub fn write(folder: &Path, rows: &[Row]) {
    let report = json!({
        "benchmark": "rate_limit",
        "command": command("rate_limit"),
        "date": today(),
        "machine": machine(),
        "apiSecondsPerSecond": SPEED,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    std::fs::write(folder.join("rate_limit.json"), format!("{report:#}\n"))
        .expect("target/bench can be written to");
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
