//! Answers that are lost, whatever is answered after them.

use super::super::ops::{Op, Wish};
use super::super::scenes::start;
use super::{lived, plain, told};
use crate::sandbox::Fault;
use crate::sandbox::gate::Post;

/// Bought unheard: whatever is answered after that does not make it nothing. If one attempt too many counted as
/// harmless, each of these lives would end with a brief that failed or was canceled, and with a job that was paid for.
fn unheard(post: Post, then: Vec<Op>) -> Vec<Op> {
    let mut ops = start(0, Wish::Seconds(60), vec![post]);
    ops.extend(then);
    ops.extend([Op::Advance(61), Op::Submit(Vec::new()), Op::Advance(61), Op::Track]);
    ops
}

#[track_caller]
fn is_bought_once_and_told(ops: &[Op]) {
    let lived = lived(&plain(), ops);
    assert_eq!(lived.jobs, [("generate".to_owned(), 1)].into());
    assert_eq!(lived.told, [told(1, "container.completed", "")]);
    assert_eq!(lived.resolved, 0, "nobody has to be asked");
}

fn refused(status: u16, code: &'static str) -> Op {
    Op::Submit(vec![Post::Refused(status, code, serde_json::Value::Null)])
}

#[test]
fn a_lost_answer_stays_unknown_whatever_the_api_tells_to_wait_for() {
    for (status, code) in [(429, "RATE_LIMITED"), (402, "BILLING_EXHAUSTED"), (503, "KILL_SWITCH")] {
        let cancel = Op::Cancel { batch: true };
        let then = vec![Op::Advance(61), refused(status, code), Op::Advance(6), cancel];
        is_bought_once_and_told(&unheard(Post::Lost, then));
    }
}

#[test]
fn a_post_whose_connection_broke_may_have_left_and_is_not_canceled_here() {
    let mut ops = start(0, Wish::Struck(Fault::AcceptedReset, 1), Vec::new());
    // By now it has completed.
    ops.extend([Op::Advance(2_000), Op::Cancel { batch: true }, Op::Submit(Vec::new()), Op::Track]);
    is_bought_once_and_told(&ops);
}

#[test]
fn a_post_that_a_crash_cut_off_may_have_left_and_a_refusal_after_it_is_not_believed() {
    let then = vec![Op::Advance(61), refused(422, "VALIDATION_FAILED")];
    is_bought_once_and_told(&unheard(Post::Silent { worked: true }, then));
}

#[test]
fn a_refusal_after_a_lost_answer_is_not_believed() {
    is_bought_once_and_told(&unheard(Post::Lost, vec![Op::Advance(61), refused(422, "MODERATION_BLOCKED")]));
}
