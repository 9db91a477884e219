//! Dies at every step once: the real program is let die at each named place (`src/crash_point.rs`), is started again,
//! and goes on to the end with a real broker and a simulated API. The checker judges what is left.
//!
//! The list of places is read from the sources, so that a new step is in the matrix the moment it is written, and fails
//! it until the scene reaches it. `tests/run --long` dies twice: at every pair of places.

#![expect(
    unreachable_pub,
    reason = "a test binary has no outside; `pub` is what a module shows to the others"
)]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by a panic")]

mod pairs;
mod places;
mod scene;
mod steps;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, reason = "what only the other test binary needs")]
mod support;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::support::tell;

/// Scenes that run beside each other: most of their time they wait.
const AT_ONCE: usize = 10;
/// How far a long run is, is told every so many scenes.
const TOLD_EVERY: usize = 250;
/// Bound of waits for one step of a scene.
const PATIENCE: Duration = Duration::from_mins(2);

/// How often, and where, the program dies in one scene.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Each in its own life: place, and at which hit of it in that life.
    pub kills: Vec<(String, u32)>,
    /// A place that is not reached is a mistake.
    pub must_hit: bool,
}

/// Runs all plans and fails with everything that went wrong. Returns how many deaths there were.
pub fn run_all(plans: Vec<Plan>) -> usize {
    let (began, count) = (Instant::now(), plans.len());
    let plans = Mutex::new(plans.into_iter().enumerate());
    let next = || plans.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (deaths, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                while let Some((index, plan)) = next() {
                    if index > 0 && index % TOLD_EVERY == 0 {
                        tell(
                            "crash",
                            &format!(
                                "{index} of {count} scenes began, {:.0} s",
                                began.elapsed().as_secs_f64()
                            ),
                        );
                    }
                    match play(plan.clone()) {
                        Ok(hit) => drop(deaths.fetch_add(hit, Ordering::Relaxed)),
                        Err(what) => {
                            let what = format!("{:?}: {what}", plan.kills);
                            eprintln!("{what}");
                            wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
                        }
                    }
                }
            });
        }
    });
    let (deaths, wrong) = (deaths.into_inner(), wrong.into_inner().unwrap_or_else(PoisonError::into_inner));
    tell("crash", &format!("{count} scenes, {deaths} deaths, {:.0} s", began.elapsed().as_secs_f64()));
    assert!(wrong.is_empty(), "{} of {count} scenes went wrong:\n\n{}", wrong.len(), wrong.join("\n\n"));
    deaths
}

/// One scene in a runtime of its own; a panic is what is wrong with this one only.
fn play(plan: Plan) -> Result<usize, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let playing = || runtime.block_on(Box::pin(scene::run(plan)));
    std::panic::catch_unwind(AssertUnwindSafe(playing)).unwrap_or_else(|panic| Err(said(panic)))
}

/// What a panic said.
fn said(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or("it panicked", |text| *text).to_owned(),
    }
}

/// Places that are tried; `BRIEFD_TEST_CRASH_ONLY` names a part of those that are wanted.
fn wanted() -> Vec<String> {
    let only = std::env::var("BRIEFD_TEST_CRASH_ONLY").unwrap_or_default();
    let reachable = places::all().into_iter().filter(|place| places::elsewhere(place).is_none());
    reachable.filter(|place| place.contains(&only)).collect()
}

#[test]
fn a_death_at_any_place_neither_loses_nor_buys_again() {
    let plans = wanted().into_iter().map(|place| Plan { kills: vec![(place, 1)], must_hit: true });
    run_all(plans.collect());
}
