//! Finds jobs that are running, or were given up, and are not followed yet. Cheap while there is nothing new.

use std::time::Duration;

use super::round::Rounds;
use crate::ledger::LedgerError;
use crate::stages::back_off::after;

/// Jobs read from the ledger in one page.
const PAGE: u32 = 5_000;
/// Jobs accepted this shortly before the newest known one are looked for again: commits are not in order of time.
const OVERLAP_MS: i64 = 10_000;
/// How often all running jobs are looked for: one whose commit had to wait (a full disk) may be older than that.
const LOOK_FOR_ALL: Duration = Duration::from_secs(30);
/// How often jobs that were given up are looked for.
const LOOK_FOR_LOST: Duration = Duration::from_hours(1);
impl Rounds {
    /// Takes up jobs that are running, or were given up, and not followed yet.
    pub(super) async fn find_new(&mut self) {
        if let Err(error) = self.find_running().await {
            tracing::error!(stage = "track", %error, "running jobs could not be read from the ledger");
        }
        if let Err(error) = self.find_lost().await {
            tracing::error!(stage = "track", %error, "lost jobs could not be read from the ledger");
        }
    }

    async fn find_running(&mut self) -> Result<(), LedgerError> {
        let now_ms = self.now_ms();
        let mut after = self.known.search_from(now_ms);
        loop {
            let ledger = &self.reads.track.desk.ledger;
            let page = ledger.running_ids(after, PAGE).await?;
            let new: Vec<i64> =
                page.iter().map(|(_, job)| *job).filter(|job| !self.board.knows(*job)).collect();
            for running in ledger.running_details(&new).await? {
                self.board.take_up(running, false, now_ms);
            }
            let Some(last) = page.last() else { return Ok(()) };
            after = *last;
            self.known.newest_ms = self.known.newest_ms.max(last.0);
            if page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                return Ok(());
            }
        }
    }

    async fn find_lost(&mut self) -> Result<(), LedgerError> {
        let now_ms = self.now_ms();
        if self.known.lost_again_ms > now_ms {
            return Ok(());
        }
        let mut after_job = 0;
        loop {
            let page = self.reads.track.desk.ledger.lost(after_job, PAGE).await?;
            let Some(last) = page.last() else { break };
            after_job = last.job;
            for running in page {
                self.board.take_up(running, true, now_ms);
            }
        }
        self.known.lost_again_ms = after(now_ms, LOOK_FOR_LOST);
        Ok(())
    }
}

/// How far the ledger was searched.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "units belong to names of numbers")]
pub(super) struct Known {
    /// When the newest known job was accepted, milliseconds since 1970.
    newest_ms: i64,
    /// When all running ones are looked for next.
    all_again_ms: i64,
    /// When those that were given up are looked for next.
    lost_again_ms: i64,
}

impl Known {
    /// Jobs that were given up are looked for at once.
    pub(super) fn look_for_lost(&mut self) {
        self.lost_again_ms = 0;
    }

    /// After which acceptance (its time and job) to search now.
    fn search_from(&mut self, now_ms: i64) -> (i64, i64) {
        if self.all_again_ms > now_ms {
            return (self.newest_ms.saturating_sub(OVERLAP_MS), 0);
        }
        self.all_again_ms = after(now_ms, LOOK_FOR_ALL);
        (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_whose_acceptance_was_committed_late_is_found_without_a_restart() {
        let mut known = Known::default();
        assert_eq!(known.search_from(1_000_000), (0, 0));
        known.newest_ms = 1_005_000;
        assert_eq!(known.search_from(1_006_000), (995_000, 0));
        // Accepted at 970 000, and the disk was full until now.
        assert_eq!(known.search_from(1_030_000), (0, 0));
        assert_eq!(known.search_from(1_031_000), (995_000, 0));
    }
}
