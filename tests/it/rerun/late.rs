//! A rerun while results come that nobody waited for any more: what the API has by then is taken, not bought.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{PATIENCE, Scene, number};
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::eventually;
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, Worker};

/// How long generation takes (and with this seed, 86 % of the first until it fails); tried with longer ones where the machine is so busy that the worker waits too long.
const SECONDS: [u64; 3] = [12, 24, 48];
/// One container each, in a project of its own: a job that is alone in its project is read by itself.
const NAMES: [&str; 4] = ["runs", "completes", "by-itself", "fails"];

fn brief(name: &str, seconds: u64) -> Value {
    let wish = if name == "fails" {
        json!({"seconds": seconds, "fail": "RENDER_FAILED", "regenerate": {"seconds": 1}})
    } else {
        json!({"seconds": seconds})
    };
    json!({"projectId": format!("p-{name}"), "batchId": format!("late-{seconds}"), "briefId": name,
        "format": "slideshow_remix", "brief": {"hook": name}, "metadata": {"sandbox": wish}})
}

/// Four briefs whose jobs were given up by a worker with little patience while the API is still at them; the seconds that
/// it takes, and a worker with more patience.
async fn given_up() -> (Scene, u64, Worker) {
    let mut scene = Scene::set("--speed 1 --tier unlimited --seed 1").await;
    let patient = scene.variables.clone();
    let patience = [
        ("BRIEFD__TRACK__POLL_INITIAL", "20ms"),
        ("BRIEFD__TRACK__POLL_MAX", "60ms"),
        ("BRIEFD__TRACK__OVERDUE_AFTER", "300ms"),
        ("BRIEFD__TRACK__GIVE_UP_AFTER", "600ms"),
    ];
    scene.variables.extend(patience.map(|(name, value)| (name, value.to_owned())));
    let mut worker = scene.worker().await;
    for seconds in SECONDS {
        for name in NAMES {
            scene.broker.publish(&brief(name, seconds)).await;
        }
        scene.records.clear();
        scene.take_until(NAMES.len()).await;
        let lost = |code: &Value| code == "GENERATION_LOST";
        if scene.records.iter().all(|record| lost(&record.json()["error"]["code"])) {
            worker.process.sigterm();
            assert!(worker.process.wait_exit(PROMPTLY).await.success());
            scene.variables = patient;
            let worker = scene.worker().await;
            return (scene, seconds, worker);
        }
    }
    panic!("nothing was given up in time: {:?}", scene.records);
}

#[tokio::test]
async fn a_rerun_takes_what_came_late_and_buys_only_what_failed() {
    let (mut scene, seconds, mut worker) = given_up().await;
    let made = number(&scene.account().await["jobsMade"]);
    let batch = format!("late-{seconds}");
    let rerun = async |scene: &Scene, arguments: &[&str]| {
        scene.told(&[&["rerun", "--batch", &batch, "--json"], arguments].concat()).await
    };

    // One plan is made now and carried out when a result has come without it.
    let plan = rerun(&scene, &["--brief", "by-itself", "--dry-run"]).await;
    assert_eq!((&plan["groups"][0]["deed"], &plan["briefs"]), (&json!("look again"), &json!(1)), "{plan}");
    // One looks while the API is still at it: it is followed to its end.
    let done = rerun(&scene, &["--brief", "runs", "--wait"]).await;
    assert_eq!((&done["completed"], &done["state"]), (&json!(1), &json!("started")), "{done}");

    let ended = eventually(PATIENCE, async || (scene.account().await["jobsRunning"] == 0).then_some(()));
    assert!(ended.await.is_some(), "the API comes to its end");
    let done = rerun(&scene, &["--brief", "completes", "--brief", "fails", "--wait"]).await;
    assert_eq!((&done["completed"], &done["started"]), (&json!(2), &json!(2)), "{done}");

    // What came by itself is the first run's, and the plan that knew nothing of it leaves it out.
    let adopt = ["reconcile", "--project", "p-by-itself", "--since", "1h", "--grace", "0s", "--adopt"];
    scene.ran(&adopt).await;
    scene.take_until(8).await;
    let done = scene.told(&["rerun", "--plan", &plan["plan"].to_string(), "--json"]).await;
    assert_eq!(
        (&done["started"], &done["leftOut"].as_array().map(Vec::len)),
        (&json!(0), &Some(1)),
        "{done}"
    );
    // So does a message that asks for the next run: its records are told again.
    let mut again = brief("by-itself", seconds);
    again["run"] = json!(2);
    scene.broker.publish(&again).await;
    worker.wait_series("briefd_briefs_received_total{result=\"republished\"}", 1.0).await;

    worker.wait_series("briefd_outbox_pending", 0.0).await;
    worker.wait_series("briefd_ledger_imbalance", 0.0).await;
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
    let rest = scene.broker.take_rest("records").await;
    scene.records.extend(rest);
    let account = scene.account().await;
    assert_eq!(number(&account["jobsMade"]), made + 1, "only what failed was bought anew");
    assert_eq!(account["posts"]["regenerate"], 1);
    assert_results(&scene);
    judge(scene, seconds, account).await;
}

/// Each brief by its name: the runs that told, with the type of what they told last.
fn assert_results(scene: &Scene) {
    let mut told: BTreeMap<(String, u64), Vec<String>> = BTreeMap::new();
    for record in scene.records.iter().map(Message::json) {
        let of = (record["briefId"].as_str().unwrap().to_owned(), number(&record["run"]));
        let kind = record["type"].as_str().unwrap().to_owned();
        let kinds = told.entry(of).or_default();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let kinds = |name: &str, run: u64| told.get(&(name.to_owned(), run)).cloned().unwrap_or_default();
    for name in ["runs", "completes", "fails"] {
        assert_eq!(kinds(name, 1), ["container.failed"], "{name}");
        assert_eq!(kinds(name, 2), ["container.completed"], "{name}");
    }
    assert_eq!(kinds("by-itself", 1), ["container.failed", "container.completed"]);
    assert_eq!(kinds("by-itself", 2), [""; 0]);
}

async fn judge(scene: Scene, seconds: u64, account: Value) {
    let run = |name: &str, run: u64| ExpectedRun { run, ..ExpectedRun::first_of(&brief(name, seconds)) };
    let second = ["runs", "completes", "fails"].map(|name| run(name, 2));
    let expected_runs = NAMES.map(|name| run(name, 1)).into_iter().chain(second).collect();
    let evidence = Evidence { account, records: scene.records, expected_runs, ..Evidence::default() };
    // Earlier tries are no part of the story.
    if seconds == SECONDS[0] {
        evidence.with_ledger(scene.dir.path()).await.assert_clean();
    }
}
