//! One connection, one channel and at most one consumer on it: what lives and dies together.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};

use crate::broker::connect::Connection;
use crate::broker::supervise::Supervisor;
use crate::broker::{ANSWER_LIMIT, DISCARD_LIMIT, constant, plain, topology};
use crate::crash_point::{around, reached};

/// How often an idle connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What lives and dies together.
pub(super) struct Session {
    pub(super) stream: Stream,
    channel: lapin::Channel,
    pub(super) connection: Arc<Connection>,
}

/// The consumer on the channel.
pub(super) enum Stream {
    /// There is none, or it is drained. lapin's streams must not be polled after their end.
    None,
    /// The broker sends.
    Open(lapin::Consumer),
    /// The broker sends no more; what it has sent still comes out.
    Canceled(lapin::Consumer),
    /// It came to its end while a batch was being filled; the end is told next.
    Ended(String),
}

impl Stream {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// What came out of a stream.
pub(super) enum Next {
    Deliveries(Vec<Delivery>),
    /// The end that we asked for.
    Drained,
    /// Any other end.
    Broken(String),
}

impl Session {
    /// A connection and a channel without a consumer, once the `previous` connection is closed. Never fails: it
    /// tries until it works.
    pub(super) async fn establish(
        supervisor: Supervisor,
        previous: Option<Arc<Connection>>,
    ) -> Result<Self, String> {
        if let Some(previous) = previous {
            previous.close(DISCARD_LIMIT).await;
        }
        loop {
            let connection = supervisor.connect().await;
            report_foreign_consumers(&connection, &supervisor).await;
            match answered("a channel", connection.create_channel()).await {
                Ok(channel) => return Ok(Self { stream: Stream::None, channel, connection }),
                Err(cause) => supervisor.failed(&cause),
            }
        }
    }

    /// Opens a consumer that has at most `prefetch` deliveries unacknowledged.
    pub(super) async fn consume(mut self, supervisor: Supervisor, prefetch: u16) -> Result<Self, String> {
        // Per consumer: quorum queues know no prefetch per channel, and asking for one kills the connection.
        let qos = self.channel.basic_qos(prefetch, BasicQosOptions { global: false });
        answered("a prefetch", around("basic_qos", qos)).await?;
        let queue = ShortString::try_new(supervisor.amqp.input.queue.as_str()).map_err(|e| e.to_string())?;
        let options = BasicConsumeOptions {
            no_local: false,  // RabbitMQ does not implement it
            no_ack: false,    // forgotten only after our commit
            exclusive: false, // a second worker that is being rolled out must not fail; it is reported instead
            nowait: false,    // we want to know
        };
        // An empty tag lets the broker choose one that is unique on this channel.
        let consuming = self.channel.basic_consume(queue, constant(""), options, FieldTable::default());
        self.stream = Stream::Open(answered("a consumer", around("basic_consume", consuming)).await?);
        Ok(self)
    }

    /// Ends the consumer at the broker; does nothing if there is none.
    pub(super) async fn cancel(&mut self) -> Result<(), String> {
        let stream = std::mem::replace(&mut self.stream, Stream::None);
        let Stream::Open(consumer) = stream else {
            self.stream = stream;
            return Ok(());
        };
        let tag = consumer.tag();
        // Before the await: dropped there, the request is on its way all the same.
        self.stream = Stream::Canceled(consumer);
        // `nowait: false`: after the answer nothing more is sent, and all that was sent is in the stream.
        let ending = self.channel.basic_cancel(tag, BasicCancelOptions { nowait: false });
        answered("the end of a consumer", around("basic_cancel", ending)).await
    }

    /// At least one delivery, and what else is buffered, up to `max`. Cancel-safe: it waits only while it holds none.
    pub(super) async fn next(&mut self, max: usize) -> Next {
        let (consumer, canceled) = match &mut self.stream {
            Stream::None => return Next::Drained,
            Stream::Open(consumer) => (consumer, false),
            Stream::Canceled(consumer) => (consumer, true),
            Stream::Ended(_) => return self.ended(),
        };
        let mut deliveries = Vec::new();
        let mut item = consumer.next().await;
        loop {
            match item {
                Some(Ok(delivery)) => deliveries.push(delivery),
                Some(Err(error)) => {
                    self.stream = Stream::Ended(plain(&error));
                    break;
                }
                None if canceled => {
                    self.stream = Stream::None;
                    break;
                }
                None => {
                    self.stream =
                        Stream::Ended("the broker ended the consumer; was the queue deleted?".to_owned());
                    break;
                }
            }
            if deliveries.len() >= max {
                break;
            }
            match Pin::new(&mut *consumer).next().now_or_never() {
                Some(next) => item = next,
                None => break,
            }
        }
        if deliveries.is_empty() {
            return self.ended();
        }
        reached("amqp", "delivery", "after");
        Next::Deliveries(deliveries)
    }

    fn ended(&mut self) -> Next {
        match std::mem::replace(&mut self.stream, Stream::None) {
            Stream::Ended(cause) => Next::Broken(cause),
            Stream::None | Stream::Open(_) | Stream::Canceled(_) => Next::Drained,
        }
    }

    /// Waits until the connection is gone, without a consumer that would tell. Cancel-safe.
    pub(super) async fn broken(&self) -> String {
        while self.connection.is_up() && self.channel.status().connected() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        "the connection was lost".to_owned()
    }
}

/// Says so if somebody else reads from our queue: one ledger goes with one queue.
async fn report_foreign_consumers(connection: &Connection, supervisor: &Supervisor) {
    let before = supervisor.status.foreign_consumers();
    let Ok(depths) = topology::queue_depths(connection, &supervisor.amqp).await else { return };
    supervisor.status.see_consumers(depths.input.consumers);
    if before == 0 && depths.input.consumers > 0 {
        tracing::warn!(
            queue = supervisor.amqp.input.queue,
            consumers = depths.input.consumers,
            "somebody else consumes the input queue; one ledger goes with one queue"
        );
    }
}

async fn answered<T>(what: &str, request: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_LIMIT, request).await {
        Ok(answer) => answer.map_err(|error| format!("the broker refused {what}: {}", plain(&error))),
        Err(_) => Err(format!("the broker did not answer when asked for {what}")),
    }
}
