//! Jobs that end without one at the API: refused, or canceled before they were started. Nothing was bought.

use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use super::LedgerError;
use super::outbox::{ContainerPart, insert_brief_failed, insert_container_record};
use super::rows::{BriefRow, RunRow, note};
use super::settle::finish_run_if_complete;
use crate::record::{RecordError, RecordType};

/// Ends a job that the API refused for good, or never made, with the records that follow from it.
pub(super) async fn reject(
    db: &mut SqliteConnection,
    job: i64,
    error: &RecordError,
    now_ms: i64,
) -> Result<(), LedgerError> {
    end(db, job, (Unmade::Rejected, error), now_ms).await
}

/// Ends a job of which no POST has left, because somebody asked. The caller knows that it is `ready`.
pub(super) async fn cancel_ready(
    db: &mut SqliteConnection,
    job: i64,
    error: &RecordError,
    now_ms: i64,
) -> Result<(), LedgerError> {
    end(db, job, (Unmade::Canceled, error), now_ms).await
}

#[derive(Clone, Copy)]
enum Unmade {
    Rejected,
    Canceled,
}

impl Unmade {
    /// The state, also as the story names it.
    const fn word(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Canceled => "canceled",
        }
    }

    const fn from(self) -> &'static str {
        match self {
            Self::Rejected => {
                "UPDATE job SET state = 'rejected', claim = NULL, silent = FALSE, finished_at = $2, error = $3 \
                 WHERE id = $1 AND state IN ('ready', 'submitting', 'parked')"
            }
            Self::Canceled => {
                "UPDATE job SET state = 'canceled', claim = NULL, silent = FALSE, finished_at = $2, error = $3 \
                 WHERE id = $1 AND state = 'ready'"
            }
        }
    }

    const fn record_type(self) -> RecordType {
        match self {
            Self::Rejected => RecordType::ContainerFailed,
            Self::Canceled => RecordType::ContainerCanceled,
        }
    }
}

async fn end(
    db: &mut SqliteConnection,
    job: i64,
    (unmade, error): (Unmade, &RecordError),
    now_ms: i64,
) -> Result<(), LedgerError> {
    let changed = sqlx::query(unmade.from())
        .bind(job)
        .bind(now_ms)
        .bind(serde_json::to_string(error).unwrap_or_default())
        .execute(&mut *db)
        .await?
        .rows_affected();
    if changed != 1 {
        return Err(LedgerError::Conflict(format!("job {job} cannot be {} any more", unmade.word())));
    }
    let (brief, run, kind, variant): (i64, i64, String, Option<i64>) =
        sqlx::query_as("SELECT brief, run, kind, variant FROM job WHERE id = $1")
            .bind(job)
            .fetch_one(&mut *db)
            .await?;
    let at = (brief, run);
    let said = json!({ "job": job, "code": error.code, "message": error.message });
    note(db, at, now_ms, unmade.word(), &said).await?;
    if kind == "generate" {
        return insert_brief_failed(db, at, error, now_ms).await;
    }
    // The container exists and keeps its old end; this run's record says why nothing new came of it.
    let brief_row = BriefRow::by_id(db, brief).await?;
    let run_row = RunRow::get(db, brief, run).await?;
    let variant = variant.unwrap_or(1);
    let (id, record): (String, Option<String>) =
        sqlx::query_as("SELECT id, record FROM container WHERE brief = $1 AND variant = $2")
            .bind(brief)
            .bind(variant)
            .fetch_one(&mut *db)
            .await?;
    let part = ContainerPart {
        kind: unmade.record_type(),
        variant,
        variant_count: run_row.variant_count,
        regenerated: Some(&id),
        container_id: &id,
        job_id: None,
        format: None,
        record: record.as_deref(),
        error: Some(error),
        credits_estimate: None,
        ended_ms: now_ms,
    };
    insert_container_record(db, &brief_row, &run_row, &part, now_ms).await?;
    finish_run_if_complete(db, at, now_ms).await
}
