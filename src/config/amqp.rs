//! `[amqp]`: the broker, its exchanges and queues.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// `[amqp]`
#[derive(Clone, Debug)]
pub struct Amqp {
    /// `amqp://` or `amqps://`; holds a password, so it is secret. Print [`Amqp::address`] instead.
    pub url: SecretString,
    /// `host:port/vhost` without user and password, for logs and errors.
    pub address: String,
    /// PEM of the authority that signed the broker's certificate; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// PEM of the client certificate; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM (PKCS#8) of the client key.
    pub key_file: Option<PathBuf>,
    /// Unacknowledged deliveries the broker may send ahead.
    pub prefetch: u16,
    /// Negotiated heartbeat; a dead peer is noticed after twice this.
    pub heartbeat: Duration,
    /// Declare exchanges and queues; `false`: only check that they exist.
    pub declare: bool,
    /// `[amqp.input]`
    pub input: Input,
    /// `[amqp.output]`
    pub output: Output,
    /// `[amqp.dead_letter]`
    pub dead_letter: DeadLetter,
}

/// `[amqp.input]`: a direct exchange and a quorum queue.
#[derive(Clone, Debug)]
pub struct Input {
    /// Direct exchange that pipelines publish to.
    pub exchange: String,
    /// Quorum queue that briefd consumes.
    pub queue: String,
    /// Binding between the two.
    pub routing_key: String,
    /// `x-delivery-limit`, at least 1; counts connections too.
    pub delivery_limit: u32,
}

/// `[amqp.output]`: a topic exchange. Its queues belong to the consumers.
#[derive(Clone, Debug)]
pub struct Output {
    /// Topic exchange that records are published to.
    pub exchange: String,
    /// Record types that are dropped and counted when no queue is bound for them.
    pub optional: Vec<String>,
}

/// `[amqp.dead_letter]`: a fanout exchange and a quorum queue.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Fanout exchange for what is set aside, by us or by the broker.
    pub exchange: String,
    /// Quorum queue behind it.
    pub queue: String,
}
