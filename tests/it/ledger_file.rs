//! `briefd ledger`: the file is checked, copied and pruned beside a worker, and what was bought stays known.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use crate::support::Variable;
use crate::support::broker::TestBroker;
use crate::support::process::{PROMPTLY, SandboxProcess, Worker, briefd};

const BRIEFS: usize = 60;

struct Scene {
    broker: TestBroker,
    sandbox: SandboxProcess,
    worker: Worker,
    variables: Vec<Variable>,
    dir: TempDir,
}

impl Scene {
    /// A worker that has brought every brief to its end and published it.
    async fn done() -> Self {
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let sandbox = SandboxProcess::spawn(&["--speed", "500", "--tier", "unlimited"]).await;
        let mut variables = [broker.variables(), sandbox.variables()].concat();
        variables.push(("BRIEFD__LAYERS__TIER", "unlimited".to_owned()));
        variables.push(("BRIEFD__TRACK__SWEEP_INTERVAL", "200ms".to_owned()));
        variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}/ledger.db", dir.path().display())));
        let mut worker = Worker::spawn(dir.path(), &variables);
        worker.wait_ready().await;
        let scene = Self { broker, sandbox, worker, variables, dir };
        scene.publish_all().await;
        assert_eq!(scene.broker.take_records(BRIEFS, 6 * PROMPTLY).await.len(), BRIEFS);
        scene.worker.wait_series("briefd_outbox_pending", 0.0).await;
        scene
    }

    async fn publish_all(&self) {
        for number in 0..BRIEFS {
            self.broker.publish(&brief(number)).await;
        }
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = briefd(self.dir.path(), arguments, &self.variables).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    }

    fn told(&self, arguments: &[&str], code: i32, words: &str) {
        let (ended, told) = self.run(arguments);
        assert!(ended == Some(code) && told.contains(words), "{arguments:?}: {ended:?} {told}");
    }

    async fn doctor(&self, statement: &'static str) {
        let ledger = SqliteConnectOptions::new().filename(self.dir.path().join("ledger.db"));
        let mut ledger = ledger.connect().await.unwrap();
        sqlx::query(statement).execute(&mut ledger).await.unwrap();
        ledger.close().await.unwrap();
    }
}

fn brief(number: usize) -> Value {
    json!({"projectId": "p", "batchId": "b", "briefId": format!("brief-{number}"), "brief": {"hook": number.to_string()}})
}

#[tokio::test]
async fn a_worker_prunes_beside_its_work_and_buys_nothing_again() {
    let scene = Scene::done().await;
    let completed = "briefd_briefs{project=\"other\",state=\"completed\"}";
    let all = f64::from(u32::try_from(BRIEFS).unwrap());
    scene.worker.wait_series(completed, all).await;
    scene.told(&["ledger", "prune", "--dry-run"], 0, "0 briefs that ended before 20");
    scene.told(&["ledger", "prune", "--older-than", "0s", "--dry-run"], 0, &format!("{BRIEFS} briefs"));
    scene.told(&["ledger", "prune", "--older-than", "0s"], 0, &format!("prunes {BRIEFS} briefs"));
    scene.worker.wait_series(completed, 0.0).await;
    scene.told(&["show", "brief-7"], 0, "only its identity is kept");
    scene.publish_all().await;
    scene.worker.wait_series("briefd_briefs_received_total{result=\"duplicate\"}", all).await;
    scene.told(&["ledger", "check"], 0, "sound, and everything adds up");
    assert_eq!(scene.sandbox.account().await["jobsMade"], BRIEFS);
    assert!(scene.broker.take_rest("records").await.is_empty());
}

#[tokio::test]
async fn a_copy_is_a_sound_ledger_for_its_owner_only_and_never_replaces_a_file() {
    let scene = Scene::done().await;
    let copy = scene.dir.path().join("copy.db");
    let copy = copy.to_str().unwrap();
    scene.told(&["ledger", "backup", copy], 0, "a sound copy of");
    assert_eq!(std::fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::path::Path::new(&format!("{copy}.part")).exists());
    scene.told(&["--ledger", copy, "ledger", "check"], 0, "sound, and everything adds up");
    scene.told(&["--ledger", copy, "list"], 0, "brief-7");
    scene.told(&["ledger", "backup", copy], 2, "is there already: name a new file");
    scene.told(&["ledger", "backup", "/nowhere/copy.db"], 4, "cannot back up to /nowhere/copy.db");
}

#[tokio::test]
async fn what_does_not_add_up_or_is_damaged_is_named() {
    let scene = Scene::done().await;
    scene.doctor("UPDATE total SET n = n + 1 WHERE name = 'made'").await;
    scene.told(&["ledger", "check"], 1, "does not add up: made and the runs stored: 61 is not 60");
    scene.doctor("UPDATE total SET n = n - 1 WHERE name = 'made'").await;
    scene.doctor("PRAGMA foreign_keys = OFF; DELETE FROM brief WHERE brief_id = 'brief-7'").await;
    scene.told(&["ledger", "check"], 1, "damaged: 1 rows of job refer to none");
}
