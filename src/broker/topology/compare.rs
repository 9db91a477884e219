//! Looks at what the broker has, without changing it.
//!
//! Passive first: does it exist? A passive declare compares nothing. Only what exists is then declared actively,
//! which the broker answers by naming the first argument that differs.

use std::fmt;

use super::declare::{Depth, Failure, How, TopologyError, exchange_on_channel, queue_on_channel};
use super::{Plan, kind_word};
use crate::broker::connect::Connection;
use crate::config::Amqp;

/// What was found out about one exchange or queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// `exchange "containers"`, `queue "briefs"`
    pub object: String,
    /// The setting that names it.
    pub setting: &'static str,
    /// What it should be: `topic`, `quorum, delivery limit 100`.
    pub wanted: String,
    /// How it is.
    pub state: State,
    /// For a queue that exists: what waits in it and who reads it.
    pub depth: Option<Depth>,
}

/// How an exchange or queue is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// As it should be.
    Same,
    /// It does not exist.
    Missing,
    /// It exists, but is another one; the first difference.
    Differs(Difference),
    /// It exists; why the broker did not compare it.
    Exists(String),
    /// Why it could not be looked at.
    Unknown(String),
}

/// One argument in which the broker's differs from ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The name of the argument, e.g. `x-delivery-limit`, `type`, `durable`.
    pub argument: String,
    /// Our value; `none` if we do not set it.
    pub ours: String,
    /// The broker's value; `none` if it is not set there.
    pub theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} at the broker, briefd needs {}", self.argument, self.theirs, self.ours)
    }
}

impl Difference {
    /// Reads the broker's sentence: `inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': received the
    /// value '7' of type 'long' but current is none`. `None` if it is another sentence.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("inequivalent arg '")?;
        let (argument, rest) = rest.split_once('\'')?;
        // From the right: names of queues may contain any words.
        let (before, theirs) = rest.rsplit_once(" but current is ")?;
        let (_, ours) = before.rsplit_once(": received ")?;
        Some(Self { argument: argument.to_owned(), ours: value(ours), theirs: value(theirs) })
    }
}

/// `the value '7' of type 'long'` → `7`; `'direct'` → `direct`; `none` → `none`.
fn value(text: &str) -> String {
    match text.split_once('\'').and_then(|(_, rest)| rest.split_once('\'')) {
        Some((value, _)) => value.to_owned(),
        None => text.trim().to_owned(),
    }
}

/// Looks at all exchanges and queues. Bindings are not listed: AMQP cannot ask for them.
pub async fn check(connection: &Connection, amqp: &Amqp) -> Vec<Finding> {
    let plan = Plan::of(amqp);
    let mut findings = Vec::new();
    for exchange in &plan.exchanges {
        let state = match exchange_on_channel(connection, exchange, How::Passive).await {
            Ok(()) => compared(exchange_on_channel(connection, exchange, How::Active).await),
            Err(failure) => absent(failure),
        };
        let (object, setting) = (exchange.object(), exchange.setting);
        findings.push(Finding {
            object,
            setting,
            wanted: kind_word(&exchange.kind).to_owned(),
            state,
            depth: None,
        });
    }
    for queue in &plan.queues {
        let (state, depth) = match queue_on_channel(connection, queue, How::Passive).await {
            Ok(depth) => {
                (compared(queue_on_channel(connection, queue, How::Active).await.map(drop)), Some(depth))
            }
            Err(failure) => (absent(failure), None),
        };
        let limit = queue.arguments.get("x-delivery-limit").map(ToString::to_string).unwrap_or_default();
        let wanted = format!("quorum, delivery limit {limit}");
        findings.push(Finding { object: queue.object(), setting: queue.setting, wanted, state, depth });
    }
    findings
}

fn compared(declared: Result<(), Failure>) -> State {
    let Err(failure) = declared else { return State::Same };
    match failure.explain(String::new(), "") {
        TopologyError::Differs { difference, .. } => State::Differs(difference),
        TopologyError::Forbidden { .. } => {
            State::Exists("the user may not configure, so it cannot be compared".into())
        }
        TopologyError::Missing { .. } => State::Missing,
        TopologyError::Refused { problem, .. } => State::Unknown(problem),
        error @ (TopologyError::Silent { .. } | TopologyError::Name { .. }) => {
            State::Unknown(error.to_string())
        }
    }
}

fn absent(failure: Failure) -> State {
    match compared(Err(failure)) {
        State::Exists(problem) => State::Unknown(problem),
        state @ (State::Same | State::Missing | State::Differs(_) | State::Unknown(_)) => state,
    }
}
