//! What is said of attempts that did not bring a job: one line per trouble, not per request.

use super::Submit;
use crate::job::{Trouble, Verdict, Wait, verdict};
use crate::ledger::Claimed;
use crate::telemetry::{Incident, TraceIds, Weight, kind_of};

/// What was asked, in the keys of the trouble log.
const SUBJECT: &str = "submit";

impl Submit {
    /// A POST did not get a readable 2xx. What holds starts is said by the hold, what fails a brief by
    /// [`AttemptRecorded`](crate::telemetry::event::AttemptRecorded).
    pub(super) fn note(&self, job: &Claimed, trouble: &Trouble) {
        let detail = match trouble {
            Trouble::NotConnected(detail) => detail.as_str(),
            Trouble::NoAnswer(lost) => &lost.detail,
            Trouble::Refusal(refusal) => &refusal.message,
        };
        let (weight, then) = match verdict(trouble) {
            Verdict::NotConnected => {
                (Weight::SaidElsewhere, "nothing was sent, each is tried again until the API can be reached")
            }
            Verdict::Unknown => {
                (Weight::Warning, "each is repeated under the same key, nothing is bought twice")
            }
            Verdict::Wait(Wait::RateLimited) => {
                (Weight::Warning, "starts wait as the API asks, then go on by themselves")
            }
            Verdict::Wait(Wait::InProgress) | Verdict::Hold(..) | Verdict::Refused | Verdict::SeenBefore => {
                return self.desk.troubles.answered(SUBJECT);
            }
        };
        self.desk.troubles.note(&incident(job, (&kind_of(trouble), weight, then), detail));
    }
}

fn incident<'a>(
    job: &'a Claimed,
    (kind, weight, then): (&'a str, Weight, &'static str),
    detail: &'a str,
) -> Incident<'a> {
    Incident {
        subject: SUBJECT,
        kind,
        weight,
        then,
        stage: "submit",
        job: Some(job.id),
        brief: &job.brief_id,
        batch: &job.batch_id,
        attempt: Some(job.attempts),
        trace: TraceIds::of(job.traceparent.as_deref()),
        detail,
    }
}
