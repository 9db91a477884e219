//! The views that people and dashboards rely on.

use super::*;

const VIEWS: [&str; 3] = ["v_brief", "v_batch", "v_failure"];

async fn rows(bench: &Bench, query: &'static str) -> Vec<Vec<String>> {
    use sqlx::{Row as _, TypeInfo as _, ValueRef as _};
    let rows = sqlx::query(query).fetch_all(&bench.ledger.reader().pool).await.unwrap();
    let text = |row: &sqlx::sqlite::SqliteRow, at: usize| {
        let kind = row.try_get_raw(at).unwrap();
        match (kind.is_null(), kind.type_info().name()) {
            (true, _) => "NULL".to_owned(),
            (false, "INTEGER") => row.get::<i64, _>(at).to_string(),
            (false, _) => row.get(at),
        }
    };
    rows.iter().map(|row| (0..row.len()).map(|at| text(row, at)).collect()).collect()
}

#[tokio::test]
async fn the_columns_of_the_views_are_those_that_the_readme_names() {
    let bench = Bench::new().await;
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for view in VIEWS {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{view}` |"))).unwrap();
        let documented: Vec<&str> =
            row.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
            .bind(view)
            .fetch_all(&bench.ledger.reader().pool)
            .await
            .unwrap();
        assert_eq!(columns, documented, "{view}");
    }
}

#[tokio::test]
async fn the_views_tell_what_became_of_briefs_batches_and_failures() {
    let bench = Bench::new().await;
    let of = |batch: &str, more: Value| {
        let mut message = brief("Run", more);
        if !batch.is_empty() {
            message["batchId"] = json!(batch);
        }
        message
    };
    bench.run_through(of("b", json!({"briefId": "1", "batchSize": 3})), &[("c1", DONE)]).await;
    let two = of("b", json!({"briefId": "2", "variantCount": 2}));
    bench.run_through(two, &[("c2", DONE), ("c3", FAILED)]).await;
    bench.send(of("b", json!({"briefId": "3", "wat": 1}))).await;
    bench.send(of("", json!({"briefId": "4"}))).await;
    bench.publish().await;
    bench.write(FinishBatches { now_ms: bench.now() }).await.unwrap();
    let briefs = "SELECT brief_id, state, code, remedy, variant_count, containers_completed, credits_estimate, received_at \
        FROM v_brief ORDER BY brief_id";
    let at = "2026-05-01T00:00:00.000Z";
    assert_eq!(
        rows(&bench, briefs).await,
        [
            ["1", "completed", "NULL", "NULL", "1", "1", "120", at],
            ["2", "partial", "RENDER_FAILED", "rerun", "2", "1", "240", at],
            ["3", "failed", "INVALID_BRIEF", "change", "1", "0", "NULL", at],
            ["4", "waiting", "NULL", "NULL", "1", "0", "NULL", at],
        ]
    );
    let batches = "SELECT batch_id, size, received, waiting, running, completed, partial, failed, revision FROM v_batch";
    assert_eq!(
        rows(&bench, batches).await,
        [["", "NULL", "1", "1", "0", "0", "0", "0", "0"], ["b", "3", "3", "0", "0", "1", "1", "1", "1"]]
    );
    let failures =
        "SELECT brief_id, run, variant, type, code, container_id, failed_at FROM v_failure ORDER BY brief_id";
    assert_eq!(
        rows(&bench, failures).await,
        [
            ["2", "1", "2", "container.failed", "RENDER_FAILED", "c3", at],
            ["3", "1", "NULL", "brief.failed", "INVALID_BRIEF", "NULL", at],
        ]
    );
    // What a rerun mended is no failure any more.
    bench.send(of("b", json!({"briefId": "2", "variantCount": 2, "run": 2}))).await;
    bench.inspected_all().await;
    let jobs = bench.claim().await;
    let job = jobs.iter().find(|job| job.run == 2).unwrap();
    bench.accept(job.id, &["c3"]).await;
    bench.settle(job.id, &[("c3", DONE)], true).await;
    assert_eq!(rows(&bench, "SELECT brief_id FROM v_failure").await, [["3"]]);
}

#[tokio::test]
async fn a_view_looks_at_each_brief_once() {
    let bench = Bench::new().await;
    let mut db = bench.beside().await;
    let queries = VIEWS.map(|view| format!("SELECT * FROM {view}"));
    let narrow = VIEWS.map(|view| format!("SELECT * FROM {view} WHERE batch_id = 'b'"));
    for (query, scans) in queries.iter().map(|query| (query, 1)).chain(narrow.iter().map(|query| (query, 0)))
    {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
                .fetch_all(&mut db)
                .await
                .unwrap();
        let scanned = plan
            .iter()
            .filter(|(_, _, _, step)| step.starts_with("SCAN") && !step.starts_with("SCAN v_"))
            .count();
        assert_eq!(scanned, scans, "{plan:?}, in {query}");
    }
}
