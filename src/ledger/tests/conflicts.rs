//! What is set aside because it contradicts what is known. Nothing of it is ever bought.

use super::*;

/// The detail of the newest dead letter.
async fn detail(bench: &Bench) -> String {
    let row = bench.pending().await.into_iter().rfind(|row| row.kind == "BRIEF_CONFLICT").unwrap();
    assert_eq!(row.message.properties.headers["x-briefd-reason"], "BRIEF_CONFLICT");
    row.message.properties.headers["x-briefd-detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_later_run_of_an_unknown_brief_is_set_aside() {
    let bench = Bench::new().await;
    assert_eq!(bench.send(brief("Run", json!({"run": 2}))).await, Decision::Conflict);
    assert!(detail(&bench).await.contains("enqueue run 1 first"));
    assert_eq!(bench.number("SELECT count(*) FROM brief").await, 0);
}

#[tokio::test]
async fn a_run_beyond_the_next_one_is_set_aside_whatever_the_state() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    assert_eq!(bench.send(brief("Run", json!({"run": 3}))).await, Decision::Conflict);
    let job = bench.claim_one().await;
    bench.refuse(job.id, "VALIDATION_FAILED").await;
    assert_eq!(bench.send(brief("Run", json!({"run": 3}))).await, Decision::Conflict);
    assert!(detail(&bench).await.contains("ask for run 2"));
}

#[tokio::test]
async fn a_post_in_flight_counts_as_unknown() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await;
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Conflict);
    assert!(detail(&bench).await.contains("brief.hook"));
    // It turns out that nothing had left: replacing is possible again.
    let state = bench.record(job.id, AttemptOutcome::Again(Again::NotConnected)).await.unwrap();
    assert_eq!(state, JobState::Ready);
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Replaced);
}

#[tokio::test]
async fn other_content_is_a_conflict_once_anything_was_accepted_or_unknown() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await;
    bench.lose_answer(job.id).await;
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Conflict);
    bench.minutes_pass(1);
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c1"]).await;
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Conflict);
    bench.settle(job.id, &[("c1", FAILED)], true).await;
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Conflict);
}

#[tokio::test]
async fn a_conflict_names_at_most_five_paths_that_differ() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", DONE)]).await;
    let other = json!({
        "projectId": "p", "briefId": "b", "format": "auto", "variantCount": 2, "targetPlatforms": ["tiktok"],
        "brief": { "hook": "Walk", "cta": "x", "topic": "y", "angle": "z" },
    });
    assert_eq!(bench.send(other).await, Decision::Conflict);
    let detail = detail(&bench).await;
    let paths = detail.split("differs in ").nth(1).unwrap().split(';').next().unwrap();
    assert_eq!(paths.split(", ").count(), 5, "{detail}");
    assert!(paths.contains("brief.hook"), "{detail}");
}

#[tokio::test]
async fn a_rerun_that_changes_more_than_the_brief_is_set_aside_where_containers_exist() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", FAILED)]).await;
    let changed = brief("Run", json!({"run": 2, "format": "ugc_remix"}));
    assert_eq!(bench.send(changed).await, Decision::Conflict);
    assert!(detail(&bench).await.contains("format"));
    let invalid = brief("Run", json!({"run": 2, "wat": 1}));
    assert_eq!(bench.send(invalid).await, Decision::Conflict);
    assert_eq!(bench.brief_state().await, ("failed".to_owned(), 1));
    assert_eq!(bench.send(brief("Walk", json!({"run": 2}))).await, Decision::Rerun);
}

#[tokio::test]
async fn a_rerun_with_nothing_to_take_is_set_aside_and_buys_nothing() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 2}))).await;
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c1"]).await;
    bench.settle(job.id, &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("partial".to_owned(), 1));
    assert_eq!(bench.send(brief("Run", json!({"variantCount": 2, "run": 2}))).await, Decision::Conflict);
    assert!(bench.claim().await.is_empty());
}
