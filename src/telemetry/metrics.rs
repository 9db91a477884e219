//! The metrics of the contract, on a registry of their own.
//!
//! A field's name is its metric's name without `briefd_`. Labels come from closed sets, and every series of a
//! closed set exists from the start, at 0, so that `rate()` sees the first event. No label ever holds a batch,
//! brief, job or container id; `project` is an alias of `[projects]`, else `other`.

use std::ops::Deref;
use std::sync::Arc;

use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Failure codes that get a label value of their own; any other code is counted as `other`.
pub const KNOWN_CODES: [&str; 14] = [
    "VALIDATION_FAILED",
    "VALIDATION",
    "MODERATION_BLOCKED",
    "NOT_FOUND",
    "CONFLICT",
    "IDEMPOTENCY_CONFLICT",
    "BILLING_EXHAUSTED",
    "RENDER_FAILED",
    "INVALID_BRIEF",
    "EXPIRED",
    "CANCELED",
    "GENERATION_LOST",
    "CONTAINER_MISSING",
    "other",
];

/// Why starts can be held; any other reason is shown as `OTHER`.
pub const HOLD_REASONS: [&str; 8] = [
    "UNAUTHENTICATED",
    "FORBIDDEN_SCOPE",
    "KILL_SWITCH",
    "BILLING_EXHAUSTED",
    "OTHER_ORGANIZATION",
    "API_DOWN",
    "OPERATOR",
    "OTHER",
];
/// What a hold can stop.
pub const HOLD_SCOPES: [&str; 3] = ["account", "project", "batch"];

/// Milliseconds: ledger commits.
const COMMIT_SECONDS: [f64; 11] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Rows a commit.
const COMMIT_ROWS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 5_000.0];
/// One HTTP request.
const REQUEST_SECONDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From the end at the API to the confirmed record.
const LAG_SECONDS: [f64; 12] = [0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 30.0, 60.0, 300.0, 3_600.0];
/// Generation: seconds to hours.
const GENERATION_SECONDS: [f64; 12] =
    [5.0, 15.0, 30.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1_800.0, 3_600.0, 14_400.0];
/// Waiting for a start: seconds to days.
const WAIT_SECONDS: [f64; 12] =
    [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 172_800.0];

const FORMATS: [&str; 5] = ["video_remix", "slideshow_remix", "ugc_remix", "auto", "other"];
const RECORD_TYPES: [&str; 5] =
    ["container.completed", "container.failed", "container.canceled", "brief.failed", "batch.finished"];

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ident = $make:expr;)*) => {
        /// Every metric of the worker. Cheap to clone; clones count into the same registry.
        #[derive(Clone, Debug)]
        pub struct Metrics(Arc<Series>);

        impl Deref for Metrics {
            type Target = Series;

            fn deref(&self) -> &Series {
                &self.0
            }
        }

        /// The metrics themselves.
        #[derive(Debug)]
        pub struct Series {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)*
        }

        impl Metrics {
            fn build(projects: &[&str]) -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let $field: $kind = {
                        let make: fn(&str, &str) -> Result<$kind, prometheus::Error> = $make;
                        make(concat!("briefd_", stringify!($field)), concat!($($help),+).trim())?
                    };
                    registry.register(Box::new($field.clone()))?;
                )*
                let metrics = Self(Arc::new(Series { registry, $($field,)* }));
                metrics.start_series(projects);
                Ok(metrics)
            }
        }
    };
}

fn histogram(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(buckets.to_vec())
}

metrics! {
    /// Deliveries decided, by result.
    briefs_received_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["result"]);
    /// Briefs by state of their current run.
    briefs: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["state", "project"]);
    /// Jobs by state.
    jobs: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["state"]);
    /// Jobs that may start now.
    jobs_due: IntGauge = |n, h| IntGauge::new(n, h);
    /// Age of the oldest job in a state, in seconds.
    jobs_oldest_seconds: GaugeVec = |n, h| GaugeVec::new(Opts::new(n, h), &["state"]);
    /// Running jobs older than the setting for overdue ones.
    jobs_overdue: IntGauge = |n, h| IntGauge::new(n, h);
    /// Jobs whose last POST had an unknown outcome over a minute ago.
    outcome_unknown: IntGauge = |n, h| IntGauge::new(n, h);
    /// Seconds until the earliest key-only job of unknown outcome must not be repeated; +Inf if none.
    key_window_seconds: Gauge = |n, h| Gauge::new(n, h);
    /// POSTs that start generation, by outcome.
    submissions_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["outcome"]);
    /// Containers that ended, by status and format.
    containers_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["status", "format"]);
    /// Failures: one for each failed container, or for each brief without any.
    failures_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["code", "source", "project"]);
    /// From received to accepted by the API, in seconds.
    queue_wait_seconds: Histogram = |n, h| Histogram::with_opts(histogram(n, h, &WAIT_SECONDS));
    /// From accepted to ended at the API, in seconds.
    generation_seconds: HistogramVec = |n, h| HistogramVec::new(histogram(n, h, &GENERATION_SECONDS), &["format"]);
    /// From ended at the API to the confirmed record, in seconds.
    detection_lag_seconds: Histogram = |n, h| Histogram::with_opts(histogram(n, h, &LAG_SECONDS));
    /// Requests to the API, by endpoint and HTTP status, or timeout, connect, reset, unreadable.
    api_requests_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["endpoint", "status"]);
    /// Duration of one request to the API, in seconds.
    api_request_seconds: HistogramVec = |n, h| HistogramVec::new(histogram(n, h, &REQUEST_SECONDS), &["endpoint"]);
    /// Requests the API allows in a window, by class.
    api_limit: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["class"]);
    /// Requests left in the current window, by class.
    api_budget_remaining: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["class"]);
    /// Holds in force, by scope and reason.
    holds: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["scope", "reason"]);
    /// Credits available at the API; NaN when not known.
    credits_available: Gauge = |n, h| Gauge::new(n, h);
    /// Estimated credits of accepted jobs.
    credits_estimated_total: CounterVec = |n, h| CounterVec::new(Opts::new(n, h), &["format", "project"]);
    /// Records confirmed by the broker, by type.
    records_published_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["type"]);
    /// Messages that shall leave and have not been confirmed.
    outbox_pending: IntGauge = |n, h| IntGauge::new(n, h);
    /// Messages the broker cannot take; a person must decide.
    outbox_parked: IntGauge = |n, h| IntGauge::new(n, h);
    /// Age of the oldest message that has not been confirmed, in seconds.
    outbox_oldest_seconds: Gauge = |n, h| Gauge::new(n, h);
    /// Records returned because no queue is bound, by type.
    unroutable_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["type"]);
    /// Messages set aside by us, by reason.
    dead_lettered_total: IntCounterVec = |n, h| IntCounterVec::new(Opts::new(n, h), &["reason"]);
    /// Acknowledgements that did not reach the broker; those messages come again and are recognised.
    ack_lost_total: IntCounter = |n, h| IntCounter::new(n, h);
    /// Connections and channels to the broker that were built again.
    amqp_reconnects_total: IntCounter = |n, h| IntCounter::new(n, h);
    /// Whether a connection to the broker is up.
    amqp_connected: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["connection"]);
    /// Messages waiting in a queue.
    queue_messages: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["queue"]);
    /// Whether intake takes nothing from the queue, by reason.
    intake_paused: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["reason"]);
    /// When a stage last took a step, in seconds since 1970.
    stage_last_step_timestamp_seconds: GaugeVec = |n, h| GaugeVec::new(Opts::new(n, h), &["stage"]);
    /// Our clock less the API's, in seconds.
    clock_skew_seconds: Gauge = |n, h| Gauge::new(n, h);
    /// Duration of one commit, in seconds.
    ledger_commit_seconds: Histogram = |n, h| Histogram::with_opts(histogram(n, h, &COMMIT_SECONDS));
    /// Writes in one commit.
    ledger_commit_rows: Histogram = |n, h| Histogram::with_opts(histogram(n, h, &COMMIT_ROWS));
    /// Size of the ledger file.
    ledger_bytes: IntGauge = |n, h| IntGauge::new(n, h);
    /// Size of the ledger's write-ahead log.
    ledger_wal_bytes: IntGauge = |n, h| IntGauge::new(n, h);
    /// Free space on the ledger's disk.
    disk_free_bytes: IntGauge = |n, h| IntGauge::new(n, h);
    /// What does not add up between the running totals and the rows; must be 0.
    ledger_imbalance: IntGauge = |n, h| IntGauge::new(n, h);
    /// The build: version and revision; always 1.
    build_info: IntGaugeVec = |n, h| IntGaugeVec::new(Opts::new(n, h), &["version", "revision"]);
}

impl Metrics {
    /// All metrics, all series of closed sets at 0. `projects` are the aliases of `[projects]`.
    pub fn new<'a>(projects: impl IntoIterator<Item = &'a str>) -> Self {
        let mut labels: Vec<&str> = projects.into_iter().collect();
        labels.push("other");
        #[expect(clippy::expect_used, reason = "names and labels are constants: a test makes this once")]
        let metrics = Self::build(&labels).expect("metric definitions are valid");
        metrics
    }

    /// The Prometheus text of everything, `process_*` included.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Encoding into memory fails only for inconsistent families, which a test excludes.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            return format!("# {error}\n");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn start_series(&self, projects: &[&str]) {
        // `process_*`; fails only if registered twice.
        #[cfg(target_os = "linux")]
        if let Err(error) =
            self.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
        {
            tracing::debug!(%error, "no process metrics");
        }
        let all = |vec: &IntCounterVec, labels: &[&str]| {
            for label in labels {
                vec.with_label_values(&[label]).inc_by(0);
            }
        };
        all(
            &self.briefs_received_total,
            &["new", "duplicate", "republished", "replaced", "rerun", "invalid", "conflict", "unreadable"],
        );
        all(&self.submissions_total, &["accepted", "refused", "unknown", "rate_limited", "held"]);
        all(&self.records_published_total, &RECORD_TYPES);
        all(&self.unroutable_total, &RECORD_TYPES);
        all(&self.dead_lettered_total, &["UNREADABLE", "BRIEF_CONFLICT"]);
        for project in projects {
            for state in crate::job::BriefState::ALL {
                self.briefs.with_label_values(&[state.word(), project]).set(0);
            }
            for code in KNOWN_CODES {
                for source in ["layers", "briefd"] {
                    self.failures_total.with_label_values(&[code, source, project]).inc_by(0);
                }
            }
            for format in FORMATS {
                self.credits_estimated_total.with_label_values(&[format, project]).inc_by(0.0);
            }
        }
        for state in crate::job::JobState::ALL {
            self.jobs.with_label_values(&[state.word()]).set(0);
            self.jobs_oldest_seconds.with_label_values(&[state.word()]).set(0.0);
        }
        for format in FORMATS {
            for status in ["completed", "failed", "canceled"] {
                self.containers_total.with_label_values(&[status, format]).inc_by(0);
            }
            self.generation_seconds.with_label_values(&[format]);
        }
        for scope in HOLD_SCOPES {
            for reason in HOLD_REASONS {
                self.holds.with_label_values(&[scope, reason]).set(0);
            }
        }
        for class in ["read", "write", "start"] {
            self.api_limit.with_label_values(&[class]).set(0);
            self.api_budget_remaining.with_label_values(&[class]).set(0);
        }
        for connection in ["consume", "publish"] {
            self.amqp_connected.with_label_values(&[connection]).set(0);
        }
        for queue in ["input", "dead_letter"] {
            self.queue_messages.with_label_values(&[queue]).set(0);
        }
        for reason in ["backlog", "ledger"] {
            self.intake_paused.with_label_values(&[reason]).set(0);
        }
        for stage in ["intake", "submit", "track", "publish"] {
            self.stage_last_step_timestamp_seconds.with_label_values(&[stage]).set(0.0);
        }
        self.key_window_seconds.set(f64::INFINITY);
        self.credits_available.set(f64::NAN);
        let revision = option_env!("BRIEFD_REVISION").unwrap_or("unknown");
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
    }

    /// What the wallet has, by the API's latest word.
    #[expect(clippy::cast_precision_loss, reason = "a balance for a gauge")]
    pub fn set_credits(&self, available: i64) {
        self.credits_available.set(available as f64);
    }

    /// The label value for a format: a known one, else `other`.
    pub fn format_label(format: Option<&str>) -> &'static str {
        FORMATS.into_iter().find(|known| Some(*known) == format).unwrap_or("other")
    }

    /// The label value for a hold's reason: a known one, else `OTHER`.
    pub fn hold_label(reason: &str) -> &'static str {
        HOLD_REASONS.into_iter().find(|known| *known == reason).unwrap_or("OTHER")
    }

    /// The label value for a failure code: a known one, else `other`.
    pub fn code_label(code: &str) -> &'static str {
        KNOWN_CODES.into_iter().find(|known| *known == code).unwrap_or("other")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_holds_fold_into_the_closed_set() {
        for known in HOLD_REASONS {
            assert_eq!(Metrics::hold_label(known), known);
        }
        // The code of a batch that was refused in a row is the API's, and may be a new one.
        for other in ["CONFLICT", "VALIDATION_FAILED", "SOMETHING_NEW", "", "unauthenticated"] {
            assert_eq!(Metrics::hold_label(other), "OTHER");
        }
    }
}
