//! Sweeps: few reads, and whatever a list does wrong costs reads and nothing else.

use super::fixture::Fixture;
use super::*;
use crate::sandbox::{ContainerIds, Fault};

/// Two briefs of one container each, `cnt_1` and `cnt_2`, against a scripted API.
async fn two_briefs(api: &Fixture) -> Bench {
    let bench = Bench::against(&api.serve().await, "lp_test_0123456789abcdef_x", clock(), None).await;
    for (brief_id, job, container) in [("b1", "job_1", "cnt_1"), ("b2", "job_2", "cnt_2")] {
        api.container(container, "generating");
        api.job(job, "running", &[]);
        bench.start_as(brief("p", brief_id, &json!({})), Some(job), &[container]).await;
    }
    bench
}

#[tokio::test]
async fn thirty_jobs_are_followed_with_few_reads_and_found_within_seconds() {
    let (mut bench, api) = Bench::on(Options::default()).await;
    for number in 0..30 {
        bench.start(brief("p", &format!("b{number}"), &json!({}))).await;
    }
    let mut late_ms = Vec::new();
    let mut seen = 0;
    for _ in 0..360 {
        bench.pass_by(Duration::from_millis(500), Duration::from_millis(500)).await;
        for record in bench.records().await.split_off(seen) {
            seen += 1;
            let ended: Timestamp = record["finishedAt"].as_str().unwrap().parse().unwrap();
            late_ms.push(bench.clock.now_ms() - ended.as_millisecond());
        }
    }
    pass_until_all_ended(&mut bench, 30).await;
    let reads = api.account().reads;
    assert!(all_reads(&api) <= 75, "{reads:?}");
    assert!(reads.container <= 31 && reads.job <= 3, "{reads:?}");
    late_ms.sort_unstable();
    assert!(late_ms[late_ms.len() / 2] <= 3_500, "{late_ms:?}");
    assert!(late_ms.last().is_some_and(|last| *last <= 11_000), "{late_ms:?}");
}

async fn pass_until_all_ended(bench: &mut Bench, records: usize) {
    for _ in 0..100 {
        if bench.records().await.len() == records {
            return;
        }
        bench.pass(2).await;
    }
    panic!("{:?}", bench.told().await);
}

#[tokio::test]
async fn variants_are_published_one_by_one_as_each_of_them_ends() {
    let (mut bench, api) = Bench::on(Options::default()).await;
    let more = json!({ "variantCount": 3, "metadata": { "sandbox": { "seconds": 100 } } });
    bench.start(brief("p", "b1", &more)).await;
    bench.start(brief("p", "b2", &more)).await;
    let mut at = Vec::new();
    for second in 0..115 {
        bench.pass(1).await;
        at.extend(std::iter::repeat_n(second, bench.records().await.len() - at.len()));
    }
    assert_eq!(at.len(), 6, "{:?}", bench.told().await);
    assert!(at[0] < 97 && at[5] >= 99, "not all at once: {at:?}");
    assert_eq!(api.account().reads.container, 6);
    assert_eq!(api.account().reads.job, 0, "for a generate the container decides");
}

#[tokio::test]
async fn a_list_that_lags_costs_reads_and_no_result() {
    let (mut bench, api) = Bench::on(Options { list_lag_seconds: 20.0, ..Options::default() }).await;
    for number in 0..10 {
        bench.start(brief("p", &format!("b{number}"), &seconds(60))).await;
    }
    bench.pass(59).await;
    assert_eq!(bench.told().await, [], "none has ended");
    let wasted = api.account().reads.container;
    assert!((1..=60).contains(&wasted), "{wasted}");
    bench.pass(31).await;
    assert_eq!(bench.told().await.len(), 10);
    assert_eq!(api.account().reads.container, wasted + 10);
}

#[tokio::test]
async fn a_sweep_that_was_cut_short_says_nothing_about_what_it_has_not_shown() {
    let api = Fixture::default();
    let mut bench = two_briefs(&api).await;
    api.pages(&[Some(&["cnt_1"]), None]);
    bench.pass(11).await;
    let asked = api.take_asked();
    assert!(asked.contains(&"list".to_owned()));
    assert!(!asked.contains(&"cnt_2".to_owned()), "{asked:?}");
    // Whole at last: what it does not show is read at once.
    api.container("cnt_2", "completed");
    api.pages(&[Some(&["cnt_1"]), Some(&[])]);
    bench.pass(60).await;
    assert_eq!(bench.told().await, [("b2".to_owned(), 1, "container.completed".to_owned())]);
    assert!(!api.take_asked().contains(&"cnt_1".to_owned()));
}

#[tokio::test]
async fn jobs_are_polled_while_sweeps_fail() {
    let api = Fixture::default();
    let mut bench = two_briefs(&api).await;
    api.pages(&[None]);
    bench.pass(120).await;
    for (job, container) in [("job_1", "cnt_1"), ("job_2", "cnt_2")] {
        api.job(job, "completed", &[]);
        api.container(container, "completed");
    }
    bench.pass(12).await;
    assert_eq!(bench.told().await.len(), 2);
}

#[tokio::test]
async fn what_came_after_the_first_page_was_asked_for_cannot_be_missing() {
    let api = Fixture::default();
    let mut bench = two_briefs(&api).await;
    bench.round().await;
    api.take_asked();
    api.pages(&[Some(&["cnt_1", "cnt_2"])]);
    bench.advance(Duration::from_secs(20));
    // Accepted in the very moment in which the sweep is made.
    api.container("cnt_3", "generating");
    bench.start_as(brief("p", "b3", &json!({})), Some("job_3"), &["cnt_3"]).await;
    bench.round().await;
    bench.pass(2).await;
    assert_eq!(api.take_asked(), ["list"]);
}

#[tokio::test]
async fn what_is_missing_and_runs_is_read_on_the_poll_cadence_until_it_is_shown_again() {
    let api = Fixture::default();
    let mut bench = two_briefs(&api).await;
    api.pages(&[Some(&["cnt_1"])]);
    bench.pass(60).await;
    let asked = api.take_asked();
    let of = |what: &str| asked.iter().filter(|asked| *asked == what).count();
    // 2 s, then at most the documented loop: 2, 2.6, 3.4, 4.4, 5.7, 7.4, 9.7, 10 … seconds apart.
    assert!((5..=11).contains(&of("cnt_2")), "{asked:?}");
    assert_eq!((of("cnt_1"), of("job_2")), (0, 0), "{asked:?}");
    api.pages(&[Some(&["cnt_1", "cnt_2"])]);
    bench.pass(20).await;
    api.take_asked();
    bench.pass(60).await;
    assert!(!api.take_asked().contains(&"cnt_2".to_owned()), "shown again");
}

#[tokio::test]
async fn a_list_that_never_lets_go_hides_nothing_for_ever() {
    let api = Fixture::default();
    let mut bench = two_briefs(&api).await;
    api.pages(&[Some(&["cnt_1", "cnt_2"])]);
    bench.pass(30).await;
    api.container("cnt_1", "completed");
    api.job("job_1", "completed", &["cnt_1"]);
    bench.pass(330).await;
    assert_eq!(bench.told().await, [("b1".to_owned(), 1, "container.completed".to_owned())]);
}

#[tokio::test]
async fn a_status_that_no_filter_knows_is_still_running_and_not_hammered() {
    let options = Options { faults: [(Fault::UnknownStatus, 1.0)].into(), ..Options::default() };
    let (mut bench, api) = Bench::on(options).await;
    for number in 0..3 {
        bench.start(brief("p", &format!("b{number}"), &seconds(170))).await;
    }
    // Assembling, `polishing` here, is from 80 % to 93 %.
    bench.pass(169).await;
    assert_eq!(bench.told().await, []);
    let reads = api.account().reads.container;
    assert!((3..=12).contains(&reads), "22 seconds of three containers took {reads} reads");
    bench.pass(15).await;
    assert_eq!(bench.told().await.len(), 3);
}

#[tokio::test]
async fn containers_of_others_cost_pages_and_no_confusion() {
    let (mut bench, api) = Bench::on(Options::default()).await;
    foreign(&bench, 250).await;
    for number in 0..4 {
        bench.start(brief("p", &format!("b{number}"), &seconds(60))).await;
    }
    bench.pass(59).await;
    assert_eq!((bench.told().await, api.account().reads.container), (vec![], 0));
    bench.pass(12).await;
    assert_eq!(bench.told().await.len(), 4);
    assert_eq!(api.account().reads.container, 4);
}

#[tokio::test]
async fn among_very_many_containers_of_others_a_few_jobs_are_polled() {
    let (mut bench, api) = Bench::on(Options::default()).await;
    foreign(&bench, 900).await;
    for number in 0..2 {
        bench.start(brief("p", &format!("b{number}"), &seconds(100))).await;
    }
    bench.pass(115).await;
    assert_eq!(bench.told().await.len(), 2);
    let reads = api.account().reads;
    assert!(reads.list <= 9, "{reads:?}");
    assert!(reads.job >= 10 && reads.job <= 40, "{reads:?}");
}

/// Somebody else's jobs in the same project, which never end.
async fn foreign(bench: &Bench, jobs: usize) {
    let body = json!({ "brief": { "hook": "theirs" }, "metadata": { "sandbox": { "never": true } } });
    for _ in 0..jobs {
        let trace = TraceContext::default();
        bench.track.api.submit("p", Uuid::new_v4(), &body.to_string(), trace).await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_hours_hides_nothing() {
    for (ours, theirs) in [(START, "2026-05-01T06:00:00Z"), ("2026-05-01T06:00:00Z", START)] {
        let clocks = [ours, theirs].map(|start| Clock::stepped(start.parse().unwrap()));
        let api = simulator(Options::default(), &clocks[1]).await;
        let mut bench = Bench::against(&api.base_url, &api.api_key, clocks[0].clone(), None).await;
        bench.api_clock = Some(clocks[1].clone());
        for number in 0..4 {
            bench.start(brief("p", &format!("b{number}"), &seconds(60))).await;
        }
        bench.pass(59).await;
        assert_eq!((bench.told().await, api.account().reads.container), (vec![], 0), "{ours}");
        bench.pass(12).await;
        assert_eq!(bench.told().await.len(), 4, "{ours}");
    }
}

#[tokio::test]
async fn containers_have_the_ids_that_the_api_answered_with() {
    for form in [ContainerIds::CntAlias, ContainerIds::CntOnly] {
        let (mut bench, api) = Bench::on(Options { container_ids: form, ..Options::default() }).await;
        let first = bench.start(brief("p", "b1", &seconds(30))).await;
        bench.start(brief("p", "b2", &seconds(30))).await;
        bench.pass(41).await;
        assert_eq!(bench.told().await.len(), 2);
        assert_eq!(api.account().reads.container, 2);
        let records = bench.records().await;
        assert!(records.iter().any(|record| record["containerId"] == json!(first[0])));
    }
}

#[tokio::test]
async fn a_restart_goes_on_with_what_runs() {
    let (mut bench, api) = Bench::on(Options::default()).await;
    for number in 0..4 {
        bench.start(brief("p", &format!("b{number}"), &seconds(60))).await;
    }
    bench.pass(20).await;
    let mut bench = bench.restart((&api.base_url, &api.api_key)).await;
    bench.pass(52).await;
    assert_eq!(bench.told().await.len(), 4);
    assert_eq!(api.account().reads.container, 4);
}
