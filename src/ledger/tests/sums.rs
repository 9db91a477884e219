//! P8: what is counted again from the rows differs as soon as a row is lost, doubled or changed.

use super::*;
use crate::job::BriefState;

/// A ledger with something of everything in it.
async fn busy() -> Bench {
    let bench = Bench::new().await;
    bench.send_all(vec![received("no json")]).await;
    bench.run_through(numbered(1, json!({"variantCount": 2})), &[("c1", DONE), ("c2", FAILED)]).await;
    bench.send(numbered(1, json!({"variantCount": 2, "run": 2}))).await;
    bench.send(numbered(2, json!({"wat": 1}))).await;
    bench.send(numbered(2, json!({"wat": 1}))).await;
    bench.send(numbered(3, json!({"variantCount": 3}))).await;
    bench
}

async fn differs(statement: &'static str, expected: &str) {
    let bench = busy().await;
    bench.doctor(statement).await;
    let imbalance = bench.ledger.reader().imbalance().await.unwrap();
    assert!(imbalance.sum > 0, "{statement}");
    assert!(imbalance.lines.iter().any(|line| line.contains(expected)), "{statement}: {:?}", imbalance.lines);
}

#[tokio::test]
async fn a_lost_delivery_is_noticed() {
    differs("DELETE FROM delivery WHERE id = 1", "deliveries stored").await;
}

#[tokio::test]
async fn a_lost_record_is_noticed() {
    differs("DELETE FROM outbox WHERE id = (SELECT max(id) FROM outbox WHERE channel = 'record')", "records")
        .await;
}

#[tokio::test]
async fn a_record_under_another_run_is_noticed() {
    differs("UPDATE outbox SET run = 2 WHERE id = 2", "records are not those stored").await;
}

#[tokio::test]
async fn a_lost_dead_letter_is_noticed() {
    differs("DELETE FROM outbox WHERE channel = 'dead_letter'", "dead letters stored").await;
}

#[tokio::test]
async fn a_total_that_drifted_is_noticed() {
    differs("UPDATE total SET n = n + 1 WHERE name = 'owed'", "owed").await;
    differs("UPDATE total SET n = n - 1 WHERE name = 'decided'", "decided").await;
}

#[tokio::test]
async fn a_run_that_ended_short_is_noticed() {
    differs("UPDATE run SET state = 'completed' WHERE run = 2", "ended without all their records").await;
}

#[tokio::test]
async fn a_run_that_owes_and_that_nobody_works_on_is_noticed() {
    differs("UPDATE job SET state = 'completed' WHERE state = 'ready'", "no open job").await;
}

#[tokio::test]
async fn the_tally_of_states_is_that_of_the_rows() {
    let bench = busy().await;
    let tally = bench.ledger.reader().tally().await.unwrap();
    let n = |what: &str, state: &str| -> i64 {
        tally.iter().filter(|one| one.what == what && one.state == state).map(|one| one.n).sum()
    };
    assert_eq!((n("brief", "waiting"), n("brief", "failed")), (2, 1));
    assert_eq!((n("job", "ready"), n("job", "completed")), (2, 1));
    assert_eq!(n("outbox", "pending"), 4);
    assert_eq!(bench.ledger.reader().open_briefs().await.unwrap(), 2);
}

#[tokio::test]
async fn what_waits_is_counted_by_batch_and_by_whether_it_is_its_time() {
    let bench = busy().await;
    bench.send(numbered(4, json!({"notBefore": "2099-01-01T00:00:00Z"}))).await;
    let parts = bench.ledger.reader().waiting_parts(bench.clock.now_ms()).await.unwrap();
    let n = |scheduled: bool| {
        parts.iter().filter(|part| part.scheduled == scheduled).map(|part| part.n).sum::<i64>()
    };
    assert_eq!((n(true), n(false)), (1, 2));
    let scheduled: Vec<_> = parts.iter().filter(|part| part.scheduled).cloned().collect();
    assert_eq!(bench.ledger.scheduled_parts(bench.clock.now_ms()).await.unwrap(), scheduled);
}

#[tokio::test]
async fn a_batch_s_sum_that_drifted_is_noticed() {
    differs("UPDATE batch_sum SET n = n + 1 WHERE what = 'failed'", "failed of batch '' in project p").await;
    differs("DELETE FROM batch_sum WHERE what = 'credits'", "credits of batch ''").await;
    differs("UPDATE outbox SET credits = credits + 1 WHERE credits IS NOT NULL", "credits of batch ''").await;
}

#[tokio::test]
async fn sums_of_batches_are_those_of_the_rows_through_reruns_and_pruning() {
    let bench = Bench::new().await;
    let of = |number: usize, more: Value| {
        let mut message = numbered(number, more);
        message["batchId"] = json!("spring");
        message
    };
    bench.run_through(of(1, json!({})), &[("c1", FAILED)]).await;
    bench.run_through(of(2, json!({"variantCount": 2})), &[("c2", DONE), ("c3", DONE)]).await;
    bench.send(of(3, json!({}))).await;
    let counts = async || {
        let counts = bench.ledger.reader().batch_counts("spring", &Waiting::new(&[], bench.now())).await;
        let counts = counts.unwrap();
        (counts.get(BriefState::Completed), counts.get(BriefState::Failed), counts.get(BriefState::Waiting))
    };
    assert_eq!(counts().await, (1, 1, 1));
    bench.send(of(1, json!({"run": 2}))).await;
    assert_eq!(counts().await, (1, 0, 2), "what runs again has not ended");
    bench.check().await;
    let credits = bench.ledger.reader().batch_credits("spring").await.unwrap();
    assert_eq!(credits, Some(360));
    bench.doctor("UPDATE batch_sum SET n = n + 1 WHERE what = 'completed'").await;
    let found = bench.ledger.reader().imbalance().await.unwrap();
    assert!(found.lines.iter().any(|line| line.contains("completed of batch 'spring'")), "{found:?}");
}
