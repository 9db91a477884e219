//! The world behind the API: organizations, jobs, containers. All of it is memory, under one lock.
//!
//! Nothing in it moves by itself. [`World::settle`] catches up with what has ended since the last request.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use super::creative::Creative;
use super::faults::Fault;
use super::format::Format;
use super::generation::{Course, Look, Phase};
use super::idempotency::Replays;
use super::keys::{Key, split_key};
use super::options::Options;
use super::organization::Organization;
use super::tally::Tally;
use super::time::seconds_ms;
use super::wish::Wish;

/// Everything the API knows.
#[derive(Debug)]
pub(super) struct World {
    pub(super) faults: BTreeMap<Fault, f64>,
    /// Every organization is switched off.
    pub(super) kill_switch: bool,
    /// Every key is revoked.
    pub(super) key_revoked: bool,
    pub(super) scopes: Vec<String>,
    pub(super) running_cap: Option<u64>,
    pub(super) keys: Vec<Key>,
    /// The default one first.
    pub(super) organizations: Vec<Organization>,
    /// What an organization starts with.
    pub(super) first_credits: Option<u64>,
    pub(super) first_project_credits: BTreeMap<String, u64>,
    pub(super) jobs: Vec<Job>,
    pub(super) containers: Vec<Container>,
    pub(super) replays: Replays,
    pub(super) tally: Tally,
    job_ids: HashMap<String, usize>,
    /// When which job ends; an entry may be late, after a cancel.
    endings: BinaryHeap<Reverse<(i64, usize)>>,
}

/// Which endpoint made a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Generate,
    Regenerate,
    Clone,
}

impl Kind {
    /// As in the API's answers.
    pub(super) fn wire_name(self) -> &'static str {
        match self {
            Self::Generate => "content_generate",
            Self::Regenerate => "content_regenerate",
            Self::Clone => "content_clone",
        }
    }

    /// As in the account.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Regenerate => "regenerate",
            Self::Clone => "clone",
        }
    }
}

/// One generation run.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) kind: Kind,
    /// By its place, like the API key.
    pub(super) organization: usize,
    pub(super) caller: usize,
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
    /// The media stay those of the take before; only the words are new.
    pub(super) keeps_assets: bool,
    /// Credits for each container.
    pub(super) price: u64,
    pub(super) key: Option<String>,
    /// `traceparent` and `tracestate` of its POST.
    pub(super) trace: [Option<String>; 2],
    pub(super) body_sha: [u8; 32],
    pub(super) body_bytes: usize,
    /// Its credits are charged or released.
    pub(super) settled: bool,
    /// What it cost in the end.
    pub(super) charged: u64,
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
        let mut world = Self {
            faults: options.faults.clone(),
            kill_switch: false,
            key_revoked: false,
            scopes: options.scopes.clone(),
            running_cap: options.running_cap,
            keys: Vec::new(),
            organizations: Vec::new(),
            first_credits: options.credits,
            first_project_credits: options.project_credits.clone(),
            jobs: Vec::new(),
            containers: Vec::new(),
            replays: Replays::new(seconds_ms(options.key_hours * 3_600.0)),
            tally: Tally::default(),
            job_ids: HashMap::new(),
            endings: BinaryHeap::new(),
        };
        world.organization_named(&options.organization_id, None);
        for key in options.keys() {
            let (text, organization) = split_key(&key);
            world.add_key(text, organization);
        }
        world
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
            job.charged = job.price * u64::try_from(completed).unwrap_or(0);
            let reserved = job.price * u64::try_from(containers).unwrap_or(0);
            let organization = &mut self.organizations[job.organization];
            organization.credits.settle(reserved, job.charged);
            organization.project(&job.project).credits.settle(reserved, job.charged);
            organization.running -= 1;
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
        let reserved = job.price * u64::try_from(job.courses.len()).unwrap_or(0);
        let organization = &mut self.organizations[job.organization];
        organization.credits.reserve(reserved);
        organization.project(&job.project).credits.reserve(reserved);
        organization.running += 1;
        organization.jobs_made += 1;
        if let Some(key) = self.keys.get_mut(job.caller) {
            key.counts.jobs += 1;
        }
        self.job_ids.insert(job.id.clone(), index);
        self.endings.extend(job.end_ms().map(|end_ms| Reverse((end_ms, index))));
        self.jobs.push(job);
        index
    }

    /// Makes a container of a project.
    pub(super) fn create(&mut self, organization: usize, container: Container) -> usize {
        let index = self.containers.len();
        let organization = &mut self.organizations[organization];
        organization.container_ids.insert(container.id.clone(), index);
        organization.project(&container.project).containers.push(index);
        self.containers.push(container);
        index
    }

    /// Lets a container be found by a second id.
    pub(super) fn alias(&mut self, organization: usize, id: String, container: usize) {
        self.organizations[organization].container_ids.entry(id).or_insert(container);
    }

    /// Lets a job end at `canceled_ms`.
    pub(super) fn cancel(&mut self, job: usize, canceled_ms: i64) {
        self.jobs[job].canceled_ms = Some(canceled_ms);
        self.endings.push(Reverse((canceled_ms, job)));
    }

    pub(super) fn has_job(&self, id: &str) -> bool {
        self.job_ids.contains_key(id)
    }

    /// A job of this organization.
    pub(super) fn find_job(&self, organization: usize, id: &str) -> Option<usize> {
        let is_own = |job: &usize| self.jobs.get(*job).is_some_and(|job| job.organization == organization);
        self.job_ids.get(id).copied().filter(is_own)
    }

    /// A container of this organization.
    pub(super) fn find_container(&self, organization: usize, id: &str) -> Option<usize> {
        self.organizations.get(organization)?.container_ids.get(id).copied()
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
