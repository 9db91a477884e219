//! When a batch has ended, and what is told about it.

use super::*;

const NOTHING: [Value; 0] = [];

/// One of a batch of briefs.
fn of_batch(number: usize, more: Value) -> Value {
    let mut message = numbered(number, more);
    message["batchId"] = json!("spring");
    message
}

impl Bench {
    /// What the publish stage does before it sends: is there a batch to be finished?
    async fn finish(&self) -> Vec<Value> {
        let over = self.ledger.has_batch_over().await.unwrap();
        let made = self.write(FinishBatches { now_ms: self.now() }).await.unwrap();
        assert!(over || made == 0, "nobody would have looked");
        let sent = self.publish().await;
        let (told, other): (Vec<_>, Vec<_>) =
            sent.into_iter().partition(|record| record["type"] == "batch.finished");
        assert_eq!((told.len(), other.len()), (made, 0), "nothing else was waiting");
        told
    }

    /// Takes a brief to its end, whatever it says about its batch.
    async fn ends(&self, message: Value, ends: &[Ended]) {
        let ids: Vec<String> =
            (1..=ends.len()).map(|n| format!("{}-{n}", message["briefId"].as_str().unwrap())).collect();
        let ends: Vec<(&str, Ended)> = ids.iter().map(String::as_str).zip(ends.iter().copied()).collect();
        self.run_through(message, &ends).await;
    }
}

#[tokio::test]
async fn a_batch_is_finished_once_all_that_was_announced_has_ended_and_is_confirmed() {
    let bench = Bench::new().await;
    bench.ends(of_batch(1, json!({"batchSize": 3})), &[DONE]).await;
    bench
        .ends(of_batch(2, json!({"projectId": "q", "variantCount": 2, "batchSize": 99})), &[DONE, FAILED])
        .await;
    bench.publish().await;
    assert_eq!(bench.finish().await, NOTHING, "one more was announced");
    bench.minutes_pass(1);
    bench.ends(of_batch(3, json!({})), &[FAILED]).await;
    assert!(!bench.ledger.has_batch_over().await.unwrap(), "its last record is not confirmed");
    bench.publish().await;
    let told = bench.finish().await;
    assert_eq!(
        told,
        [json!({
            "schema": "briefd.record/1", "recordId": "475e8a61-33db-5022-bf09-6018c90a615d", "type": "batch.finished",
            "batchId": "spring", "revision": 1, "size": 3,
            "received": 3, "completed": 1, "partial": 1, "failed": 1, "canceled": 0,
            "containers": {"completed": 2, "failed": 2, "canceled": 0},
            "byProject": [
                {"projectId": "p", "received": 2, "completed": 1, "partial": 0, "failed": 1, "canceled": 0,
                 "containers": {"completed": 1, "failed": 1, "canceled": 0}, "creditsEstimate": 240},
                {"projectId": "q", "received": 1, "completed": 0, "partial": 1, "failed": 0, "canceled": 0,
                 "containers": {"completed": 1, "failed": 1, "canceled": 0}, "creditsEstimate": 240},
            ],
            "creditsEstimate": 480, "finishedAt": "2026-05-01T00:01:00Z",
        })]
    );
    assert_eq!(bench.finish().await, NOTHING, "once");
}

#[tokio::test]
async fn a_rerun_that_changes_the_counts_is_told_as_the_next_revision_and_one_that_does_not_is_not() {
    let bench = Bench::new().await;
    bench.run_through(of_batch(1, json!({"batchSize": 1})), &[("c1", FAILED)]).await;
    bench.publish().await;
    assert_eq!(bench.finish().await[0]["revision"], 1);
    for (run, ended, revisions) in [(2, FAILED, &[][..]), (3, DONE, &[2][..])] {
        bench.send(of_batch(1, json!({"run": run}))).await;
        bench.inspected_all().await;
        assert_eq!(bench.finish().await, NOTHING, "it is open again");
        let job = bench.claim_one().await;
        bench.accept(job.id, &["c1"]).await;
        bench.settle(job.id, &[("c1", ended)], true).await;
        bench.publish().await;
        let told = bench.finish().await;
        let told: Vec<_> = told.iter().map(|record| record["revision"].as_i64().unwrap()).collect();
        assert_eq!(told, revisions, "run {run}");
    }
    let credits = bench.number("SELECT count(*) FROM outbox WHERE credits = 120").await;
    assert_eq!(credits, 3, "each run costs");
}

#[tokio::test]
async fn a_repeat_may_announce_the_size_and_sends_no_second_end() {
    let bench = Bench::new().await;
    bench.ends(of_batch(1, json!({})), &[DONE]).await;
    bench.publish().await;
    assert_eq!(bench.finish().await, NOTHING, "nobody knows how many there are");
    bench.send(of_batch(1, json!({"batchSize": 1}))).await;
    assert!(!bench.ledger.has_batch_over().await.unwrap(), "its record leaves once more");
    bench.publish().await;
    assert_eq!(bench.finish().await[0]["received"], 1);
    bench.send(of_batch(1, json!({"batchSize": 1}))).await;
    bench.publish().await;
    assert_eq!(bench.finish().await, NOTHING);
}

#[tokio::test]
async fn dead_letters_are_no_briefs_and_announce_nothing() {
    let bench = Bench::new().await;
    bench.ends(of_batch(1, json!({})), &[DONE]).await;
    let mut conflict = of_batch(1, json!({"batchSize": 1}));
    conflict["brief"]["hook"] = json!("other");
    bench.send(conflict).await;
    bench.publish().await;
    assert_eq!(bench.finish().await, NOTHING);
    bench.send(of_batch(2, json!({"batchSize": 2, "wat": 1}))).await;
    bench.publish().await;
    let told = bench.finish().await;
    assert_eq!(told[0]["failed"], 1, "an invalid brief is one: {told:?}");
    assert_eq!(told[0]["containers"], json!({"completed": 1, "failed": 0, "canceled": 0}));
}

#[tokio::test]
async fn more_briefs_than_announced_are_waited_for_and_then_told() {
    let bench = Bench::new().await;
    bench.send(of_batch(1, json!({"batchSize": 1}))).await;
    let first = bench.claim_one().await;
    bench.accept(first.id, &["c1"]).await;
    bench.send(of_batch(2, json!({}))).await;
    bench.settle(first.id, &[("c1", DONE)], true).await;
    bench.publish().await;
    assert_eq!(bench.finish().await, NOTHING);
    let second = bench.claim_one().await;
    bench.accept(second.id, &["c2"]).await;
    bench.settle(second.id, &[("c2", CANCELED)], true).await;
    bench.publish().await;
    let told = bench.finish().await;
    assert_eq!(
        (&told[0]["size"], &told[0]["received"], &told[0]["canceled"]),
        (&json!(1), &json!(2), &json!(1))
    );
}

#[tokio::test]
async fn a_process_that_dies_before_or_after_the_end_was_told_tells_it_once_with_the_same_bytes() {
    let bench = Bench::new().await;
    bench.ends(of_batch(1, json!({"batchSize": 1})), &[DONE]).await;
    bench.publish().await;
    let bench = bench.crash().await;
    assert_eq!(bench.write(FinishBatches { now_ms: bench.now() }).await.unwrap(), 1);
    let before = bench.pending().await;
    let bench = bench.crash().await;
    bench.minutes_pass(1);
    assert_eq!(bench.write(FinishBatches { now_ms: bench.now() }).await.unwrap(), 0);
    let after = bench.pending().await;
    assert_eq!((before.len(), &before[0].message), (1, &after[0].message));
}

#[tokio::test]
async fn what_was_pruned_still_counts_when_the_batch_ends_again() {
    let bench = Bench::new().await;
    bench.ends(of_batch(1, json!({"batchSize": 2})), &[DONE]).await;
    bench.minutes_pass(1);
    bench.run_through(of_batch(2, json!({})), &[("c2", FAILED)]).await;
    bench.publish().await;
    assert_eq!(bench.finish().await[0]["failed"], 1);
    bench.minutes_pass(1);
    // One a step, the oldest first.
    let now_ms = bench.now();
    let step = PruneStep { before_ms: now_ms, after: PruneMark::default(), limit: 1, now_ms };
    assert_eq!(bench.ledger.prune(step).await.unwrap().briefs, 1);
    bench.check().await;
    assert_eq!(bench.finish().await, NOTHING, "pruning ends nothing");
    bench.send(of_batch(2, json!({"run": 2}))).await;
    bench.inspected_all().await;
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c2"]).await;
    bench.settle(job.id, &[("c2", DONE)], true).await;
    bench.publish().await;
    let told = bench.finish().await;
    assert_eq!((&told[0]["completed"], &told[0]["creditsEstimate"]), (&json!(2), &json!(360)));
    assert_eq!(told[0]["containers"], json!({"completed": 2, "failed": 0, "canceled": 0}));
}

#[tokio::test]
async fn a_file_has_no_end_of_a_batch_until_the_queue_asks_for_its_briefs() {
    let bench = Bench::new().await.restart_for(Input::File("f.jsonl".to_owned())).await;
    let message = of_batch(1, json!({"batchSize": 1}));
    bench.ends(message.clone(), &[DONE]).await;
    bench.publish().await;
    assert_eq!(bench.finish().await, NOTHING);
    let bench = bench.restart_for(Input::Queue).await;
    assert_eq!(bench.finish().await, NOTHING);
    bench.send(message).await;
    bench.publish().await;
    assert_eq!(bench.finish().await[0]["completed"], 1);
}

#[tokio::test]
async fn the_end_of_a_batch_of_any_size_is_looked_for_without_counting_it() {
    let bench = Bench::new().await;
    let mut db = bench.beside().await;
    for query in crate::ledger::batch::PLANNED {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
                .fetch_all(&mut db)
                .await
                .unwrap();
        let steps: Vec<&str> = plan.iter().map(|(_, _, _, step)| step.as_str()).collect();
        let fine = |step: &&str| {
            step.starts_with("SEARCH")
                || step.starts_with("USE TEMP B-TREE FOR GROUP BY")
                || *step == "SCAN batch USING INDEX batch_over"
        };
        assert!(steps.iter().all(fine), "{steps:?}, in {query}");
    }
}
