//! Jobs that no sweep tells about: alone in a project, known by their job id only, or contradicted.

use super::fixture::Fixture;
use super::*;

const KEY: &str = "lp_test_0123456789abcdef_x";

async fn bench(api: &Fixture) -> Bench {
    Bench::against(&api.serve().await, KEY, clock(), None).await
}

#[tokio::test]
async fn one_job_alone_is_polled_on_the_documented_cadence_and_its_container_read_once() {
    let (mut bench, api) = Bench::on(Options::default()).await;
    bench.start(brief("p", "b1", &seconds(100))).await;
    bench.pass_by(Duration::from_secs(99), Duration::from_millis(100)).await;
    let reads = api.account().reads;
    assert_eq!((reads.list, reads.container), (0, 0));
    // At 2, 4.6, 8, 12.4, 18.1, 25.5, 35.2, 45.2 … seconds.
    assert!((12..=14).contains(&reads.job), "{reads:?}");
    bench.pass(12).await;
    assert_eq!(bench.told().await, [("b1".to_owned(), 1, "container.completed".to_owned())]);
    assert_eq!(api.account().reads.container, 1);
}

#[tokio::test]
async fn a_job_that_is_left_alone_is_polled_from_then_on() {
    let (mut bench, api) = Bench::on(Options::default()).await;
    bench.start(brief("p", "b1", &seconds(30))).await;
    bench.start(brief("p", "b2", &seconds(90))).await;
    bench.start(brief("q", "b3", &seconds(60))).await;
    bench.pass(45).await;
    let before = api.account().reads;
    assert_eq!(bench.told().await.len(), 1);
    bench.pass(57).await;
    assert_eq!(bench.told().await.len(), 3);
    let after = api.account().reads;
    assert_eq!(after.list, before.list);
    assert!(after.job > before.job);
}

#[tokio::test]
async fn a_job_known_by_its_id_alone_names_its_containers_in_the_end() {
    let api = Fixture::default();
    let mut bench = bench(&api).await;
    api.job("job_1", "running", &[]);
    bench.start_as(brief("p", "b1", &json!({ "variantCount": 3 })), Some("job_1"), &[]).await;
    bench.pass(30).await;
    assert_eq!(bench.told().await, []);
    for container in ["cnt_1", "cnt_2"] {
        api.container(container, "completed");
    }
    api.job("job_1", "completed", &["cnt_1", "cnt_2"]);
    bench.pass(12).await;
    let records = bench.records().await;
    let told: Vec<_> =
        records.iter().map(|it| (&it["variant"], &it["containerId"], &it["error"]["code"])).collect();
    let (null, missing) = (Value::Null, json!("CONTAINER_MISSING"));
    let expected = [
        (&json!(1), &json!("cnt_1"), &null),
        (&json!(2), &json!("cnt_2"), &null),
        (&json!(3), &null, &missing),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_job_whose_answer_named_its_first_container_only_names_the_rest_in_the_end() {
    let options = Options { names_first_container_only: true, ..Options::default() };
    let (mut bench, api) = Bench::on(options).await;
    for number in 0..2 {
        let more = json!({ "variantCount": 3, "metadata": { "sandbox": { "seconds": 60 } } });
        bench.start(brief("p", &format!("b{number}"), &more)).await;
    }
    bench.pass(80).await;
    let completed = bench.told().await.iter().filter(|(_, _, kind)| kind == "container.completed").count();
    let made = api.account().containers_made;
    assert_eq!((bench.told().await.len(), made), (6, 6));
    assert!(completed == 6 || completed == 2, "all of them, or those that the API names: {completed}");
}

#[tokio::test]
async fn the_first_variant_is_published_as_it_ends_while_its_job_runs_on_for_the_second() {
    let api = Fixture::default();
    let mut bench = bench(&api).await;
    api.job("job_1", "running", &[]);
    api.container("cnt_1", "completed");
    api.container("cnt_2", "generating");
    let message = brief("p", "b1", &json!({ "variantCount": 2 }));
    bench.start_as(message, Some("job_1"), &["cnt_1", "cnt_2"]).await;
    bench.pass(60).await;
    assert_eq!(bench.told().await, [("b1".to_owned(), 1, "container.completed".to_owned())]);
    // One is left, of which the job tells.
    api.take_asked();
    bench.pass(60).await;
    assert!(!api.take_asked().contains(&"cnt_2".to_owned()));
}

#[tokio::test]
async fn the_only_variant_that_was_named_is_published_as_it_ends_while_its_job_runs_on_for_the_others() {
    let api = Fixture::default();
    let mut bench = bench(&api).await;
    api.job("job_1", "running", &[]);
    api.container("cnt_1", "completed");
    let message = brief("p", "b1", &json!({ "variantCount": 2 }));
    bench.start_as(message, Some("job_1"), &["cnt_1"]).await;
    bench.pass(60).await;
    assert_eq!(bench.told().await, [("b1".to_owned(), 1, "container.completed".to_owned())]);
}

#[tokio::test]
async fn a_container_that_is_not_there_has_its_job_asked_which_decides_after_long_enough() {
    let api = Fixture::default();
    let mut bench = bench(&api).await;
    for (id, job, container) in [("b1", "job_1", "cnt_1"), ("b2", "job_2", "cnt_2"), ("b3", "job_3", "cnt_3")]
    {
        api.job(job, "running", &[]);
        bench.start_as(brief("p", id, &json!({})), Some(job), &[container]).await;
    }
    api.container("cnt_2", "generating");
    api.container("cnt_3", "generating");
    api.pages(&[Some(&["cnt_2", "cnt_3"])]);
    bench.pass(30).await;
    assert_eq!(bench.told().await, []);
    api.job("job_1", "completed", &["cnt_1"]);
    bench.pass_by(Duration::from_mins(59), Duration::from_secs(5)).await;
    assert_eq!(bench.told().await, [], "seeing nothing never changes the job");
    api.take_asked();
    bench.pass_by(Duration::from_mins(3), Duration::from_secs(5)).await;
    let records = bench.records().await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["error"]["code"], "CONTAINER_MISSING");
    assert!(!api.take_asked().contains(&"job_1".to_owned()), "once over it is over");
}

#[tokio::test]
async fn only_time_in_which_the_api_answers_contradicts_a_job_that_is_over() {
    let api = Fixture::default();
    let mut bench = bench(&api).await;
    api.job("job_1", "completed", &["cnt_1"]);
    bench.start_as(brief("p", "b1", &json!({})), Some("job_1"), &["cnt_1"]).await;
    bench.pass(30).await;
    // An outage, and a time in which nobody reads.
    api.silent(true);
    bench.pass_by(Duration::from_hours(2), Duration::from_mins(1)).await;
    api.silent(false);
    bench.pass(30).await;
    bench.advance(Duration::from_hours(2));
    bench.pass_by(Duration::from_mins(55), Duration::from_secs(30)).await;
    assert_eq!(bench.told().await, [], "each outage is followed by an answer that may lag behind");
    bench.pass_by(Duration::from_mins(7), Duration::from_secs(30)).await;
    assert_eq!(bench.records().await[0]["error"]["code"], "CONTAINER_MISSING");
}

#[tokio::test]
async fn a_container_found_by_look_up_alone_is_followed_without_a_job() {
    let api = Fixture::default();
    let mut bench = bench(&api).await;
    api.container("cnt_1", "generating");
    bench.start_as(brief("p", "b1", &json!({ "variantCount": 2 })), None, &["cnt_1"]).await;
    bench.pass(30).await;
    assert_eq!(bench.told().await, []);
    api.container("cnt_1", "completed");
    bench.pass(12).await;
    let kinds: Vec<_> = bench.told().await.into_iter().map(|(_, variant, kind)| (variant, kind)).collect();
    assert_eq!(kinds, [(1, "container.completed".to_owned()), (2, "container.failed".to_owned())]);
}

#[tokio::test]
async fn a_read_that_fails_changes_nothing_and_is_made_again() {
    let api = Fixture::default();
    let mut bench = bench(&api).await;
    api.job("job_1", "completed", &[]);
    api.container("cnt_1", "completed");
    bench.start_as(brief("p", "b1", &json!({})), Some("job_1"), &["cnt_1"]).await;
    api.silent(true);
    bench.pass(60).await;
    assert_eq!(bench.told().await, []);
    assert!(api.take_asked().len() <= 12);
    api.silent(false);
    bench.pass(12).await;
    assert_eq!(bench.told().await.len(), 1);
}
