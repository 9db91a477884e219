//! A POST whose outcome is unknown: what is looked at before it is repeated, and what a look-up decides.
//!
//! The ways out are a 2xx to the same POST, our container found by `GET`, and a person. A refusal is never believed without
//! a look-up, and no path leads to a new key.

use std::time::Duration;

use super::Submit;
use super::answers::InForce;
use super::attempt::{Conclusion, accepted, record_error, start_answer, told, unclaimed};
use crate::job::{Event, Refusal, Verdict, verdict};
use crate::layers::{Permit, Priority};
use crate::ledger::{Again, AttemptOutcome, Claimed, Told};
use crate::stages::back_off::delay;
use crate::stages::look_up::{Found, LookedUp, look_up};

/// A key-only job is not `POSTed` again later than this after its first unknown attempt (the API keeps keys for 24 h).
const KEY_WINDOW: Duration = Duration::from_hours(23);
/// From so many attempts on that told nothing, our new container is looked up before the POST is repeated.
const LOOK_FIRST_FROM: i64 = 2;
/// After so many attempts of unknown outcome, what is known of the containers is followed without its siblings.
const SIBLINGS_ASKED_UNTIL: i64 = 8;
/// From so many attempts of unknown outcome on, where others were accepted since the last one, it is the brief that the
/// API has no answer to.
const UNHEEDED_FROM: i64 = 4;
/// After so many more attempts, most of them an hour apart, a person decides.
const UNHEEDED_UNTIL: i64 = 24;
/// Longest between two tries of a job to which the API has no other answer.
const RARELY: Duration = Duration::from_hours(1);
/// Longest between two looks at what a job may have bought whose starts are held.
const RARELY_HELD: Duration = Duration::from_mins(10);

impl Submit {
    /// Where the POSTs of a new container have told nothing several times, it is looked up before the next one: what was
    /// bought is collected, although no answer ever comes. Before a regenerate is repeated its container always is. `None`: not looked up, or nothing found.
    pub(super) async fn look_first(&self, job: &Claimed) -> Option<LookedUp> {
        let has_id = job.alias.is_some() || job.container.is_some();
        if job.unknown_first_at.is_none() || !has_id || self.repeat_forbidden(job) {
            return None;
        }
        // A regenerate always: only its key guards it, for a day by a clock that may be wrong, and its record does not lie.
        if job.container.is_none() {
            let doubt = self.desk.ledger.doubt(job.brief, job.id).await.unwrap_or_default();
            let in_vain = doubt.unknown + doubt.in_progress;
            if in_vain < LOOK_FIRST_FROM && !doubt.found_in_part {
                return None;
            }
        }
        let looked = self.look(job, true, Priority::Ended).await;
        matches!(looked.found, Found::Ours | Found::InPart).then_some(looked)
    }

    /// Our container is known, its siblings are not: the same POST names them (`id` guards). Being told to wait, the
    /// account's trouble, and a few answers that are lost once more only put that off; after anything else but a 2xx
    /// what is known is followed. The siblings are paid for, and nothing else names them: it is worth asking again.
    pub(super) async fn ask_for_siblings(
        &self,
        job: &Claimed,
        known: LookedUp,
        (permit, in_force): (Permit, &InForce),
    ) -> Conclusion {
        if self.must_not_leave(job) {
            permit.unused();
            return unclaimed();
        }
        let answer = self.post(job).await;
        let bound = permit.start_answered(start_answer(&answer));
        let trouble = match answer {
            Ok(acceptance) => return accepted(acceptance),
            Err(trouble) => trouble,
        };
        let mut told = told(&trouble);
        let put_off = match verdict(&trouble) {
            Verdict::Wait(_) | Verdict::Hold(..) | Verdict::NotConnected => !self.is_past_window(job),
            Verdict::Unknown if self.siblings_stay_unknown(job).await => {
                // What is followed now was read: the API has not answered a start.
                told.status = None;
                false
            }
            Verdict::Unknown => {
                self.note(job, &trouble);
                // The API has heard of this brief, so it is none that it has no answer to.
                let outcome = AttemptOutcome::Again(Again::Unanswered);
                let retry = self.back_off(job).max(self.settings.repeat_after);
                return Conclusion { outcome, told, retry };
            }
            Verdict::Refused | Verdict::SeenBefore => false,
        };
        if put_off {
            return self.troubled(job, trouble, bound, in_force).await;
        }
        follow(known, told)
    }

    /// Whether the answers that would have named the siblings were lost too often, or too long ago.
    async fn siblings_stay_unknown(&self, job: &Claimed) -> bool {
        let doubt = self.desk.ledger.doubt(job.brief, job.id).await.unwrap_or_default();
        doubt.unknown >= SIBLINGS_ASKED_UNTIL || self.is_past_window(job)
    }

    /// A key-only job of unknown outcome is not `POSTed` again after the key's window, nor under another API key.
    /// Checked after the rate permit, directly before the bytes would leave. Where no API key of an unknown attempt is
    /// stored, a person decided that it is repeated once.
    pub(super) fn repeat_forbidden(&self, job: &Claimed) -> bool {
        let (None, Some(key)) = (&job.alias, &job.unknown_key) else { return false };
        self.is_past_window(job) || *key != self.api.key_fingerprint()
    }

    /// Whether the API may have forgotten the key of the first unknown attempt.
    fn is_past_window(&self, job: &Claimed) -> bool {
        let window_ms = i64::try_from(KEY_WINDOW.as_millis()).unwrap_or(i64::MAX);
        job.unknown_first_at.is_some_and(|first_ms| self.desk.clock.now_ms() - first_ms > window_ms)
    }

    /// No readable answer: when it is asked again. Where only this brief gets none, again and again, it keeps no place that
    /// others need, and is asked more and more rarely.
    pub(super) async fn ask_again(&self, job: &Claimed, back_off: Duration) -> (Again, Duration) {
        let repeat_after = self.settings.repeat_after;
        let doubt = self.desk.ledger.doubt(job.brief, job.id).await.unwrap_or_default();
        let heard_of_others =
            job.unknown_ended_at.is_some_and(|ended_ms| self.observed.accepted_since(ended_ms));
        if !heard_of_others || doubt.unknown + 1 < UNHEEDED_FROM {
            return (Again::Unanswered, back_off.max(repeat_after));
        }
        if doubt.unheeded == 0 {
            self.unheeded(job).await;
        }
        let times = u32::try_from(doubt.unheeded).unwrap_or(u32::MAX);
        (Again::Unheeded, self.rarely(times).max(repeat_after))
    }

    /// Before try number `times` + 1 (from 0) of a job to which the API has no other answer.
    pub(super) fn rarely(&self, times: u32) -> Duration {
        let first = self.settings.probe_interval;
        delay(first, RARELY.max(first), times)
    }

    /// The API was asked often enough, while it accepted others. Where a person says so, it is asked once more.
    pub(super) async fn is_given_up(&self, job: &Claimed) -> bool {
        if job.unknown_key.is_none() {
            return false;
        }
        let doubt = self.desk.ledger.doubt(job.brief, job.id).await.unwrap_or_default();
        doubt.unheeded >= UNHEEDED_UNTIL
    }

    /// Looks for what a job may have bought while its starts are held: it is collected, and nothing is `POSTed`. Siblings
    /// whose names only a POST would tell are waited for as long as without a hold.
    pub(super) async fn look_only(&self, job: Claimed, in_force: &InForce) {
        let looked = self.desk.stopping.run_until_cancelled(self.look(&job, true, Priority::Poll)).await;
        let conclusion = match looked {
            Some(known) if known.found == Found::Ours => follow(known, Told::default()),
            Some(known) if known.found == Found::InPart && self.siblings_stay_unknown(&job).await => {
                follow(known, Told::default())
            }
            Some(_) => Conclusion { retry: self.until_next_look(&job), ..unclaimed() },
            None => unclaimed(),
        };
        self.record(&job, conclusion, in_force).await;
    }

    /// The longer ago the last POST, the more rarely: what it made would be there by now. Never so rarely that a POST would
    /// be long in coming once the hold is over.
    fn until_next_look(&self, job: &Claimed) -> Duration {
        let first = self.settings.probe_interval;
        let ago_ms = job.unknown_ended_at.map_or(0, |ended_ms| self.desk.clock.now_ms() - ended_ms);
        Duration::from_millis(u64::try_from(ago_ms).unwrap_or(0)).clamp(first, RARELY_HELD.max(first))
    }

    async fn look(&self, job: &Claimed, may_repeat: bool, priority: Priority) -> LookedUp {
        let looked = look_up(self, job, may_repeat, priority).await;
        if job.container.is_none() && matches!(looked.found, Found::Ours | Found::InPart) {
            self.note_look_ups(true).await;
        }
        looked
    }

    pub(super) async fn looked_up(
        &self,
        job: &Claimed,
        may_repeat: bool,
        refusal: Option<&Refusal>,
    ) -> Conclusion {
        let looked = self.look(job, may_repeat, Priority::Ended).await;
        let mut told = Told::default();
        if let Some(refusal) = refusal {
            told.status = Some(refusal.status);
            told.request_id.clone_from(&refusal.request_id);
            told.detail = format!("{}: {}; ", refusal.code, refusal.message);
        }
        told.detail.push_str(&looked.detail);
        let error = Box::new(record_error(refusal, &looked.detail));
        let (unknown, retry) = (job.unknown_first_at.is_some(), looked.retry);
        if looked.found == Found::InPart {
            let asked = self.desk.ledger.doubt(job.brief, job.id).await.unwrap_or_default();
            if !asked.found_in_part {
                // It is there, so whatever is refused from now on, it never goes back to `ready`.
                let outcome = AttemptOutcome::Again(Again::FoundInPart);
                return Conclusion { outcome, told, retry: looked.retry };
            }
        }
        let outcome = match looked.found {
            Found::Ours | Found::InPart => AttemptOutcome::Accepted(looked.started()),
            Found::Other if unknown => AttemptOutcome::Parked(Event::FoundOther, error),
            Found::Other => AttemptOutcome::Rejected(Event::FoundOther, error),
            Found::Nothing if unknown => AttemptOutcome::Again(Again::NotFound),
            Found::Nothing => AttemptOutcome::Rejected(Event::NotFound, error),
            Found::NothingForSure => AttemptOutcome::Rejected(Event::NotFoundForSure, error),
            Found::Undecidable => AttemptOutcome::Parked(Event::Undecidable, error),
            Found::Later => AttemptOutcome::Again(Again::ToldToWait),
        };
        Conclusion { outcome, told, retry }
    }
}

/// What a look-up found is followed, whatever the POST said.
pub(super) fn follow(known: LookedUp, mut told: Told) -> Conclusion {
    if !told.detail.is_empty() {
        told.detail.push_str("; ");
    }
    told.detail.push_str(&known.detail);
    Conclusion { outcome: AttemptOutcome::Accepted(known.started()), told, retry: Duration::ZERO }
}
