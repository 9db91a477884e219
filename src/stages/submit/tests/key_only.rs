//! Jobs that only their key guards: not repeated after 23 hours, nor under another API key.

use super::*;
use crate::sandbox::gate::change_account;

async fn unknown() -> Bench {
    let bench = Bench::new().await;
    bench.decide(brief("a", json!({})), false).await;
    bench.posts(&[Post::Dropped]).await;
    bench
}

#[tokio::test]
async fn one_of_unknown_outcome_is_repeated_for_23_hours_and_parked_then() {
    let bench = unknown().await;
    bench.minutes_pass(23 * 60 - 7);
    bench.posts(&[Post::Dropped]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.gate.seen()), ("submitting", 2));
    bench.go_on().await;
    assert_eq!((bench.state("a").await.as_str(), bench.gate.seen()), ("parked", 2));
    assert_eq!(bench.jobs_made(), 0);
}

#[tokio::test]
async fn one_of_unknown_outcome_is_not_repeated_under_another_api_key() {
    let bench = unknown().await;
    bench.stage.api.set_key(SecretString::from(KEYS[1])).unwrap();
    bench.go_on().await;
    assert_eq!((bench.state("a").await.as_str(), bench.gate.seen()), ("parked", 1));
}

#[tokio::test]
async fn one_with_our_id_in_its_body_is_repeated_whatever_the_time_and_the_key() {
    let bench = Bench::new().await;
    bench.send("a", json!({})).await;
    bench.posts(&[Post::Lost]).await;
    bench.minutes_pass(25 * 60);
    bench.stage.api.set_key(SecretString::from(KEYS[1])).unwrap();
    bench.posts(&[Post::Through]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.jobs_made()), ("running", 1));
}

#[tokio::test]
async fn a_person_may_have_it_repeated_once_past_the_window_and_under_another_key() {
    for (hours, key) in [(24, KEYS[0]), (0, KEYS[1])] {
        let bench = unknown().await;
        bench.minutes_pass(hours * 60);
        bench.stage.api.set_key(SecretString::from(key)).unwrap();
        bench.go_on().await;
        assert_eq!(bench.state("a").await, "parked");
        bench.resolve("a", Resolution::Repeat).await;
        bench.posts(&[Post::Through]).await;
        assert_eq!((bench.state("a").await.as_str(), bench.jobs_made()), ("running", 1));
    }
}

#[tokio::test]
async fn a_repeat_that_a_person_allowed_and_that_is_lost_again_is_not_repeated_by_itself() {
    let bench = unknown().await;
    bench.minutes_pass(24 * 60);
    bench.go_on().await;
    bench.resolve("a", Resolution::Repeat).await;
    // What never left does not use the permission up.
    bench.posts(&[Post::Refused(429, "RATE_LIMITED", json!(null)), Post::Lost]).await;
    assert_eq!((bench.state("a").await.as_str(), bench.gate.seen()), ("submitting", 3));
    bench.go_on().await;
    assert_eq!((bench.state("a").await.as_str(), bench.gate.seen(), bench.jobs_made()), ("parked", 3, 1));
}

/// A regenerate whose POST ended like this, past its key's window.
async fn regenerate_past_its_window(options: Options, first: &Post) -> Bench {
    let bench = Bench::with(options).await;
    let more = json!({ "metadata": { "sandbox": { "fail": "RENDER_FAILED" } } });
    bench.send("a", more.clone()).await;
    bench.go_on().await;
    bench.settle("a", 1, Ended::Failed, true).await;
    let mut again = brief("a", more);
    again["run"] = json!(2);
    bench.decide(again, true).await;
    bench.gate.always(first.clone());
    let seen = bench.gate.seen();
    bench.go_on().await;
    // The first may only have looked at the container.
    if bench.gate.seen() == seen {
        bench.go_on().await;
    }
    assert_eq!(bench.state("a").await, "submitting");
    bench.minutes_pass(23 * 60);
    bench
}

#[tokio::test]
async fn a_regenerate_past_its_window_is_looked_up_and_not_repeated() {
    for (first, state) in [(Post::Lost, "running"), (Post::Dropped, "parked")] {
        let bench = regenerate_past_its_window(Options::default(), &first).await;
        let seen = bench.gate.seen();
        bench.go_on().await;
        assert_eq!((bench.state("a").await.as_str(), bench.gate.seen()), (state, seen), "{first:?}");
    }
}

#[tokio::test]
async fn a_look_up_under_a_dead_key_holds_until_the_key_is_good() {
    // Nothing else asks such an API about the key.
    let options = Options { serves_account_endpoints: false, ..Options::default() };
    let bench = regenerate_past_its_window(options, &Post::Lost).await;
    change_account(&bench.sandbox, &json!({ "keyRevoked": true })).await;
    bench.step().await;
    let holds = bench.stage.desk.ledger.reader().holds().await.unwrap();
    assert_eq!(holds.iter().map(|hold| hold.reason.as_str()).collect::<Vec<_>>(), ["UNAUTHENTICATED"]);
    let story = bench.story("a").await;
    let told = &story.history.last().unwrap().detail;
    assert!(told.contains("could not be read: UNAUTHENTICATED"), "{told}");
    change_account(&bench.sandbox, &json!({ "keyRevoked": false })).await;
    bench.go_on().await;
    bench.go_on().await;
    assert_eq!(bench.state("a").await, "running");
}

#[tokio::test]
async fn the_gauges_tell_what_is_unknown_and_how_long_a_key_still_guards() {
    let bench = unknown().await;
    bench.send("guarded", json!({})).await;
    bench.gate.always(Post::Dropped);
    bench.go_on().await;
    let ages = async || {
        let now_ms = bench.now_ms();
        bench.stage.desk.ledger.ages(now_ms, now_ms, now_ms - 60_000).await.unwrap()
    };
    let first_ms = bench.story("a").await.jobs[0].unknown_first_at;
    assert!(first_ms.is_some());
    let found = ages().await;
    assert_eq!((found.unknown, found.key_only_unknown), (2, first_ms));
    // A repeat that was lost a moment ago makes it no younger.
    bench.step().await;
    assert_eq!(ages().await.unknown, 2);
    bench.minutes_pass(23 * 60);
    bench.go_on().await;
    let found = ages().await;
    assert_eq!((bench.state("a").await.as_str(), found.unknown, found.key_only_unknown), ("parked", 1, None));
    // A person allowed one more POST: no key window ends before it.
    bench.resolve("a", Resolution::Repeat).await;
    let found = ages().await;
    assert_eq!((found.unknown, found.key_only_unknown), (2, None));
}

#[tokio::test]
async fn a_key_that_changes_while_a_repeat_waits_for_the_ledger_is_not_used_for_it() {
    let bench = unknown().await;
    let claim = bench.stage.plan(1, &mut UnderWay::default()).await.unwrap().claim;
    let job = bench.stage.desk.ledger.write(claim).await.unwrap().claimed.remove(0);
    let permit = bench.stage.limits.acquire(Class::Start).await;
    let busy = bench.stage.desk.ledger.reader().keep_busy().await;
    let stage = bench.stage.clone();
    let in_force = InForce { holds: Vec::new(), at_ms: bench.now_ms() };
    let attempt = tokio::spawn(async move { stage.attempt(job, permit, &in_force).await });
    // It runs until it has to wait for a connection.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    bench.stage.api.set_key(SecretString::from(KEYS[1])).unwrap();
    drop(busy);
    attempt.await.unwrap();
    assert_eq!((bench.state("a").await.as_str(), bench.gate.seen()), ("submitting", 1));
    bench.go_on().await;
    assert_eq!((bench.state("a").await.as_str(), bench.gate.seen()), ("parked", 1));
}
