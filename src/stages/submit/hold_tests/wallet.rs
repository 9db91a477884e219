//! No credits.

use super::*;

fn one_402(credits: u64) -> Options {
    Options { credits: Some(credits), replay_billing: false, ..Options::default() }
}

fn of(scope: &str, easing: bool) -> Vec<(String, String, bool)> {
    vec![(scope.to_owned(), "BILLING_EXHAUSTED".to_owned(), easing)]
}

#[tokio::test]
async fn a_wallet_that_has_too_little_for_one_project_holds_that_project_only_and_tells_the_sum() {
    let mut bench = Bench::new(one_402(290)).await;
    bench.send("p", 5, json!({})).await;
    bench.settle().await;
    assert_eq!(bench.held().await, of("project p", false));
    let hold = &bench.holds().await[0];
    assert_eq!((hold.required, hold.available, hold.stops_reads), (Some(120), Some(50), false));
    assert_eq!(bench.api.account().reads.credits, 1, "not once for each of them");
    assert_eq!(bench.stage.desk.metrics.credits_available.get().to_bits(), 50_f64.to_bits(), "shown at once");
    // Somebody else's cheaper ones can be paid, which says nothing about those of the first project.
    let posts = bench.api.posts() + 1;
    bench.send("q", 1, json!({"format": "slideshow_remix"})).await;
    bench.settle().await;
    assert_eq!((bench.api.account().jobs_made, bench.api.posts()), (3, posts));
    assert_eq!(bench.held().await, of("project p", false));
    bench.pass(MINUTE * 5).await;
    assert_eq!(bench.api.posts(), posts, "the wallet is read instead");
    assert_eq!(bench.holds().await[0].available, Some(0));

    bench.api.change("account", json!({"balance": 100_000})).await;
    bench.pass(MINUTE).await;
    assert_eq!((bench.held().await, bench.api.account().jobs_made), (vec![], 6));
}

#[tokio::test]
async fn an_empty_wallet_holds_the_account_until_the_cheapest_can_be_paid() {
    let mut bench = Bench::new(one_402(280)).await;
    bench.send("p", 5, json!({})).await;
    bench.settle().await;
    assert_eq!(bench.held().await, of("account", false));
    assert_eq!((bench.holds().await[0].required, bench.holds().await[0].available), (Some(120), Some(40)));
    bench.send("q", 2, json!({"format": "slideshow_remix"})).await;
    let posts = bench.api.posts();
    bench.pass(MINUTE * 10).await;
    let account = bench.api.account();
    assert_eq!(account.posts.generate, posts);
    assert!((10..=11).contains(&account.reads.credits), "{}", account.reads.credits);

    // Enough for the cheap ones: the account goes on, and what still cannot be paid holds its project only.
    bench.api.change("account", json!({"balance": 100})).await;
    bench.pass(MINUTE * 2).await;
    assert_eq!(bench.api.account().jobs_made, 4);
    assert_eq!(bench.held().await.len(), 1, "{:?}", bench.held().await);
    bench.api.change("account", json!({"balance": 100_000})).await;
    bench.pass(MINUTE * 3).await;
    assert_eq!((bench.held().await, bench.api.account().jobs_made), (vec![], 7));
}

#[tokio::test]
async fn without_a_wallet_to_read_one_job_a_minute_tries_the_project() {
    let options = Options { serves_account_endpoints: false, ..one_402(120) };
    let mut bench = Bench::new(options).await;
    bench.send("p", 5, json!({})).await;
    bench.settle().await;
    assert_eq!(bench.held().await, of("project p", false));
    let posts = bench.api.posts();
    bench.pass(MINUTE * 5).await;
    assert_eq!(bench.api.posts(), posts + 5);
    bench.api.change("account", json!({"balance": 100_000})).await;
    bench.pass(MINUTE).await;
    assert_eq!((bench.held().await, bench.api.account().jobs_made), (vec![], 5));
}

#[tokio::test]
async fn a_brief_beyond_its_own_budget_holds_nobody() {
    // However a whole number is written.
    for most in ["5", "5.0", "5e0"] {
        let most: Value = serde_json::from_str(most).unwrap();
        let mut bench = Bench::new(Options::default()).await;
        bench.send("p", 1, json!({"budget": {"maxCredits": most}})).await;
        bench.settle().await;
        assert_eq!(bench.held().await, []);
        assert_eq!(bench.number("SELECT count(*) FROM job WHERE state = 'rejected'").await, 1);
    }
}

#[tokio::test]
async fn too_little_for_one_project_is_no_empty_wallet_any_more() {
    let mut bench = Bench::new(one_402(40)).await;
    bench.send("p", 5, json!({})).await;
    bench.settle().await;
    assert_eq!(bench.held().await, of("account", false));
    let posts = bench.api.posts();
    bench.api.change("account", json!({"balance": 60})).await;
    bench.pass(MINUTE).await;
    assert_eq!((bench.held().await, bench.api.posts()), (of("project p", false), posts + 1));
    bench.send("q", 1, json!({"format": "slideshow_remix"})).await;
    bench.settle().await;
    assert_eq!(bench.api.account().jobs_made, 1);
}

#[tokio::test]
async fn a_refusal_for_want_of_credits_shows_that_the_key_is_good() {
    let mut bench = Bench::new(one_402(60)).await;
    bench.send("p", 100, json!({})).await;
    bench.api.change("account", json!({"keyRevoked": true})).await;
    bench.settle().await;
    let posts = bench.api.posts();
    bench.api.change("account", json!({"keyRevoked": false})).await;
    bench.pass(MINUTE).await;
    assert_eq!((bench.held().await, bench.api.posts()), (of("project p", false), posts + 1));
}
