//! What happens on the way to the API and to RabbitMQ.

use std::time::Duration;

use crate::telemetry::Metrics;

/// The API was asked something, and answered or not.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which endpoint.
    pub endpoint: &'static str,
    /// HTTP status, or in which way there was none.
    pub status: &'a str,
    /// From the request to the end of the answer.
    pub took: Duration,
}

impl Asked<'_> {
    /// Counts it and says it.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { endpoint, status, took } = *self;
        metrics.api_requests_total.with_label_values(&[endpoint, status]).inc();
        metrics.api_request_seconds.with_label_values(&[endpoint]).observe(took.as_secs_f64());
        tracing::debug!(endpoint, status, ms = took.as_millis(), "asked the API");
    }
}

/// A connection to RabbitMQ works.
#[derive(Clone, Copy, Debug)]
pub struct Connected<'a> {
    /// What it is for.
    pub connection: &'static str,
    /// Where to, without the password.
    pub broker: &'a str,
    /// It has worked before.
    pub again: bool,
}

impl Connected<'_> {
    /// Counts it, if it is one more, and says it.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { connection, broker, again } = *self;
        if again {
            metrics.amqp_reconnects_total.inc();
            tracing::info!(connection, broker, "the RabbitMQ connection works again");
        } else {
            tracing::info!(connection, broker, "connected to RabbitMQ");
        }
    }
}

/// Acknowledgements did not reach the broker.
#[derive(Clone, Copy, Debug)]
pub struct AcksLost {
    /// How many messages.
    pub lost: u64,
}

impl AcksLost {
    /// Counts them and says it; nothing if there are none.
    pub fn emit(&self, metrics: &Metrics) {
        if self.lost > 0 {
            metrics.ack_lost_total.inc_by(self.lost);
            tracing::info!(
                stage = "intake",
                lost = self.lost,
                "acknowledgements did not reach the broker; these messages come again and are recognized"
            );
        }
    }
}
