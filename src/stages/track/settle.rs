//! Results and outbox rows in one transaction, then what is counted.

use std::sync::Arc;

use super::followed::Look;
use super::reads::Reads;
use crate::ledger::{ContainerEnd, GiveUp, LedgerError, Of, Settle, SettleLate};
use crate::telemetry::TraceIds;
use crate::telemetry::event::{ContainerEnded, JobGivenUp, JobSettled, LateResult};

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
                let given_up = JobGivenUp {
                    job,
                    brief: &settled.of.brief,
                    label: self.track.desk.project_label(project),
                    format: settled.of.format.as_deref(),
                    trace: TraceIds::of(settled.of.traceparent.as_deref()),
                    lost: settled.newly.iter().filter(|newly| **newly).count() + settled.missing,
                };
                given_up.emit(&self.track.desk.metrics);
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
                self.ended(look, end, &settled.of).emit(&self.track.desk.metrics);
            }
        }
        let job_settled = JobSettled {
            job: look.job,
            brief: &settled.of.brief,
            label: self.track.desk.project_label(&look.project),
            trace: TraceIds::of(settled.of.traceparent.as_deref()),
            containers: settle.ends.len(),
            missing: settled.missing,
        };
        job_settled.emit(&self.track.desk.metrics);
        Ok(settled.over)
    }

    async fn settle_late(&self, look: &Look, ends: Vec<ContainerEnd>) -> Result<bool, LedgerError> {
        let now_ms = self.track.desk.clock.now_ms();
        let settle = Arc::new(SettleLate { job: look.job, ends, now_ms });
        let late = self.track.desk.write_until_done("track", Arc::clone(&settle)).await?;
        self.ring();
        for (end, published) in settle.ends.iter().zip(&late.published) {
            if *published {
                let ended = self.ended(look, end, &late.of);
                LateResult { ended, brief: &late.of.brief }.emit(&self.track.desk.metrics);
            }
        }
        Ok(late.over)
    }

    fn ring(&self) {
        let wake = self.track.desk.ledger.wake();
        wake.publish().notify_one();
        wake.intake().notify_one();
    }

    fn ended<'a>(&'a self, look: &Look, end: &'a ContainerEnd, of: &'a Of) -> ContainerEnded<'a> {
        ContainerEnded {
            job: look.job,
            container: &end.container,
            status: end.ended.word(),
            format: end.format.as_deref().or(of.format.as_deref()),
            took_ms: end.ended_ms - look.accepted_ms,
            failure: end.error.as_ref().map(|error| (error.code.as_str(), error.source.word())),
            label: self.track.desk.project_label(&look.project),
            trace: TraceIds::of(of.traceparent.as_deref()),
        }
    }
}
