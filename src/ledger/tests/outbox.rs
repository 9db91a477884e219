//! What shall leave, in which order, and what becomes of it.

use super::*;

/// Three records for two routing keys.
async fn three_records() -> Bench {
    let bench = Bench::new().await;
    bench.send(numbered(1, json!({"wat": 1}))).await;
    bench.send(numbered(2, json!({"wat": 1, "projectId": "q"}))).await;
    bench.send(numbered(3, json!({"wat": 1}))).await;
    bench
}

async fn mark(bench: &Bench, outcomes: Vec<Sent>) -> usize {
    bench.write(MarkSent { sent: outcomes, now_ms: bench.now() }).await.unwrap()
}

async fn due_ids(bench: &Bench) -> Vec<i64> {
    bench.pending().await.iter().map(|row| row.message.row).collect()
}

#[tokio::test]
async fn records_leave_in_the_order_they_were_made_and_once() {
    let bench = three_records().await;
    let records = bench.publish().await;
    let ids: Vec<_> = records.iter().map(|record| record["briefId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["b1", "b2", "b3"]);
    assert!(bench.pending().await.is_empty());
    assert!(!bench.ledger.is_busy().await.unwrap());
}

#[tokio::test]
async fn a_dead_letter_forgets_its_body_when_it_has_left_and_a_record_never_does() {
    let bench = three_records().await;
    bench.send_all(vec![received("no json")]).await;
    bench.publish().await;
    assert_eq!(bench.number("SELECT count(*) FROM outbox WHERE length(body) = 0").await, 1);
}

#[tokio::test]
async fn what_is_set_aside_again_has_the_id_that_it_had_and_a_row_of_its_own() {
    let bench = Bench::new().await;
    let delivered = |body: &str, position, count| {
        let mut received = Received { position, ..received(body) };
        received.properties.headers.insert("traceparent".to_owned(), json!("00-ab"));
        if count > 0 {
            received.properties.headers.insert("x-delivery-count".to_owned(), json!(count));
        }
        received
    };
    bench.send_all(vec![delivered("no json", 1, 0)]).await;
    bench.minutes_pass(1);
    // Its acknowledgement got lost: it comes again, and the broker has counted.
    bench.send_all(vec![delivered("no json", 7, 1), delivered("another", 8, 0)]).await;
    let rows = bench.pending().await;
    let ids: Vec<&Value> = rows.iter().map(|row| &row.message.properties.headers["x-briefd-id"]).collect();
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    assert_ne!(rows[0].message.message_id, rows[1].message.message_id);
    // Pinned: readers keep these ids, also across versions.
    assert_eq!(ids[0], "2ca06189-0402-5caf-8ae8-0586d4d08623");
}

#[tokio::test]
async fn where_publishing_is_forbidden_all_that_goes_there_waits_and_nothing_is_parked() {
    let bench = three_records().await;
    bench.send_all(vec![received("no json")]).await;
    for _ in 0..5 {
        let rows = bench.pending().await;
        let is_record = |row: &&PendingRow| row.message.channel == crate::flow::Channel::Record;
        assert_eq!((rows.iter().filter(is_record).count(), rows.len()), (3, 4));
        let record = rows.iter().find(is_record).unwrap();
        let retry_ms = bench.now() + 1_000;
        let forbidden = Sent { retry_ms, was_alone: true, ..sent(record, SendOutcome::Forbidden) };
        assert_eq!(mark(&bench, vec![forbidden]).await, 0);
        assert_eq!(bench.pending().await.len(), 1, "the dead letter goes elsewhere");
        bench.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn an_unroutable_record_delays_everything_that_goes_there_and_nothing_else() {
    let bench = three_records().await;
    let rows = bench.pending().await;
    let retry_ms = bench.now() + 5_000;
    mark(&bench, vec![Sent { retry_ms, ..sent(&rows[0], SendOutcome::Unroutable) }]).await;
    assert_eq!(due_ids(&bench).await, [rows[1].message.row]);
    bench.clock.advance(Duration::from_secs(5));
    let rows = bench.pending().await;
    assert_eq!(rows.len(), 3);
    let attempts = |row: i64| rows.iter().find(|one| one.message.row == row).unwrap().attempts;
    assert_eq!((attempts(1), attempts(2), attempts(3)), (1, 0, 0));
}

#[tokio::test]
async fn every_unroutable_record_of_a_batch_counts_its_try_and_the_latest_time_holds_for_all() {
    let bench = three_records().await;
    let rows = bench.pending().await;
    let unroutable = |row, retry_ms| Sent { retry_ms, ..sent(row, SendOutcome::Unroutable) };
    let (later, sooner) = (bench.now() + 5_000, bench.now() + 1_000);
    mark(&bench, vec![unroutable(&rows[0], later), unroutable(&rows[2], sooner)]).await;
    bench.clock.advance(Duration::from_secs(2));
    assert_eq!(due_ids(&bench).await, [rows[1].message.row]);
    bench.clock.advance(Duration::from_secs(3));
    let rows = bench.pending().await;
    assert_eq!(rows.iter().map(|row| row.attempts).sum::<u32>(), 2);
}

#[tokio::test]
async fn an_optional_record_that_nobody_wants_is_dropped() {
    let bench = three_records().await;
    let rows = bench.pending().await;
    mark(&bench, vec![Sent { drop_unroutable: true, ..sent(&rows[0], SendOutcome::Unroutable) }]).await;
    assert_eq!(bench.texts("SELECT state FROM outbox ORDER BY id").await, ["dropped", "pending", "pending"]);
}

#[tokio::test]
async fn what_closes_its_channel_twice_while_alone_is_parked_and_the_others_go_on() {
    let bench = three_records().await;
    let row = bench.pending().await.remove(0);
    let closed = |was_alone| Sent { was_alone, ..sent(&row, SendOutcome::Unknown { channel_closed: true }) };
    assert_eq!(mark(&bench, vec![closed(false)]).await, 0);
    assert!(!bench.pending().await.iter().any(|row| row.suspect), "it may have been another one");
    assert_eq!(mark(&bench, vec![closed(true)]).await, 0);
    assert!(bench.pending().await.iter().any(|one| one.suspect && one.message.row == row.message.row));
    assert_eq!(mark(&bench, vec![closed(true)]).await, 1);
    assert_eq!(bench.texts("SELECT state FROM outbox ORDER BY id").await, ["parked", "pending", "pending"]);
    assert_eq!(bench.publish().await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_expressed_is_parked_at_once() {
    let bench = three_records().await;
    let row = bench.pending().await.remove(0);
    assert_eq!(mark(&bench, vec![sent(&row, SendOutcome::Impossible)]).await, 1);
    assert_eq!(mark(&bench, vec![sent(&row, SendOutcome::Sent)]).await, 0);
    assert_eq!(bench.texts("SELECT state FROM outbox WHERE id = 1").await, ["parked"]);
}

#[tokio::test]
async fn without_a_confirmation_it_stays_and_keeps_its_id_and_bytes() {
    let bench = three_records().await;
    let before = bench.pending().await;
    let unknown =
        before.iter().map(|row| sent(row, SendOutcome::Unknown { channel_closed: false })).collect();
    mark(&bench, unknown).await;
    let after = bench.pending().await;
    let told = |rows: &[PendingRow]| -> Vec<_> {
        rows.iter().map(|row| (row.message.message_id.clone(), row.message.body.clone())).collect()
    };
    assert_eq!(told(&before), told(&after));
    assert!(after.iter().all(|row| row.attempts == 1 && row.first_ended_ms.is_some()));
}

#[tokio::test]
async fn the_lag_is_told_for_the_first_confirmation_only() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", DONE)]).await;
    assert!(bench.pending().await[0].first_ended_ms.is_some());
    bench.publish().await;
    bench.send(brief("Run", json!({}))).await;
    assert!(bench.pending().await[0].first_ended_ms.is_none());
}

#[tokio::test]
async fn sending_again_takes_the_latest_record_of_each_variant() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({"variantCount": 2})), &[("c1", DONE), ("c2", FAILED)]).await;
    assert_eq!(bench.send(brief("Run", json!({"variantCount": 2, "run": 2}))).await, Decision::Rerun);
    bench.inspected_all().await;
    let job = bench.claim_one().await;
    bench.accept(job.id, &["c2"]).await;
    bench.settle(job.id, &[("c2", DONE)], true).await;
    assert_eq!(bench.publish().await.len(), 3);
    assert_eq!(bench.send(brief("Run", json!({"variantCount": 2}))).await, Decision::Republished);
    let again = bench.pending_records().await;
    let completed = "container.completed".to_owned();
    assert_eq!(again, [(completed.clone(), 1, Some(1)), (completed, 2, Some(2))]);
}

#[tokio::test]
async fn what_was_parked_or_dropped_goes_out_again_when_asked_for() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({})), &[("c1", DONE)]).await;
    let row = bench.pending().await.remove(0);
    mark(&bench, vec![sent(&row, SendOutcome::Impossible)]).await;
    assert!(bench.pending().await.is_empty());
    bench.send(brief("Run", json!({}))).await;
    assert_eq!(bench.publish().await.len(), 1);
}

#[tokio::test]
async fn a_record_that_exists_cannot_be_made_again_whatever_its_id() {
    let bench = Bench::new().await;
    bench.run_through(brief("Run", json!({"variantCount": 2})), &[("c1", DONE), ("c2", FAILED)]).await;
    bench.send(numbered(1, json!({"wat": 1}))).await;
    let kinds = ["container.completed", "container.failed", "brief.failed"];
    let mut beside = bench.beside().await;
    for kind in kinds {
        let copy = "INSERT INTO outbox (channel, input, message_id, kind, routing_key, body, properties, brief, run, variant, \
                    state, due_at, created_at) SELECT channel, input, 'other', kind, routing_key, body, properties, brief, run, \
                    variant, state, due_at, created_at FROM outbox WHERE kind = $1";
        let copied = sqlx::query(copy).bind(kind).execute(&mut beside).await;
        assert!(copied.unwrap_err().to_string().contains("UNIQUE"), "{kind}");
    }
}
