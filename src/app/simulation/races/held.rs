//! Holds that nobody lifts: they go by themselves, and what was paid for is told.

use super::super::ops::{Change, Op, Switches, Wish};
use super::super::scenes::start;
use super::{lived, plain, told};
use crate::sandbox::gate::Post;

/// A brief of one variant that is let start once the trouble is over.
fn held(trouble: Change, over: Change) -> Vec<Op> {
    let mut ops = vec![Op::Account(trouble)];
    ops.extend(start(0, Wish::Seconds(60), Vec::new()));
    ops.extend([Op::Advance(605), Op::Submit(Vec::new()), Op::Account(over)]);
    ops
}

#[test]
fn a_hold_for_want_of_credits_goes_by_itself_with_and_without_a_wallet_to_read() {
    for serves_account_endpoints in [true, false] {
        let switches = Switches { serves_account_endpoints, ..plain() };
        let ops = held(Change::Credits(0), Change::Credits(1_000_000));
        assert_eq!(lived(&switches, &ops).told, [told(1, "container.completed", "")]);
    }
}

/// Found by the simulation (89): nobody could be asked who we are, nothing was there to be started, and nothing was read.
#[test]
fn what_runs_is_followed_when_its_key_works_again_although_nothing_else_is_there_to_be_started() {
    for serves_account_endpoints in [true, false] {
        for trouble in [Change::Revoked, Change::Killed] {
            let switches = Switches { serves_account_endpoints, ..plain() };
            let mut ops = start(0, Wish::Seconds(60), Vec::new());
            ops.extend([Op::Account(trouble(true)), Op::Advance(61), Op::Track, Op::Submit(Vec::new())]);
            ops.extend([Op::Advance(605), Op::Submit(Vec::new()), Op::Account(trouble(false))]);
            assert_eq!(lived(&switches, &ops).told, [told(1, "container.completed", "")]);
        }
    }
}

/// Refused answers of a gateway, too: the account itself was never in trouble.
#[test]
fn a_hold_that_one_wrong_answer_set_goes_by_itself() {
    for (status, code) in [(402, "BILLING_EXHAUSTED"), (401, "UNAUTHENTICATED"), (503, "KILL_SWITCH")] {
        let refused = Post::Refused(status, code, serde_json::Value::Null);
        let ops = start(0, Wish::Seconds(60), vec![refused]);
        assert_eq!(lived(&plain(), &ops).told, [told(1, "container.completed", "")], "{code}");
    }
}
