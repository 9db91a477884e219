//! The two reads that tell about a job, each with its permit in hand.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use super::Track;
use super::followed::Look;
use super::kept::Kept;
use crate::job::{ContainerReading, JobReading, Trouble};
use crate::layers::{Class, Permit, Priority};
use crate::ledger::Whose;
use crate::stages::holds::note_refusal;
use crate::telemetry::{Incident, TraceIds, Weight, kind_of};

/// How long reads wait after a 429 that names no time.
const SLOW: Duration = Duration::from_secs(5);

/// What reads are made with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reads {
    pub track: Track,
    pub kept: Kept,
    /// Milliseconds; [`i64::MIN`] while nothing is known.
    pub furthest_skew_ms: Arc<AtomicI64>,
}

/// What a read told.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// The API told.
    Told(T),
    /// The API has nothing under this id.
    NotThere,
    /// No answer, or none about this.
    Silent,
}

impl Reads {
    /// Reads the job of a look.
    pub(super) async fn job(&self, look: &Look, id: &str) -> Answer<JobReading> {
        let permit = self.permit(look, look.priority).await;
        if self.track.desk.reads_are_held() {
            permit.unused();
            return Answer::Silent;
        }
        let answer = self.track.api.job(id).await;
        permit.answered();
        self.told(("job", look.job), answer).await
    }

    /// Reads a container of a look.
    pub(super) async fn container(
        &self,
        look: &Look,
        id: &str,
        priority: Priority,
    ) -> Answer<ContainerReading> {
        let permit = self.permit(look, priority).await;
        if self.track.desk.reads_are_held() {
            permit.unused();
            return Answer::Silent;
        }
        let answer = self.track.api.container(id).await;
        permit.answered();
        self.told(("container", look.job), answer).await
    }

    /// What follows from a read that told nothing. It never changes a job.
    /// `job`: what was asked about, if it is one job.
    pub(super) async fn troubled(&self, subject: &'static str, job: Option<i64>, trouble: &Trouble) {
        let (weight, detail) = match trouble {
            Trouble::NotConnected(detail) => (Weight::SaidElsewhere, detail.as_str()),
            Trouble::NoAnswer(lost) => (Weight::Warning, lost.detail.as_str()),
            Trouble::Refusal(refusal) => {
                // After a 429, which should not have come, the bucket rests.
                if refusal.status == 429 {
                    self.track.limits.slow(Class::Read, refusal.retry_after.unwrap_or(SLOW));
                }
                (Weight::Warning, refusal.message.as_str())
            }
        };
        let kind = kind_of(trouble);
        let whose = match job.filter(|_| self.track.desk.troubles.is_news(subject, &kind)) {
            // The line is worth it without them, too.
            Some(job) => self.track.desk.ledger.reader().whose(job).await.unwrap_or_default(),
            None => Whose::default(),
        };
        self.track.desk.troubles.note(&Incident {
            subject,
            kind: &kind,
            weight,
            then: "it is read again; failing to see a job never changes it",
            stage: "track",
            job,
            brief: &whose.brief_id,
            batch: &whose.batch_id,
            attempt: None,
            trace: TraceIds::of(whose.traceparent.as_deref()),
            detail,
        });
        note_refusal(&self.track.desk, self.track.probe_interval, trouble).await;
    }

    async fn permit(&self, look: &Look, priority: Priority) -> Permit {
        if look.regenerate && !look.lost && priority == Priority::Poll {
            return self.kept.acquire(&self.track.limits).await;
        }
        let permit = self.track.limits.acquire_read(priority).await;
        self.kept.other_granted();
        permit
    }

    async fn told<T>(&self, (subject, job): (&'static str, i64), answer: Result<T, Trouble>) -> Answer<T> {
        match answer {
            Ok(reading) => {
                self.track.desk.troubles.answered(subject);
                Answer::Told(reading)
            }
            Err(trouble) if trouble.is_not_found() => {
                // The key may have become that of another organization meanwhile.
                if self.track.desk.reads_are_held() { Answer::Silent } else { Answer::NotThere }
            }
            Err(trouble) => {
                self.troubled(subject, Some(job), &trouble).await;
                Answer::Silent
            }
        }
    }
}
