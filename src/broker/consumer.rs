//! The flow's source: briefs from the input queue.
//!
//! Two states. `Building`: a boxed future makes a connection, a channel and a consumer, for ever if it must; it is
//! kept between calls, so that a [`Source::receive`] that is dropped loses no progress. `Up`: a [`Session`] with a
//! stream of deliveries. Any error, and a stream that ends without our asking, leads back to `Building`.
//!
//! A delivery tag dies with its channel. Deliveries that are still buffered in a dead channel come out all the same;
//! their acknowledgement is counted as lost, the broker delivers them again, and the ledger recognises them.
//!
//! *Slow start*: after an unclean stop the first prefetch is 1, and doubles with each acknowledgement, so that a
//! message that kills the process spends its own delivery count and not that of a whole prefetch of healthy ones.
//!
//! What it does not do: reject, requeue, or decide about a message. The consumer opens with the first
//! [`Source::receive`]; connections count against the delivery limit, so the caller starts it only after a write
//! to the ledger has worked.

mod session;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lapin::Acker;
use lapin::options::BasicAckOptions;
use session::{Next, Session, Stream};

use super::supervise::{Status, Supervisor};
use super::{ANSWER_LIMIT, Purpose, wire};
use crate::clock::Clock;
use crate::config::Amqp;
use crate::crash_point::around;
use crate::flow::{Delivery, Source};
use crate::telemetry::Metrics;
use crate::telemetry::event::AcksLost;

/// Deliveries from the input queue, acknowledged in order.
pub struct Consumer {
    supervisor: Supervisor,
    state: State,
    /// What was returned from the present channel and not acknowledged.
    returned: Option<Returned>,
    /// What was returned from channels that have died since.
    acks_lost: u64,
    /// The present prefetch; below `amqp.prefetch` only during slow start.
    prefetch: u16,
    paused: bool,
    stopping: bool,
}

enum State {
    Building(BoxFuture<'static, Result<Session, String>>),
    Up(Box<Session>),
    Closed,
}

/// The newest delivery that was handed out, and how many with it.
struct Returned {
    acker: Acker,
    count: u64,
}

impl Consumer {
    /// Prepares a consumer; it connects with the first [`Source::receive`]. `slow_start`: the last stop was unclean.
    pub fn start(amqp: Amqp, clock: Clock, metrics: Metrics, slow_start: bool) -> Self {
        // 0 would mean "no limit" to the broker.
        let prefetch = if slow_start { 1 } else { amqp.prefetch.max(1) };
        let supervisor = Supervisor::new(amqp, Purpose::Consume, clock, metrics);
        let state = State::Building(Box::pin(Session::establish(supervisor.clone(), None)));
        Self { supervisor, state, returned: None, acks_lost: 0, prefetch, paused: false, stopping: false }
    }

    /// How the connection is, for `/readyz` and the [`Sampler`](super::Sampler).
    pub fn status(&self) -> Status {
        self.supervisor.status.clone()
    }

    /// Deliveries the broker may send ahead at present.
    pub fn prefetch(&self) -> u16 {
        self.prefetch
    }

    /// Closes channel and connection within `limit`. What was not acknowledged is delivered again.
    pub async fn close(mut self, limit: Duration) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        if let State::Up(session) = state {
            session.connection.close(limit).await;
        }
        self.supervisor.status.set_consuming(false);
        self.supervisor.status.refresh();
    }

    /// Throws the session away and begins to build the next one.
    fn fall(&mut self, cause: &str) {
        self.acks_lost += self.returned.take().map_or(0, |returned| returned.count);
        self.supervisor.status.set_consuming(false);
        if self.stopping {
            tracing::debug!(cause, "the RabbitMQ connection was lost while stopping");
            self.state = State::Closed;
            return;
        }
        self.supervisor.failed(cause);
        let previous = match &self.state {
            State::Up(session) => Some(Arc::clone(&session.connection)),
            State::Building(_) | State::Closed => None,
        };
        self.state = State::Building(Box::pin(Session::establish(self.supervisor.clone(), previous)));
    }

    /// A stream has ended by our own wish: what comes next? `true`: nothing, ever.
    async fn idle(&mut self) -> bool {
        if self.stopping {
            return true;
        }
        let State::Up(session) = &mut self.state else { return false };
        if self.paused {
            self.supervisor.works();
            let cause = session.broken().await;
            self.fall(&cause);
        } else if let State::Up(session) = std::mem::replace(&mut self.state, State::Closed) {
            let consuming = session.consume(self.supervisor.clone(), self.prefetch);
            self.state = State::Building(Box::pin(consuming));
        }
        false
    }

    /// Asks for no more deliveries on the present channel. What is buffered still comes out of the stream.
    async fn cancel(&mut self) {
        let State::Up(session) = &mut self.state else { return };
        self.supervisor.status.set_consuming(false);
        if let Err(cause) = session.cancel().await {
            self.fall(&cause);
        }
    }

    fn hand_out(&mut self, deliveries: Vec<lapin::message::Delivery>) -> Vec<Delivery> {
        let mut handed_out = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let count = self.returned.take().map_or(0, |returned| returned.count) + 1;
            self.returned = Some(Returned { acker: delivery.acker, count });
            handed_out.push(Delivery {
                position: delivery.delivery_tag,
                body: delivery.data,
                properties: wire::incoming_properties(&delivery.properties),
                redelivered: delivery.redelivered,
                fault: None,
            });
        }
        handed_out
    }
}

impl Source for Consumer {
    async fn receive(&mut self, max: usize) -> Option<Vec<Delivery>> {
        loop {
            match &mut self.state {
                State::Closed => return None,
                State::Building(_) if self.stopping => self.state = State::Closed,
                State::Building(building) => match building.await {
                    Ok(session) => {
                        if session.stream.is_open() {
                            self.supervisor.status.set_consuming(true);
                            self.supervisor.works();
                        }
                        self.state = State::Up(Box::new(session));
                    }
                    Err(cause) => self.fall(&cause),
                },
                // Paused or stopped while it was being opened.
                State::Up(session) if session.stream.is_open() && (self.paused || self.stopping) => {
                    self.cancel().await;
                }
                State::Up(session) if matches!(session.stream, Stream::None) => {
                    if self.idle().await {
                        return None;
                    }
                }
                State::Up(session) => match session.next(max.max(1)).await {
                    Next::Deliveries(deliveries) => return Some(self.hand_out(deliveries)),
                    Next::Drained => {}
                    Next::Broken(cause) => self.fall(&cause),
                },
            }
        }
    }

    async fn acknowledge(&mut self) {
        if self.prefetch < self.supervisor.amqp.prefetch && self.returned.is_some() {
            // Slow start goes on: the old consumer ends before its window opens again, the next one is larger.
            self.cancel().await;
            self.prefetch = self.prefetch.saturating_mul(2).min(self.supervisor.amqp.prefetch);
        }
        let mut lost = std::mem::take(&mut self.acks_lost);
        if let Some(Returned { acker, count }) = self.returned.take() {
            // All that was returned before has lower tags and is committed too: one acknowledgement for all.
            let acking = around("ack", acker.ack(BasicAckOptions { multiple: true }));
            match tokio::time::timeout(ANSWER_LIMIT, acking).await {
                // Written to the socket; whether the broker has it shows when the message does not come again.
                Ok(Ok(true)) => {}
                // The channel is dead; the stream says so in the next receive.
                Ok(Ok(false) | Err(_)) => lost += count,
                Err(_) => {
                    lost += count;
                    self.fall("the broker does not read acknowledgements");
                }
            }
        }
        AcksLost { lost }.emit(&self.supervisor.metrics);
    }

    async fn stop(&mut self) {
        self.stopping = true;
        if let (State::Building(building), Some(_)) = (&mut self.state, &self.returned) {
            // A consumer is being opened on a channel that still has something to acknowledge: keep that channel.
            match tokio::time::timeout(ANSWER_LIMIT, building).await {
                Ok(Ok(session)) => self.state = State::Up(Box::new(session)),
                Ok(Err(cause)) => self.fall(&cause),
                Err(_) => self.fall("the broker did not answer while a consumer was being opened"),
            }
        }
        self.cancel().await;
    }

    async fn pause(&mut self, paused: bool) {
        self.paused = paused;
        if paused {
            self.cancel().await;
        }
    }
}
