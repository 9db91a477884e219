//! track: finds out which running jobs have ended, reads their containers, and settles them: results and outbox rows in
//! one transaction.
//!
//! Truth comes only from `GET`. For a `generate` the container decides; the job only says when to look. A regenerated
//! container keeps its old end until the new job starts, so there a terminal read counts only once its end differs
//! from the stored one, or once its own job is over and a read begun after that agrees with it. Failing to *see* a job
//! never changes the job.
//!
//! - `round`: one round of the stage; `find`: jobs that are new.
//! - `board`, `followed`: what is followed, and what is to be read next. Kept in memory, read again from the ledger at
//!   start.
//! - `sweep`: one list page instead of 200 polls; why absence proves nothing by itself, and the budget.
//! - `projects`: which projects are swept, and when; `cadence`: the documented polls, for what no sweep can see.
//! - `look`, `reads`, `ends`: what is read, and what that means; `settle`: what is written.
//! - `patience`: when a job is given up as `GENERATION_LOST`. It stays on one read a day, and what comes late is
//!   published by itself.
//! - `kept`: one read in five for polls of regenerated containers.

mod board;
#[cfg(test)]
pub(crate) mod by_hand;
mod cadence;
mod ends;
mod find;
mod followed;
mod kept;
mod look;
mod patience;
mod projects;
mod reads;
mod round;
mod settle;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::ends::container_end;
use self::round::Rounds;
use super::desk::LOOK_AGAIN;
use super::{Desk, Prices};
use crate::config;
use crate::layers::{self, Limits};

/// New jobs are not looked for sooner than this after the last time, nor for more than a tenth of all time.
const LOOK_APART: Duration = Duration::from_millis(20);
const LOOK_SHARE: u32 = 10;

/// The track stage.
#[derive(Clone)]
pub struct Track {
    /// What every stage has.
    pub desk: Desk,
    /// The API.
    pub api: layers::Client,
    /// Its rate limits.
    pub limits: Limits,
    /// `[track]`
    pub settings: Arc<config::Track>,
    /// What containers cost.
    pub prices: Prices,
    /// `submit.probe_interval`: when a hold that a refused read sets is tested.
    pub probe_interval: Duration,
}

impl Track {
    /// Runs until it is told to stop. Reads that are under way then are dropped: nothing depends on them.
    pub async fn run(self) {
        let desk = self.desk.clone();
        let mut rounds = Rounds::new(self);
        let (mut look_at, mut not_before) = (Instant::now(), Instant::now());
        while !desk.stopping.is_cancelled() {
            desk.step("track");
            if Instant::now() >= look_at {
                let began = Instant::now();
                rounds.find_new().await;
                not_before = Instant::now() + LOOK_APART.max(began.elapsed() * LOOK_SHARE);
                look_at = not_before.max(Instant::now() + LOOK_AGAIN);
            }
            let wait = rounds.start_due().min(look_at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = rounds.next_report() => {}
                () = desk.ledger.wake().track().notified() => look_at = look_at.min(not_before),
                () = desk.stopping.cancelled() => {}
                () = desk.clock.sleep(wait) => {}
            }
        }
    }
}
