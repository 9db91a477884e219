//! Looks every 15 s at how much waits in our queues and whether the connections stand, for the metrics.
//!
//! It borrows the consumer's connection, on channels that are thrown away, and never builds one of its own: while
//! the broker cannot be reached, the last known depths stand.

use std::time::Duration;

use super::supervise::Status;
use super::{Consumer, Publisher, topology};
use crate::clock::Clock;
use crate::config::Amqp;
use crate::telemetry::Metrics;

const SAMPLE_EVERY: Duration = Duration::from_secs(15);

/// Samples queue depths and connections.
#[derive(Debug)]
pub struct Sampler {
    amqp: Amqp,
    clock: Clock,
    metrics: Metrics,
    consume: Status,
    publish: Status,
    warned: bool,
}

impl Sampler {
    /// A sampler for a worker's two sides.
    pub fn new(amqp: Amqp, clock: Clock, metrics: Metrics, sides: (&Consumer, &Publisher)) -> Self {
        let (consume, publish) = (sides.0.status(), sides.1.status());
        Self { amqp, clock, metrics, consume, publish, warned: false }
    }

    /// Samples for ever. Cancel-safe.
    pub async fn run(mut self) {
        loop {
            self.clock.sleep(SAMPLE_EVERY).await;
            self.sample().await;
        }
    }

    /// Looks once, within bounded time.
    pub async fn sample(&mut self) {
        self.consume.refresh();
        self.publish.refresh();
        let Some(connection) = self.consume.connection() else { return };
        let depths = match topology::queue_depths(&connection, &self.amqp).await {
            Ok(depths) => depths,
            Err(error) => return tracing::debug!(%error, "queue depths are not known"),
        };
        for (label, depth) in [("input", depths.input), ("dead_letter", depths.dead_letter)] {
            self.metrics.queue_messages.with_label_values(&[label]).set(i64::from(depth.messages));
        }
        let foreign_before = self.consume.foreign_consumers();
        self.consume.see_consumers(depths.input.consumers);
        // Twice in a row: a consumer that is just being replaced counts for two.
        let foreign = self.consume.foreign_consumers().min(foreign_before);
        if foreign > 0 && !self.warned {
            self.warned = true;
            let queue = &self.amqp.input.queue;
            tracing::warn!(
                queue,
                foreign,
                "somebody else consumes the input queue; one ledger goes with one queue"
            );
        }
    }
}
