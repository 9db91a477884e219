//! A ledger that was lost, and the same message again: what `deploy/GUARANTEES.md` says of that.

use super::super::ops::{Ack, Op, Switches, Wish};
use super::super::scenes::start;
use super::super::world::World;
use super::{Lived, live_on, plain, told};

/// Sent, lived to its end, and `again`, so many seconds after its ledger was lost.
fn again_without_ledger(switches: &Switches, again: Op, seconds: u32) -> Lived {
    let mut world = World::new(switches);
    live_on(&mut world, &start(0, Wish::Seconds(60), Vec::new()));
    // Not judged after that: the new ledger tells of its own times, and knows of no other content.
    world.lose_ledger();
    live_on(&mut world, &[Op::Advance(seconds), again, Op::Intake { chunk: 1, ack: Ack::Arrives }]);
    Lived::of(&world)
}

#[test]
fn what_is_sent_again_after_its_ledger_was_lost_is_bought_once_also_days_later() {
    for seconds in [300, 90_000, 3_000_000] {
        let lived = again_without_ledger(&plain(), Op::DeliverAgain(0), seconds);
        assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into(), "{seconds} s");
        assert_eq!(lived.told, [told(1, "container.completed", "")], "{seconds} s");
    }
}

/// As `deploy/GUARANTEES.md` says: without our id only the key guards, for a day.
#[test]
fn without_our_id_what_is_sent_again_after_its_ledger_was_lost_is_bought_once_for_a_day_only() {
    let key_only = Switches { send_container_id: false, ..plain() };
    for (seconds, jobs) in [(300, 1), (80_000, 1), (90_000, 2)] {
        let lived = again_without_ledger(&key_only, Op::DeliverAgain(0), seconds);
        assert_eq!(lived.jobs, [("generate".to_owned(), jobs)].into(), "{seconds} s");
    }
}

#[test]
fn other_content_under_an_id_that_a_lost_ledger_had_bought_fails_and_buys_nothing() {
    for seconds in [300, 90_000] {
        let other = Op::Deliver { brief: 0, content: 1, run: 0, wish: Wish::Seconds(60) };
        let lived = again_without_ledger(&plain(), other, seconds);
        assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into(), "{seconds} s");
        let kinds: Vec<_> = lived.told.iter().map(|(run, kind, _)| (*run, kind.as_str())).collect();
        assert_eq!(kinds, [(1, "brief.failed"), (1, "container.completed")], "{seconds} s");
    }
}

/// The API has said that it knows the id or the key, so no other content is a better version of what was never bought.
#[test]
fn the_old_content_sent_after_other_content_under_the_id_of_a_lost_ledger_buys_nothing() {
    let key_only = Switches { send_container_id: false, ..plain() };
    for (switches, seconds) in [(plain(), 300), (plain(), 90_000), (key_only, 300)] {
        let mut world = World::new(&switches);
        live_on(&mut world, &start(0, Wish::Seconds(60), Vec::new()));
        world.lose_ledger();
        let intake = || Op::Intake { chunk: 1, ack: Ack::Arrives };
        let other = Op::Deliver { brief: 0, content: 1, run: 0, wish: Wish::Seconds(60) };
        live_on(&mut world, &[Op::Advance(seconds), other, intake()]);
        live_on(&mut world, &[Op::DeliverAgain(0), intake()]);
        let lived = Lived::of(&world);
        assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into(), "{seconds} s");
    }
}
