//! The world behind the API: jobs, containers, credits. All of it is memory, under one lock.
//!
//! Nothing in it moves by itself. [`World::settle`] catches up with what has ended since the last request.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use super::account::Tally;
use super::faults::Fault;
use super::generation::{Course, Look, Phase};
use super::idempotency::Replays;
use super::limits::Buckets;
use super::options::Options;
use super::submission::{Creative, Format};
use super::wish::Wish;

/// The credits of a sandbox that was given none: more than any test can use up.
const PLENTY: u64 = 1_000_000_000_000;

/// Everything the API knows.
#[derive(Debug)]
pub(super) struct World {
    pub(super) faults: BTreeMap<Fault, f64>,
    pub(super) kill_switch: bool,
    pub(super) key_revoked: bool,
    pub(super) credits: Credits,
    pub(super) jobs: Vec<Job>,
    pub(super) containers: Vec<Container>,
    /// Containers of each project, oldest first.
    pub(super) projects: HashMap<Arc<str>, Vec<usize>>,
    pub(super) replays: Replays,
    /// One set for each key, in the order of the keys.
    pub(super) buckets: Vec<Buckets>,
    pub(super) tally: Tally,
    /// Jobs that have not ended.
    pub(super) running: u64,
    job_ids: HashMap<String, usize>,
    /// Ids and aliases.
    container_ids: HashMap<String, usize>,
    /// When which job ends; an entry may be late, after a cancel.
    endings: BinaryHeap<Reverse<(i64, usize)>>,
}

/// The organization's wallet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credits {
    /// What is left, reservations included.
    pub(super) balance: u64,
    pub(super) reserved: u64,
    pub(super) charged: u64,
}

impl Credits {
    pub(super) fn available(self) -> u64 {
        self.balance.saturating_sub(self.reserved)
    }
}

/// Which endpoint made a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Generate,
    Regenerate,
}

impl Kind {
    /// As in the API's answers.
    pub(super) fn wire_name(self) -> &'static str {
        match self {
            Self::Generate => "content_generate",
            Self::Regenerate => "content_regenerate",
        }
    }
}

/// One generation run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) project: Arc<str>,
    pub(super) containers: Vec<usize>,
    pub(super) creative: Arc<Creative>,
    pub(super) started_ms: i64,
    /// One for each container.
    pub(super) courses: Vec<Course>,
    /// When an accepted cancel takes effect.
    pub(super) canceled_ms: Option<i64>,
    pub(super) cancel_ignored: bool,
    pub(super) unknown_status: bool,
    /// Credits for each container.
    pub(super) price: u64,
    pub(super) key: Option<String>,
    pub(super) body_sha: [u8; 32],
    /// Its credits are charged or released.
    pub(super) settled: bool,
}

/// What a reviewer decided.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) approved: bool,
    pub(super) at_ms: i64,
}

/// One creative.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) project: Arc<str>,
    pub(super) format: Format,
    pub(super) created_ms: i64,
    /// Each job that generated it, with its place there; the newest last.
    pub(super) runs: Vec<(usize, usize)>,
    pub(super) decision: Option<Decision>,
    /// What its brief wished for later regenerations.
    pub(super) later: Option<Arc<Wish>>,
}

impl Job {
    /// Each container's course at a moment.
    pub(super) fn looks(&self, now_ms: i64) -> impl Iterator<Item = Look> + '_ {
        self.courses.iter().map(move |course| course.look(self.started_ms, self.canceled_ms, now_ms))
    }

    /// When the last container ends; `None`: never.
    pub(super) fn end_ms(&self) -> Option<i64> {
        let end = |course: &Course| match (course.end_ms(self.started_ms), self.canceled_ms) {
            (Some(own_ms), Some(canceled_ms)) => Some(own_ms.min(canceled_ms)),
            (own_ms, canceled_ms) => own_ms.or(canceled_ms),
        };
        self.courses
            .iter()
            .map(end)
            .try_fold(self.started_ms, |latest_ms, end_ms| Some(latest_ms.max(end_ms?)))
    }
}

impl World {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            faults: options.faults.clone(),
            kill_switch: false,
            key_revoked: false,
            credits: Credits { balance: options.credits.unwrap_or(PLENTY), reserved: 0, charged: 0 },
            jobs: Vec::new(),
            containers: Vec::new(),
            projects: HashMap::new(),
            replays: Replays::default(),
            buckets: options.keys().iter().map(|_| Buckets::default()).collect(),
            tally: Tally::default(),
            running: 0,
            job_ids: HashMap::new(),
            container_ids: HashMap::new(),
            endings: BinaryHeap::new(),
        }
    }

    /// Catches up with the time: ended jobs are charged for what completed, the rest of their credits is released.
    pub(super) fn settle(&mut self, now_ms: i64) {
        self.replays.expire(now_ms);
        while let Some(Reverse((at_ms, index))) = self.endings.peek().copied() {
            if at_ms > now_ms {
                return;
            }
            self.endings.pop();
            let job = &mut self.jobs[index];
            if job.settled || job.end_ms().is_none_or(|end_ms| end_ms > now_ms) {
                continue;
            }
            job.settled = true;
            let containers = job.courses.len();
            let completed =
                job.looks(now_ms).filter(|look| matches!(look.phase, Phase::Completed { .. })).count();
            let charged = job.price * u64::try_from(completed).unwrap_or(0);
            self.credits.reserved -= job.price * u64::try_from(containers).unwrap_or(0);
            self.credits.balance = self.credits.balance.saturating_sub(charged);
            self.credits.charged += charged;
            self.running -= 1;
        }
    }

    /// Starts a job: reserves its credits and makes it the newest run of its containers.
    pub(super) fn start(&mut self, job: Job) -> usize {
        let index = self.jobs.len();
        for (place, container) in job.containers.iter().enumerate() {
            let container = &mut self.containers[*container];
            container.runs.push((index, place));
            container.decision = None;
        }
        self.credits.reserved += job.price * u64::try_from(job.courses.len()).unwrap_or(0);
        self.running += 1;
        self.job_ids.insert(job.id.clone(), index);
        self.endings.extend(job.end_ms().map(|end_ms| Reverse((end_ms, index))));
        self.jobs.push(job);
        index
    }

    /// Makes a container of a project.
    pub(super) fn create(&mut self, container: Container) -> usize {
        let index = self.containers.len();
        self.container_ids.insert(container.id.clone(), index);
        self.projects.entry(Arc::clone(&container.project)).or_default().push(index);
        self.containers.push(container);
        index
    }

    /// Lets a container be found by a second id.
    pub(super) fn alias(&mut self, id: String, container: usize) {
        self.container_ids.entry(id).or_insert(container);
    }

    /// Lets a job end at `canceled_ms`.
    pub(super) fn cancel(&mut self, job: usize, canceled_ms: i64) {
        self.jobs[job].canceled_ms = Some(canceled_ms);
        self.endings.push(Reverse((canceled_ms, job)));
    }

    pub(super) fn has_job(&self, id: &str) -> bool {
        self.job_ids.contains_key(id)
    }

    pub(super) fn has_container(&self, id: &str) -> bool {
        self.container_ids.contains_key(id)
    }

    pub(super) fn find_job(&self, id: &str) -> Option<usize> {
        self.job_ids.get(id).copied()
    }

    pub(super) fn find_container(&self, id: &str) -> Option<usize> {
        self.container_ids.get(id).copied()
    }

    /// Whether a container's newest run has not ended.
    pub(super) fn is_busy(&self, container: usize, now_ms: i64) -> bool {
        let newest = self.containers.get(container).and_then(|container| container.runs.last());
        newest.and_then(|(job, place)| {
            let job = self.jobs.get(*job)?;
            Some(
                job.courses.get(*place)?.look(job.started_ms, job.canceled_ms, now_ms).phase
                    == Phase::Running,
            )
        }) == Some(true)
    }
}
