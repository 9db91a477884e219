//! The real broker, with names of its own for each test, so that tests can run beside each other.

use std::time::{Duration, Instant};

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use serde_json::Value;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::message::Message;
use super::{Variable, eventually};

/// One step at the broker may take this long; a broker that is being restarted needs some of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a test may make at the broker; there is an exchange, a queue or both of each name.
const ROLES: [&str; 6] = ["briefs", "containers", "briefs.dead", "records", "letters", "example"];

/// A broker with exchanges and queues of this test's own. Deletes them when dropped.
pub struct TestBroker {
    url: String,
    id: String,
    line: Mutex<Option<(Connection, Channel)>>,
}

impl TestBroker {
    /// Takes the broker that `tests/run` started or was told of, and binds a queue to this test's output exchange, so
    /// that no record is missed.
    pub async fn connect() -> Self {
        let url = std::env::var("BRIEFD_TEST_AMQP_URL")
            .expect("BRIEFD_TEST_AMQP_URL names no broker: run the tests with tests/run, which starts one");
        Self::connect_to(url).await
    }

    /// The same with a broker of the test's own.
    pub async fn connect_to(url: String) -> Self {
        let broker = Self { url, id: Uuid::new_v4().simple().to_string(), line: Mutex::new(None) };
        broker.declare_records_queue().await;
        broker
    }

    /// Where the broker is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The settings that make a worker use this test's exchanges and queues.
    pub fn variables(&self) -> Vec<Variable> {
        let name = |role| self.name(role).to_string();
        vec![
            ("BRIEFD__AMQP__URL", self.url.clone()),
            ("BRIEFD__AMQP__INPUT__EXCHANGE", name("briefs")),
            ("BRIEFD__AMQP__INPUT__QUEUE", name("briefs")),
            ("BRIEFD__AMQP__OUTPUT__EXCHANGE", name("containers")),
            ("BRIEFD__AMQP__DEAD_LETTER__EXCHANGE", name("briefs.dead")),
            ("BRIEFD__AMQP__DEAD_LETTER__QUEUE", name("briefs.dead")),
        ]
    }

    /// The name that one of [`ROLES`] has in this test.
    pub fn name(&self, role: &str) -> ShortString {
        ShortString::try_new(format!("test-{}.{role}", self.id)).expect("the name is short")
    }

    /// Publishes a brief, persistent, and waits until the broker has it.
    pub async fn publish(&self, brief: &Value) {
        let persistent = BasicProperties::default().with_delivery_mode(2);
        self.publish_with(brief.to_string().as_bytes(), persistent).await;
    }

    /// Publishes any bytes with any properties to the input exchange and waits until the broker has them.
    pub async fn publish_with(&self, body: &[u8], properties: BasicProperties) {
        self.send("briefs", "brief", body, properties).await;
    }

    /// Publishes a record as a worker would, for tests of what comes behind it.
    pub async fn publish_record(&self, record: &Value) {
        let id = record["recordId"].as_str().expect("a record has an id");
        let properties = BasicProperties::default().with_message_id(id.into());
        let kind = record["type"].as_str().expect("a record has a type");
        self.send("containers", kind, record.to_string().as_bytes(), properties).await;
    }

    /// Publishes to the dead-letter exchange, as the worker would.
    pub async fn publish_dead_letter(&self, body: &Value) {
        let persistent = BasicProperties::default().with_delivery_mode(2);
        self.send("briefs.dead", "", body.to_string().as_bytes(), persistent).await;
    }

    /// Takes the next message of a queue and goes away without a word, as a reader that dies does.
    pub async fn look_at(&self, role: &str) {
        self.channel().await;
        let line = self.line.lock().await;
        let (connection, _) = line.as_ref().expect("a line was made");
        let channel = connection.create_channel().await.expect("a channel can be opened");
        channel.basic_get(self.name(role), BasicGetOptions::default()).await.expect("the queue is there");
        channel.close(200, "done".into()).await.expect("the channel can be closed");
    }

    async fn send(&self, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
        let channel = self.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("the channel can confirm");
        let mandatory = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirmation = channel
            .basic_publish(self.name(exchange), key.into(), mandatory, body, properties)
            .await
            .expect("the message leaves")
            .await
            .expect("the broker confirms");
        assert!(
            matches!(confirmation, Confirmation::Ack(None)),
            "no queue took the message (has a worker declared its topology?): {confirmation:?}"
        );
    }

    /// Makes an input exchange and queue, for tests without a worker.
    pub async fn declare_input(&self) {
        let (channel, name) = (self.channel().await, self.name("briefs"));
        let (exchange, queue) = (ExchangeDeclareOptions::default(), QueueDeclareOptions::default());
        let table = FieldTable::default;
        let declared = channel.exchange_declare(name.clone(), ExchangeKind::Direct, exchange, table()).await;
        declared.expect("the input exchange can be declared");
        channel.queue_declare(name.clone(), queue, table()).await.expect("the input queue can be declared");
        let bound = channel
            .queue_bind(name.clone(), name, "brief".into(), QueueBindOptions::default(), table())
            .await;
        bound.expect("the input queue can be bound");
    }

    /// Binds a queue to the output exchange, which is made if need be, for all records.
    pub async fn declare_records_queue(&self) {
        self.bind_records_queue("#").await;
    }

    /// The same for records of one routing key, or a pattern of them.
    pub async fn bind_records_queue(&self, key: &str) {
        let channel = self.channel().await;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let (exchange, queue) = (self.name("containers"), self.name("records"));
        channel
            .exchange_declare(exchange.clone(), ExchangeKind::Topic, durable, FieldTable::default())
            .await
            .expect("the output exchange can be declared");
        let mut quorum = FieldTable::default();
        quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.clone(), durable, quorum).await.expect("a queue can be declared");
        channel
            .queue_bind(queue, exchange, key.into(), QueueBindOptions::default(), FieldTable::default())
            .await
            .expect("a queue can be bound");
    }

    /// Every dead letter from now on comes to a queue `letters`, too, which no command knows. The topology is there.
    #[allow(dead_code, reason = "for tests/crash")]
    pub async fn copy_dead_letters(&self) {
        let (channel, queue) = (self.channel().await, self.name("letters"));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue, durable, FieldTable::default()).await.expect("a queue can be declared");
        self.bind_dead_letters("letters").await;
    }

    /// Every dead letter from now on comes to the queue of records, too, in the order in which they leave. The topology
    /// is there.
    pub async fn mix_dead_letters_with_records(&self) {
        self.bind_dead_letters("records").await;
    }

    async fn bind_dead_letters(&self, queue: &str) {
        let (queue, exchange) = (self.name(queue), self.name("briefs.dead"));
        let (options, table) = (QueueBindOptions::default(), FieldTable::default());
        let bound = self.channel().await.queue_bind(queue, exchange, "".into(), options, table).await;
        bound.expect("a queue can be bound");
    }

    /// Takes the queue of records away, so that no queue is bound to the output exchange.
    pub async fn delete_records_queue(&self) {
        self.delete_queue("records").await;
    }

    /// Takes a queue away with all that is in it.
    pub async fn delete_queue(&self, role: &str) {
        let deleted = self.channel().await.queue_delete(self.name(role), QueueDeleteOptions::default()).await;
        deleted.expect("the queue can be deleted");
    }

    /// Takes records until `count` have come, or the time is over; then fewer.
    pub async fn take_records(&self, count: usize, within: Duration) -> Vec<Message> {
        self.take("records", count, within).await
    }

    /// Takes dead letters until `count` have come, or the time is over; then fewer.
    pub async fn take_dead_letters(&self, count: usize, within: Duration) -> Vec<Message> {
        self.take("briefs.dead", count, within).await
    }

    /// How many messages wait in a queue.
    pub async fn count(&self, role: &str) -> usize {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel().await.queue_declare(self.name(role), passive, FieldTable::default()).await;
        usize::try_from(queue.expect("the queue is there").message_count()).unwrap_or(usize::MAX)
    }

    /// Everything that is in a queue now.
    pub async fn take_rest(&self, role: &str) -> Vec<Message> {
        self.take(role, usize::MAX, Duration::ZERO).await
    }

    async fn take(&self, role: &str, count: usize, within: Duration) -> Vec<Message> {
        let began = Instant::now();
        let mut taken = Vec::new();
        while taken.len() < count {
            let left = within.saturating_sub(began.elapsed());
            match eventually(left, || self.take_one(role)).await {
                Some(message) => taken.push(message),
                None => break,
            }
        }
        taken
    }

    /// The next message of a queue. A connection that broke meanwhile is replaced; the message comes again.
    async fn take_one(&self, role: &str) -> Option<Message> {
        let channel = self.channel().await;
        let got = channel.basic_get(self.name(role), BasicGetOptions::default()).await.ok()??;
        got.ack(BasicAckOptions::default()).await.ok()?;
        let delivery = &got.delivery;
        Some(Message::of_delivery(delivery.routing_key.as_str(), &delivery.properties, delivery.data.clone()))
    }

    /// A channel of a connection that works, in bounded time.
    async fn channel(&self) -> Channel {
        let channel = eventually(PATIENCE, async || {
            let mut line = self.line.lock().await;
            if let Some((_, channel)) = line.as_ref().filter(|(_, channel)| channel.status().connected()) {
                return Some(channel.clone());
            }
            let properties = ConnectionProperties::default().with_connection_name("briefd tests".into());
            let connection = Connection::connect(&self.url, properties).await.ok()?;
            let channel = connection.create_channel().await.ok()?;
            Some(line.insert((connection, channel)).1.clone())
        });
        channel.await.expect("the broker that BRIEFD_TEST_AMQP_URL names can be reached")
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        let (url, names) = (self.url.clone(), ROLES.map(|role| self.name(role)));
        // A thread, because there is no waiting in here, and the test's own runtime may be gone.
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(async move {
                let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
                let channel = connection.create_channel().await?;
                for name in names {
                    channel.queue_delete(name.clone(), QueueDeleteOptions::default()).await?;
                    channel.exchange_delete(name, ExchangeDeleteOptions::default()).await?;
                }
                connection.close(200, "done".into()).await
            })
        });
        if !matches!(deleting.join(), Ok(Ok(()))) {
            eprintln!("queues and exchanges named test-{}.* could not be deleted", self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_published_can_be_taken_once_with_its_properties() {
        let broker = TestBroker::connect().await;
        broker.declare_input().await;
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), AMQPValue::LongString("00-a-b-01".into()));
        let properties = BasicProperties::default().with_message_id("m1".into()).with_headers(headers);
        broker.publish_with(b"{}", properties).await;
        broker.publish(&serde_json::json!({"projectId": "p"})).await;

        let taken = broker.take("briefs", 2, Duration::from_secs(10)).await;
        let ids = taken.iter().map(|message| message.envelope.as_ref().unwrap().message_id.as_deref());
        assert_eq!(ids.collect::<Vec<_>>(), [Some("m1"), None]);
        assert_eq!(taken[0].header("traceparent"), "00-a-b-01");
        assert_eq!(taken[1].json()["projectId"], "p");
        assert_eq!(broker.take_rest("briefs").await, []);
        assert_eq!(broker.take_records(1, Duration::ZERO).await, []);
    }

    #[tokio::test]
    async fn nothing_is_left_at_the_broker_after_a_test() {
        let broker = TestBroker::connect().await;
        let (url, records) = (broker.url.clone(), broker.name("records"));
        drop(broker);
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        assert!(channel.queue_declare(records, passive, FieldTable::default()).await.is_err());
    }
}
