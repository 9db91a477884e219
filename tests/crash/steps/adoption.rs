//! What was given up, and what nobody knows to be bought, is found in the API's list and adopted.

use serde_json::{Value, json};

use super::{brief, until};
use crate::scene::Scene;
use crate::support::eventually;
use crate::support::process::PROMPTLY;

const ADOPTED: &str = "SELECT count(*) = 0 FROM container WHERE status = 'lost'";

const FOLLOWED: &str = "SELECT count(*) FROM job j JOIN brief b ON b.id = j.brief WHERE b.brief_id = 'unknown' AND j.state = 'running'";

/// It does not end by itself, and is given up.
pub fn slow() -> Value {
    brief("slow", json!({"never": true, "seconds": 1}))
}

/// Bought, and no answer tells.
pub fn unknown() -> Value {
    brief("unknown", json!({"seconds": 1, "faults": ["accepted-unanswered"]}))
}

/// Until the one is given up and the other is bought unheard.
pub async fn prepare(scene: &Scene) {
    until(scene, "something is given up", "SELECT count(*) FROM container WHERE status = 'lost'").await;
    // Nothing that the API says can tell: a refusal after a lost answer, and look-ups that are refused.
    scene.sandbox.change("faults", &json!({ "unknown-code": 1.0, "read-error-500": 1.0 })).await;
    scene.broker.publish(&unknown()).await;
    let bought =
        eventually(PROMPTLY, async || (scene.sandbox.account().await["jobsMade"] == 2).then_some(()));
    assert!(bought.await.is_some(), "it is not bought");
}

/// Takes both over, without a worker.
pub async fn adopt(scene: &Scene) {
    scene.sandbox.change("faults", &json!({})).await;
    let never_ends = scene.sandbox.account().await["jobs"][0]["id"].clone();
    let never_ends = never_ends.as_str().expect("a job has an id");
    scene.sandbox.post(&format!("/v1/jobs/{never_ends}/cancel")).await;
    let over = eventually(PROMPTLY, async || {
        let containers = &scene.sandbox.account().await["containers"];
        (containers["completed"] == 1 && containers["canceled"] == 1).then_some(())
    });
    assert!(over.await.is_some(), "they do not end: {}", scene.sandbox.account().await["containers"]);
    // It tells of differences by its exit code, and of none when its first try did all but tell.
    let adopt = ["reconcile", "--project", "p", "--since", "1h", "--grace", "0s", "--adopt"];
    scene.command_until(&adopt, |status| matches!(status.code(), Some(0 | 1))).await;
    until(scene, "the late one is adopted", ADOPTED).await;
    until(scene, "the unknown one is adopted", FOLLOWED).await;
}
