//! Thousands of messages that are no briefs among some that are.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};

use super::{PATIENCE, Scene, completed, integer};
use crate::broker_loss::brief;
use crate::support::eventually;
use crate::support::process::PROMPTLY;

const POISON: usize = 5_000;
const GOOD: usize = 500;
const POISONED: &str = "briefd_dead_lettered_total{reason=\"UNREADABLE\"}";

#[tokio::test]
async fn a_flood_of_poison_is_set_aside_with_its_reason_and_holds_up_no_good_brief() {
    let mut scene = Scene::set(&[("BRIEFD__INTAKE__MAX_BACKLOG", "100000")]).await;
    let mut worker = scene.start_worker().await;
    let began = Instant::now();
    scene.publish(0..GOOD).await;
    scene.wait_over(&worker).await;
    let without = began.elapsed();
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    publish_flood(&mut scene).await;

    let worker = scene.start_worker().await;
    let began = Instant::now();
    let mut last_good = None;
    let over = eventually(PATIENCE, async || {
        let over = integer(&worker, POISONED).await == POISON && scene.is_over(&worker).await;
        if last_good.is_none() && completed(&worker).await == 2 * GOOD {
            last_good = Some(began.elapsed());
        }
        over.then_some(())
    });
    let over = over.await.is_some();
    let (last_good, all) = (last_good.unwrap_or(PATIENCE), began.elapsed());
    println!("{GOOD} good ones: {without:.1?} alone, {last_good:.1?} among {POISON}, which took {all:.1?}");
    assert!(over && last_good <= 5 * without + Duration::from_secs(10), "the good ones were held up");
    assert_eq!(scene.broker.count("briefs.dead").await, POISON);
    let said = worker.process.stderr();
    let lines = said.lines().filter(|line| line.contains("UNREADABLE")).count();
    // The first, and that there are more of them: in a minute first, and then ever more seldom.
    assert!((1..=4).contains(&lines), "{lines} lines about {POISON} messages:\n{said}");
    let mut evidence = scene.stop(worker).await;
    let bodies: BTreeSet<&Vec<u8>> = evidence.dead_letters.iter().map(|dead| &dead.body).collect();
    assert_eq!(bodies.len(), POISON, "each of them");
    evidence.expected_dead_letters = vec!["UNREADABLE"; POISON];
    evidence.assert_clean();
}

/// Good briefs, and ten times as many messages among them that are none.
async fn publish_flood(scene: &mut Scene) {
    let step = (POISON + GOOD) / GOOD;
    let good = |number: usize| number.is_multiple_of(step).then(|| brief(&format!("good {number}")));
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
