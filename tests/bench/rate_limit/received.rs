//! A consumer on the output queue, that notes when each record came.

use std::collections::HashSet;
use std::time::Instant;

use futures::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, Consumer};
use serde_json::Value;

use super::api_time::instant_ms;
use super::support::broker::TestBroker;
use super::support::message::Message;

/// One record that came.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub at: Instant,
    /// When its container had ended by the API's own record, milliseconds since 1970 there.
    pub ended_api_ms: f64,
}

/// What has come so far. A repeat is kept for the judge, and does not count as an arrival.
pub struct Received {
    _connection: Connection,
    channel: Channel,
    queue: ShortString,
    consumer: Consumer,
    seen: HashSet<String>,
    pub arrivals: Vec<Arrival>,
    pub messages: Vec<Message>,
}

impl Received {
    /// Consumes the queue that gets every record.
    pub async fn open(broker: &TestBroker) -> Self {
        let properties = ConnectionProperties::default().with_connection_name("briefd benchmark".into());
        let connection = Connection::connect(broker.url(), properties).await.expect("the broker is up");
        let channel = connection.create_channel().await.expect("a channel can be opened");
        let queue = broker.name("records");
        // Not acknowledged one by one: what is measured is the arrival.
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel
            .basic_consume(queue.clone(), "benchmark".into(), options, FieldTable::default())
            .await
            .expect("the queue of records can be consumed");
        let (seen, arrivals, messages) = (HashSet::new(), Vec::new(), Vec::new());
        Self { _connection: connection, channel, queue, consumer, seen, arrivals, messages }
    }

    /// Waits until so many different records have come. Cancel-safe.
    pub async fn until(&mut self, count: usize) {
        while self.arrivals.len() < count {
            let delivery = self.consumer.next().await.expect("the broker goes on");
            self.keep(delivery.expect("the broker goes on"));
        }
    }

    /// Takes what else is there, once nobody publishes any more.
    pub async fn rest(&mut self) {
        // The broker's answer on this channel comes behind every delivery that was there before.
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(self.queue.clone(), passive, FieldTable::default()).await;
        declared.expect("the queue of records is still there");
        while let Some(Some(delivery)) = self.consumer.next().now_or_never() {
            self.keep(delivery.expect("the broker goes on"));
        }
    }

    fn keep(&mut self, delivery: Delivery) {
        let at = Instant::now();
        let message =
            Message::of_delivery(delivery.routing_key.as_str(), &delivery.properties, delivery.data);
        let record = message.json();
        if let Some(ended) = ended_at(&record)
            && self.seen.insert(record["recordId"].to_string())
        {
            self.arrivals.push(Arrival { at, ended_api_ms: instant_ms(ended) });
        }
        self.messages.push(message);
    }
}

/// When a record's container ended; `None`: it tells of none.
fn ended_at(record: &Value) -> Option<&Value> {
    ["completedAt", "failedAt"].into_iter().map(|name| &record["container"][name]).find(|at| at.is_string())
}
