//! Many briefs that are finished: how fast new ones pass, and what each takes on the disk.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::{Line, folder, worker};

/// Passes `count` briefs through an empty ledger, then through one with `finished` finished ones.
pub async fn measure(url: &str, count: usize, finished: usize) -> (Vec<Line>, Vec<String>) {
    eprintln!("{count} briefs and an empty ledger …");
    let dir = folder();
    let empty = worker::measure(url, count, dir.path()).await;
    let ledger = dir.path().join("briefd.db");
    let bytes = std::fs::metadata(&ledger).expect("there is a ledger").len();
    let each = bytes / u64::try_from(count).expect("a count");
    eprintln!("copying them until there are {finished} …");
    multiply(&ledger, finished / count).await;
    eprintln!("{count} briefs and {finished} finished ones …");
    // The copies have other ids; so must these.
    let full = worker::measure_from(url, (finished, count), dir.path()).await;
    let ratio = full.rate.per_second() / empty.rate.per_second();
    let mut violations = empty.violations;
    violations.extend(full.violations);
    let lines = vec![
        ("ledger, of a finished one-variant brief".to_owned(), format!("{each} B"), "≤ 6,144 B"),
        ("briefs a second, empty ledger".to_owned(), format!("{:.0}", empty.rate.per_second()), ""),
        (format!("the same with {finished} finished"), format!("{:.0}", full.rate.per_second()), ""),
        ("ratio".to_owned(), format!("{ratio:.2}"), "≥ 0.9"),
    ];
    (lines, violations)
}

/// Copies what the ledger holds until it holds it so many times. What counts rows follows by itself, or is multiplied.
async fn multiply(ledger: &Path, times: usize) {
    let options = SqliteConnectOptions::new()
        .filename(ledger)
        .pragma("synchronous", "OFF")
        .pragma("cache_size", "-200000");
    let mut db = options.connect().await.expect("nobody is at the ledger");
    sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut db).await.expect("it is a connection of ours");
    let mut newest = BTreeMap::new();
    for table in ["brief", "job", "outbox", "delivery", "history"] {
        let number = AssertSqlSafe(format!("SELECT max(id) FROM {table}"));
        let number: i64 = sqlx::query_scalar(number).fetch_one(&mut db).await.expect("it holds rows");
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
    // The next simulator has another port; a ledger belongs to one API.
    sqlx::query("DELETE FROM meta WHERE name = 'origin'").execute(&mut db).await.expect("it knows its API");
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut db).await.expect("nobody reads");
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
