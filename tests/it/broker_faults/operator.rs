//! Somebody at the broker closes connections, deletes a queue, or has not bound one.

use serde_json::{Value, json};

use super::{PATIENCE, RECONNECTS, Scene, completed, integer, wait_at_least};
use crate::support::process::PROMPTLY;
use crate::support::{eventually, tell};

/// Closes all connections that came by way of the scene's line; returns how many.
async fn close_connections(scene: &Scene) -> usize {
    let management = std::env::var("BRIEFD_TEST_MANAGEMENT_URL").expect("the broker has a management API");
    let client = reqwest::Client::new();
    let answer = client.get(format!("{management}/api/connections")).send().await.unwrap();
    let connections: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let mut closed = 0;
    for connection in connections.as_array().unwrap() {
        let port = connection["peer_port"].as_u64().and_then(|port| u16::try_from(port).ok());
        if !port.is_some_and(|port| scene.line.owns(port)) {
            continue;
        }
        let mut url = reqwest::Url::parse(&management).unwrap();
        url.path_segments_mut().unwrap().extend(["api", "connections", connection["name"].as_str().unwrap()]);
        let answer = client.delete(url).header("X-Reason", "the operator said so").send().await.unwrap();
        closed += usize::from(answer.status().is_success());
    }
    closed
}

#[tokio::test]
async fn connections_that_an_operator_closes_again_and_again_are_replaced_and_nothing_is_lost() {
    let prefetch = [("BRIEFD__AMQP__PREFETCH", "5"), ("BRIEFD__INTAKE__MAX_BACKLOG", "40")];
    let mut scene = Scene::set(&prefetch).await;
    let worker = scene.start_worker().await;
    let mut closed = 0;
    for round in 0..3 {
        scene.publish(round * 40..(round + 1) * 40).await;
        let now = eventually(PROMPTLY, async || {
            closed += close_connections(&scene).await;
            (closed >= 2 * (round + 1)).then_some(())
        });
        now.await.expect("the management API shows the worker's connections");
        wait_at_least(&worker, RECONNECTS, 2 * (round + 1)).await;
    }
    scene.wait_over(&worker).await;
    tell("connections that are closed", &format!("{}; {closed} closed", scene.calls(&worker).await));
    let said = worker.process.stderr();
    assert!(said.contains("the operator said so"), "{said}");
    assert_eq!(integer(&worker, RECONNECTS).await, closed, "each is counted");
    assert_eq!(scene.line.calls(), 2 + closed, "each is replaced once");
    scene.finish(worker).await;
}

#[tokio::test]
async fn a_queue_that_is_deleted_under_the_worker_is_declared_again_and_work_goes_on() {
    let mut scene = Scene::set(&[]).await;
    let worker = scene.start_worker().await;
    scene.publish(0..30).await;
    worker.wait_series("briefd_briefs_received_total{result=\"new\"}", 30.0).await;
    scene.broker.delete_queue("briefs").await;
    wait_at_least(&worker, RECONNECTS, 1).await;
    scene.publish(30..60).await;
    scene.wait_over(&worker).await;
    assert!(worker.process.stderr().contains("was the queue deleted?"), "{}", worker.process.stderr());
    assert_eq!(integer(&worker, RECONNECTS).await, 1);
    tell("a deleted queue", &scene.calls(&worker).await);
    scene.finish(worker).await;
}

#[tokio::test]
async fn records_of_a_routing_key_without_a_queue_wait_and_those_of_others_do_not_wait_for_them() {
    const EACH: usize = 40;
    let retries = [("BRIEFD__PUBLISH__RETRY_INITIAL", "200ms"), ("BRIEFD__PUBLISH__RETRY_MAX", "1s")];
    let mut scene = Scene::set(&retries).await;
    scene.broker.delete_records_queue().await;
    let worker = scene.start_worker().await;
    let brief = |project: &str, number: usize| json!({"projectId": project, "briefId": format!("{project} {number}"), "format": "slideshow_remix", "brief": {"hook": "x"}});
    scene
        .publish_all(
            (0..EACH).flat_map(|number| [brief("bound", number), brief("unbound", number)]).collect(),
        )
        .await;
    let all = eventually(PATIENCE, async || (completed(&worker).await == 2 * EACH).then_some(())).await;
    all.expect("all briefs complete");
    let returned = "briefd_unroutable_total{type=\"container.completed\"}";
    wait_at_least(&worker, returned, 2).await;
    let published = "briefd_records_published_total{type=\"container.completed\"}";
    assert_eq!(
        (integer(&worker, published).await, integer(&worker, "briefd_outbox_pending").await),
        (0, 2 * EACH)
    );

    scene.broker.bind_records_queue("container.completed.bound").await;
    scene.take(EACH).await;
    worker.wait_series("briefd_outbox_pending", f64::from(u8::try_from(EACH).unwrap())).await;
    assert_eq!(integer(&worker, published).await, EACH);
    // Still none of the others, however often they are tried.
    let before = integer(&worker, returned).await;
    wait_at_least(&worker, returned, before + 2).await;
    assert!(scene.broker.take_rest("records").await.is_empty());
    assert_eq!(worker.look("/readyz").await.unwrap().0, 200, "the broker is up");

    scene.broker.bind_records_queue("container.completed.unbound").await;
    scene.take(EACH).await;
    scene.wait_over(&worker).await;
    assert_eq!(integer(&worker, RECONNECTS).await, 0);
    let (calls, returns) = (scene.calls(&worker).await, integer(&worker, returned).await);
    tell("unroutable records", &format!("{calls}; {returns} returns of {EACH} of them"));
    scene.finish(worker).await;
}
