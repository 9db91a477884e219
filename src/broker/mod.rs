//! RabbitMQ: the only place that knows lapin.
//!
//! [`Consumer`] is the flow's source, [`Publisher`] its sink; each has a connection of its own, because a broker
//! that is short of memory stops reading from connections that publish, and acknowledgements must not wait there.
//! [`topology`] declares, checks and describes what both need.
//!
//! What holds everywhere in here:
//!
//! * Everything is bounded: connecting, each answer of the broker, closing. lapin bounds none of them.
//! * lapin's own recovery is off. After any error of a connection, a channel or a consumer the whole of it is thrown
//!   away and built again, with growing delays, for ever (`supervise`).
//! * Every AMQP option is written out with its reason, never left to a default.
//! * Nobody here decides about a message: no requeue, no retry queue, no time to live. Delays live in the ledger.
//!
//! Reading order: `connect`, `topology`, `supervise`, `consumer`, `publisher`.

mod connect;
mod consumer;
mod dead_letters;
mod depths;
mod guard;
pub mod management;
mod publisher;
mod rights;
mod supervise;
mod tame;
mod tls;
pub mod topology;
mod wire;

use std::time::Duration;

use lapin::types::ShortString;

pub use connect::{ConnectError, Connection, Purpose, connect};
pub use consumer::Consumer;
pub use dead_letters::{DeadLetter, DeadLetterError, DeadLetters};
pub use depths::Sampler;
pub use publisher::Publisher;
pub use rights::forbidden;
pub use supervise::Status;
pub use topology::TopologyError;

/// How long the broker may take to answer a request on a connection that stands. lapin would wait for ever,
/// and a broker under an alarm does not answer a connection that has published.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long throwing a broken connection away may take before its socket is shut down.
const DISCARD_LIMIT: Duration = Duration::from_secs(2);

/// AMQP's code for "this was meant", in the closing of channels and connections.
const REPLY_SUCCESS: u16 = 200;

/// A short constant of ours as an AMQP short string. Text from outside goes through `ShortString::try_new`,
/// because lapin's `into()` panics above 255 bytes.
fn constant(text: &'static str) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}

/// What an error of lapin says, without lapin's own wrapping.
fn plain(error: &lapin::Error) -> String {
    if let lapin::ErrorKind::ProtocolError(refusal) = error.kind() {
        return refusal.get_message().to_string();
    }
    error.to_string()
}

/// The AMQP reply code of an error, if the broker gave one.
fn reply_code(error: &lapin::Error) -> Option<u16> {
    if let lapin::ErrorKind::ProtocolError(refusal) = error.kind() { Some(refusal.get_id()) } else { None }
}

/// Settings to test with; nobody is behind the URL.
#[cfg(test)]
fn example_amqp(url: &str, address: &str) -> crate::config::Amqp {
    use crate::config::amqp::{Amqp, DeadLetter, Input, Output};
    Amqp {
        url: secrecy::SecretString::from(url.to_owned()),
        address: address.to_owned(),
        ca_file: None,
        cert_file: None,
        key_file: None,
        prefetch: 500,
        heartbeat: Duration::from_secs(10),
        declare: true,
        input: Input {
            exchange: "briefs".into(),
            queue: "briefs".into(),
            routing_key: "brief".into(),
            delivery_limit: 100,
        },
        output: Output { exchange: "containers".into(), optional: Vec::new() },
        dead_letter: DeadLetter { exchange: "briefs.dead".into(), queue: "briefs.dead".into() },
    }
}
