//! PURE. One job that is followed, its containers, and what a look at them needs and tells.

use std::sync::Arc;

use super::patience::Patience;
use crate::job::JobReading;
use crate::layers::Priority;
use crate::ledger::Running;

/// Not in the set of what is due.
pub(super) const NEVER: i64 = i64::MAX;

/// A job that is followed. Times in milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Followed {
    pub project: Arc<str>,
    pub api_job_id: Option<Box<str>>,
    pub seen_before: Option<Box<str>>,
    pub accepted_ms: i64,
    pub first_post_ms: i64,
    /// In the set of what is due under this time.
    pub due_ms: i64,
    pub patience: Patience,
    pub places: Vec<Place>,
    /// The job has ended at the API, and a container of it has not.
    pub over: Option<Over>,
    pub unnamed: bool,
    pub regenerate: bool,
    /// It was given up.
    pub lost: bool,
    /// The job tells when to look: a container of it was not there.
    pub by_job: bool,
    pub looking: bool,
}

/// A container of a job.
#[derive(Debug)]
pub(super) struct Place {
    pub id: Box<str>,
    /// Missing: when to read it next. Otherwise: not to be read before.
    pub due_ms: i64,
    pub state: PlaceState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaceState {
    /// Sweeps, or its job, tell when to read it.
    Watched,
    /// Sweeps do not show it, yet it has not ended: read on the poll cadence.
    Missing,
    /// To be read at once, or being read.
    Queued,
    /// Settled.
    Ended,
}

/// A job that has ended at the API, and contradicts its containers.
#[derive(Debug)]
pub(super) struct Over {
    pub reading: Arc<JobReading>,
    /// For how long the API had answered about the job when that was seen first.
    pub answered_before_ms: i64,
}

/// A look at a job, or at one container of it.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub job: i64,
    pub project: Arc<str>,
    pub accepted_ms: i64,
    pub api_job_id: Option<Box<str>>,
    pub seen_before: Option<Box<str>>,
    pub regenerate: bool,
    pub lost: bool,
    /// Promised containers have no name yet.
    pub unnamed: bool,
    pub over: Option<Arc<JobReading>>,
    /// For how long its containers have contradicted that while the API answered.
    pub contradicted_ms: i64,
    /// Containers to read, with their places. Of a look at one container: that one.
    pub containers: Vec<(u16, Box<str>)>,
    /// As long as the job runs, its containers are not read.
    pub job_tells: bool,
    /// The container that is looked at alone, and whether it is the last that is open.
    pub only: Option<Only>,
    /// The place of the first container that is named from now on.
    pub next_place: u16,
    pub priority: Priority,
}

/// A look at one container alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Only {
    /// Nothing else of the job is open.
    pub is_last: bool,
}

/// What a look told.
#[derive(Debug)]
pub(super) enum Seen {
    /// The job has ended in the ledger: nothing is left to follow.
    Settled,
    /// One container.
    Container(u16, Sight),
    /// The job, and perhaps its containers.
    Job {
        /// Every read was answered.
        answered: bool,
        over: Option<Arc<JobReading>>,
        /// Containers that were named now.
        named: Vec<String>,
        /// Places of containers that were settled.
        ended: Vec<u16>,
    },
}

/// What a read of one container told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    Ended,
    Running,
    NotThere,
    /// No answer, or none about the container.
    Silent,
}

impl Place {
    pub(super) fn new(id: String, not_before_ms: i64) -> Self {
        Self { id: id.into_boxed_str(), due_ms: not_before_ms, state: PlaceState::Watched }
    }
}

impl Followed {
    /// Of a job that runs, or was given up (`lost`); its containers are not read before `first_ms`.
    pub(super) fn new(running: Running, project: Arc<str>, (lost, first_ms): (bool, i64)) -> Self {
        let mut places: Vec<Place> = running.open.into_iter().map(|id| Place::new(id, first_ms)).collect();
        places.shrink_to_fit();
        Self {
            project,
            api_job_id: running.api_job_id.map(String::into_boxed_str),
            seen_before: running.seen_before.map(String::into_boxed_str),
            accepted_ms: running.accepted_ms,
            first_post_ms: running.first_post_ms,
            due_ms: NEVER,
            patience: Patience::noted(running.answered_ms),
            places,
            over: None,
            unnamed: running.unnamed > 0,
            regenerate: running.kind == "regenerate",
            lost,
            by_job: false,
            looking: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.places.iter().any(|place| place.state != PlaceState::Ended)
    }

    /// Whether a sweep can see it: a regenerated container keeps its old `createdAt`.
    pub(super) fn is_member(&self) -> bool {
        !self.regenerate && !self.lost && !self.by_job && self.over.is_none() && self.is_open()
    }

    fn contradicted_ms(&self) -> i64 {
        self.over.as_ref().map_or(0, |over| self.patience.answered_ms() - over.answered_before_ms)
    }

    pub(super) fn member(&self, job: i64) -> (i64, i64) {
        (self.first_post_ms, job)
    }

    pub(super) fn look(&self, job: i64) -> Look {
        let open = (0_u16..).zip(&self.places).filter(|(_, place)| place.state != PlaceState::Ended);
        let containers: Vec<_> = open.map(|(index, place)| (index, place.id.clone())).collect();
        // The first of several ends before its job does, and a job that has run for too long may have been forgotten.
        let is_only = containers.len() < 2 && !self.unnamed;
        let job_tells = is_only && !self.patience.flagged && !self.lost;
        Look {
            job,
            project: Arc::clone(&self.project),
            accepted_ms: self.accepted_ms,
            api_job_id: self.api_job_id.clone(),
            seen_before: self.seen_before.clone(),
            regenerate: self.regenerate,
            lost: self.lost,
            unnamed: self.unnamed,
            over: self.over.as_ref().map(|over| Arc::clone(&over.reading)),
            contradicted_ms: self.contradicted_ms(),
            containers,
            job_tells,
            only: None,
            next_place: u16::try_from(self.places.len()).unwrap_or(u16::MAX),
            priority: Priority::Poll,
        }
    }

    /// A look at one container; `None` if it is not to be read any more.
    pub(super) fn look_at(&self, job: i64, place: u16, priority: Priority) -> Option<Look> {
        let wanted = self.places.get(usize::from(place)).filter(|it| it.state == PlaceState::Queued)?;
        let open = self.places.iter().filter(|place| place.state != PlaceState::Ended).count();
        Some(Look {
            containers: vec![(place, wanted.id.clone())],
            only: Some(Only { is_last: open == 1 }),
            priority,
            ..self.look(job)
        })
    }
}
