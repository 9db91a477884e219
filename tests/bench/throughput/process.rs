//! What a process has used so far, from `/proc`.

use std::fs::read_to_string;

/// Ticks of the kernel's accounting in a second (`USER_HZ`), the same on every Linux that briefd runs on.
const TICKS: f64 = 100.0;

/// What one process used, for each brief.
#[derive(Debug)]
pub struct Usage {
    pub name: &'static str,
    /// Microseconds of CPU for each brief.
    pub cpu_us: f64,
    pub peak_mib: f64,
}

/// Seconds of CPU that a process has used, user and system.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name, which may hold anything: utime and stime are the 12th and 13th field behind it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks =
        |n: usize| fields.split_whitespace().nth(n).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

/// The most memory a process has held, MiB.
pub fn peak_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM:")
}

/// What a process holds now, MiB.
pub fn resident_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS:")
}

fn status_mib(pid: u32, name: &str) -> f64 {
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1_024.0
}
