//! A ledger put back from an old copy: what its lost days had bought is collected, not bought again.

use std::path::Path;

use serde_json::{Value, json};

use super::{PROMPTLY, Scene, brief, run};
use crate::five_hundred::without_own_doings;
use crate::support::checker::Evidence;
use crate::support::message::Message;

/// Puts the copy in the place of the ledger, as GUARANTEES.md says: without what stood beside the old one.
fn restore(copy: &Path, ledger: &Path) {
    for beside in ["db", "db-wal", "db-shm"] {
        // What is not there need not go.
        drop(std::fs::remove_file(ledger.with_extension(beside)));
    }
    std::fs::copy(copy, ledger).unwrap();
}

/// A rerun that the copy does not know is found completed by reading: that names no job, and nobody knows its price.
fn without_what_only_the_lost_days_knew(record: &Message) -> Message {
    let record = without_own_doings(record);
    let mut json = record.json();
    json["creditsEstimate"] = Value::Null;
    if json["run"] == 2 {
        json["jobId"] = Value::Null;
    }
    Message { body: json.to_string().into_bytes(), ..record }
}

#[tokio::test]
async fn an_old_copy_of_the_ledger_put_back_buys_nothing_twice_and_publishes_everything() {
    let mut scene = Scene::set("--speed 100 --min-seconds 1 --max-seconds 5", &[]).await;
    let mut worker = scene.worker().await;
    let failing = json!({"fail": "RENDER_FAILED", "regenerate": {"seconds": 20}});
    let lost = json!({"faults": ["accepted-unanswered"]});
    let before = [
        brief("1 completed", &json!({})),
        brief("2 failed", &failing),
        brief("3 runs", &json!({"seconds": 500})),
    ];
    for brief in &before {
        scene.send(brief).await;
    }
    scene.take_until(2).await;
    let known = scene.evidence.records.len();
    worker.wait_series("briefd_outbox_pending", 0.0).await;
    scene.send(&brief("4 nobody heard of it", &lost)).await;
    scene.jobs_made(4).await;
    scene.sandbox.process.freeze();
    let copy = scene.dir.path().join("copy.db");
    scene.done(&["ledger", "backup", &copy.display().to_string()]).await;
    scene.sandbox.process.thaw();

    // What the copy does not know: ends, a rerun, new briefs, one of which nobody hears of until the ledger is old.
    let after = [
        run(&before[1], 2),
        brief("5 completed", &json!({})),
        brief("6 failed", &json!({"fail": "RENDER_FAILED"})),
        brief("7 refused", &json!({"refuse": "MODERATION_BLOCKED"})),
    ];
    for brief in &after {
        scene.send(brief).await;
    }
    scene.take_until(8).await;
    scene.send(&brief("8 nobody heard of it", &lost)).await;
    scene.jobs_made(8).await;
    scene.sandbox.process.freeze();
    worker.wait_series("briefd_outbox_pending", 0.0).await;
    worker.process.sigkill();
    scene.sandbox.process.thaw();
    let rest = scene.broker.take_rest("records").await;
    scene.evidence.records.extend(rest);
    let told_before = scene.evidence.records.len();
    let bought = scene.sandbox.account().await["jobsMade"].clone();
    assert_eq!(bought, 8);

    restore(&copy, &scene.dir.path().join("briefd.db"));
    worker = scene.worker().await;
    let sent_again = after
        .iter()
        .chain(&before)
        .cloned()
        .chain([brief("4 nobody heard of it", &lost), brief("8 nobody heard of it", &lost)]);
    for brief in sent_again {
        scene.broker.publish(&brief).await;
    }
    worker.wait_series("briefd_briefs{project=\"other\",state=\"completed\"}", 6.0).await;
    worker.wait_series("briefd_briefs{project=\"other\",state=\"failed\"}", 2.0).await;
    scene.take_until(9).await;
    worker.wait_series("briefd_outbox_pending", 0.0).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    let rest = scene.broker.take_rest("records").await;
    scene.evidence.records.extend(rest);

    let all = scene.evidence.records.len();
    assert!(all > scene.distinct(), "the old ledger published again what it did not know to be published");
    scene.evidence.account = scene.sandbox.account().await;
    scene.evidence.dead_letters = scene.broker.take_rest("briefs.dead").await;
    scene.evidence.crashes = 1;
    // The ledger agrees with what its copy had told, and with all that came since.
    let (known, since) = (&scene.evidence.records[..known], &scene.evidence.records[told_before..]);
    let own = Evidence { records: [known, since].concat(), ..scene.evidence.clone() };
    own.with_ledger(scene.dir.path()).await.assert_clean();
    // It tells of its own doings anew; all else must be as before.
    for record in &mut scene.evidence.records {
        *record = without_what_only_the_lost_days_knew(record);
    }
    scene.evidence.assert_clean();
    assert_eq!(scene.evidence.account["jobsMade"], bought);
}
