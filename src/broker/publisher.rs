//! The flow's sink: records, dead letters and enqueued briefs, each confirmed by the broker.
//!
//! **Confirms are settled by the batch, not one by one.** lapin hands a returned message to *any* confirm that
//! completes at the time, so the confirm of an unroutable message can look clean. The set of returned messages is
//! complete once all confirms of a batch are in; so all are awaited, the returned ids are collected, and a message
//! is sent if its confirm is an `Ack` and its id was not returned. For this no id may be in flight twice on one
//! channel: batches are awaited one after the other, and the caller keeps ids unique within one.
//!
//! Any error, and a confirm that is late, makes the whole batch unknown and the connection is thrown away: waiting
//! returns would be paired with the next batch. A publish that was given up may still have left; it has the same id
//! when it is sent again.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use lapin::Confirmation;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::AMQPSoftError;

use super::connect::{Connection, Purpose};
use super::supervise::{Status, Supervisor};
use super::wire::{self, Packet};
use super::{ANSWER_LIMIT, DISCARD_LIMIT, plain, reply_code};
use crate::clock::Clock;
use crate::config::{Amqp, Publish};
use crate::crash_point::around;
use crate::flow::{Channel, Outgoing, SendOutcome, Sink};
use crate::telemetry::Metrics;

/// Sends messages and waits for the broker's word on each.
pub struct Publisher {
    supervisor: Supervisor,
    in_flight_max: usize,
    confirm_timeout: Duration,
    state: State,
    /// The last batch got no answer: only a confirm shows that all works again, a connection does not (a broker under
    /// an alarm lets everybody connect). A broker that refused a message has answered.
    doubtful: bool,
}

enum State {
    Building(BoxFuture<'static, Link>),
    Up(Link),
}

/// A connection and its one channel, in confirm mode.
struct Link {
    connection: Arc<Connection>,
    channel: lapin::Channel,
}

/// Why nothing is known about a batch.
struct Lost {
    cause: String,
    channel_closed: bool,
    /// We may not publish there: no message's fault.
    forbidden: bool,
}

impl Lost {
    /// Nothing that a message can be the reason for.
    fn by_itself(cause: String) -> Self {
        Self { cause, channel_closed: false, forbidden: false }
    }

    fn by(error: &lapin::Error) -> Self {
        // Only a channel error is about what was published; a connection takes everybody with it.
        let channel_closed = error.is_amqp_soft_error();
        let about_a_message = [AMQPSoftError::PRECONDITIONFAILED, AMQPSoftError::CONTENTTOOLARGE];
        let code = reply_code(error);
        let forbidden = channel_closed && !about_a_message.into_iter().any(|it| code == Some(it.get_id()));
        Self { cause: plain(error), channel_closed, forbidden }
    }
}

impl Publisher {
    /// Prepares a publisher; it connects with the first [`Sink::ready`].
    pub fn start(amqp: Amqp, publish: &Publish, clock: Clock, metrics: Metrics) -> Self {
        let supervisor = Supervisor::new(amqp, Purpose::Publish, clock, metrics);
        let state = State::Building(Box::pin(Link::establish(supervisor.clone(), None)));
        let in_flight_max = publish.concurrency.max(1);
        Self { supervisor, in_flight_max, confirm_timeout: publish.confirm_timeout, state, doubtful: false }
    }

    /// How the connection is, for `/readyz` and the [`Sampler`](super::Sampler).
    pub fn status(&self) -> Status {
        self.supervisor.status.clone()
    }

    /// Closes the connection within `limit`.
    pub async fn close(self, limit: Duration) {
        if let State::Up(link) = self.state {
            link.connection.close(limit).await;
        }
        self.supervisor.status.refresh();
    }

    /// Throws the connection away and begins to build the next one.
    fn fall(&mut self, cause: &str) {
        self.supervisor.failed(cause);
        let previous = match &self.state {
            State::Up(link) => Some(Arc::clone(&link.connection)),
            State::Building(_) => None,
        };
        self.state = State::Building(Box::pin(Link::establish(self.supervisor.clone(), previous)));
    }
}

impl Sink for Publisher {
    async fn send(&mut self, batch: &[Outgoing]) -> ControlFlow<(), Vec<SendOutcome>> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for flight in batch.chunks(self.in_flight_max) {
            let State::Up(link) = &self.state else { break };
            if !link.is_up() {
                self.fall("the connection was lost");
                break;
            }
            match link.send(flight, &self.supervisor.amqp, self.confirm_timeout).await {
                Ok(settled) => {
                    outcomes.extend(settled);
                    self.doubtful = false;
                    self.supervisor.works();
                }
                Err(Lost { cause, channel_closed, forbidden }) => {
                    self.doubtful = !channel_closed;
                    self.fall(&cause);
                    let outcome = match (forbidden, flight) {
                        (true, [_alone]) => SendOutcome::Forbidden,
                        _ => SendOutcome::Unknown { channel_closed },
                    };
                    outcomes.resize(outcomes.len() + flight.len(), outcome);
                    break;
                }
            }
        }
        if outcomes.is_empty() && !batch.is_empty() {
            return ControlFlow::Break(());
        }
        // Flights after one that was lost were not tried.
        outcomes.resize(batch.len(), SendOutcome::Unknown { channel_closed: false });
        ControlFlow::Continue(outcomes)
    }

    async fn ready(&mut self) {
        loop {
            match &mut self.state {
                State::Building(building) => {
                    let link = building.await;
                    if !self.doubtful {
                        self.supervisor.works();
                    }
                    self.state = State::Up(link);
                }
                State::Up(link) if link.is_up() => return,
                State::Up(_) => self.fall("the connection was lost"),
            }
        }
    }
}

impl Link {
    /// A connection with a channel in confirm mode, once the `previous` one is closed. Never fails: it tries until
    /// it works.
    async fn establish(supervisor: Supervisor, previous: Option<Arc<Connection>>) -> Self {
        if let Some(previous) = previous {
            previous.close(DISCARD_LIMIT).await;
        }
        loop {
            let connection = supervisor.connect().await;
            let opening = async {
                let channel = connection.create_channel().await?;
                // `nowait: false`: nothing is published before the broker has said that it will confirm.
                let selecting = channel.confirm_select(ConfirmSelectOptions { nowait: false });
                around("confirm_select", selecting).await?;
                Ok::<_, lapin::Error>(channel)
            };
            let cause = match tokio::time::timeout(ANSWER_LIMIT, opening).await {
                Ok(Ok(channel)) => return Self { connection, channel },
                Ok(Err(error)) => plain(&error),
                Err(_) => "the broker did not answer when asked for a channel with confirms".to_owned(),
            };
            supervisor.failed(&cause);
        }
    }

    fn is_up(&self) -> bool {
        self.connection.is_up() && self.channel.status().connected()
    }

    /// Sends what fits into one flight. `Err`: none of it is known, and the link is not to be used any more.
    async fn send(
        &self,
        flight: &[Outgoing],
        amqp: &Amqp,
        limit: Duration,
    ) -> Result<Vec<SendOutcome>, Lost> {
        let packets = flight.iter().map(|outgoing| Packet::of(outgoing, amqp)).collect();
        let Ok(confirms) = tokio::time::timeout(limit, self.publish(flight, packets)).await else {
            let blocked =
                if self.connection.is_blocked() { " (it is under a memory or disk alarm)" } else { "" };
            let cause = format!("the broker confirmed nothing within {} s{blocked}", limit.as_secs_f32());
            return Err(Lost::by_itself(cause));
        };
        settle(flight, confirms)
    }

    /// Publishes all, then awaits all confirms. `None` stands for a message that cannot be sent.
    async fn publish(
        &self,
        flight: &[Outgoing],
        packets: Vec<Option<Packet>>,
    ) -> Vec<Option<lapin::Result<Confirmation>>> {
        let options = BasicPublishOptions {
            mandatory: true,  // what no queue takes comes back instead of vanishing with an `Ack`
            immediate: false, // not implemented by RabbitMQ; it would close the connection
        };
        let mut confirms = Vec::with_capacity(flight.len());
        for (outgoing, packet) in flight.iter().zip(packets) {
            let Some(Packet { exchange, routing_key, properties }) = packet else {
                confirms.push(None);
                continue;
            };
            let publishing =
                self.channel.basic_publish(exchange, routing_key, options, &outgoing.body, properties);
            let published = match outgoing.channel {
                Channel::Record => around("basic_publish", around("record", publishing)).await,
                Channel::DeadLetter => around("basic_publish", around("dead_letter", publishing)).await,
                Channel::Brief => around("basic_publish", publishing).await,
            };
            let failed = published.is_err();
            confirms.push(Some(published));
            if failed {
                // The channel is dead; so are the rest.
                break;
            }
        }
        let awaited = confirms.into_iter().map(async |published| match published? {
            Ok(confirm) => Some(confirm.await),
            Err(error) => Some(Err(error)),
        });
        around("confirms", join_all(awaited)).await
    }
}

/// What became of each message of a flight, once all confirms are in.
fn settle(
    flight: &[Outgoing],
    confirms: Vec<Option<lapin::Result<Confirmation>>>,
) -> Result<Vec<SendOutcome>, Lost> {
    let mut returned = HashSet::new();
    let mut verdicts = Vec::with_capacity(flight.len());
    let mut lost: Option<Lost> = None;
    for confirm in confirms {
        let (verdict, message) = match confirm {
            None => (SendOutcome::Impossible, None),
            Some(Ok(Confirmation::Ack(message))) => (SendOutcome::Sent, message),
            Some(Ok(Confirmation::Nack(message))) => (SendOutcome::Refused, message),
            Some(Ok(Confirmation::NotRequested)) => {
                tracing::error!("the channel was not in confirm mode; the batch is sent again");
                lost.get_or_insert(Lost::by_itself("no confirms".to_owned()));
                continue;
            }
            Some(Err(error)) => {
                let this = Lost::by(&error);
                match &lost {
                    Some(known) if known.channel_closed || !this.channel_closed => {}
                    Some(_) | None => lost = Some(this),
                }
                continue;
            }
        };
        verdicts.push(verdict);
        if let Some(message) = message {
            returned.insert(wire::returned_id(&message.delivery.properties).unwrap_or_default());
        }
    }
    if let Some(lost) = lost {
        return Err(lost);
    }
    let known: HashSet<&str> = flight.iter().map(|outgoing| outgoing.message_id.as_str()).collect();
    if verdicts.len() != flight.len() || returned.iter().any(|id| !known.contains(id.as_str())) {
        tracing::error!("the broker returned a message that is not of this batch; the batch is sent again");
        return Err(Lost::by_itself("a foreign message was returned".to_owned()));
    }
    let verdict_of = |(outgoing, verdict): (&Outgoing, SendOutcome)| {
        if returned.contains(&outgoing.message_id) { SendOutcome::Unroutable } else { verdict }
    };
    Ok(flight.iter().zip(verdicts).map(verdict_of).collect())
}

#[cfg(test)]
mod tests;
