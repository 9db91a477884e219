//! Sweeps: one list page instead of 200 polls.
//!
//! # The idea
//! A standard key may read 120 times a minute. Polling each job as the API documents it fills that at twenty jobs in
//! flight, and a full start bucket keeps thirty in flight, of up to five containers each. But the list endpoint shows
//! everything that is `queued` or `generating` in a project, 200 containers a page. So while two or more jobs of a
//! project are running, it is listed every few seconds instead, and only what has *left* the list is read, once.
//!
//! # Absence proves nothing by itself
//! A container is missing from a sweep because it has ended; or because the list lags, because its status has a name
//! that the filter does not know (`polishing`), because pages moved while they were turned, because the list writes ids
//! in another form, or because a clock is wrong. So absence only says what to read next, and the record that is read
//! decides. A list that lags or lies costs reads and never a wrong result:
//! - Only a *whole* sweep counts: every page was read, down to the one without a cursor. One that was cut short, by an
//!   error or by its limit of pages, says nothing about what it has not shown.
//! - Only what was known before the first page was asked for can be missing from it.
//! - What is missing is read at once, but never sooner after its acceptance than the first poll would be. If it has not
//!   ended, it is read next on the poll cadence, until a sweep shows it again.
//! - A list that never lets go of what has ended is found out by looking at each job by itself now and then.
//!
//! Regenerated containers keep their `createdAt`, so `since` hides them: they are followed by their jobs.
//!
//! # `since`
//! The first POST of the oldest running job of the project, less five minutes, on the API's clock: the list is filtered
//! by the API's `createdAt`, and clocks differ ([`crate::layers::Client::skew`]). Of all differences seen the one counts
//! that looks back the furthest: a clock may be set right, or run faster, as a simulator's does. It only keeps other
//! people's old work out, so looking back too far costs little.
//!
//! # The budget
//! All reads come out of one bucket. Containers that have ended go first: somebody waits for each, and there are only as
//! many as were bought. Sweeps go next, polls last. A sweep is worth a permit only if a permit is left to read what it
//! finds, so sweeps stretch as the bucket runs short (`projects`); with five variants a job 100 of the 118 reads a
//! minute are owed to containers, and the sweeps take what is left. While regenerated containers are running, one read
//! in five is kept for their polls (`kept`): nothing else would ever show that they have ended.
//!
//! Containers of others in the same project cost pages. Where a sweep would take more pages than polls take reads, the
//! project is polled, and swept again only now and then (`projects`).

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::{SignedDuration, Timestamp};

use super::projects::Outcome;
use super::reads::Reads;
use crate::layers::{ListQuery, Pages, PagesEnd, Priority};

/// Containers a page: the API's most.
const PAGE: u32 = 200;
/// Clocks that differ by less than this hide nothing.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// One sweep that is to be made.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub project: Arc<str>,
    /// First POST of the oldest job, milliseconds since 1970, by our clock.
    pub first_post_ms: i64,
    pub page_limit: usize,
    pub hasher: RandomState,
}

/// What a sweep has seen.
#[derive(Debug)]
pub(super) struct Swept {
    pub project: Arc<str>,
    /// When the first page was asked for, milliseconds since 1970.
    pub asked_ms: i64,
    pub outcome: Outcome,
    pub pages: usize,
    /// Hashes of the ids: two that share one cost a poll.
    pub shown: HashSet<u64>,
}

/// `since` on the API's clock; `skew` is ours less the API's.
fn since(first_post_ms: i64, skew: Option<SignedDuration>) -> Option<Timestamp> {
    let ours = Timestamp::from_millisecond(first_post_ms).ok()?;
    ours.checked_sub(skew.unwrap_or(SignedDuration::ZERO)).ok()?.checked_sub(MARGIN).ok()
}

impl Reads {
    /// Ours less the API's clock, as far ahead as ours ever was; `None` while nothing is known.
    fn furthest_skew(&self) -> Option<SignedDuration> {
        let now_ms = self.track.api.skew().map(|skew| i64::try_from(skew.as_millis()).unwrap_or(0));
        let furthest_ms = match now_ms {
            Some(now_ms) => self.furthest_skew_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms),
            None => self.furthest_skew_ms.load(Ordering::Relaxed),
        };
        (furthest_ms != i64::MIN).then(|| SignedDuration::from_millis(furthest_ms))
    }

    /// Turns the pages of one project's list.
    pub(super) async fn sweep(&self, plan: Plan) -> Swept {
        let mut swept = Swept {
            project: Arc::clone(&plan.project),
            asked_ms: 0,
            outcome: Outcome::Failed,
            pages: 0,
            shown: HashSet::new(),
        };
        let query = ListQuery {
            statuses: vec!["queued".to_owned(), "generating".to_owned()],
            since: since(plan.first_post_ms, self.furthest_skew()),
            limit: Some(PAGE),
            ..ListQuery::default()
        };
        let mut pages = Pages::new(query, u32::try_from(plan.page_limit).unwrap_or(u32::MAX));
        while let Some(query) = pages.next_query() {
            let permit = self.track.limits.acquire_read(Priority::Sweep).await;
            if self.track.desk.reads_are_held() {
                permit.unused();
                return swept;
            }
            self.kept.other_granted();
            if swept.pages == 0 {
                swept.asked_ms = self.track.desk.clock.now_ms();
            }
            let answer = self.track.api.list(&plan.project, query).await;
            permit.answered();
            swept.pages += 1;
            match pages.turn(answer) {
                Ok(items) => {
                    self.track.desk.troubles.answered("list");
                    swept.shown.extend(items.iter().map(|item| plan.hasher.hash_one(item.id.as_str())));
                }
                Err(trouble) => {
                    self.troubled("list", None, &trouble).await;
                    tracing::debug!(stage = "track", project = %plan.project, page = swept.pages, ?trouble, "a sweep was cut short");
                }
            }
        }
        swept.outcome = match pages.end() {
            Some(PagesEnd::Whole) => Outcome::Whole,
            Some(PagesEnd::PageLimit | PagesEnd::CursorRepeated) => Outcome::TooLong,
            Some(PagesEnd::Failed) | None => Outcome::Failed,
        };
        swept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_on_the_clock_of_the_api() {
        let ours: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        let told = |skew| since(ours.as_millisecond(), skew).unwrap().to_string();
        assert_eq!(told(None), "2026-05-01T11:55:00Z");
        // Ours is an hour ahead: for the API it was eleven.
        assert_eq!(told(Some(SignedDuration::from_hours(1))), "2026-05-01T10:55:00Z");
        assert_eq!(told(Some(SignedDuration::from_hours(-1))), "2026-05-01T12:55:00Z");
    }
}
