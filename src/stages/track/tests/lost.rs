//! Overdue, given up, and late after all.

use super::fixture::Fixture;
use super::*;

const KEY: &str = "lp_test_0123456789abcdef_x";
const HOUR: Duration = Duration::from_hours(1);
const STEP: Duration = Duration::from_mins(1);

/// One brief of two containers that never end.
async fn never_ending(api: &Fixture) -> (Bench, String) {
    let base_url = api.serve().await;
    let bench = Bench::against(&base_url, KEY, clock(), None).await;
    api.job("job_1", "running", &[]);
    for container in ["cnt_1", "cnt_2"] {
        api.container(container, "generating");
    }
    let message = brief("p", "b1", &json!({ "variantCount": 2 }));
    bench.start_as(message, Some("job_1"), &["cnt_1", "cnt_2"]).await;
    (bench, base_url)
}

async fn codes(bench: &Bench) -> Vec<(String, Value)> {
    let told =
        |record: &Value| (record["type"].as_str().unwrap().to_owned(), record["error"]["code"].clone());
    bench.records().await.iter().map(told).collect()
}

fn lost() -> (String, Value) {
    ("container.failed".to_owned(), json!("GENERATION_LOST"))
}

#[tokio::test]
async fn an_overdue_job_is_followed_more_slowly() {
    let api = Fixture::default();
    let (mut bench, _) = never_ending(&api).await;
    bench.pass_by(HOUR, Duration::from_secs(10)).await;
    api.take_asked();
    bench.pass_by(HOUR, Duration::from_secs(10)).await;
    let asked = api.take_asked();
    let looks = asked.iter().filter(|what| *what == "job_1").count();
    assert!((50..=61).contains(&looks), "{looks}");
    assert_eq!(bench.told().await, []);
}

#[tokio::test]
async fn what_is_overdue_is_read_itself_although_its_job_runs_on_and_on() {
    let api = Fixture::default();
    let mut bench = Bench::against(&api.serve().await, KEY, clock(), None).await;
    api.job("job_1", "running", &[]);
    api.container("cnt_1", "generating");
    bench.start_as(brief("p", "b1", &json!({})), Some("job_1"), &["cnt_1"]).await;
    bench.pass_by(HOUR / 2, Duration::from_secs(10)).await;
    assert!(!api.take_asked().contains(&"cnt_1".to_owned()), "one read tells enough");
    api.container("cnt_1", "completed");
    bench.pass_by(HOUR, Duration::from_secs(10)).await;
    assert_eq!(bench.told().await, [("b1".to_owned(), 1, "container.completed".to_owned())]);
}

#[tokio::test]
async fn a_late_result_is_found_beside_a_promised_container_that_is_never_named() {
    let api = Fixture::default();
    let mut bench = Bench::against(&api.serve().await, KEY, clock(), None).await;
    api.job("job_1", "running", &[]);
    api.container("cnt_1", "generating");
    let message = brief("p", "b1", &json!({ "variantCount": 2 }));
    bench.start_as(message, Some("job_1"), &["cnt_1"]).await;
    bench.pass_by(74 * HOUR, STEP).await;
    assert_eq!(codes(&bench).await, [lost(), lost()]);
    api.container("cnt_1", "completed");
    bench.pass_by(26 * HOUR, 10 * STEP).await;
    assert_eq!(codes(&bench).await, [lost(), lost(), ("container.completed".to_owned(), Value::Null)]);
}

#[tokio::test]
async fn a_job_that_never_ends_is_given_up_and_a_late_result_is_published_by_itself() {
    let api = Fixture::default();
    let (mut bench, _) = never_ending(&api).await;
    bench.pass_by(70 * HOUR, STEP).await;
    assert_eq!(bench.told().await, []);
    bench.pass_by(4 * HOUR, STEP).await;
    assert_eq!(codes(&bench).await, [lost(), lost()]);
    bench.pass_by(2 * HOUR, STEP).await;
    api.take_asked();
    bench.pass_by(48 * HOUR, 10 * STEP).await;
    let asked = api.take_asked();
    assert!((2..=6).contains(&asked.len()), "one look a day: {asked:?}");
    // One completes after all; the other one fails, which was said already.
    api.container("cnt_1", "completed");
    api.container("cnt_2", "failed");
    bench.pass_by(26 * HOUR, 10 * STEP).await;
    assert_eq!(codes(&bench).await, [lost(), lost(), ("container.completed".to_owned(), Value::Null)]);
    let records = bench.records().await;
    assert_eq!((&records[2]["variant"], &records[2]["variantCount"]), (&json!(1), &json!(2)));
    assert_eq!(bench.brief_state().await, "partial");
    // Nothing of it is lost any more.
    api.take_asked();
    bench.pass_by(48 * HOUR, 10 * STEP).await;
    assert_eq!(api.take_asked(), Vec::<String>::new());
}

#[tokio::test]
async fn time_in_which_the_api_is_silent_does_not_count() {
    let api = Fixture::default();
    let (mut bench, _) = never_ending(&api).await;
    bench.pass_by(30 * HOUR, STEP).await;
    api.silent(true);
    bench.pass_by(60 * HOUR, STEP).await;
    api.silent(false);
    bench.pass_by(40 * HOUR, STEP).await;
    assert_eq!(bench.told().await, []);
    bench.pass_by(4 * HOUR, STEP).await;
    assert_eq!(codes(&bench).await, [lost(), lost()]);
}

#[tokio::test]
async fn a_restart_forgets_little_of_the_time_that_counted() {
    let api = Fixture::default();
    let (mut bench, base_url) = never_ending(&api).await;
    bench.pass_by(60 * HOUR, STEP).await;
    let mut bench = bench.restart((&base_url, KEY)).await;
    bench.pass_by(14 * HOUR, STEP).await;
    assert_eq!(codes(&bench).await, [lost(), lost()]);
    // And what was given up is still asked for after another one.
    let mut bench = bench.restart((&base_url, KEY)).await;
    api.container("cnt_2", "completed");
    bench.pass_by(2 * HOUR, STEP).await;
    assert_eq!(codes(&bench).await.len(), 3);
}

#[tokio::test]
async fn a_whole_sweep_counts_as_a_read_of_each_job_it_covers() {
    let api = Fixture::default();
    let (mut bench, _) = never_ending(&api).await;
    api.container("cnt_3", "generating");
    api.job("job_2", "running", &[]);
    bench.start_as(brief("p", "b2", &json!({})), Some("job_2"), &["cnt_3"]).await;
    api.pages(&[Some(&["cnt_1", "cnt_2", "cnt_3"])]);
    bench.pass_by(74 * HOUR, STEP).await;
    assert_eq!(codes(&bench).await, [lost(), lost(), lost()]);
}

#[tokio::test]
async fn a_job_of_which_only_the_id_is_known_is_lost_too_and_found_late() {
    let api = Fixture::default();
    let mut bench = Bench::against(&api.serve().await, KEY, clock(), None).await;
    bench.start_as(brief("p", "b1", &json!({ "variantCount": 2 })), Some("job_1"), &[]).await;
    bench.pass_by(74 * HOUR, STEP).await;
    assert_eq!(codes(&bench).await, [lost(), lost()]);
    for container in ["cnt_1", "cnt_2"] {
        api.container(container, "completed");
    }
    api.job("job_1", "completed", &["cnt_1", "cnt_2"]);
    bench.pass_by(26 * HOUR, 10 * STEP).await;
    let completed = ("container.completed".to_owned(), Value::Null);
    assert_eq!(codes(&bench).await, [lost(), lost(), completed.clone(), completed]);
    assert_eq!(bench.brief_state().await, "completed");
}

#[tokio::test]
async fn a_rerun_takes_a_lost_container_over() {
    let api = Fixture::default();
    let (mut bench, _) = never_ending(&api).await;
    bench.pass_by(74 * HOUR, STEP).await;
    assert_eq!(codes(&bench).await, [lost(), lost()]);
    bench.receive(&brief("p", "b1", &json!({ "variantCount": 2, "run": 2 }))).await;
    api.container("cnt_1", "completed");
    api.container("cnt_2", "completed");
    bench.pass_by(26 * HOUR, 10 * STEP).await;
    assert_eq!(codes(&bench).await.len(), 2, "the rerun reads it itself, and publishes it as its own");
}

impl Bench {
    /// The state of the only brief.
    async fn brief_state(&self) -> String {
        let tally = self.ledger().reader().tally().await.unwrap();
        let briefs: Vec<_> = tally.into_iter().filter(|row| row.what == "brief").collect();
        assert_eq!(briefs.len(), 1);
        briefs[0].state.clone()
    }
}
