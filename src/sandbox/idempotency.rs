//! Both ways in which a repeat is recognised: the `Idempotency-Key` for 24 hours (a switch), the first container's id for
//! ever (a switch, too).
//!
//! A record says from when on its first call counts as served. Until then a repeat overlaps with it; no timer
//! and no clean-up is needed when a caller goes away in between.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The answer that is given again, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) retry_after: Option<String>,
}

/// What is known about a repeat.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing: this is the first call.
    Nothing,
    /// The first call was served with this answer.
    Served(Arc<Answer>),
    /// The first call is still being served.
    InProgress,
    /// The first call had another body.
    OtherBody,
}

#[derive(Debug)]
struct KeyRecord {
    body_sha: [u8; 32],
    answer: Arc<Answer>,
    made_ms: i64,
    served_ms: i64,
}

/// What a start was answered whose caller chose the first container's id.
#[derive(Debug)]
pub(super) struct IdRecord {
    /// The first container of the job that was made.
    pub(super) container: usize,
    pub(super) answer: Arc<Answer>,
    pub(super) served_ms: i64,
}

/// Everything that is remembered of earlier calls.
#[derive(Debug)]
pub(super) struct Replays {
    /// How long a key is remembered.
    kept_ms: i64,
    by_key: HashMap<Arc<str>, KeyRecord>,
    /// In the order they were made, for forgetting them.
    ages: VecDeque<(i64, Arc<str>)>,
}

impl Replays {
    /// Remembers each key for so long.
    pub(super) fn new(kept_ms: i64) -> Self {
        Self { kept_ms, by_key: HashMap::new(), ages: VecDeque::new() }
    }

    /// The name under which one key of one caller at one endpoint is kept.
    pub(super) fn name((caller, organization): (usize, usize), path: &str, key: &str) -> String {
        format!("{caller}\n{organization}\n{path}\n{key}")
    }

    /// Looks a key up.
    pub(super) fn find(&self, name: &str, body_sha: &[u8; 32], now_ms: i64) -> Found {
        match self.by_key.get(name) {
            None => Found::Nothing,
            Some(record) if record.body_sha != *body_sha => Found::OtherBody,
            Some(record) if now_ms < record.served_ms => Found::InProgress,
            Some(record) => Found::Served(Arc::clone(&record.answer)),
        }
    }

    /// Remembers the answer to a key's first call, which counts as served from `served_ms` on.
    pub(super) fn keep(&mut self, name: &str, body_sha: [u8; 32], answer: Arc<Answer>, times_ms: (i64, i64)) {
        let (made_ms, served_ms) = times_ms;
        let name: Arc<str> = name.into();
        self.ages.push_back((made_ms, Arc::clone(&name)));
        self.by_key.insert(name, KeyRecord { body_sha, answer, made_ms, served_ms });
    }

    /// Forgets keys that are too old.
    pub(super) fn expire(&mut self, now_ms: i64) {
        while let Some((made_ms, name)) = self.ages.front() {
            if now_ms - made_ms < self.kept_ms {
                return;
            }
            if self.by_key.get(name).is_some_and(|record| record.made_ms == *made_ms) {
                self.by_key.remove(name);
            }
            self.ages.pop_front();
        }
    }

    /// How many keys are remembered.
    pub(super) fn keys(&self) -> usize {
        self.by_key.len()
    }
}
