//! From the claim to the end: jobs of the `generate` kind.

use super::*;
use crate::job::Event;

#[tokio::test]
async fn one_variant_goes_from_ready_to_completed_with_one_record() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"metadata": {"cms": 7}}))).await;
    let job = bench.claim_one().await;
    assert_eq!((job.attempts, job.unknown_first_at), (1, None));
    assert_eq!(bench.brief_state().await.0, "submitting");
    assert!(bench.claim().await.is_empty(), "claimed once");
    bench.minutes_pass(1);
    bench.accept(job.id, &["c1"]).await;
    let running = bench.ledger.running((0, 0), 10).await.unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].open, ["c1"]);
    bench.minutes_pass(1);
    assert_eq!(bench.settle(job.id, &[("c1", DONE)], true).await, 1);
    assert_eq!(bench.settle(job.id, &[("c1", DONE)], true).await, 0, "settled before");
    assert_eq!(bench.brief_state().await.0, "completed");
    assert_eq!(bench.job_states().await, ["completed"]);
    let record = bench.publish().await.remove(0);
    assert_eq!(record["type"], "container.completed");
    assert_eq!(record["containerId"], "c1");
    assert_eq!(record["jobId"], format!("job_{}", job.id));
    assert_eq!(record["metadata"]["cms"], 7);
    assert_eq!(record["error"], Value::Null);
    assert_eq!(record["submittedAt"], "2026-05-01T00:00:00Z");
    assert_eq!(record["finishedAt"], "2026-05-01T00:02:00Z");
}

#[tokio::test]
async fn each_of_three_variants_is_published_when_it_ends() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 3}))).await;
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c1", "c2", "c3"]).await;
    bench.settle(job.id, &[("c2", DONE)], false).await;
    assert_eq!(bench.pending_records().await, [("container.completed".to_owned(), 1, Some(2))]);
    assert_eq!(bench.brief_state().await.0, "running");
    bench.settle(job.id, &[("c1", FAILED)], false).await;
    bench.settle(job.id, &[("c3", DONE)], true).await;
    assert_eq!(bench.brief_state().await.0, "partial");
    assert_eq!(bench.job_states().await, ["completed"]);
    assert_eq!(bench.publish().await.len(), 3);
}

#[tokio::test]
async fn a_brief_whose_containers_were_all_canceled_is_canceled() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({"variantCount": 2})), &[("c1", CANCELED), ("c2", CANCELED)]).await;
    assert_eq!(bench.brief_state().await.0, "canceled");
    assert_eq!(bench.job_states().await, ["canceled"]);
    let types: Vec<_> = bench.publish().await.iter().map(|one| one["type"].clone()).collect();
    assert_eq!(types, ["container.canceled", "container.canceled"]);
}

#[tokio::test]
async fn more_containers_than_asked_for_are_all_owed() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", DONE), ("c2", DONE)]).await;
    assert_eq!(bench.brief_state().await.0, "completed");
    let records = bench.publish().await;
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record["variantCount"] == 2));
}

#[tokio::test]
async fn a_container_that_is_named_twice_is_one_container() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 2}))).await;
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c1", "c1"]).await;
    bench.settle(job.id, &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await.0, "partial");
    assert_eq!(bench.publish().await.len(), 2);
}

#[tokio::test]
async fn variants_that_were_never_named_are_missing_once_the_job_is_over() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 3}))).await;
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c1"]).await;
    bench.settle(job.id, &[("c1", DONE)], false).await;
    assert_eq!(bench.brief_state().await.0, "running", "the others may yet be named");
    assert_eq!(bench.settle(job.id, &[], true).await, 2);
    assert_eq!(bench.brief_state().await.0, "partial");
    let records = bench.publish().await;
    let missing: Vec<_> = records
        .iter()
        .filter(|one| one["error"]["code"] == "CONTAINER_MISSING")
        .map(|one| &one["variant"])
        .collect();
    assert_eq!(missing, [&json!(2), &json!(3)]);
    assert!(records[1]["containerId"].is_null());
}

#[tokio::test]
async fn a_refusal_ends_all_variants_with_one_record_of_the_brief() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 3}))).await;
    let job = bench.claim_one().await;
    bench.refuse(job.id, "MODERATION_BLOCKED").await;
    assert_eq!(bench.brief_state().await.0, "failed");
    let record = bench.publish().await.remove(0);
    assert_eq!(record["type"], "brief.failed");
    assert_eq!(record["error"]["remedy"], "change");
    assert_eq!(record["request"]["briefId"], "b");
}

#[tokio::test]
async fn harmless_attempts_hand_the_job_back() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    for again in [Again::Unclaimed, Again::NotConnected, Again::ToldToWait, Again::Held] {
        let job = bench.claim_one().await;
        assert_eq!(bench.record(job.id, AttemptOutcome::Again(again)).await.unwrap(), JobState::Ready);
        assert_eq!(bench.brief_state().await.0, "waiting");
        assert_eq!(bench.number("SELECT submitted_at IS NULL FROM run").await, 1);
    }
    assert_eq!(bench.number("SELECT unrecorded FROM job").await, 0);
    assert_eq!(bench.number("SELECT touched FROM brief").await, 0);
}

#[tokio::test]
async fn what_has_expired_ends_from_ready_only_and_also_when_nothing_may_start() {
    let bench = Bench::new().await;
    let expiring = json!({"expiresAt": "2026-05-01T00:10:00Z"});
    bench.send(numbered(1, expiring.clone())).await;
    let job = bench.claim_one().await;
    bench.send(numbered(2, expiring)).await;
    bench.minutes_pass(11);
    // No start is permitted, or all are held: a limit of 0.
    let work = bench.write(bench.claim_of(0)).await.unwrap();
    assert_eq!((work.claimed.len(), work.expired), (0, 1));
    assert_eq!(bench.job_states().await, ["submitting", "rejected"]);
    let record = bench.publish().await.remove(0);
    assert_eq!((&record["briefId"], &record["error"]["code"]), (&json!("b2"), &json!("EXPIRED")));
    // The one of which a POST may have left is followed, expired or not.
    bench.lose_answer(job.id).await;
    bench.minutes_pass(2);
    let work = bench.write(bench.claim_of(10)).await.unwrap();
    assert_eq!((work.claimed.len(), work.expired), (1, 0));
}

#[tokio::test]
async fn nothing_starts_before_its_time() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"notBefore": "2026-05-01T01:00:00Z"}))).await;
    assert!(bench.claim().await.is_empty());
    assert_eq!(bench.ledger.next_due(bench.now()).await.unwrap(), Some(at("2026-05-01T01:00:00Z")));
    bench.minutes_pass(60);
    assert_eq!(bench.ledger.next_due(bench.now()).await.unwrap(), None);
    assert_eq!(bench.claim().await.len(), 1);
}

#[tokio::test]
async fn an_outcome_is_recorded_once_and_only_under_the_claim_it_was_made_under() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await;
    let foreign = RecordOutcome {
        job: job.id,
        boot: "another".to_owned(),
        attempt: job.attempts,
        outcome: accepted(Some("j"), &["c1"]),
        told: Told::default(),
        now_ms: bench.now(),
        retry_ms: bench.now(),
    };
    assert!(matches!(bench.write(foreign).await, Err(LedgerError::Conflict(_))));
    bench.accept(job.id, &["c1"]).await;
    let twice = bench.record(job.id, accepted(Some("j"), &["c1"])).await;
    assert!(matches!(twice, Err(LedgerError::Conflict(_))), "{twice:?}");
    let late = bench.record(job.id, refused("VALIDATION_FAILED")).await;
    assert!(matches!(late, Err(LedgerError::Conflict(_))), "{late:?}");
    assert_eq!(bench.job_states().await, ["running"]);
    assert_eq!(bench.number("SELECT count(*) FROM container").await, 1);
}

#[tokio::test]
async fn an_outcome_that_the_table_of_transitions_does_not_have_changes_nothing() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await;
    let error = || Box::new(RecordError::new(Source::Layers, "X", "x"));
    for event in [Event::Expired, Event::CanceledHere, Event::Undecidable, Event::SeenBefore] {
        let result = bench.record(job.id, AttemptOutcome::Parked(event, error())).await;
        assert!(matches!(result, Err(LedgerError::Conflict(_))), "{event:?}: {result:?}");
    }
    assert_eq!(bench.number("SELECT count(*) FROM history WHERE what = 'attempt'").await, 0);
    bench.accept(job.id, &["c1"]).await;
}

#[tokio::test]
async fn an_outcome_that_is_written_again_is_not_taken_for_that_of_the_next_attempt() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let first = bench.claim_one().await;
    let lost = || AttemptOutcome::Again(Again::NotConnected);
    bench.record_attempt((first.id, first.attempts), lost()).await.unwrap();
    let second = bench.claim_one().await;
    assert_eq!((second.id, second.attempts), (first.id, 2));
    let again = bench.record_attempt((first.id, first.attempts), lost()).await;
    assert!(matches!(again, Err(LedgerError::Conflict(_))), "{again:?}");
    assert_eq!(bench.job_states().await, ["submitting"], "the second POST is still under way");
}

#[tokio::test]
async fn every_running_job_is_found_page_by_page_however_many_were_accepted_at_once() {
    let bench = Bench::new().await;
    for number in 1..=5 {
        bench.send(numbered(number, json!({}))).await;
    }
    for job in bench.claim().await {
        bench.accept(job.id, &[&format!("c{}", job.id)]).await;
    }
    let (mut after, mut found) = ((0, 0), Vec::new());
    loop {
        let page = bench.ledger.running(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = (last.accepted_ms, last.job);
        found.extend(page.iter().map(|job| job.job));
    }
    assert_eq!(found, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_settlement_says_whether_there_is_anything_left_to_follow() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 2}))).await;
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c1", "c2"]).await;
    for (container, over) in [("c1", false), ("c2", true)] {
        let ends = vec![bench.end(container, DONE)];
        let settle = Settle { job: job.id, ends, close: false, now_ms: bench.now() };
        assert_eq!(bench.write(settle).await.unwrap().over, over, "after {container}");
    }
}
