//! The contract's table "What happens to what comes in", a row a test. Conflicts and remembered reruns have files of
//! their own.

use super::*;

#[tokio::test]
async fn what_cannot_be_read_is_set_aside_with_its_body_and_the_reason() {
    let bench = Bench::new().await;
    let texts = [
        "not json",
        "[]",
        r#"{"projectId":"p","projectId":"p","brief":{}}"#,
        r#"{"projectId":"p","brief":{"n":9007199254740993}}"#,
        r#"{"brief":{"hook":"x"}}"#,
        "{\"projectId\":\"a\\nb\",\"brief\":{}}",
    ];
    let decided = bench.send_all(texts.iter().map(|text| received(text)).collect()).await;
    assert!(decided.iter().all(|one| *one == (Decision::Unreadable, None)), "{decided:?}");
    let rows = bench.pending().await;
    assert_eq!(rows.len(), texts.len());
    for (row, text) in rows.iter().zip(texts) {
        assert_eq!(row.message.body, text.as_bytes());
        assert_eq!(row.message.properties.headers["x-briefd-reason"], "UNREADABLE");
        assert!(!row.message.properties.headers["x-briefd-detail"].as_str().unwrap().is_empty());
        assert_eq!(row.message.properties.correlation_id.as_deref(), Some("corr-1"));
    }
}

#[tokio::test]
async fn a_new_brief_waits_with_one_job_whose_key_and_bytes_are_made_once() {
    let bench = Bench::new().await;
    let message = r#"{"projectId":"p","briefId":"b","priority":7,"brief":{"hook" : "Run"},"variantCount":2}"#;
    assert_eq!(bench.send_all(vec![received(message)]).await, [(Decision::New, Some(1))]);
    assert_eq!(bench.brief_state().await, ("waiting".to_owned(), 1));
    let job = bench.claim_one().await;
    let alias = job.alias.clone().unwrap();
    assert_eq!(job.body, format!(r#"{{"id":"{alias}","brief":{{"hook" : "Run"}},"variantCount":2}}"#));
    assert_eq!(job.variant_count, 2);
    assert_eq!(bench.number("SELECT owed FROM run").await, 2);
}

#[tokio::test]
async fn an_invalid_brief_ends_at_once_with_every_violation_and_no_job() {
    let bench = Bench::new().await;
    let message = json!({"projectId":"p","briefId":"b","variantCount":9,"format":"gif","wat":1});
    assert_eq!(bench.send(message).await, Decision::Invalid);
    assert_eq!(bench.brief_state().await, ("failed".to_owned(), 1));
    assert!(bench.job_states().await.is_empty());
    let record = bench.publish().await.remove(0);
    assert_eq!(record["type"], "brief.failed");
    assert_eq!(record["error"]["code"], "INVALID_BRIEF");
    assert_eq!(record["error"]["source"], "briefd");
    let violations = record["error"]["details"]["violations"].as_array().unwrap();
    let mut paths: Vec<_> = violations.iter().map(|one| one["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["brief", "format", "variantCount", "wat"]);
    assert_eq!(record["request"]["variantCount"], 9);
}

#[tokio::test]
async fn a_repeat_of_what_is_open_is_a_duplicate_and_changed_scheduling_is_ignored() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"priority": 3}))).await;
    assert_eq!(bench.send(brief("Run", json!({"priority": 9}))).await, Decision::Duplicate);
    assert_eq!(bench.send(brief("Run", json!({"metadata": {"run": 7}}))).await, Decision::Duplicate);
    let job = bench.claim_one().await;
    assert_eq!(bench.send(brief("Run", json!({}))).await, Decision::Duplicate);
    bench.accept(job.id, &["c1"]).await;
    assert_eq!(bench.send(brief("Run", json!({}))).await, Decision::Duplicate);
    assert_eq!(bench.number("SELECT priority FROM job").await, 3);
    assert!(bench.pending().await.is_empty());
}

#[tokio::test]
async fn two_same_briefs_in_one_batch_of_deliveries_make_one_job() {
    let bench = Bench::new().await;
    let text = brief("Run", json!({})).to_string();
    let other = brief("Walk", json!({})).to_string();
    let decided = bench.send_all(vec![received(&text), received(&text), received(&other)]).await;
    let words: Vec<_> = decided.iter().map(|(decision, _)| *decision).collect();
    assert_eq!(words, [Decision::New, Decision::Duplicate, Decision::Replaced]);
    assert_eq!(bench.claim().await.len(), 1);
}

#[tokio::test]
async fn a_repeat_of_what_completed_sends_its_records_again_unchanged() {
    let bench = Bench::new().await;
    let message = brief("Run", json!({"variantCount": 2}));
    bench.run_through(message.clone(), &[("c1", DONE), ("c2", DONE)]).await;
    let first: Vec<_> =
        bench.pending().await.into_iter().map(|row| (row.message.message_id, row.message.body)).collect();
    bench.publish().await;
    assert_eq!(bench.send(message.clone()).await, Decision::Republished);
    let again: Vec<_> =
        bench.pending().await.into_iter().map(|row| (row.message.message_id, row.message.body)).collect();
    assert_eq!(first, again);
    bench.publish().await;
    // Asking for the next run of what completed buys nothing.
    let mut next = message;
    next["run"] = json!(2);
    assert_eq!(bench.send(next).await, Decision::Republished);
    assert_eq!(bench.pending().await.len(), 2);
    assert!(bench.claim().await.is_empty());
    assert_eq!(bench.brief_state().await, ("completed".to_owned(), 1));
}

#[tokio::test]
async fn a_repeat_of_what_was_refused_sends_its_brief_level_record_again() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await;
    bench.refuse(job.id, "MODERATION_BLOCKED").await;
    let first = bench.publish().await;
    assert_eq!(bench.send(brief("Run", json!({}))).await, Decision::Republished);
    assert_eq!(bench.publish().await, first);
    assert!(bench.claim().await.is_empty());
}

#[tokio::test]
async fn a_rerun_of_a_brief_without_containers_is_submitted_anew_under_another_key() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let first = bench.claim_one().await;
    bench.refuse(first.id, "VALIDATION_FAILED").await;
    // Without containers anything may differ.
    let rerun = brief("Walk", json!({"run": 2, "format": "ugc_remix", "variantCount": 3}));
    assert_eq!(bench.send(rerun.clone()).await, Decision::Rerun);
    assert_eq!(bench.send(rerun).await, Decision::Duplicate);
    let second = bench.claim_one().await;
    assert_eq!((second.run, second.kind.as_str()), (2, "generate"));
    assert_ne!(first.idempotency_key, second.idempotency_key);
    assert_ne!(first.alias, second.alias);
    bench.accept(second.id, &["c1", "c2", "c3"]).await;
    bench.settle(second.id, &[("c1", DONE), ("c2", DONE), ("c3", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("completed".to_owned(), 2));
    // The first run's message comes again, late: nothing of it is bought again.
    assert_eq!(bench.send(brief("Run", json!({}))).await, Decision::Duplicate);
    assert!(bench.claim().await.is_empty());
}

#[tokio::test]
async fn an_invalid_rerun_of_a_brief_without_containers_ends_at_once() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 9}))).await;
    let rerun = brief("Run", json!({"variantCount": 8, "run": 2}));
    assert_eq!(bench.send(rerun).await, Decision::Rerun);
    assert_eq!(bench.brief_state().await, ("failed".to_owned(), 2));
    assert_eq!(bench.publish().await.len(), 2);
}

#[tokio::test]
async fn a_rerun_where_containers_exist_takes_those_that_did_not_complete() {
    let bench = Bench::new().await;
    bench
        .run_through(
            brief("Run", json!({"variantCount": 3})),
            &[("c1", DONE), ("c2", FAILED), ("c3", CANCELED)],
        )
        .await;
    assert_eq!(bench.brief_state().await, ("partial".to_owned(), 1));
    assert_eq!(bench.send(brief("Walk", json!({"variantCount": 3, "run": 2}))).await, Decision::Rerun);
    assert_eq!(bench.number("SELECT owed FROM run WHERE run = 2").await, 2);
    bench.inspected_all().await;
    let jobs = bench.claim().await;
    let taken: Vec<_> = jobs.iter().map(|job| job.container.as_deref().unwrap()).collect();
    assert_eq!(taken, ["c2", "c3"]);
    assert!(
        jobs.iter().all(|job| job.body == r#"{"patch":{"brief":{"hook":"Walk"}}}"# && job.alias.is_none())
    );
}

#[tokio::test]
async fn other_content_replaces_what_still_waits_and_the_old_run_has_no_record() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 2}))).await;
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Replaced);
    assert_eq!(bench.brief_state().await, ("waiting".to_owned(), 2));
    assert_eq!(bench.job_states().await, ["canceled", "ready"]);
    assert_eq!(bench.texts("SELECT state FROM run ORDER BY run").await, ["superseded", "waiting"]);
    let job = bench.claim_one().await;
    assert!(job.body.contains("Walk"));
    // The superseded content comes again: it is an earlier run's.
    assert_eq!(bench.send(brief("Run", json!({"variantCount": 2}))).await, Decision::Duplicate);
    bench.accept(job.id, &["c1"]).await;
    bench.settle(job.id, &[("c1", DONE)], true).await;
    assert_eq!(bench.pending_records().await, [("container.completed".to_owned(), 2, Some(1))]);
}

#[tokio::test]
async fn other_content_replaces_what_was_refused_expired_or_invalid() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await;
    bench.refuse(job.id, "VALIDATION_FAILED").await;
    let expiring = brief("Walk", json!({"expiresAt": "2026-05-01T00:10:00Z"}));
    assert_eq!(bench.send(expiring).await, Decision::Replaced);
    bench.minutes_pass(11);
    let work = bench.write(bench.claim_of(10)).await.unwrap();
    assert_eq!((work.claimed.len(), work.expired), (0, 1));
    assert_eq!(bench.send(brief("Crawl", json!({"wat": 1}))).await, Decision::Replaced);
    assert_eq!(bench.brief_state().await, ("failed".to_owned(), 3));
    assert_eq!(bench.send(brief("Fly", json!({}))).await, Decision::Replaced);
    let job = bench.claim_one().await;
    assert_eq!(job.run, 4);
    let codes: Vec<_> = bench.publish().await.iter().map(|one| one["error"]["code"].clone()).collect();
    assert_eq!(codes, ["VALIDATION_FAILED", "EXPIRED", "INVALID_BRIEF"]);
}

#[tokio::test]
async fn a_brief_of_a_file_goes_to_the_queue_that_asks_for_it_but_not_by_a_message_that_is_refused() {
    let bench = Bench::new().await.restart_for(Input::File("a.jsonl".to_owned())).await;
    bench.run_through(brief("Run", json!({})), &[("c1", DONE)]).await;
    let bench = bench.restart_for(Input::Queue).await;
    assert!(bench.pending().await.is_empty());
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Conflict);
    assert_eq!(bench.texts("SELECT input FROM brief").await, ["file:a.jsonl"]);
    assert_eq!(bench.pending().await.len(), 1, "the dead letter only");
    assert_eq!(bench.send(brief("Run", json!({}))).await, Decision::Republished);
    assert_eq!(bench.texts("SELECT input FROM brief").await, ["queue"]);
    assert_eq!(bench.pending().await.len(), 2);
}

#[tokio::test]
async fn a_file_does_not_take_what_the_queues_consumers_have_not_got_yet() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", DONE)]).await;
    let bench = bench.restart_for(Input::File("a.jsonl".to_owned())).await;
    assert_eq!(bench.send(brief("Run", json!({}))).await, Decision::Republished);
    assert!(bench.pending().await.is_empty());
    let bench = bench.restart_for(Input::Queue).await;
    assert_eq!(bench.publish().await.len(), 1);
    let bench = bench.restart_for(Input::File("a.jsonl".to_owned())).await;
    assert_eq!(bench.send(brief("Run", json!({}))).await, Decision::Republished);
    assert_eq!(bench.pending().await.len(), 1);
}
