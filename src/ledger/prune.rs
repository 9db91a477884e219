//! Growth under control: what ended long ago leaves a tombstone.
//!
//! A tombstone keeps a brief's identity, its last run with its fingerprint, and the ids of its containers, for ever: a
//! repeat of it is still known, and not bought again. All else of it goes.
//!
//! Never pruned is what is open, unknown, parked, given up as lost (a result may still come), not published yet, or
//! part of a batch of which something is open or younger: a batch is told of as a whole.
//!
//! Steps are small, because everything else of the ledger waits for each. What may go is looked for beside the writer, from
//! where the step before has ended: a hundred thousand briefs that may not (of one batch in which something is parked)
//! are walked over once a look, and nobody waits for that.
//!
//! Plans of reruns go by their own age, unless they are being carried out. What they started belongs to its briefs.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;

use super::totals::bump;
use super::writer::Write;
use super::{Ledger, LedgerError, Reader};

/// A step that has taken so long leaves the rest to the next one.
const LONG: Duration = Duration::from_millis(15);

/// What one step of pruning is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PruneStep {
    /// What ended before this, milliseconds since 1970.
    pub before_ms: i64,
    /// Where the step before ended.
    pub after: PruneMark,
    /// Briefs at most, and as many dead letters, or rows of plans.
    pub limit: u32,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// A place in the row of what has ended, oldest first: when that was, and the brief. The default is before all.
pub type PruneMark = (i64, i64);

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Briefs that are tombstones from now on.
    pub briefs: usize,
    /// Decisions about messages that could not be used, with their dead letters.
    pub set_aside: usize,
    /// Rows of plans that nobody carries out any more.
    pub planned: usize,
    /// Where the next step begins.
    pub after: PruneMark,
    /// There is nothing more to do.
    pub is_over: bool,
    /// How long everything else of the ledger waited for it, the commit aside.
    pub took: Duration,
}

/// One step, of briefs that were found beside the writer.
#[derive(Debug)]
pub(super) struct Prune {
    step: PruneStep,
    found: Vec<PruneMark>,
}

macro_rules! prunable {
    () => {
        "FROM brief b WHERE b.pruned_at IS NULL AND b.state IN ('completed', 'partial', 'failed', 'canceled') \
         AND b.changed_at < $1 \
         AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.brief = b.id AND o.state IN ('pending', 'parked')) \
         AND NOT EXISTS (SELECT 1 FROM job j WHERE j.brief = b.id AND j.state IN ('ready', 'submitting', 'running', 'parked')) \
         AND NOT EXISTS (SELECT 1 FROM container c WHERE c.brief = b.id AND c.status IN ('running', 'lost')) \
         AND NOT EXISTS (SELECT 1 FROM run r WHERE r.brief = b.id AND r.state = 'remembered') \
         AND (b.batch_id = '' OR (NOT EXISTS (SELECT 1 FROM brief w WHERE w.batch_id = b.batch_id \
         AND w.state IN ('waiting', 'submitting', 'running', 'parked')) \
         AND NOT EXISTS (SELECT 1 FROM brief y WHERE y.batch_id = b.batch_id AND y.pruned_at IS NULL \
         AND y.state IN ('completed', 'partial', 'failed', 'canceled') AND y.changed_at >= $1)))"
    };
}

pub(super) const PRUNABLE: &str = concat!(
    "SELECT b.changed_at, b.id ",
    prunable!(),
    " AND b.changed_at >= $2 AND (b.changed_at > $2 OR b.id > $3) ORDER BY b.changed_at, b.id LIMIT $4"
);

/// Whether it still may go.
const STILL_PRUNABLE: &str = concat!("SELECT EXISTS (SELECT 1 ", prunable!(), " AND b.id = $2)");

pub(super) const DEAD_SENT: &str = "SELECT id FROM outbox WHERE channel = 'dead_letter' \
    AND state IN ('sent', 'dropped') AND created_at < $1 ORDER BY created_at, id LIMIT $2";

pub(super) const SET_ASIDE: &str =
    "SELECT id FROM delivery WHERE brief IS NULL AND at < $1 ORDER BY at, id LIMIT $2";

/// The newest stays: its number must not be given again.
pub(super) const OLD_PLAN: &str = "SELECT id FROM plan WHERE state IN ('draft', 'planned', 'stopped', 'started') \
    AND changed_at < $1 AND id < (SELECT max(id) FROM plan) ORDER BY changed_at, id LIMIT 1";

impl Ledger {
    /// Takes one step of pruning.
    pub async fn prune(&self, step: PruneStep) -> Result<Pruned, LedgerError> {
        self.write(step.found(self.reader()).await?).await
    }
}

impl PruneStep {
    /// Looks for what may go, beside the writer.
    pub(super) async fn found(self, reader: &Reader) -> Result<Prune, LedgerError> {
        let found = sqlx::query_as(PRUNABLE)
            .bind(self.before_ms)
            .bind(self.after.0)
            .bind(self.after.1)
            .bind(self.limit)
            .fetch_all(&reader.pool)
            .await?;
        Ok(Prune { step: self, found })
    }
}

impl Write for Prune {
    type Out = Pruned;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Pruned, LedgerError>> {
        Box::pin(async move {
            let began = Instant::now();
            let mut pruned = Pruned { after: self.step.after, ..Pruned::default() };
            for &mark in &self.found {
                // One at least, however slow the disk.
                if pruned.briefs > 0 && began.elapsed() >= LONG {
                    break;
                }
                pruned.briefs += usize::from(self.bury_if_over(db, mark.1).await?);
                pruned.after = mark;
            }
            // One thing in a step where the first one takes long.
            if self.found.is_empty() {
                pruned.set_aside = self.forget_set_aside(db).await?;
                if pruned.set_aside == 0 {
                    pruned.planned = self.forget_plan(db).await?;
                }
                pruned.is_over = pruned.set_aside + pruned.planned == 0;
            }
            Ok(Pruned { took: began.elapsed(), ..pruned })
        })
    }
}

impl Prune {
    async fn ids(&self, db: &mut SqliteConnection, query: &'static str) -> Result<Vec<i64>, LedgerError> {
        Ok(sqlx::query_scalar(query).bind(self.step.before_ms).bind(self.step.limit).fetch_all(db).await?)
    }

    /// Somebody may have asked for it again since it was found.
    async fn bury_if_over(&self, db: &mut SqliteConnection, brief: i64) -> Result<bool, LedgerError> {
        let is_over: bool = sqlx::query_scalar(STILL_PRUNABLE)
            .bind(self.step.before_ms)
            .bind(brief)
            .fetch_one(&mut *db)
            .await?;
        if is_over {
            self.bury(db, brief).await?;
        }
        Ok(is_over)
    }

    /// Leaves a tombstone of a brief. What the totals count of it (P8) is counted as pruned instead.
    async fn bury(&self, db: &mut SqliteConnection, brief: i64) -> Result<(), LedgerError> {
        sqlx::query(
            "INSERT INTO tombstone (brief, fingerprint, containers) SELECT b.id, r.fingerprint, \
             (SELECT json_group_array(c.id) FROM container c WHERE c.brief = b.id) \
             FROM brief b JOIN run r ON r.brief = b.id AND r.run = b.run WHERE b.id = $1",
        )
        .bind(brief)
        .execute(&mut *db)
        .await?;
        let (owed, made): (i64, i64) =
            sqlx::query_as("SELECT coalesce(sum(owed), 0), coalesce(sum(made), 0) FROM run WHERE brief = $1")
                .bind(brief)
                .fetch_one(&mut *db)
                .await?;
        bump(db, "pruned_owed", owed).await?;
        bump(db, "pruned_made", made).await?;
        let results: Vec<(String, i64)> =
            sqlx::query_as("SELECT result, count(*) FROM delivery WHERE brief = $1 GROUP BY result")
                .bind(brief)
                .fetch_all(&mut *db)
                .await?;
        for (result, n) in results {
            count_pruned(db, &result, n).await?;
        }
        // A dead letter of a message about this brief has no brief of its own in the outbox; it goes by its age.
        for query in [
            "DELETE FROM outbox WHERE brief = $1",
            "DELETE FROM history WHERE brief = $1",
            "DELETE FROM delivery WHERE brief = $1",
            "DELETE FROM container WHERE brief = $1",
            "DELETE FROM job WHERE brief = $1",
            "DELETE FROM run WHERE brief = $1",
        ] {
            sqlx::query(query).bind(brief).execute(&mut *db).await?;
        }
        sqlx::query("UPDATE brief SET pruned_at = $2 WHERE id = $1")
            .bind(brief)
            .bind(self.step.now_ms)
            .execute(db)
            .await?;
        Ok(())
    }

    /// Dead letters that have left, and the decisions about messages that belong to no brief.
    async fn forget_set_aside(&self, db: &mut SqliteConnection) -> Result<usize, LedgerError> {
        let letters = self.ids(db, DEAD_SENT).await?;
        for letter in &letters {
            sqlx::query("DELETE FROM outbox WHERE id = $1").bind(letter).execute(&mut *db).await?;
        }
        bump(db, "pruned_dead_letters", i64::try_from(letters.len()).unwrap_or(i64::MAX)).await?;
        let deliveries = self.ids(db, SET_ASIDE).await?;
        for delivery in &deliveries {
            let result: String = sqlx::query_scalar("DELETE FROM delivery WHERE id = $1 RETURNING result")
                .bind(delivery)
                .fetch_one(&mut *db)
                .await?;
            count_pruned(db, &result, 1).await?;
        }
        Ok(letters.len().max(deliveries.len()))
    }
}

impl Prune {
    /// Part of the oldest plan, and the plan itself with the last of its rows; returns how many rows.
    async fn forget_plan(&self, db: &mut SqliteConnection) -> Result<usize, LedgerError> {
        let plan: Option<i64> =
            sqlx::query_scalar(OLD_PLAN).bind(self.step.before_ms).fetch_optional(&mut *db).await?;
        let Some(plan) = plan else { return Ok(0) };
        let rows = sqlx::query(
            "DELETE FROM plan_row WHERE plan = $1 \
             AND place IN (SELECT place FROM plan_row WHERE plan = $1 ORDER BY place LIMIT $2)",
        )
        .bind(plan)
        .bind(self.step.limit)
        .execute(&mut *db)
        .await?
        .rows_affected();
        let gone = sqlx::query(
            "DELETE FROM plan WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM plan_row WHERE plan = $1)",
        )
        .bind(plan)
        .execute(db)
        .await?
        .rows_affected();
        Ok(usize::try_from(rows + gone).unwrap_or(usize::MAX))
    }
}

/// What the totals of decisions count of rows that are gone.
async fn count_pruned(db: &mut SqliteConnection, result: &str, n: i64) -> Result<(), LedgerError> {
    let part = match result {
        "new" | "invalid" => "pruned_new",
        "duplicate" | "republished" => "pruned_duplicate",
        "rerun" | "replaced" => "pruned_rerun",
        "conflict" | "unreadable" => "pruned_dead_lettered",
        other => return Err(LedgerError::Corrupt(format!("a delivery was decided as {other:?}"))),
    };
    bump(db, "pruned_decided", n).await?;
    bump(db, part, n).await
}

impl Reader {
    /// How many briefs pruning would take that ended before `before_ms`.
    pub async fn prunable(&self, before_ms: i64) -> Result<u64, LedgerError> {
        let n: i64 = sqlx::query_scalar(concat!("SELECT count(*) ", prunable!()))
            .bind(before_ms)
            .fetch_one(&self.pool)
            .await?;
        Ok(u64::try_from(n).unwrap_or(0))
    }
}
