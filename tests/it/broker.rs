//! The broker's rules against a real RabbitMQ. Each test has exchanges and queues of its own names and deletes them.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test panics when something is wrong")]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use briefd::broker::topology::{self, State};
use briefd::broker::{Connection, Consumer, Publisher, Purpose, Sampler, connect};
use briefd::clock::Clock;
use briefd::config::amqp::{Amqp, DeadLetter, Input, Output};
use briefd::config::work::Publish;
use briefd::flow::{Channel, Delivery, Outgoing, Properties, SendOutcome, Sink, Source};
use briefd::telemetry::Metrics;
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ConnectionProperties, ExchangeKind};
use secrecy::SecretString;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The broker's URL, settings with names of their own, and a second connection to look and to disturb with.
struct Rig {
    amqp: Amqp,
    metrics: Metrics,
    admin: lapin::Connection,
}

impl Rig {
    async fn new() -> Self {
        let url = broker_url();
        let admin = lapin::Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        let name = format!("it-{}", uuid::Uuid::new_v4());
        let amqp = Amqp {
            address: address_of(&url),
            url: SecretString::from(url),
            ca_file: None,
            cert_file: None,
            key_file: None,
            prefetch: 500,
            heartbeat: Duration::from_secs(10),
            declare: true,
            input: Input {
                exchange: format!("{name}-in"),
                queue: format!("{name}-in"),
                routing_key: "brief".into(),
                delivery_limit: 100,
            },
            output: Output { exchange: format!("{name}-out"), optional: Vec::new() },
            dead_letter: DeadLetter { exchange: format!("{name}-dead"), queue: format!("{name}-dead") },
        };
        Self { amqp, metrics: Metrics::new([]), admin }
    }

    /// The settings with another way to the same broker.
    fn through(&self, address: SocketAddr) -> Amqp {
        let mut url = url::Url::parse(&broker_url()).unwrap();
        url.set_host(Some(&address.ip().to_string())).unwrap();
        url.set_port(Some(address.port())).unwrap();
        Amqp {
            address: address_of(url.as_str()),
            url: SecretString::from(url.to_string()),
            ..self.amqp.clone()
        }
    }

    fn publisher(&self, amqp: &Amqp) -> Publisher {
        let publish = Publish {
            concurrency: 256,
            confirm_timeout: Duration::from_secs(20),
            retry_initial: Duration::from_secs(1),
            retry_max: Duration::from_secs(1),
        };
        Publisher::start(amqp.clone(), &publish, Clock::system(), self.metrics.clone())
    }

    fn consumer(&self, amqp: &Amqp, slow_start: bool) -> Consumer {
        Consumer::start(amqp.clone(), Clock::system(), self.metrics.clone(), slow_start)
    }

    async fn connection(&self) -> Connection {
        connect(&self.amqp, Purpose::Inspect).await.unwrap()
    }

    async fn declare(&self) {
        let connection = self.connection().await;
        topology::declare(&connection, &self.amqp).await.unwrap();
        connection.close(PATIENCE).await;
    }

    async fn channel(&self) -> lapin::Channel {
        self.admin.create_channel().await.unwrap()
    }

    /// A queue of a record consumer, bound with one key.
    async fn record_queue(&self, routing_key: &str, arguments: FieldTable) -> String {
        let name = format!("{}-{}", self.amqp.output.exchange, uuid::Uuid::new_v4());
        let channel = self.channel().await;
        let options = QueueDeclareOptions { durable: false, exclusive: true, ..Default::default() };
        channel.queue_declare(name.as_str().into(), options, arguments).await.unwrap();
        let exchange = self.amqp.output.exchange.as_str().into();
        let options = QueueBindOptions::default();
        let table = FieldTable::default();
        channel.queue_bind(name.as_str().into(), exchange, routing_key.into(), options, table).await.unwrap();
        name
    }

    async fn get(&self, queue: &str) -> BasicGetMessage {
        let channel = self.channel().await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let options = BasicGetOptions { no_ack: true };
            if let Some(message) = channel.basic_get(queue.into(), options).await.unwrap() {
                return message;
            }
            assert!(tokio::time::Instant::now() < deadline, "nothing in {queue}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Messages ready in a queue; `None` if it does not exist.
    async fn ready(&self, queue: &str) -> Option<u32> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = self.channel().await.queue_declare(queue.into(), options, FieldTable::default()).await;
        found.ok().map(|queue| queue.message_count())
    }

    async fn wait_for_ready(&self, queue: &str, expected: Option<u32>) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let ready = self.ready(queue).await;
            if ready == expected {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{queue}: {ready:?} instead of {expected:?} ready"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Puts numbered briefs into the input queue.
    async fn enqueue(&self, numbers: std::ops::Range<u32>) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for number in numbers {
            assert!(self.enqueue_one(&channel, number).await, "brief {number} was not taken");
        }
    }

    /// Puts one brief into the input queue as soon as that is there and bound.
    async fn enqueue_when_bound(&self, number: u32) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.enqueue_one(&channel, number).await {
            assert!(tokio::time::Instant::now() < deadline, "the input queue was not bound in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn enqueue_one(&self, channel: &lapin::Channel, number: u32) -> bool {
        let exchange = self.amqp.input.exchange.as_str().into();
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (body, properties) = (number.to_string(), BasicProperties::default());
        let publishing =
            channel.basic_publish(exchange, "brief".into(), options, body.as_bytes(), properties);
        matches!(publishing.await.unwrap().await.unwrap(), lapin::Confirmation::Ack(None))
    }

    async fn clean_up(self) {
        for queue in [&self.amqp.input.queue, &self.amqp.dead_letter.queue] {
            let options = QueueDeleteOptions::default();
            self.channel().await.queue_delete(queue.as_str().into(), options).await.unwrap();
        }
        for exchange in
            [&self.amqp.input.exchange, &self.amqp.output.exchange, &self.amqp.dead_letter.exchange]
        {
            let options = ExchangeDeleteOptions::default();
            self.channel().await.exchange_delete(exchange.as_str().into(), options).await.unwrap();
        }
        // lapin fails this when a dropped channel is still on its way out.
        drop(self.admin.close(200, "done".into()).await);
    }
}

fn broker_url() -> String {
    std::env::var("BRIEFD_TEST_AMQP_URL")
        .expect("these tests need a RabbitMQ of their own in BRIEFD_TEST_AMQP_URL: run tests/run")
}

fn address_of(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    format!("{}:{}/", url.host_str().unwrap(), url.port().unwrap_or(5672))
}

fn broker_port() -> SocketAddr {
    let url = url::Url::parse(&broker_url()).unwrap();
    let host = url.host_str().unwrap().replace("localhost", "127.0.0.1");
    format!("{host}:{}", url.port().unwrap_or(5672)).parse().unwrap()
}

/// A way to the broker that can be cut and frozen.
struct Forwarder {
    address: SocketAddr,
    flowing: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Forwarder {
    async fn start(listen: SocketAddr) -> Self {
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (flowing, gate) = watch::channel(true);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let gate = gate.clone();
                connections.spawn(async move {
                    let broker = TcpStream::connect(broker_port()).await.unwrap();
                    let (client_in, client_out) = client.into_split();
                    let (broker_in, broker_out) = broker.into_split();
                    tokio::join!(
                        forward(client_in, broker_out, gate.clone()),
                        forward(broker_in, client_out, gate)
                    );
                });
            }
        });
        Self { address, flowing, accepting }
    }

    async fn anywhere() -> Self {
        Self::start("127.0.0.1:0".parse().unwrap()).await
    }

    /// Nothing goes through any more, and nothing ends.
    fn freeze(&self, frozen: bool) {
        self.flowing.send_replace(!frozen);
    }

    /// Cuts all connections and stops to listen.
    async fn kill(self) -> SocketAddr {
        self.accepting.abort();
        // Its connections end with it.
        assert!(self.accepting.await.unwrap_err().is_cancelled());
        self.address
    }
}

async fn forward(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut gate: watch::Receiver<bool>,
) {
    use tokio::io::AsyncReadExt;
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if gate.wait_for(|flowing| *flowing).await.is_err() || to.write_all(&buffer[..length]).await.is_err()
        {
            break;
        }
    }
    drop(to.shutdown().await);
}

fn record(id: &str, routing_key: &str) -> Outgoing {
    Outgoing {
        row: 1,
        channel: Channel::Record,
        routing_key: routing_key.to_owned(),
        message_id: id.to_owned(),
        body: b"{}".to_vec(),
        properties: Properties::default(),
    }
}

async fn ready(publisher: &mut Publisher) {
    tokio::time::timeout(PATIENCE, publisher.ready()).await.expect("the publisher was not ready in time");
}

async fn send(publisher: &mut Publisher, batch: &[Outgoing]) -> Vec<SendOutcome> {
    match publisher.send(batch).await {
        ControlFlow::Continue(outcomes) => outcomes,
        ControlFlow::Break(()) => panic!("the publisher was not up"),
    }
}

async fn receive(consumer: &mut Consumer, max: usize) -> Option<Vec<Delivery>> {
    tokio::time::timeout(PATIENCE, consumer.receive(max)).await.expect("nothing was delivered in time")
}

/// Receives until `count` deliveries are there.
async fn receive_all(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        deliveries.extend(receive(consumer, count - deliveries.len()).await.expect("the source ended"));
    }
    deliveries
}

fn numbers(deliveries: &[Delivery]) -> Vec<u32> {
    deliveries.iter().map(|delivery| std::str::from_utf8(&delivery.body).unwrap().parse().unwrap()).collect()
}

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
    let forwarder = Forwarder::anywhere().await;
    let publish = Publish {
        concurrency: 2,
        confirm_timeout: Duration::from_millis(300),
        retry_initial: Duration::from_secs(1),
        retry_max: Duration::from_secs(1),
    };
    let amqp = rig.through(forwarder.address);
    let mut publisher = Publisher::start(amqp, &publish, Clock::system(), rig.metrics.clone());
    ready(&mut publisher).await;
    rig.record_queue("key", FieldTable::default()).await;
    forwarder.freeze(true);
    let batch = [record("a", "key"), record("b", "key"), record("c", "key")];
    assert_eq!(send(&mut publisher, &batch).await, [SendOutcome::Unknown { channel_closed: false }; 3]);
    forwarder.freeze(false);
    ready(&mut publisher).await;
    assert_eq!(send(&mut publisher, &batch).await, [SendOutcome::Sent; 3]);
    publisher.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn one_acknowledgement_covers_all_that_was_received_and_nothing_else() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..10).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    assert_eq!(numbers(&receive_all(&mut consumer, 3).await), [0, 1, 2]);
    assert_eq!(numbers(&receive_all(&mut consumer, 1).await), [3]);
    consumer.acknowledge().await;
    assert_eq!(numbers(&receive_all(&mut consumer, 2).await), [4, 5]);
    consumer.close(PATIENCE).await;

    let mut consumer = rig.consumer(&rig.amqp, false);
    let mut again = receive_all(&mut consumer, 6).await;
    again.sort_by_key(|delivery| numbers(std::slice::from_ref(delivery)));
    assert_eq!(numbers(&again), [4, 5, 6, 7, 8, 9]);
    assert!(again.iter().all(|delivery| delivery.redelivered));
    consumer.acknowledge().await;
    consumer.close(PATIENCE).await;
    rig.wait_for_ready(&rig.amqp.input.queue, Some(0)).await;
    assert_eq!(rig.metrics.ack_lost_total.get(), 0);
    rig.clean_up().await;
}

#[tokio::test]
async fn a_receive_that_is_dropped_loses_nothing() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..200).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    let mut received = Vec::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while received.len() < 200 {
        assert!(tokio::time::Instant::now() < deadline, "only {} came", received.len());
        tokio::select! {
            biased;
            deliveries = consumer.receive(7) => received.extend(numbers(&deliveries.unwrap())),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(received, (0..200).collect::<Vec<_>>());
    consumer.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn after_an_unclean_stop_the_prefetch_starts_at_one_and_doubles() {
    let mut rig = Rig::new().await;
    rig.amqp.prefetch = 6;
    rig.declare().await;
    rig.enqueue(0..40).await;
    let mut consumer = rig.consumer(&rig.amqp, true);
    let mut received = 0;
    for prefetch in [1_u32, 2, 4, 6, 6] {
        assert_eq!(u32::from(consumer.prefetch()), prefetch);
        let expected: Vec<u32> = (received..received + prefetch).collect();
        assert_eq!(numbers(&receive_all(&mut consumer, expected.len()).await), expected);
        received += prefetch;
        // The broker holds back the rest until this is acknowledged.
        rig.wait_for_ready(&rig.amqp.input.queue, Some(40 - received)).await;
        consumer.acknowledge().await;
    }
    consumer.stop().await;
    while let Some(deliveries) = receive(&mut consumer, 100).await {
        received += u32::try_from(deliveries.len()).unwrap();
        consumer.acknowledge().await;
    }
    consumer.close(PATIENCE).await;
    rig.wait_for_ready(&rig.amqp.input.queue, Some(40 - received)).await;
    assert_eq!(rig.metrics.ack_lost_total.get(), 0);
    rig.clean_up().await;
}

#[tokio::test]
async fn a_stopped_consumer_hands_out_what_it_has_and_leaves_the_rest_untouched() {
    let mut rig = Rig::new().await;
    rig.amqp.prefetch = 4;
    rig.declare().await;
    rig.enqueue(0..10).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    assert_eq!(numbers(&receive_all(&mut consumer, 1).await), [0]);
    rig.wait_for_ready(&rig.amqp.input.queue, Some(6)).await;
    consumer.stop().await;
    assert_eq!(numbers(&receive_all(&mut consumer, 3).await), [1, 2, 3]);
    assert_eq!(receive(&mut consumer, 10).await, None);
    assert_eq!(receive(&mut consumer, 10).await, None);
    consumer.acknowledge().await;
    consumer.close(PATIENCE).await;
    rig.wait_for_ready(&rig.amqp.input.queue, Some(6)).await;
    assert!(!rig.get(&rig.amqp.input.queue).await.delivery.redelivered);
    rig.clean_up().await;
}

#[tokio::test]
async fn a_paused_consumer_hands_out_what_it_has_and_goes_on_later() {
    let mut rig = Rig::new().await;
    rig.amqp.prefetch = 4;
    rig.declare().await;
    rig.enqueue(0..10).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    assert_eq!(numbers(&receive_all(&mut consumer, 1).await), [0]);
    rig.wait_for_ready(&rig.amqp.input.queue, Some(6)).await;
    consumer.pause(true).await;
    assert_eq!(numbers(&receive_all(&mut consumer, 3).await), [1, 2, 3]);
    consumer.acknowledge().await;
    tokio::select! {
        _ = consumer.receive(10) => panic!("a paused consumer delivered"),
        () = rig.wait_for_ready(&rig.amqp.input.queue, Some(6)) => {}
    }
    consumer.pause(false).await;
    assert_eq!(numbers(&receive_all(&mut consumer, 4).await), [4, 5, 6, 7]);
    consumer.acknowledge().await;
    assert_eq!(numbers(&receive_all(&mut consumer, 2).await), [8, 9]);
    consumer.acknowledge().await;
    consumer.close(PATIENCE).await;
    rig.wait_for_ready(&rig.amqp.input.queue, Some(0)).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn a_consumer_whose_queue_is_deleted_declares_it_again_and_goes_on() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..1).await;
    let mut consumer = rig.consumer(&rig.amqp, false);
    assert_eq!(numbers(&receive_all(&mut consumer, 1).await), [0]);
    consumer.acknowledge().await;
    let queue = &rig.amqp.input.queue;
    rig.channel().await.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let (deliveries, ()) = tokio::join!(receive_all(&mut consumer, 1), rig.enqueue_when_bound(1));
    assert_eq!(numbers(&deliveries), [1]);
    consumer.acknowledge().await;
    assert_eq!(rig.metrics.amqp_reconnects_total.get(), 1);
    assert_eq!(rig.metrics.ack_lost_total.get(), 0);
    consumer.close(PATIENCE).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_is_built_again_and_lost_acknowledgements_are_counted() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..5).await;
    let forwarder = Forwarder::anywhere().await;
    let amqp = rig.through(forwarder.address);
    let mut consumer = rig.consumer(&amqp, false);
    let mut publisher = rig.publisher(&amqp);
    ready(&mut publisher).await;
    let status = consumer.status();
    assert_eq!(receive_all(&mut consumer, 5).await.len(), 5);
    assert!(status.connected());

    let address = forwarder.kill().await;
    // All five are free again: the broker has noticed too.
    rig.wait_for_ready(&rig.amqp.input.queue, Some(5)).await;
    consumer.acknowledge().await;
    assert_eq!(rig.metrics.ack_lost_total.get(), 5);
    assert_eq!(publisher.send(&[record("a", "key")]).await, ControlFlow::Break(()));

    let _forwarder = Forwarder::start(address).await;
    let again = receive_all(&mut consumer, 5).await;
    assert!(again.iter().all(|delivery| delivery.redelivered));
    consumer.acknowledge().await;
    ready(&mut publisher).await;
    assert_eq!(send(&mut publisher, &[record("a", "key")]).await, [SendOutcome::Unroutable]);
    assert_eq!(rig.metrics.amqp_reconnects_total.get(), 2);
    assert_eq!(rig.metrics.ack_lost_total.get(), 5);
    publisher.close(PATIENCE).await;
    consumer.close(PATIENCE).await;
    rig.wait_for_ready(&rig.amqp.input.queue, Some(0)).await;
    rig.clean_up().await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_at_the_start_is_waited_for() {
    let rig = Rig::new().await;
    rig.declare().await;
    rig.enqueue(0..1).await;
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let amqp = rig.through(address);
    let mut consumer = rig.consumer(&amqp, false);
    let status = consumer.status();
    let receiving = tokio::spawn(async move { (receive_all(&mut consumer, 1).await, consumer) });
    let error = connect(&amqp, Purpose::Inspect).await.unwrap_err();
    assert!(error.to_string().contains("cannot reach RabbitMQ"), "{error}");
    assert!(!status.connected());
    let _forwarder = Forwarder::start(address).await;
    let (deliveries, mut consumer) = receiving.await.unwrap();
    assert_eq!(numbers(&deliveries), [0]);
    assert!(status.connected());
    consumer.acknowledge().await;
    consumer.close(PATIENCE).await;
    assert!(!status.connected());
    rig.clean_up().await;
}

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
async fn a_refused_login_and_a_missing_virtual_host_are_told_apart() {
    let rig = Rig::new().await;
    rig.declare().await;
    let mut url = url::Url::parse(&broker_url()).unwrap();
    url.set_path("/no-such-vhost");
    let amqp = Amqp { url: SecretString::from(url.to_string()), ..rig.amqp.clone() };
    let error = connect(&amqp, Purpose::Inspect).await.unwrap_err().to_string();
    assert!(error.contains("refused the virtual host") && error.contains("no-such-vhost"), "{error}");

    let mut url = url::Url::parse(&broker_url()).unwrap();
    url.set_password(Some("wr0ng-secret")).unwrap();
    let amqp = Amqp { url: SecretString::from(url.to_string()), ..rig.amqp.clone() };
    let error = connect(&amqp, Purpose::Inspect).await.unwrap_err().to_string();
    assert!(error.contains("refused the login") && !error.contains("wr0ng-secret"), "{error}");
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
