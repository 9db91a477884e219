//! Does the API answer look-ups by our own container id? Tried once for a ledger, on the first accepted job: where it does
//! not, a 404 proves nothing, and what only a look-up could decide is left to a person.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::Submit;
use crate::job::{ContainerReading, Trouble};
use crate::layers::Priority;
use crate::ledger::{Claimed, LookUpsTried};
use crate::stages::look_up::same_brief;

/// Tries of one process that tell nothing (the read fails, or the API lags behind its own answers); after them it stays
/// unknown until the next start, so that reads are left for what was paid for.
const TRIES_MAX: u32 = 10;

/// How far the trial is. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trial(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// It is known, or being tried.
    settled: AtomicBool,
    tries: AtomicU32,
}

impl Submit {
    /// Looks an accepted job up by our own id, unless it is known already whether that works. `named`: the containers as
    /// the API's answer names them.
    pub(super) async fn try_look_ups(&self, job: &Claimed, named: &[String]) {
        let Some(alias) = &job.alias else { return };
        if self.trial.0.settled.swap(true, Ordering::AcqRel) {
            return;
        }
        let works = if named.contains(alias) {
            Some(true)
        } else {
            match self.desk.ledger.look_ups().await {
                Ok(Some(_)) => return,
                Ok(None) => self.look_up_once(job, alias, named).await,
                Err(_unreadable) => None,
            }
        };
        if let Some(works) = works {
            self.note_look_ups(works).await;
        } else {
            let tries = self.trial.0.tries.fetch_add(1, Ordering::AcqRel) + 1;
            self.trial.0.settled.store(tries >= TRIES_MAX, Ordering::Release);
        }
    }

    /// Stores what is known now.
    pub(super) async fn note_look_ups(&self, works: bool) {
        let tried = LookUpsTried { works, now_ms: self.desk.clock.now_ms() };
        match self.desk.ledger.write(tried).await {
            Ok(()) => {
                self.trial.0.settled.store(true, Ordering::Release);
                tracing::debug!(stage = "submit", works, "tried whether the API knows containers by our ids");
            }
            Err(error) => {
                self.trial.0.settled.store(false, Ordering::Release);
                tracing::warn!(stage = "submit", %error, "whether look-ups work could not be stored; it is tried again");
            }
        }
    }

    /// `None`: that told nothing.
    async fn look_up_once(&self, job: &Claimed, alias: &str, named: &[String]) -> Option<bool> {
        match self.read(alias).await? {
            Ok(reading) => {
                let ours = reading.id == alias
                    || named.contains(&reading.id)
                    || same_brief(&job.body, reading.brief.as_ref());
                Some(ours)
            }
            Err(trouble) if trouble.is_not_found() && !self.desk.reads_are_held() => {
                // If it does not know its own id either, it only lags behind.
                let own = self.read(named.first()?).await?;
                own.is_ok().then_some(false)
            }
            Err(_) => None,
        }
    }

    async fn read(&self, id: &str) -> Option<Result<ContainerReading, Trouble>> {
        // An orderly stop does not wait for it.
        let permit = self.limits.acquire_read(Priority::Poll);
        let permit = self.desk.stopping.run_until_cancelled(permit).await?;
        let answer = self.api.container(id).await;
        permit.answered();
        Some(answer)
    }
}
