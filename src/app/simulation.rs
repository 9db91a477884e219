//! Random lives of a worker: the real stages over a real ledger, the real client against the simulator, under a clock
//! that moves only when told to. Whatever happens on the way, in the end every promise has been kept.
//!
//! A life is a list of [`ops`](ops::Op) that proptest makes from a number, and shortens when it fails. It is replayed by that
//! number: `BRIEFD_SEED=17 BRIEFD_LISTS=1 cargo test simulation`. `BRIEFD_MINUTES` ends a long run early.
//!
//! - `ops`: what can happen, and how often; `scenes`: what rarely comes together by chance; `world`: what it happens to;
//!   `operator`, `untrue`: who does it; `ends`: the broker; `process`: one worker, whose stages take one step at a time and
//!   may die in the middle of it.
//! - `parked`: whether a person had to be asked; all holds but those that are an operator's to lift go by themselves.
//! - `judge`: what must be true in the end, and evidence that is not true, for each promise. It is not the checker of `tests/it/support`: that one is told which runs there
//!   must be and judges messages as AMQP carries them, and nobody can tell that of a random life. This one knows the whole
//!   world instead: each message that was sent, what the API told wrongly and for how long.
//! - `statements`: how the ledger answers whatever is asked in such lives.
//! - `races`: lives that are written down, each a race by name, or a bug that was found here.
//!
//! # What it catches
//! Each of these breaks was made on purpose, and was red within the lists of a normal run:
//! - a POST is repeated at once, under another key, with other bytes, after the key's 23 hours, or key-only under another
//!   API key; an answer that was lost, or a crash, counts as harmless;
//! - a refusal after a lost answer is believed at once, after one look-up, after two without a pause, or although look-ups
//!   by our id never work;
//! - a rerun does not read first, buys what is completed or runs, takes all containers, or believes one 404;
//! - after a rerun the container's end from before it is taken for its own, or so is anything where that was not seen;
//! - a job decides against its container at once; a late result is dropped, or not counted;
//! - an unroutable or unconfirmed message counts as sent; a message is acknowledged before it is committed;
//! - a cancel ends what may have been bought; an empty wallet fails briefs;
//! - a rerun is taken for a duplicate, is remembered and never started, or runs one of its containers only; a row of a plan
//!   is left out for no reason, or counts as started without a run;
//! - whatever a look-up does not find is parked, or parked at the first one; a 402's hold is never lifted;
//! - a brief is pruned before its records have left.
//!
//! Not caught here: patience that counts outages (`stages/track/patience.rs`); siblings that are never asked for (they may
//! stay unnamed, `stages/submit/tests/siblings.rs`); a late result of a type that was published already (the ledger refuses
//! a second message of one id).
//!
//! Not here: rate limits (`layers/limits/tests`), a real broker and real processes (`tests/it`).

mod ends;
mod judge;
mod operator;
mod ops;
mod parked;
mod process;
mod races;
mod scenes;
mod statements;
mod untrue;
mod world;

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::strategy::Strategy as _;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use self::ops::{Op, Switches};
use self::scenes::life;
use self::world::World;

/// Lists in a run that does not say how many.
const LISTS: u64 = 1_000;
/// The number of the first one.
const SEED: u64 = 1;
/// Longest that it goes on taking another one.
const MINUTES: u64 = 60;
/// How far a long run is, is told every so many lists.
const TOLD_EVERY: u64 = 1_000;
/// Lives that shortening a list may cost.
const SHRINKS: u32 = 400;

/// One life from its begin to the judgment.
fn live(switches: &Switches, ops: &[Op]) -> Result<(), String> {
    let mut world = World::new(switches);
    for op in ops {
        world.happen(op)?;
    }
    // What never ends is judged as well: what keeps it from ending may be another promise that is broken.
    let unending = world.calm().err();
    let wrong: Vec<_> = unending.into_iter().chain(judge::violations(&world)).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n  ")) }
}

/// Lives the list of this number; says what was wrong, with the shortest list that shows it.
fn live_numbered(seed: u64) -> Result<(), String> {
    let mut runner = runner(seed);
    let tree = life().new_tree(&mut runner).map_err(|reason| reason.to_string())?;
    let ended = runner.run_one(tree, |(switches, ops)| live(&switches, &ops).map_err(TestCaseError::fail));
    match ended {
        Ok(_) => Ok(()),
        Err(TestError::Fail(why, (switches, ops))) => {
            Err(format!("{why}\n  in {switches:?}\n  after {ops:#?}"))
        }
        Err(TestError::Abort(why)) => Err(why.to_string()),
    }
}

/// Draws the list of this number.
fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { failure_persistence: None, max_shrink_iters: SHRINKS, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text}")),
        Err(_) => default,
    }
}

/// Tells figures in a line on standard error. What a test that passes prints is not seen; this is.
fn tell(figures: &str) {
    // An error says that nobody listens.
    drop(std::io::stderr().write_all(format!("simulation: {figures}\n").as_bytes()));
}

#[test]
fn simulation_of_random_lives_in_which_every_promise_is_kept() {
    let (first, lists) = (number("BRIEFD_SEED", SEED), number("BRIEFD_LISTS", LISTS));
    let minutes = number("BRIEFD_MINUTES", MINUTES);
    tell(&format!("BRIEFD_SEED={first} BRIEFD_LISTS={lists}"));
    let (began, next, failed) = (Instant::now(), AtomicU64::new(0), Mutex::new(Vec::new()));
    // A life waits for its own ledger and API a good part of its time.
    let threads = 2 * std::thread::available_parallelism().map_or(1, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let late = began.elapsed() >= Duration::from_mins(minutes);
                    if n >= lists || late || !failed.lock().unwrap().is_empty() {
                        return;
                    }
                    if n > 0 && n % TOLD_EVERY == 0 {
                        tell(&format!("{n} lists began, {:.0} s", began.elapsed().as_secs_f64()));
                    }
                    let seed = first.wrapping_add(n);
                    if let Err(why) = live_numbered(seed) {
                        failed.lock().unwrap().push(format!("BRIEFD_SEED={seed} BRIEFD_LISTS=1: {why}"));
                    }
                }
            });
        }
    });
    let lived = next.into_inner().min(lists);
    tell(&format!("{lived} lists lived, {:.0} s", began.elapsed().as_secs_f64()));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
