//! `briefd enqueue`: the briefs of a file to the input exchange, each confirmed and routed, or reported by its line.
//!
//! A brief has one message id, whenever and however often it is enqueued, and the worker knows it by its identity: the
//! same command may always be run again. What cannot be read, or would be refused, is not sent.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use uuid::Uuid;

use super::survey::Batching;
use crate::brief::{Brief, Identity, Rules, keys, parse, with_batch};
use crate::broker::{ConnectError, Publisher, Purpose, TopologyError, connect, topology};
use crate::clock::Clock;
use crate::config::Settings;
use crate::files::BriefFile;
use crate::flow::{Channel, Delivery, Outgoing, Properties, SendOutcome, Sink as _, Source as _};
use crate::job::BriefState;
use crate::ledger::{LedgerError, Reader, StateCounts};
use crate::telemetry::Metrics;

/// Lines that are reported word for word; beyond, they are only counted.
const PROBLEMS_MAX: usize = 1_000;
/// Briefs that the ledger knows and that are named; beyond, they are only counted.
const KNOWN_MAX: usize = 8;
/// Times that a message is sent before it is given up.
const ROUNDS: u32 = 3;
/// How long the broker may be away.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long saying goodbye to the broker may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Violations of one brief that are named.
const VIOLATIONS_SHOWN: usize = 3;

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enqueued {
    /// Briefs that the broker has, confirmed and routed; in a dry run, those that would be sent.
    pub briefs: u64,
    /// Lines that say the same as an earlier one.
    pub repeats: u64,
    /// Lines that were not sent, a thousand of them at most.
    pub problems: Vec<LineProblem>,
    /// How many there are.
    pub problem_count: u64,
    /// In a dry run: briefs that the ledger knows already; `None`: there is no ledger here.
    pub known: Option<Known>,
}

/// Briefs of a file that the ledger knows already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// How many, by stored state.
    pub counts: StateCounts,
    /// The first of them.
    pub first: Vec<(Identity, BriefState)>,
}

impl Known {
    fn add(&mut self, identity: Identity, state: Option<BriefState>) {
        let Some(state) = state else { return };
        self.counts.add(state, 1);
        if self.first.len() < KNOWN_MAX {
            self.first.push((identity, state));
        }
    }
}

/// A line that was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineProblem {
    /// Its number.
    pub line: u64,
    /// `UNREADABLE`, `INVALID_BRIEF` or `TOO_LARGE`.
    pub code: &'static str,
    /// One line for people.
    pub problem: String,
}

/// Why a file was not enqueued, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The broker could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// What must be at the broker is not there, or differs.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The broker has no queue for briefs.
    #[error(
        "no queue is bound to the exchange {exchange:?} for {routing_key:?}: start `briefd run` once, or run \
         `briefd topology --declare`; {sent} briefs were enqueued"
    )]
    Unroutable {
        /// `amqp.input.exchange`
        exchange: String,
        /// `amqp.input.routing_key`
        routing_key: String,
        /// Before that.
        sent: u64,
    },
    /// The broker did not take them.
    #[error(
        "{problem}; {sent} briefs were enqueued: run the same command again later, a repeat costs nothing"
    )]
    NotTaken {
        /// What it said.
        problem: &'static str,
        /// Before that.
        sent: u64,
    },
}

/// Reads the file to its end and sends nothing; the ledger, where there is one, tells which briefs it knows.
pub async fn dry_run(
    settings: &Settings,
    mut source: BriefFile,
    batching: Batching<'_>,
    clock: &Clock,
    reader: Option<&Reader>,
) -> Result<Enqueued, LedgerError> {
    let mut reading = Reading::new(settings, batching, clock);
    reading.done.known = reader.map(|_| Known::default());
    while let Some(deliveries) = source.receive(settings.publish.concurrency).await {
        let messages = reading.messages(deliveries);
        reading.done.briefs += u64::try_from(messages.len()).unwrap_or(u64::MAX);
        let identities = std::mem::take(&mut reading.identities);
        if let (Some(reader), Some(known)) = (reader, &mut reading.done.known) {
            let states = reader.known(&identities).await?;
            for (identity, state) in identities.into_iter().zip(states) {
                known.add(identity, state);
            }
        }
    }
    Ok(reading.done)
}

/// Sends the file; `watch` is told how many briefs the broker has.
pub async fn run(
    settings: &Settings,
    mut source: BriefFile,
    batching: Batching<'_>,
    clock: &Clock,
    watch: &mut (dyn FnMut(u64) + Send),
) -> Result<Enqueued, EnqueueError> {
    // The publisher tries for ever; what a person has to mend is told at once.
    let connection = connect(&settings.amqp, Purpose::Inspect).await?;
    let declared = topology::declare(&connection, &settings.amqp).await;
    connection.close(CLOSE_LIMIT).await;
    declared?;
    let metrics = Metrics::new(std::iter::empty());
    let mut publisher = Publisher::start(settings.amqp.clone(), &settings.publish, clock.clone(), metrics);
    let mut reading = Reading::new(settings, batching, clock);
    let mut result = Ok(());
    while let Some(deliveries) = source.receive(settings.publish.concurrency).await {
        let messages = reading.messages(deliveries);
        let sent = reading.done.briefs;
        result = reading.send(&mut publisher, messages).await.map_err(|trouble| match trouble {
            Trouble::Unroutable => EnqueueError::Unroutable {
                exchange: settings.amqp.input.exchange.clone(),
                routing_key: settings.amqp.input.routing_key.clone(),
                sent,
            },
            Trouble::NotTaken(problem) => EnqueueError::NotTaken { problem, sent: reading.done.briefs },
        });
        watch(reading.done.briefs);
        if result.is_err() {
            break;
        }
    }
    publisher.close(CLOSE_LIMIT).await;
    result.map(|()| reading.done)
}

/// Why a batch was not sent.
enum Trouble {
    Unroutable,
    NotTaken(&'static str),
}

/// Lines on their way to being messages.
struct Reading<'a> {
    settings: &'a Settings,
    rules: Rules<'a>,
    clock: &'a Clock,
    /// Message ids, with the line each came from first.
    seen: HashMap<Uuid, u64>,
    /// Whose messages were made last.
    identities: Vec<Identity>,
    done: Enqueued,
}

impl<'a> Reading<'a> {
    fn new(settings: &'a Settings, batching: Batching<'a>, clock: &'a Clock) -> Self {
        let rules = batching.rules(settings);
        Self {
            settings,
            rules,
            clock,
            seen: HashMap::new(),
            identities: Vec::new(),
            done: Enqueued::default(),
        }
    }

    /// The messages of some lines; what is wrong with the others is noted.
    fn messages(&mut self, deliveries: Vec<Delivery>) -> Vec<Outgoing> {
        let mut messages = Vec::with_capacity(deliveries.len());
        self.identities.clear();
        for delivery in deliveries {
            match self.message(&delivery) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => self.done.repeats += 1,
                Err((code, problem)) => self.note(LineProblem { line: delivery.position, code, problem }),
            }
        }
        messages
    }

    /// `None`: an earlier line says the same.
    fn message(&mut self, delivery: &Delivery) -> Result<Option<Outgoing>, (&'static str, String)> {
        let brief = parse(delivery, &self.rules).map_err(|error| ("UNREADABLE", error.to_string()))?;
        if !brief.is_valid() {
            return Err(("INVALID_BRIEF", violations(&brief)));
        }
        let id = message_id(&brief);
        if self.seen.contains_key(&id) {
            return Ok(None);
        }
        let body = body(delivery, &brief, &self.rules);
        let max = self.settings.intake.max_message_bytes;
        if u64::try_from(body.len()).is_ok_and(|bytes| bytes > max) {
            let problem =
                format!("{} bytes with its batch; intake.max_message_bytes allows {max}", body.len());
            return Err(("TOO_LARGE", problem));
        }
        self.seen.insert(id, delivery.position);
        self.identities.push(brief.identity.clone());
        Ok(Some(Outgoing {
            row: i64::try_from(delivery.position).unwrap_or(i64::MAX),
            channel: Channel::Brief,
            routing_key: self.settings.amqp.input.routing_key.clone(),
            message_id: id.to_string(),
            body,
            properties: Properties {
                content_type: Some("application/json".to_owned()),
                timestamp: Some(self.clock.now()),
                ..Properties::default()
            },
        }))
    }

    /// Sends until every message is confirmed and routed; gives up after some rounds.
    async fn send(&mut self, publisher: &mut Publisher, mut messages: Vec<Outgoing>) -> Result<(), Trouble> {
        let mut delay = self.settings.publish.retry_initial;
        let mut problem = "the broker is away";
        for round in 0..ROUNDS {
            if messages.is_empty() {
                return Ok(());
            }
            if round > 0 {
                self.clock.sleep(delay).await;
                delay = delay.saturating_mul(2).min(self.settings.publish.retry_max);
            }
            if tokio::time::timeout(READY_LIMIT, publisher.ready()).await.is_err() {
                return Err(Trouble::NotTaken("the broker cannot be reached any more"));
            }
            let ControlFlow::Continue(outcomes) = publisher.send(&messages).await else { continue };
            let mut again = Vec::new();
            for (message, outcome) in messages.into_iter().zip(outcomes) {
                match outcome {
                    SendOutcome::Sent => self.done.briefs += 1,
                    SendOutcome::Unroutable => return Err(Trouble::Unroutable),
                    SendOutcome::Refused => {
                        problem = "the broker refuses briefs, as it does when the queue is full";
                        again.push(message);
                    }
                    SendOutcome::Unknown { .. } | SendOutcome::Forbidden => {
                        problem = "the broker does not confirm briefs";
                        again.push(message);
                    }
                    SendOutcome::Impossible => self.note(LineProblem {
                        line: u64::try_from(message.row).unwrap_or(0),
                        code: "TOO_LARGE",
                        problem: "AMQP cannot express it".to_owned(),
                    }),
                }
            }
            messages = again;
        }
        if messages.is_empty() { Ok(()) } else { Err(Trouble::NotTaken(problem)) }
    }

    fn note(&mut self, problem: LineProblem) {
        self.done.problem_count += 1;
        if self.done.problems.len() < PROBLEMS_MAX {
            self.done.problems.push(problem);
        }
    }
}

/// The same for the same brief, run and content, today and tomorrow.
fn message_id(brief: &Brief) -> Uuid {
    let text = format!("{}\n{}\nbrief", keys::key_text(&brief.identity, brief.run, None), brief.fingerprint);
    Uuid::new_v5(&keys::RECORD_NAMESPACE, text.as_bytes())
}

/// The message as it stands in the file, put into its batch where the command line or the file's name makes one.
fn body(delivery: &Delivery, brief: &Brief, rules: &Rules<'_>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&delivery.body);
    let own = Rules { batch: None, default_batch: None, batch_size: None, ..*rules };
    let names_batch = parse(delivery, &own).is_ok_and(|brief| !brief.identity.batch_id.is_empty());
    let batch = brief.identity.batch_id.as_str();
    if batch.is_empty() || (names_batch && rules.batch.is_none()) {
        return delivery.body.clone();
    }
    with_batch(&text, batch, brief.batch_size).into_bytes()
}

fn violations(brief: &Brief) -> String {
    let shown: Vec<String> = brief
        .violations
        .iter()
        .take(VIOLATIONS_SHOWN)
        .map(|violation| match violation.path.as_str() {
            "" => violation.problem.clone(),
            path => format!("{path}: {}", violation.problem),
        })
        .collect();
    shown.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], batching: Batching<'_>) -> (Vec<String>, Enqueued) {
        let settings = Settings::builtin();
        let clock = Clock::system();
        let mut reading = Reading::new(&settings, batching, &clock);
        let deliveries = (1..).zip(lines).map(|(position, line)| Delivery {
            position,
            body: line.as_bytes().to_vec(),
            ..Delivery::default()
        });
        let messages = reading.messages(deliveries.collect());
        let bodies = messages.into_iter().map(|message| String::from_utf8(message.body).unwrap());
        (bodies.collect(), reading.done)
    }

    const STEM: Batching<'_> = Batching { batch: None, default_batch: Some("spring"), batch_size: Some(2) };

    #[test]
    fn the_files_stem_is_the_batch_of_lines_that_name_none_and_values_keep_their_bytes() {
        let (bodies, _) = read(
            &[
                r#"{"projectId":"p", "briefId":"a", "budget":{"maxCredits":1e2}, "brief":{"hook":"\/"}}"#,
                r#"{"projectId":"p", "briefId":"b", "batchId":"own", "brief":{}}"#,
                r#"{"projectId":"p","briefId":"c","batchId":null,"batchSize":9,"brief":{}}"#,
            ],
            STEM,
        );
        assert_eq!(
            bodies,
            [
                r#"{"batchId":"spring","batchSize":2,"projectId":"p","briefId":"a","budget":{"maxCredits":1e2},"brief":{"hook":"\/"}}"#,
                r#"{"projectId":"p", "briefId":"b", "batchId":"own", "brief":{}}"#,
                r#"{"batchId":"spring","batchSize":9,"projectId":"p","briefId":"c","brief":{}}"#,
            ]
        );
    }

    #[test]
    fn a_batch_of_the_command_line_replaces_the_lines_own() {
        let batching =
            Batching { batch: Some("b \"1\""), default_batch: Some("spring"), batch_size: Some(1) };
        let (bodies, _) =
            read(&[r#"{"projectId":"p","batchId":"own","batchSize":7,"briefId":"b","brief":{}}"#], batching);
        assert_eq!(
            bodies,
            [r#"{"batchId":"b \"1\"","batchSize":1,"projectId":"p","briefId":"b","brief":{}}"#]
        );
    }

    #[test]
    fn a_line_that_would_be_refused_is_reported_and_a_repeated_one_is_sent_once() {
        let good = r#"{"projectId":"p","briefId":"a","brief":{}}"#;
        let (bodies, done) =
            read(&[good, "nonsense", r#"{"projectId":"p","variantCount":9,"brief":{}}"#, good], STEM);
        assert_eq!((bodies.len(), done.repeats, done.problem_count), (1, 1, 2));
        let problems: Vec<_> = done.problems.iter().map(|problem| (problem.line, problem.code)).collect();
        assert_eq!(problems, [(2, "UNREADABLE"), (3, "INVALID_BRIEF")]);
        assert!(done.problems[1].problem.starts_with("variantCount: "), "{:?}", done.problems);
    }

    #[test]
    fn a_message_id_follows_from_what_is_asked_for() {
        let settings = Settings::builtin();
        let rules = STEM.rules(&settings);
        let id = |text: &str| {
            let delivery = Delivery { body: text.as_bytes().to_vec(), ..Delivery::default() };
            message_id(&parse(&delivery, &rules).unwrap())
        };
        let first = id(r#"{"projectId":"p","briefId":"a","brief":{"hook":"x"}}"#);
        assert_eq!(first, id(r#"{"briefId":"a", "brief":{"hook":"x"}, "projectId":"p", "priority":9}"#));
        assert_ne!(first, id(r#"{"projectId":"p","briefId":"a","run":2,"brief":{"hook":"x"}}"#));
        assert_ne!(first, id(r#"{"projectId":"p","briefId":"a","brief":{"hook":"y"}}"#));
    }
}
