//! Something accepts connections and never says a word.

use super::{PATIENCE, Scene, wait_connected};
use crate::support::forwarder::Line;
use crate::support::process::PROMPTLY;
use crate::support::{eventually, tell};

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_costs_neither_threads_nor_sockets() {
    let mut scene = Scene::set(&[]).await;
    scene.line.set(Line::Mute);
    let worker = scene.spawn_worker();
    let called = async |calls| {
        let called = eventually(PATIENCE, async || (scene.line.calls() >= calls).then_some(())).await;
        called.expect("it tries again and again");
    };
    called(2).await;
    let sockets = worker.process.sockets();
    // Both sides are at their third try: what the others had is gone, or soon will be.
    called(6).await;
    let mut counts = (0, 0);
    let gone = eventually(PROMPTLY, async || {
        counts = (worker.process.threads("lapin-io-loop"), worker.process.sockets());
        (counts.0 <= 2 && counts.1 <= sockets + 1).then_some(())
    });
    let gone = gone.await.is_some();
    assert!(gone, "{counts:?}, and {sockets} sockets at the first try");
    assert_eq!(worker.process.stderr().matches("no working RabbitMQ connection").count(), 2);
    let figures = format!("threads and sockets at the third try {counts:?}, {sockets} sockets at the first");
    tell("a mute peer", &format!("{}; {figures}", scene.calls(&worker).await));

    scene.line.set(Line::Open);
    wait_connected(&worker, true).await;
    scene.publish(0..3).await;
    scene.wait_over(&worker).await;
    scene.finish(worker).await;
}
