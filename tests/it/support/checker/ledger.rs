//! The ledger as the judge reads it: rows by name, and where in the file a secret stands.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::eventually;
use crate::support::process::PROMPTLY;

/// What the judge looks at, of every row.
#[derive(Clone, Debug, Default)]
pub struct LedgerRows {
    pub briefs: Vec<BriefRow>,
    pub runs: Vec<RunRow>,
    pub jobs: Vec<JobRow>,
    pub outbox: Vec<OutboxRow>,
    /// How each delivery was decided about.
    pub decisions: Vec<String>,
    /// The running totals that the worker keeps.
    pub totals: BTreeMap<String, i64>,
    /// Columns that hold an API key.
    pub places_of_secrets: Vec<String>,
}

#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub struct BriefRow {
    pub id: i64,
    pub project_id: String,
    pub batch_id: String,
    pub brief_id: String,
    pub run: i64,
    pub state: String,
}

#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub struct RunRow {
    pub brief: i64,
    pub run: i64,
    pub state: String,
    pub owed: i64,
    pub made: i64,
}

#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub struct JobRow {
    pub brief: i64,
    pub run: i64,
    pub kind: String,
    pub container: Option<String>,
    pub idempotency_key: String,
    pub body: String,
    pub state: String,
    pub unrecorded: i64,
    pub error: Option<String>,
}

#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub struct OutboxRow {
    pub channel: String,
    pub input: String,
    pub message_id: String,
    pub kind: String,
    pub routing_key: String,
    pub body: Vec<u8>,
    pub brief: Option<i64>,
    pub run: Option<i64>,
    pub state: String,
}

impl LedgerRows {
    /// The ledger at `path` once nothing in it is open or unsent, or after the bound as it is then.
    pub async fn once_settled(path: &Path, secrets: &[String], open: &[&str]) -> Self {
        let mut last = Self::default();
        // Whatever is not settled at the end of the bound is for the judge to tell.
        eventually(PROMPTLY, async || {
            last = Self::read(path, secrets).await;
            last.is_settled(open).then_some(())
        })
        .await;
        last
    }

    async fn read(path: &Path, secrets: &[String]) -> Self {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let mut connection =
            options.connect().await.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // One snapshot: a worker may be at it.
        let mut db = connection.begin().await.expect("a snapshot of the ledger can be taken");
        let rows = Self::select(&mut db, secrets).await.expect("the ledger can be read");
        drop(db);
        rows
    }

    async fn select(db: &mut SqliteConnection, secrets: &[String]) -> sqlx::Result<Self> {
        let totals: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, n FROM total").fetch_all(&mut *db).await?;
        Ok(Self {
            briefs: sqlx::query_as("SELECT * FROM brief ORDER BY id").fetch_all(&mut *db).await?,
            runs: sqlx::query_as("SELECT * FROM run ORDER BY brief, run").fetch_all(&mut *db).await?,
            jobs: sqlx::query_as("SELECT * FROM job ORDER BY id").fetch_all(&mut *db).await?,
            outbox: sqlx::query_as("SELECT * FROM outbox ORDER BY id").fetch_all(&mut *db).await?,
            decisions: sqlx::query_scalar("SELECT result FROM delivery ORDER BY id")
                .fetch_all(&mut *db)
                .await?,
            totals: totals.into_iter().collect(),
            places_of_secrets: places_of(db, secrets).await?,
        })
    }

    /// Nothing is left to do, but for the briefs that stay open.
    fn is_settled(&self, open: &[&str]) -> bool {
        let ended = |job: &JobRow| !job.is_open() || self.is_of(job.brief, open);
        self.jobs.iter().all(ended) && self.outbox.iter().all(|row| row.state != "pending")
    }

    /// Whether a row is of one of these briefs.
    pub fn is_of(&self, brief: i64, ids: &[&str]) -> bool {
        self.briefs.iter().any(|row| row.id == brief && ids.contains(&row.brief_id.as_str()))
    }

    /// How a violation calls a run.
    pub fn name_of(&self, brief: i64, run: i64) -> String {
        match self.briefs.iter().find(|row| row.id == brief) {
            Some(row) => format!("{}/{}/{} run {run}", row.project_id, row.batch_id, row.brief_id),
            None => format!("brief {brief} run {run}"),
        }
    }
}

impl JobRow {
    /// It goes on by itself.
    pub fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "ready" | "submitting" | "running")
    }
}

impl OutboxRow {
    /// It came, or shall come, out of the dead-letter exchange; what a file's lines lead to is told by the command.
    pub fn is_queued_dead_letter(&self) -> bool {
        self.channel == "dead_letter" && self.input == "queue"
    }
}

/// Every column of every table that holds one of `secrets`.
async fn places_of(db: &mut SqliteConnection, secrets: &[String]) -> sqlx::Result<Vec<String>> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'",
    )
    .fetch_all(&mut *db)
    .await?;
    let mut places = Vec::new();
    for (table, column) in columns {
        let query = format!(
            "SELECT count(*) FROM \"{table}\" WHERE instr(CAST(\"{column}\" AS BLOB), CAST($1 AS BLOB)) > 0"
        );
        for secret in secrets {
            let found: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query.clone()))
                .bind(secret)
                .fetch_one(&mut *db)
                .await?;
            if found > 0 {
                places.push(format!("{table}.{column}"));
            }
        }
    }
    Ok(places)
}
