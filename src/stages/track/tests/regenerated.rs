//! Regenerated containers: no sweep sees them, and their old end is never taken for the new one.

use super::fixture::Fixture;
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
    let api = Fixture::default();
    let key = "lp_test_0123456789abcdef_x";
    let mut bench = Bench::against(&api.serve().await, key, clock(), None).await;
    api.job("job_1", "failed", &[]);
    api.container("cnt_1", "failed");
    bench.start_as(brief("p", "b1", &json!({})), Some("job_1"), &["cnt_1"]).await;
    bench.pass(12).await;
    // It fails again, and the API tells no time of it: the record is the same as before.
    bench.receive(&brief("p", "b1", &json!({ "run": 2 }))).await;
    bench.inspect().await;
    api.job("job_2", "running", &[]);
    bench.start_as(brief("p", "b1", &json!({ "run": 2 })), Some("job_2"), &["cnt_1"]).await;
    bench.pass(60).await;
    assert_eq!(bench.told().await.len(), 1);
    api.job("job_2", "failed", &[]);
    bench.pass(12).await;
    let records = bench.records().await;
    assert_eq!((&records[1]["type"], &records[1]["run"]), (&json!("container.failed"), &json!(2)));
}

#[tokio::test]
async fn its_old_end_is_not_taken_for_the_new_one_even_when_its_job_is_over() {
    let api = Fixture::default();
    let key = "lp_test_0123456789abcdef_x";
    let mut bench = Bench::against(&api.serve().await, key, clock(), None).await;
    api.job("job_1", "failed", &[]);
    api.container("cnt_1", "failed");
    bench.start_as(brief("p", "b1", &json!({})), Some("job_1"), &["cnt_1"]).await;
    bench.pass(12).await;
    bench.receive(&brief("p", "b1", &json!({ "run": 2 }))).await;
    bench.inspect().await;
    // The job says that it completed; the record still shows the failure before it.
    api.job("job_2", "completed", &[]);
    bench.start_as(brief("p", "b1", &json!({ "run": 2 })), Some("job_2"), &["cnt_1"]).await;
    bench.pass(120).await;
    assert_eq!(bench.told().await.len(), 1, "read again, on the cadence");
    api.container("cnt_1", "completed");
    bench.pass(12).await;
    assert_eq!(bench.records().await[1]["type"], "container.completed");
}

#[tokio::test]
async fn a_read_that_lags_behind_its_job_is_not_its_new_end_though_both_say_failed() {
    let api = Fixture::default();
    let key = "lp_test_0123456789abcdef_x";
    let mut bench = Bench::against(&api.serve().await, key, clock(), None).await;
    api.job("job_1", "failed", &[]);
    api.container_ended("cnt_1", "failed", "2026-05-01T00:00:30Z");
    bench.start_as(brief("p", "b1", &json!({})), Some("job_1"), &["cnt_1"]).await;
    bench.pass(12).await;
    bench.receive(&brief("p", "b1", &json!({ "run": 2 }))).await;
    bench.inspect().await;
    // It failed again, as the job says; what is read of it is still the failure before that.
    api.job("job_2", "failed", &[]);
    bench.start_as(brief("p", "b1", &json!({ "run": 2 })), Some("job_2"), &["cnt_1"]).await;
    bench.pass(300).await;
    assert_eq!(bench.told().await.len(), 1, "read again, on the cadence");
    api.container_ended("cnt_1", "failed", "2026-05-01T00:05:00Z");
    bench.pass(12).await;
    let records = bench.records().await;
    assert_eq!((&records[1]["run"], &records[1]["finishedAt"]), (&json!(2), &json!("2026-05-01T00:05:00Z")));
    // An API that never tells another time is believed once nothing lags for so long.
    bench.receive(&brief("p", "b1", &json!({ "run": 3 }))).await;
    bench.inspect().await;
    api.job("job_3", "failed", &[]);
    bench.start_as(brief("p", "b1", &json!({ "run": 3 })), Some("job_3"), &["cnt_1"]).await;
    bench.pass_by(Duration::from_mins(55), Duration::from_secs(10)).await;
    assert_eq!(bench.told().await.len(), 2);
    bench.pass_by(Duration::from_mins(10), Duration::from_secs(10)).await;
    let records = bench.records().await;
    assert_eq!((&records[2]["run"], &records[2]["error"]["code"]), (&json!(3), &json!("FAILED")));
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
