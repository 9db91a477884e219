//! Reads that do not tell the truth: for a while no container can be read yet, or each is as it was; or some tell
//! something else for hours.
//!
//! The API is never so bad that what it documents would not help: containers are not there only once in a life, for less
//! time than lies between two look-ups that are believed, and only of what is known to run something else is told.

use std::collections::HashMap;
use std::time::Duration;

use super::ops::LAG_SECONDS_MAX;
use super::world::World;
use crate::sandbox::gate::{Lag, Lie};

/// What the API has told wrongly.
#[derive(Default)]
pub(super) struct Untrue {
    /// Reads lag until then, milliseconds since 1970.
    lag_until: Option<i64>,
    /// Containers were not there once, although they were. Two look-ups in two such lags would be believed.
    was_not_there: bool,
    /// Since when reads of these containers are wrong.
    since: Option<(i64, Vec<String>)>,
    /// From when to when reads of a container were wrong, milliseconds since 1970. Between two lies there may have been
    /// nobody who read it.
    told_wrongly: HashMap<String, (i64, i64)>,
    /// For how long reads have lagged, at most.
    lagged_ms: i64,
}

impl Untrue {
    /// For how long reads of a container were wrong, at most; `None`: never but for lags.
    pub(super) fn longest_ms(&self, container: &str) -> Option<i64> {
        self.told_wrongly.get(container).map(|(from_ms, until_ms)| until_ms - from_ms + self.lagged_ms)
    }
}

impl World {
    /// Time passes.
    pub(super) fn advance(&mut self, seconds: u32) {
        self.clock.advance(Duration::from_secs(u64::from(seconds)));
        self.gate.now(self.clock.now_ms());
        if self.untrue.lag_until.is_some_and(|until| self.clock.now_ms() >= until) {
            self.untrue.lag_until = None;
            self.gate.lag(None);
        }
    }

    /// Reads of containers lag behind for a while. A lag that goes on is not made longer.
    pub(super) fn lag(&mut self, lag: Lag, seconds: u32) {
        let again = lag == Lag::NotThere && self.untrue.was_not_there;
        if self.untrue.lag_until.is_none() && !again {
            self.untrue.was_not_there |= lag == Lag::NotThere;
            let lag_ms = i64::from(seconds.min(LAG_SECONDS_MAX)) * 1_000;
            self.untrue.lagged_ms += lag_ms;
            self.untrue.lag_until = Some(self.clock.now_ms() + lag_ms);
            self.gate.lag(Some(lag));
        }
    }

    /// Reads of what the worker knows to run tell something else; `None`: all reads are true again.
    pub(super) fn lie(&mut self, lie: Option<Lie>) {
        let now_ms = self.clock.now_ms();
        if let Some((since_ms, ids)) = self.untrue.since.take() {
            for id in ids {
                self.untrue.told_wrongly.entry(id).or_insert((since_ms, now_ms)).1 = now_ms;
            }
        }
        let known = if lie.is_some() { self.known_to_run() } else { Vec::new() };
        self.gate.lie(known.iter().cloned().zip(lie.into_iter().cycle()).collect());
        self.untrue.since = Some((now_ms, known));
    }

    fn known_to_run(&self) -> Vec<String> {
        let process = self.process.as_ref().unwrap();
        let ledger = &process.worker.desk.ledger;
        let running = process.wait(async {
            let ids = ledger.running_ids((0, 0), 100).await.unwrap();
            let ids: Vec<_> = ids.into_iter().map(|(_, job)| job).collect();
            ledger.running_details(&ids).await.unwrap()
        });
        running.into_iter().flat_map(|job| job.open).collect()
    }

    /// Something was given up whose result comes, or has come and is looked for: once a day, and one look may be in vain.
    pub(super) fn awaits_late_results(&self) -> bool {
        const TWO_DAYS_AND_MORE_MS: i64 = 52 * 3_600_000;
        if !self.broker.consumed().iter().any(|message| holds(&message.body, b"GENERATION_LOST")) {
            return false;
        }
        let since_ms = self.clock.now_ms() - TWO_DAYS_AND_MORE_MS;
        let ends = self.sandbox.account().jobs.into_iter().filter_map(|job| job.ends_at);
        ends.map(|at| at.parse::<jiff::Timestamp>().unwrap()).any(|at| at.as_millisecond() > since_ms)
    }
}

fn holds(body: &[u8], word: &[u8]) -> bool {
    body.windows(word.len()).any(|part| part == word)
}
