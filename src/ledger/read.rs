//! The read side for people: what `status`, `list`, `show` and `records` ask the ledger, beside a running worker.
//!
//! - `batches`: how far each batch is, and why what did not complete did not.
//! - `briefs`: one line a brief, paged by its number.
//! - `known`: which briefs are known already.
//! - `pace`: how fast it goes just now.
//! - `reruns`: briefs that may be run again, paged by their number.
//! - `records`: the stored bytes of records, paged by their number.
//! - `story`: everything that is stored about one brief.
//!
//! No query here scans a table that grows where an index or the tally can tell, and none holds more than a page of
//! rows that carry bodies. `scheduled` and `held` are not stored: they are derived here ([`Waiting`]), from a run's
//! `notBefore` and from the holds in force.

mod batches;
mod briefs;
mod known;
mod pace;
mod records;
mod reruns;
mod story;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use batches::{CodeCount, LateRows, ParkedBrief, RecentBatch};
pub use briefs::{BriefFilter, BriefLine};
pub use pace::Pace;
pub use records::{RecordFilter, StoredRecord};
pub use reruns::{RerunFilter, Rerunnable};
pub use story::{BriefFound, ContainerStory, HistoryLine, HoldStory, JobStory, RecordStory, RunStory, Story};

use super::{Hold, HoldScope, LedgerError, Reader};
use crate::job::BriefState;

/// Tells what a stored `waiting` means right now: is it not its time yet, or is it held?
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    held: Vec<HoldScope>,
    now_ms: i64,
}

impl Waiting {
    /// By the holds in force at `now_ms`, milliseconds since 1970.
    pub fn new(holds: &[Hold], now_ms: i64) -> Self {
        Self { held: holds.iter().map(|hold| hold.scope.clone()).collect(), now_ms }
    }

    /// The state as people see it. What is not due yet is scheduled, held or not: the hold may be gone by then.
    pub fn state(
        &self,
        stored: BriefState,
        (project, batch): (&str, &str),
        not_before_ms: Option<i64>,
    ) -> BriefState {
        if stored != BriefState::Waiting {
            stored
        } else if not_before_ms.is_some_and(|time| time > self.now_ms) {
            BriefState::Scheduled
        } else if self.holds(project, batch) {
            BriefState::Held
        } else {
            BriefState::Waiting
        }
    }

    fn holds(&self, project: &str, batch: &str) -> bool {
        self.held.iter().any(|scope| scope.stops(project, batch))
    }
}

/// How many briefs are in which state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateCounts(BTreeMap<BriefState, i64>);

impl StateCounts {
    /// How many are in `state`.
    pub fn get(&self, state: BriefState) -> i64 {
        self.0.get(&state).copied().unwrap_or(0)
    }

    /// `n` more are in `state`; fewer, if it is negative.
    pub fn add(&mut self, state: BriefState, n: i64) {
        *self.0.entry(state).or_default() += n;
    }

    /// All of them.
    pub fn total(&self) -> i64 {
        self.0.values().sum()
    }

    /// How many have not ended.
    pub fn open(&self) -> i64 {
        self.total()
            - [BriefState::Completed, BriefState::Partial, BriefState::Failed, BriefState::Canceled]
                .map(|state| self.get(state))
                .iter()
                .sum::<i64>()
    }

    /// How many have ended without everything that was asked for.
    pub fn not_completed(&self) -> i64 {
        [BriefState::Partial, BriefState::Failed, BriefState::Canceled]
            .map(|state| self.get(state))
            .iter()
            .sum()
    }
}

/// The state of a stored word.
fn brief_state(word: &str) -> Result<BriefState, LedgerError> {
    BriefState::from_word(word).ok_or_else(|| LedgerError::Corrupt(format!("a brief is '{word}'")))
}

/// A table whose rows have times that rise with their ids.
struct Timeline {
    newest: &'static str,
    /// The first row from an id on: its id and its time.
    from: &'static str,
}

const BRIEFS: Timeline = Timeline {
    newest: "SELECT max(id) FROM brief",
    from: "SELECT id, received_at FROM brief WHERE id >= $1 ORDER BY id LIMIT 1",
};
const OUTBOX: Timeline = Timeline {
    newest: "SELECT max(id) FROM outbox",
    from: "SELECT id, created_at FROM outbox WHERE id >= $1 ORDER BY id LIMIT 1",
};

impl Reader {
    /// The greatest id whose row is older than `since_ms`, found by halving: there is no index on the times.
    async fn last_before(&self, timeline: &Timeline, since_ms: i64) -> Result<i64, LedgerError> {
        let newest: Option<i64> = sqlx::query_scalar(timeline.newest).fetch_one(&self.pool).await?;
        // Invariant: everything up to `older` is older than that, everything from `younger` on is not.
        let (mut older, mut younger) = (0, newest.unwrap_or(0) + 1);
        while older + 1 < younger {
            let middle = i64::midpoint(older, younger);
            let found: Option<(i64, i64)> =
                sqlx::query_as(timeline.from).bind(middle).fetch_optional(&self.pool).await?;
            match found {
                Some((id, at)) if at < since_ms => older = id,
                Some(_) | None => younger = middle,
            }
        }
        Ok(older)
    }
}
