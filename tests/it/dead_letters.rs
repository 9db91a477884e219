//! `briefd dead-letters`: looking costs nothing, requeueing loses nothing, discarding is asked about.

use std::path::Path;

use lapin::BasicProperties;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::broker::TestBroker;
use crate::support::process::{API_KEY, PROMPTLY, Process, SandboxProcess, Worker, briefd};
use crate::support::{Variable, eventually};

/// Dead letters of which some are requeued when the command is killed.
const ALL: usize = 500;

fn run(dir: &Path, arguments: &[&str], variables: &[Variable]) -> (Option<i32>, String, String) {
    let all = [&["dead-letters"], arguments].concat();
    let output = briefd(dir, &all, variables).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn done(dir: &Path, arguments: &[&str], variables: &[Variable]) -> String {
    let (code, told, said) = run(dir, arguments, variables);
    assert_eq!(code, Some(0), "{arguments:?}: {told} {said}");
    told
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn what_was_set_aside_can_be_looked_at_as_often_as_one_likes_sent_again_and_thrown_away() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let sandbox = SandboxProcess::spawn(&["--speed", "500", "--tier", "unlimited"]).await;
    let variables = [broker.variables(), sandbox.variables()].concat();
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    broker.publish_with(b"no json \x1b[31m", BasicProperties::default().with_message_id("m-1".into())).await;
    let later = json!({"projectId": "p", "briefId": "later", "run": 2, "brief": {"hook": API_KEY}});
    broker.publish(&later).await;
    broker.publish(&json!({"projectId": "p", "briefId": "x", "run": 3, "brief": {"hook": "x"}})).await;
    worker.wait_series("briefd_queue_messages{queue=\"dead_letter\"}", 3.0).await;

    let first = done(dir.path(), &["list"], &variables);
    assert!(first.lines().all(|line| line.chars().count() <= 80), "{first}");
    assert!(
        first.contains("UNREADABLE") && first.contains("p/x") && first.contains("3 dead letters in"),
        "{first}"
    );
    for _ in 0..5 {
        assert_eq!(done(dir.path(), &["list"], &variables), first);
    }
    let limited = done(dir.path(), &["list", "--limit", "1"], &variables);
    assert!(limited.contains("3 dead letters in") && limited.contains(", 1 shown"), "{limited}");
    let listed = json_lines(&done(dir.path(), &["list", "--json"], &variables));
    let reasons: Vec<_> = listed.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"UNREADABLE") && reasons.contains(&"BRIEF_CONFLICT"), "{reasons:?}");
    let shown = done(dir.path(), &["show", "m-1"], &variables);
    assert!(shown.contains("no json \u{fffd}[31m") && shown.contains("header x-briefd-reason"), "{shown}");
    for number in ["1", "2", "3"] {
        let shown = done(dir.path(), &["show", number], &variables);
        assert!(!shown.contains(API_KEY), "{shown}");
    }
    assert_eq!(run(dir.path(), &["show", "4"], &variables).0, Some(2));

    // Its run 2 is known by now, so it is taken: as it came first, without the headers of its death.
    broker.publish(&json!({"projectId": "p", "briefId": "x", "brief": {"hook": "y"}})).await;
    broker.take_records(1, PROMPTLY).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    assert!(done(dir.path(), &["requeue", "m-1"], &variables).contains("1 dead letter requeued"));
    let again = broker.take_rest("briefs").await.remove(0);
    assert_eq!(again.body, b"no json \x1b[31m");
    let envelope = again.envelope.unwrap();
    assert_eq!((envelope.message_id.as_deref(), envelope.delivery_mode), (Some("m-1"), Some(2)));
    assert!(envelope.headers.keys().all(|name| !name.starts_with("x-briefd-")), "{:?}", envelope.headers);
    assert_eq!(run(dir.path(), &["requeue", "m-1"], &variables).0, Some(2), "it is gone");

    let (code, _, said) = run(dir.path(), &["discard", "--reason", "brief_conflict"], &variables);
    assert!(code == Some(2) && said.contains("add --yes"), "{said}");
    assert!(done(dir.path(), &["list"], &variables).contains("2 dead letters in"));
    let told = done(dir.path(), &["discard", "--all", "--yes"], &variables);
    assert!(told.contains("2 dead letters discarded"), "{told}");
    assert!(done(dir.path(), &["list"], &variables).contains("0 dead letters in"));
}

#[tokio::test]
async fn what_the_broker_set_aside_is_shown_and_requeued_too() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let mut variables = broker.variables();
    variables.push(("BRIEFD__AMQP__INPUT__DELIVERY_LIMIT", "1".to_owned()));
    let declared = briefd(dir.path(), &["topology", "--declare"], &variables).output().unwrap();
    assert!(declared.status.success(), "{declared:?}");
    broker.publish(&json!({"projectId": "p", "briefId": "kills", "brief": {"hook": "x"}})).await;
    // Somebody takes it and goes away, again and again.
    let set_aside = eventually(PROMPTLY, async || {
        broker.look_at("briefs").await;
        done(dir.path(), &["list"], &variables).contains("1 dead letter in").then_some(())
    });
    assert!(set_aside.await.is_some());
    let listed = json_lines(&done(dir.path(), &["list", "--json"], &variables));
    assert_eq!((&listed[0]["reason"], &listed[0]["briefId"]), (&json!("delivery_limit"), &json!("kills")));
    assert!(listed[0]["at"].is_string(), "{listed:?}");
    let told = done(dir.path(), &["requeue", "--reason", "delivery_limit"], &variables);
    assert!(told.contains("1 dead letter requeued"), "{told}");
    assert_eq!(broker.take_rest("briefs").await[0].json()["briefId"], "kills");
}

#[tokio::test]
async fn a_requeue_that_is_killed_half_way_loses_nothing() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let variables = broker.variables();
    let declared = briefd(dir.path(), &["topology", "--declare"], &variables).output().unwrap();
    assert!(declared.status.success(), "{declared:?}");
    for n in 0..ALL {
        broker.publish_dead_letter(&json!({"projectId": "p", "briefId": n.to_string(), "brief": {}})).await;
    }
    let mut requeue =
        Process::start(dir.path(), briefd(dir.path(), &["dead-letters", "requeue", "--all"], &variables));
    let begun = eventually(PROMPTLY, async || (broker.count("briefs").await > 0).then_some(()));
    assert!(begun.await.is_some());
    requeue.sigkill();
    // What it had taken comes back when the broker has seen that it is gone.
    let mut seen = std::collections::BTreeSet::new();
    let whole = eventually(PROMPTLY, async || {
        for message in [broker.take_rest("briefs").await, broker.take_rest("briefs.dead").await].concat() {
            seen.insert(message.json()["briefId"].as_str().unwrap().to_owned());
        }
        (seen.len() == ALL).then_some(())
    });
    let whole = whole.await.is_some();
    assert!(whole, "{} of {ALL} are left", seen.len());
}

#[tokio::test]
async fn nothing_leaves_the_dead_letters_while_no_queue_takes_briefs() {
    let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
    let variables = broker.variables();
    let declared = briefd(dir.path(), &["topology", "--declare"], &variables).output().unwrap();
    assert!(declared.status.success(), "{declared:?}");
    broker.publish_dead_letter(&json!({"projectId": "p", "briefId": "x", "brief": {}})).await;
    let mut astray = variables.clone();
    astray.push(("BRIEFD__AMQP__INPUT__ROUTING_KEY", "nobody".to_owned()));
    let (code, _, said) = run(dir.path(), &["requeue", "--all"], &astray);
    assert!(code == Some(4) && said.contains("no queue is bound"), "{code:?} {said}");
    assert!(done(dir.path(), &["list"], &variables).contains("1 dead letter in"));
    assert!(done(dir.path(), &["requeue", "--all"], &variables).contains("1 dead letter requeued"));
}
