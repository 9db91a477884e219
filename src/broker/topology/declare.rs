//! Makes the broker have what it must have, or says why it cannot.
//!
//! A refused declare closes its channel, so each one gets a channel of its own that is thrown away.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};

use super::compare::Difference;
use super::{Exchange, Plan, Queue};
use crate::broker::connect::Connection;
use crate::broker::{ANSWER_LIMIT, REPLY_SUCCESS, constant, plain, reply_code, wire};
use crate::config::Amqp;
use crate::crash_point::around;

/// What stands between the broker and the topology briefd needs.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// It exists, but is another one.
    #[error(
        "{object} has {}; delete it when it is empty and unused, or set {setting} to a new name",
        difference
    )]
    Differs {
        /// `queue "briefs"`
        object: String,
        /// The setting that names it.
        setting: &'static str,
        /// The first thing that differs; the broker names one at a time.
        difference: Difference,
    },
    /// It does not exist, and we are not to make it.
    #[error(
        "{object} does not exist and amqp.declare is false; create it (briefd topology --declare, or import \
         briefd topology --definitions) or correct {setting}"
    )]
    Missing {
        /// `queue "briefs"`
        object: String,
        /// The setting that names it.
        setting: &'static str,
    },
    /// The user may not do this.
    #[error(
        "the broker does not let this user declare {object}: {problem}; grant the configure right, or create it \
         otherwise and set amqp.declare = false"
    )]
    Forbidden {
        /// `queue "briefs"`
        object: String,
        /// What the broker says.
        problem: String,
    },
    /// A name AMQP cannot carry.
    #[error("the name in {setting} is longer than 255 bytes; choose a shorter one")]
    Name {
        /// The setting that names it.
        setting: &'static str,
    },
    /// The broker refused for another reason.
    #[error("the broker refused {object}: {problem}")]
    Refused {
        /// `queue "briefs"`
        object: String,
        /// What the broker says.
        problem: String,
    },
    /// The broker did not answer.
    #[error("the broker did not answer about {object} within {} s; is it under an alarm or overloaded?", ANSWER_LIMIT.as_secs())]
    Silent {
        /// `queue "briefs"`
        object: String,
    },
}

/// Declares everything, or with `amqp.declare = false` looks whether everything exists. Repeatable.
pub async fn declare(connection: &Connection, amqp: &Amqp) -> Result<(), TopologyError> {
    let plan = Plan::of(amqp);
    let how = if amqp.declare { How::Active } else { How::Passive };
    for exchange in &plan.exchanges {
        let declared = exchange_on_channel(connection, exchange, how).await;
        let object = exchange.object();
        declared.map_err(|failure| failure.explain(object, exchange.setting))?;
    }
    for queue in &plan.queues {
        let declared = queue_on_channel(connection, queue, how).await;
        let object = queue.object();
        declared.map_err(|failure| failure.explain(object, queue.setting))?;
    }
    if amqp.declare {
        bind(connection, &plan).await?;
    }
    Ok(())
}

/// What waits in a queue, and who reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages ready for delivery.
    pub messages: u32,
    /// Consumers, ours included.
    pub consumers: u32,
}

/// What waits in our two queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// The input queue.
    pub input: Depth,
    /// The dead-letter queue.
    pub dead_letter: Depth,
}

/// Asks how much waits in both queues, by passive declares on throw-away channels.
pub async fn queue_depths(connection: &Connection, amqp: &Amqp) -> Result<Depths, TopologyError> {
    let [dead_letter, input] = Plan::of(amqp).queues;
    let mut depths = [Depth::default(); 2];
    for (queue, depth) in [&input, &dead_letter].into_iter().zip(&mut depths) {
        let found = queue_on_channel(connection, queue, How::Passive).await;
        *depth = found.map_err(|failure| failure.explain(queue.object(), queue.setting))?;
    }
    let [input, dead_letter] = depths;
    Ok(Depths { input, dead_letter })
}

/// Whether a declare may create and compare, or only look for existence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Active,
    Passive,
}

/// Why a single declare failed, before it is put into words.
#[derive(Debug)]
pub(super) enum Failure {
    Broker(lapin::Error),
    Silent,
    Name,
}

impl Failure {
    pub(super) fn explain(self, object: String, setting: &'static str) -> TopologyError {
        let error = match self {
            Self::Broker(error) => error,
            Self::Silent => return TopologyError::Silent { object },
            Self::Name => return TopologyError::Name { setting },
        };
        let problem = plain(&error);
        match reply_code(&error) {
            Some(403) => TopologyError::Forbidden { object, problem },
            Some(404) => TopologyError::Missing { object, setting },
            Some(406) => match Difference::read(&problem) {
                Some(difference) => TopologyError::Differs { object, setting, difference },
                None => TopologyError::Refused { object, problem },
            },
            Some(_) | None => TopologyError::Refused { object, problem },
        }
    }
}

impl Exchange<'_> {
    pub(super) fn object(&self) -> String {
        format!("exchange {:?}", self.name)
    }
}

impl Queue<'_> {
    pub(super) fn object(&self) -> String {
        format!("queue {:?}", self.name)
    }
}

pub(super) async fn exchange_on_channel(
    connection: &Connection,
    exchange: &Exchange<'_>,
    how: How,
) -> Result<(), Failure> {
    let name = ShortString::try_new(exchange.name).map_err(|_| Failure::Name)?;
    let options = ExchangeDeclareOptions {
        passive: how == How::Passive,
        durable: true,      // it must be there after a restart of the broker
        auto_delete: false, // and when nobody uses it for a while
        internal: false,    // clients publish to it
        nowait: false,      // we want to know
    };
    on_channel(connection, async |channel| {
        let kind = exchange.kind.clone();
        let declaring = channel.exchange_declare(name, kind, options, FieldTable::default());
        around("exchange_declare", declaring).await
    })
    .await
}

pub(super) async fn queue_on_channel(
    connection: &Connection,
    queue: &Queue<'_>,
    how: How,
) -> Result<Depth, Failure> {
    let name = ShortString::try_new(queue.name).map_err(|_| Failure::Name)?;
    let options = QueueDeclareOptions {
        passive: how == How::Passive,
        durable: true,      // quorum queues are nothing else
        exclusive: false,   // it outlives the connection
        auto_delete: false, // it outlives its readers
        nowait: false,      // we want to know
    };
    let arguments = wire::table(queue.arguments.iter().map(|(name, value)| (*name, value)));
    on_channel(connection, async |channel| {
        let found = around("queue_declare", channel.queue_declare(name, options, arguments)).await?;
        Ok(Depth { messages: found.message_count(), consumers: found.consumer_count() })
    })
    .await
}

async fn bind(connection: &Connection, plan: &Plan<'_>) -> Result<(), TopologyError> {
    for (binding, queue) in plan.bindings.iter().zip(&plan.queues) {
        let object = format!("the binding of queue {:?} to exchange {:?}", binding.queue, binding.exchange);
        let names = [binding.queue, binding.exchange, binding.routing_key].map(ShortString::try_new);
        let [Ok(queue_name), Ok(exchange_name), Ok(routing_key)] = names else {
            return Err(Failure::Name.explain(object, "amqp.input.routing_key"));
        };
        let bound = on_channel(connection, async |channel| {
            let options = QueueBindOptions { nowait: false }; // we want to know
            let table = FieldTable::default();
            let binding = channel.queue_bind(queue_name, exchange_name, routing_key, options, table);
            around("queue_bind", binding).await
        });
        bound.await.map_err(|failure| failure.explain(object, queue.setting))?;
    }
    Ok(())
}

async fn on_channel<T>(
    connection: &Connection,
    request: impl AsyncFnOnce(&lapin::Channel) -> lapin::Result<T>,
) -> Result<T, Failure> {
    let asking = async {
        let channel = connection.create_channel().await?;
        let answer = request(&channel).await?;
        // The answer is here; a channel that does not close politely goes with its connection.
        if let Err(error) = channel.close(REPLY_SUCCESS, constant("done")).await {
            tracing::debug!(%error, "a throw-away channel was gone before it was closed");
        }
        Ok(answer)
    };
    match tokio::time::timeout(ANSWER_LIMIT, asking).await {
        Ok(answer) => answer.map_err(Failure::Broker),
        Err(_) => Err(Failure::Silent),
    }
}
