//! The figures of one client on one load. No clock, no I/O.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::api_time::instant_ms;
use super::load::{Load, WINDOW_SECONDS, as_f64};
use super::world::{Client, Scene};

/// One row of the table. All times are API seconds.
#[derive(Clone, Debug)]
pub struct Row {
    pub load: Load,
    pub client: Client,
    /// From the first brief sent to the last record received.
    pub makespan_seconds: f64,
    /// The same, had each job started as early as the limit allows and each record come the moment its job ended.
    pub ideal_seconds: f64,
    /// When the first and the last job started, since the first brief was sent.
    pub starts_seconds: (f64, f64),
    /// Most jobs that ran at once.
    pub running_max: usize,
    /// From ended at the API to the record's arrival at a consumer.
    pub lag: Lag,
    /// When each record came since the beginning, and how late it was.
    pub lag_over_time: Vec<(f64, f64)>,
    pub rate_limited: f64,
    /// Requests that were sent, by kind.
    pub requests: BTreeMap<&'static str, f64>,
    /// Reads that were answered: refused ones are counted as 429.
    pub reads_per_container: f64,
    pub violations: Vec<String>,
}

/// How late records were, API seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lag {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Row {
    pub fn makespan_over_ideal(&self) -> f64 {
        self.makespan_seconds / self.ideal_seconds
    }
}

/// Computes the figures.
pub fn measure(load: &Load, client: Client, scene: &Scene) -> Row {
    let began_ms = scene.time.at(scene.began);
    let lag_over_time: Vec<(f64, f64)> = scene
        .arrivals
        .iter()
        .map(|arrival| {
            let at_ms = scene.time.at(arrival.at);
            ((at_ms - began_ms) / 1_000.0, (at_ms - arrival.ended_api_ms) / 1_000.0)
        })
        .collect();
    let requests = requests(&scene.account);
    let jobs = jobs(&scene.account);
    let started = |job: Option<&Job>| job.map_or(f64::NAN, |job| (job.started_ms - began_ms) / 1_000.0);
    Row {
        load: *load,
        client,
        makespan_seconds: lag_over_time.iter().map(|(at, _)| *at).fold(f64::NAN, f64::max),
        ideal_seconds: ideal_seconds(load, &jobs),
        starts_seconds: (started(jobs.first()), started(jobs.last())),
        running_max: running_max(&jobs),
        lag: lag(lag_over_time.iter().map(|(_, lag)| *lag).collect()),
        lag_over_time,
        rate_limited: number(&scene.account["rateLimited"]),
        reads_per_container: answered_reads(&scene.account) / number(&scene.account["containersMade"]),
        requests,
        violations: scene.violations.clone(),
    }
}

struct Job {
    started_ms: f64,
    ends_ms: f64,
}

/// In the order in which they were started.
fn jobs(account: &Value) -> Vec<Job> {
    let jobs = account["jobs"].as_array().into_iter().flatten();
    let mut jobs: Vec<Job> = jobs
        .map(|job| Job { started_ms: instant_ms(&job["startedAt"]), ends_ms: instant_ms(&job["endsAt"]) })
        .collect();
    jobs.sort_by(|one, other| one.started_ms.total_cmp(&other.started_ms));
    jobs
}

/// Every job as early as the limit allows, in the order in which they were started, and none of them found late.
fn ideal_seconds(load: &Load, jobs: &[Job]) -> f64 {
    let ends = jobs.iter().enumerate().map(|(index, job)| {
        as_f64(index / load.tier.starts) * WINDOW_SECONDS + (job.ends_ms - job.started_ms) / 1_000.0
    });
    ends.fold(f64::NAN, f64::max)
}

fn running_max(jobs: &[Job]) -> usize {
    let mut ends: Vec<f64> = jobs.iter().map(|job| job.ends_ms).collect();
    ends.sort_by(f64::total_cmp);
    let running =
        |(index, job): (usize, &Job)| index + 1 - ends.partition_point(|end| *end <= job.started_ms);
    jobs.iter().enumerate().map(running).max().unwrap_or(0)
}

/// The nearest rank.
fn lag(mut lags: Vec<f64>) -> Lag {
    lags.sort_by(f64::total_cmp);
    let rank = |percent: usize| {
        let place = (lags.len() * percent).div_ceil(100).max(1) - 1;
        lags.get(place).copied().unwrap_or(f64::NAN)
    };
    Lag { p50: rank(50), p95: rank(95), p99: rank(99), max: rank(100) }
}

fn requests(account: &Value) -> BTreeMap<&'static str, f64> {
    let (reads, posts) = (&account["reads"], &account["posts"]);
    let other = ["progress", "asset", "whoami", "credits"].iter().map(|kind| number(&reads[*kind])).sum();
    BTreeMap::from([
        ("start", number(&posts["generate"])),
        ("job", number(&reads["job"])),
        ("container", number(&reads["container"])),
        ("list", number(&reads["list"])),
        ("other read", other),
        ("429", number(&account["rateLimited"])),
    ])
}

/// All answers but those to starts and those that refused: only starts are answered with 202 here.
fn answered_reads(account: &Value) -> f64 {
    let answers = account["answers"].as_object().into_iter().flatten();
    answers
        .filter(|(status, _)| !["202", "429"].contains(&status.as_str()))
        .map(|(_, count)| number(count))
        .sum()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}
