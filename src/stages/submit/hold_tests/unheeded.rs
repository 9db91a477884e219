//! Briefs that the API has no answer to, while it answers all others.

use super::*;
use crate::ledger::{HoldScope, Resolution, Resolve};

/// A brief that is answered with a 500 so many times, and then like any other.
fn unanswered(times: u64) -> Value {
    json!({"metadata": {"sandbox": {"faults": ["error-500"], "faultPosts": times}}})
}

async fn bench() -> Bench {
    Bench::with(Options::default(), |settings| settings.submit.concurrency = 4).await
}

#[tokio::test]
async fn briefs_that_the_api_has_no_answer_to_give_their_places_to_others_and_are_asked_about_ever_more_rarely()
 {
    let mut bench = bench().await;
    bench.send("p", 4, unanswered(100)).await;
    bench.settle().await;
    assert_eq!(bench.held().await, [("account".to_owned(), "API_DOWN".to_owned(), false)]);
    for number in 0..40 {
        bench.send("q", 1, json!({"briefId": format!("good {number}")})).await;
        bench.pass(Duration::from_secs(15)).await;
    }
    assert_eq!((bench.held().await, bench.unknown().await), (vec![], 4));
    let kept = bench.number("SELECT count(*) FROM job WHERE silent").await;
    assert!(kept < 4, "all {kept} places are kept");
    assert_eq!(bench.api.account().jobs_made, 40);
    for number in 40..100 {
        bench.send("q", 1, json!({"briefId": format!("good {number}")})).await;
        bench.pass_minutes(5).await;
    }
    let posts = bench.api.posts();
    for number in 100..160 {
        bench.send("q", 1, json!({"briefId": format!("good {number}")})).await;
        bench.pass_minutes(5).await;
    }
    let more = bench.api.posts() - posts - 60;
    assert!((16..=40).contains(&more), "{more} POSTs of four briefs in five hours");
}

#[tokio::test]
async fn those_behind_them_in_the_same_batch_are_started_too() {
    let mut bench = bench().await;
    bench.send("p", 4, unanswered(100)).await;
    bench.settle().await;
    for number in 0..40 {
        bench.send("p", 1, json!({"briefId": format!("good {number}")})).await;
        bench.pass(Duration::from_secs(30)).await;
    }
    assert_eq!((bench.held().await, bench.unknown().await), (vec![], 4));
    assert_eq!(bench.api.account().jobs_made, 40);
}

#[tokio::test]
async fn a_batch_of_nothing_else_is_held_and_all_others_go_on() {
    let mut bench = Bench::with(Options::default(), |settings| {
        settings.submit.concurrency = 4;
        settings.submit.stop_after_refusals = 6;
    })
    .await;
    bench.send("p", 100, unanswered(100)).await;
    bench.settle().await;
    bench.send("q", 40, json!({})).await;
    bench.pass(MINUTE * 30).await;
    assert_eq!(bench.api.account().jobs_made, 40);
    let holds = bench.holds().await;
    let scope = HoldScope::Batch { project: Some("p".to_owned()), batch: "b".to_owned() };
    assert_eq!(
        holds.iter().map(|hold| (&hold.scope, hold.reason.as_str())).collect::<Vec<_>>(),
        [(&scope, "OUTCOME_UNKNOWN")]
    );
    let unknown = bench.unknown().await;
    assert!((6..=16).contains(&unknown), "{unknown} unknown");
}

#[tokio::test]
async fn a_person_decides_about_what_was_asked_about_often_enough_and_may_have_it_asked_once_more() {
    let mut bench = bench().await;
    bench.send("p", 1, unanswered(1_000)).await;
    bench.settle().await;
    // Others are answered all the time.
    let others = std::iter::repeat_n(1, 120).chain(std::iter::repeat_n(20, 70));
    for (number, minutes) in others.enumerate() {
        bench.send("q", 1, json!({"briefId": format!("other {number}")})).await;
        bench.pass_minutes(minutes).await;
    }
    let parked = "SELECT count(*) FROM job WHERE state = 'parked' AND error LIKE '%OUTCOME_UNKNOWN%'";
    assert_eq!(bench.number(parked).await, 1);
    let posts = bench.api.posts();
    assert!((190 + 3 + 24..190 + 3 + 34).contains(&posts), "{posts} POSTs");
    let resolve = async |bench: &Bench, resolution| {
        let resolve = Resolve {
            jobs: vec![1],
            resolution,
            who: "anna".to_owned(),
            reason: "Layers says so".to_owned(),
            now_ms: bench.clock.now_ms(),
        };
        assert_eq!(bench.stage.desk.ledger.write(resolve).await.unwrap().done.len(), 1);
    };
    resolve(&bench, Resolution::Repeat).await;
    bench.pass_minutes(120).await;
    assert_eq!(
        (bench.number(parked).await, bench.api.posts()),
        (1, posts + 1),
        "asked once, and parked again"
    );
    resolve(&bench, Resolution::NeverAccepted).await;
    assert_eq!(bench.number("SELECT count(*) FROM job WHERE state = 'rejected'").await, 1);
}

#[tokio::test]
async fn an_outage_of_a_day_with_less_work_than_places_needs_nobody() {
    let mut bench = bench().await;
    bench.send("p", 2, unanswered(400)).await;
    bench.pass_minutes(1).await;
    bench.send("q", 1, json!({})).await;
    bench.pass_minutes(25 * 60).await;
    assert_eq!(bench.number("SELECT count(*) FROM job WHERE state = 'submitting' AND silent").await, 2);
    let posts = bench.api.posts();
    assert!(
        (2 * 280..2 * 400).contains(&posts),
        "{posts} POSTs: each is still asked about within five minutes"
    );
}

#[tokio::test]
async fn an_outage_of_a_day_leaves_few_unknown_and_needs_nobody() {
    let mut bench = bench().await;
    bench.send("p", 200, json!({})).await;
    bench.api.change("faults", json!({"reset-before": 1.0})).await;
    bench.pass_minutes(25 * 60).await;
    let unknown = bench.unknown().await;
    assert!((4..=4 + 1 + 150).contains(&unknown), "{unknown} unknown");
    let unheeded = "SELECT count(*) FROM history WHERE detail LIKE '%Unheeded%'";
    assert_eq!(bench.number(unheeded).await, 0);
    bench.api.change("faults", json!({})).await;
    bench.pass_minutes(5).await;
    assert_eq!((bench.held().await, bench.unknown().await), (vec![], 0));
    let account = bench.api.account();
    assert_eq!(account.jobs_made, 200);
    assert!(account.jobs_by_key.values().all(|jobs| jobs.len() == 1));
}

#[tokio::test]
async fn an_api_that_refuses_some_and_accepts_nobody_is_an_outage_and_no_mistake_of_a_batch() {
    let mut bench = Bench::with(Options::default(), |settings| {
        settings.submit.concurrency = 4;
        settings.submit.stop_after_refusals = 6;
    })
    .await;
    bench.send("p", 40, unanswered(1_000)).await;
    let refused = json!({"metadata": {"sandbox": {"faults": ["unknown-code"], "faultPosts": 1_000}}});
    for number in 0..80 {
        let mut brief = refused.clone();
        brief["briefId"] = json!(format!("refused {number}"));
        brief["batchId"] = brief["briefId"].clone();
        bench.send("q", 1, brief).await;
        bench.pass_minutes(1).await;
    }
    let refused = bench.number("SELECT count(*) FROM job WHERE state = 'rejected'").await;
    assert!(refused >= 10, "{refused} refused");
    let unheeded = "SELECT count(*) FROM history WHERE detail LIKE '%Unheeded%'";
    assert_eq!(bench.number(unheeded).await, 0);
    let reasons: Vec<_> = bench.holds().await.into_iter().map(|hold| hold.reason).collect();
    assert!(!reasons.contains(&"OUTCOME_UNKNOWN".to_owned()), "{reasons:?}");
}

/// Accepted so many times with an answer that is lost.
fn bought_and_lost(times: u64) -> Value {
    json!({"variantCount": 3, "metadata": {"sandbox": {"faults": ["accepted-500"], "faultPosts": times}}})
}

#[tokio::test]
async fn briefs_whose_first_container_is_there_are_none_that_the_api_has_no_answer_to() {
    let mut bench = Bench::with(Options::default(), |settings| {
        settings.submit.concurrency = 4;
        settings.submit.stop_after_refusals = 6;
    })
    .await;
    bench.send("p", 8, bought_and_lost(100)).await;
    for number in 0..200 {
        bench.send("q", 1, json!({"briefId": format!("good {number}")})).await;
        bench.pass_minutes(1).await;
    }
    assert_eq!((bench.held().await, bench.unknown().await), (vec![], 0));
    assert_eq!(bench.number("SELECT count(*) FROM history WHERE detail LIKE '%Unheeded%'").await, 0);
    assert_eq!(
        bench.number("SELECT count(*) FROM job WHERE project_id = 'p' AND state = 'running'").await,
        8
    );
    assert_eq!(bench.api.account().jobs_made, 208);
}

#[tokio::test]
async fn what_is_followed_after_lost_answers_does_not_show_that_the_api_answers_starts() {
    let mut bench = bench().await;
    bench.send("p", 4, bought_and_lost(100)).await;
    for minute in 0..300 {
        bench.pass_minutes(1).await;
        for (_, reason, easing) in bench.held().await {
            assert_eq!((reason.as_str(), easing), ("API_DOWN", false), "in minute {minute}");
        }
    }
    assert_eq!(bench.unknown().await, 0);
    assert_eq!(bench.held().await, [("account".to_owned(), "API_DOWN".to_owned(), false)]);
    bench.send("q", 1, json!({})).await;
    bench.pass_minutes(5).await;
    assert_eq!((bench.held().await, bench.api.account().jobs_made), (vec![], 5));
}
