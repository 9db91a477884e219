//! A message that kills the process each time it is read.

use sqlx::Connection as _;

use super::Scene;
use crate::five_hundred::lock_ledger;
use crate::support::forwarder::Line;
use crate::support::process::PROMPTLY;

const CRASHES: usize = 25;
const HEALTHY: usize = 50;
/// Fewer than there are crashes: whoever is delivered at each of them is set aside by the broker.
const DELIVERY_LIMIT: &str = "20";

#[tokio::test]
async fn a_message_that_kills_the_process_again_and_again_takes_no_healthy_one_with_it() {
    let settings =
        [("BRIEFD__AMQP__INPUT__DELIVERY_LIMIT", DELIVERY_LIMIT), ("BRIEFD__LOG__LEVEL", "briefd=debug")];
    let mut scene = Scene::set(&settings).await;
    // Queues come with a worker.
    let mut worker = scene.start_worker().await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    let deadly = b"the deadly one".to_vec();
    scene.broker.publish_with(&deadly, lapin::BasicProperties::default().with_delivery_mode(2)).await;
    scene.publish(0..HEALTHY).await;

    for _ in 0..CRASHES {
        crash(&scene).await;
    }
    let worker = scene.start_worker().await;
    scene.wait_over(&worker).await;
    let mut evidence = scene.stop(worker).await;
    // The broker sets it aside, so nobody wrote a reason on it.
    let dead = std::mem::take(&mut evidence.dead_letters);
    assert_eq!(
        dead.iter().map(|dead| &dead.body).collect::<Vec<_>>(),
        [&deadly],
        "one, and it is the deadly one"
    );
    println!(
        "{CRASHES} crashes, limit {DELIVERY_LIMIT}: the broker set aside {} of {}",
        dead.len(),
        HEALTHY + 1
    );
    evidence.assert_clean();
}

/// A process that is gone as soon as intake has read the first message and before it is recorded.
async fn crash(scene: &Scene) {
    scene.line.set(Line::Mute);
    let mut worker = scene.spawn_worker();
    worker.wait_said("briefd is at work").await;
    let lock = lock_ledger(scene.dir.path()).await;
    scene.line.set(Line::Open);
    worker.wait_said("deciding").await;
    worker.process.sigkill();
    lock.close().await.unwrap();
}
