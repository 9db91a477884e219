//! An operator at work: looks at what runs, cancels, runs again by plan and canary, sorts the dead letters, sends records
//! again, and prunes.

use serde_json::{Value, json};

use super::{brief, until};
use crate::scene::Scene;
use crate::support::eventually;
use crate::support::process::PROMPTLY;

/// The `message_id` of a dead letter that is requeued,
pub const AGAIN: &str = "m-again";
/// and of one that is thrown away.
pub const AWAY: &str = "m-away";

const ENDED: &str = "SELECT count(*) = 7 FROM run WHERE finished_at IS NOT NULL";

const RUNS: &str = "SELECT count(*) FROM container c JOIN brief b ON b.id = c.brief WHERE b.brief_id = 'long' AND c.id <> ''";

const FAILED: &str = "SELECT count(*) = 2 FROM brief WHERE batch_id = 'again' AND state = 'failed'";

const THREE: &str = "SELECT count(*) >= 3 FROM outbox WHERE channel = 'dead_letter' AND state = 'sent'";

const LEFT: &str = "SELECT count(*) = 0 FROM run";

/// What waits before there is a worker.
pub fn operated() -> Vec<Value> {
    let [one, other] = runs_again();
    vec![plain(), in_batch(brief("long", json!({"seconds": 6_000})), "wrong"), one, other]
}

fn plain() -> Value {
    brief("plain", json!({}))
}

/// Two that fail, and complete when they are run again.
pub fn runs_again() -> [Value; 2] {
    ["one", "other"].map(|id| {
        let wish = json!({"fail": "RENDER_FAILED", "regenerate": {"seconds": 60}});
        in_batch(brief(id, wish), "again")
    })
}

/// Of the canceled batch, and not started.
pub fn waits() -> Value {
    in_batch(brief("waits", json!({})), "wrong")
}

fn in_batch(mut brief: Value, batch: &str) -> Value {
    brief["batchId"] = json!(batch);
    brief
}

/// Everything for which a worker is there.
pub async fn work(scene: &Scene) {
    tokio::join!(cancel(scene), rerun(scene), sort_dead_letters(scene));
    until(scene, "the last run ends", ENDED).await;
    scene.command(&["records", "--batch", "again", "--publish", "--yes", "--reason", "a scene"]).await;
    // Nothing is so old: what is pruned below is pruned when all of it has been looked at.
    scene.command(&["ledger", "prune", "--older-than", "30d"]).await;
    until(scene, "everything is carried out", "SELECT count(*) = 0 FROM request WHERE done_at IS NULL").await;
}

async fn cancel(scene: &Scene) {
    until(scene, "it runs", RUNS).await;
    scene.command(&["show", "long"]).await;
    scene.command(&["hold", "--batch", "wrong", "--reason", "a scene"]).await;
    until(scene, "the batch is held", "SELECT count(*) FROM hold WHERE batch = 'wrong'").await;
    scene.broker.publish(&waits()).await;
    until(scene, "it waits", "SELECT count(*) FROM brief WHERE brief_id = 'waits' AND state = 'waiting'")
        .await;
    scene.command(&["cancel", "--batch", "wrong", "--reason", "wrong hook", "--yes"]).await;
}

async fn rerun(scene: &Scene) {
    until(scene, "both have failed", FAILED).await;
    scene.command(&["rerun", "--batch", "again", "--canary", "1", "--reason", "a scene", "--yes"]).await;
}

async fn sort_dead_letters(scene: &Scene) {
    let both = eventually(PROMPTLY, async || (scene.broker.count("briefs.dead").await >= 2).then_some(()));
    assert!(both.await.is_some(), "they are not set aside");
    scene.dead_letters(&["requeue", AGAIN]).await;
    until(scene, "it is set aside again", THREE).await;
    scene.dead_letters(&["discard", AWAY, "--yes"]).await;
}

/// Leaves tombstones of everything. No worker runs: the command does it.
pub async fn prune(scene: &Scene) {
    let left = scene.broker.take_rest("briefs.dead").await;
    let ids: Vec<_> = left.iter().filter_map(|left| left.envelope.as_ref()?.message_id.as_deref()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| *id == AGAIN), "what was not thrown away: {ids:?}");
    scene.command(&["ledger", "prune", "--older-than", "0s"]).await;
    until(scene, "all of it is pruned", LEFT).await;
}

/// What became a tombstone is still known.
pub async fn repeat(scene: &Scene) {
    scene.broker.publish(&plain()).await;
    until(scene, "it is known", "SELECT count(*) FROM delivery WHERE result = 'duplicate'").await;
}
