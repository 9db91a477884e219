//! Attempts of unknown outcome, crashes among them: the same key and bytes, not too soon, and never back to `ready`.

use super::*;
use crate::job::Event;

#[tokio::test]
async fn after_a_lost_answer_the_job_never_goes_back_to_ready() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"expiresAt": "2026-05-01T00:10:00Z"}))).await;
    let first = bench.claim_one().await;
    bench.lose_answer(first.id).await;
    for again in [
        Again::Unclaimed,
        Again::NotConnected,
        Again::Unanswered,
        Again::ToldToWait,
        Again::InProgress,
        Again::Held,
        Again::NotFound,
        Again::FoundInPart,
    ] {
        bench.minutes_pass(2);
        let job = bench.claim_one().await;
        assert_eq!((&job.idempotency_key, &job.body), (&first.idempotency_key, &first.body));
        assert_eq!(job.unknown_first_at, Some(at("2026-05-01T00:00:00Z")));
        assert_eq!(job.unknown_key.as_deref(), Some("key-1"));
        assert_eq!(bench.record(job.id, AttemptOutcome::Again(again)).await.unwrap(), JobState::Submitting);
        assert_eq!(bench.brief_state().await.0, "submitting");
    }
    bench.minutes_pass(2);
    let job = bench.claim_one().await;
    let refusal = bench.record(job.id, refused("VALIDATION_FAILED")).await;
    assert!(matches!(refusal, Err(LedgerError::Conflict(_))), "a refusal alone is not believed: {refusal:?}");
    let error = Box::new(RecordError::new(Source::Layers, "VALIDATION_FAILED", "no"));
    let sure = bench.record(job.id, AttemptOutcome::Rejected(Event::NotFoundForSure, error)).await.unwrap();
    assert_eq!(sure, JobState::Rejected);
    assert_eq!(bench.publish().await.len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_not_asked_for_again_before_its_time_whatever_the_retry_says() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await;
    bench.lose_answer(job.id).await; // due at once
    bench.clock.advance(Duration::from_secs(59));
    assert!(bench.claim().await.is_empty());
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.claim().await.len(), 1);
}

#[tokio::test]
async fn a_found_container_ends_the_uncertainty() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await;
    bench.lose_answer(job.id).await;
    bench.minutes_pass(1);
    let job = bench.claim_one().await;
    let state = bench.record(job.id, accepted(None, &["c1"])).await.unwrap();
    assert_eq!(state, JobState::Running);
    let running = bench.ledger.running((0, 0), 10).await.unwrap();
    assert_eq!(
        (running[0].api_job_id.as_deref(), running[0].open.as_slice()),
        (None, &["c1".to_owned()][..])
    );
    bench.settle(job.id, &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await.0, "completed");
}

#[tokio::test]
async fn what_nothing_can_decide_is_parked_and_stays_owed() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await;
    bench.lose_answer(job.id).await;
    bench.minutes_pass(1);
    let job = bench.claim_one().await;
    let error = Box::new(RecordError::new(Source::Layers, "CONFLICT", "no"));
    let state = bench.record(job.id, AttemptOutcome::Parked(Event::Undecidable, error)).await.unwrap();
    assert_eq!(state, JobState::Parked);
    assert_eq!(bench.brief_state().await.0, "parked");
    bench.minutes_pass(600);
    assert!(bench.claim().await.is_empty());
    assert_eq!(bench.send(brief("Run", json!({}))).await, Decision::Duplicate);
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Conflict);
}

#[tokio::test]
async fn a_crash_leaves_the_outcome_unknown_and_the_repeat_waits() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let before = bench.claim_one().await;
    assert!(!bench.ledger.was_unclean());
    bench.minutes_pass(5);
    let bench = bench.crash().await;
    assert!(bench.ledger.was_unclean());
    // The dead process's POST may still be at work at the API.
    assert!(bench.claim().await.is_empty());
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Conflict);
    bench.minutes_pass(1);
    let after = bench.claim_one().await;
    assert_eq!((&after.idempotency_key, &after.body), (&before.idempotency_key, &before.body));
    assert_eq!(after.unknown_first_at, Some(at("2026-05-01T00:00:00Z")));
    bench.accept(after.id, &["c1"]).await;
    bench.settle(after.id, &[("c1", DONE)], true).await;
    bench.ledger.stop_cleanly().await.unwrap();
    assert!(!bench.crash().await.ledger.was_unclean());
}

#[tokio::test]
async fn a_claim_of_a_dead_process_is_worth_nothing() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await;
    let dead = bench.ledger.boot().to_owned();
    let bench = bench.crash().await;
    let late = RecordOutcome {
        job: job.id,
        boot: dead,
        attempt: job.attempts,
        outcome: accepted(Some("j"), &["c1"]),
        told: Told::default(),
        now_ms: bench.now(),
        retry_ms: bench.now(),
    };
    assert!(matches!(bench.write(late).await, Err(LedgerError::Conflict(_))));
    assert_eq!(bench.job_states().await, ["submitting"]);
}

#[tokio::test]
async fn a_crash_loop_parks_the_job_after_ten_claims_without_an_outcome() {
    let mut bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    for crash in 1..=10 {
        bench.minutes_pass(2);
        assert_eq!(bench.claim_one().await.attempts, crash);
        bench = bench.crash().await;
        let state = if crash < 10 { "submitting" } else { "parked" };
        assert_eq!(bench.job_states().await, [state], "after crash {crash}");
        assert_eq!(bench.brief_state().await.0, state);
    }
    bench.minutes_pass(600);
    assert!(bench.claim().await.is_empty());
}

#[tokio::test]
async fn an_outcome_in_between_ends_the_count_of_crashes() {
    let mut bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    for _ in 0..2 {
        for _ in 0..9 {
            bench.minutes_pass(2);
            bench.claim_one().await;
            bench = bench.crash().await;
        }
        bench.minutes_pass(2);
        let job = bench.claim_one().await;
        bench.lose_answer(job.id).await;
    }
    assert_eq!(bench.job_states().await, ["submitting"]);
}

#[tokio::test]
async fn what_was_not_found_before_the_last_unknown_attempt_proves_nothing_about_that_one() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let mut job = bench.claim_one().await;
    bench.lose_answer(job.id).await;
    for crash in [false, true] {
        bench.minutes_pass(2);
        job = bench.claim_one().await;
        bench.record(job.id, AttemptOutcome::Again(Again::NotFound)).await.unwrap();
        bench.minutes_pass(10);
        job = bench.claim_one().await;
        assert!(job.absent_at.is_some());
        if crash {
            break;
        }
        bench.lose_answer(job.id).await;
        bench.minutes_pass(2);
        job = bench.claim_one().await;
        assert_eq!(job.absent_at, None, "it was looked for before the POST whose answer was lost");
        bench.record(job.id, AttemptOutcome::Again(Again::ToldToWait)).await.unwrap();
    }
    let bench = bench.crash().await;
    bench.minutes_pass(2);
    assert_eq!(bench.claim_one().await.absent_at, None, "nor about one that was cut off");
}

#[tokio::test]
async fn neither_expiry_nor_a_replacement_nor_a_rerun_applies_while_a_post_may_have_left() {
    for lost in [false, true] {
        let bench = Bench::new().await;
        bench.send(brief("Run", json!({"expiresAt": "2026-05-01T00:01:00Z"}))).await;
        let job = bench.claim_one().await;
        if lost {
            bench.lose_answer(job.id).await;
        }
        bench.minutes_pass(5);
        let work = bench.write(bench.claim_of(0)).await.unwrap();
        assert_eq!(work.expired, 0);
        assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Conflict);
        // Asked for, and carried out only if the run that is open fails.
        assert_eq!(bench.send(brief("Run", json!({"run": 2}))).await, Decision::Rerun);
        assert_eq!(bench.job_states().await, ["submitting"]);
        assert_eq!(bench.brief_state().await, ("submitting".to_owned(), 1));
    }
}

#[tokio::test]
async fn behind_the_hold_of_a_batch_wait_those_of_unknown_outcome_too() {
    let bench = Bench::new().await;
    let of_batch = |id: &str| brief("Run", json!({"briefId": id, "batchId": "spring"}));
    bench.send(of_batch("one")).await;
    let job = bench.claim_one().await;
    bench.lose_answer(job.id).await;
    bench.send(of_batch("two")).await;
    let reader = bench.ledger.reader();
    assert_eq!(reader.batch_waiting(Some(&job.project_id), "spring").await.unwrap(), 2);
    assert_eq!(reader.batch_waiting(None, "autumn").await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_look_up_found_in_part_is_known_to_exist_and_not_told_as_an_unknown_attempt() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 2}))).await;
    let job = bench.claim_one().await;
    let state = bench.record(job.id, AttemptOutcome::Again(Again::FoundInPart)).await.unwrap();
    assert_eq!(state, JobState::Submitting);
    let job = bench.claim_one().await;
    assert_eq!(job.unknown_first_at, Some(bench.now()));
    let doubt = bench.ledger.doubt(job.brief, job.id).await.unwrap();
    assert_eq!(doubt, Doubt { unknown: 0, unheeded: 0, in_progress: 0, found_in_part: true });
    let bench = bench.crash().await;
    let doubt = bench.ledger.doubt(job.brief, job.id).await.unwrap();
    assert_eq!(
        doubt,
        Doubt { unknown: 1, unheeded: 0, in_progress: 0, found_in_part: true },
        "one that was cut off is unknown"
    );
}

#[tokio::test]
async fn a_2xx_after_all_names_other_containers_than_a_look_up_did() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 2}))).await;
    let job = bench.claim_one().await;
    bench.lose_answer(job.id).await;
    bench.minutes_pass(2);
    bench.claim_one().await;
    bench.accept(job.id, &["c1", "c2", "c3"]).await;
    bench.settle(job.id, &[("c1", DONE), ("c2", DONE), ("c3", FAILED)], true).await;
    assert_eq!(bench.brief_state().await.0, "partial");
    assert_eq!(bench.pending_records().await.len(), 3);
}
