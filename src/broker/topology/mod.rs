//! What must be at the broker: three exchanges, two queues, two bindings, all durable.
//!
//! ```text
//! pipelines ─▶ input exchange (direct) ─routing key─▶ input queue (quorum) ─▶ briefd
//!                                                          │ delivery limit
//! briefd ────▶ dead-letter exchange (fanout) ◀─────────────┘ ─▶ dead-letter queue (quorum)
//! briefd ────▶ output exchange (topic) ─▶ the consumers' own queues
//! ```
//!
//! [`declare`] makes it so, or says what differs and how to mend it; with `amqp.declare = false` it only looks
//! whether everything exists, because AMQP cannot compare without the right to configure. [`check`] changes nothing.
//! Policies set at the broker are not visible to AMQP and not looked at.

mod compare;
mod declare;

use std::collections::BTreeMap;

use lapin::ExchangeKind;
use serde_json::{Value, json};

pub use compare::{Difference, Finding, State, check};
pub use declare::{Depth, Depths, TopologyError, declare, queue_depths};

use super::connect;
use crate::config::Amqp;

/// The dead-letter queue's delivery limit: looking at a message and giving it back counts as a delivery, and with
/// the broker's default of 20 a dead letter would be gone after 21 looks.
const DEAD_LETTER_DELIVERY_LIMIT: u32 = 1_000_000;

/// All there must be, in an order in which it can be declared: what is pointed at comes first.
#[derive(Clone, Debug)]
pub(super) struct Plan<'a> {
    pub(super) exchanges: [Exchange<'a>; 3],
    pub(super) queues: [Queue<'a>; 2],
    pub(super) bindings: [Binding<'a>; 2],
}

/// One exchange.
#[derive(Clone, Debug)]
pub(super) struct Exchange<'a> {
    pub(super) name: &'a str,
    pub(super) kind: ExchangeKind,
    /// The setting that names it.
    pub(super) setting: &'static str,
}

/// One quorum queue.
#[derive(Clone, Debug)]
pub(super) struct Queue<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: BTreeMap<&'static str, Value>,
    /// The setting that names it.
    pub(super) setting: &'static str,
}

/// One binding of a queue to an exchange.
#[derive(Clone, Debug)]
pub(super) struct Binding<'a> {
    pub(super) exchange: &'a str,
    pub(super) queue: &'a str,
    pub(super) routing_key: &'a str,
}

impl<'a> Plan<'a> {
    pub(super) fn of(amqp: &'a Amqp) -> Self {
        let (input, output, dead) = (&amqp.input, &amqp.output, &amqp.dead_letter);
        Self {
            exchanges: [
                Exchange {
                    name: &dead.exchange,
                    kind: ExchangeKind::Fanout,
                    setting: "amqp.dead_letter.exchange",
                },
                Exchange {
                    name: &input.exchange,
                    kind: ExchangeKind::Direct,
                    setting: "amqp.input.exchange",
                },
                Exchange {
                    name: &output.exchange,
                    kind: ExchangeKind::Topic,
                    setting: "amqp.output.exchange",
                },
            ],
            queues: [
                Queue {
                    name: &dead.queue,
                    arguments: BTreeMap::from([
                        // Replicated and fsynced: what is set aside is kept as safely as what came in.
                        ("x-queue-type", json!("quorum")),
                        ("x-delivery-limit", json!(DEAD_LETTER_DELIVERY_LIMIT)),
                    ]),
                    setting: "amqp.dead_letter.queue",
                },
                Queue {
                    name: &input.queue,
                    arguments: BTreeMap::from([
                        // Replicated and fsynced; and only this type counts deliveries.
                        ("x-queue-type", json!("quorum")),
                        // A message that kills its reader must end somewhere. Never left to the broker:
                        // 3.10 has no limit by default, 4.x has 20.
                        ("x-delivery-limit", json!(input.delivery_limit)),
                        ("x-dead-letter-exchange", json!(dead.exchange)),
                        // The broker keeps the message until the dead-letter queue has confirmed it.
                        ("x-dead-letter-strategy", json!("at-least-once")),
                        // Without this the strategy above silently becomes at-most-once.
                        ("x-overflow", json!("reject-publish")),
                    ]),
                    setting: "amqp.input.queue",
                },
            ],
            bindings: [
                // A fanout exchange reads no key.
                Binding { exchange: &dead.exchange, queue: &dead.queue, routing_key: "" },
                Binding { exchange: &input.exchange, queue: &input.queue, routing_key: &input.routing_key },
            ],
        }
    }
}

/// The word RabbitMQ uses for a kind of exchange.
fn kind_word(kind: &ExchangeKind) -> &str {
    match kind {
        ExchangeKind::Custom(word) => word,
        ExchangeKind::Direct => "direct",
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Headers => "headers",
        ExchangeKind::Topic => "topic",
    }
}

/// The same topology as RabbitMQ definitions, to be imported by those who may configure the broker.
pub fn definitions(amqp: &Amqp) -> Value {
    let vhost = connect::vhost(amqp);
    let plan = Plan::of(amqp);
    let exchanges: Vec<Value> = plan
        .exchanges
        .iter()
        .map(|exchange| {
            json!({
                "name": exchange.name, "vhost": vhost, "type": kind_word(&exchange.kind),
                "durable": true, "auto_delete": false, "internal": false, "arguments": {},
            })
        })
        .collect();
    let queues: Vec<Value> = plan
        .queues
        .iter()
        .map(|queue| {
            json!({
                "name": queue.name, "vhost": vhost, "durable": true, "auto_delete": false,
                "arguments": queue.arguments,
            })
        })
        .collect();
    let bindings: Vec<Value> = plan
        .bindings
        .iter()
        .map(|binding| {
            json!({
                "source": binding.exchange, "vhost": vhost, "destination": binding.queue,
                "destination_type": "queue", "routing_key": binding.routing_key, "arguments": {},
            })
        })
        .collect();
    json!({ "exchanges": exchanges, "queues": queues, "bindings": bindings })
}

#[cfg(test)]
mod tests;
