//! The broker alone: what a worker that does nothing could move.

use std::time::Instant;

use futures::future::join_all;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::Rate;
use super::support::broker::TestBroker;

/// As the worker's settings have it.
const PREFETCH: u16 = 500;
/// Publishes that wait for their confirm at once, as the worker's settings have it.
const CONFIRMS: usize = 256;

/// Takes `count` messages off one quorum queue and puts them into another: consume, publish with confirm, acknowledge.
pub async fn measure(url: &str, count: usize) -> Rate {
    let broker = TestBroker::connect_to(url.to_owned()).await;
    let from = channel(url).await;
    let to = channel(url).await;
    let queue = broker.name("records");
    fill(&to, "", queue.as_str(), &vec![vec![b'x'; 400]; count]).await;
    let second = broker.name("example");
    declare_quorum(&to, &second).await;
    from.basic_qos(PREFETCH, BasicQosOptions::default()).await.expect("a prefetch can be set");
    let mut deliveries = from
        .basic_consume(queue, "bench".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .expect("the queue can be consumed");
    let began = Instant::now();
    let mut moved = 0;
    while moved < count {
        let mut batch = vec![deliveries.next().await.expect("the broker goes on").expect("a delivery")];
        while batch.len() < CONFIRMS
            && let Some(Some(more)) = futures::FutureExt::now_or_never(deliveries.next())
        {
            batch.push(more.expect("a delivery"));
        }
        let bodies: Vec<Vec<u8>> = batch.iter().map(|delivery| delivery.data.clone()).collect();
        fill(&to, "", second.as_str(), &bodies).await;
        let last = batch.last().expect("it holds one");
        last.acker.ack(BasicAckOptions { multiple: true }).await.expect("it can be acknowledged");
        moved += batch.len();
    }
    Rate { count, took: began.elapsed() }
}

/// A channel with confirms, on a connection of its own.
pub async fn channel(url: &str) -> Channel {
    let connection =
        Connection::connect(url, ConnectionProperties::default()).await.expect("the broker is up");
    let channel = connection.create_channel().await.expect("a channel can be opened");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("the channel can confirm");
    // Closed by the end of the benchmark.
    std::mem::forget(connection);
    channel
}

/// Publishes these bodies and waits for every confirm.
pub async fn fill(channel: &Channel, exchange: &str, key: &str, bodies: &[Vec<u8>]) {
    let short = |text: &str| ShortString::try_new(text).expect("the name is short");
    let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let persistent = BasicProperties::default().with_delivery_mode(2);
    for part in bodies.chunks(CONFIRMS) {
        let sending = stream::iter(part).then(|body| {
            channel.basic_publish(short(exchange), short(key), mandatory, body, persistent.clone())
        });
        let confirms: Vec<_> = sending.try_collect().await.expect("the messages leave");
        for confirm in join_all(confirms).await {
            assert!(matches!(confirm, Ok(lapin::Confirmation::Ack(None))), "{confirm:?}");
        }
    }
}

async fn declare_quorum(channel: &Channel, queue: &ShortString) {
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), lapin::types::AMQPValue::LongString("quorum".into()));
    let durable = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.clone(), durable, quorum).await.expect("a queue can be declared");
}
