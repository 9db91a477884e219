//! PURE. What is followed, and what is to be read next. No clock, no I/O: times are handed in, in milliseconds since 1970.
//!
//! A job has at most one time at which it is due, and so has each container that sweeps miss; all of them are in one
//! ordered set, so a round costs what is due and not what is running. A hundred thousand jobs are a hundred thousand
//! rows of some 300 bytes here: no task, no timer, no text but the ids.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::cadence::Cadence;
use super::followed::{Followed, Look, NEVER, Over, Place, PlaceState, Seen, Sight};
use super::projects::Projects;
use crate::job::JobReading;
use crate::layers::Priority;
use crate::ledger::Running;

/// Everything that is followed.
#[derive(Debug)]
pub(super) struct Board {
    pub cadence: Cadence,
    jobs: HashMap<i64, Followed>,
    pub projects: Projects,
    /// Time, job, and what: [`JOB`], or a container's place plus one.
    due: BTreeSet<(i64, i64, u16)>,
    /// Containers to be read at once: job and place.
    gone: VecDeque<(i64, u16)>,
    /// Jobs that are overdue and of which nobody was told yet.
    newly_overdue: Vec<i64>,
    /// How long the API has answered about jobs, to be noted in the ledger.
    to_note: Vec<(i64, i64)>,
    /// Sweeps remember ids as hashes.
    pub hasher: RandomState,
}

/// In the set of what is due: the job itself.
const JOB: u16 = 0;

impl Board {
    pub(super) fn new(cadence: Cadence) -> Self {
        Self {
            cadence,
            jobs: HashMap::new(),
            projects: Projects::new(&cadence),
            due: BTreeSet::new(),
            gone: VecDeque::new(),
            newly_overdue: Vec::new(),
            to_note: Vec::new(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn knows(&self, job: i64) -> bool {
        self.jobs.contains_key(&job)
    }

    pub(super) fn project(&self, job: i64) -> Option<Arc<str>> {
        self.jobs.get(&job).map(|followed| Arc::clone(&followed.project))
    }

    /// Follows a job; `lost`: one that was given up.
    pub(super) fn take_up(&mut self, running: Running, lost: bool, now_ms: i64) {
        if self.knows(running.job) {
            return;
        }
        let job = running.job;
        let first_ms = running.accepted_ms.saturating_add(self.cadence.initial_ms);
        let project = self.projects.name(&running.project_id);
        let followed = Followed::new(running, project, (lost, first_ms));
        let (project, is_member, member) =
            (Arc::clone(&followed.project), followed.is_member(), followed.member(job));
        self.jobs.insert(job, followed);
        let was_swept = self.projects.is_swept(&project);
        if is_member {
            self.projects.join(&project, member);
        }
        let due_ms = if lost {
            now_ms.saturating_add(Cadence::first_lost_ms(job))
        } else if is_member && self.projects.is_swept(&project) {
            now_ms.saturating_add(self.cadence.distrust_ms(job))
        } else {
            // A job that was accepted long ago (a restart) is looked at at once.
            first_ms.clamp(now_ms, now_ms.saturating_add(self.cadence.initial_ms))
        };
        self.set_due(job, due_ms);
        self.follow_project(&project, was_swept, now_ms);
    }

    /// A container that has probably ended, to be read before everything else.
    pub(super) fn next_gone(&mut self) -> Option<Look> {
        while let Some((job, place)) = self.gone.pop_front() {
            let look = self.jobs.get(&job).and_then(|followed| followed.look_at(job, place, Priority::Ended));
            if look.is_some() {
                return look;
            }
        }
        None
    }

    /// What the poll cadence asks for now.
    pub(super) fn next_poll(&mut self, now_ms: i64) -> Option<Look> {
        while let Some(&(due_ms, job, what)) = self.due.first() {
            if due_ms > now_ms {
                return None;
            }
            self.due.pop_first();
            let Some(followed) = self.jobs.get_mut(&job) else { continue };
            if what == JOB {
                followed.due_ms = NEVER;
                followed.looking = true;
                return Some(followed.look(job));
            }
            let place = what - 1;
            if let Some(known) = followed.places.get_mut(usize::from(place)) {
                known.state = PlaceState::Queued;
            }
            if let Some(look) = followed.look_at(job, place, Priority::Poll) {
                return Some(look);
            }
        }
        None
    }

    /// When something is due on the poll cadence.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(due_ms, _, _)| *due_ms)
    }

    /// Whether containers wait to be read.
    pub(super) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Whether a sweep of the project could tell anything: that something is gone, or is there after all.
    pub(super) fn is_worth_a_sweep(&self, project: &str, now_ms: i64) -> bool {
        let could_tell = |place: &Place| match place.state {
            PlaceState::Watched => place.due_ms <= now_ms,
            PlaceState::Missing => true,
            PlaceState::Queued | PlaceState::Ended => false,
        };
        let mut jobs = self.projects.members(project).filter_map(|(_, job)| self.jobs.get(&job));
        jobs.any(|followed| followed.places.iter().any(could_tell))
    }

    /// A whole sweep of a project, asked for at `asked_ms`, has shown containers with these hashes. Those it has not
    /// shown, and that were known before, have probably ended.
    pub(super) fn shown(
        &mut self,
        project: &str,
        asked_ms: i64,
        is_shown: impl Fn(u64) -> bool,
        now_ms: i64,
    ) {
        let longest_gap_ms = self.cadence.longest_gap_ms();
        for (_, job) in self.projects.members(project) {
            let Some(followed) = self.jobs.get_mut(&job) else { continue };
            if followed.accepted_ms >= asked_ms {
                continue;
            }
            let mut any_shown = false;
            for (index, place) in (0_u16..).zip(&mut followed.places) {
                let shown = is_shown(self.hasher.hash_one(&*place.id));
                any_shown |= shown;
                match (place.state, shown) {
                    (PlaceState::Missing, true) => {
                        self.due.remove(&(place.due_ms, job, index + 1));
                        place.state = PlaceState::Watched;
                    }
                    (PlaceState::Watched, false) if place.due_ms <= now_ms => {
                        place.state = PlaceState::Queued;
                        self.gone.push_back((job, index));
                    }
                    (PlaceState::Watched, false) => {
                        place.state = PlaceState::Missing;
                        self.due.insert((place.due_ms, job, index + 1));
                    }
                    (PlaceState::Watched, true)
                    | (PlaceState::Missing, false)
                    | (PlaceState::Queued | PlaceState::Ended, _) => {}
                }
            }
            if any_shown {
                followed.patience.answered(now_ms, longest_gap_ms);
                self.to_note.extend(followed.patience.take_note(self.cadence.give_up_ms).map(|ms| (job, ms)));
            }
        }
    }

    /// What a look has told. Whether the job is to be given up.
    pub(super) fn looked(&mut self, job: i64, seen: Seen, now_ms: i64) -> bool {
        let Some(followed) = self.jobs.get(&job) else { return false };
        let project = Arc::clone(&followed.project);
        let was_swept = self.projects.is_swept(&project);
        let give_up = match seen {
            Seen::Settled => {
                self.forget(job);
                false
            }
            Seen::Container(place, sight) => self.container_seen(job, (place, sight), now_ms),
            Seen::Job { answered, over, named, ended } => {
                let give_up = self.be_patient(job, answered, now_ms);
                self.job_seen(job, answered, over, now_ms);
                self.places_changed(job, named, &ended, now_ms);
                self.look_again(job, now_ms);
                give_up
            }
        };
        self.follow_project(&project, was_swept, now_ms);
        give_up
    }

    /// Whether the project came to be swept, or to be polled: its jobs are due at other times then.
    pub(super) fn follow_project(&mut self, project: &str, was_swept: bool, now_ms: i64) {
        let is_swept = self.projects.is_swept(project);
        if is_swept == was_swept {
            return;
        }
        let members: Vec<i64> = self.projects.members(project).map(|(_, job)| job).collect();
        for job in members {
            let Some(followed) = self.jobs.get_mut(&job) else { continue };
            if !is_swept {
                for (index, place) in (0_u16..).zip(&mut followed.places) {
                    if place.state == PlaceState::Missing {
                        self.due.remove(&(place.due_ms, job, index + 1));
                        place.state = PlaceState::Watched;
                    }
                }
            }
            if !followed.looking {
                self.look_again(job, now_ms);
            }
        }
    }

    /// Jobs that have become overdue since this was last asked for: number, id at the API, project.
    pub(super) fn take_overdue(&mut self) -> Vec<(i64, Option<Box<str>>, Arc<str>)> {
        let jobs = std::mem::take(&mut self.newly_overdue);
        jobs.into_iter()
            .filter_map(|job| {
                self.jobs.get(&job).map(|it| (job, it.api_job_id.clone(), Arc::clone(&it.project)))
            })
            .collect()
    }

    /// What to note in the ledger since this was last asked for.
    pub(super) fn take_notes(&mut self) -> Vec<(i64, i64)> {
        std::mem::take(&mut self.to_note)
    }

    /// Follows a job no longer.
    pub(super) fn forget_job(&mut self, job: i64, now_ms: i64) {
        let Some(project) = self.project(job) else { return };
        let was_swept = self.projects.is_swept(&project);
        self.forget(job);
        self.follow_project(&project, was_swept, now_ms);
    }

    fn forget(&mut self, job: i64) {
        let Some(followed) = self.jobs.remove(&job) else { return };
        self.due.remove(&(followed.due_ms, job, JOB));
        for (index, place) in (0_u16..).zip(&followed.places) {
            if place.state == PlaceState::Missing {
                self.due.remove(&(place.due_ms, job, index + 1));
            }
        }
        self.projects.leave(&followed.project, followed.member(job));
    }

    fn container_seen(&mut self, job: i64, (index, sight): (u16, Sight), now_ms: i64) -> bool {
        let Some(followed) = self.jobs.get_mut(&job) else { return false };
        let is_swept = followed.is_member() && self.projects.is_swept(&followed.project);
        let age_ms = now_ms.saturating_sub(followed.accepted_ms);
        let Some(place) = followed.places.get_mut(usize::from(index)) else { return false };
        match sight {
            Sight::Ended => place.state = PlaceState::Ended,
            Sight::Running | Sight::NotThere | Sight::Silent => {
                let wait_ms = if sight == Sight::Silent {
                    self.cadence.initial_ms.saturating_mul(2)
                } else {
                    self.cadence.poll_ms(age_ms, job)
                };
                place.due_ms = now_ms.saturating_add(wait_ms);
                place.state = PlaceState::Watched;
                followed.by_job |= sight == Sight::NotThere;
                if is_swept && !followed.by_job {
                    place.state = PlaceState::Missing;
                    self.due.insert((place.due_ms, job, index + 1));
                }
            }
        }
        let looks_at_job = sight == Sight::NotThere || !followed.is_open();
        let (looking, member, project) =
            (followed.looking, followed.member(job), Arc::clone(&followed.project));
        if !followed.is_member() {
            self.projects.leave(&project, member);
        }
        if looks_at_job && !looking {
            self.set_due(job, now_ms);
        }
        self.be_patient(job, sight != Sight::Silent, now_ms)
    }

    fn job_seen(&mut self, job: i64, answered: bool, over: Option<Arc<JobReading>>, now_ms: i64) {
        let Some(followed) = self.jobs.get_mut(&job) else { return };
        followed.looking = false;
        if let Some(over) = over {
            // From now on the job tells when to look at what is left of it.
            let answered_before_ms = followed.patience.answered_ms();
            followed.over.get_or_insert(Over { reading: over, answered_before_ms });
            for (index, place) in (0_u16..).zip(&mut followed.places) {
                if place.state == PlaceState::Missing {
                    self.due.remove(&(place.due_ms, job, index + 1));
                    place.state = PlaceState::Watched;
                }
            }
        }
        let age_ms = now_ms.saturating_sub(followed.accepted_ms);
        if answered && !followed.lost && !followed.patience.flagged && self.cadence.is_overdue(age_ms) {
            followed.patience.flagged = true;
            self.newly_overdue.push(job);
        }
    }

    fn places_changed(&mut self, job: i64, named: Vec<String>, ended: &[u16], now_ms: i64) {
        let Some(followed) = self.jobs.get_mut(&job) else { return };
        if !named.is_empty() {
            followed.unnamed = false;
        }
        followed.places.extend(named.into_iter().map(|id| Place::new(id, now_ms)));
        for index in ended {
            let Some(place) = followed.places.get_mut(usize::from(*index)) else { continue };
            if place.state == PlaceState::Missing {
                self.due.remove(&(place.due_ms, job, index + 1));
            }
            place.state = PlaceState::Ended;
        }
        if !followed.is_member() {
            self.projects.leave(&followed.project, followed.member(job));
        }
    }

    /// Counts how patient we are. Whether the job is to be given up.
    fn be_patient(&mut self, job: i64, answered: bool, now_ms: i64) -> bool {
        let limits = (self.cadence.longest_gap_ms(), self.cadence.give_up_ms);
        let Some(followed) = self.jobs.get_mut(&job).filter(|followed| !followed.lost) else { return false };
        if !answered {
            followed.patience.silent();
            return false;
        }
        let give_up = followed.patience.answered_read(now_ms, limits);
        self.to_note.extend(followed.patience.take_note(limits.1).map(|ms| (job, ms)));
        give_up
    }

    /// Sets when the job itself is looked at next.
    fn look_again(&mut self, job: i64, now_ms: i64) {
        let Some(followed) = self.jobs.get(&job) else { return };
        let age_ms = now_ms.saturating_sub(followed.accepted_ms);
        let wait_ms = if followed.lost {
            Cadence::lost_ms(job)
        } else if followed.is_member() && self.projects.is_swept(&followed.project) {
            self.cadence.distrust_ms(job)
        } else {
            self.cadence.poll_ms(age_ms, job)
        };
        self.set_due(job, now_ms.saturating_add(wait_ms));
    }

    fn set_due(&mut self, job: i64, due_ms: i64) {
        let Some(followed) = self.jobs.get_mut(&job) else { return };
        self.due.remove(&(followed.due_ms, job, JOB));
        followed.due_ms = due_ms;
        self.due.insert((due_ms, job, JOB));
    }
}
