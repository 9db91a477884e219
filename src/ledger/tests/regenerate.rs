//! Reruns of containers: read first, then regenerated under the same container id.

use super::*;
use crate::job::Event;

/// A brief of which these containers failed, with its rerun decided.
async fn rerun_of(containers: &[&str]) -> Bench {
    let bench = Bench::new().await;
    let ends: Vec<_> = containers.iter().map(|id| (*id, FAILED)).collect();
    let variants = json!({"variantCount": containers.len()});
    bench.run_through(brief("Run", variants), &ends).await;
    bench.publish().await;
    let rerun = brief("Run", json!({"variantCount": containers.len(), "run": 2}));
    assert_eq!(bench.send(rerun).await, Decision::Rerun);
    bench
}

#[tokio::test]
async fn nothing_is_regenerated_before_its_container_was_read() {
    let bench = rerun_of(&["c1"]).await;
    assert!(bench.claim().await.is_empty());
    let inspections = bench.inspect().await;
    assert_eq!(inspections.len(), 1);
    assert_eq!(inspections[0].container, "c1");
    assert!(inspections[0].made_by_job.as_deref().is_some_and(|job| job.starts_with("job_")));
    assert!(bench.inspect().await.is_empty(), "taken once");
    assert!(bench.claim().await.is_empty());
    assert!(bench.inspected(inspections[0].id, Found::Ended("old".to_owned())).await);
    assert!(!bench.inspected(inspections[0].id, Found::Running).await, "told once");
    let job = bench.claim_one().await;
    assert_eq!((job.kind.as_str(), job.body.as_str()), ("regenerate", "{}"));
    assert_eq!(bench.ledger.seen_before(job.id).await.unwrap().as_deref(), Some("old"));
}

#[tokio::test]
async fn a_regenerated_container_is_published_as_the_new_run() {
    let bench = rerun_of(&["c1"]).await;
    bench.inspected_all().await;
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c1"]).await;
    let running = bench.ledger.running((0, 0), 10).await.unwrap();
    assert_eq!(
        (running[0].seen_before.as_deref(), running[0].open.as_slice()),
        (Some("old"), &["c1".to_owned()][..])
    );
    bench.settle(job.id, &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("completed".to_owned(), 2));
    assert_eq!(bench.pending_records().await, [("container.completed".to_owned(), 2, Some(1))]);
}

#[tokio::test]
async fn what_is_found_completed_is_published_free() {
    let bench = rerun_of(&["c1"]).await;
    let inspection = bench.inspect().await.remove(0);
    let found = Found::Completed(Box::new(bench.end("c1", DONE)));
    assert!(bench.inspected(inspection.id, found).await);
    assert_eq!(bench.brief_state().await, ("completed".to_owned(), 2));
    assert_eq!(bench.number("SELECT attempts FROM job WHERE kind = 'regenerate'").await, 0);
    assert_eq!(bench.pending_records().await, [("container.completed".to_owned(), 2, Some(1))]);
    assert!(bench.claim().await.is_empty());
}

#[tokio::test]
async fn what_is_found_running_is_followed_free() {
    let bench = rerun_of(&["c1"]).await;
    let inspection = bench.inspect().await.remove(0);
    assert!(bench.inspected(inspection.id, Found::Running).await);
    assert_eq!(bench.brief_state().await, ("running".to_owned(), 2));
    assert!(bench.claim().await.is_empty());
    let running = bench.ledger.running((0, 0), 10).await.unwrap();
    assert_eq!((running.len(), running[0].seen_before.clone()), (1, None));
    bench.settle(inspection.id, &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("completed".to_owned(), 2));
    assert_eq!(bench.publish().await.len(), 1);
}

#[tokio::test]
async fn what_could_not_be_read_is_read_again_later() {
    let bench = rerun_of(&["c1"]).await;
    let inspection = bench.inspect().await.remove(0);
    assert!(bench.inspected(inspection.id, Found::Later(bench.now() + 10_000)).await);
    assert!(bench.inspect().await.is_empty());
    assert!(bench.claim().await.is_empty());
    bench.minutes_pass(1);
    assert_eq!(bench.inspect().await.len(), 1);
}

#[tokio::test]
async fn what_was_not_there_is_read_again_later_and_it_is_known_since_when() {
    let bench = rerun_of(&["c1"]).await;
    let inspection = bench.inspect().await.remove(0);
    assert!(inspection.told, "its record says how it ended");
    let first_ms = bench.now();
    assert!(bench.inspected(inspection.id, Found::Absent(first_ms + 10_000)).await);
    assert!(bench.inspect().await.is_empty());
    for _ in 0..2 {
        bench.minutes_pass(1);
        let inspection = bench.inspect().await.remove(0);
        assert_eq!(inspection.absent_at, Some(first_ms));
        bench.inspected(inspection.id, Found::Absent(bench.now() + 10_000)).await;
    }
}

#[tokio::test]
async fn a_crash_while_reading_costs_another_read_and_nothing_else() {
    let bench = rerun_of(&["c1"]).await;
    assert_eq!(bench.inspect().await.len(), 1);
    let bench = bench.crash().await;
    assert_eq!(bench.job_states().await[1], "ready");
    assert_eq!(bench.inspect().await.len(), 1);
}

#[tokio::test]
async fn a_regenerate_that_is_refused_has_a_record_and_leaves_the_container_as_it_was() {
    let bench = rerun_of(&["c1", "c2"]).await;
    bench.inspected_all().await;
    let jobs = bench.claim().await;
    bench.refuse(jobs[0].id, "MODERATION_BLOCKED").await;
    assert_eq!(bench.brief_state().await, ("submitting".to_owned(), 2));
    bench.accept(jobs[1].id, &["c2"]).await;
    bench.settle(jobs[1].id, &[("c2", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("partial".to_owned(), 2));
    let records = bench.publish().await;
    assert_eq!(records[0]["error"]["code"], "MODERATION_BLOCKED");
    assert_eq!((&records[0]["containerId"], &records[0]["run"]), (&json!("c1"), &json!(2)));
    assert_eq!(bench.texts("SELECT status FROM container ORDER BY variant").await, ["failed", "completed"]);
    // A repeat sends the latest record of each container.
    let again = brief("Run", json!({"variantCount": 2, "run": 2}));
    assert_eq!(bench.send(again).await, Decision::Republished);
    assert_eq!(bench.publish().await, records);
}

#[tokio::test]
async fn a_refused_rerun_of_what_was_canceled_is_failed_and_not_canceled() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", CANCELED)]).await;
    assert_eq!(bench.send(brief("Run", json!({"run": 2}))).await, Decision::Rerun);
    bench.inspected_all().await;
    let job = bench.claim_one().await;
    bench.refuse(job.id, "NOT_FOUND").await;
    assert_eq!(bench.brief_state().await, ("failed".to_owned(), 2));
}

#[tokio::test]
async fn a_rerun_that_expires_before_it_is_read_has_its_records() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", FAILED)]).await;
    bench.publish().await;
    let rerun = brief("Run", json!({"run": 2, "expiresAt": "2026-05-01T00:10:00Z"}));
    assert_eq!(bench.send(rerun).await, Decision::Rerun);
    bench.minutes_pass(11);
    assert_eq!(bench.write(bench.claim_of(10)).await.unwrap().expired, 1);
    assert_eq!(bench.brief_state().await, ("failed".to_owned(), 2));
    assert_eq!(bench.publish().await[0]["error"]["code"], "EXPIRED");
}

#[tokio::test]
async fn the_brief_shows_the_worst_of_its_jobs() {
    let bench = rerun_of(&["c1", "c2", "c3"]).await;
    bench.inspected_all().await;
    let jobs = bench.claim().await;
    assert_eq!(bench.brief_state().await.0, "submitting");
    bench.lose_answer(jobs[0].id).await;
    bench.accept(jobs[1].id, &["c2"]).await;
    assert_eq!(bench.brief_state().await.0, "submitting");
    bench.minutes_pass(2);
    let repeat = bench.claim_one().await;
    let error = Box::new(RecordError::new(Source::Layers, "NOT_FOUND", "no"));
    bench.record(repeat.id, AttemptOutcome::Parked(Event::Undecidable, error)).await.unwrap();
    assert_eq!(bench.brief_state().await.0, "parked");
    // Others go on, and the parked one is still what a person must see.
    bench.accept(jobs[2].id, &["c3"]).await;
    assert_eq!(bench.brief_state().await.0, "parked");
    bench.settle(jobs[1].id, &[("c2", DONE)], true).await;
    bench.settle(jobs[2].id, &[("c3", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("parked".to_owned(), 2));
    assert_eq!(bench.publish().await.len(), 2);
}

#[tokio::test]
async fn a_job_that_waits_does_not_hide_one_that_runs() {
    let bench = rerun_of(&["c1", "c2"]).await;
    bench.inspected_all().await;
    let jobs = bench.claim().await;
    bench.accept(jobs[0].id, &["c1"]).await;
    bench.record(jobs[1].id, AttemptOutcome::Again(Again::Held)).await.unwrap();
    assert_eq!(bench.brief_state().await.0, "running");
    bench.settle(jobs[0].id, &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await.0, "waiting");
}

#[tokio::test]
async fn a_rerun_patches_the_brief_the_container_was_really_made_with() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", FAILED)]).await;
    // Run 2 asks for another brief, but the container is found running: it is still made with the first one.
    assert_eq!(bench.send(brief("Walk", json!({"run": 2}))).await, Decision::Rerun);
    let inspection = bench.inspect().await.remove(0);
    bench.inspected(inspection.id, Found::Running).await;
    bench.settle(inspection.id, &[("c1", FAILED)], true).await;
    assert_eq!(bench.send(brief("Walk", json!({"run": 3}))).await, Decision::Rerun);
    bench.inspected_all().await;
    let third = bench.claim_one().await;
    assert_eq!(third.body, r#"{"patch":{"brief":{"hook":"Walk"}}}"#);
    bench.accept(third.id, &["c1"]).await;
    bench.settle(third.id, &[("c1", FAILED)], true).await;
    // Now it was made with it, and the next run need not patch.
    assert_eq!(bench.send(brief("Walk", json!({"run": 4}))).await, Decision::Rerun);
    bench.inspected_all().await;
    assert_eq!(bench.claim_one().await.body, "{}");
}

#[tokio::test]
async fn each_run_and_container_has_a_key_and_record_ids_of_its_own() {
    let bench = rerun_of(&["c1", "c2"]).await;
    for run in 2..5 {
        bench.inspected_all().await;
        for job in bench.claim().await {
            let container = job.container.clone().unwrap();
            bench.accept(job.id, &[&container]).await;
            bench.settle(job.id, &[(&container, FAILED)], true).await;
        }
        let next = brief("Run", json!({"variantCount": 2, "run": run + 1}));
        assert_eq!(bench.send(next).await, Decision::Rerun);
    }
    let keys = bench.number("SELECT count(DISTINCT idempotency_key) - count(*) FROM job").await;
    let ids = bench.number("SELECT count(DISTINCT message_id) - count(*) FROM outbox").await;
    assert_eq!((keys, ids), (0, 0));
    assert_eq!(bench.number("SELECT count(*) FROM outbox").await, 8);
}
