//! PURE. When a container has ended, and how.

use super::super::Prices;
use super::super::look_up::{end_has_changed, is_the_old_end};
use crate::job::{ApiStatus, ContainerReading, JobReading};
use crate::ledger::{ContainerEnd, Ended};
use crate::record::{RecordError, Source};

/// Whether this read of a container is its end, and not an earlier one. `seen_before` is its end before a regenerate;
/// `job` was read before the container, and `for_long`: for so long has it been over that no read lags behind that.
pub(super) fn has_ended(
    seen_before: Option<&str>,
    reading: &ContainerReading,
    (job, for_long): (Option<&JobReading>, bool),
) -> bool {
    if !reading.status.is_terminal() {
        return false;
    }
    match seen_before {
        None => true,
        Some(before) => {
            // An end like the old one, at the time of the old one, may be a record that was read too early: an API
            // that regenerates without another time is believed later.
            let agrees = job.is_some_and(|job| job.status == reading.status);
            end_has_changed(before, reading) || (agrees && (for_long || !is_the_old_end(before, reading)))
        }
    }
}

/// The end of a container as its own record tells it; `None` if it has not ended.
pub fn container_end(
    id: &str,
    reading: &ContainerReading,
    job: Option<&JobReading>,
    prices: &Prices,
    now_ms: i64,
) -> Option<ContainerEnd> {
    let (ended, at, error) = match &reading.status {
        ApiStatus::Completed => (Ended::Completed, reading.completed_at, None),
        ApiStatus::Failed => (Ended::Failed, reading.failed_at, Some(failure(reading, job))),
        ApiStatus::Canceled => (
            Ended::Canceled,
            reading.failed_at.or(reading.updated_at),
            Some(RecordError::new(Source::Layers, "CANCELED", "canceled at the API")),
        ),
        ApiStatus::Running(_) => return None,
    };
    let at =
        at.or_else(|| job.and_then(|job| job.finished_at)).map_or(now_ms, jiff::Timestamp::as_millisecond);
    Some(ContainerEnd {
        container: id.to_owned(),
        ended,
        record: Some(reading.record.clone()),
        error,
        format: reading.format.clone(),
        ended_ms: at,
        credits_estimate: prices.of(reading.format.as_deref()),
    })
}

fn failure(reading: &ContainerReading, job: Option<&JobReading>) -> RecordError {
    let told = reading.last_error.as_ref().or_else(|| job.and_then(|job| job.error.as_ref()));
    let mut error = match told {
        Some(told) => RecordError::new(Source::Layers, told.code.clone(), told.message.clone()),
        None => RecordError::new(Source::Layers, "FAILED", "the API gave no reason"),
    };
    error.stage = job.and_then(|job| job.stage.clone());
    error
}

/// After long contradiction the job decides: its error, or the container is missing.
pub(super) fn job_decides(
    id: &str,
    reading: Option<&ContainerReading>,
    job: &JobReading,
    now_ms: i64,
) -> ContainerEnd {
    let (ended, error) = match (&job.status, &job.error) {
        (ApiStatus::Canceled, _) => {
            (Ended::Canceled, RecordError::new(Source::Layers, "CANCELED", "canceled at the API"))
        }
        (ApiStatus::Failed, Some(told)) => {
            (Ended::Failed, RecordError::new(Source::Layers, told.code.clone(), told.message.clone()))
        }
        (ApiStatus::Failed | ApiStatus::Completed | ApiStatus::Running(_), _) => (
            Ended::Failed,
            RecordError::new(
                Source::Briefd,
                "CONTAINER_MISSING",
                "its job is over at the API, and the container does not say so or is not there",
            ),
        ),
    };
    ContainerEnd {
        container: id.to_owned(),
        ended,
        record: reading.map(|reading| reading.record.clone()),
        error: Some(error),
        format: reading.and_then(|reading| reading.format.clone()),
        ended_ms: job.finished_at.map_or(now_ms, jiff::Timestamp::as_millisecond),
        credits_estimate: None,
    }
}
