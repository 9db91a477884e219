//! The two traits of the flow: where deliveries come from ([`Source`]) and where records go ([`Sink`]).
//!
//! RabbitMQ (`broker`) and files (`files`) implement both, so that `generate FILE` and `run` are the same
//! worker, and the flow is tested without a pretended broker. Nothing else in briefd is a trait of this kind.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::ControlFlow;

use jiff::Timestamp;

/// One message as it came in, before anybody looked into it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    /// Where it stands in its source: a delivery tag, or a line number. Rising within one channel or file.
    pub position: u64,
    /// The bytes of the brief message.
    pub body: Vec<u8>,
    /// What travelled beside the body.
    pub properties: Properties,
    /// The broker has delivered this message before, perhaps to somebody else.
    pub redelivered: bool,
    /// Why the source could not make a message of it (a CSV row with too many fields); `body` is then the raw text.
    pub fault: Option<String>,
}

/// What travels beside a body, in either direction. For a file everything is empty.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Properties {
    /// AMQP `message_id`.
    pub message_id: Option<String>,
    /// AMQP `correlation_id`.
    pub correlation_id: Option<String>,
    /// AMQP `type`.
    pub kind: Option<String>,
    /// AMQP `content_type`.
    pub content_type: Option<String>,
    /// AMQP `content_encoding`.
    pub content_encoding: Option<String>,
    /// AMQP `timestamp` (whole seconds).
    pub timestamp: Option<Timestamp>,
    /// AMQP `app_id`.
    pub app_id: Option<String>,
    /// AMQP `reply_to`.
    pub reply_to: Option<String>,
    /// Headers, values as JSON. What JSON cannot hold (byte arrays that are not UTF-8, nested tables) is kept as text.
    pub headers: BTreeMap<String, serde_json::Value>,
}

/// Where deliveries come from.
pub trait Source: Send {
    /// Waits until there is at least one delivery and returns up to `max` of them, in order.
    /// `None`: there will never be another one (end of file, or the source was [stopped](Source::stop) and is drained).
    /// Cancel-safe: a delivery that was not returned is not lost.
    fn receive(&mut self, max: usize) -> impl Future<Output = Option<Vec<Delivery>>> + Send;

    /// Says that every delivery returned so far is committed, and may be forgotten by the source.
    fn acknowledge(&mut self) -> impl Future<Output = ()> + Send;

    /// Asks for no more deliveries; what is buffered already still comes out of [`Source::receive`], then `None`.
    fn stop(&mut self) -> impl Future<Output = ()> + Send;

    /// Stops asking for deliveries for as long as `paused`, without holding any unacknowledged.
    fn pause(&mut self, paused: bool) -> impl Future<Output = ()> + Send;
}

/// What kind of message leaves; it decides the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// A record for the output exchange.
    Record,
    /// A message that is set aside with its reason, for the dead-letter exchange.
    DeadLetter,
    /// A brief for the input exchange (`briefd enqueue`).
    Brief,
}

/// One message that shall leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// The ledger's number of this outbox row.
    pub row: i64,
    /// Where it goes.
    pub channel: Channel,
    /// AMQP routing key.
    pub routing_key: String,
    /// AMQP `message_id`; what consumers recognise repeats by. Unique within a batch.
    pub message_id: String,
    /// The exact bytes.
    pub body: Vec<u8>,
    /// What travels beside the body (`message_id` there is ignored in favour of the one above for records;
    /// a dead letter keeps the original's and carries ours in `x-briefd-row`).
    pub properties: Properties,
}

/// Headers that the broker counts deliveries in: the same message comes with another number.
pub const COUNTED_BY_BROKER: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// What became of one outgoing message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The broker confirmed that very message and did not return it.
    Sent,
    /// No queue is bound for its routing key; the broker returned it.
    Unroutable,
    /// The broker refused it (a full queue with `reject-publish`): try again later.
    Refused,
    /// No confirmation came; it may have been stored or not. Sending it again is harmless: same id.
    Unknown {
        /// The broker closed the channel while this message was in flight (alone, if the batch had one message).
        channel_closed: bool,
    },
    /// While this message was alone, the broker said that we may not publish where it goes: no right to, no such exchange.
    /// No message's fault: try again later, with all that go there.
    Forbidden,
    /// It cannot be expressed in AMQP at all (an over-long name, headers over the frame limit), with no hope in a repeat.
    Impossible,
}

/// Where records and dead letters go.
pub trait Sink: Send {
    /// Sends a batch and waits until the fate of each message is known, in bounded time.
    /// Returns one outcome for each message, in order. `Break`: the sink was not up, nothing was tried; wait for
    /// [`Sink::ready`]. Not cancel-safe: let it finish.
    fn send(&mut self, batch: &[Outgoing]) -> impl Future<Output = ControlFlow<(), Vec<SendOutcome>>> + Send;

    /// Waits until the sink may be tried. Cancel-safe.
    fn ready(&mut self) -> impl Future<Output = ()> + Send;
}
