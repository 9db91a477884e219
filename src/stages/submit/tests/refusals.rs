//! A refusal after a lost answer is never believed without a look-up.

use super::*;
use crate::ledger::{HoldScope, LiftHold};

/// Each refusal that the API documents, and some it does not: HTTP status, code, details.
fn refusals() -> Vec<(u16, &'static str, Value)> {
    vec![
        (422, "VALIDATION_FAILED", json!(null)),
        (422, "QUANTUM_FLUX", json!(null)),
        (451, "MODERATION_BLOCKED", json!(null)),
        (404, "NOT_FOUND", json!(null)),
        (409, "CONFLICT", json!({"candidates": ["a", "b"]})),
        (409, "CONFLICT", json!(null)),
        (409, "CONFLICT", json!({"subcode": "IDEMPOTENCY_IN_PROGRESS"})),
        (409, "IDEMPOTENCY_CONFLICT", json!(null)),
        (402, "BILLING_EXHAUSTED", json!({"required": 120, "available": 3})),
        (401, "UNAUTHENTICATED", json!(null)),
        (403, "FORBIDDEN_SCOPE", json!(null)),
        (403, "QUANTUM_FLUX", json!(null)),
        (429, "RATE_LIMITED", json!(null)),
        (503, "KILL_SWITCH", json!(null)),
        (500, "QUANTUM_FLUX", json!(null)),
    ]
}

/// The states of a job after a lost answer and this refusal, after the refusal once more, and after the API is well again.
async fn states(first: Post, refusal: Post) -> [String; 3] {
    let bench = Bench::new().await;
    // Look-ups are known to work from here on.
    bench.send("before", json!({})).await;
    bench.go_on().await;
    bench.send("a", json!({"expiresAt": "2026-05-01T00:10:00Z"})).await;
    let key = bench.story("a").await.jobs[0].idempotency_key.clone();
    bench.posts(&[first, refusal.clone()]).await;
    let once = bench.state("a").await;
    bench.minutes_pass(10);
    lift_holds(&bench).await;
    bench.posts(&[refusal]).await;
    let twice = bench.state("a").await;
    lift_holds(&bench).await;
    bench.minutes_pass(10);
    bench.go_on().await;
    let story = bench.story("a").await;
    assert_eq!(story.jobs.len(), 1, "no second job");
    assert_eq!(story.jobs[0].idempotency_key, key, "no new key");
    bench.assert_never_twice();
    let bought = usize::from(story.jobs[0].state != "rejected");
    assert_eq!(bench.jobs_made(), 1 + u64::try_from(bought).unwrap());
    [once, twice, story.jobs[0].state.clone()]
}

async fn lift_holds(bench: &Bench) {
    let ledger = &bench.stage.desk.ledger;
    for scope in [HoldScope::Account, HoldScope::Project("p".to_owned())] {
        ledger.write(LiftHold { scope, reason: None, now_ms: 0 }).await.unwrap();
    }
}

#[tokio::test]
async fn what_follows_from_each_refusal_after_a_lost_answer() {
    let mut table = String::from("| refusal | made | not made |\n|---|---|---|\n");
    for (status, code, details) in refusals() {
        let shown = if details.is_null() { String::new() } else { format!(" {details}") };
        let refusal = Post::Refused(status, code, details);
        let made = states(Post::Lost, refusal.clone()).await.join(", ");
        let not_made = states(Post::Dropped, refusal).await.join(", ");
        table += &format!("| {status} {code}{shown} | {made} | {not_made} |\n");
    }
    insta::assert_snapshot!(table);
}
