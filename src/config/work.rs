//! `[intake]`, `[submit]`, `[track]`, `[publish]`, `[shutdown]`, `[http]`: how the stages work.

use std::net::SocketAddr;
use std::time::Duration;

/// `[intake]`
#[derive(Clone, Debug)]
pub struct Intake {
    /// A longer message is unreadable.
    pub max_message_bytes: u64,
    /// Open briefs at which intake stops taking more from the queue.
    pub max_backlog: u64,
    /// What is done about unknown fields and enum values.
    pub validation: Validation,
    /// Identity of messages without `briefId`.
    pub identity: MissingBriefId,
}

/// What is done about unknown fields and enum values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// They make the brief invalid.
    Strict,
    /// They go through to the API.
    Lenient,
}

/// Identity of messages without `briefId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingBriefId {
    /// A hash of the content.
    Content,
    /// The AMQP `message_id`; only for publishers that keep it over repeats.
    MessageId,
}

/// `[submit]`
#[derive(Clone, Debug)]
pub struct Submit {
    /// POSTs in flight at once.
    pub concurrency: usize,
    /// Earliest repeat after an attempt of unknown outcome has ended.
    pub repeat_after: Duration,
    /// First delay after a harmless failure.
    pub retry_initial: Duration,
    /// Longest delay.
    pub retry_max: Duration,
    /// How often a hold is tested; `KILL_SWITCH` five times as slow.
    pub probe_interval: Duration,
    /// Refusals in a row with one code, within a batch and project, that stop that batch and project.
    pub stop_after_refusals: u32,
}

/// `[track]`
#[derive(Clone, Debug)]
pub struct Track {
    /// First poll after acceptance.
    pub poll_initial: Duration,
    /// Growth of the poll interval.
    pub poll_factor: f64,
    /// Longest poll interval.
    pub poll_max: Duration,
    /// How often a project is swept.
    pub sweep_interval: Duration,
    /// Age at which a job is flagged and followed more slowly.
    pub overdue_after: Duration,
    /// Answered time after which a job ends as `GENERATION_LOST`.
    pub give_up_after: Duration,
}

/// `[publish]`
#[derive(Clone, Debug)]
pub struct Publish {
    /// Publishes in flight at once.
    pub concurrency: usize,
    /// A confirm later than this makes the whole batch unknown.
    pub confirm_timeout: Duration,
    /// First delay after a failed publish.
    pub retry_initial: Duration,
    /// Longest delay.
    pub retry_max: Duration,
}

/// `[shutdown]`
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// How long an orderly stop may take.
    pub grace: Duration,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct Http {
    /// Address of `/metrics`, `/healthz`, `/readyz`.
    pub listen: SocketAddr,
}
