//! How a run becomes the current one of its brief, and gets its jobs: one `generate`, or one `regenerate` for each
//! container that did not complete. Keys and bodies are made here, once.

use sqlx::sqlite::SqliteConnection;

use super::LedgerError;
use super::plan::Take;
use super::rows::{BriefRow, RunRow, Table, move_brief, next_id, owe};
use crate::brief::{Brief, body, keys, regenerate_body};
use crate::flow::Properties;
use crate::job::BriefState;

/// A run as it is asked for.
pub(super) struct NewRun<'a> {
    pub brief: &'a Brief,
    /// What travelled beside the message.
    pub received: &'a Properties,
    /// The plan that asks for it; `None`: a message does.
    pub plan: Option<i64>,
    pub now_ms: i64,
}

impl NewRun<'_> {
    /// Stores it, without jobs.
    pub(super) async fn insert(
        &self,
        db: &mut SqliteConnection,
        (id, run): (i64, i64),
        state: &str,
    ) -> Result<(), LedgerError> {
        let Self { brief, received, .. } = self;
        let text = |name: &str| received.headers.get(name).and_then(|value| value.as_str());
        let ms = |time: Option<jiff::Timestamp>| time.map(jiff::Timestamp::as_millisecond);
        sqlx::query(
            "INSERT INTO run (brief, run, fingerprint, request, metadata, format, variant_count, priority, not_before, \
             expires_at, batch_size, message_id, correlation_id, traceparent, tracestate, enqueued_at, received_at, state, \
             owed, made, plan) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 0, 0, $19)",
        )
        .bind(id)
        .bind(run)
        .bind(brief.fingerprint.to_string())
        .bind(&brief.request)
        .bind(&brief.metadata)
        .bind(&brief.format)
        .bind(i64::from(brief.variant_count))
        .bind(i64::from(brief.priority))
        .bind(ms(brief.not_before))
        .bind(ms(brief.expires_at))
        .bind(brief.batch_size.and_then(|size| i64::try_from(size).ok()))
        .bind(&received.message_id)
        .bind(&received.correlation_id)
        .bind(text("traceparent"))
        .bind(text("tracestate"))
        .bind(ms(received.timestamp))
        .bind(self.now_ms)
        .bind(state)
        .bind(self.plan)
        .execute(db)
        .await?;
        Ok(())
    }
}

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

/// Which containers of a brief a run takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chosen<'a> {
    /// All that did not complete.
    NotCompleted,
    /// These variants.
    These(&'a [Take]),
}

impl Chosen<'_> {
    /// Whether a variant is taken: if so, whether because a reviewer rejected it.
    fn takes(self, variant: i64, status: &str) -> Option<bool> {
        match self {
            Self::NotCompleted => (status != "completed").then_some(false),
            Self::These(taken) => taken.iter().find(|take| take.variant == variant).map(|take| take.rejected),
        }
    }
}

/// Gives the current run its jobs: one `generate`, or one `regenerate` for each container that it takes.
pub(super) async fn give_jobs(
    db: &mut SqliteConnection,
    at: (i64, i64),
    (chosen, send_container_id): (Chosen<'_>, bool),
    now_ms: i64,
) -> Result<(), LedgerError> {
    let brief = BriefRow::by_id(db, at.0).await?;
    let run = RunRow::get(db, at.0, at.1).await?;
    let due = Due { at_ms: run.not_before.unwrap_or(now_ms), send_container_id };
    if Containers::of(db, at.0).await?.named == 0 {
        owe(db, at, run.variant_count, 0).await?;
        return insert_job(db, (&brief, &run), None, due).await;
    }
    // The brief a container was last made with is that of its last POST: a job that only found it made nothing.
    let containers: Vec<(i64, String, String, i64)> = sqlx::query_as(
        "SELECT c.variant, c.id, c.status, coalesce((SELECT max(j.run) FROM job j WHERE j.brief = c.brief AND j.accepted_at IS NOT NULL \
         AND j.attempts > 0 AND (j.variant IS NULL OR j.variant = c.variant)), c.run) \
         FROM container c WHERE c.brief = $1 AND c.id <> '' ORDER BY c.variant",
    )
    .bind(at.0)
    .fetch_all(&mut *db)
    .await?;
    let taken: Vec<_> = containers
        .into_iter()
        .filter_map(|(variant, id, status, made_by)| {
            chosen.takes(variant, &status).map(|rejected| (variant, id, made_by, rejected))
        })
        .collect();
    if taken.is_empty() {
        // Whoever asks has looked; a `generate` here would buy again what is there.
        return Err(LedgerError::Corrupt(format!("run {} of brief {} has nothing to run again", at.1, at.0)));
    }
    owe(db, at, i64::try_from(taken.len()).unwrap_or(i64::MAX), 0).await?;
    for (variant, id, made_by, rejected) in taken {
        let earlier = RunRow::get(db, at.0, made_by).await?;
        let body = regenerate_body(&earlier.request, &run.request);
        let container = Regenerated { variant, id, body, rejected };
        insert_job(db, (&brief, &run), Some(container), due).await?;
    }
    Ok(())
}

/// When a job may start, and with what guard.
#[derive(Clone, Copy)]
struct Due {
    at_ms: i64,
    send_container_id: bool,
}

/// The container that a job makes anew.
struct Regenerated {
    variant: i64,
    id: String,
    body: String,
    rejected: bool,
}

async fn insert_job(
    db: &mut SqliteConnection,
    (brief, run): (&BriefRow, &RunRow),
    container: Option<Regenerated>,
    due: Due,
) -> Result<(), LedgerError> {
    let number = u32::try_from(run.run).unwrap_or(u32::MAX);
    let key_text = keys::key_text(&brief.identity(), number, container.as_ref().map(|one| one.id.as_str()));
    let alias = (container.is_none() && due.send_container_id).then(|| keys::container_id(&key_text));
    let rejected = container.as_ref().is_some_and(|one| one.rejected);
    let (kind, variant, id, body) = match container {
        None => ("generate", None, None, body(&run.request, alias)),
        Some(one) => ("regenerate", Some(one.variant), Some(one.id), one.body),
    };
    let job = next_id(db, Table::Job).await?;
    sqlx::query(
        "INSERT INTO job (id, brief, run, kind, container, variant, input, project_id, batch_id, priority, \
         idempotency_key, alias, body, state, due_at, expires_at, rejected) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'ready', $14, $15, $16)",
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
    .bind(due.at_ms)
    .bind(run.expires_at)
    .bind(rejected)
    .execute(db)
    .await?;
    Ok(())
}
