//! A broker at its limits: the size of a message, the time until an acknowledgement, its memory. They share a node.

use std::time::Duration;

use serde_json::json;
use sqlx::Connection as _;

use super::{PATIENCE, RECONNECTS, Scene, completed, connected, integer, wait_at_least, wait_connected};
use crate::five_hundred::lock_ledger;
use crate::support::node::Node;
use crate::support::process::briefd;
use crate::support::{eventually, tell};

/// Larger messages are refused, and close their channel.
const SIZE: usize = 100_000;

#[tokio::test]
async fn a_broker_at_its_limits_loses_nothing() {
    let node = Node::start_with(&[&format!("max_message_size = {SIZE}"), "consumer_timeout = 4000"]).await;
    // It looks for late acknowledgements this often.
    node.command(&["eval", "application:set_env(rabbit, channel_tick_interval, 1000)."]).await;
    a_record_that_is_too_large_is_parked_and_the_others_go_on(&node).await;
    a_channel_that_the_broker_closes_for_lack_of_acknowledgements_is_replaced(&node).await;
    while_memory_is_short_deliveries_go_on_and_a_stop_is_in_order(&node).await;
    what_may_not_be_published_waits_is_named_and_parks_nothing(&node).await;
}

async fn a_record_that_is_too_large_is_parked_and_the_others_go_on(node: &Node) {
    let mut scene = Scene::at(node, &[]).await;
    let worker = scene.start_worker().await;
    // The brief fits; its record has the metadata and more.
    let large = json!({"projectId": "p", "briefId": "large", "format": "slideshow_remix", "brief": {"hook": "x"},
        "metadata": {"note": "x".repeat(SIZE - 200)}});
    scene.publish(0..20).await;
    scene.publish_all(vec![large]).await;
    scene.publish(20..40).await;
    worker.wait_series("briefd_outbox_parked", 1.0).await;
    scene.wait_over(&worker).await;
    let said = worker.process.stderr();
    let alerts = said.lines().filter(|line| line.contains("ERROR")).collect::<Vec<_>>();
    assert!(
        alerts.len() == 1 && alerts[0].contains("messages that the broker cannot take are parked"),
        "{said}"
    );
    // Nothing is left to send, and the connection is as good as any.
    wait_connected(&worker, true).await;
    let (calls, reconnects) = (scene.calls(&worker).await, integer(&worker, RECONNECTS).await);
    tell("a record too large", &format!("{calls}; {reconnects} reconnects"));

    let evidence = scene.stop(worker).await;
    assert_eq!(
        evidence.records.iter().map(|record| &record.body).collect::<std::collections::BTreeSet<_>>().len(),
        40
    );
    let violations = evidence.violations();
    // Nothing is wrong but that this one never came out.
    let of_it = [
        "large run 1 variant 1 was lost",
        "was paid for and lost",
        "credits were charged",
        "in the outbox it is 'parked'",
        "large run 1 owes 1 records, 0 of it were confirmed",
    ];
    let told = violations.iter().zip(of_it).all(|(line, of_it)| line.contains(of_it));
    assert!(violations.len() == of_it.len() && told, "{violations:#?}");
}

async fn a_channel_that_the_broker_closes_for_lack_of_acknowledgements_is_replaced(node: &Node) {
    const BRIEFS: usize = 20;
    let mut scene = Scene::at(node, &[]).await;
    let worker = scene.start_worker().await;
    let lock = lock_ledger(scene.dir.path()).await;
    scene.publish(0..BRIEFS).await;
    worker.wait_series("briefd_intake_paused{reason=\"ledger\"}", 1.0).await;
    let free = eventually(PATIENCE, async || (scene.broker.count("briefs").await == BRIEFS).then_some(()));
    free.await.expect("the broker closes a channel that acknowledges nothing for seconds");
    lock.close().await.unwrap();
    scene.wait_over(&worker).await;
    wait_at_least(&worker, RECONNECTS, 1).await;
    let lost = integer(&worker, "briefd_ack_lost_total").await;
    assert!(lost > 0);
    tell("a closed channel", &format!("{}; {lost} lost acknowledgements", scene.calls(&worker).await));
    scene.finish(worker).await;
}

async fn while_memory_is_short_deliveries_go_on_and_a_stop_is_in_order(node: &Node) {
    const BRIEFS: usize = 150;
    const GRACE: Duration = Duration::from_secs(10);
    let settings = [
        ("BRIEFD__PUBLISH__CONFIRM_TIMEOUT", "2s"),
        ("BRIEFD__SHUTDOWN__GRACE", "10s"),
        ("BRIEFD__AMQP__PREFETCH", "5"),
        // Deliveries stand still until some have ended.
        ("BRIEFD__INTAKE__MAX_BACKLOG", "10"),
    ];
    let mut scene = Scene::at(node, &settings).await;
    let mut worker = scene.start_worker().await;
    scene.publish(0..BRIEFS).await;
    scene.take(1).await;
    // None ends before memory is short, however long that takes.
    scene.sandbox.process.freeze();
    node.command(&["set_vm_memory_high_watermark", "absolute", "1000"]).await;
    scene.sandbox.process.thaw();
    assert!(completed(&worker).await < BRIEFS, "the middle was missed");
    worker.wait_said("it is under a memory or disk alarm").await;
    let published = "briefd_records_published_total{type=\"container.completed\"}";
    let before = integer(&worker, published).await;
    let all = eventually(PATIENCE, async || (completed(&worker).await == BRIEFS).then_some(())).await;
    all.expect("deliveries go on and are worked on");
    assert_eq!(integer(&worker, published).await, before, "nobody has confirmed anything");
    // What the broker lets in and does not read from is no connection; deliveries come by the other one.
    worker.wait_series("briefd_outbox_pending", f64::from(u8::try_from(BRIEFS - before).unwrap())).await;
    for (series, value) in [(connected("consume"), 1), (connected("publish"), 0), (RECONNECTS.to_owned(), 0)]
    {
        assert_eq!(integer(&worker, &series).await, value, "{series}");
    }
    let calls = scene.calls(&worker).await;
    worker.process.sigterm();
    let began = std::time::Instant::now();
    let status = worker.process.wait_exit(GRACE + Duration::from_secs(3)).await;
    let stopped = began.elapsed();
    let figures = format!("{before} of {BRIEFS} records were out, stopped after {stopped:.1?} of {GRACE:?}");
    tell("a memory alarm", &format!("{calls}; {figures}"));
    assert_eq!(status.code(), Some(0), "{}", worker.process.stderr());

    let worker = scene.spawn_worker();
    worker.wait_said("briefd is at work").await;
    node.command(&["set_vm_memory_high_watermark", "0.4"]).await;
    scene.wait_over(&worker).await;
    scene.finish(worker).await;
}

async fn what_may_not_be_published_waits_is_named_and_parks_nothing(node: &Node) {
    let settings = [("BRIEFD__PUBLISH__RETRY_INITIAL", "200ms"), ("BRIEFD__PUBLISH__RETRY_MAX", "1s")];
    let mut scene = Scene::at(node, &settings).await;
    let containers = scene.broker.name("containers");
    let all_but_it = format!("^(?!{containers}$)");
    let may_write = async |what: &str| {
        node.command(&["set_permissions", "-p", "/", "guest", ".*", what, ".*"]).await;
    };
    may_write(&all_but_it).await;
    let worker = scene.start_worker().await;
    scene.publish(0..3).await;
    worker.wait_said("the broker does not let this user publish them").await;
    // What may leave leaves.
    scene.broker.publish_with(b"no brief", lapin::BasicProperties::default()).await;
    let left = eventually(PATIENCE, async || (scene.broker.count("briefs.dead").await == 1).then_some(()));
    left.await.expect("dead letters leave");
    assert_eq!(integer(&worker, "briefd_outbox_parked").await, 0, "{}", worker.process.stderr());
    let calls = scene.calls(&worker).await;
    let mut doctor = briefd(scene.dir.path(), &["doctor"], &scene.variables);
    let told = tokio::task::spawn_blocking(move || doctor.output()).await.unwrap().unwrap();
    let told: String = String::from_utf8_lossy(&told.stdout).split_whitespace().collect();
    assert!(told.contains(&format!("maynotpublishtoexchange{containers}")), "{told}");

    may_write(".*").await;
    scene.wait_over(&worker).await;
    tell("a right that is missing", &calls);
    let mut evidence = scene.stop(worker).await;
    evidence.expected_dead_letters = vec!["UNREADABLE"];
    evidence.assert_clean();
}
