//! `[intake]`, `[submit]`, `[track]`, `[publish]`, `[shutdown]`, `[http]`: how the stages work.

use std::net::SocketAddr;
use std::time::Duration;

use super::reader::Reader;

/// Waits between repeated attempts are never zero: that would be a busy loop.
const MOMENT: Duration = Duration::from_millis(1);

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

impl Intake {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            // 128 MiB is what RabbitMQ itself takes.
            max_message_bytes: reader.size("intake.max_message_bytes", 1..=128 << 20),
            max_backlog: reader.count("intake.max_backlog", 1..=100_000_000),
            validation: reader.word(
                "intake.validation",
                [("strict", Validation::Strict), ("lenient", Validation::Lenient)],
            ),
            identity: reader.word(
                "intake.identity",
                [("content", MissingBriefId::Content), ("message_id", MissingBriefId::MessageId)],
            ),
        }
    }
}

impl Submit {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let submit = Self {
            concurrency: reader.count("submit.concurrency", 1..=1_024),
            repeat_after: reader.duration("submit.repeat_after", Duration::ZERO),
            retry_initial: reader.duration("submit.retry_initial", MOMENT),
            retry_max: reader.duration("submit.retry_max", MOMENT),
            probe_interval: reader.duration("submit.probe_interval", MOMENT),
            stop_after_refusals: reader.count("submit.stop_after_refusals", 1..=1_000_000),
        };
        in_order(
            reader,
            ("submit.retry_initial", submit.retry_initial),
            ("submit.retry_max", submit.retry_max),
        );
        submit
    }
}

impl Track {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let track = Self {
            poll_initial: reader.duration("track.poll_initial", MOMENT),
            poll_factor: reader.factor("track.poll_factor", 1.0..=100.0),
            poll_max: reader.duration("track.poll_max", MOMENT),
            sweep_interval: reader.duration("track.sweep_interval", MOMENT),
            overdue_after: reader.duration("track.overdue_after", MOMENT),
            give_up_after: reader.duration("track.give_up_after", MOMENT),
        };
        in_order(reader, ("track.poll_initial", track.poll_initial), ("track.poll_max", track.poll_max));
        in_order(
            reader,
            ("track.overdue_after", track.overdue_after),
            ("track.give_up_after", track.give_up_after),
        );
        track
    }
}

impl Publish {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let publish = Self {
            concurrency: reader.count("publish.concurrency", 1..=10_000),
            confirm_timeout: reader.duration("publish.confirm_timeout", MOMENT),
            retry_initial: reader.duration("publish.retry_initial", MOMENT),
            retry_max: reader.duration("publish.retry_max", MOMENT),
        };
        in_order(
            reader,
            ("publish.retry_initial", publish.retry_initial),
            ("publish.retry_max", publish.retry_max),
        );
        publish
    }
}

impl Shutdown {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self { grace: reader.duration("shutdown.grace", Duration::ZERO) }
    }
}

impl Http {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let text = reader.text("http.listen");
        let listen = text.trim().parse().unwrap_or_else(|_| {
            if reader.fits(&["http.listen"]) {
                let _: () = reader.reject("http.listen", "ADDRESS:PORT, such as \"127.0.0.1:9464\"");
            }
            SocketAddr::from(([127, 0, 0, 1], 0))
        });
        Self { listen }
    }
}

/// Refuses a longest time that is shorter than the first one.
fn in_order(reader: &mut Reader<'_>, first: (&str, Duration), longest: (&str, Duration)) {
    if reader.fits(&[first.0, longest.0]) && longest.1 < first.1 {
        reader.contradiction(format!("{} is shorter than {}", reader.cite(longest.0), reader.cite(first.0)));
    }
}
