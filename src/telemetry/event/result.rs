//! What became of jobs and their containers.

use crate::telemetry::{Metrics, TraceIds};

/// The stage.
const STAGE: &str = "track";

/// A container has ended, and that is in the ledger.
#[derive(Clone, Copy, Debug)]
pub struct ContainerEnded<'a> {
    /// The ledger's number of the job.
    pub job: i64,
    /// The API's id.
    pub container: &'a str,
    /// How, in one word.
    pub status: &'static str,
    /// What was made, if known.
    pub format: Option<&'a str>,
    /// Milliseconds from the accepted start to the end.
    pub took_ms: i64,
    /// Code and source of its error, if it has one.
    pub failure: Option<(&'a str, &'static str)>,
    /// The metric label of its project.
    pub label: &'a str,
    /// The trace that its brief belongs to.
    pub trace: TraceIds<'a>,
}

impl ContainerEnded<'_> {
    /// Counts it and says it.
    pub fn emit(&self, metrics: &Metrics) {
        let format = Metrics::format_label(self.format);
        metrics.containers_total.with_label_values(&[self.status, format]).inc();
        #[expect(clippy::cast_precision_loss, reason = "a generation in milliseconds fits into 53 bits")]
        let seconds = self.took_ms.max(0) as f64 / 1_000.0;
        metrics.generation_seconds.with_label_values(&[format]).observe(seconds);
        if let Some((code, source)) = self.failure {
            let labels = [Metrics::code_label(code), source, self.label];
            metrics.failures_total.with_label_values(&labels).inc();
        }
        tracing::debug!(
            stage = STAGE,
            job.id = self.job,
            container.id = self.container,
            trace_id = self.trace.trace,
            parent_id = self.trace.parent,
            status = self.status,
            code = self.failure.map(|(code, _)| code),
            "ended"
        );
    }
}

/// Containers of a job were settled together.
#[derive(Clone, Copy, Debug)]
pub struct JobSettled<'a> {
    /// The ledger's number of the job.
    pub job: i64,
    /// `project/batch/brief`
    pub brief: &'a str,
    /// The metric label of its project.
    pub label: &'a str,
    /// The trace that the brief belongs to.
    pub trace: TraceIds<'a>,
    /// How many were told of.
    pub containers: usize,
    /// Promised ones that never came to be.
    pub missing: usize,
}

impl JobSettled<'_> {
    /// Counts those that are missing, and says it.
    pub fn emit(&self, metrics: &Metrics) {
        let missing = u64::try_from(self.missing).unwrap_or(u64::MAX);
        metrics
            .failures_total
            .with_label_values(&["CONTAINER_MISSING", "briefd", self.label])
            .inc_by(missing);
        tracing::debug!(
            stage = STAGE,
            job.id = self.job,
            brief = self.brief,
            trace_id = self.trace.trace,
            parent_id = self.trace.parent,
            containers = self.containers,
            missing,
            "settled"
        );
    }
}

/// The API never told how a job ended.
#[derive(Clone, Copy, Debug)]
pub struct JobGivenUp<'a> {
    /// The ledger's number of the job.
    pub job: i64,
    /// `project/batch/brief`
    pub brief: &'a str,
    /// The metric label of its project.
    pub label: &'a str,
    /// What was asked for, if known.
    pub format: Option<&'a str>,
    /// The trace that the brief belongs to.
    pub trace: TraceIds<'a>,
    /// Containers that count as lost.
    pub lost: usize,
}

impl JobGivenUp<'_> {
    /// Counts it and says it.
    pub fn emit(&self, metrics: &Metrics) {
        let lost = u64::try_from(self.lost).unwrap_or(u64::MAX);
        metrics.failures_total.with_label_values(&["GENERATION_LOST", "briefd", self.label]).inc_by(lost);
        let format = Metrics::format_label(self.format);
        metrics.containers_total.with_label_values(&["failed", format]).inc_by(lost);
        tracing::warn!(
            stage = STAGE,
            job.id = self.job,
            brief = self.brief,
            trace_id = self.trace.trace,
            parent_id = self.trace.parent,
            containers = lost,
            "given up as GENERATION_LOST: the API never told how it ended; it is asked once a day"
        );
    }
}

/// A result came after its job was given up.
#[derive(Clone, Copy, Debug)]
pub struct LateResult<'a> {
    /// What counts like any other.
    pub ended: ContainerEnded<'a>,
    /// `project/batch/brief`
    pub brief: &'a str,
}

impl LateResult<'_> {
    /// Counts it and says it.
    pub fn emit(&self, metrics: &Metrics) {
        self.ended.emit(metrics);
        tracing::info!(
            stage = STAGE,
            job.id = self.ended.job,
            brief = self.brief,
            trace_id = self.ended.trace.trace,
            parent_id = self.ended.trace.parent,
            container.id = self.ended.container,
            ended = self.ended.status,
            "a result came after its job was given up; it is published by itself"
        );
    }
}

/// A brief ended without a container because somebody asked for it: canceled, or resolved.
#[derive(Clone, Copy, Debug)]
pub struct FailedOnRequest<'a> {
    /// With which code.
    pub code: &'a str,
    /// Whose code.
    pub source: &'static str,
    /// The metric label of its project.
    pub label: &'a str,
}

impl FailedOnRequest<'_> {
    /// Counts it and says it.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { code, source, label } = *self;
        metrics.failures_total.with_label_values(&[Metrics::code_label(code), source, label]).inc();
        tracing::debug!(code, source, project = label, "ended because somebody asked for it");
    }
}
