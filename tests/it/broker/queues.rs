//! Exchanges and queues: what differs from what is needed, and who else is there.

use std::collections::HashSet;

use briefd::broker::Sampler;
use briefd::broker::topology::{self, State};
use briefd::clock::Clock;
use briefd::flow::{Channel, SendOutcome};
use lapin::ExchangeKind;
use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;

use super::rig::{PATIENCE, Rig, ready, receive_all, record, send};

#[tokio::test]
async fn a_queue_that_differs_is_named_with_its_argument_and_a_way_out() {
    let rig = Rig::new().await;
    rig.declare().await;
    let connection = rig.connection().await;
    let mut wanted = rig.amqp.clone();
    wanted.input.delivery_limit = 7;
    let error = topology::declare(&connection, &wanted).await.unwrap_err().to_string();
    let queue = &rig.amqp.input.queue;
    let expected = format!(
        "queue \"{queue}\" has x-delivery-limit = 100 at the broker, briefd needs 7; delete it when it is empty and \
         unused, or set amqp.input.queue to a new name"
    );
    assert_eq!(error, expected);

    let findings = topology::check(&connection, &wanted).await;
    let differing: HashSet<&str> = findings
        .iter()
        .filter(|finding| matches!(finding.state, State::Differs(_)))
        .map(|finding| finding.setting)
        .collect();
    assert_eq!(differing, HashSet::from(["amqp.input.queue"]));
    assert_eq!(findings.iter().filter(|finding| finding.state == State::Same).count(), 4);
    connection.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn an_exchange_of_another_kind_and_a_classic_queue_are_named_too() {
    let rig = Rig::new().await;
    let channel = rig.channel().await;
    let name = rig.amqp.output.exchange.as_str();
    let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel
        .exchange_declare(name.into(), ExchangeKind::Direct, options, FieldTable::default())
        .await
        .unwrap();
    let connection = rig.connection().await;
    let error = topology::declare(&connection, &rig.amqp).await.unwrap_err().to_string();
    assert!(
        error
            .starts_with(&format!("exchange \"{name}\" has type = direct at the broker, briefd needs topic")),
        "{error}"
    );
    assert!(error.contains("amqp.output.exchange"), "{error}");
    channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await.unwrap();

    let name = rig.amqp.input.queue.as_str();
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), FieldTable::default()).await.unwrap();
    let error = topology::declare(&connection, &rig.amqp).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("queue \"{name}\" has ")) && error.contains("amqp.input.queue"),
        "{error}"
    );
    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    topology::declare(&connection, &rig.amqp).await.unwrap();
    connection.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn without_declare_existence_is_all_that_is_asked_for() {
    let rig = Rig::new().await;
    let connection = rig.connection().await;
    let mut amqp = rig.amqp.clone();
    amqp.declare = false;
    let error = topology::declare(&connection, &amqp).await.unwrap_err().to_string();
    assert!(error.contains("does not exist and amqp.declare is false"), "{error}");
    let findings = topology::check(&connection, &amqp).await;
    assert!(findings.iter().all(|finding| finding.state == State::Missing), "{findings:?}");
    assert_eq!(rig.ready(&amqp.input.queue).await, None, "a look created something");

    rig.declare().await;
    amqp.input.delivery_limit = 7;
    topology::declare(&connection, &amqp).await.unwrap();
    connection.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn depths_and_foreign_consumers_are_seen() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..3).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    let mut publisher = rig.publisher(&rig.amqp);
    ready(&mut publisher).await;
    let mut dead = record("dead", "");
    dead.channel = Channel::DeadLetter;
    assert_eq!(send(&mut publisher, &[dead]).await, [SendOutcome::Sent]);
    assert_eq!(receive_all(&mut consumer, 3).await.len(), 3);
    let status = consumer.status();
    assert_eq!(status.foreign_consumers(), 0);

    let foreign = rig.channel().await;
    let (queue, options) = (rig.amqp.input.queue.as_str(), BasicConsumeOptions::default());
    let _stream =
        foreign.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap();
    let (amqp, metrics) = (rig.amqp.clone(), rig.metrics.clone());
    let mut sampler = Sampler::new(amqp, Clock::system(), metrics, (&consumer, &publisher));
    sampler.sample().await;
    assert_eq!(status.foreign_consumers(), 1);
    let metric = |queue: &str| rig.metrics.queue_messages.with_label_values(&[queue]).get();
    assert_eq!((metric("input"), metric("dead_letter")), (0, 1));
    assert_eq!(rig.metrics.amqp_connected.with_label_values(&["consume"]).get(), 1);

    publisher.close(PATIENCE).await;
    consumer.close(PATIENCE).await;
    assert_eq!(rig.metrics.amqp_connected.with_label_values(&["consume"]).get(), 0);
    rig.clean_up().await;
}
