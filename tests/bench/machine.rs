//! Where benchmarks put their figures, and on which machine they were measured.

use std::path::{Path, PathBuf};

use briefd::clock::Clock;

/// `target/bench`, made if need be.
pub fn folder() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp is in target");
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).expect("target can be written to");
    folder
}

/// What was asked for.
pub fn command(bench: &str) -> String {
    let ours: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let profile = if cfg!(debug_assertions) { " --profile dev" } else { "" };
    let separator = if ours.is_empty() { "" } else { " -- " };
    format!("cargo bench{profile} --bench {bench}{separator}{}", ours.join(" "))
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
