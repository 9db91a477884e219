//! What reading costs. What it says is tested where people see it: in `cli`.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};

use super::super::Reader;
use super::{BRIEFS, batches, briefs, known, pace, records, reruns};

async fn ledger(folder: &tempfile::TempDir) -> SqliteConnection {
    let path = folder.path().join("ledger.db");
    let mut db = SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap();
    sqlx::migrate!("src/ledger/migrations").run(&mut db).await.unwrap();
    db
}

#[tokio::test]
async fn no_query_scans_a_table_that_grows() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = ledger(&folder).await;
    let queries = batches::PLANNED
        .into_iter()
        .chain(briefs::PLANNED)
        .chain(records::PLANNED)
        .chain(pace::PLANNED)
        .chain(known::PLANNED)
        .chain(reruns::PLANNED)
        .chain([BRIEFS.from]);
    for query in queries {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
                .fetch_all(&mut db)
                .await
                .unwrap();
        for (_, parent, _, step) in plan {
            // `batch` is the list of batches that the query makes for itself.
            let own = ["SCAN batch", "SCAN CONSTANT", "SCAN (subquery", "SCAN asked", "SCAN first"];
            let fine = !step.starts_with("SCAN") || own.iter().any(|own| step.starts_with(own));
            assert!(fine, "{step}, in {query}");
            // Pages come in the order of an index. Sorting the records of one brief (a step below) is fine.
            if parent == 0 && (query.contains("LIMIT $4") || query.contains("LIMIT $5")) {
                assert!(!step.contains("TEMP B-TREE"), "{step}, in {query}");
            }
        }
    }
}

#[tokio::test]
async fn rows_since_a_time_are_found_by_halving() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = ledger(&folder).await;
    let reader = Reader::open(&folder.path().join("ledger.db")).await.unwrap();
    assert_eq!(reader.last_before(&BRIEFS, 5).await.unwrap(), 0);
    // Times rise with ids; several may be of one moment, and ids may be missing.
    for (id, at) in [(1, 10), (2, 20), (3, 20), (5, 20), (9, 30), (10, 40)] {
        sqlx::query(
            "INSERT INTO brief VALUES ($1, 'p', '', 'b' || $1, 'queue', 1, 'waiting', FALSE, $2, $2, NULL)",
        )
        .bind(id)
        .bind(at)
        .execute(&mut db)
        .await
        .unwrap();
    }
    for (since, last) in [(0, 0), (10, 0), (11, 1), (20, 1), (21, 5), (30, 5), (31, 9), (40, 9), (41, 10)] {
        assert_eq!(reader.last_before(&BRIEFS, since).await.unwrap(), last, "since {since}");
    }
}
