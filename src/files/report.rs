//! What a sink did, told while a stage still owns it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::flow::Outgoing;

/// Most dead letters that are kept word for word; beyond, they are only counted.
const DEAD_LETTERS_MAX: usize = 1000;

/// What a sink did so far. Cheap to clone; clones see the same.
#[derive(Clone, Debug, Default)]
pub struct SinkReport(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    records: u64,
    closed: bool,
    trouble: Option<String>,
    dead_letters: Vec<DeadLetterNote>,
    dead_letter_count: u64,
}

/// A line that did not become a brief, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterNote {
    /// Its line in the input, if known.
    pub line: Option<u64>,
    /// The reason: `UNREADABLE`, `BRIEF_CONFLICT`.
    pub reason: String,
    /// One line for people.
    pub detail: String,
}

impl SinkReport {
    /// Records written.
    pub fn records(&self) -> u64 {
        self.noted().records
    }

    /// Whether nobody reads standard output any more: nothing will be written, the command should end.
    pub fn closed(&self) -> bool {
        self.noted().closed
    }

    /// Why the latest write failed; `None` once one has worked again.
    pub fn trouble(&self) -> Option<String> {
        self.noted().trouble.clone()
    }

    /// The first thousand dead letters.
    pub fn dead_letters(&self) -> Vec<DeadLetterNote> {
        self.noted().dead_letters.clone()
    }

    /// How many dead letters there are.
    pub fn dead_letter_count(&self) -> u64 {
        self.noted().dead_letter_count
    }

    pub(super) fn note_write(&self, records: usize, result: io::Result<()>) {
        let mut noted = self.noted();
        noted.records += u64::try_from(records).unwrap_or(u64::MAX);
        noted.closed = result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        noted.trouble = result.err().map(|error| error.to_string());
    }

    pub(super) fn note_dead_letter(&self, outgoing: &Outgoing) {
        let header = |name: &str| outgoing.properties.headers.get(name);
        let text = |name: &str| header(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let line = header("x-briefd-position")
            .and_then(|position| position.as_u64().or_else(|| position.as_str()?.parse().ok()));
        let note = DeadLetterNote { line, reason: text("x-briefd-reason"), detail: text("x-briefd-detail") };
        let mut noted = self.noted();
        noted.dead_letter_count += 1;
        if noted.dead_letters.len() < DEAD_LETTERS_MAX {
            noted.dead_letters.push(note);
        }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        // Notes are whole at any time, so a panic elsewhere leaves nothing half-done behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
