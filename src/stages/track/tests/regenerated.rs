//! Regenerated containers: no sweep sees them, and their old end is never taken for the new one.

use super::*;

/// One brief whose only container failed, and its rerun under way.
async fn rerun(wish_again: &Value) -> (Bench, sandbox::Running) {
    let (mut bench, api) = Bench::on(Options::default()).await;
    let fate = json!({ "seconds": 20, "fail": "RENDER_FAILED", "regenerate": wish_again });
    bench.start(brief("p", "b1", &wish(&fate))).await;
    bench.pass(40).await;
    assert_eq!(bench.told().await, [("b1".to_owned(), 1, "container.failed".to_owned())]);
    let mut again = brief("p", "b1", &wish(&fate));
    again["run"] = json!(2);
    bench.receive(&again).await;
    bench.inspect().await;
    bench.start(again).await;
    (bench, api)
}

#[tokio::test]
async fn its_old_end_is_never_taken_for_the_new_one() {
    let (mut bench, _api) = rerun(&json!({ "seconds": 60 })).await;
    bench.pass(58).await;
    assert_eq!(bench.told().await.len(), 1);
    bench.pass(12).await;
    let records = bench.records().await;
    assert_eq!((&records[1]["type"], &records[1]["run"]), (&json!("container.completed"), &json!(2)));
}

#[tokio::test]
async fn an_end_like_the_old_one_counts_once_its_own_job_is_over() {
    let (mut bench, _api) = rerun(&json!({ "seconds": 60, "fail": "RENDER_FAILED" })).await;
    bench.pass(75).await;
    let records = bench.records().await;
    assert_eq!((&records[1]["type"], &records[1]["run"]), (&json!("container.failed"), &json!(2)));
}

#[tokio::test]
async fn beside_sweeps_it_is_followed_by_its_job() {
    let (mut bench, api) = rerun(&json!({ "seconds": 60 })).await;
    for number in 2..6 {
        bench.start(brief("p", &format!("b{number}"), &seconds(120))).await;
    }
    let before = api.account().reads;
    bench.pass(58).await;
    let reads = api.account().reads;
    assert_eq!(reads.container, before.container, "no sweep has missed it");
    assert!(reads.list > before.list && reads.job > before.job);
    bench.pass(12).await;
    assert_eq!(bench.told().await.len(), 2);
}
