//! Thousands of messages that are no briefs among some that are.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::{StreamExt as _, stream};

use super::{PATIENCE, Scene, integer};
use crate::broker_loss::brief;
use crate::support::broker::TestBroker;
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, SandboxProcess};
use crate::support::{eventually, tell};

const POISON: usize = 5_000;
const GOOD: usize = 500;
/// Good briefs in the first tenth of the queue.
const FIRST: usize = GOOD / 10;
const POISONED: &str = "briefd_dead_lettered_total{reason=\"UNREADABLE\"}";

#[tokio::test]
async fn a_flood_of_poison_is_set_aside_with_its_reason_and_holds_up_no_good_brief() {
    // Whatever a good one waits for is in the worker.
    let sandbox = ["--speed", "1000", "--tier", "unlimited", "--min-seconds", "1", "--max-seconds", "100"];
    let (broker, sandbox) = (TestBroker::connect().await, SandboxProcess::spawn(&sandbox).await);
    let mut scene = Scene::around(
        broker,
        sandbox,
        &[("BRIEFD__INTAKE__MAX_BACKLOG", "100000"), ("BRIEFD__AMQP__PREFETCH", "100")],
    );
    // Queues come with a worker.
    let mut worker = scene.start_worker().await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    scene.broker.mix_dead_letters_with_records().await;
    publish_flood(&mut scene).await;

    let worker = scene.start_worker().await;
    let began = Instant::now();
    let over = eventually(PATIENCE, async || {
        let over = integer(&worker, POISONED).await == POISON && scene.is_over(&worker).await;
        over.then_some(())
    });
    over.await.expect("the flood ends");
    let time = began.elapsed();
    assert_eq!(scene.broker.count("briefs.dead").await, POISON);
    let said = worker.process.stderr();
    let lines = said.lines().filter(|line| line.contains("UNREADABLE")).count();
    // The first, and that there are more of them: in a minute first, and then ever more seldom.
    assert!((1..=4).contains(&lines), "{lines} lines about {POISON} messages:\n{said}");

    let mut evidence = scene.stop(worker).await;
    let before = poison_before(&evidence.records);
    let (first, last) = (before[FIRST - 1], before[GOOD - 1]);
    let figures =
        format!("the first {FIRST} of {GOOD} good ones came out before poison {first}, all before {last}");
    tell("a flood of poison", &format!("{figures} of {POISON}; {time:.1?} in all"));
    assert!(first < POISON / 2, "the good ones were held up: {figures}");
    evidence.records.retain(|message| !is_poison(message));
    let bodies: BTreeSet<&Vec<u8>> = evidence.dead_letters.iter().map(|dead| &dead.body).collect();
    assert_eq!(bodies.len(), POISON, "each of them");
    evidence.expected_dead_letters = vec!["UNREADABLE"; POISON];
    evidence.assert_clean();
}

fn is_poison(message: &Message) -> bool {
    !message.header("x-briefd-reason").is_empty()
}

/// For each good brief, by its place in the queue, how much poison had come out when it and all before it had.
fn poison_before(came: &[Message]) -> Vec<usize> {
    let mut poison = 0;
    let mut before = vec![0; GOOD];
    for message in came {
        if is_poison(message) {
            poison += 1;
        } else {
            let id = message.json()["briefId"].as_str().unwrap().to_owned();
            let number: usize = id.trim_start_matches("good ").parse().unwrap();
            before[number / STEP] = poison;
        }
    }
    let mut most = 0;
    before
        .iter()
        .map(|before| {
            most = most.max(*before);
            most
        })
        .collect()
}

/// Each of so many messages is a good one.
const STEP: usize = (POISON + GOOD) / GOOD;

/// Good briefs, and ten times as many messages among them that are none.
async fn publish_flood(scene: &mut Scene) {
    let good = |number: usize| number.is_multiple_of(STEP).then(|| brief(&format!("good {number}")));
    stream::iter(0..POISON + GOOD)
        .for_each_concurrent(64, async |number| {
            if let Some(brief) = good(number) {
                scene.broker.publish(&brief).await;
            } else {
                let persistent = lapin::BasicProperties::default().with_delivery_mode(2);
                scene.broker.publish_with(format!("poison {number}").as_bytes(), persistent).await;
            }
        })
        .await;
    scene.briefs.extend((0..POISON + GOOD).filter_map(good));
}
