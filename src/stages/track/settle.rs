//! Results and outbox rows in one transaction, then what is counted.

use std::sync::Arc;

use super::followed::Look;
use super::reads::Reads;
use crate::ledger::{ContainerEnd, GiveUp, LedgerError, Of, Settle, SettleLate};
use crate::telemetry::{Metrics, TraceIds};

impl Reads {
    /// Settles containers that have ended, and with `close` those that were never named. Whether the job has ended in
    /// the ledger; `None` if that could not be written.
    pub(super) async fn settle(&self, look: &Look, ends: Vec<ContainerEnd>, close: bool) -> Option<bool> {
        let result = if look.lost {
            self.settle_late(look, ends).await
        } else {
            self.settle_running(look, ends, close).await
        };
        result
            .inspect_err(|error| {
                tracing::error!(stage = "track", job.id = look.job, %error, "results could not be recorded; they are read again");
            })
            .ok()
    }

    /// Ends a job of which the API never told how it ended. Whether it has ended in the ledger.
    pub(super) async fn give_up(&self, job: i64, project: &str) -> bool {
        let now_ms = self.track.desk.clock.now_ms();
        let write = Arc::new(GiveUp { job, now_ms });
        match self.track.desk.write_until_done("track", write).await {
            Ok(settled) => {
                self.ring();
                let lost = settled.newly.iter().filter(|newly| **newly).count() + settled.missing;
                let label = self.track.desk.project_label(project);
                let failures = &self.track.desk.metrics.failures_total;
                failures
                    .with_label_values(&["GENERATION_LOST", "briefd", label])
                    .inc_by(u64::try_from(lost).unwrap_or(u64::MAX));
                let format = Metrics::format_label(settled.of.format.as_deref());
                self.track
                    .desk
                    .metrics
                    .containers_total
                    .with_label_values(&["failed", format])
                    .inc_by(u64::try_from(lost).unwrap_or(u64::MAX));
                let trace = TraceIds::of(settled.of.traceparent.as_deref());
                tracing::warn!(
                    stage = "track",
                    job.id = job,
                    brief = settled.of.brief,
                    trace_id = trace.trace,
                    parent_id = trace.parent,
                    containers = lost,
                    "given up as GENERATION_LOST: the API never told how it ended; it is asked once a day"
                );
                settled.over
            }
            Err(error) => {
                tracing::error!(stage = "track", job.id = job, %error, "a lost job could not be recorded; it is tried again");
                false
            }
        }
    }

    async fn settle_running(
        &self,
        look: &Look,
        ends: Vec<ContainerEnd>,
        close: bool,
    ) -> Result<bool, LedgerError> {
        let now_ms = self.track.desk.clock.now_ms();
        let settle = Arc::new(Settle { job: look.job, ends, close, now_ms });
        let settled = self.track.desk.write_until_done("track", Arc::clone(&settle)).await?;
        if settled.over {
            self.track.limits.job_ended();
        }
        self.ring();
        for (end, newly) in settle.ends.iter().zip(&settled.newly) {
            if *newly {
                self.count(look, end, &settled.of);
            }
        }
        let label = self.track.desk.project_label(&look.project);
        let missing = u64::try_from(settled.missing).unwrap_or(u64::MAX);
        let failures = &self.track.desk.metrics.failures_total;
        failures.with_label_values(&["CONTAINER_MISSING", "briefd", label]).inc_by(missing);
        let trace = TraceIds::of(settled.of.traceparent.as_deref());
        tracing::debug!(
            stage = "track",
            job.id = look.job,
            brief = settled.of.brief,
            trace_id = trace.trace,
            parent_id = trace.parent,
            containers = settle.ends.len(),
            "settled"
        );
        Ok(settled.over)
    }

    async fn settle_late(&self, look: &Look, ends: Vec<ContainerEnd>) -> Result<bool, LedgerError> {
        let now_ms = self.track.desk.clock.now_ms();
        let settle = Arc::new(SettleLate { job: look.job, ends, now_ms });
        let late = self.track.desk.write_until_done("track", Arc::clone(&settle)).await?;
        self.ring();
        for (end, published) in settle.ends.iter().zip(&late.published) {
            if *published {
                self.count(look, end, &late.of);
                let trace = TraceIds::of(late.of.traceparent.as_deref());
                tracing::info!(
                    stage = "track",
                    job.id = look.job,
                    brief = late.of.brief,
                    trace_id = trace.trace,
                    parent_id = trace.parent,
                    container.id = end.container,
                    ended = end.ended.word(),
                    "a result came after its job was given up; it is published by itself"
                );
            }
        }
        Ok(late.over)
    }

    fn ring(&self) {
        let wake = self.track.desk.ledger.wake();
        wake.publish().notify_one();
        wake.intake().notify_one();
    }

    fn count(&self, look: &Look, end: &ContainerEnd, of: &Of) {
        let metrics = &self.track.desk.metrics;
        let format = Metrics::format_label(end.format.as_deref().or(of.format.as_deref()));
        metrics.containers_total.with_label_values(&[end.ended.word(), format]).inc();
        #[expect(clippy::cast_precision_loss, reason = "a generation in milliseconds fits into 53 bits")]
        let seconds = (end.ended_ms - look.accepted_ms).max(0) as f64 / 1_000.0;
        metrics.generation_seconds.with_label_values(&[format]).observe(seconds);
        if let Some(error) = &end.error {
            let label = self.track.desk.project_label(&look.project);
            metrics
                .failures_total
                .with_label_values(&[Metrics::code_label(&error.code), error.source.word(), label])
                .inc();
        }
    }
}
