//! A rerun while results come that nobody waited for any more: what the API has by then is taken, not bought.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{PATIENCE, Scene, number};
use crate::support::checker::ExpectedRun;
use crate::support::eventually;
use crate::support::message::Message;
use crate::support::process::{PROMPTLY, Worker};

/// How long generation takes (and with this seed, 86 % of the first until it fails); tried with longer ones where the machine is so busy that the worker waits too long.
const SECONDS: [u64; 3] = [12, 24, 48];
/// One container each, in a project of its own for each try: a job that is alone in its project is read by itself.
const NAMES: [&str; 4] = ["runs", "completes", "by-itself", "fails"];

fn brief(name: &str, seconds: u64) -> Value {
    let wish = if name == "fails" {
        json!({"seconds": seconds, "fail": "RENDER_FAILED", "regenerate": {"seconds": 1}})
    } else {
        json!({"seconds": seconds})
    };
    json!({"projectId": project(name, seconds), "batchId": format!("late-{seconds}"), "briefId": name,
        "format": "slideshow_remix", "brief": {"hook": name}, "metadata": {"sandbox": wish}})
}

fn project(name: &str, seconds: u64) -> String {
    format!("p-{name}-{seconds}")
}

/// The records of one try.
fn of_try(records: &[Message], seconds: u64) -> Vec<Value> {
    let batch = format!("late-{seconds}");
    records.iter().map(Message::json).filter(|record| record["batchId"] == batch.as_str()).collect()
}

fn is_lost(record: &Value) -> bool {
    record["error"]["code"] == "GENERATION_LOST"
}

/// Takes records until so many different ones of one try have come.
async fn take_until(scene: &mut Scene, seconds: u64, count: usize) {
    let mut came = 0;
    let enough = eventually(PATIENCE, async || {
        let taken = scene.broker.take_rest("records").await;
        scene.records.extend(taken);
        let ids = of_try(&scene.records, seconds).into_iter().map(|record| record["recordId"].to_string());
        came = ids.collect::<BTreeSet<_>>().len();
        (came >= count).then_some(())
    });
    let enough = enough.await;
    assert!(enough.is_some(), "{came} of {count} records came");
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
        take_until(&mut scene, seconds, NAMES.len()).await;
        if of_try(&scene.records, seconds).iter().all(is_lost) {
            worker.process.sigterm();
            assert!(worker.process.wait_exit(PROMPTLY).await.success());
            scene.variables = patient;
            let worker = scene.worker().await;
            return (scene, seconds, worker);
        }
    }
    let told: Vec<String> =
        scene.records.iter().map(|record| record.json()["error"]["code"].to_string()).collect();
    panic!("nothing was given up in time: {}", told.join(", "));
}

#[tokio::test]
async fn a_rerun_takes_what_came_late_and_buys_only_what_failed() {
    let (mut scene, seconds, worker) = given_up().await;
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
    adopt(&scene, "by-itself", seconds).await;
    take_until(&mut scene, seconds, 8).await;
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

    // What earlier tries gave up has come, too.
    let tries = SECONDS.into_iter().take_while(|tried| *tried <= seconds);
    for earlier in tries.clone().filter(|tried| *tried < seconds) {
        for name in NAMES {
            adopt(&scene, name, earlier).await;
        }
        let lost = of_try(&scene.records, earlier).iter().filter(|record| is_lost(record)).count();
        take_until(&mut scene, earlier, NAMES.len() + lost).await;
    }
    worker.wait_series("briefd_outbox_pending", 0.0).await;
    worker.wait_series("briefd_ledger_imbalance", 0.0).await;
    let rest = scene.broker.take_rest("records").await;
    scene.records.extend(rest);
    let account = scene.account().await;
    assert_eq!(number(&account["jobsMade"]), made + 1, "only what failed was bought anew");
    assert_eq!(account["posts"]["regenerate"], 1);
    assert_results(&of_try(&scene.records, seconds));
    let run = |name, seconds, run| ExpectedRun { run, ..ExpectedRun::first_of(&brief(name, seconds)) };
    let first = tries.flat_map(|tried| NAMES.map(|name| run(name, tried, 1)));
    let second = ["runs", "completes", "fails"].map(|name| run(name, seconds, 2));
    scene.judge(worker, first.chain(second).collect(), 0).await;
}

/// Takes what the API has of a brief's project.
async fn adopt(scene: &Scene, name: &str, seconds: u64) {
    let project = project(name, seconds);
    scene.ran(&["reconcile", "--project", &project, "--since", "1h", "--grace", "0s", "--adopt"]).await;
}

/// Each brief by its name: the runs that told, with the type of what they told last.
fn assert_results(records: &[Value]) {
    let mut told: BTreeMap<(String, u64), Vec<String>> = BTreeMap::new();
    for record in records {
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
