//! An API that answers no start.

use super::*;

/// `submit.concurrency`
const PLACES: i64 = 32;

async fn bench() -> Bench {
    let bench = Bench::with(Options::default(), |settings| settings.layers.max_running_jobs = 60).await;
    let sent = bench.send("p", 5_000, json!({})).await;
    assert_eq!(sent, vec![Decision::New; 5_000]);
    bench
}

fn down(easing: bool) -> Vec<(String, String, bool)> {
    vec![("account".to_owned(), "API_DOWN".to_owned(), easing)]
}

#[tokio::test]
async fn ten_minutes_of_lost_answers_with_5000_briefs_waiting_leave_34_unknown_at_most_and_are_tried_by_one_job_at_a_time()
 {
    let mut bench = bench().await;
    bench.api.change("faults", json!({"reset-before": 1.0})).await;
    bench.settle().await;
    assert_eq!(bench.held().await, down(false));
    bench.pass(MINUTE * 10).await;
    assert_eq!(bench.held().await, down(false));
    let beyond = bench.unknown().await - PLACES;
    assert!((1..=2).contains(&beyond), "{beyond} that kept no place were tried, too");
    let posts = i64::try_from(bench.api.posts()).unwrap();
    assert!((PLACES + 6..=PLACES + 11).contains(&posts), "{posts} POSTs");
    assert_eq!(bench.attempts_told().await, posts, "and no more lines in the story");
    let tried = bench.number("SELECT count(*) FROM job WHERE attempts = 2").await;
    assert_eq!(tried, posts - PLACES - beyond, "each time another one");
    assert!(bench.api.account().reads.whoami <= 12);

    bench.api.change("faults", json!({})).await;
    bench.pass(MINUTE * 2).await;
    assert_eq!(bench.held().await, []);
    assert_eq!(bench.unknown().await, 0);
    let account = bench.api.account();
    let repeated = account.jobs_made - 60;
    assert!(repeated <= 2, "as many as may run, and {repeated} that were asked about again");
    assert!(account.jobs_by_key.values().all(|jobs| jobs.len() == 1));
}

#[tokio::test]
async fn while_not_even_reads_are_answered_nothing_is_posted_at_all() {
    let mut bench = bench().await;
    bench.api.change("faults", json!({"reset-before": 1.0, "read-reset": 1.0})).await;
    bench.pass(MINUTE * 10).await;
    assert_eq!((bench.held().await, bench.unknown().await), (down(false), PLACES));
    let account = bench.api.account();
    assert_eq!(i64::try_from(account.posts.generate).unwrap(), PLACES);
    assert!((9..=11).contains(&account.reads.whoami), "{}", account.reads.whoami);
    assert!(account.reads.list <= 11, "{}", account.reads.list);
    bench.api.change("faults", json!({})).await;
    bench.pass(MINUTE * 2).await;
    assert_eq!((bench.held().await, bench.api.account().jobs_made), (vec![], 60));
}

#[tokio::test]
async fn an_api_that_is_gone_is_called_by_32_jobs_once_and_then_only_read() {
    let mut bench = bench().await;
    bench.api.go_away().await;
    bench.pass(MINUTE * 10).await;
    assert_eq!((bench.held().await, bench.unknown().await), (down(false), 0));
    assert_eq!(bench.attempts_told().await, PLACES);
    bench.api.come_back().await;
    bench.pass(MINUTE * 2).await;
    assert_eq!((bench.held().await, bench.api.account().jobs_made), (vec![], 60));
}

#[tokio::test]
async fn one_answer_lets_one_job_at_a_time_through_until_one_more_was_answered() {
    let mut bench = bench().await;
    bench.api.change("faults", json!({"reset-before": 1.0})).await;
    bench.settle().await;
    bench.api.change("faults", json!({})).await;
    bench.clock.advance(MINUTE);
    assert_eq!(bench.turn().await, 1);
    assert_eq!(bench.held().await, down(true));
    assert_eq!(bench.turn().await, 1);
    assert_eq!(bench.held().await, []);
    assert!(bench.turn().await > 1);
}

#[tokio::test]
async fn an_answer_that_is_lost_again_while_it_eases_off_holds_again_until_the_next_test() {
    let mut bench = bench().await;
    bench.api.change("faults", json!({"reset-before": 1.0})).await;
    bench.settle().await;
    bench.api.change("faults", json!({})).await;
    bench.clock.advance(MINUTE);
    assert_eq!(bench.turn().await, 1);
    bench.api.change("faults", json!({"reset-before": 1.0})).await;
    assert_eq!(bench.turn().await, 1);
    let posts = bench.api.posts();
    bench.pass(Duration::from_secs(50)).await;
    assert_eq!((bench.held().await, bench.api.posts()), (down(false), posts));
    bench.pass(Duration::from_secs(15)).await;
    assert_eq!(bench.api.posts(), posts + 1);
}

#[tokio::test]
async fn fewer_jobs_than_places_are_just_tried_again() {
    let mut bench = Bench::new(Options::default()).await;
    bench.send("p", 3, json!({})).await;
    bench.api.go_away().await;
    bench.pass(MINUTE).await;
    assert_eq!(bench.held().await, []);
    assert!(bench.attempts_told().await > 6);
    bench.api.come_back().await;
    bench.pass(MINUTE * 5).await;
    assert_eq!(bench.api.account().jobs_made, 3);
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_frees_the_place() {
    let mut bench = Bench::with(Options::default(), |settings| settings.submit.concurrency = 2).await;
    bench.send("p", 4, json!({"metadata": {"sandbox": {"faults": ["odd-retry-after"]}}})).await;
    bench.settle().await;
    assert_eq!((bench.held().await, bench.unknown().await), (vec![], 0));
    assert_eq!(bench.number("SELECT count(*) FROM job WHERE silent").await, 0);
}
