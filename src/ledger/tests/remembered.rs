//! The next run, asked for while the current one is open: carried out only if that one ends with failures.

use super::*;

/// A brief whose run 1 is running, with run 2 asked for.
async fn asked_while_running(variants: u8, containers: &[&str]) -> (Bench, i64) {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({"variantCount": variants}))).await;
    let job = bench.claim_one().await;
    bench.accept(job.id, containers).await;
    let rerun = brief("Walk", json!({"variantCount": variants, "run": 2}));
    assert_eq!(bench.send(rerun.clone()).await, Decision::Rerun);
    assert_eq!(bench.send(rerun).await, Decision::Duplicate);
    assert_eq!(bench.brief_state().await, ("running".to_owned(), 1));
    (bench, job.id)
}

#[tokio::test]
async fn it_is_carried_out_when_the_run_fails() {
    let (bench, job) = asked_while_running(2, &["c1", "c2"]).await;
    bench.settle(job, &[("c1", DONE), ("c2", FAILED)], true).await;
    assert_eq!(bench.brief_state().await, ("waiting".to_owned(), 2));
    bench.inspected_all().await;
    let next = bench.claim_one().await;
    assert_eq!((next.run, next.container.as_deref()), (2, Some("c2")));
    bench.accept(next.id, &["c2"]).await;
    bench.settle(next.id, &[("c2", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("completed".to_owned(), 2));
    assert_eq!(bench.publish().await.len(), 3);
}

#[tokio::test]
async fn it_is_dropped_when_the_run_completes() {
    let (bench, job) = asked_while_running(1, &["c1"]).await;
    bench.settle(job, &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("completed".to_owned(), 1));
    assert!(bench.inspect().await.is_empty() && bench.claim().await.is_empty());
    assert_eq!(bench.send(brief("Walk", json!({"run": 2}))).await, Decision::Republished);
}

#[tokio::test]
async fn it_is_dropped_when_somebody_canceled_the_run() {
    let (bench, job) = asked_while_running(1, &["c1"]).await;
    bench.settle(job, &[("c1", CANCELED)], true).await;
    assert_eq!(bench.brief_state().await, ("canceled".to_owned(), 1));
    assert!(bench.inspect().await.is_empty() && bench.claim().await.is_empty());
    // Asked for again after that, it is a rerun.
    assert_eq!(bench.send(brief("Walk", json!({"variantCount": 1, "run": 2}))).await, Decision::Rerun);
}

#[tokio::test]
async fn what_was_dropped_by_a_cancel_is_not_begun_by_the_broker_s_repeat_of_its_message() {
    for message_id in [None, Some("m-2")] {
        let bench = Bench::new().await;
        bench.send(brief("Run", json!({}))).await;
        let with_id = |redelivered, id: Option<&str>| {
            let mut received = received(&brief("Walk", json!({"run": 2})).to_string());
            received.redelivered = redelivered;
            received.properties.message_id = id.map(str::to_owned);
            received
        };
        let send = async |received| bench.send_all(vec![received]).await[0].0;
        assert_eq!(send(with_id(false, message_id)).await, Decision::Rerun);
        let job = bench.claim_one().await;
        bench.accept(job.id, &["c1"]).await;
        bench.settle(job.id, &[("c1", CANCELED)], true).await;
        assert_eq!(bench.brief_state().await, ("canceled".to_owned(), 1));
        // Its acknowledgement was lost, and hours later the broker sends it again.
        assert_eq!(send(with_id(true, message_id)).await, Decision::Duplicate);
        assert_eq!(bench.brief_state().await, ("canceled".to_owned(), 1));
        assert!(bench.inspect().await.is_empty() && bench.claim().await.is_empty());
        // A person who asks for it anew is another message, whatever happens to it on its way.
        assert_eq!(send(with_id(true, Some("m-3"))).await, Decision::Rerun);
    }
}

#[tokio::test]
async fn it_never_buys_again_what_completed_because_a_sibling_was_never_named() {
    let (bench, job) = asked_while_running(2, &["c1"]).await;
    bench.settle(job, &[("c1", DONE)], true).await;
    assert_eq!(bench.brief_state().await, ("partial".to_owned(), 1));
    assert!(bench.inspect().await.is_empty() && bench.claim().await.is_empty());
    assert_eq!(bench.job_states().await, ["completed"]);
}

#[tokio::test]
async fn with_other_content_a_second_one_is_set_aside() {
    let (bench, _) = asked_while_running(1, &["c1"]).await;
    assert_eq!(bench.send(brief("Fly", json!({"variantCount": 1, "run": 2}))).await, Decision::Conflict);
}

#[tokio::test]
async fn its_content_without_its_run_number_is_other_content_and_not_an_earlier_run() {
    let (bench, _) = asked_while_running(1, &["c1"]).await;
    assert_eq!(bench.send(brief("Walk", json!({"variantCount": 1}))).await, Decision::Conflict);
}

#[tokio::test]
async fn it_is_carried_out_anew_when_the_run_was_refused() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    assert_eq!(bench.send(brief("Walk", json!({"run": 2}))).await, Decision::Rerun);
    let job = bench.claim_one().await;
    bench.refuse(job.id, "MODERATION_BLOCKED").await;
    let next = bench.claim_one().await;
    assert_eq!((next.run, next.kind.as_str()), (2, "generate"));
    assert!(next.alias.is_some() && next.body.contains("Walk"));
}

#[tokio::test]
async fn it_goes_when_what_waits_is_replaced() {
    let bench = Bench::new().await;
    bench.send(brief("Run", json!({}))).await;
    assert_eq!(bench.send(brief("Walk", json!({"run": 2}))).await, Decision::Rerun);
    assert_eq!(bench.send(brief("Fly", json!({}))).await, Decision::Replaced);
    let job = bench.claim_one().await;
    assert_eq!(job.run, 2);
    assert!(job.body.contains("Fly"));
    bench.refuse(job.id, "VALIDATION_FAILED").await;
    assert!(bench.claim().await.is_empty());
    assert_eq!(bench.publish().await.len(), 1);
}
