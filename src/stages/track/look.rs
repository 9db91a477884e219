//! One look: at a container that has probably ended, or at a job and, if it is over, at its containers.

use std::sync::Arc;

use super::ends::{container_end, has_ended, job_decides};
use super::followed::{Look, Only, Seen, Sight};
use super::reads::{Answer, Reads};
use crate::job::JobReading;
use crate::layers::Priority;
use crate::ledger::{ContainerEnd, NameContainers};

/// What is known about the job when its containers are read.
enum JobSight {
    /// Why would we ask: it is known, cannot be asked, or its container decides.
    NotAsked,
    Running,
    Over(Arc<JobReading>),
    /// The API has forgotten it; its containers may tell more.
    NotThere,
    Silent,
}

impl Reads {
    /// Takes one look, and settles what has ended.
    pub(super) async fn look(&self, look: Look) -> Seen {
        match look.only {
            Some(only) => self.look_at_container(&look, only).await,
            None => self.look_at_job(look).await,
        }
    }

    /// For a `generate` the container decides: its job is not read.
    async fn look_at_container(&self, look: &Look, only: Only) -> Seen {
        let Some((place, id)) = look.containers.first() else { return Seen::Settled };
        let (sight, end) = self.sight(look, id, look.priority).await;
        let Some(end) = end else { return Seen::Container(*place, sight) };
        // Without a job to ask, nothing would ever name what else was promised.
        let close = only.is_last && look.api_job_id.is_none();
        match self.settle(look, vec![end], close).await {
            Some(true) => Seen::Settled,
            Some(false) => Seen::Container(*place, Sight::Ended),
            None => Seen::Container(*place, Sight::Running),
        }
    }

    /// The job first, then its containers if it has ended or cannot be asked, or does not tell of each of them.
    async fn look_at_job(&self, mut look: Look) -> Seen {
        let sight = self.job_sight(&look).await;
        let mut answered = !matches!(sight, JobSight::Silent);
        if matches!(sight, JobSight::Silent) || (look.job_tells && matches!(sight, JobSight::Running)) {
            return Seen::Job { answered, over: None, named: Vec::new(), ended: Vec::new() };
        }
        if let JobSight::Over(over) = &sight {
            look.over = Some(Arc::clone(over));
        }
        let Some(named) = self.name_containers(&look).await else {
            // What has a name that is not stored must not be closed as missing.
            return Seen::Job { answered, over: None, named: Vec::new(), ended: Vec::new() };
        };
        let places = (look.next_place..).zip(&named);
        look.containers.extend(places.map(|(place, id)| (place, id.clone().into_boxed_str())));
        let mut ends = Vec::new();
        let mut ended = Vec::new();
        let priority = if look.over.is_some() { Priority::Ended } else { Priority::Poll };
        for (place, id) in &look.containers {
            let (sight, end) = self.sight(&look, id, priority).await;
            answered &= sight != Sight::Silent;
            if let Some(end) = end {
                ends.push(end);
                ended.push(*place);
            }
        }
        let close = ends.len() == look.containers.len() && (look.over.is_some() || look.api_job_id.is_none());
        if ends.is_empty() && (!close || look.lost) {
            return Seen::Job { answered, over: look.over, named, ended };
        }
        match self.settle(&look, ends, close).await {
            Some(true) => Seen::Settled,
            Some(false) => Seen::Job { answered, over: look.over, named, ended },
            None => Seen::Job { answered, over: look.over, named, ended: Vec::new() },
        }
    }

    async fn job_sight(&self, look: &Look) -> JobSight {
        let container_decides = look.lost && !look.regenerate && !look.unnamed && !look.containers.is_empty();
        let Some(id) = look.api_job_id.as_deref().filter(|_| look.over.is_none() && !container_decides)
        else {
            return JobSight::NotAsked;
        };
        match self.job(look, id).await {
            Answer::Told(reading) if reading.status.is_terminal() => JobSight::Over(Arc::new(reading)),
            Answer::Told(_) => JobSight::Running,
            Answer::NotThere => JobSight::NotThere,
            Answer::Silent => JobSight::Silent,
        }
    }

    /// Gives promised containers that have no name yet those that the job's `result` names; `None` if that could not be
    /// stored.
    async fn name_containers(&self, look: &Look) -> Option<Vec<String>> {
        let Some(over) = look.over.as_ref().filter(|over| look.unnamed && !over.container_ids.is_empty())
        else {
            return Some(Vec::new());
        };
        let ids = over.container_ids.clone();
        let write = NameContainers { job: look.job, ids, now_ms: self.track.desk.clock.now_ms() };
        match self.track.desk.write_until_done("track", Arc::new(write)).await {
            Ok(named) => Some(named),
            Err(error) => {
                tracing::error!(stage = "track", job.id = look.job, %error, "containers could not be named; the job is read again");
                None
            }
        }
    }

    /// Reads one container, and tells its end if it has come by the rules.
    async fn sight(&self, look: &Look, id: &str, priority: Priority) -> (Sight, Option<ContainerEnd>) {
        let answer = self.container(look, id, priority).await;
        let now_ms = self.track.desk.clock.now_ms();
        let job = look.over.as_deref();
        let (sight, reading) = match answer {
            Answer::Told(reading) => (Sight::Running, Some(reading)),
            Answer::NotThere => (Sight::NotThere, None),
            Answer::Silent => return (Sight::Silent, None),
        };
        let overdue_ms = i64::try_from(self.track.settings.overdue_after.as_millis()).unwrap_or(i64::MAX);
        let for_long = look.lost || look.contradicted_ms >= overdue_ms;
        let seen_before = look.seen_before.as_deref();
        if let Some(reading) = reading.as_ref().filter(|it| has_ended(seen_before, it, (job, for_long))) {
            return (Sight::Ended, container_end(id, reading, job, &self.track.prices, now_ms));
        }
        // The job is over and its container disagrees or is not there: after long enough the job decides.
        match job.filter(|_| !look.lost && for_long) {
            Some(job) => (Sight::Ended, Some(job_decides(id, reading.as_ref(), job, now_ms))),
            None => (sight, None),
        }
    }
}
