//! Ledgers that have grown: copies of what a worker has written.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// Copies what the ledger holds until it holds it so many times. What counts rows follows by itself, or is multiplied.
pub async fn multiply(ledger: &Path, times: usize) {
    let options = SqliteConnectOptions::new()
        .filename(ledger)
        .pragma("synchronous", "OFF")
        .pragma("cache_size", "-200000");
    let mut db = options.connect().await.expect("nobody is at the ledger");
    sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut db).await.expect("it is a connection of ours");
    let mut newest = BTreeMap::new();
    for table in ["brief", "job", "outbox", "delivery", "history"] {
        let number = AssertSqlSafe(format!("SELECT coalesce(max(id), 0) FROM {table}"));
        let number: i64 = sqlx::query_scalar(number).fetch_one(&mut db).await.expect("it is a ledger");
        newest.insert(table, number);
    }
    for copy in 1..times {
        let mut transaction = db.begin().await.expect("a transaction");
        for table in ["brief", "run", "job", "container", "outbox", "delivery", "history"] {
            copy_rows(&mut transaction, table, &newest, copy).await;
        }
        transaction.commit().await.expect("there is room");
    }
    let totals = format!("UPDATE total SET n = n * {times}");
    sqlx::query(AssertSqlSafe(totals)).execute(&mut db).await.expect("totals are numbers");
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut db).await.expect("nobody reads");
    db.close().await.expect("it can be closed");
}

/// Makes a ledger belong to no API: the next simulator has another port.
pub async fn free(ledger: &Path) {
    let options = SqliteConnectOptions::new().filename(ledger);
    let mut db = options.connect().await.expect("nobody is at the ledger");
    sqlx::query("DELETE FROM meta WHERE name = 'origin'").execute(&mut db).await.expect("it is a ledger");
    db.close().await.expect("it can be closed");
}

/// Numbers are moved behind those that are there, what is unique gets a number.
async fn copy_rows(db: &mut SqliteConnection, table: &str, newest: &BTreeMap<&str, i64>, copy: usize) {
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
        .bind(table)
        .fetch_all(&mut *db)
        .await
        .expect("the table has columns");
    let moved = |column: &String| match (table, column.as_str()) {
        ("brief", "brief_id")
        | ("outbox", "message_id")
        | ("job", "idempotency_key" | "alias" | "api_job_id")
        | ("container", "id") => format!("{column} || '-{copy}'"),
        (_, "id") => format!("id + {copy} * {}", newest[table]),
        (_, "brief" | "job") => format!("{column} + {copy} * {}", newest[column.as_str()]),
        _ => column.clone(),
    };
    let values: Vec<String> = columns.iter().map(moved).collect();
    // Containers and runs have no number of their own.
    let by = if newest.contains_key(table) { "id" } else { "brief" };
    let originals = newest.get(table).unwrap_or(&newest["brief"]);
    let copies = format!(
        "INSERT INTO {table} ({}) SELECT {} FROM {table} WHERE {by} <= {originals}",
        columns.join(", "),
        values.join(", ")
    );
    sqlx::query(AssertSqlSafe(copies)).execute(db).await.expect("the copies fit");
}
