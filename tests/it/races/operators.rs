//! Two operators at once.

use serde_json::json;

use super::{ExpectedRun, PROMPTLY, Scene, brief, eventually, run};

const FAILED: u64 = 6;

#[tokio::test]
async fn two_plans_and_a_cancel_over_the_same_briefs_at_one_moment_buy_each_container_once_at_most() {
    let mut scene = Scene::set("--speed 100 --min-seconds 1 --max-seconds 5", &[]).await;
    let worker = scene.worker().await;
    let failed = |n: u64| brief(&format!("failed {n}"), &json!({"fail": "RENDER_FAILED", "regenerate": {}}));
    for n in 0..FAILED {
        scene.send(&failed(n)).await;
    }
    scene.take_until(6).await;
    scene.send(&brief("runs", &json!({"seconds": 3_000}))).await;
    scene.jobs_made(FAILED + 1).await;
    worker.wait_series("briefd_jobs{state=\"running\"}", 1.0).await;
    for plan in [1, 2] {
        let told = scene.done(&["rerun", "--batch", "b", "--dry-run", "--json"]).await;
        assert!(told.contains(&format!("\"plan\":{plan}")) && told.contains("\"briefs\":6"), "{told}");
    }
    // The worker is frozen while all of it is stored, and carries it out in whatever order it came.
    worker.process.freeze_between_writes(&scene.dir.path().join("briefd.db")).await;
    let commands: [&[&str]; 4] = [
        &["rerun", "--plan", "1", "--yes"],
        &["cancel", "--batch", "b", "--yes"],
        &["rerun", "--plan", "2", "--yes"],
        &["rerun", "--plan", "1", "--yes"],
    ];
    let commands = commands.map(|arguments| scene.command(arguments));
    let stored = eventually(PROMPTLY, async || {
        let reader = briefd::ledger::Reader::open(&scene.dir.path().join("briefd.db")).await.unwrap();
        (reader.open_requests(10).await.unwrap().len() == commands.len()).then_some(())
    });
    assert!(stored.await.is_some());
    worker.process.thaw();
    let outputs = commands.map(|child| child.wait_with_output().unwrap());
    // Who came too late is told so; nobody is told of a failure.
    assert!(outputs.iter().all(|output| matches!(output.status.code(), Some(0 | 1))), "{outputs:?}");

    for n in 0..FAILED {
        let second = run(&failed(n), 2);
        scene.evidence.expected_runs.push(ExpectedRun { run: 2, ..ExpectedRun::first_of(&second) });
    }
    scene.take_until(13).await;
    let ended = scene.told();
    assert!(
        ended.contains(&("runs".into(), 1, "container.canceled".into(), "CANCELED".into())),
        "{ended:#?}"
    );
    let account = scene.finish(worker).await;
    let regenerated = account["posts"]["regenerate"].as_u64().unwrap();
    assert!(regenerated <= FAILED, "{regenerated} containers of {FAILED} were made anew: {outputs:?}");
    assert_eq!(account["jobsMade"], FAILED + 1 + regenerated);
}
