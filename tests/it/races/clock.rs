//! A wall clock that jumps, both ways and by days, under a worker that works.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::{Scene, brief};

const DAYS_4: i64 = 4 * 24 * 3_600_000;

/// How far the worker's clock is ahead of the machine's.
struct Ahead(PathBuf);

impl Ahead {
    fn set(&self, ms: i64) {
        // In one step, or the worker would read half a number.
        let part = self.0.with_extension("part");
        std::fs::write(&part, ms.to_string()).unwrap();
        std::fs::rename(part, &self.0).unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_jumps_four_days_ahead_and_eight_back_neither_stops_nor_loses_nor_buys_again() {
    // Limits as tight as the briefs are many: permits that came back in four days would be noticed.
    let limits = [
        ("BRIEFD__LAYERS__LIMITS__STARTS", "5"),
        ("BRIEFD__LAYERS__LIMITS__READS", "100"),
        ("BRIEFD__LAYERS__LIMITS__WINDOW", "1s"),
    ];
    let mut scene = Scene::set("--speed 100 --min-seconds 20 --max-seconds 100", &limits).await;
    let ahead = Ahead(scene.dir.path().join("ahead"));
    ahead.set(0);
    scene.variables.push(("FAILPOINTS", format!("clock.ahead=return({})", ahead.0.display())));
    let mut worker = scene.worker().await;
    let mut made = 0;
    for (era, ms, restart) in [
        ("as it is", 0, false),
        ("ahead", DAYS_4, false),
        ("behind", -DAYS_4, false),
        ("behind and new", -2 * DAYS_4, true),
        ("as it is again", 0, false),
    ] {
        // What was bought before the jump is collected after it, and so is what nobody heard of.
        ahead.set(ms);
        if restart {
            worker.process.sigkill();
            scene.evidence.crashes += 1;
            worker = scene.worker().await;
        }
        for n in 0..4 {
            let wish = if n % 2 == 0 { json!({}) } else { json!({"faults": ["accepted-unanswered"]}) };
            scene.send(&brief(&format!("{era} {n}"), &wish)).await;
        }
        made += 4;
        scene.jobs_made(made).await;
    }
    scene.take_until(20).await;
    assert!(scene.told().iter().all(|record| record.2 == "container.completed"), "{:#?}", scene.told());
    // It went on at its own pace from the furthest that it ever was.
    let skew = Duration::from_secs_f64(worker.series("briefd_clock_skew_seconds").await);
    assert!(skew > Duration::from_hours(95), "{skew:?}");
    let account = scene.finish(worker).await;
    assert_eq!(account["jobsMade"], 20);
}

/// The answer is lost while the API is still at work, and the clock is set ahead by an hour: it is no minute later.
#[tokio::test]
async fn a_clock_that_is_set_ahead_sends_no_post_again_while_the_first_may_be_at_work() {
    // It is at work for three seconds.
    let patient = [("BRIEFD__SUBMIT__REPEAT_AFTER", "4s")];
    let mut scene = Scene::set("--speed 10 --min-seconds 20 --in-flight-seconds 30", &patient).await;
    let ahead = Ahead(scene.dir.path().join("ahead"));
    ahead.set(0);
    scene.variables.push(("FAILPOINTS", format!("clock.ahead=return({})", ahead.0.display())));
    let worker = scene.worker().await;
    scene.send(&brief("lost", &json!({"faults": ["accepted-unanswered"]}))).await;
    scene.jobs_made(1).await;
    ahead.set(3_600_000);
    scene.take_until(1).await;
    let account = scene.finish(worker).await;
    assert_eq!(account["jobsMade"], 1);
}
