//! The broker's process is frozen, killed, and started again, each time in the middle of the work.

use std::collections::BTreeSet;

use super::{LEADER, PATIENCE, RECONNECTS, RESTARTS, Scene, integer, wait_at_least, wait_connected};
use crate::support::node::Node;
use crate::support::{eventually, tell};

const PUBLISHED: &str = "briefd_records_published_total{type=\"container.completed\"}";
/// Some briefs are still in the queue, some are at the API, and some have ended when the broker goes.
const MIDDLE: [(&str, &str); 4] = [
    ("BRIEFD__AMQP__PREFETCH", "5"),
    ("BRIEFD__INTAKE__MAX_BACKLOG", "25"),
    ("BRIEFD__AMQP__HEARTBEAT", "1s"),
    ("BRIEFD__PUBLISH__CONFIRM_TIMEOUT", "3s"),
];

#[tokio::test]
async fn a_broker_killed_and_started_again_under_load_costs_nothing() {
    let mut node = Node::start().await;
    let mut scene = Scene::at(&node, &MIDDLE).await;
    let worker = scene.start_worker().await;
    scene.settle_queues(&mut node, &worker).await;
    for kill in 0..2 {
        let before = integer(&worker, RECONNECTS).await;
        scene.publish(kill * 100..(kill + 1) * 100).await;
        scene.take(10).await;
        assert!(!scene.is_over(&worker).await, "the middle was missed");
        node.kill_and_restart().await;
        scene.wait_over_at(&mut node, &worker).await;
        wait_at_least(&worker, RECONNECTS, before + 2).await;
    }
    wait_connected(&worker, true).await;
    let (calls, reconnects) = (scene.calls(&worker).await, integer(&worker, RECONNECTS).await);
    tell("two kills of the broker", &format!("{calls}; {reconnects} reconnects"));
    assert!(!worker.process.stderr().contains("ERROR"), "{}", worker.process.stderr());
    scene.finish(worker).await;
}

#[tokio::test]
async fn what_a_frozen_broker_has_not_confirmed_is_never_taken_for_sent() {
    let mut node = Node::start().await;
    let mut scene = Scene::at(&node, &MIDDLE).await;
    let mut worker = scene.start_worker().await;
    scene.settle_queues(&mut node, &worker).await;
    scene.publish(0..120).await;
    scene.take(10).await;
    node.freeze();
    wait_connected(&worker, false).await;
    let published = integer(&worker, PUBLISHED).await;
    // There is something to send, and it calls in vain.
    let calls = scene.line.calls();
    let in_vain = eventually(PATIENCE, async || {
        (scene.line.calls() >= calls + 3 && integer(&worker, "briefd_outbox_pending").await > 0).then_some(())
    });
    in_vain.await.expect("records are waiting and the broker is called");
    let pending = integer(&worker, "briefd_outbox_pending").await;
    assert_eq!(integer(&worker, PUBLISHED).await, published, "nobody has confirmed anything");

    let calls = scene.calls(&worker).await;

    // Neither lives on to say more than it has written down.
    worker.process.sigkill();
    scene.crashes += 1;
    node.kill_and_restart().await;
    let sent = sent(&scene).await;
    assert_eq!(sent.len(), published, "what was counted is what is written down");
    let mut taken = BTreeSet::new();
    let mut all_there = async |within| {
        let there = eventually(within, async || {
            scene.records.extend(scene.broker.take_rest("records").await);
            taken.extend(
                scene.records.iter().map(|record| record.json()["recordId"].as_str().unwrap().to_owned()),
            );
            sent.is_subset(&taken).then_some(())
        });
        there.await.is_some()
    };
    let mut restarts = 0;
    while !all_there(LEADER).await {
        restarts += 1;
        assert!(restarts <= RESTARTS, "the broker has not all that the ledger says was sent");
        node.restart().await;
    }
    let taken = taken.len();
    let figures = format!("{} sent, {taken} at the broker, {pending} and more were waiting", sent.len());
    tell("a frozen broker", &format!("{calls}; {figures}"));

    let worker = scene.spawn_worker();
    worker.wait_said("briefd is at work").await;
    scene.wait_over_at(&mut node, &worker).await;
    scene.finish(worker).await;
}

/// The ids of all messages that the ledger says were sent.
async fn sent(scene: &Scene) -> BTreeSet<String> {
    let mut ledger = scene.ledger().await;
    let ids = sqlx::query_scalar("SELECT message_id FROM outbox WHERE state = 'sent'");
    ids.fetch_all(&mut ledger).await.unwrap().into_iter().collect()
}
