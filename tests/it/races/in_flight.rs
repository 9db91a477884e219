//! While a POST is at the API, and nobody knows yet what becomes of it.

use serde_json::json;

use super::{Scene, brief, run};

/// Jobs whose POST may have left.
const SUBMITTING: &str = "briefd_jobs{state=\"submitting\"}";

fn told(brief: &str, run: u64, kind: &str, code: &str) -> (String, u64, String, String) {
    (brief.to_owned(), run, kind.to_owned(), code.to_owned())
}

#[tokio::test]
async fn a_cancel_during_a_post_waits_for_its_answer_and_neither_loses_nor_repeats_what_was_bought() {
    let mut scene = Scene::set("--speed 100", &[]).await;
    let worker = scene.worker().await;
    // Half a minute here; a cancel comes true at the end of a stage.
    let running = json!({"seconds": 3_000, "regenerate": {"seconds": 5}});
    let lost = json!({"seconds": 3_000, "faults": ["accepted-unanswered"], "regenerate": {"seconds": 5}});
    let briefs = [
        brief("1 accepted", &running),
        brief("2 answer lost", &lost),
        brief("3 refused", &json!({"refuse": "MODERATION_BLOCKED"})),
    ];
    scene.sandbox.process.freeze();
    for brief in &briefs {
        scene.send(brief).await;
    }
    worker.wait_series(SUBMITTING, 3.0).await;
    let said = scene.done(&["cancel", "--batch", "b", "--reason", "wrong hook", "--yes"]).await;
    assert!(said.contains("3 briefs being submitted"), "{said}");
    // The same once more, and the messages, too.
    scene.done(&["cancel", "--brief", "1 accepted", "--yes"]).await;
    for brief in &briefs {
        scene.send_again(&worker, brief, "duplicate").await;
    }
    scene.sandbox.process.thaw();
    scene.take_until(3).await;
    let canceled = |brief| told(brief, 1, "container.canceled", "CANCELED");
    let refused = told("3 refused", 1, "brief.failed", "MODERATION_BLOCKED");
    assert_eq!(scene.told(), [canceled("1 accepted"), canceled("2 answer lost"), refused].into());
    assert_eq!(scene.sandbox.account().await["jobsMade"], 2);

    // What was canceled after it was bought is made anew if somebody asks for that, in its container.
    for brief in &briefs[..2] {
        scene.send(&run(brief, 2)).await;
    }
    scene.take_until(5).await;
    let account = scene.finish(worker).await;
    assert_eq!((&account["posts"]["regenerate"], &account["jobsMade"]), (&json!(2), &json!(4)));
}

#[tokio::test]
async fn whatever_is_delivered_again_while_a_rerun_is_at_the_api_the_rerun_is_bought_once() {
    let mut scene = Scene::set("--speed 100 --min-seconds 1 --max-seconds 5", &[]).await;
    let worker = scene.worker().await;
    let again = |wish| json!({"fail": "RENDER_FAILED", "regenerate": wish});
    let briefs = [
        brief("1 completes", &again(json!({}))),
        brief("2 answer lost", &again(json!({"faults": ["accepted-unanswered"]}))),
        brief("3 fails again", &again(json!({"fail": "RENDER_FAILED", "regenerate": {}}))),
    ];
    for brief in &briefs {
        scene.send(brief).await;
    }
    scene.take_until(3).await;

    scene.sandbox.process.freeze();
    for brief in &briefs {
        scene.send(&run(brief, 2)).await;
    }
    worker.wait_series("briefd_briefs_received_total{result=\"rerun\"}", 3.0).await;
    // The container is read first; a read that waits is as good a moment as any.
    for brief in &briefs {
        for _ in 0..2 {
            scene.send_again(&worker, &run(brief, 2), "duplicate").await;
        }
        scene.send_again(&worker, brief, "duplicate").await;
    }
    // Remembered: it starts only if the second run ends with a failure.
    for brief in &briefs {
        scene.send_again(&worker, &run(brief, 3), "rerun").await;
        scene.send_again(&worker, &run(brief, 3), "duplicate").await;
    }
    scene.sandbox.process.thaw();
    let third = run(&briefs[2], 3);
    scene.evidence.expected_runs.push(super::ExpectedRun { run: 3, ..super::ExpectedRun::first_of(&third) });
    scene.take_until(7).await;
    let account = scene.finish(worker).await;
    assert_eq!((&account["posts"]["generate"], &account["jobsMade"]), (&json!(3), &json!(7)));
}
