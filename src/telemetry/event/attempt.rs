//! What became of attempts to start a job.

use crate::telemetry::{Incident, Metrics, TraceIds, TroubleLog, Weight};

/// What was asked, in the keys of the trouble log.
const SUBJECT: &str = "submit";

/// Which attempt it is.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The ledger's number of the job.
    pub job: i64,
    /// Which POST of the job.
    pub attempt: i64,
    /// The brief.
    pub brief: &'a str,
    /// Its batch; '': none.
    pub batch: &'a str,
    /// What people call its project.
    pub project: &'a str,
    /// The metric label of its project.
    pub label: &'a str,
    /// The trace that the brief belongs to.
    pub trace: TraceIds<'a>,
}

/// The outcome of an attempt is in the ledger.
#[derive(Clone, Copy, Debug)]
pub struct AttemptRecorded<'a> {
    /// Which attempt.
    pub of: Attempt<'a>,
    /// As what it counts; `None`: nothing has left, or nothing is known better than before.
    pub outcome: Option<&'static str>,
    /// What the job is now.
    pub became: Became<'a>,
    /// One line, without secrets.
    pub detail: &'a str,
}

/// What a job is after an attempt.
#[derive(Clone, Copy, Debug)]
pub enum Became<'a> {
    /// Accepted.
    Running(Start<'a>),
    /// Refused for good, with this code.
    Rejected(&'a str),
    /// A person must decide.
    Parked,
    /// Of unknown outcome.
    Submitting,
    /// To be started another time.
    Ready,
    /// Canceled while its POST was under way, which made nothing after all.
    Canceled,
    /// Over already.
    Over,
}

/// A start that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Milliseconds since the brief was received.
    pub waited_ms: i64,
    /// Its format, if known.
    pub format: Option<&'a str>,
    /// Estimated credits, if a price is known.
    pub credits: Option<i64>,
}

impl AttemptRecorded<'_> {
    /// Counts it and says it.
    pub fn emit(&self, metrics: &Metrics, troubles: &TroubleLog) {
        if let Some(outcome) = self.outcome {
            metrics.submissions_total.with_label_values(&[outcome]).inc();
        }
        let failed = |code, source| {
            metrics.failures_total.with_label_values(&[code, source, self.of.label]).inc();
        };
        match self.became {
            Became::Running(start) => {
                troubles.answered(SUBJECT);
                start.count(metrics, self.of.label);
                self.say("accepted");
            }
            Became::Rejected(code) => {
                failed(Metrics::code_label(code), "layers");
                self.say_refused(code, troubles);
            }
            Became::Parked => self.say_parked(),
            // What there is to say about the next two was said when the answer came.
            Became::Submitting => {
                self.say("of unknown outcome; the same POST is repeated under the same key");
            }
            Became::Ready => self.say("not started yet"),
            Became::Canceled => {
                failed("CANCELED", "briefd");
                self.say("canceled; its POST made nothing");
            }
            Became::Over => self.say("was over already"),
        }
    }

    fn say(&self, message: &'static str) {
        let Attempt { job, attempt, brief, batch, trace, .. } = self.of;
        tracing::debug!(
            stage = SUBJECT,
            job.id = job,
            brief.id = brief,
            batch.id = batch,
            attempt,
            trace_id = trace.trace,
            parent_id = trace.parent,
            detail = self.detail,
            "{message}"
        );
    }

    fn say_parked(&self) {
        let Attempt { job, attempt, brief, batch, trace, .. } = self.of;
        tracing::error!(
            stage = SUBJECT,
            job.id = job,
            brief.id = brief,
            batch.id = batch,
            attempt,
            trace_id = trace.trace,
            parent_id = trace.parent,
            detail = self.detail,
            "a person must decide about this job"
        );
    }

    /// A whole batch that is refused with one code is one line, and one with their number.
    fn say_refused(&self, code: &str, troubles: &TroubleLog) {
        troubles.note(&Incident {
            subject: SUBJECT,
            kind: &format!("refused for good with {code} in {}", self.of.project),
            weight: Weight::Notice,
            then: "its record tells why",
            stage: SUBJECT,
            job: Some(self.of.job),
            brief: self.of.brief,
            batch: self.of.batch,
            attempt: Some(self.of.attempt),
            trace: self.of.trace,
            detail: self.detail,
        });
        troubles.answered(SUBJECT);
    }
}

impl Start<'_> {
    fn count(&self, metrics: &Metrics, label: &str) {
        #[expect(clippy::cast_precision_loss, reason = "a wait in milliseconds fits into 53 bits")]
        metrics.queue_wait_seconds.observe(self.waited_ms.max(0) as f64 / 1_000.0);
        if let Some(credits) = self.credits {
            let labels = [Metrics::format_label(self.format), label];
            #[expect(clippy::cast_precision_loss, reason = "credits of one job fit into 53 bits")]
            metrics.credits_estimated_total.with_label_values(&labels).inc_by(credits as f64);
        }
    }
}
