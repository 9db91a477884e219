//! What these tests share: settings with names of their own, and a second connection to look and to disturb with.

use std::ops::{ControlFlow, Range};
use std::time::Duration;

use briefd::broker::topology;
use briefd::broker::{Connection, Consumer, Publisher, Purpose, connect};
use briefd::clock::Clock;
use briefd::config::amqp::{Amqp, DeadLetter, Input, Output};
use briefd::config::work::Publish;
use briefd::flow::{Channel, Delivery, Outgoing, Properties, SendOutcome, Sink as _, Source as _};
use briefd::telemetry::Metrics;
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, ConnectionProperties};
use secrecy::SecretString;

use crate::support::eventually;
use crate::support::forwarder::Forwarder;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The broker's URL, settings with names of their own, and a second connection to look and to disturb with.
pub struct Rig {
    pub amqp: Amqp,
    pub metrics: Metrics,
    admin: lapin::Connection,
}

impl Rig {
    pub async fn new() -> Self {
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
    pub fn through(&self, forwarder: &Forwarder) -> Amqp {
        let url = forwarder.on_the_way_to(&broker_url());
        Amqp { address: address_of(&url), url: SecretString::from(url), ..self.amqp.clone() }
    }

    pub fn publisher(&self, amqp: &Amqp) -> Publisher {
        let publish = Publish {
            concurrency: 256,
            confirm_timeout: Duration::from_secs(20),
            retry_initial: Duration::from_secs(1),
            retry_max: Duration::from_secs(1),
        };
        Publisher::start(amqp.clone(), &publish, Clock::system(), self.metrics.clone())
    }

    pub fn consumer(&self, amqp: &Amqp, slow_start: bool) -> Consumer {
        Consumer::start(amqp.clone(), Clock::system(), self.metrics.clone(), slow_start)
    }

    pub async fn connection(&self) -> Connection {
        connect(&self.amqp, Purpose::Inspect).await.unwrap()
    }

    pub async fn declare(&self) {
        let connection = self.connection().await;
        topology::declare(&connection, &self.amqp).await.unwrap();
        connection.close(PATIENCE).await;
    }

    pub async fn channel(&self) -> lapin::Channel {
        self.admin.create_channel().await.unwrap()
    }

    /// A queue of a record consumer, bound with one key.
    pub async fn record_queue(&self, routing_key: &str, arguments: FieldTable) -> String {
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

    pub async fn get(&self, queue: &str) -> BasicGetMessage {
        let channel = self.channel().await;
        let got = eventually(PATIENCE, async || {
            channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()
        });
        got.await.unwrap_or_else(|| panic!("nothing in {queue}"))
    }

    /// Messages ready in a queue; `None` if it does not exist.
    pub async fn ready(&self, queue: &str) -> Option<u32> {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let found = self.channel().await.queue_declare(queue.into(), options, FieldTable::default()).await;
        found.ok().map(|queue| queue.message_count())
    }

    pub async fn wait_for_ready(&self, queue: &str, expected: Option<u32>) {
        let mut ready = None;
        let as_expected = eventually(PATIENCE, async || {
            ready = self.ready(queue).await;
            (ready == expected).then_some(())
        });
        let seen = as_expected.await;
        assert!(seen.is_some(), "{queue}: {ready:?} instead of {expected:?} ready");
    }

    /// Puts numbered briefs into the input queue.
    pub async fn enqueue(&self, numbers: Range<u32>) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        for number in numbers {
            assert!(self.enqueue_one(&channel, number).await, "brief {number} was not taken");
        }
    }

    /// Puts one brief into the input queue as soon as that is there and bound.
    pub async fn enqueue_when_bound(&self, number: u32) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let taken = eventually(PATIENCE, async || self.enqueue_one(&channel, number).await.then_some(()));
        taken.await.expect("the input queue was not bound in time");
    }

    async fn enqueue_one(&self, channel: &lapin::Channel, number: u32) -> bool {
        let exchange = self.amqp.input.exchange.as_str().into();
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (body, properties) = (number.to_string(), BasicProperties::default());
        let publishing =
            channel.basic_publish(exchange, "brief".into(), options, body.as_bytes(), properties);
        matches!(publishing.await.unwrap().await.unwrap(), lapin::Confirmation::Ack(None))
    }

    pub async fn clean_up(self) {
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

pub fn broker_url() -> String {
    std::env::var("BRIEFD_TEST_AMQP_URL")
        .expect("these tests need a RabbitMQ of their own in BRIEFD_TEST_AMQP_URL: run tests/run")
}

fn address_of(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    format!("{}:{}/", url.host_str().unwrap(), url.port().unwrap_or(5672))
}

pub fn record(id: &str, routing_key: &str) -> Outgoing {
    Outgoing {
        row: 1,
        channel: Channel::Record,
        routing_key: routing_key.to_owned(),
        message_id: id.to_owned(),
        body: b"{}".to_vec(),
        properties: Properties::default(),
    }
}

pub async fn ready(publisher: &mut Publisher) {
    tokio::time::timeout(PATIENCE, publisher.ready()).await.expect("the publisher was not ready in time");
}

pub async fn send(publisher: &mut Publisher, batch: &[Outgoing]) -> Vec<SendOutcome> {
    match publisher.send(batch).await {
        ControlFlow::Continue(outcomes) => outcomes,
        ControlFlow::Break(()) => panic!("the publisher was not up"),
    }
}

pub async fn receive(consumer: &mut Consumer, max: usize) -> Option<Vec<Delivery>> {
    tokio::time::timeout(PATIENCE, consumer.receive(max)).await.expect("nothing was delivered in time")
}

/// Receives until `count` deliveries are there.
pub async fn receive_all(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        deliveries.extend(receive(consumer, count - deliveries.len()).await.expect("the source ended"));
    }
    deliveries
}

pub fn numbers(deliveries: &[Delivery]) -> Vec<u32> {
    deliveries.iter().map(|delivery| std::str::from_utf8(&delivery.body).unwrap().parse().unwrap()).collect()
}
