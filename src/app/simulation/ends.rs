//! Both ends of the flow: a broker that keeps what is not acknowledged, and may lose what is sent to it.

use std::collections::{HashSet, VecDeque};
use std::future::pending;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::ops::{Ack, Fate};
use crate::flow::{Delivery, Outgoing, SendOutcome, Sink, Source};

/// The broker. Clones are the same; it outlives every process.
#[derive(Clone, Default)]
pub(super) struct Broker {
    state: Arc<Mutex<State>>,
    /// Rings when the process shall die at this very point.
    pub died: Arc<Notify>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Delivery>,
    unacknowledged: Vec<Delivery>,
    position: u64,
    chunk: usize,
    ack: Option<Ack>,
    fates: VecDeque<Fate>,
    consumed: Vec<Outgoing>,
}

impl Broker {
    /// A producer sends a message.
    pub(super) fn send(&self, body: Vec<u8>) {
        let mut state = self.state();
        state.position += 1;
        let delivery = Delivery { position: state.position, body, ..Delivery::default() };
        state.waiting.push_back(delivery);
    }

    /// How deliveries are handed out next, and what becomes of the first acknowledgment.
    pub(super) fn hand_out(&self, chunk: usize, ack: Ack) {
        let mut state = self.state();
        (state.chunk, state.ack) = (chunk, Some(ack));
    }

    /// What becomes of the batches to come; those after them are confirmed.
    pub(super) fn fates(&self, fates: &[Fate]) {
        self.state().fates = fates.iter().copied().collect();
    }

    /// The process is gone: what it did not acknowledge comes again.
    pub(super) fn disconnect(&self) {
        let mut state = self.state();
        let state = &mut *state;
        for mut delivery in state.unacknowledged.drain(..).rev() {
            delivery.redelivered = true;
            state.waiting.push_front(delivery);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let state = self.state();
        state.waiting.is_empty() && state.unacknowledged.is_empty()
    }

    /// Every message that arrived, in order, repeats among them.
    pub(super) fn consumed(&self) -> Vec<Outgoing> {
        self.state().consumed.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn die(&self) -> ! {
        self.died.notify_one();
        pending().await
    }
}

impl Source for Broker {
    async fn receive(&mut self, max: usize) -> Option<Vec<Delivery>> {
        let mut state = self.state();
        let state = &mut *state;
        let n = state.waiting.len().min(max).min(state.chunk.max(1));
        let taken: Vec<_> = state.waiting.drain(..n).collect();
        state.unacknowledged.extend(taken.iter().cloned());
        (n > 0).then_some(taken)
    }

    async fn acknowledge(&mut self) {
        let ack = self.state().ack.take().unwrap_or(Ack::Arrives);
        if !matches!(ack, Ack::DiesBefore) {
            self.state().unacknowledged.clear();
        }
        if !matches!(ack, Ack::Arrives) {
            self.die().await;
        }
    }

    async fn stop(&mut self) {}

    async fn pause(&mut self, _paused: bool) {}
}

impl Sink for Broker {
    async fn send(&mut self, batch: &[Outgoing]) -> ControlFlow<(), Vec<SendOutcome>> {
        let ids: HashSet<_> = batch.iter().map(|message| &message.message_id).collect();
        assert_eq!(ids.len(), batch.len(), "an id is twice in one batch");
        let fate = self.state().fates.pop_front().unwrap_or(Fate::Confirmed);
        let unknown = SendOutcome::Unknown { channel_closed: false };
        let fate_of = |place: usize| match fate {
            Fate::Confirmed | Fate::DiesAfter => (true, SendOutcome::Sent),
            Fate::HalfLost if place.is_multiple_of(2) => (true, SendOutcome::Sent),
            Fate::StoredUnconfirmed => (true, unknown),
            Fate::Lost | Fate::HalfLost | Fate::DiesBefore | Fate::Down => (false, unknown),
            Fate::Refused => (false, SendOutcome::Refused),
            Fate::Unroutable => (false, SendOutcome::Unroutable),
        };
        if matches!(fate, Fate::Down) {
            return ControlFlow::Break(());
        }
        let outcomes = batch.iter().enumerate().map(|(place, message)| {
            let (stored, outcome) = fate_of(place);
            if stored {
                self.state().consumed.push(message.clone());
            }
            outcome
        });
        let outcomes = outcomes.collect();
        if matches!(fate, Fate::DiesBefore | Fate::DiesAfter) {
            self.die().await;
        }
        ControlFlow::Continue(outcomes)
    }

    async fn ready(&mut self) {}
}
