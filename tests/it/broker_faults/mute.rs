//! Something accepts connections and never says a word.

use super::{PATIENCE, Scene, wait_connected};
use crate::support::eventually;
use crate::support::forwarder::Line;

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_costs_neither_threads_nor_sockets() {
    let mut scene = Scene::set(&[]).await;
    scene.line.set(Line::Mute);
    let worker = scene.spawn_worker();
    // Threads and open files while both sides are at their first try, and at their third.
    let mut counts = Vec::new();
    for calls in [2, 6] {
        let called = eventually(PATIENCE, async || (scene.line.calls() >= calls).then_some(())).await;
        called.expect("it tries again and again");
        counts.push((worker.process.count_in_proc("task"), worker.process.count_in_proc("fd")));
    }
    println!("threads and open files: {counts:?}");
    let [(threads, files), (more_threads, more_files)] = counts[..] else { unreachable!() };
    // One that has just been given up may still be there.
    assert!(more_threads <= threads + 2 && more_files <= files + 3, "{counts:?}");
    assert_eq!(worker.process.stderr().matches("no working RabbitMQ connection").count(), 2);
    scene.tell_calls("a mute peer");

    scene.line.set(Line::Open);
    wait_connected(&worker, true).await;
    scene.publish(0..3).await;
    scene.wait_over(&worker).await;
    scene.finish(worker).await;
}
