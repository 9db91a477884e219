//! Several variants, of which a look-up knows only the first.

use super::*;

const THREE: &str = "variantCount";

async fn bought_and_lost() -> Bench {
    let bench = Bench::new().await;
    bench.send("a", json!({ THREE: 3 })).await;
    bench.posts(&[Post::Lost, Post::Lost]).await;
    bench
}

#[tokio::test]
async fn the_post_is_repeated_once_more_and_names_all_of_them() {
    let bench = bought_and_lost().await;
    bench.posts(&[Post::Through]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.containers("a").await), ("running", 3));
    assert_eq!((bench.gate.seen(), bench.jobs_made()), (3, 1));
}

#[tokio::test]
async fn where_that_answer_is_lost_too_it_is_repeated_again_and_the_siblings_are_not_given_up() {
    let bench = bought_and_lost().await;
    bench.posts(&[Post::Lost, Post::Lost, Post::Lost, Post::Through]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.containers("a").await), ("running", 3));
    assert_eq!((bench.gate.seen(), bench.jobs_made()), (6, 1));
}

#[tokio::test]
async fn without_a_2xx_the_one_that_is_known_is_followed_and_the_others_end_as_missing() {
    let refused = Post::Refused(422, "QUANTUM_FLUX", json!(null));
    for (last, seen) in [(vec![Post::Lost; 7], 9), (vec![refused], 3)] {
        let bench = bought_and_lost().await;
        bench.posts(&last).await;
        assert_eq!((bench.state("a").await.as_str(), bench.containers("a").await), ("running", 1));
        assert_eq!((bench.gate.seen(), bench.jobs_made()), (seen, 1));
        bench.settle("a", 1, Ended::Completed, true).await;
        let story = bench.story("a").await;
        let codes: Vec<_> = story.records.iter().map(|record| record.code.as_deref()).collect();
        assert_eq!(codes, [None, Some("CONTAINER_MISSING"), Some("CONTAINER_MISSING")]);
        assert_eq!(story.brief.state, "partial");
    }
}

#[tokio::test]
async fn being_told_to_wait_puts_it_off_and_loses_none() {
    let bench = bought_and_lost().await;
    let limited = Post::Refused(429, "RATE_LIMITED", json!(null));
    let in_progress = Post::Refused(409, "CONFLICT", json!({"subcode": "IDEMPOTENCY_IN_PROGRESS"}));
    bench.posts(&[limited, in_progress]).await;
    assert_eq!(bench.state("a").await, "submitting");
    bench.posts(&[Post::Through]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.containers("a").await), ("running", 3));
}

#[tokio::test]
async fn being_told_to_wait_keeps_what_is_known_from_being_followed_for_a_day_at_most() {
    let bench = bought_and_lost().await;
    bench.gate.always(Post::Refused(429, "RATE_LIMITED", json!(null)));
    bench.go_on().await;
    assert_eq!(bench.state("a").await, "submitting");
    bench.minutes_pass(23 * 60);
    bench.go_on().await;
    assert_eq!((bench.state("a").await.as_str(), bench.containers("a").await), ("running", 1));
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_leads_to_one_more_post_and_then_to_what_is_known() {
    let refused = Post::Refused(422, "QUANTUM_FLUX", json!(null));
    for (last, containers) in [(Post::Through, 3), (refused.clone(), 1)] {
        let bench = Bench::new().await;
        bench.send("a", json!({ THREE: 3 })).await;
        bench.posts(&[Post::Lost, refused.clone()]).await;
        assert_eq!(bench.state("a").await, "submitting");
        bench.posts(&[last]).await;
        assert_eq!((bench.state("a").await.as_str(), bench.containers("a").await), ("running", containers));
        assert_eq!((bench.gate.seen(), bench.jobs_made()), (3, 1));
    }
}

#[tokio::test]
async fn one_whose_first_answer_says_that_it_was_seen_before_never_goes_back_to_ready() {
    let bench = Bench::new().await;
    bench.send("a", json!({ THREE: 2, "expiresAt": "2026-05-01T00:01:00Z" })).await;
    let story = bench.story("a").await;
    // Somebody with this key and id was here before, and this ledger does not know it.
    let claim = bench.stage.plan(1, &mut UnderWay::default()).await.unwrap().claim;
    let job = bench.stage.desk.ledger.write(claim).await.unwrap().claimed;
    let key = job[0].idempotency_key.parse().unwrap();
    bench.stage.api.submit("p", key, &job[0].body, layers::TraceContext::default()).await.unwrap();
    bench.gate.next(Post::Refused(409, "CONFLICT", json!(null)));
    let permit = bench.stage.limits.acquire(Class::Start).await;
    let in_force = InForce { holds: Vec::new(), at_ms: bench.now_ms() };
    bench.stage.attempt(job[0].clone(), permit, &in_force).await;
    assert_eq!((bench.state("a").await.as_str(), story.jobs.len()), ("submitting", 1));
    bench.minutes_pass(6);
    bench.go_on().await;
    assert_eq!((bench.state("a").await.as_str(), bench.containers("a").await), ("running", 2));
    bench.assert_never_twice();
}

#[tokio::test]
async fn siblings_are_asked_for_once_also_where_the_look_up_before_it_could_not_be_made() {
    let refused = Post::Refused(422, "QUANTUM_FLUX", json!(null));
    let bench = Bench::new().await;
    bench.send("a", json!({ THREE: 3 })).await;
    bench.posts(&[Post::Lost, refused.clone()]).await;
    bench.gate.lose_reads(1);
    bench.posts(&[refused]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.containers("a").await), ("running", 1));
}
