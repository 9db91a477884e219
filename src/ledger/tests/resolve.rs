//! A person's decision about parked jobs.

use super::*;
use crate::job::Event;

/// A brief whose answer was lost, and whose refusal with this code nothing could confirm.
async fn parked(code: Option<&str>) -> (Bench, i64) {
    parked_of(1, code).await
}

async fn parked_of(variants: u8, code: Option<&str>) -> (Bench, i64) {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": variants}))).await;
    let job = bench.claim_one().await.id;
    bench.lose_answer(job).await;
    bench.minutes_pass(2);
    park(&bench, code).await;
    (bench, job)
}

async fn park(bench: &Bench, code: Option<&str>) {
    let job = bench.claim_one().await.id;
    let error = match code {
        Some(code) => RecordError {
            request_id: Some("req_1".to_owned()),
            details: Some(json!({"field": "brief"})),
            ..RecordError::new(Source::Layers, code, "no")
        },
        None => RecordError::new(Source::Briefd, "OUTCOME_UNKNOWN", "not there"),
    };
    let outcome = AttemptOutcome::Parked(Event::Undecidable, Box::new(error));
    assert_eq!(bench.record(job, outcome).await.unwrap(), JobState::Parked);
}

fn accepted_as(job: &str, containers: &[&str]) -> Resolution {
    Resolution::Accepted {
        job: job.to_owned(),
        containers: containers.iter().map(|id| (*id).to_owned()).collect(),
        format: None,
    }
}

async fn resolve(bench: &Bench, jobs: &[i64], resolution: Resolution) -> Resolved {
    let (who, reason) = ("anna".to_owned(), "asked support".to_owned());
    let resolve = Resolve { jobs: jobs.to_vec(), resolution, who, reason, now_ms: bench.now() };
    bench.write(resolve).await.unwrap()
}

async fn error_of_the_record(bench: &Bench) -> Value {
    let rows = bench.pending().await;
    assert_eq!(rows.len(), 1);
    let record: Value = serde_json::from_slice(&rows[0].message.body).unwrap();
    record["error"].clone()
}

#[tokio::test]
async fn what_no_run_ever_named_is_promised_anew_by_the_next_one() {
    let (bench, job) = parked_of(2, None).await;
    resolve(&bench, &[job], accepted_as("job_x", &[])).await;
    bench.settle(job, &[], true).await;
    bench.publish().await;
    let again = json!({"variantCount": 2, "run": 2});
    assert_eq!(bench.send(brief("Run", again)).await, Decision::Rerun);
    let job = bench.claim_one().await;
    assert_eq!((job.kind.as_str(), job.run), ("generate", 2));
    // One of two has a name; of the other one the job tells, or it never came to be.
    bench.accept(job.id, &["c1"]).await;
    assert_eq!(bench.ledger.running((0, 0), 10).await.unwrap()[0].unnamed, 1);
    bench.settle(job.id, &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("partial".to_owned(), 2));
}

#[tokio::test]
async fn an_accepted_one_is_followed_under_the_id_that_was_given() {
    for containers in [&["c1"][..], &[]] {
        let (bench, job) = parked(None).await;
        let resolved = resolve(&bench, &[job], accepted_as("job_x", containers)).await;
        assert_eq!(resolved.done, [(job, JobState::Running)]);
        assert_eq!(bench.brief_state().await.0, "running");
        let running = bench.ledger.running((0, 0), 10).await.unwrap();
        assert_eq!(
            (running[0].api_job_id.as_deref(), running[0].open.as_slice()),
            (Some("job_x"), &containers.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
        );
        assert_eq!(bench.number("SELECT count(*) FROM job WHERE error IS NULL").await, 1);
        let ends: Vec<_> = containers.iter().map(|id| (*id, DONE)).collect();
        bench.settle(job, &ends, true).await;
        let state = if containers.is_empty() { "failed" } else { "completed" };
        assert_eq!(bench.brief_state().await.0, state);
    }
}

#[tokio::test]
async fn a_repeat_is_due_at_once_with_the_same_key_and_bytes_and_never_harmless() {
    let (bench, job) = parked(None).await;
    let before = bench.texts("SELECT idempotency_key || body FROM job").await;
    assert_eq!(resolve(&bench, &[job], Resolution::Repeat).await.done, [(job, JobState::Submitting)]);
    let again = bench.claim_one().await;
    assert_eq!(before, [format!("{}{}", again.idempotency_key, again.body)]);
    assert!(again.unknown_first_at.is_some());
    assert_eq!((again.unknown_key, again.absent_at), (None, None));
    let refusal = bench.record(job, refused("VALIDATION_FAILED")).await;
    assert!(matches!(refusal, Err(LedgerError::Conflict(_))), "{refusal:?}");
    bench.accept(job, &["c1"]).await;
}

#[tokio::test]
async fn a_repeat_does_not_leave_sooner_than_one_that_briefd_makes_by_itself() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await.id;
    bench.lose_answer(job).await;
    bench.doctor("UPDATE job SET state = 'parked'").await;
    resolve(&bench, &[job], Resolution::Repeat).await;
    assert!(bench.claim().await.is_empty(), "the API may still be at the last one");
    bench.minutes_pass(1);
    assert_eq!(bench.claim().await.len(), 1);
}

#[tokio::test]
async fn a_repeat_after_a_crash_loop_begins_its_count_anew() {
    let mut bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    for _ in 0..10 {
        bench.minutes_pass(2);
        bench.claim_one().await;
        bench = bench.crash().await;
    }
    assert_eq!(bench.job_states().await, ["parked"]);
    resolve(&bench, &[1], Resolution::Repeat).await;
    for _ in 0..9 {
        bench.minutes_pass(2);
        bench.claim_one().await;
        bench = bench.crash().await;
    }
    assert_eq!(bench.job_states().await, ["submitting"]);
}

#[tokio::test]
async fn one_that_was_never_accepted_fails_with_the_refusal_that_was_stored() {
    let (bench, job) = parked(Some("VALIDATION_FAILED")).await;
    let resolved = resolve(&bench, &[job], Resolution::NeverAccepted).await;
    assert_eq!((resolved.done, resolved.failed.len()), (vec![(job, JobState::Rejected)], 1));
    assert_eq!(bench.brief_state().await.0, "failed");
    let error = error_of_the_record(&bench).await;
    assert_eq!(
        error,
        json!({"code": "VALIDATION_FAILED", "message": "no", "requestId": "req_1", "details": {"field": "brief"},
               "source": "layers", "stage": null, "remedy": "change"})
    );
}

#[tokio::test]
async fn one_that_was_never_accepted_and_never_refused_is_lost_and_may_be_run_again() {
    let (bench, job) = parked(None).await;
    resolve(&bench, &[job], Resolution::NeverAccepted).await;
    let error = error_of_the_record(&bench).await;
    assert_eq!(
        (&error["code"], &error["source"], &error["remedy"]),
        (&json!("GENERATION_LOST"), &json!("briefd"), &json!("rerun"))
    );
    assert!(
        error["message"].as_str().unwrap().contains("anna decided that it did not: asked support"),
        "{error}"
    );
    // It may have been bought all the same, so other content is another brief; a rerun is a decision.
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Conflict);
    assert_eq!(bench.send(brief("Run", json!({"run": 2}))).await, Decision::Rerun);
    assert_eq!(bench.job_states().await, ["rejected", "ready"]);
}

#[tokio::test]
async fn a_decision_that_comes_second_changes_nothing_and_says_so() {
    let (bench, job) = parked(None).await;
    resolve(&bench, &[job], Resolution::NeverAccepted).await;
    let records = bench.pending().await.len();
    for resolution in [accepted_as("j", &["c"]), Resolution::Repeat, Resolution::NeverAccepted] {
        let second = resolve(&bench, &[job], resolution).await;
        assert_eq!((second.done.len(), second.not_parked), (0, vec![(job, "rejected".to_owned())]));
    }
    assert_eq!(
        (bench.job_states().await, bench.pending().await.len()),
        (vec!["rejected".to_owned()], records)
    );
}

#[tokio::test]
async fn a_job_that_is_not_parked_is_not_decided_about() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    for state in ["ready", "submitting", "running"] {
        let resolved = resolve(&bench, &[1], Resolution::NeverAccepted).await;
        assert_eq!(resolved.not_parked, [(1, state.to_owned())]);
        match state {
            "ready" => drop(bench.claim_one().await),
            "submitting" => bench.accept(1, &["c1"]).await,
            _ => {}
        }
    }
    assert_eq!(bench.job_states().await, ["running"]);
}

#[tokio::test]
async fn regenerates_are_decided_together_or_one_by_one() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({"variantCount": 2})), &[("c1", FAILED), ("c2", FAILED)]).await;
    bench.publish().await;
    bench.send(brief("Run", json!({"variantCount": 2, "run": 2}))).await;
    bench.inspected_all().await;
    let jobs: Vec<i64> = bench.claim().await.iter().map(|job| job.id).collect();
    for job in &jobs {
        bench.lose_answer(*job).await;
    }
    bench.doctor("UPDATE job SET state = 'parked' WHERE state = 'submitting'").await;
    let found = bench.ledger.reader().parked_jobs(1).await.unwrap();
    let containers: Vec<_> = found.iter().map(|job| job.container.as_deref()).collect();
    assert_eq!(containers, [Some("c1"), Some("c2")]);
    resolve(&bench, &jobs[..1], accepted_as("job_x", &["somebody-else"])).await;
    assert_eq!(bench.brief_state().await.0, "parked", "the other one still waits for a decision");
    let running = bench.ledger.running((0, 0), 10).await.unwrap();
    assert_eq!(running[0].open, ["c1"]);
    let both = resolve(&bench, &jobs, Resolution::NeverAccepted).await;
    assert_eq!((both.done.len(), both.not_parked.len()), (1, 1));
    bench.settle(jobs[0], &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await.0, "partial");
    let records = bench.pending_records().await;
    assert_eq!(
        records.iter().map(|(kind, _, variant)| (kind.as_str(), *variant)).collect::<Vec<_>>(),
        [("container.failed", Some(2)), ("container.completed", Some(1))]
    );
}

#[tokio::test]
async fn the_story_tells_who_decided_what_and_why() {
    let (bench, job) = parked(None).await;
    resolve(&bench, &[job], accepted_as("job_x", &[])).await;
    let story = bench.ledger.reader().story(1).await.unwrap();
    let line = story.history.iter().find(|line| line.what == "resolved").unwrap();
    let detail: Value = serde_json::from_str(&line.detail).unwrap();
    assert_eq!(
        detail,
        json!({"job": job, "decision": "accepted", "jobId": "job_x", "by": "anna", "reason": "asked support", "state": "running"})
    );
    assert_eq!(line.at, bench.now());
}
