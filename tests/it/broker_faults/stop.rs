//! An orderly stop under load.

use super::{PATIENCE, Scene, integer};
use crate::support::{eventually, tell};

#[tokio::test]
async fn a_stop_under_load_ends_within_the_grace_and_nothing_that_is_recorded_comes_again() {
    const BRIEFS: usize = 400;
    let settings = [("BRIEFD__SHUTDOWN__GRACE", "20s"), ("BRIEFD__AMQP__PREFETCH", "20")];
    let mut scene = Scene::set(&settings).await;
    let mut worker = scene.start_worker().await;
    let new = "briefd_briefs_received_total{result=\"new\"}";
    let stopping = async {
        let middle = eventually(PATIENCE, async || (integer(&worker, new).await >= 50).then_some(()));
        middle.await.expect("briefs come in");
        worker.process.sigterm();
    };
    tokio::join!(scene.publish(0..BRIEFS), stopping);
    let began = std::time::Instant::now();
    let status = worker.process.wait_exit(std::time::Duration::from_secs(22)).await;
    assert_eq!(status.code(), Some(0), "{}", worker.process.stderr());
    let left = scene.broker.count("briefs").await;
    let stopped = began.elapsed();
    tell(
        "a stop under load",
        &format!("over after {stopped:.1?}, {left} of {BRIEFS} briefs left in the queue"),
    );
    assert!(left > 0, "the stop came too late to prove anything");

    let worker = scene.start_worker().await;
    scene.wait_over(&worker).await;
    let decided = async |result: &str| {
        integer(&worker, &format!("briefd_briefs_received_total{{result=\"{result}\"}}")).await
    };
    assert_eq!((decided("new").await, decided("duplicate").await), (left, 0));
    scene.finish(worker).await;
}
