//! How a run becomes the current one of its brief, and gets its jobs: one `generate`, or one `regenerate` for each
//! container that did not complete. Keys and bodies are made here, once.

use sqlx::sqlite::SqliteConnection;

use super::plan::Take;
use super::rows::{At, BriefRow, RunRow, Table, bind_at, move_brief, next_id, owe};
use super::{LedgerError, sets};
use crate::brief::{Brief, Identity, body, keys, regenerate_body};
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
        at: At,
        state: &'static str,
    ) -> Result<(), LedgerError> {
        insert_runs(db, &[(at, self)], state, 0).await
    }
}

/// Stores runs without jobs, each of which owes `owed` records for each variant.
pub(super) async fn insert_runs(
    db: &mut SqliteConnection,
    runs: &[(At, &NewRun<'_>)],
    state: &'static str,
    owed: i64,
) -> Result<(), LedgerError> {
    let insert = (
        "INSERT INTO run (brief, run, fingerprint, request, metadata, format, variant_count, priority, not_before, \
         expires_at, batch_size, message_id, correlation_id, traceparent, tracestate, enqueued_at, received_at, state, \
         owed, made, plan) ",
        "",
    );
    sets::insert(db, insert, runs, |row, (at, run)| {
        let NewRun { brief, received, plan, now_ms } = run;
        let text =
            |name: &str| received.headers.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        let ms = |time: Option<jiff::Timestamp>| time.map(jiff::Timestamp::as_millisecond);
        bind_at(row, at);
        row.push_bind(brief.fingerprint.to_string()).push_bind(brief.request.clone());
        row.push_bind(brief.metadata.clone()).push_bind(brief.format.clone());
        row.push_bind(i64::from(brief.variant_count)).push_bind(i64::from(brief.priority));
        row.push_bind(ms(brief.not_before)).push_bind(ms(brief.expires_at));
        row.push_bind(brief.batch_size.and_then(|size| i64::try_from(size).ok()));
        row.push_bind(received.message_id.clone()).push_bind(received.correlation_id.clone());
        row.push_bind(text("traceparent")).push_bind(text("tracestate"));
        row.push_bind(ms(received.timestamp)).push_bind(*now_ms).push_bind(state);
        row.push_bind(owed * i64::from(brief.variant_count)).push_bind(0_i64).push_bind(*plan);
    })
    .await
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
pub(super) struct Due {
    pub at_ms: i64,
    pub send_container_id: bool,
}

/// The container that a job makes anew.
pub(super) struct Regenerated {
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
    let job = NewJob {
        brief: brief.id,
        run: run.run,
        identity: &brief.identity(),
        input: &brief.input,
        request: &run.request,
        priority: run.priority,
        expires_ms: run.expires_at,
        container,
        due,
    };
    insert_jobs(db, &[job]).await
}

/// A job before it has a number.
pub(super) struct NewJob<'a> {
    pub brief: i64,
    pub run: i64,
    pub identity: &'a Identity,
    /// Whose it is, in the ledger's word.
    pub input: &'a str,
    pub request: &'a str,
    pub priority: i64,
    pub expires_ms: Option<i64>,
    /// `None`: a `generate`.
    pub container: Option<Regenerated>,
    pub due: Due,
}

/// Stores jobs, in this order.
pub(super) async fn insert_jobs(db: &mut SqliteConnection, jobs: &[NewJob<'_>]) -> Result<(), LedgerError> {
    let first = next_id(db, Table::Job).await?;
    let numbered: Vec<(i64, &NewJob<'_>)> = (first..).zip(jobs).collect();
    let insert = (
        "INSERT INTO job (id, brief, run, kind, container, variant, input, project_id, batch_id, priority, \
         idempotency_key, alias, body, state, due_at, expires_at, rejected) ",
        "",
    );
    sets::insert(db, insert, &numbered, |row, (id, job)| {
        let number = u32::try_from(job.run).unwrap_or(u32::MAX);
        let container = job.container.as_ref();
        let key_text = keys::key_text(job.identity, number, container.map(|one| one.id.as_str()));
        let alias = (container.is_none() && job.due.send_container_id).then(|| keys::container_id(&key_text));
        let body = container.map_or_else(|| body(job.request, alias), |one| one.body.clone());
        row.push_bind(*id).push_bind(job.brief).push_bind(job.run);
        row.push_bind(if container.is_none() { "generate" } else { "regenerate" });
        row.push_bind(container.map(|one| one.id.clone())).push_bind(container.map(|one| one.variant));
        row.push_bind(job.input.to_owned()).push_bind(job.identity.project_id.clone());
        row.push_bind(job.identity.batch_id.clone()).push_bind(job.priority);
        row.push_bind(keys::idempotency_key(&key_text).to_string());
        row.push_bind(alias.map(|alias| alias.to_string())).push_bind(body).push_bind("ready");
        row.push_bind(job.due.at_ms).push_bind(job.expires_ms);
        row.push_bind(container.is_some_and(|one| one.rejected));
    })
    .await
}
