//! The two reads that tell about a job, each with its permit in hand.

use std::time::Duration;

use super::Track;
use super::followed::Look;
use super::kept::Kept;
use crate::job::{ContainerReading, JobReading, Trouble};
use crate::layers::{Class, Permit, Priority};

/// How long reads wait after a 429 that names no time.
const SLOW: Duration = Duration::from_secs(5);

/// What reads are made with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reads {
    pub track: Track,
    pub kept: Kept,
}

/// What a read told.
#[derive(Debug)]
pub(super) enum Answer<T> {
    /// The API told.
    Told(T),
    /// The API has nothing under this id.
    NotThere,
    /// No answer, or none about this.
    Silent,
}

impl Reads {
    /// Reads the job of a look.
    pub(super) async fn job(&self, look: &Look, id: &str) -> Answer<JobReading> {
        let permit = self.permit(look, look.priority).await;
        let answer = self.track.api.job(id).await;
        permit.answered();
        self.told(answer)
    }

    /// Reads a container of a look.
    pub(super) async fn container(
        &self,
        look: &Look,
        id: &str,
        priority: Priority,
    ) -> Answer<ContainerReading> {
        let permit = self.permit(look, priority).await;
        let answer = self.track.api.container(id).await;
        permit.answered();
        self.told(answer)
    }

    /// After a 429, which should not have come, the bucket rests.
    pub(super) fn slow_down(&self, trouble: &Trouble) {
        if let Trouble::Refusal(refusal) = trouble
            && refusal.status == 429
        {
            self.track.limits.slow(Class::Read, refusal.retry_after.unwrap_or(SLOW));
        }
    }

    async fn permit(&self, look: &Look, priority: Priority) -> Permit {
        if look.regenerate && !look.lost && priority == Priority::Poll {
            return self.kept.acquire(&self.track.limits).await;
        }
        let permit = self.track.limits.acquire_read(priority).await;
        self.kept.other_granted();
        permit
    }

    fn told<T>(&self, answer: Result<T, Trouble>) -> Answer<T> {
        match answer {
            Ok(reading) => Answer::Told(reading),
            Err(trouble) if trouble.is_not_found() => Answer::NotThere,
            Err(trouble) => {
                self.slow_down(&trouble);
                Answer::Silent
            }
        }
    }
}
