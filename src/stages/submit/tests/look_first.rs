//! A POST path that never answers: what was bought is collected by reading.

use super::*;
use crate::ledger::{Hold, HoldScope, SetHold};

#[tokio::test]
async fn what_was_bought_is_collected_by_reading_where_no_post_is_ever_answered() {
    let bench = Bench::new().await;
    bench.send("a", json!({})).await;
    bench.gate.always(Post::Lost);
    bench.go_on().await;
    bench.go_on().await;
    assert_eq!((bench.state("a").await.as_str(), bench.reads()), ("submitting", 0));
    let permits = bench.stage.limits.available(Class::Start);
    bench.step().await;
    assert_eq!((bench.state("a").await.as_str(), bench.containers("a").await), ("running", 1));
    assert_eq!(bench.stage.limits.available(Class::Start), permits, "a read costs no start");
    assert_eq!((bench.gate.seen(), bench.jobs_made(), bench.reads()), (2, 1, 1));
}

#[tokio::test]
async fn what_is_not_found_is_posted_as_before() {
    let bench = Bench::new().await;
    bench.send("a", json!({})).await;
    bench.posts(&[Post::Dropped, Post::Dropped, Post::Dropped]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.gate.seen(), bench.reads()), ("submitting", 3, 1));
    // Nor does a read that fails keep the POST from being repeated.
    bench.gate.lose_reads(usize::MAX);
    bench.posts(&[Post::Through]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.jobs_made()), ("running", 1));
    bench.assert_never_twice();
}

#[tokio::test]
async fn what_is_said_to_be_in_progress_for_ever_is_collected_by_reading_and_keeps_few_starts_from_others() {
    let in_progress = Post::Refused(409, "CONFLICT", json!({"subcode": "IDEMPOTENCY_IN_PROGRESS"}));
    for (first, state, posts) in [(Post::Lost, "running", 2..=2), (Post::Dropped, "submitting", 10..=25)] {
        let bench = Bench::new().await;
        bench.send("a", json!({})).await;
        bench.posts(&[first]).await;
        bench.gate.always(in_progress.clone());
        for _ in 0..60 * 60 / 5 {
            bench.step().await;
            bench.stage.desk.clock.advance(Duration::from_secs(5));
        }
        assert_eq!(bench.state("a").await, state);
        assert!(posts.contains(&bench.gate.seen()), "{} POSTs in an hour", bench.gate.seen());
    }
}

fn held(bench: &Bench) -> Hold {
    Hold {
        scope: HoldScope::Project("p".to_owned()),
        reason: "OPERATOR".to_owned(),
        detail: String::new(),
        required: None,
        available: None,
        stops_reads: false,
        by_api: false,
        since_ms: bench.now_ms(),
        probe_ms: None,
        easing: false,
    }
}

#[tokio::test]
async fn what_is_not_there_is_looked_for_ever_more_rarely_while_starts_are_held() {
    let bench = Bench::new().await;
    bench.send("a", json!({})).await;
    bench.posts(&[Post::Dropped]).await;
    bench.stage.desk.ledger.write(SetHold(held(&bench))).await.unwrap();
    for _ in 0..3 * 60 {
        bench.step().await;
        bench.minutes_pass(1);
    }
    assert_eq!((bench.state("a").await.as_str(), bench.gate.seen()), ("submitting", 1));
    assert!((16..=22).contains(&bench.reads()), "{} reads in three hours", bench.reads());
}

#[tokio::test]
async fn of_what_is_held_the_container_that_is_known_is_followed_within_a_day() {
    let bench = Bench::new().await;
    bench.send("a", json!({"variantCount": 3})).await;
    bench.posts(&[Post::Lost, Post::Lost]).await;
    bench.stage.desk.ledger.write(SetHold(held(&bench))).await.unwrap();
    bench.minutes_pass(22 * 60);
    bench.go_on().await;
    assert_eq!(bench.state("a").await, "submitting", "the siblings may still be named");
    bench.minutes_pass(60);
    bench.go_on().await;
    assert_eq!((bench.state("a").await.as_str(), bench.containers("a").await), ("running", 1));
    assert_eq!((bench.gate.seen(), bench.jobs_made()), (2, 1));
}

#[tokio::test]
async fn jobs_whose_attempts_were_all_harmless_are_never_looked_up() {
    let bench = Bench::new().await;
    bench.send("a", json!({})).await;
    let wait = Post::Refused(429, "RATE_LIMITED", json!(null));
    bench.posts(&[wait.clone(), wait.clone(), wait.clone(), wait, Post::Through]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.reads()), ("running", 0));
}

#[tokio::test]
async fn a_first_post_that_finds_another_in_progress_may_have_bought_it() {
    let bench = Bench::new().await;
    // Look-ups are known to work from here on.
    bench.send("before", json!({})).await;
    bench.go_on().await;
    bench.send("a", json!({"expiresAt": "2026-05-01T00:10:00Z"})).await;
    let in_progress = Post::Refused(409, "CONFLICT", json!({"subcode": "IDEMPOTENCY_IN_PROGRESS"}));
    bench.posts(&[in_progress]).await;
    assert_eq!(bench.state("a").await, "submitting");
    // Neither time nor other content makes it something that never left.
    bench.minutes_pass(12);
    let changed = brief("a", json!({"brief": {"hook": "another"}}));
    assert_eq!(bench.decide(changed, true).await, Decision::Conflict);
    bench.posts(&[Post::Refused(422, "QUANTUM_FLUX", json!(null))]).await;
    assert_eq!(bench.state("a").await, "submitting");
    bench.minutes_pass(10);
    bench.go_on().await;
    assert_eq!((bench.state("a").await.as_str(), bench.jobs_made()), ("running", 2));
}

#[tokio::test]
async fn an_orderly_stop_repeats_nothing_and_leaves_the_job_where_it_is() {
    let bench = Bench::new().await;
    bench.send("a", json!({})).await;
    bench.posts(&[Post::Dropped, Post::Dropped]).await;
    bench.send("b", json!({})).await;
    bench.stage.desk.stopping.cancel();
    bench.go_on().await;
    assert_eq!((bench.state("a").await.as_str(), bench.state("b").await.as_str()), ("submitting", "ready"));
    assert_eq!(bench.gate.seen(), 2);
}

/// A container that failed, and a rerun of it whose POST may leave now.
async fn rerun(more: Value) -> Bench {
    let bench = Bench::new().await;
    let more = json!({ "metadata": { "sandbox": { "fail": "RENDER_FAILED", "regenerate": more } } });
    bench.send("a", more.clone()).await;
    bench.go_on().await;
    bench.settle("a", 1, Ended::Failed, true).await;
    let mut again = brief("a", more);
    again["run"] = json!(2);
    assert_eq!(bench.decide(again, true).await, Decision::Rerun);
    bench
}

/// Also where more than the key's day has passed, and the clock, which had been ahead, does not know of it.
#[tokio::test]
async fn a_regenerate_is_collected_once_its_record_has_changed_and_not_posted_again() {
    for more in [json!({"never": true}), json!({"fail": "RENDER_FAILED"})] {
        let bench = rerun(more.clone()).await;
        bench.gate.always(Post::Lost);
        for _ in 0..4 {
            bench.go_on().await;
        }
        assert_eq!(bench.state("a").await, "running", "{more}");
        assert_eq!(bench.sandbox.account().posts.regenerate, 1);
        bench.assert_never_twice();
    }
}

#[tokio::test]
async fn a_regenerate_whose_record_has_not_changed_is_posted_as_before() {
    let bench = rerun(json!({})).await;
    bench.gate.always(Post::Dropped);
    for _ in 0..4 {
        bench.go_on().await;
    }
    assert_eq!(bench.state("a").await, "submitting");
    bench.posts(&[Post::Through]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.sandbox.account().posts.regenerate), ("running", 1));
}

#[tokio::test]
async fn what_a_look_up_found_says_nothing_about_starts_and_lifts_no_hold() {
    let bench = Bench::new().await;
    bench.send("a", json!({})).await;
    bench.posts(&[Post::Lost, Post::Lost]).await;
    let claim = bench.stage.plan(1, &mut UnderWay::default()).await.unwrap().claim;
    let job = bench.stage.desk.ledger.write(claim).await.unwrap().claimed.remove(0);
    let hold = Hold {
        scope: HoldScope::Account,
        reason: "QUANTUM_FLUX".to_owned(),
        detail: String::new(),
        required: None,
        available: None,
        stops_reads: false,
        by_api: true,
        since_ms: bench.now_ms(),
        probe_ms: Some(bench.now_ms() + 60_000),
        easing: false,
    };
    bench.stage.desk.ledger.write(SetHold(hold.clone())).await.unwrap();
    let permit = bench.stage.limits.acquire(Class::Start).await;
    let in_force = InForce { holds: vec![hold.clone()], at_ms: bench.now_ms() };
    bench.stage.attempt(job, permit, &in_force).await;
    assert_eq!(bench.state("a").await, "running");
    assert_eq!(bench.stage.desk.ledger.reader().holds().await.unwrap(), [hold]);
}

#[tokio::test]
async fn what_a_lost_answer_bought_is_collected_while_starts_are_held() {
    for scope in [
        HoldScope::Account,
        HoldScope::Project("p".to_owned()),
        HoldScope::Batch { project: Some("p".to_owned()), batch: String::new() },
    ] {
        let bench = Bench::new().await;
        bench.send("a", json!({})).await;
        bench.posts(&[Post::Lost]).await;
        bench.send("b", json!({})).await;
        let hold = Hold {
            scope,
            reason: "OPERATOR".to_owned(),
            detail: String::new(),
            required: None,
            available: None,
            stops_reads: false,
            by_api: false,
            since_ms: bench.now_ms(),
            probe_ms: None,
            easing: false,
        };
        bench.stage.desk.ledger.write(SetHold(hold)).await.unwrap();
        bench.minutes_pass(2);
        bench.go_on().await;
        assert_eq!((bench.state("a").await.as_str(), bench.state("b").await.as_str()), ("running", "ready"));
        assert_eq!(bench.sandbox.account().posts.generate, 1, "nothing is sent");
    }
}

#[tokio::test]
async fn what_is_not_found_while_starts_are_held_stays_unknown_and_is_looked_for_now_and_then() {
    let bench = Bench::new().await;
    bench.send("a", json!({})).await;
    bench.posts(&[Post::Dropped]).await;
    let hold = Hold {
        scope: HoldScope::Account,
        reason: "OPERATOR".to_owned(),
        detail: String::new(),
        required: None,
        available: None,
        stops_reads: false,
        by_api: false,
        since_ms: bench.now_ms(),
        probe_ms: None,
        easing: false,
    };
    bench.stage.desk.ledger.write(SetHold(hold)).await.unwrap();
    bench.minutes_pass(2);
    for _ in 0..5 {
        bench.go_on().await;
    }
    assert_eq!(bench.state("a").await, "submitting");
    let read = bench.sandbox.account().reads.container;
    assert!((1..=6).contains(&read), "{read} look-ups");
    bench.assert_never_twice();
}
