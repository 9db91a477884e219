//! The dead-letter queue, for people: look, requeue, discard.
//!
//! Looking takes messages without acknowledging them; when the channel closes, or this process dies, the broker has them
//! again, where they were. Requeueing publishes to the input exchange, waits until the broker has confirmed and not
//! returned it, and only then acknowledges the dead letter: whatever happens in between, a message is there once or
//! twice, never not at all, and a repeat is recognized by its identity.
//!
//! A visit is bounded by what waited when it began: what is set aside meanwhile (perhaps one of those that were
//! requeued) is for the next one. Nothing here is built again after an error; the command is.

mod letter;

use std::time::Duration;

use futures::future::join_all;
use lapin::Confirmation;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;

pub use self::letter::DeadLetter;
use super::connect::{ConnectError, Connection, Purpose, connect};
use super::topology::{TopologyError, queue_depths};
use super::{ANSWER_LIMIT, REPLY_SUCCESS, constant, plain};
use crate::config::Amqp;
use crate::crash_point::around;

/// How long saying goodbye may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// How long the broker may take to confirm what is requeued.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);

/// Why the dead-letter queue could not be visited, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The broker could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A queue is not there, or may not be looked at.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// No queue takes briefs.
    #[error(
        "no queue is bound to the exchange {exchange:?} for {routing_key:?}: run `briefd topology --declare`; what \
         was not requeued is still in the dead-letter queue"
    )]
    Unroutable {
        /// `amqp.input.exchange`
        exchange: String,
        /// `amqp.input.routing_key`
        routing_key: String,
    },
    /// The broker took some of them or none.
    #[error(
        "the broker did not confirm what was requeued: {0}; nothing is lost, run the same command again (a repeat is \
         recognized)"
    )]
    Unconfirmed(String),
    /// The broker refused something else, or went away.
    #[error(
        "the broker ended the visit to the dead-letter queue: {0}; nothing is lost, run the same command again"
    )]
    Broker(String),
}

impl From<lapin::Error> for DeadLetterError {
    fn from(error: lapin::Error) -> Self {
        Self::Broker(plain(&error))
    }
}

/// A visit to the dead-letter queue. What was taken and neither requeued nor discarded is given back at its end, also
/// when it is only dropped.
pub struct DeadLetters {
    connection: Connection,
    channel: lapin::Channel,
    amqp: Amqp,
    queue: ShortString,
    waiting: u32,
    taken: u32,
}

impl DeadLetters {
    /// Connects and counts.
    pub async fn open(amqp: &Amqp) -> Result<Self, DeadLetterError> {
        let connection = connect(amqp, Purpose::Inspect).await?;
        let waiting = queue_depths(&connection, amqp).await?.dead_letter.messages;
        let queue = name(&amqp.dead_letter.queue, "amqp.dead_letter.queue")?;
        let opening = async {
            let channel = connection.create_channel().await?;
            // `nowait: false`: nothing is published before the broker has said that it will confirm.
            let selecting = channel.confirm_select(ConfirmSelectOptions { nowait: false });
            around("confirm_select", selecting).await?;
            Ok::<_, lapin::Error>(channel)
        };
        let channel = tokio::time::timeout(ANSWER_LIMIT, opening).await.map_err(silent)??;
        Ok(Self { connection, channel, amqp: amqp.clone(), queue, waiting, taken: 0 })
    }

    /// How many waited when the visit began.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// The next one, oldest first; `None`: all that waited were seen.
    pub async fn next(&mut self) -> Result<Option<DeadLetter>, DeadLetterError> {
        if self.taken >= self.waiting {
            return Ok(None);
        }
        // `no_ack: false`: a look takes nothing away.
        let getting = self.channel.basic_get(self.queue.clone(), BasicGetOptions { no_ack: false });
        let got =
            tokio::time::timeout(ANSWER_LIMIT, around("basic_get", getting)).await.map_err(silent)??;
        let Some(BasicGetMessage { delivery, .. }) = got else { return Ok(None) };
        self.taken += 1;
        Ok(Some(DeadLetter::of(delivery)))
    }

    /// Puts them on the input queue as they came first, and takes them out of this one.
    pub async fn requeue(&self, letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        let publishing = around("requeue", self.publish(letters));
        tokio::time::timeout(CONFIRM_LIMIT, publishing).await.map_err(|_late| {
            DeadLetterError::Unconfirmed(format!("no answer within {} s", CONFIRM_LIMIT.as_secs()))
        })??;
        self.discard(letters).await
    }

    /// Takes them out of the queue for good.
    pub async fn discard(&self, letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        for letter in letters {
            // `multiple: false`: those in between stay.
            let acking = self.channel.basic_ack(letter.tag, BasicAckOptions { multiple: false });
            around("basic_ack", acking).await?;
        }
        Ok(())
    }

    /// Gives back what was only looked at. An acknowledgement is sure only once this has succeeded.
    pub async fn close(self) -> Result<(), DeadLetterError> {
        // The answer comes after everything that was sent before it was dealt with.
        let closing = self.channel.close(REPLY_SUCCESS, constant("done"));
        let closed = tokio::time::timeout(ANSWER_LIMIT, closing).await;
        self.connection.close(CLOSE_LIMIT).await;
        Ok(closed.map_err(silent)??)
    }

    /// All of them or an error. They all go one way, so one that comes back stands for all.
    async fn publish(&self, letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        let input = &self.amqp.input;
        let exchange = name(&input.exchange, "amqp.input.exchange")?;
        let routing_key = name(&input.routing_key, "amqp.input.routing_key")?;
        let options = BasicPublishOptions {
            mandatory: true,  // what no queue takes comes back instead of vanishing with an `Ack`
            immediate: false, // not implemented by RabbitMQ; it would close the connection
        };
        let mut confirms = Vec::with_capacity(letters.len());
        for letter in letters {
            let publishing = self.channel.basic_publish(
                exchange.clone(),
                routing_key.clone(),
                options,
                letter.body(),
                letter.properties_again(),
            );
            confirms.push(around("basic_publish", publishing).await.map_err(unconfirmed)?);
        }
        // All are awaited before any is judged: lapin may pair a returned message with any confirm of the channel.
        let answers = around("confirms", join_all(confirms)).await;
        let mut refused = false;
        for answer in answers {
            match answer.map_err(unconfirmed)? {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                    return Err(DeadLetterError::Unroutable {
                        exchange: input.exchange.clone(),
                        routing_key: input.routing_key.clone(),
                    });
                }
                Confirmation::Nack(None) => refused = true,
                Confirmation::NotRequested => {
                    return Err(DeadLetterError::Unconfirmed("no confirms".to_owned()));
                }
            }
        }
        if refused {
            let problem = "it refuses briefs, as it does when the queue is full".to_owned();
            return Err(DeadLetterError::Unconfirmed(problem));
        }
        Ok(())
    }
}

fn name(text: &str, setting: &'static str) -> Result<ShortString, DeadLetterError> {
    ShortString::try_new(text).map_err(|_too_long| TopologyError::Name { setting }.into())
}

fn silent(_late: tokio::time::error::Elapsed) -> DeadLetterError {
    DeadLetterError::Broker(format!("no answer within {} s", ANSWER_LIMIT.as_secs()))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unconfirmed(error: lapin::Error) -> DeadLetterError {
    DeadLetterError::Unconfirmed(plain(&error))
}
