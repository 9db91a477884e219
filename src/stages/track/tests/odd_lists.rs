//! Lists as no documentation promises them, and a worker that was away: right results, and bounded reads.

use super::fixture::Fixture;
use super::*;

const DAY: Duration = Duration::from_hours(24);

/// Two jobs of one project that run, in a scripted API.
async fn two_briefs(api: &Fixture) -> Bench {
    let bench = Bench::against(&api.serve().await, "lp_test_0123456789", clock(), None).await;
    for (id, job, container) in [("b1", "job_1", "cnt_1"), ("b2", "job_2", "cnt_2")] {
        api.job(job, "running", &[]);
        api.container(container, "generating");
        bench.start_as(brief("p", id, &json!({})), Some(job), &[container]).await;
    }
    bench
}

fn end_both(api: &Fixture, status: &str) {
    for (job, container) in [("job_1", "cnt_1"), ("job_2", "cnt_2")] {
        api.job(job, status, &[container]);
        api.container(container, status);
    }
}

fn count(asked: &[String], what: &str) -> usize {
    asked.iter().filter(|asked| *asked == what).count()
}

#[tokio::test]
async fn pages_that_repeat_items_and_come_in_another_order_show_what_they_show() {
    let api = Fixture::default();
    let mut bench = two_briefs(&api).await;
    api.pages(&[Some(&["cnt_2", "theirs"]), Some(&["cnt_1", "cnt_2"]), Some(&["theirs", "cnt_1", "cnt_1"])]);
    bench.pass(60).await;
    let asked = api.take_asked();
    assert_eq!((count(&asked, "cnt_1"), count(&asked, "cnt_2")), (0, 0), "{asked:?}");
    api.container("cnt_1", "completed");
    api.pages(&[Some(&["cnt_2"]), Some(&["cnt_2"])]);
    bench.pass(11).await;
    assert_eq!(bench.told().await, [("b1".to_owned(), 1, "container.completed".to_owned())]);
    assert_eq!(count(&api.take_asked(), "cnt_1"), 1);
}

#[tokio::test]
async fn a_list_that_never_ends_is_turned_a_few_pages_and_the_jobs_are_polled() {
    let api = Fixture::default();
    let mut bench = two_briefs(&api).await;
    api.pages(&[Some(&["theirs"]), Some(&["others"])]);
    api.endless();
    bench.pass(120).await;
    let lists = count(&api.take_asked(), "list");
    assert!((1..=24).contains(&lists), "{lists} pages in two minutes");
    end_both(&api, "completed");
    bench.pass(12).await;
    assert_eq!(bench.told().await.len(), 2);
}

#[tokio::test]
async fn a_list_that_refuses_our_filters_leaves_the_documented_polls() {
    let api = Fixture::default();
    let mut bench = two_briefs(&api).await;
    api.refuse_lists();
    bench.pass(120).await;
    let asked = api.take_asked();
    assert!((1..=24).contains(&count(&asked, "list")), "{asked:?}");
    assert!(count(&asked, "job_1") <= 16, "{asked:?}");
    end_both(&api, "completed");
    bench.pass(12).await;
    assert_eq!(bench.told().await.len(), 2);
}

#[tokio::test]
async fn ten_thousand_containers_of_others_cost_a_few_pages_now_and_then() {
    let api = Fixture::default();
    let mut bench = two_briefs(&api).await;
    let theirs: Vec<String> = (0..10_000).map(|number| format!("theirs_{number}")).collect();
    let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
    let pages: Vec<Option<&[&str]>> = theirs.chunks(200).map(Some).collect();
    api.pages(&pages);
    bench.pass(300).await;
    let asked = api.take_asked();
    assert!(count(&asked, "list") <= 40, "{} pages in five minutes", count(&asked, "list"));
    end_both(&api, "completed");
    bench.pass(12).await;
    assert_eq!(bench.told().await.len(), 2);
}

#[tokio::test]
async fn in_a_project_that_is_archived_everything_ends_as_canceled_with_one_read_each() {
    let api = Fixture::default();
    let mut bench = two_briefs(&api).await;
    api.pages(&[Some(&["cnt_1", "cnt_2"])]);
    bench.pass(30).await;
    api.take_asked();
    end_both(&api, "canceled");
    api.pages(&[Some(&[])]);
    bench.pass(12).await;
    let mut told = bench.told().await;
    told.sort();
    let canceled = |id: &str| (id.to_owned(), 1, "container.canceled".to_owned());
    assert_eq!(told, [canceled("b1"), canceled("b2")]);
    let asked = api.take_asked();
    assert_eq!((count(&asked, "cnt_1"), count(&asked, "cnt_2")), (1, 1), "{asked:?}");
}

#[tokio::test]
async fn a_worker_that_was_off_for_four_days_finds_every_end_with_one_read_each() {
    let (mut bench, api) = Bench::on(Options::default()).await;
    for number in 0..30 {
        bench.start(brief("p", &format!("b{number}"), &seconds(60))).await;
    }
    bench.pass(10).await;
    let before = api.account().reads;
    bench.advance(4 * DAY);
    let mut bench = bench.restart((&api.base_url, &api.api_key)).await;
    bench.pass(15).await;
    let told = bench.told().await;
    assert_eq!(told.len(), 30);
    assert!(
        told.iter().all(|(_, _, kind)| kind == "container.completed"),
        "its time off is nobody's silence"
    );
    let reads = api.account().reads;
    assert_eq!(reads.container - before.container, 30);
    assert!(reads.list - before.list <= 5 && reads.job == before.job, "{reads:?}");
}

#[tokio::test]
async fn an_api_whose_time_runs_faster_than_ours_hides_nothing_of_what_is_old() {
    let clocks = [START, START].map(|start| Clock::stepped(start.parse().unwrap()));
    let api = simulator(Options::default(), &clocks[1]).await;
    let mut bench = Bench::against(&api.base_url, &api.api_key, clocks[0].clone(), None).await;
    for number in 0..4 {
        bench.start(brief("p", &format!("b{number}"), &seconds(1_000))).await;
    }
    for _ in 0..48 {
        clocks[1].advance(Duration::from_secs(20));
        bench.pass(1).await;
    }
    assert_eq!((bench.told().await, api.account().reads.container), (vec![], 0));
    clocks[1].advance(Duration::from_mins(1));
    bench.pass(12).await;
    assert_eq!(bench.told().await.len(), 4);
}
