//! The wish to cancel: what ends at once, what waits, and what is asked of the API.

use super::*;

async fn request(bench: &Bench) -> i64 {
    let request = Request {
        id: 0,
        at: bench.now(),
        kind: "cancel".to_owned(),
        args: String::new(),
        who: "anna".to_owned(),
        reason: "wrong hook".to_owned(),
    };
    Request::append(&bench.path(), &request).await.unwrap()
}

async fn cancel_for(bench: &Bench, request: i64, of: CancelOf) -> usize {
    let (mut after, mut failed) = (0, 0);
    loop {
        let write = Cancel { request, of: of.clone(), after, now_ms: bench.now() };
        let step = bench.write(write).await.unwrap();
        failed += step.failed.len();
        match step.next {
            Some(next) => after = next,
            None => return failed,
        }
    }
}

/// Cancels the only brief; how many jobs ended here.
async fn cancel(bench: &Bench) -> usize {
    let request = request(bench).await;
    cancel_for(bench, request, CancelOf::Brief(1)).await
}

async fn due(bench: &Bench) -> Vec<(i64, Option<String>)> {
    let due = bench.ledger.cancels_due(bench.now(), 10).await.unwrap();
    due.into_iter().map(|due| (due.id, due.api_job_id)).collect()
}

#[tokio::test]
async fn what_was_not_started_ends_at_once_with_a_record_that_says_who_and_why() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    assert_eq!(cancel(&bench).await, 1);
    assert_eq!(bench.brief_state().await, ("canceled".to_owned(), 1));
    let records = bench.publish().await;
    assert_eq!((records.len(), &records[0]["type"]), (1, &json!("brief.failed")));
    let error = &records[0]["error"];
    assert_eq!((&error["code"], &error["source"]), (&json!("CANCELED"), &json!("briefd")));
    assert_eq!(error["message"], "canceled by anna before it was started, nothing was bought: wrong hook");
    assert!(bench.claim().await.is_empty());
    // Once more changes nothing.
    assert_eq!(cancel(&bench).await, 0);
    assert!(bench.pending().await.is_empty());
    // It was never bought: it may be sent with other content, or run again.
    assert_eq!(bench.send(brief("Walk", json!({}))).await, Decision::Replaced);
}

#[tokio::test]
async fn a_post_that_may_have_left_is_never_ended_here_and_the_wish_is_carried_out_once_it_is_known() {
    // Accepted after all: the API is asked.
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await.id;
    bench.lose_answer(job).await;
    assert_eq!(cancel(&bench).await, 0);
    assert_eq!((bench.job_states().await, due(&bench).await), (vec!["submitting".to_owned()], Vec::new()));
    let bench = bench.crash().await;
    bench.minutes_pass(2);
    assert_eq!(bench.claim_one().await.id, job);
    bench.accept(job, &["c1"]).await;
    assert_eq!(due(&bench).await, [(job, Some("job_1".to_owned()))]);
    bench.settle(job, &[("c1", CANCELED)], true).await;
    assert_eq!(bench.brief_state().await.0, "canceled");
    assert!(due(&bench).await.is_empty());

    // Nothing had left: it ends with the outcome.
    for outcome in [Again::NotConnected, Again::Held, Again::Unclaimed] {
        let bench = Bench::new().await;
        bench.send(brief("Run", json!({}))).await;
        let job = bench.claim_one().await.id;
        assert_eq!(cancel(&bench).await, 0);
        let state = bench.record(job, AttemptOutcome::Again(outcome)).await.unwrap();
        assert_eq!((state, bench.brief_state().await.0.as_str()), (JobState::Canceled, "canceled"));
        let of = bench.pending_records().await;
        assert_eq!(of, [("brief.failed".to_owned(), 1, None)]);
    }
}

#[tokio::test]
async fn what_completes_all_the_same_is_published_as_completed() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": 2}))).await;
    let job = bench.claim_one().await.id;
    bench.accept(job, &["c1", "c2"]).await;
    assert_eq!(cancel(&bench).await, 0);
    let said = "the API will try".to_owned();
    let asked = CancelAsked { job, told: Some(said), again_ms: None, now_ms: bench.now() };
    bench.write(asked.clone()).await.unwrap();
    assert!(due(&bench).await.is_empty(), "asked once");
    bench.settle(job, &[("c1", DONE), ("c2", CANCELED)], true).await;
    assert_eq!(bench.brief_state().await.0, "partial");
    let kinds: Vec<_> = bench.pending_records().await.into_iter().map(|(kind, _, _)| kind).collect();
    assert_eq!(kinds, ["container.completed", "container.canceled"]);
    // An answer that comes after the end changes nothing.
    bench.write(asked).await.unwrap();
    let story = bench.ledger.reader().story(1).await.unwrap();
    let told =
        story.history.iter().filter(|line| line.what.starts_with("cancel")).map(|line| line.what.as_str());
    assert_eq!(told.collect::<Vec<_>>(), ["cancel asked for", "cancel"]);
}

#[tokio::test]
async fn a_rerun_that_was_remembered_never_starts_after_a_cancel() {
    let rerun = || brief("Run", json!({"run": 2}));
    for ended in [CANCELED, FAILED] {
        let bench = Bench::new().await;
        bench.send(brief("Run", json!({}))).await;
        let job = bench.claim_one().await.id;
        bench.accept(job, &["c1"]).await;
        assert_eq!(bench.send(rerun()).await, Decision::Rerun);
        cancel(&bench).await;
        // The same message once more, as a broker may deliver it.
        assert_eq!(bench.send(rerun()).await, Decision::Rerun);
        bench.settle(job, &[("c1", ended)], true).await;
        assert_eq!(bench.brief_state().await.1, 1);
        assert_eq!(bench.job_states().await.len(), 1);
        // Asked for after the end, it is a decision.
        assert_eq!(bench.send(rerun()).await, Decision::Rerun);
        assert_eq!(bench.brief_state().await.1, 2);
    }
}

#[tokio::test]
async fn a_regeneration_that_was_not_started_leaves_its_container_as_it_was() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({"variantCount": 2})), &[("c1", FAILED), ("c2", FAILED)]).await;
    bench.publish().await;
    bench.send(brief("Run", json!({"variantCount": 2, "run": 2}))).await;
    bench.inspected_all().await;
    let first = bench.write(Claim { limit: 1, ..bench.claim_of(1) }).await.unwrap().claimed.remove(0).id;
    assert_eq!(cancel(&bench).await, 1, "one was being submitted");
    let records = bench.pending_records().await;
    assert_eq!(records, [("container.canceled".to_owned(), 2, Some(2))]);
    assert_eq!(bench.brief_state().await.0, "submitting");
    let state = bench.record(first, AttemptOutcome::Again(Again::NotConnected)).await.unwrap();
    assert_eq!(state, JobState::Canceled);
    assert_eq!(bench.brief_state().await.0, "canceled");
    assert_eq!(bench.texts("SELECT status FROM container ORDER BY variant").await, ["failed", "failed"]);
    assert_eq!(bench.send(brief("Run", json!({"variantCount": 2, "run": 3}))).await, Decision::Rerun);
}

#[tokio::test]
async fn a_batch_is_canceled_step_by_step_in_one_project_or_all_and_later_briefs_are_not_meant() {
    let bench = Bench::new().await;
    let batch = |n: usize, project: &str| numbered(n, json!({"batchId": "b", "projectId": project}));
    let messages = (0..450).map(|n| received(&batch(n, if n % 10 == 0 { "q" } else { "p" }).to_string()));
    bench.send_all(messages.collect()).await;
    bench.send(numbered(1, json!({"batchId": "other"}))).await;
    let (counts, up_to) = bench.ledger.reader().cancel_plan("b", Some("q")).await.unwrap();
    assert_eq!((counts.open(), up_to), (45, 451));
    bench.send(batch(500, "q")).await;
    let of = |project: Option<&str>| CancelOf::Batch {
        batch: "b".to_owned(),
        project: project.map(ToOwned::to_owned),
        up_to,
    };
    let first = request(&bench).await;
    assert_eq!(cancel_for(&bench, first, of(Some("q"))).await, 45);
    let second = request(&bench).await;
    let step = Cancel { request: second, of: of(None), after: 0, now_ms: bench.now() };
    let step = bench.write(step).await.unwrap();
    assert!(step.next.is_some() && step.failed.len() <= 200, "{step:?}");
    // Killed in the middle, it begins anew and passes over what is done.
    let bench = bench.crash().await;
    assert_eq!(cancel_for(&bench, second, of(None)).await, 405 - step.failed.len());
    let counts = bench.ledger.reader().cancel_counts(second).await.unwrap();
    assert_eq!(counts, CancelCounts { ended: 405, ..CancelCounts::default() });
    assert_eq!(bench.number("SELECT count(*) FROM brief WHERE state = 'waiting'").await, 2);
}

#[tokio::test]
async fn what_is_parked_is_left_to_a_person() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await.id;
    bench.lose_answer(job).await;
    bench.doctor("UPDATE job SET state = 'parked'").await;
    assert_eq!(cancel(&bench).await, 0);
    assert_eq!(bench.number("SELECT count(*) FROM job WHERE canceled_by IS NOT NULL").await, 0);
}

#[tokio::test]
async fn one_whose_job_id_was_never_told_is_due_without_an_id_and_a_rerun_that_follows_asks_for_the_job_it_follows()
 {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    let job = bench.claim_one().await.id;
    bench.lose_answer(job).await;
    cancel(&bench).await;
    bench.minutes_pass(2);
    bench.claim_one().await;
    bench.record(job, accepted(None, &["c1"])).await.unwrap();
    assert_eq!(due(&bench).await, [(job, None)]);
    let reader = bench.ledger.reader();
    let batch = CancelOf::Batch { batch: String::new(), project: None, up_to: 1 };
    for of in [CancelOf::Brief(1), batch] {
        assert_eq!(reader.nameless(&of).await.unwrap(), 1);
    }
    let counts = reader.cancel_counts(1).await.unwrap();
    assert_eq!(counts, CancelCounts { nameless: 1, ..CancelCounts::default() });

    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", FAILED)]).await;
    bench.send(brief("Run", json!({"run": 2}))).await;
    let inspection = bench.inspect().await.remove(0);
    assert!(bench.inspected(inspection.id, Found::Running).await);
    cancel(&bench).await;
    assert_eq!(due(&bench).await, [(2, Some("job_1".to_owned()))]);
    assert_eq!(bench.ledger.reader().nameless(&CancelOf::Brief(1)).await.unwrap(), 0);
}
