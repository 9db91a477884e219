//! A message that kills the process each time it is read.

use sqlx::{Connection as _, Executor as _};

use super::Scene;
use crate::support::process::PROMPTLY;
use crate::support::{eventually, tell};

const CRASHES: usize = 25;
const HEALTHY: usize = 50;
/// The last crash is the one delivery too many.
const DELIVERY_LIMIT: &str = "24";
/// It can only be set aside, and that cannot be written; the process that wants to is killed.
const DEADLY: &str = "CREATE TRIGGER deadly BEFORE INSERT ON outbox WHEN NEW.channel = 'dead_letter' \
    BEGIN SELECT RAISE(ABORT, 'deadly'); END";

#[tokio::test]
async fn a_message_that_kills_the_process_again_and_again_takes_no_healthy_one_with_it() {
    let mut scene = Scene::set(&[("BRIEFD__AMQP__INPUT__DELIVERY_LIMIT", DELIVERY_LIMIT)]).await;
    // Queues and ledger come with a worker.
    let mut worker = scene.start_worker().await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    let mut ledger = scene.ledger().await;
    ledger.execute(DEADLY).await.unwrap();
    let deadly = b"the deadly one".to_vec();
    scene.broker.publish_with(&deadly, lapin::BasicProperties::default().with_delivery_mode(2)).await;
    scene.publish(0..HEALTHY).await;

    for _ in 0..CRASHES {
        assert_eq!(scene.broker.count("briefs.dead").await, 0, "after {} crashes", scene.crashes);
        let mut worker = scene.spawn_worker();
        worker.wait_said("the ledger cannot be written: deadly").await;
        worker.process.sigkill();
        scene.crashes += 1;
    }
    let set_aside =
        eventually(PROMPTLY, async || (scene.broker.count("briefs.dead").await > 0).then_some(()));
    set_aside.await.expect("the broker sets it aside");
    assert_eq!(scene.broker.count("briefs.dead").await, 1, "a healthy one was set aside, too");
    ledger.execute("DROP TRIGGER deadly").await.unwrap();
    ledger.close().await.unwrap();
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
    let figures = format!("the broker set aside {} of {} after {CRASHES} crashes", dead.len(), HEALTHY + 1);
    tell("a message that kills", &figures);
    evidence.assert_clean();
}
