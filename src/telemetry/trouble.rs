//! One line per trouble, not per request.
//!
//! Stages tell about each time that something went wrong ([`TroubleLog::note`]) under a key: what was asked (`submit`,
//! `job`, …) and in which way it failed (`timeout`, `502 without an envelope`). The first of a key is a line with that
//! one as its example; further ones are counted, and are lines only at debug level. While it goes on, a line says how
//! many more there were, after a minute first and every ten minutes at last; when it is over (none for a minute, and an
//! answer since), one line says so. In memory and bounded; a restart begins anew.
//!
//! What is not said here: holds (they are said when they are set), and that the API cannot be reached (the client says
//! it once), so that nothing is said twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TraceIds;
use crate::clock::Clock;
use crate::job::{NoAnswerKind, Trouble};
use crate::wording::{cut, thousands};

/// Keys that are told apart; what comes beyond them shares one key for each subject.
const KEYS_MAX: usize = 64;
/// Longest kind, of which a part comes from outside.
const KIND_CHARS: usize = 80;
/// So long after the last one it is over, once an answer came.
const OVER_AFTER_MS: i64 = 60_000;
/// So long after the last one it is forgotten, whether or not an answer came.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;
/// The first line that says "still", and the longest time between two of them.
const STILL_FIRST_MS: i64 = 60_000;
const STILL_MAX_MS: i64 = 600_000;
/// What shares a key when there are too many.
const OTHER: &str = "other trouble";

/// One time that something went wrong.
#[derive(Clone, Copy, Debug)]
pub struct Incident<'a> {
    /// What was asked of the API: `submit`, `job`, `container`, `list`. An answer to the same subject ends the trouble.
    pub subject: &'static str,
    /// In which way it failed; see [`kind_of`].
    pub kind: &'a str,
    /// How loudly it is said.
    pub weight: Weight,
    /// What happens now, as the end of a sentence: `each is repeated under the same key, nothing is bought twice`.
    pub then: &'static str,
    /// The stage.
    pub stage: &'static str,
    /// The ledger's number of the job.
    pub job: Option<i64>,
    /// The brief; '': none.
    pub brief: &'a str,
    /// Its batch; '': none.
    pub batch: &'a str,
    /// Which POST of the job.
    pub attempt: Option<i64>,
    /// The trace that the brief belongs to.
    pub trace: TraceIds<'a>,
    /// One line, without secrets.
    pub detail: &'a str,
}

/// How loudly a trouble is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Somebody may have to do something: warnings.
    Warning,
    /// Worth a line, and as it should be (a brief was refused): info.
    Notice,
    /// Somebody else says that it has begun and that it is over; here only that it goes on.
    SaidElsewhere,
}

/// Counts troubles and says them. Cheap to clone; clones share one count.
#[derive(Clone)]
pub struct TroubleLog(Arc<Inner>);

struct Inner {
    clock: Clock,
    troubles: Mutex<Troubles>,
}

impl TroubleLog {
    /// Nothing has gone wrong yet.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner { clock, troubles: Mutex::default() }))
    }

    /// Something went wrong once (more).
    pub fn note(&self, incident: &Incident<'_>) {
        let kind = cut(incident.kind, KIND_CHARS).replace(char::is_control, " ");
        let now_ms = self.0.clock.now_ms();
        let first = self.troubles().note((incident.subject, &kind), incident.weight, now_ms);
        let Incident { subject, then, .. } = incident;
        match incident.weight {
            Weight::Warning if first => say(
                Level::Warn,
                Some(incident),
                &format!("{subject}: {kind}; {then} (more of this kind are counted, not logged)"),
            ),
            Weight::Notice if first => say(
                Level::Info,
                Some(incident),
                &format!("{subject}: {kind}; {then} (more of this kind are counted, not logged)"),
            ),
            Weight::Warning | Weight::Notice | Weight::SaidElsewhere => {
                say(Level::Debug, Some(incident), &format!("{subject}: {kind}; {then}"));
            }
        }
    }

    /// Whether the next [`Self::note`] under this key is a line: worth looking up what it is about.
    pub fn is_news(&self, subject: &'static str, kind: &str) -> bool {
        let kind = cut(kind, KIND_CHARS).replace(char::is_control, " ");
        !self.troubles().kinds.contains_key(&(subject, kind))
    }

    /// An answer came for `subject`: what was wrong with it before may be over.
    pub fn answered(&self, subject: &'static str) {
        self.troubles().answered(subject);
    }

    /// Says what goes on and what is over. To be called every few seconds.
    pub fn look(&self) {
        let now_ms = self.0.clock.now_ms();
        let lines = self.troubles().look(now_ms);
        for (level, line) in lines {
            say(level, None, &line);
        }
    }

    /// Each write leaves the counts whole, so a panic elsewhere does not spoil them.
    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In which way the API did not give what it was asked for: the second half of a key.
pub fn kind_of(trouble: &Trouble) -> String {
    match trouble {
        Trouble::NotConnected(_) => "no connection".to_owned(),
        Trouble::Refusal(refusal) => format!("{} {}", refusal.status, refusal.code),
        Trouble::NoAnswer(lost) => match (lost.kind, lost.status) {
            (NoAnswerKind::Timeout, _) => "timeout".to_owned(),
            (NoAnswerKind::Reset, _) => "connection lost".to_owned(),
            (NoAnswerKind::Unreadable, Some(status)) if status >= 300 => {
                format!("{status} without an envelope")
            }
            (NoAnswerKind::Unreadable, Some(status)) => format!("{status} that cannot be read"),
            (NoAnswerKind::Unreadable, None) => "answer that cannot be read".to_owned(),
        },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Warn,
    Info,
    Debug,
}

fn say(level: Level, example: Option<&Incident<'_>>, message: &str) {
    let stage = example.map(|of| of.stage);
    let job = example.and_then(|of| of.job);
    let brief = example.map(|of| of.brief).filter(|brief| !brief.is_empty());
    let batch = example.map(|of| of.batch).filter(|batch| !batch.is_empty());
    let attempt = example.and_then(|of| of.attempt);
    let trace = example.map(|of| of.trace).unwrap_or_default();
    let detail = example.map(|of| of.detail).filter(|detail| !detail.is_empty());
    // A level is part of a line's static description, so each needs its own.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                stage,
                job.id = job,
                brief.id = brief,
                batch.id = batch,
                attempt,
                trace_id = trace.trace,
                parent_id = trace.parent,
                detail,
                "{message}"
            )
        };
    }
    match level {
        Level::Warn => line!(warn),
        Level::Info => line!(info),
        Level::Debug => line!(debug),
    }
}

/// PURE. What is counted.
#[derive(Debug, Default)]
struct Troubles {
    kinds: BTreeMap<(&'static str, String), Count>,
}

#[derive(Debug)]
struct Count {
    weight: Weight,
    first_ms: i64,
    last_ms: i64,
    n: i64,
    /// Since when, and how many, there was no line about it.
    said_ms: i64,
    unsaid: i64,
    /// How long until the next line.
    pace_ms: i64,
    /// The last thing that was heard of its subject is an answer.
    answered: bool,
}

impl Troubles {
    /// Whether it is the first of its kind.
    fn note(&mut self, (subject, kind): (&'static str, &str), weight: Weight, now_ms: i64) -> bool {
        let mut key = (subject, kind.to_owned());
        if self.kinds.len() >= KEYS_MAX && !self.kinds.contains_key(&key) {
            OTHER.clone_into(&mut key.1);
        }
        if let Some(count) = self.kinds.get_mut(&key) {
            count.n += 1;
            count.unsaid += 1;
            count.last_ms = now_ms;
            count.answered = false;
            return false;
        }
        let count = Count {
            weight,
            first_ms: now_ms,
            last_ms: now_ms,
            n: 1,
            said_ms: now_ms,
            unsaid: 0,
            pace_ms: STILL_FIRST_MS,
            answered: false,
        };
        self.kinds.insert(key, count);
        true
    }

    fn answered(&mut self, subject: &'static str) {
        let of_subject = self.kinds.iter_mut().filter(|((of, _), _)| *of == subject);
        of_subject.for_each(|(_, count)| count.answered = true);
    }

    fn look(&mut self, now_ms: i64) -> Vec<(Level, String)> {
        let mut lines = Vec::new();
        self.kinds.retain(|(subject, kind), count| {
            let quiet_ms = now_ms - count.last_ms;
            if (quiet_ms >= OVER_AFTER_MS && count.answered) || quiet_ms >= FORGOTTEN_AFTER_MS {
                lines.extend(count.over().map(|(level, text)| (level, format!("{subject}: {kind}: {text}"))));
                return false;
            }
            if count.unsaid > 0 && now_ms - count.said_ms >= count.pace_ms {
                let line = format!(
                    "{subject}: {kind}: still, {} more in the last {}",
                    thousands(count.unsaid),
                    minutes(now_ms - count.said_ms)
                );
                lines.push((count.still(), line));
                (count.said_ms, count.unsaid) = (now_ms, 0);
                count.pace_ms = count.pace_ms.saturating_mul(2).min(STILL_MAX_MS);
            }
            true
        });
        lines
    }
}

impl Count {
    fn still(&self) -> Level {
        match self.weight {
            Weight::Warning | Weight::SaidElsewhere => Level::Warn,
            Weight::Notice => Level::Info,
        }
    }

    fn over(&self) -> Option<(Level, String)> {
        let times = match self.n {
            1 => "it was once".to_owned(),
            n => format!("{} times in {}", thousands(n), minutes(self.last_ms - self.first_ms)),
        };
        match (self.weight, self.n) {
            // It was said, and there is nothing to add.
            (Weight::Notice, 1) => None,
            (Weight::Notice, _) => Some((Level::Info, format!("{times}, none in the last minute"))),
            (Weight::Warning, _) => Some((Level::Info, format!("over; {times}"))),
            (Weight::SaidElsewhere, _) => Some((Level::Debug, format!("over; {times}"))),
        }
    }
}

/// `1 min`, `10 min`, `4.2 h`.
fn minutes(ms: i64) -> String {
    match (ms + 30_000) / 60_000 {
        minutes @ ..90 => format!("{} min", minutes.max(1)),
        minutes => format!("{}.{} h", minutes / 60, minutes % 60 / 6),
    }
}

#[cfg(test)]
mod tests;
