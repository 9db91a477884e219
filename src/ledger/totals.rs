//! Running totals (P8) and the tally of states.
//!
//! The writer keeps running totals in the very transactions that change what they count. [`Reader::imbalance`] counts
//! the same things again from the rows; the difference must be 0.

use sqlx::sqlite::SqliteConnection;

use super::{LedgerError, Reader, sets};

/// Adds `n` to a running total.
pub(super) async fn bump(db: &mut SqliteConnection, name: &'static str, n: i64) -> Result<(), LedgerError> {
    bump_all(db, &[(name, n)]).await
}

/// Adds to running totals.
pub(super) async fn bump_all(
    db: &mut SqliteConnection,
    totals: &[(&'static str, i64)],
) -> Result<(), LedgerError> {
    let totals: Vec<_> = totals.iter().filter(|(_, n)| *n != 0).copied().collect();
    let statement =
        ("INSERT INTO total (name, n) ", " ON CONFLICT (name) DO UPDATE SET n = total.n + excluded.n");
    sets::insert(db, statement, &totals, |row, (name, n)| {
        row.push_bind(*name).push_bind(*n);
    })
    .await
}

/// How many briefs, jobs or outbox rows are in a state.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Tally {
    /// `brief`, `job` or `outbox`.
    pub what: String,
    /// The state's word.
    pub state: String,
    /// For briefs: the project.
    pub label: String,
    /// How many.
    pub n: i64,
}

/// What does not add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imbalance {
    /// One line for each sum that differs.
    pub lines: Vec<String>,
    /// The differences added up, without sign.
    pub sum: i64,
}

impl Imbalance {
    fn compare(&mut self, name: &str, left: i64, right: i64) {
        if left != right {
            self.lines.push(format!("{name}: {left} is not {right}"));
            self.sum += (left - right).abs();
        }
    }
}

impl Reader {
    /// The tally of states; its size depends on the number of projects only.
    pub async fn tally(&self) -> Result<Vec<Tally>, LedgerError> {
        Ok(sqlx::query_as("SELECT what, state, label, n FROM tally WHERE n <> 0")
            .fetch_all(&self.pool)
            .await?)
    }

    /// Briefs that have not ended.
    pub async fn open_briefs(&self) -> Result<u64, LedgerError> {
        let open: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(n), 0) FROM tally WHERE what = 'brief' \
             AND state IN ('waiting', 'submitting', 'running', 'parked')",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(u64::try_from(open).unwrap_or(0))
    }

    /// Counts everything again from the rows and compares it with the running totals, in one snapshot.
    pub async fn imbalance(&self) -> Result<Imbalance, LedgerError> {
        let mut snapshot = self.pool.begin().await?;
        let totals: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, n FROM total").fetch_all(&mut *snapshot).await?;
        let total = |name: &str| totals.iter().find(|(known, _)| known == name).map_or(0, |(_, n)| *n);
        let decided = Decided::count(&mut snapshot).await?;
        let (owed, made): (i64, i64) =
            sqlx::query_as("SELECT coalesce(sum(owed), 0), coalesce(sum(made), 0) FROM run")
                .fetch_one(&mut *snapshot)
                .await?;
        let records: i64 =
            sqlx::query_scalar("SELECT count(*) FROM outbox WHERE channel = 'record' AND brief IS NOT NULL")
                .fetch_one(&mut *snapshot)
                .await?;
        let ended_short: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM run WHERE owed <> made AND state IN ('completed', 'partial', 'failed', 'canceled', 'superseded')",
        )
        .fetch_one(&mut *snapshot)
        .await?;
        let miscounted: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM run r WHERE made <> (SELECT count(*) FROM outbox o WHERE o.brief = r.brief AND o.run = r.run)",
        )
        .fetch_one(&mut *snapshot)
        .await?;
        let forgotten: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM run r WHERE owed <> made AND NOT EXISTS (SELECT 1 FROM job j WHERE j.brief = r.brief \
             AND j.run = r.run AND j.state IN ('ready', 'submitting', 'running', 'parked'))",
        )
        .fetch_one(&mut *snapshot)
        .await?;

        let batches = Batches::count(&mut snapshot).await?;

        let mut found = Imbalance::default();
        let sum = total("new") + total("duplicate") + total("rerun") + total("dead_lettered");
        found.compare("decided and its parts", total("decided"), sum);
        // What was pruned was counted before it went.
        let kept = |name: &str| total(name) - total(&format!("pruned_{name}"));
        found.compare("decided and the deliveries stored", kept("decided"), decided.all);
        found.compare("new and the deliveries stored", kept("new"), decided.new);
        found.compare("new and the briefs stored", total("new"), decided.briefs);
        found.compare("duplicate and the deliveries stored", kept("duplicate"), decided.duplicate);
        found.compare("rerun and the deliveries stored", kept("rerun"), decided.rerun);
        found.compare("dead-lettered and the deliveries stored", kept("dead_lettered"), decided.dead);
        found.compare(
            "dead-lettered and the dead letters stored",
            total("dead_lettered"),
            decided.dead_letters + total("pruned_dead_letters"),
        );
        found.compare("owed and its parts", total("owed"), total("made") + total("open"));
        found.compare("owed and the runs stored", kept("owed"), owed);
        found.compare("made and the runs stored", kept("made"), made);
        found.compare("made and the records stored", kept("made"), records);
        found.compare("runs whose records are not those stored", miscounted, 0);
        found.compare("runs that ended without all their records", ended_short, 0);
        found.compare("runs that owe records and have no open job", forgotten, 0);
        found.compare("briefs of batches and the briefs stored", batches.received, batches.received_rows);
        found.compare("ended briefs of batches and the briefs stored", batches.ended, batches.ended_rows);
        found.compare(
            "unsent records of batches and the records stored",
            batches.unsent,
            batches.unsent_rows,
        );
        for sum in BatchSum::differing(&mut snapshot).await? {
            let name = format!(
                "{} of batch '{}' in project {} and the rows",
                sum.what, sum.batch_id, sum.project_id
            );
            found.compare(&name, sum.kept, sum.rows);
        }
        Ok(found)
    }
}

/// What decides when a batch has ended, and the same counted from the rows.
#[derive(sqlx::FromRow)]
struct Batches {
    received: i64,
    ended: i64,
    unsent: i64,
    received_rows: i64,
    ended_rows: i64,
    unsent_rows: i64,
}

impl Batches {
    async fn count(db: &mut SqliteConnection) -> Result<Self, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT coalesce(sum(received), 0) AS received, coalesce(sum(ended), 0) AS ended, \
             coalesce(sum(unsent), 0) AS unsent, \
             (SELECT count(*) FROM brief WHERE batch_id <> '' AND input = 'queue') AS received_rows, \
             (SELECT count(*) FROM brief WHERE batch_id <> '' AND input = 'queue' \
             AND state IN ('completed', 'partial', 'failed', 'canceled')) AS ended_rows, \
             (SELECT count(*) FROM outbox o JOIN brief b ON b.id = o.brief WHERE b.batch_id <> '' \
             AND o.channel = 'record' AND o.input = 'queue' AND o.state IN ('pending', 'parked')) AS unsent_rows \
             FROM batch",
        )
        .fetch_one(db)
        .await?)
    }
}

/// A sum that is kept of a batch, and the same from the rows.
#[derive(sqlx::FromRow)]
struct BatchSum {
    batch_id: String,
    project_id: String,
    what: String,
    kept: i64,
    rows: i64,
}

impl BatchSum {
    /// Those that differ, the first few.
    async fn differing(db: &mut SqliteConnection) -> Result<Vec<Self>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT batch_id, project_id, what, sum(kept) AS kept, sum(counted) AS rows FROM ( \
             SELECT batch_id, project_id, what, n AS kept, 0 AS counted FROM batch_sum \
             UNION ALL SELECT batch_id, project_id, state, 0, count(*) FROM brief \
             WHERE state IN ('completed', 'partial', 'failed', 'canceled') GROUP BY 1, 2, 3 \
             UNION ALL SELECT b.batch_id, b.project_id, 'credits', 0, sum(o.credits) FROM outbox o JOIN brief b ON b.id = o.brief \
             WHERE o.credits IS NOT NULL GROUP BY 1, 2) AS both_ways \
             GROUP BY 1, 2, 3 HAVING sum(kept) <> sum(counted) ORDER BY 1, 2, 3 LIMIT 20",
        )
        .fetch_all(db)
        .await?)
    }
}

/// Deliveries counted from the rows.
#[derive(sqlx::FromRow)]
struct Decided {
    all: i64,
    new: i64,
    duplicate: i64,
    rerun: i64,
    dead: i64,
    briefs: i64,
    dead_letters: i64,
}

impl Decided {
    async fn count(db: &mut SqliteConnection) -> Result<Self, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT count(*) AS \"all\", \
             count(*) FILTER (WHERE result IN ('new', 'invalid')) AS new, \
             count(*) FILTER (WHERE result IN ('duplicate', 'republished')) AS duplicate, \
             count(*) FILTER (WHERE result IN ('rerun', 'replaced')) AS rerun, \
             count(*) FILTER (WHERE result IN ('conflict', 'unreadable')) AS dead, \
             (SELECT count(*) FROM brief) AS briefs, \
             (SELECT count(*) FROM outbox WHERE channel = 'dead_letter') AS dead_letters \
             FROM delivery",
        )
        .fetch_one(db)
        .await?)
    }
}
