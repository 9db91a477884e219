//! `briefd status`: the page, its document, and waiting.

use super::*;
use crate::cli::color::Paint;
use crate::ledger::Reader;

#[tokio::test]
async fn status_tells_trouble_first_then_batches_then_what_to_do_next() {
    let world = World::with_trouble().await;
    let page = world.run(&["status"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
}

#[tokio::test]
async fn status_of_one_batch_tells_why_what_did_not_complete_did_not() {
    let world = World::with_trouble().await;
    let page = world.run(&["status", SPRING]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
}

#[tokio::test]
async fn status_for_programs_is_one_document() {
    let world = World::with_trouble().await;
    let document: Value = serde_json::from_str(&world.run(&["status", SPRING, "--json"]).await).unwrap();
    insta::assert_json_snapshot!(document);
}

#[tokio::test]
async fn what_status_prints_for_programs_fits_its_published_schema() {
    let schema = status::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let world = World::with_trouble().await;
    for line in [&["status", "--json"][..], &["status", SPRING, "--json"], &["status", "", "--json"]] {
        let document: Value = serde_json::from_str(&world.run(line).await).unwrap();
        let problems: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{line:?}: {problems:?}");
        // Nothing that the schema does not name.
        for name in document.as_object().unwrap().keys() {
            assert!(schema["properties"].get(name).is_some(), "{name}");
        }
    }
    insta::assert_json_snapshot!(schema);
}

#[tokio::test]
async fn status_names_the_worker_that_does_not_run() {
    let mut world = World::with_trouble().await;
    world.hold(HoldScope::Account, "KILL_SWITCH", None).await;
    // Another ledger takes the place of ours, which frees the worker lock.
    world.ledger = World::new().await.ledger;
    let page = world.run(&["status", ""]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
}

#[tokio::test]
async fn an_empty_ledger_says_how_to_begin() {
    let world = World::new().await;
    insta::assert_snapshot!(world.run(&["status"]).await, @"No briefs yet. Bring some:  briefd enqueue FILE  or  briefd generate FILE");
    assert_eq!(world.run(&["status", "--wait"]).await.lines().count(), 1);
}

#[tokio::test]
async fn a_batch_that_is_not_there_is_wrong_usage_and_a_ledger_that_is_not_there_is_missing() {
    let mut world = World::with_trouble().await;
    let error = world.try_run(&["status", "2026-06"], &mut io::sink()).await.unwrap_err();
    assert!(error.is::<UsageError>(), "{error}");
    world.settings.ledger.path.set_file_name("other.db");
    for line in [&["status", "--wait"][..], &["list"], &["show", "s-01"], &["records"]] {
        let error = world.try_run(line, &mut io::sink()).await.unwrap_err();
        assert!(error.to_string().starts_with("no ledger at "), "{error}");
    }
}

#[tokio::test]
async fn waiting_ends_with_the_batch_and_says_whether_all_of_it_completed() {
    let world = World::with_trouble().await;
    let wait = |batch| ["status", batch, "--wait"];
    assert_eq!(world.try_run(&wait("teaser-nova"), &mut io::sink()).await.unwrap(), Outcome::Done);
    world.generate("nova", "ended", "e-01", &[Ended::Completed]).await;
    world.generate("nova", "ended", "e-02", &[Ended::Failed]).await;
    assert_eq!(world.try_run(&wait("ended"), &mut io::sink()).await.unwrap(), Outcome::Incomplete);
    // Announced with two, one has come: that is not the end. The other one comes while somebody waits.
    world.receive("nova", "announced", "a-01", json!({ "batchSize": 2, "variantCount": 9 })).await;
    let waiting = async { world.try_run(&wait("announced"), &mut io::sink()).await.unwrap() };
    let coming = async {
        world.receive("nova", "announced", "a-02", json!({ "variantCount": 9 })).await;
        // The waiter may only now fall asleep, so time goes on until it has seen the end.
        loop {
            world.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = waiting => assert_eq!(outcome, Outcome::Incomplete),
        () = coming => {}
    }
}

#[tokio::test]
async fn waiting_gives_up_after_its_time() {
    let world = World::with_trouble().await;
    let line = ["status", SPRING, "--wait", "--timeout", "3s"];
    let mut out = Vec::new();
    let time = async {
        loop {
            world.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = world.try_run(&line, &mut out) => assert_eq!(outcome.unwrap(), Outcome::Incomplete),
        () = time => {}
    }
    assert!(String::from_utf8(out).unwrap().contains("s-04"));
}

#[tokio::test]
async fn status_tells_that_the_api_does_not_answer_and_how_to_decide_what_is_parked() {
    let world = World::with_an_api_in_trouble().await;
    let page = world.run(&["status"]).await;
    assert_fits(&page);
    insta::assert_snapshot!(page);
    let document: Value = serde_json::from_str(&world.run(&["status", "--json"]).await).unwrap();
    assert_eq!(document["noAnswer"]["unknown"], 1);
    let page = world.run(&["status", SPRING]).await;
    assert!(page.contains("! NO ANSWER  1 brief: "), "{page}");
}

#[tokio::test]
async fn between_two_looks_of_status_nothing_is_held_that_would_make_the_log_of_changes_grow() {
    let world = World::with_trouble().await;
    for batch in [None, Some(SPRING)] {
        let reader = Reader::open(&world.settings.ledger.path).await.unwrap();
        let look = status::Look { reader, batch, settings: &world.settings, clock: &world.clock };
        for n in 0..3 {
            look.page(Paint::of_stdout()).await.unwrap();
            // Whoever still read would read what was before this, and so keep the log from being emptied.
            world.receive(ACME, SPRING, &format!("later-{n}-{}", batch.is_some()), json!({})).await;
            assert!(world.ledger.checkpoint(Duration::from_millis(50)).await.unwrap());
        }
    }
}

/// Fills a ledger with finished briefs in twenty batches, a record each, one in ten failed.
const FILL: [&str; 4] = [
    "INSERT INTO brief (id, project_id, batch_id, brief_id, input, run, state, touched, received_at, changed_at, pruned_at) SELECT value, 'p' || (value % 7), 'batch-' || (value % 20), 'b-' || value, 'queue', 1, \
     CASE WHEN value % 10 = 0 THEN 'failed' ELSE 'completed' END, TRUE, 1777680000000 + value, 1777680000000 + value, NULL \
     FROM generate_series(1000, 100999)",
    "INSERT INTO run (brief, run, fingerprint, request, variant_count, priority, received_at, state, owed, made) \
     SELECT id, 1, '', '{}', 1, 4, received_at, state, 1, 1 FROM brief WHERE id >= 1000",
    "INSERT INTO outbox (id, channel, input, message_id, kind, routing_key, body, properties, brief, run, variant, ended_at, state, \
     due_at, created_at) SELECT id, 'record', 'queue', 'm-' || id, CASE state WHEN 'failed' THEN 'container.failed' ELSE \
     'container.completed' END, 'k', CAST('{\"error\":{\"code\":\"RENDER_FAILED\",\"remedy\":\"rerun\"}}' AS BLOB), '{}', id, 1, 1, \
     received_at, 'sent', 0, received_at + 2000 FROM brief WHERE id >= 1000",
    "ANALYZE",
];

#[tokio::test]
async fn a_hundred_thousand_finished_briefs_do_not_slow_status_down() {
    let world = World::with_trouble().await;
    let path = world.settings.ledger.path.clone();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .synchronous(sqlx::sqlite::SqliteSynchronous::Off);
    let mut db = sqlx::ConnectOptions::connect(&options).await.unwrap();
    for statement in FILL {
        // SQLite has no generate_series unless it is built in.
        let numbers = "(WITH RECURSIVE n (value) AS (SELECT 1000 UNION ALL SELECT value + 1 FROM n WHERE value < 100999) SELECT value FROM n)";
        let statement = statement.replace("generate_series(1000, 100999)", numbers);
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut db).await.unwrap();
    }
    for line in [&["status"][..], &["status", "batch-7"], &["status", "--json"]] {
        let began = std::time::Instant::now();
        let page = world.run(line).await;
        let took = began.elapsed();
        println!("briefd {}: {} ms on 100,000 briefs", line.join(" "), took.as_millis());
        assert!(page.contains("batch-"), "{page}");
        // Ten times what an optimized build is to take, for one that is not, on a busy machine.
        assert!(took < Duration::from_secs(2), "briefd {line:?} took {took:?}");
    }
}
