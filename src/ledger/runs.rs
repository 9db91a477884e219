//! How a run becomes the current one of its brief, and gets its jobs: one `generate`, or one `regenerate` for each
//! container that did not complete. Keys and bodies are made here, once.

use sqlx::sqlite::SqliteConnection;

use super::LedgerError;
use super::rows::{BriefRow, RunRow, Table, move_brief, next_id, owe};
use crate::brief::{body, keys, regenerate_body};
use crate::job::BriefState;

/// Makes a stored run the brief's current one.
pub(super) async fn make_current(
    db: &mut SqliteConnection,
    at: (i64, i64),
    input: &str,
    now_ms: i64,
) -> Result<(), LedgerError> {
    sqlx::query("UPDATE brief SET run = $2, input = $3 WHERE id = $1")
        .bind(at.0)
        .bind(at.1)
        .bind(input)
        .execute(&mut *db)
        .await?;
    move_brief(db, at, BriefState::Waiting, now_ms).await
}

/// The containers of a brief, as far as the API named them.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub(super) struct Containers {
    pub named: i64,
    /// Those that a rerun would take.
    pub to_do: i64,
}

impl Containers {
    pub(super) async fn of(db: &mut SqliteConnection, brief: i64) -> Result<Self, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT count(*) AS named, count(*) FILTER (WHERE status <> 'completed') AS to_do \
             FROM container WHERE brief = $1 AND id <> ''",
        )
        .bind(brief)
        .fetch_one(db)
        .await?)
    }
}

/// Gives the current run its jobs: one `generate`, or one `regenerate` for each container that is not completed.
pub(super) async fn give_jobs(
    db: &mut SqliteConnection,
    at: (i64, i64),
    send_container_id: bool,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let brief = BriefRow::by_id(db, at.0).await?;
    let run = RunRow::get(db, at.0, at.1).await?;
    if Containers::of(db, at.0).await?.named == 0 {
        owe(db, at, run.variant_count, 0).await?;
        return insert_job(db, &brief, &run, None, send_container_id, now_ms).await;
    }
    // The brief a container was last made with is that of its last POST: a job that only found it made nothing.
    let containers: Vec<(i64, String, i64)> = sqlx::query_as(
        "SELECT c.variant, c.id, coalesce((SELECT max(j.run) FROM job j WHERE j.brief = c.brief AND j.accepted_at IS NOT NULL \
         AND j.attempts > 0 AND (j.variant IS NULL OR j.variant = c.variant)), c.run) \
         FROM container c WHERE c.brief = $1 AND c.status <> 'completed' AND c.id <> '' ORDER BY c.variant",
    )
    .bind(at.0)
    .fetch_all(&mut *db)
    .await?;
    if containers.is_empty() {
        // Whoever asks has looked; a `generate` here would buy again what is there.
        return Err(LedgerError::Corrupt(format!("run {} of brief {} has nothing to run again", at.1, at.0)));
    }
    owe(db, at, i64::try_from(containers.len()).unwrap_or(i64::MAX), 0).await?;
    for (variant, id, made_by) in &containers {
        let earlier = RunRow::get(db, at.0, *made_by).await?;
        let body = regenerate_body(&earlier.request, &run.request);
        insert_job(db, &brief, &run, Some((*variant, id, body)), send_container_id, now_ms).await?;
    }
    Ok(())
}

async fn insert_job(
    db: &mut SqliteConnection,
    brief: &BriefRow,
    run: &RunRow,
    container: Option<(i64, &str, String)>,
    send_container_id: bool,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let number = u32::try_from(run.run).unwrap_or(u32::MAX);
    let key_text = keys::key_text(&brief.identity(), number, container.as_ref().map(|(_, id, _)| *id));
    let alias = (container.is_none() && send_container_id).then(|| keys::container_id(&key_text));
    let (kind, variant, id, body) = match container {
        None => ("generate", None, None, body(&run.request, alias)),
        Some((variant, id, body)) => ("regenerate", Some(variant), Some(id.to_owned()), body),
    };
    let job = next_id(db, Table::Job).await?;
    sqlx::query(
        "INSERT INTO job (id, brief, run, kind, container, variant, input, project_id, batch_id, priority, \
         idempotency_key, alias, body, state, due_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'ready', $14, $15)",
    )
    .bind(job)
    .bind(brief.id)
    .bind(run.run)
    .bind(kind)
    .bind(id)
    .bind(variant)
    .bind(&brief.input)
    .bind(&brief.project_id)
    .bind(&brief.batch_id)
    .bind(run.priority)
    .bind(keys::idempotency_key(&key_text).to_string())
    .bind(alias.map(|alias| alias.to_string()))
    .bind(body)
    .bind(run.not_before.unwrap_or(now_ms))
    .bind(run.expires_at)
    .execute(db)
    .await?;
    Ok(())
}
