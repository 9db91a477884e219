//! Refusals in a row within a batch.

use super::*;
use crate::ledger::{HoldScope, LiftHold};

fn two_layers() -> Options {
    Options { two_layers: vec!["p".to_owned()], ..Options::default() }
}

async fn bench() -> Bench {
    Bench::with(two_layers(), |settings| {
        settings.submit.concurrency = 4;
        settings.submit.stop_after_refusals = 6;
    })
    .await
}

fn batch_of_p() -> HoldScope {
    HoldScope::Batch { project: Some("p".to_owned()), batch: "b".to_owned() }
}

#[tokio::test]
async fn a_mistake_of_a_whole_batch_stops_that_batch_in_that_project_and_says_what_mends_it() {
    let mut bench = bench().await;
    bench.send("p", 100, json!({})).await;
    bench.send("p", 2, json!({"batchId": "other", "projectLayerId": "lay_paid"})).await;
    bench.send("q", 2, json!({})).await;
    bench.settle().await;
    let holds = bench.holds().await;
    assert_eq!(holds.len(), 1);
    let hold = &holds[0];
    assert_eq!((&hold.scope, hold.reason.as_str()), (&batch_of_p(), "CONFLICT"));
    assert_eq!((hold.by_api, hold.probe_ms, hold.stops_reads), (true, None, false));
    assert!(
        hold.detail.ends_with(
            "several layers: lay_organic, lay_paid; set projectLayerId in the briefs or send the file again with it"
        ),
        "{}",
        hold.detail
    );
    let account = bench.api.account();
    assert_eq!(account.jobs_made, 4, "other batches and projects go on");
    assert!(account.posts.generate <= 4 + 6 + 3, "{} POSTs", account.posts.generate);
    bench.pass(MINUTE * 30).await;
    assert_eq!(bench.api.posts(), account.posts.generate, "it is not tested");
}

#[tokio::test]
async fn the_same_briefs_with_their_layer_all_complete_once_the_batch_is_released() {
    let mut bench = bench().await;
    bench.send("p", 20, json!({})).await;
    bench.settle().await;
    assert_eq!(bench.holds().await.len(), 1);
    let replaced = bench.send("p", 20, json!({"projectLayerId": "lay_paid"})).await;
    assert_eq!(replaced, vec![Decision::Replaced; 20]);
    bench.settle().await;
    assert_eq!(bench.api.account().jobs_made, 0);
    bench.stage.desk.ledger.write(LiftHold { scope: batch_of_p(), reason: None, now_ms: 0 }).await.unwrap();
    bench.settle().await;
    let account = bench.api.account();
    assert_eq!((account.jobs_made, bench.holds().await), (20, vec![]));
    assert!(account.jobs_by_key.values().all(|jobs| jobs.len() == 1));
}

#[tokio::test]
async fn after_a_release_counting_begins_anew() {
    let mut bench = bench().await;
    bench.send("p", 100, json!({})).await;
    bench.settle().await;
    let first = bench.api.posts();
    bench.stage.desk.ledger.write(LiftHold { scope: batch_of_p(), reason: None, now_ms: 0 }).await.unwrap();
    bench.settle().await;
    assert_eq!(bench.holds().await.len(), 1);
    assert!((6..=9).contains(&(bench.api.posts() - first)), "{} more", bench.api.posts() - first);
}

#[tokio::test]
async fn an_acceptance_in_between_shows_that_not_the_whole_batch_is_wrong() {
    let mut bench = Bench::with(two_layers(), |settings| {
        settings.submit.concurrency = 1;
        settings.submit.stop_after_refusals = 3;
    })
    .await;
    for n in 0..5 {
        bench.send("p", 1, json!({"briefId": format!("bad 1 {n}")})).await;
        bench.send("p", 1, json!({"briefId": format!("bad 2 {n}")})).await;
        bench.send("p", 1, json!({"briefId": format!("good {n}"), "projectLayerId": "lay_paid"})).await;
    }
    bench.settle().await;
    assert_eq!((bench.holds().await, bench.api.account().jobs_made), (vec![], 5));
}
