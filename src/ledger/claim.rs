//! Taking due jobs: what the submit stage does before a byte leaves.

use futures::future::BoxFuture;
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use super::attempt::touch;
use super::ours::OurFailure;
use super::rows::{At, Followed, Input, follow_all_jobs, follow_jobs, note};
use super::sets::Values;
use super::spent::spend_starts;
use super::turns::{Chosen, Turn};
use super::unmade::reject;
use super::writer::Write;
use super::{HoldScope, Ledger, LedgerError, sets};

/// Jobs that one claim ends as expired at most; the rest follows with the next claim.
const EXPIRE_AT_ONCE: i64 = 500;
/// Claims in a row without a recorded outcome after which a person must look (a crash loop).
const CRASH_LOOP: i64 = 10;

/// Claims due jobs for POSTs. Durable before any byte leaves: the job is `submitting` from then on.
#[derive(Clone, Debug)]
pub struct Claim {
    /// How many at most; the caller holds as many permits. 0: only ends what has expired.
    pub limit: u32,
    /// This process.
    pub boot: String,
    /// Whose briefs.
    pub input: Input,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// One-way fingerprint of the API key that will be used.
    pub key_fingerprint: String,
    /// Projects whose starts are held.
    pub held_projects: Vec<String>,
    /// Batches whose starts are held: the project, '' for whatever project, and the batch.
    pub held_batches: Vec<(String, String)>,
    /// Places, `submit.concurrency`: a job takes one while a POST of it may have left, and keeps it while its last
    /// attempt got no answer. An outage then leaves no more outcomes unknown than this.
    pub submitting_max: u32,
    /// `layers.max_running_jobs`: jobs that may run at once by our own choice; 0: no limit of our own.
    pub running_max: u32,
    /// A POST of unknown outcome that ended after this (`submit.repeat_after` ago) is not repeated: it may still be at
    /// work at the API, and two POSTs of one key at once could make two jobs. Milliseconds since 1970.
    pub ended_before_ms: i64,
    /// Only this project, held or not: the one job that probes its hold. Held batches stay held.
    pub probe_project: Option<String>,
    /// The job tests a hold: each time another one, so that one that is refused whatever happens does not keep the hold
    /// in force for all.
    pub probing: bool,
    /// A test may start so many jobs beyond the places, should all be kept: what keeps them may be briefs that the API has
    /// no answer to, while it answers all others.
    pub beyond: i64,
    /// Whose turn it is among batches: that of the claim before.
    pub turn: Turn,
    /// Starts that were drawn before this count against no rate limit any more, milliseconds since 1970; `None`: there is
    /// no limit, and nothing is kept.
    pub forget_starts_ms: Option<i64>,
}

/// What a claim brought.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// To be `POSTed`.
    pub claimed: Vec<Claimed>,
    /// How many ended because their time had passed.
    pub expired: usize,
    /// Jobs that have no place yet were left out, because none is free.
    pub full: bool,
    /// Whose turn it is next.
    pub turn: Turn,
    /// Not every batch was looked at: more may be due.
    pub more: bool,
}

/// A job that may be `POSTed` now.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Claimed {
    /// The ledger's number of the job.
    pub id: i64,
    /// Its brief.
    pub brief: i64,
    /// Its run.
    pub run: i64,
    /// `generate` or `regenerate`.
    pub kind: String,
    /// For a regenerate: the container's id at the API.
    pub container: Option<String>,
    /// The project.
    pub project_id: String,
    /// The batch, or ''.
    pub batch_id: String,
    /// The brief's id within project and batch.
    pub brief_id: String,
    /// `Idempotency-Key`.
    pub idempotency_key: String,
    /// Our container id in the body; `None`: key-only.
    pub alias: Option<String>,
    /// The exact bytes to send.
    pub body: String,
    /// Which POST of this job this is, from 1.
    pub attempts: i64,
    /// When the first attempt of unknown outcome was made; `None`: all were harmless.
    pub unknown_first_at: Option<i64>,
    /// When the last one ended.
    pub unknown_ended_at: Option<i64>,
    /// Fingerprint of the API key of that attempt.
    pub unknown_key: Option<String>,
    /// Fingerprint of the API key that it is claimed under.
    pub attempt_key: Option<String>,
    /// When a look-up first did not find it.
    pub absent_at: Option<i64>,
    /// When the brief was received.
    pub received_at: i64,
    /// Containers asked for.
    pub variant_count: i64,
    /// W3C trace context of the message.
    pub traceparent: Option<String>,
    /// W3C trace context of the message.
    pub tracestate: Option<String>,
}

/// What is told about jobs that are claimed.
macro_rules! claimed {
    () => {
        "SELECT j.id, j.brief, j.run, j.kind, j.container, j.project_id, j.batch_id, b.brief_id, \
         j.idempotency_key, j.alias, j.body, j.attempts, j.unknown_first_at, j.unknown_ended_at, j.unknown_key, j.attempt_key, j.absent_at, r.received_at, \
         r.variant_count, r.traceparent, r.tracestate \
         FROM job j CROSS JOIN brief b CROSS JOIN run r WHERE b.id = j.brief AND r.brief = j.brief AND r.run = j.run"
    };
}

pub(super) const CLAIMED: &str = concat!(claimed!(), " AND j.id = $1");

impl Write for Claim {
    type Out = Work;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Work, LedgerError>> {
        Box::pin(async move {
            let expired = self.expire(db).await?;
            if self.limit == 0 {
                return Ok(Work { expired, full: true, turn: self.turn.clone(), ..Work::default() });
            }
            let room = self.room(db).await?;
            let mut turn = self.turn.clone();
            let chosen = self.choose(db, room, &mut turn).await?;
            let claimed = self.claim(db, &chosen.ids).await?;
            if let Some(forget_ms) = self.forget_starts_ms {
                spend_starts(db, claimed.len(), self.now_ms, forget_ms).await?;
            }
            Ok(Work {
                claimed,
                expired,
                full: room.places <= 0 || room.running <= 0,
                turn,
                more: chosen.more,
            })
        })
    }
}

/// What holds leave of due jobs: `$3` the one project that is tested, `$4` held projects, `$5` held batches.
macro_rules! not_held {
    () => {
        " AND ($3 IS NULL OR project_id = $3) \
         AND ($3 IS NOT NULL OR project_id NOT IN (SELECT value FROM json_each($4))) \
         AND NOT EXISTS (SELECT 1 FROM json_each($5) AS held WHERE json_extract(held.value, '$[1]') = batch_id \
         AND json_extract(held.value, '$[0]') IN ('', project_id))"
    };
}

/// Jobs of unknown outcome.
pub(super) const REPEAT: &str = concat!(
    "SELECT id FROM job WHERE state = 'submitting' AND claim IS NULL AND input = $1 AND due_at <= $2 \
     AND (unknown_ended_at IS NULL OR unknown_ended_at <= $7)",
    not_held!(),
    " ORDER BY due_at, id LIMIT $6"
);

/// Jobs that found no connection: they have their place. `+` as above.
pub(super) const SILENT: &str = concat!(
    "SELECT id FROM job WHERE silent AND +state = 'ready' AND claim IS NULL AND input = $1 AND +due_at <= $2",
    not_held!(),
    " ORDER BY due_at, id LIMIT $6"
);

/// Every kind of due jobs, the one first that was tried the longest ago, or never; of the latter one of a batch of which
/// none keeps a place, because what the API has no answer to is often a mistake of a whole batch. It sorts what is due,
/// once for each test of a hold.
pub(super) const PROBE: &str = concat!(
    "SELECT id FROM (SELECT id, attempt_at, priority, project_id, batch_id FROM job WHERE state = 'submitting' AND claim IS NULL \
     AND input = $1 AND due_at <= $2 AND (unknown_ended_at IS NULL OR unknown_ended_at <= $7)",
    not_held!(),
    " UNION ALL SELECT id, attempt_at, priority, project_id, batch_id FROM job WHERE state = 'ready' AND claim IS NULL \
     AND input = $1 AND due_at <= $2 AND (kind = 'generate' OR seen_before IS NOT NULL) AND (silent OR $8)",
    not_held!(),
    ") ORDER BY coalesce(attempt_at, 0), \
     (project_id, batch_id) IN (SELECT project_id, batch_id FROM job WHERE silent AND input = $1), \
     priority DESC, id LIMIT $6"
);

/// Places that are taken: by POSTs that are under way, and by jobs whose last attempt got no answer. An answer frees a
/// place whatever it says, and what a hold stops keeps nobody else from starting.
const ROOM: &str = "SELECT (SELECT count(*) FROM job WHERE state = 'submitting' AND claim IS NOT NULL AND input = $1), \
    (SELECT count(*) FROM job WHERE silent AND claim IS NULL AND state IN ('ready', 'submitting') AND input = $1 \
    AND project_id NOT IN (SELECT value FROM json_each($2)) \
    AND NOT EXISTS (SELECT 1 FROM json_each($3) AS held WHERE json_extract(held.value, '$[1]') = batch_id \
    AND json_extract(held.value, '$[0]') IN ('', project_id)))";

/// What waited past its `expiresAt`. `+`: the index is by time.
pub(super) const EXPIRED: &str = "SELECT id FROM job WHERE state = 'ready' AND claim IS NULL AND expires_at IS NOT NULL \
    AND expires_at <= $1 AND +input = $2 LIMIT $3";

/// The projects that are held.
pub(super) fn projects_of(held: &[HoldScope]) -> Vec<&str> {
    held.iter().filter(|scope| matches!(scope, HoldScope::Project(_))).map(HoldScope::project).collect()
}

/// The batches that are held: the project, '' for whatever project, and the batch.
pub(super) fn batches_of(held: &[HoldScope]) -> Vec<(&str, &str)> {
    let batches = held.iter().filter(|scope| matches!(scope, HoldScope::Batch { .. }));
    batches.map(|scope| (scope.project(), scope.batch())).collect()
}

pub(super) fn held_list(list: &[impl serde::Serialize]) -> String {
    serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned())
}

/// How many more jobs may be started.
#[derive(Clone, Copy)]
struct Room {
    /// Free places; negative after `submit.concurrency` was lowered.
    places: i64,
    /// By our own choice of how many run.
    running: i64,
}

impl Claim {
    /// Repeats first, then new starts in their turns.
    async fn choose(
        &self,
        db: &mut SqliteConnection,
        room: Room,
        turn: &mut Turn,
    ) -> Result<Chosen, LedgerError> {
        if self.probing {
            return Ok(Chosen { ids: self.due(db, PROBE, 1, room).await?, more: false });
        }
        let limit = i64::from(self.limit);
        let left = |ids: &[i64]| limit - i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let mut ids = self.due(db, REPEAT, limit, room).await?;
        let silent = self.due(db, SILENT, left(&ids).min(room.running), room).await?;
        let running = room.running - i64::try_from(silent.len()).unwrap_or(i64::MAX);
        ids.extend(silent);
        let rest = left(&ids).min(room.places).min(running);
        let in_turn = turn.take(db, self, usize::try_from(rest).unwrap_or(0)).await?;
        ids.extend(in_turn.ids);
        Ok(Chosen { ids, more: in_turn.more })
    }

    async fn due(
        &self,
        db: &mut SqliteConnection,
        query: &'static str,
        limit: i64,
        room: Room,
    ) -> Result<Vec<i64>, LedgerError> {
        if limit <= 0 {
            return Ok(Vec::new());
        }
        Ok(sqlx::query_scalar(query)
            .bind(self.input.word())
            .bind(self.now_ms)
            .bind(&self.probe_project)
            .bind(held_list(&self.held_projects))
            .bind(held_list(&self.held_batches))
            .bind(limit)
            .bind(self.ended_before_ms)
            .bind(room.places + self.beyond > 0 && room.running > 0)
            .fetch_all(db)
            .await?)
    }

    async fn room(&self, db: &mut SqliteConnection) -> Result<Room, LedgerError> {
        let (submitting, silent): (i64, i64) = sqlx::query_as(ROOM)
            .bind(self.input.word())
            .bind(held_list(&self.held_projects))
            .bind(held_list(&self.held_batches))
            .fetch_one(&mut *db)
            .await?;
        let places = i64::from(self.submitting_max) - submitting - silent;
        if self.running_max == 0 {
            return Ok(Room { places, running: i64::MAX });
        }
        let running: i64 =
            sqlx::query_scalar("SELECT count(*) FROM job WHERE state = 'running' AND input = $1")
                .bind(self.input.word())
                .fetch_one(db)
                .await?;
        Ok(Room { places, running: i64::from(self.running_max) - running - submitting })
    }

    /// Marks these jobs, and tells what they are, in this order.
    async fn claim(&self, db: &mut SqliteConnection, chosen: &[i64]) -> Result<Vec<Claimed>, LedgerError> {
        let mut claimed = Vec::with_capacity(chosen.len());
        for part in sets::parts(chosen) {
            let mark = (
                "UPDATE job SET state = 'submitting', claim = ?, attempts = attempts + 1, unrecorded = unrecorded + 1, \
                 attempt_at = ?, attempt_key = ? WHERE state IN ('ready', 'submitting') AND claim IS NULL AND id IN (",
                ")",
            );
            let mut values = Values::default();
            values.push_bind(&self.boot).push_bind(self.now_ms).push_bind(&self.key_fingerprint);
            let changed = sets::ids_behind(mark, values, part).execute(&mut *db).await?;
            sets::all_changed("jobs to be claimed", part.len(), changed)?;
            let what = sets::ids((concat!(claimed!(), " AND j.id IN ("), ")"), part);
            let mut found: Vec<Claimed> = what.fetch(&mut *db).await?;
            found.sort_by_key(|job| part.iter().position(|id| *id == job.id));
            claimed.append(&mut found);
        }
        let mut runs: Vec<At> = claimed.iter().map(|job| (job.brief, job.run)).collect();
        // Jobs of one run count once.
        runs.sort_unstable();
        runs.dedup();
        let followed = |of| Followed { of, at_ms: self.now_ms, submitted: true, touched: false };
        let runs: Vec<Followed> = runs.into_iter().map(followed).collect();
        follow_all_jobs(db, &runs).await?;
        Ok(claimed)
    }

    /// Ends what waited past its `expiresAt` and of which no POST has left.
    async fn expire(&self, db: &mut SqliteConnection) -> Result<usize, LedgerError> {
        let late: Vec<i64> = sqlx::query_scalar(EXPIRED)
            .bind(self.now_ms)
            .bind(self.input.word())
            .bind(EXPIRE_AT_ONCE)
            .fetch_all(&mut *db)
            .await?;
        for id in &late {
            reject(db, *id, &OurFailure::Expired.error(), self.now_ms).await?;
        }
        Ok(late.len())
    }
}

/// Two minima, each from its index, instead of one over the backlog.
pub(super) const NEXT_DUE: &str = "SELECT min(due_at) FROM (\
    SELECT min(due_at) AS due_at FROM job WHERE state = 'ready' AND claim IS NULL AND input = $1 AND due_at > $2 \
    UNION ALL SELECT min(due_at) FROM job WHERE state = 'submitting' AND claim IS NULL AND input = $1 AND due_at > $2)";

impl Ledger {
    /// When the next job of this input becomes due that is not yet, milliseconds since 1970.
    pub async fn next_due(&self, now_ms: i64) -> Result<Option<i64>, LedgerError> {
        Ok(sqlx::query_scalar(NEXT_DUE)
            .bind(self.input().word())
            .bind(now_ms)
            .fetch_one(&self.reader().pool)
            .await?)
    }

    /// Takes back what a process that died had claimed. A POST that may have left counts as unknown.
    pub(super) async fn release_dead_claims(&self, now_ms: i64, repeat_ms: i64) -> Result<(), LedgerError> {
        let released =
            self.write(ReleaseDeadClaims { boot: self.boot().to_owned(), now_ms, repeat_ms }).await?;
        if released > 0 {
            tracing::info!(
                jobs = released,
                "found jobs whose submission was cut off; each is asked about with the same key"
            );
        }
        Ok(())
    }
}

struct ReleaseDeadClaims {
    boot: String,
    now_ms: i64,
    /// No POST that may have left is repeated before this: the API may still be at the first one.
    repeat_ms: i64,
}

impl Write for ReleaseDeadClaims {
    type Out = u64;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<u64, LedgerError>> {
        Box::pin(async move {
            sqlx::query(
                "UPDATE job SET claim = NULL WHERE state = 'ready' AND claim IS NOT NULL AND claim <> $1",
            )
            .bind(&self.boot)
            .execute(&mut *db)
            .await?;
            let cut: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
                "UPDATE job SET claim = NULL, due_at = $3, unknown_first_at = coalesce(unknown_first_at, attempt_at), \
                 unknown_ended_at = $2, unknown_key = coalesce(unknown_key, attempt_key), absent_at = NULL, silent = TRUE \
                 WHERE state = 'submitting' AND claim IS NOT NULL AND claim <> $1 RETURNING id, brief, run, unrecorded",
            )
            .bind(&self.boot)
            .bind(self.now_ms)
            .bind(self.repeat_ms)
            .fetch_all(&mut *db)
            .await?;
            for (job, brief, run, unrecorded) in &cut {
                let at = (*brief, *run);
                touch(db, *brief).await?;
                note(db, at, self.now_ms, "cut off", &json!({ "job": job, "claims": unrecorded })).await?;
                if *unrecorded >= CRASH_LOOP {
                    sqlx::query("UPDATE job SET state = 'parked', silent = FALSE, error = $2 WHERE id = $1")
                        .bind(job)
                        .bind(json!({ "code": "CRASH_LOOP", "message": "claimed ten times without an outcome" }).to_string())
                        .execute(&mut *db)
                        .await?;
                    follow_jobs(db, at, self.now_ms).await?;
                }
            }
            Ok(u64::try_from(cut.len()).unwrap_or(u64::MAX))
        })
    }
}

impl Ledger {
    /// For a regenerate: the container's end as it was before its first POST.
    pub async fn seen_before(&self, job: i64) -> Result<Option<String>, LedgerError> {
        Ok(sqlx::query_scalar("SELECT seen_before FROM job WHERE id = $1")
            .bind(job)
            .fetch_one(&self.reader().pool)
            .await?)
    }
}
