//! Jobs that the API has accepted: they run from now on, and their containers have names. Many in one statement, since
//! answers come many at once.

use std::collections::HashSet;

use sqlx::sqlite::SqliteConnection;

use super::attempt::{JobRow, Started};
use super::rows::{Followed, follow_all_jobs, owe};
use super::{LedgerError, sets};

/// A job that was accepted.
pub(super) struct Accepted<'a> {
    pub job: i64,
    pub row: &'a JobRow,
    pub started: &'a Started,
    pub now_ms: i64,
}

/// Follows these jobs from now on, each named once. The caller has seen in the same transaction that they may start.
pub(super) async fn accept_all(
    db: &mut SqliteConnection,
    accepted: &[Accepted<'_>],
) -> Result<(), LedgerError> {
    // Where no old end is known, a look-up saw it running: its next end is the new one.
    let running = (
        "WITH accepted (id, api_job_id, format, at) AS (",
        ") UPDATE job SET seen_before = CASE WHEN accepted.api_job_id IS NULL AND job.seen_before = '{}' THEN NULL \
         ELSE job.seen_before END, state = 'running', claim = NULL, silent = FALSE, unrecorded = 0, \
         api_job_id = accepted.api_job_id, format = accepted.format, accepted_at = accepted.at, \
         cancel_due_at = CASE WHEN job.canceled_by IS NOT NULL THEN accepted.at END \
         FROM accepted WHERE job.id = accepted.id AND job.state IN ('submitting', 'parked')",
    );
    let changed = sets::change(db, running, accepted, |row, one| {
        row.push_bind(one.job).push_bind(one.started.job_id.clone());
        row.push_bind(one.started.format.clone()).push_bind(one.now_ms);
    })
    .await?;
    sets::all_changed("accepted jobs", accepted.len(), changed)?;
    name_containers(db, accepted).await?;
    let followed = |one: &Accepted<'_>| Followed {
        of: one.row.at(),
        at_ms: one.now_ms,
        submitted: false,
        touched: true,
    };
    let runs: Vec<Followed> = accepted.iter().map(followed).collect();
    follow_all_jobs(db, &runs).await
}

/// Stores the containers that the answers name. Promised are those, and never fewer than were asked for.
async fn name_containers(db: &mut SqliteConnection, accepted: &[Accepted<'_>]) -> Result<(), LedgerError> {
    for one in accepted.iter().filter(|one| one.row.kind == "generate" && one.row.run > 1) {
        // What an earlier run promised and never named is promised anew: no row of that run stands for it any more.
        sqlx::query("DELETE FROM container WHERE brief = $1 AND id = '' AND job <> $2")
            .bind(one.row.brief)
            .bind(one.job)
            .execute(&mut *db)
            .await?;
    }
    let mut named: Vec<(&Accepted<'_>, i64, &str)> = Vec::with_capacity(accepted.len());
    for one in accepted {
        if one.row.kind != "generate" {
            regenerating(db, one).await?;
            continue;
        }
        // A container named twice is one container; two rows of it could never both end.
        let mut seen = HashSet::new();
        let ids = one.started.container_ids.iter().filter(|id| seen.insert(id.as_str()));
        let before = named.len();
        named.extend((1..).zip(ids).map(|(variant, id)| (one, variant, id.as_str())));
        let promised = one.row.variant_count.max(i64::try_from(named.len() - before).unwrap_or(i64::MAX));
        owe(db, one.row.at(), promised - one.row.owed, 0).await?;
    }
    let insert = (
        "INSERT INTO container (brief, variant, id, job, run, status, known_at) ",
        " ON CONFLICT (brief, variant) DO UPDATE SET id = excluded.id, job = excluded.job, run = excluded.run, status = 'running'",
    );
    sets::insert(db, insert, &named, |row, (one, variant, id)| {
        row.push_bind(one.row.brief).push_bind(*variant).push_bind((*id).to_owned()).push_bind(one.job);
        row.push_bind(one.row.run).push_bind("running").push_bind(one.now_ms);
    })
    .await
}

/// A container that exists is being made anew.
async fn regenerating(db: &mut SqliteConnection, one: &Accepted<'_>) -> Result<(), LedgerError> {
    sqlx::query("UPDATE container SET job = $1, run = $2, status = 'running', ended_at = NULL WHERE brief = $3 AND variant = $4")
        .bind(one.job)
        .bind(one.row.run)
        .bind(one.row.brief)
        .bind(one.row.variant)
        .execute(db)
        .await?;
    Ok(())
}
