//! What commands cost beside a worker and in a ledger that has grown. The figures are printed (`--nocapture`), and only
//! limits that no machine reaches by being slow are asserted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use crate::support::Variable;
use crate::support::broker::TestBroker;
use crate::support::copies::{free, multiply};
use crate::support::eventually;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd, free_port};

/// Nothing that is measured here may take this long, on whatever machine.
const LIMIT: Duration = Duration::from_secs(30);
const LINES: usize = 10_000;
/// A scrape on a loaded machine; alone on one it takes a few milliseconds.
const SCRAPE_LIMIT: Duration = Duration::from_millis(200);
/// How often a command is measured; the quickest counts.
const TIMES: usize = 5;

/// How long a command takes, its start included.
async fn took(dir: &TempDir, arguments: &[&str], variables: &[Variable]) -> (Duration, String) {
    let mut command = briefd(dir.path(), arguments, variables);
    let began = Instant::now();
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let took = began.elapsed();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(took < LIMIT, "{arguments:?} took {took:?}");
    (took, String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn ten_thousand_lines_are_enqueued_and_status_answers_beside_a_busy_worker() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--speed", "1000", "--tier", "unlimited"]).await;
    let ledger = format!("sqlite://{}/briefd.db", dir.path().display());
    let own = [("BRIEFD__LAYERS__TIER", "unlimited".to_owned()), ("BRIEFD__LEDGER__URL", ledger)];
    let variables = [broker.variables(), sandbox.variables(), own.to_vec()].concat();
    let line = |n: usize| json!({"projectId": format!("p{}", n % 7), "briefId": format!("b-{n}"), "brief": {"hook": n.to_string()}});
    let lines: Vec<String> = (0..LINES).map(|n| line(n).to_string()).collect();
    std::fs::write(dir.path().join("spring.jsonl"), lines.join("\n")).unwrap();

    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let (enqueued, said) = took(&dir, &["enqueue", "spring.jsonl"], &variables).await;
    assert!(said.starts_with("10,000 briefs enqueued"), "{said}");
    println!("enqueue of {LINES} lines, beside a worker that takes them: {enqueued:.1?}");
    let mut looks = Vec::new();
    for _ in 0..TIMES {
        let (look, said) = took(&dir, &["status", "--json"], &variables).await;
        looks.push(look);
        let status: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(status["worker"], true);
    }
    looks.sort_unstable();
    println!("status beside it: {:.0?} at best, {:.0?} at worst", looks[0], looks[TIMES - 1]);
    let goes_on = eventually(PROMPTLY, async || {
        (sandbox.account().await["containers"]["completed"].as_u64() > Some(0)).then_some(())
    });
    assert!(goes_on.await.is_some(), "the worker goes on");
    worker.process.sigkill();
}

/// A ledger with so many finished briefs in 40 batches.
async fn grown(dir: &TempDir, briefs: usize) {
    let options = SqliteConnectOptions::new().filename(dir.path().join("briefd.db"));
    let mut db = options.create_if_missing(true).connect().await.unwrap();
    sqlx::migrate!("src/ledger/migrations").run(&mut db).await.unwrap();
    let numbers =
        format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {briefs})");
    for statement in [
        "BEGIN".to_owned(),
        format!(
            "{numbers} INSERT INTO brief SELECT i, 'p' || (i % 7), 'batch-' || (i % 40), 'b' || i, 'queue', 1, \
             CASE WHEN i % 50 = 0 THEN 'failed' ELSE 'completed' END, TRUE, 1777683600000 + i, 1777683600000 + i, NULL FROM n"
        ),
        format!(
            "{numbers} INSERT INTO outbox (id, channel, input, message_id, kind, routing_key, body, properties, brief, run, \
             variant, state, due_at, created_at, credits) SELECT i, 'record', 'queue', i, 'container.completed', 'k', x'7b7d', '{{}}', \
             i, 1, 1, 'sent', 0, 1777683600000 + i, 120 FROM n"
        ),
        "COMMIT".to_owned(),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut db).await.unwrap();
    }
    db.close().await.unwrap();
}

#[tokio::test]
async fn status_costs_the_same_however_many_briefs_have_ended() {
    let most = std::env::var("BRIEFD_TEST_BRIEFS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    for briefs in [1_000, most] {
        let dir = TempDir::new().unwrap();
        grown(&dir, briefs).await;
        let mut looks = Vec::new();
        for _ in 0..TIMES {
            let (look, said) = took(&dir, &["status", "--json"], &[]).await;
            let status: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(
                (&status["moreBatches"], status["batches"].as_array().unwrap().len()),
                (&json!(20), 20)
            );
            assert_eq!(status["batches"][0]["creditsEstimate"], briefs / 40 * 120);
            looks.push(look);
        }
        println!("status with {briefs} finished briefs: {:.0?}", looks.iter().min().unwrap());
    }
}

/// Scrapes that are measured.
const SCRAPES: usize = 20;
/// Briefs that a worker starts by itself; the others that run are copies of them.
const STARTED: usize = 200;

#[tokio::test]
async fn a_scrape_is_quick_with_a_hundred_thousand_jobs_running() {
    const JOBS: usize = 100_000;
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let long = ["--tier", "unlimited", "--min-seconds", "100000", "--max-seconds", "100000"];
    let sandbox = SandboxProcess::spawn(&long).await;
    let ledger = dir.path().join("briefd.db");
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__LAYERS__TIER", "unlimited".to_owned()));
    variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}", ledger.display())));
    let running = "briefd_jobs{state=\"running\"}";

    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    for n in 0..STARTED {
        let brief =
            json!({"projectId": format!("p{}", n % 7), "briefId": format!("b-{n}"), "brief": {"hook": "x"}});
        broker.publish(&brief).await;
    }
    worker.wait_series(running, 200.0).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    multiply(&ledger, JOBS / STARTED).await;
    free(&ledger).await;

    // Nobody knows the copies, so nobody is asked about them.
    variables.push(("BRIEFD__LAYERS__BASE_URL", format!("http://127.0.0.1:{}", free_port())));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    worker.wait_series(running, 100_000.0).await;
    let mut scrapes = Vec::new();
    for _ in 0..SCRAPES {
        let began = Instant::now();
        let text = worker.metrics().await;
        scrapes.push(began.elapsed());
        assert!(text.contains("briefd_jobs{"));
    }
    scrapes.sort_unstable();
    let (median, worst) = (scrapes[SCRAPES / 2], scrapes[SCRAPES - 1]);
    println!(
        "a scrape with {JOBS} jobs running: {median:.1?} in the middle, {worst:.1?} at worst of {SCRAPES}"
    );
    assert!(median < SCRAPE_LIMIT, "{scrapes:?}");
    worker.process.sigkill();
}
