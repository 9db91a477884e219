//! Races in which hours pass, each as one fixed life: whoever is first, nothing is bought twice and nothing is lost.

mod held;
mod lost_ledger;
mod unheard;

use std::collections::BTreeMap;

use super::judge;
use super::ops::{Change, LAG_SECONDS_MAX, Op, SLOW_SECONDS, Switches, Wish};
use super::scenes::{ask, start};
use super::world::World;
use crate::sandbox::ContainerIds;
use crate::sandbox::gate::{Lag, Post};

/// The simulator as it is documented.
pub(super) fn plain() -> Switches {
    Switches {
        overlap_makes_two: true,
        container_ids: ContainerIds::Ours,
        names_first_container_only: false,
        list_lag_seconds: 0,
        replay_billing: true,
        replay_refusals: true,
        validates_first: false,
        serves_account_endpoints: true,
        fail_share: 0.0,
        running_cap: None,
        send_container_id: true,
        concurrency: 3,
        give_up_hours: 2,
    }
}

/// What was bought in a life, and what was told of it.
struct Lived {
    /// Jobs, by kind.
    jobs: BTreeMap<String, usize>,
    /// Run, type and code of each record, by run; repeats left out.
    told: Vec<(u64, String, String)>,
    /// Decisions that a person had to make.
    resolved: u64,
}

impl Lived {
    fn of(world: &World) -> Self {
        let mut jobs = BTreeMap::new();
        for job in world.sandbox.account().jobs {
            *jobs.entry(job.kind).or_default() += 1;
        }
        let mut told: Vec<_> =
            judge::records(world).into_iter().map(|it| (it.run, it.kind, it.code)).collect();
        told.sort();
        told.dedup();
        Self { jobs, told, resolved: world.resolved }
    }
}

/// Lives to the end, and is judged.
#[track_caller]
fn lived(switches: &Switches, ops: &[Op]) -> Lived {
    let mut world = World::new(switches);
    live_on(&mut world, ops);
    assert_eq!(judge::violations(&world), [""; 0]);
    Lived::of(&world)
}

#[track_caller]
pub(super) fn live_on(world: &mut World, ops: &[Op]) {
    for op in ops {
        world.happen(op).unwrap();
    }
    world.calm().unwrap();
}

fn told(run: u64, kind: &str, code: &str) -> (u64, String, String) {
    (run, kind.to_owned(), code.to_owned())
}

/// A brief of one variant, sent and given up while it runs.
fn given_up() -> Vec<Op> {
    let mut ops = start(0, Wish::Seconds(SLOW_SECONDS), Vec::new());
    ops.push(Op::Follow { seconds: 3_800, times: 16 });
    ops.push(Op::Publish(Vec::new()));
    ops
}

fn asked_again() -> Vec<Op> {
    ask(0, 2, Wish::Seconds(SLOW_SECONDS), vec![Vec::new(), Vec::new()])
}

#[test]
fn a_rerun_of_what_was_given_up_and_still_runs_follows_it_and_is_free() {
    let lived = lived(&plain(), &[given_up(), asked_again()].concat());
    assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into());
    let lost = told(1, "container.failed", "GENERATION_LOST");
    assert_eq!(lived.told, [lost, told(2, "container.completed", "")]);
}

#[test]
fn a_rerun_that_comes_before_the_late_result_was_seen_publishes_it_and_is_free() {
    let lived = lived(&plain(), &[given_up(), vec![Op::Advance(SLOW_SECONDS)], asked_again()].concat());
    assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into());
    let lost = told(1, "container.failed", "GENERATION_LOST");
    assert_eq!(lived.told, [lost, told(2, "container.completed", "")]);
}

#[test]
fn a_rerun_that_comes_after_the_late_result_publishes_that_again_and_is_free() {
    let late = vec![Op::Follow { seconds: 7_200, times: 24 }];
    let lived = lived(&plain(), &[given_up(), late, asked_again()].concat());
    assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into());
    let completed = told(1, "container.completed", "");
    assert_eq!(lived.told, [completed, told(1, "container.failed", "GENERATION_LOST")]);
}

#[test]
fn a_failure_that_comes_after_it_was_given_up_is_not_published_under_the_id_of_that() {
    let slow = Wish::FailsAfter(SLOW_SECONDS);
    let mut ops = start(0, slow, Vec::new());
    ops.extend([Op::Follow { seconds: 3_800, times: 16 }, Op::Publish(Vec::new())]);
    ops.extend([Op::Follow { seconds: 7_200, times: 24 }, Op::DeliverAgain(0)]);
    let lived = lived(&plain(), &ops);
    assert_eq!(lived.told, [told(1, "container.failed", "GENERATION_LOST")]);
}

#[test]
fn a_rerun_of_what_still_runs_waits_for_reads_that_lag_and_is_free() {
    let lag = vec![Op::Lag(Lag::NotThere, 200)];
    let lived = lived(&plain(), &[given_up(), lag, asked_again()].concat());
    assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into());
}

/// Found by the simulation (147): what was given up had completed, and one 404 was enough to buy it again.
#[test]
fn one_404_before_a_rerun_of_what_was_given_up_buys_nothing_that_is_there() {
    let lag = vec![Op::Advance(SLOW_SECONDS), Op::Lag(Lag::NotThere, 1)];
    let lived = lived(&plain(), &[given_up(), lag, asked_again()].concat());
    assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into());
    let lost = told(1, "container.failed", "GENERATION_LOST");
    assert_eq!(lived.told, [lost, told(2, "container.completed", "")]);
}

#[test]
fn a_rerun_message_that_is_delivered_again_and_again_for_days_is_bought_once() {
    let mut ops = start(0, Wish::FailsTwice, Vec::new());
    ops.extend([Op::Advance(300), Op::Track]);
    for _ in 0..4 {
        ops.extend(ask(0, 2, Wish::FailsTwice, vec![Vec::new(), Vec::new()]));
        ops.extend([Op::Advance(300), Op::Track, Op::Advance(90_000)]);
    }
    let lived = lived(&plain(), &ops);
    assert_eq!(lived.jobs, [("generate".to_owned(), 1), ("regenerate".to_owned(), 1)].into());
    let failed = |run| told(run, "container.failed", "RENDER_FAILED");
    assert_eq!(lived.told, [failed(1), failed(2)]);
}

#[test]
fn a_container_that_reads_as_before_its_rerun_is_not_taken_for_the_end_of_it() {
    // Once its end before the rerun was read, once that read found nothing.
    for unseen in [false, true] {
        let mut ops = start(0, Wish::FailsThenTakes(60), Vec::new());
        ops.extend([Op::Advance(300), Op::Track]);
        ops.extend(unseen.then_some(Op::Lag(Lag::NotThere, 5)));
        ops.extend(ask(0, 2, Wish::FailsThenTakes(60), vec![Vec::new()]));
        ops.extend([Op::Advance(5), Op::Submit(Vec::new()), Op::Lag(Lag::AsBefore, LAG_SECONDS_MAX)]);
        ops.extend([Op::Follow { seconds: 61, times: 3 }]);
        let lived = lived(&plain(), &ops);
        assert_eq!(
            lived.told,
            [told(1, "container.failed", "RENDER_FAILED"), told(2, "container.completed", "")]
        );
    }
}

/// A rerun's POST whose answer is lost, and another API key before it is repeated, after so many seconds.
fn rotated(seconds: u32) -> Vec<Op> {
    let mut ops = start(0, Wish::FailsThenTakes(60), Vec::new());
    ops.extend([Op::Advance(300), Op::Track]);
    ops.extend(ask(0, 2, Wish::FailsThenTakes(60), vec![Vec::new(), vec![Post::Lost]]));
    ops.extend([Op::Account(Change::Rotated), Op::Advance(seconds)]);
    ops.extend([Op::Submit(Vec::new()), Op::Submit(Vec::new()), Op::Track]);
    ops
}

#[test]
fn a_lost_rerun_is_never_repeated_under_another_api_key_and_what_it_bought_is_collected() {
    for seconds in [2, 61, 605, 90_000] {
        let lived = lived(&plain(), &rotated(seconds));
        assert_eq!(
            lived.jobs,
            [("generate".to_owned(), 1), ("regenerate".to_owned(), 1)].into(),
            "{seconds} s"
        );
        assert_eq!(lived.told[1], told(2, "container.completed", ""), "{seconds} s");
    }
}

#[test]
fn a_lost_start_with_our_id_is_repeated_under_another_api_key_days_later_and_bought_once() {
    let mut ops = start(0, Wish::Seconds(60), vec![Post::Lost]);
    ops.extend([Op::Account(Change::Rotated), Op::Advance(90_000), Op::Submit(Vec::new())]);
    let lived = lived(&plain(), &ops);
    assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into());
    assert_eq!(lived.told, [told(1, "container.completed", "")]);
}

#[test]
fn a_canceled_brief_whose_answer_was_lost_is_asked_about_first_and_canceled_then() {
    let mut ops = start(0, Wish::Seconds(2_000), vec![Post::Lost]);
    ops.extend([Op::Cancel { batch: true }, Op::Advance(61), Op::Submit(Vec::new()), Op::Track]);
    let lived = lived(&plain(), &ops);
    assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into());
    assert_eq!(lived.told, [told(1, "container.canceled", "CANCELED")]);
}
