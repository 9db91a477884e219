//! The sink: what is confirmed, returned, refused, unknown.

use std::ops::ControlFlow;
use std::time::Duration;

use briefd::broker::Publisher;
use briefd::clock::Clock;
use briefd::config::work::Publish;
use briefd::flow::{Channel, Outgoing, Properties, SendOutcome, Sink as _};
use lapin::options::ExchangeDeleteOptions;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use super::rig::{PATIENCE, Rig, broker_url, ready, record, send};
use crate::support::forwarder::{Forwarder, Line};

#[tokio::test]
async fn what_is_sent_arrives_where_it_belongs_with_its_properties() {
    let rig = Rig::new().await;
    let mut publisher = rig.publisher(&rig.amqp);
    ready(&mut publisher).await;
    let records = rig.record_queue("container.*.project", FieldTable::default()).await;

    let mut finished = record("record-1", "container.completed.project");
    finished.properties = Properties {
        correlation_id: Some("correlation".into()),
        kind: Some("container.completed".into()),
        content_type: Some("application/json".into()),
        headers: [("traceparent".to_owned(), json!("00-ab"))].into(),
        ..Properties::default()
    };
    let mut dead = record("dead-1", "");
    dead.channel = Channel::DeadLetter;
    dead.properties.message_id = Some("the pipeline's own".into());
    dead.properties.headers = [("x-briefd-reason".to_owned(), json!("UNREADABLE"))].into();
    let mut brief = record("brief-1", "brief");
    brief.channel = Channel::Brief;
    assert_eq!(send(&mut publisher, &[finished, dead, brief]).await, [SendOutcome::Sent; 3]);

    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    let finished = rig.get(&records).await.delivery;
    assert_eq!(text(finished.properties.message_id()).as_deref(), Some("record-1"));
    assert_eq!(text(finished.properties.correlation_id()).as_deref(), Some("correlation"));
    assert_eq!(text(finished.properties.kind()).as_deref(), Some("container.completed"));
    assert_eq!(text(finished.properties.content_type()).as_deref(), Some("application/json"));
    assert_eq!(*finished.properties.delivery_mode(), Some(2));
    let headers = finished.properties.headers().clone().unwrap();
    assert_eq!(headers.inner()["traceparent"], AMQPValue::LongString("00-ab".into()));

    let dead = rig.get(&rig.amqp.dead_letter.queue).await.delivery;
    assert_eq!(text(dead.properties.message_id()).as_deref(), Some("the pipeline's own"));
    let headers = dead.properties.headers().clone().unwrap();
    assert_eq!(headers.inner()["x-briefd-row"], AMQPValue::LongString("dead-1".into()));
    assert_eq!(headers.inner()["x-briefd-reason"], AMQPValue::LongString("UNREADABLE".into()));

    let brief = rig.get(&rig.amqp.input.queue).await.delivery;
    assert_eq!(text(brief.properties.message_id()).as_deref(), Some("brief-1"));
    publisher.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unroutable_record_among_routable_ones_is_never_taken_for_sent() {
    let rig = Rig::new().await;
    let mut publisher = rig.publisher(&rig.amqp);
    ready(&mut publisher).await;
    let queue = rig.record_queue("good", FieldTable::default()).await;
    let batch: Vec<Outgoing> = (0..40_000)
        .map(|number| record(&format!("record-{number}"), if number % 5 == 0 { "bad" } else { "good" }))
        .collect();
    let began = std::time::Instant::now();
    let outcomes = send(&mut publisher, &batch).await;
    println!("{} records, one in five unroutable: settled in {:.1?}", batch.len(), began.elapsed());
    for (outgoing, outcome) in batch.iter().zip(&outcomes) {
        let expected =
            if outgoing.routing_key == "bad" { SendOutcome::Unroutable } else { SendOutcome::Sent };
        assert_eq!(*outcome, expected, "{}", outgoing.message_id);
    }
    rig.wait_for_ready(&queue, Some(32_000)).await;
    publisher.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_the_others_in_the_batch_are_sent() {
    let rig = Rig::new().await;
    let mut publisher = rig.publisher(&rig.amqp);
    ready(&mut publisher).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    rig.record_queue("full", arguments).await;
    rig.record_queue("open", FieldTable::default()).await;
    let batch = [record("a", "full"), record("b", "open"), record("c", "full"), record("d", "nowhere")];
    let expected = [SendOutcome::Sent, SendOutcome::Sent, SendOutcome::Refused, SendOutcome::Unroutable];
    assert_eq!(send(&mut publisher, &batch).await, expected);
    publisher.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn a_channel_the_broker_closes_makes_its_batch_unknown_and_is_built_again() {
    let rig = Rig::new().await;
    let mut publisher = rig.publisher(&rig.amqp);
    ready(&mut publisher).await;
    let exchange = rig.amqp.output.exchange.as_str().into();
    rig.channel().await.exchange_delete(exchange, ExchangeDeleteOptions::default()).await.unwrap();
    let batch = [record("a", "key"), record("b", "key")];
    let closed = SendOutcome::Unknown { channel_closed: true };
    assert_eq!(send(&mut publisher, &batch).await, [closed; 2]);
    assert_eq!(publisher.send(&batch).await, ControlFlow::Break(()));
    ready(&mut publisher).await;
    assert!(publisher.status().connected(), "it has answered; nothing more need be sent to believe in it");
    rig.record_queue("key", FieldTable::default()).await;
    assert_eq!(send(&mut publisher, &batch).await, [SendOutcome::Sent; 2]);
    assert_eq!(rig.metrics.amqp_reconnects_total.get(), 1);
    publisher.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn a_confirm_that_does_not_come_in_time_makes_its_batch_unknown() {
    let rig = Rig::new().await;
    let mut forwarder = Forwarder::reserve();
    forwarder.listen(&broker_url());
    forwarder.set(Line::Open);
    let publish = Publish {
        concurrency: 2,
        confirm_timeout: Duration::from_millis(300),
        retry_initial: Duration::from_secs(1),
        retry_max: Duration::from_secs(1),
    };
    let amqp = rig.through(&forwarder);
    let mut publisher = Publisher::start(amqp, &publish, Clock::system(), rig.metrics.clone());
    ready(&mut publisher).await;
    rig.record_queue("key", FieldTable::default()).await;
    forwarder.set(Line::Silent);
    let batch = [record("a", "key"), record("b", "key"), record("c", "key")];
    assert_eq!(send(&mut publisher, &batch).await, [SendOutcome::Unknown { channel_closed: false }; 3]);
    forwarder.set(Line::Open);
    ready(&mut publisher).await;
    assert_eq!(send(&mut publisher, &batch).await, [SendOutcome::Sent; 3]);
    publisher.close(PATIENCE).await;
    rig.clean_up().await;
}
