//! A few things that happen one after the other. Alone, chance would rarely bring a repeat at the wrong moment, a rerun of
//! what is there after all, or a result that comes too late.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::ops::{
    Ack, BRIEFS, Change, LAG_SECONDS_MAX, Op, SLOW_SECONDS, Stage, Switches, Wish, approve, fate, lag, lie,
    op, planned, post, prune, switches, wish,
};
use crate::sandbox::gate::{Lag, Post};

/// A world, and what happens in it.
pub(super) fn life() -> impl Strategy<Value = (Switches, Vec<Op>)> {
    (switches(), vec(scene(), 1..14).prop_map(|scenes| scenes.concat()))
}

fn scene() -> impl Strategy<Value = Vec<Op>> {
    prop_oneof![
        16 => op().prop_map(|op| vec![op]),
        6 => (0..BRIEFS, wish(), vec(post(), 0..3)).prop_map(|(brief, wish, posts)| start(brief, wish, posts)),
        6 => repeat(),
        4 => rerun(),
        4 => plan(),
        2 => doubted(),
        3 => given_up(),
        2 => lied_about(),
        3 => unseen(),
        2 => rotated(),
        2 => canceled(),
        2 => published(),
        2 => taken(),
        2 => pruned(),
    ]
}

/// A brief is sent and taken, and there is a round of starts.
pub(super) fn start(brief: u8, wish: Wish, posts: Vec<Post>) -> Vec<Op> {
    ask(brief, 0, wish, vec![posts])
}

/// A run of a brief is sent and taken, with rounds of starts: a rerun reads its container in the first.
pub(super) fn ask(brief: u8, run: u8, wish: Wish, rounds: Vec<Vec<Post>>) -> Vec<Op> {
    let mut ops =
        vec![Op::Deliver { brief, content: 0, run, wish }, Op::Intake { chunk: 3, ack: Ack::Arrives }];
    ops.extend(rounds.into_iter().map(Op::Submit));
    ops
}

/// An answer is lost, and a moment later there is another round.
fn repeat() -> impl Strategy<Value = Vec<Op>> {
    (0..BRIEFS, wish(), lost(), moment(), vec(post(), 1..2)).prop_map(|(brief, wish, lost, moment, posts)| {
        let mut ops = start(brief, wish, vec![lost]);
        ops.extend([Op::Advance(moment), Op::Submit(posts), Op::Track]);
        ops
    })
}

/// A brief fails, and is asked for again.
fn rerun() -> impl Strategy<Value = Vec<Op>> {
    (0..BRIEFS, failing(), vec(post(), 0..2), moment()).prop_map(|(brief, wish, posts, moment)| {
        let mut ops = failed(brief, wish);
        ops.extend(ask(brief, 2, wish, vec![Vec::new(), posts]));
        ops.extend([Op::Advance(moment), Op::Track]);
        ops
    })
}

/// Briefs fail, and a plan runs them again; before it is let start something may happen to them, and the worker may die
/// while it starts them.
fn plan() -> impl Strategy<Value = Vec<Op>> {
    let meanwhile = prop::option::weighted(0.4, (0..BRIEFS, 1..4_u8));
    let dies = prop::option::weighted(0.3, 1..25_u32);
    let moments = (vec(post(), 0..2), moment(), any::<bool>());
    (failing(), planned(), meanwhile, approve(), dies, moments).prop_map(
        |(wish, planned, meanwhile, approve, dies, (posts, moment, again))| {
            let mut ops = failed(0, wish);
            ops.extend(failed(1, Wish::Fails));
            ops.push(Op::Plan(planned));
            if let Some((brief, run)) = meanwhile {
                ops.extend(ask(brief, run, wish, vec![Vec::new()]));
            }
            ops.push(approve.clone());
            ops.extend(dies.map(|polls| Op::DieDuring { stage: Stage::CarryOn, polls }));
            ops.extend([Op::CarryOn, Op::Submit(Vec::new()), Op::Submit(posts)]);
            ops.extend([Op::Advance(moment), Op::Track]);
            if again {
                ops.extend([approve, Op::CarryOn, Op::Submit(Vec::new())]);
            }
            ops
        },
    )
}

/// An answer is lost, then comes a refusal, and the container cannot be read yet.
fn doubted() -> impl Strategy<Value = Vec<Op>> {
    let between = select(vec![5, 290, 601]);
    (0..BRIEFS, wish(), lost(), between, any::<bool>()).prop_map(|(brief, wish, lost, between, known)| {
        // Look-ups are known to work once one has.
        let other = (brief + 1) % BRIEFS;
        let mut ops = if known { start(other, Wish::Seconds(5), Vec::new()) } else { Vec::new() };
        ops.extend(start(brief, wish, vec![lost]));
        let refused = || Op::Submit(vec![refused(), refused()]);
        ops.extend([
            Op::Advance(61),
            Op::Lag(Lag::NotThere, LAG_SECONDS_MAX),
            refused(),
            Op::Advance(between),
            refused(),
        ]);
        ops.extend([Op::Advance(605), refused(), Op::Track]);
        ops
    })
}

/// A generation takes so long that it is given up; then somebody asks for it again, or its result comes.
fn given_up() -> impl Strategy<Value = Vec<Op>> {
    let slow = [Wish::Seconds, Wish::FailsAfter, Wish::FailsThenTakes].map(|wish| wish(SLOW_SECONDS));
    let slow = select(slow.to_vec());
    let wait = select(vec![0, 30_000, 90_000]);
    let asked = prop::option::weighted(0.7, vec(post(), 0..2));
    (0..BRIEFS, slow, wait, prop::option::weighted(0.3, (lag(), 1..=LAG_SECONDS_MAX)), asked).prop_map(
        |(brief, wish, wait, lag, asked)| {
            let mut ops = start(brief, wish, Vec::new());
            let mut run = 1;
            if matches!(wish, Wish::FailsThenTakes(_)) {
                run = 2;
                ops.extend([Op::Advance(300), Op::Track]);
                ops.extend(ask(brief, run, wish, vec![Vec::new(), Vec::new()]));
            }
            ops.extend([Op::Follow { seconds: 3_800, times: 16 }, Op::Advance(wait)]);
            ops.extend(lag.map(|(lag, seconds)| Op::Lag(lag, seconds)));
            if let Some(posts) = asked {
                ops.extend(ask(brief, run + 1, wish, vec![Vec::new(), posts]));
                ops.push(Op::Track);
            }
            ops
        },
    )
}

/// What a container says and what its job says differ, for a while or for hours; then it is asked for again.
fn lied_about() -> impl Strategy<Value = Vec<Op>> {
    let wish = select(vec![Wish::Seconds(60), Wish::Fails, Wish::SecondFails, Wish::FailsThenTakes(60)]);
    (0..BRIEFS, wish, lie(), select(vec![1, 3, 9]), any::<bool>()).prop_map(
        |(brief, wish, lie, times, asked)| {
            let mut ops = start(brief, wish, Vec::new());
            ops.extend([
                Op::Lie(lie),
                Op::Follow { seconds: 120, times: 2 },
                Op::Follow { seconds: 900, times },
            ]);
            ops.push(Op::Lie(None));
            if asked {
                ops.extend(ask(brief, 2, wish, vec![Vec::new(), Vec::new()]));
            }
            ops.extend([Op::Track, Op::Follow { seconds: 61, times: 2 }]);
            ops
        },
    )
}

/// Before its rerun a container cannot be read, or reads lag behind after it; the answer of its POST may be lost as well.
fn unseen() -> impl Strategy<Value = Vec<Op>> {
    let moments = (1..=LAG_SECONDS_MAX, moment(), any::<bool>(), any::<bool>());
    (0..BRIEFS, failing(), vec(post(), 0..2), moments).prop_map(
        |(brief, wish, posts, (seconds, moment, before, after))| {
            let mut ops = failed(brief, wish);
            ops.extend(before.then_some(Op::Lag(Lag::NotThere, seconds)));
            ops.extend(ask(brief, 2, wish, vec![Vec::new()]));
            ops.extend([Op::Advance(seconds), Op::Submit(posts)]);
            ops.extend(after.then_some(Op::Lag(Lag::AsBefore, LAG_SECONDS_MAX)));
            ops.extend([Op::Follow { seconds: 61, times: 4 }]);
            ops.extend([Op::Advance(moment), Op::Submit(Vec::new()), Op::Track]);
            ops
        },
    )
}

/// The API key is another one before a lost start is repeated, of a brief or of a rerun.
fn rotated() -> impl Strategy<Value = Vec<Op>> {
    (0..BRIEFS, failing(), lost(), any::<bool>(), moment()).prop_map(|(brief, wish, lost, rerun, moment)| {
        let mut ops = Vec::new();
        if rerun {
            ops.extend(failed(brief, wish));
            ops.extend(ask(brief, 2, wish, vec![Vec::new(), vec![lost]]));
        } else {
            ops.extend(start(brief, wish, vec![lost]));
        }
        ops.extend([Op::Account(Change::Rotated), Op::Advance(moment)]);
        ops.extend([Op::Submit(Vec::new()), Op::Submit(Vec::new()), Op::Track]);
        ops
    })
}

/// Somebody cancels what is being started, or runs.
fn canceled() -> impl Strategy<Value = Vec<Op>> {
    (0..BRIEFS, wish(), vec(post(), 0..2), moment(), any::<bool>()).prop_map(
        |(brief, wish, posts, moment, again)| {
            let mut ops = start(brief, wish, posts);
            ops.extend([Op::Cancel { batch: brief < BRIEFS - 1 }, Op::Advance(moment)]);
            ops.extend([Op::Submit(Vec::new()), Op::Track]);
            if again {
                ops.extend(ask(brief, 2, wish, vec![Vec::new(), Vec::new()]));
            }
            ops
        },
    )
}

/// A brief is sent and taken, and whoever takes it dies.
fn taken() -> impl Strategy<Value = Vec<Op>> {
    (0..BRIEFS, wish(), select(vec![Ack::DiesBefore, Ack::DiesAfter])).prop_map(|(brief, wish, ack)| {
        vec![Op::Deliver { brief, content: 0, run: 0, wish }, Op::Intake { chunk: 1, ack }]
    })
}

/// What has ended is pruned, though some of it may not have left or still be looked for; then it is sent again.
fn pruned() -> impl Strategy<Value = Vec<Op>> {
    let wish = select(vec![Wish::Seconds(5), Wish::SecondFails, Wish::Refused("MODERATION_BLOCKED")]);
    let again = prop_oneof![1 => Just(None), 2 => (0..3_u8, 0..2_u8).prop_map(Some)];
    (0..BRIEFS, wish, vec(fate(), 0..2), prune(), again).prop_map(|(brief, wish, fates, prune, again)| {
        let mut ops = start(brief, wish, Vec::new());
        ops.extend([Op::Advance(60), Op::Track, Op::Publish(fates), Op::Advance(5), prune]);
        if let Some((run, content)) = again {
            ops.push(Op::Deliver { brief, content, run, wish });
            ops.push(Op::Intake { chunk: 3, ack: Ack::Arrives });
            ops.push(Op::Submit(Vec::new()));
        }
        ops
    })
}

/// What has ended leaves, or does not.
fn published() -> impl Strategy<Value = Vec<Op>> {
    let wish = select(vec![Wish::Seconds(5), Wish::SecondFails, Wish::Refused("MODERATION_BLOCKED")]);
    (0..BRIEFS, wish, vec(fate(), 1..3)).prop_map(|(brief, wish, fates)| {
        let mut ops = start(brief, wish, Vec::new());
        ops.extend([Op::Advance(60), Op::Track, Op::Publish(fates)]);
        ops
    })
}

/// A brief that has failed, and been read.
fn failed(brief: u8, wish: Wish) -> Vec<Op> {
    let mut ops = start(brief, wish, Vec::new());
    ops.extend([Op::Advance(300), Op::Track]);
    ops
}

fn failing() -> impl Strategy<Value = Wish> {
    select(vec![Wish::Fails, Wish::SecondFails, Wish::FailsTwice, Wish::FailsThenTakes(60)])
}

fn lost() -> impl Strategy<Value = Post> {
    prop_oneof![2 => Just(Post::Lost), 1 => Just(Post::Silent { worked: true })]
}

fn refused() -> Post {
    Post::Refused(422, "VALIDATION_FAILED", serde_json::Value::Null)
}

fn moment() -> impl Strategy<Value = u32> {
    select(vec![2, 5, 20, 61, 605, 84_000])
}
