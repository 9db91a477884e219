//! What happens to messages that leave.

use crate::telemetry::Metrics;

/// The stage.
const STAGE: &str = "publish";

/// The broker confirmed a record.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// Its type.
    pub kind: &'a str,
    /// Its message id.
    pub message: &'a str,
    /// Milliseconds from its end at the API; `None` if it was told before, or did not end there.
    pub lag_ms: Option<i64>,
}

impl Published<'_> {
    /// Counts it and says it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.records_published_total.with_label_values(&[self.kind]).inc();
        if let Some(lag_ms) = self.lag_ms {
            #[expect(clippy::cast_precision_loss, reason = "a lag in milliseconds fits into 53 bits")]
            metrics.detection_lag_seconds.observe(lag_ms.max(0) as f64 / 1_000.0);
        }
        tracing::debug!(stage = STAGE, kind = self.kind, message.id = self.message, "published");
    }
}

/// The broker has no queue for a message.
#[derive(Clone, Copy, Debug)]
pub struct Returned<'a> {
    /// Its type.
    pub kind: &'a str,
    /// The routing key that no queue is bound for.
    pub routing_key: &'a str,
    /// Whether it is a record; the rest is not counted by type.
    pub is_record: bool,
    /// Whether somebody must be told: it is kept, and that was not said of late.
    pub loud: bool,
}

impl Returned<'_> {
    /// Counts it and says it.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { kind, routing_key, is_record, loud } = *self;
        if is_record {
            metrics.unroutable_total.with_label_values(&[kind]).inc();
        }
        if loud {
            tracing::warn!(
                stage = STAGE,
                kind,
                routing_key,
                "no queue is bound for this routing key; the record is kept and tried again: bind a queue"
            );
        } else {
            tracing::debug!(stage = STAGE, kind, routing_key, "no queue is bound for this routing key");
        }
    }
}
