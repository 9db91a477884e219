//! What is asked for in a scene, and when: messages, commands, credits. Each step waits for what is stored or was bought,
//! never for a worker, which may be dead.

use serde_json::{Value, json};

use crate::scene::Scene;
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::eventually;
use crate::{PATIENCE, Plan};

/// An API that generates in about a second, and makes two jobs of two POSTs of one key that overlap.
pub const SANDBOX: [&str; 12] = [
    "--speed",
    "100",
    "--tier",
    "partner",
    "--forget-billing-refusals",
    "--overlap-makes-two",
    "--start-seconds",
    "2",
    "--in-flight-seconds",
    "18",
    "--project-credits",
    "broke=120",
];

/// Which story is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Many fates, and an end for all of them.
    All,
    /// A job that never ends, and is given up.
    GivenUp,
}

impl Kind {
    pub fn of(plan: &Plan) -> Self {
        let given_up = plan.kills.iter().any(|(place, _)| place.starts_with("ledger.GiveUp."));
        if given_up { Self::GivenUp } else { Self::All }
    }

    /// Everything at the sandbox's pace.
    pub fn pace(self) -> [(&'static str, &'static str); 10] {
        let (overdue, give_up) = if self == Self::GivenUp { ("1s", "1s") } else { ("1h", "3d") };
        [
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "600ms"),
            ("BRIEFD__SUBMIT__RETRY_INITIAL", "100ms"),
            ("BRIEFD__SUBMIT__RETRY_MAX", "500ms"),
            ("BRIEFD__SUBMIT__PROBE_INTERVAL", "200ms"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", "200ms"),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "100ms"),
            ("BRIEFD__TRACK__OVERDUE_AFTER", overdue),
            ("BRIEFD__TRACK__GIVE_UP_AFTER", give_up),
            ("BRIEFD__AMQP__PREFETCH", "4"),
        ]
    }

    fn briefs(self) -> Vec<Value> {
        match self {
            Self::GivenUp => vec![brief("never", json!({"never": true}))],
            Self::All => many_fates(),
        }
    }

    /// What must have come of it.
    pub fn expected(self) -> Evidence {
        let mut expected_runs: Vec<_> = self.briefs().iter().map(ExpectedRun::first_of).collect();
        if self == Self::GivenUp {
            return Evidence { expected_runs, expected_running: 1, ..Evidence::default() };
        }
        expected_runs.push(ExpectedRun::first_of(&held()));
        for again in [fails(), parks()] {
            expected_runs.push(ExpectedRun { run: 2, ..ExpectedRun::first_of(&again) });
        }
        let expected_dead_letters = vec!["UNREADABLE", "BRIEF_CONFLICT"];
        Evidence { expected_runs, expected_dead_letters, ..Evidence::default() }
    }
}

fn brief(id: &str, mut wish: Value) -> Value {
    if wish["seconds"].is_null() {
        wish["seconds"] = json!(80);
    }
    json!({"projectId": "p", "batchId": "b", "briefId": id, "format": "slideshow_remix", "brief": {"hook": id},
        "metadata": {"sandbox": wish}})
}

fn many_fates() -> Vec<Value> {
    let mut two = brief("one of two fails", json!({"failVariants": [1]}));
    two["variantCount"] = json!(2);
    let mut briefs = vec![
        brief("plain", json!({})),
        brief("longer", json!({"seconds": 150})),
        two,
        brief("refused", json!({"refuse": "MODERATION_BLOCKED"})),
        brief("unanswered", json!({"faults": ["accepted-unanswered"]})),
        brief("half an answer", json!({"faults": ["cut-json"]})),
        brief("nothing done", json!({"faults": ["error-500"]})),
        brief("reset", json!({"faults": ["reset-before"]})),
        fails(),
        parks(),
    ];
    // Credits are there for one of the two: the one of which nobody hears whether it was bought, but after some deaths.
    for (id, wish) in [("takes all", json!({"faults": ["accepted-unanswered"]})), ("too much", json!({}))] {
        let mut broke = brief(id, wish);
        broke["projectId"] = json!("broke");
        broke["format"] = json!("video_remix");
        briefs.push(broke);
    }
    briefs
}

/// Fails, and a second run makes it anew.
fn fails() -> Value {
    brief("fails", json!({"fail": "RENDER_FAILED", "regenerate": {"seconds": 60}}))
}

/// Fails; whether its second run was bought can be told by nobody but a person.
fn parks() -> Value {
    let again = json!({"faults": ["error-500"], "refuse": "MODERATION_BLOCKED"});
    brief("parks", json!({"fail": "RENDER_FAILED", "regenerate": again}))
}

fn held() -> Value {
    let mut held = brief("held", json!({}));
    held["batchId"] = json!("held");
    // A batch of one: it is finished when this is.
    held["batchSize"] = json!(1);
    held
}

fn second_run(mut brief: Value) -> Value {
    brief["run"] = json!(2);
    brief
}

/// What waits in the queue before there is a worker.
pub async fn publish(scene: &Scene) {
    for brief in scene.kind.briefs() {
        scene.broker.publish(&brief).await;
    }
    if scene.kind == Kind::All {
        scene.broker.publish(&many_fates()[0]).await;
        scene.broker.publish_with(b"no brief", lapin::BasicProperties::default()).await;
        let unknown = json!({"projectId": "p", "briefId": "unknown", "run": 5, "brief": {"hook": "x"}});
        scene.broker.publish(&unknown).await;
    }
}

/// Everything else that is done, until all has ended.
pub async fn take(scene: &Scene) {
    if scene.kind == Kind::GivenUp {
        return until(scene, "something is given up", "SELECT count(*) FROM outbox WHERE state = 'sent'")
            .await;
    }
    until(scene, "the worker takes messages", "SELECT count(*) FROM brief").await;
    scene.command(&["hold", "--batch", "held", "--reason", "a scene"]).await;
    until(scene, "the batch is held", "SELECT count(*) FROM hold WHERE batch = 'held'").await;
    scene.broker.publish(&held()).await;
    tokio::join!(
        pay(scene),
        rerun(scene, fails(), FAILED),
        rerun(scene, parks(), FAILED_TOO),
        decide(scene),
        async {
            until(scene, "the held brief is taken", "SELECT count(*) FROM brief WHERE batch_id = 'held'")
                .await;
            scene.command(&["release", "--batch", "held", "--reason", "enough"]).await;
        }
    );
    until(scene, "the last run ends", "SELECT count(*) = 15 FROM run WHERE finished_at IS NOT NULL").await;
}

const FAILED: &str = "SELECT count(*) FROM brief WHERE brief_id = 'fails' AND state = 'failed'";
const FAILED_TOO: &str = "SELECT count(*) FROM brief WHERE brief_id = 'parks' AND state = 'failed'";

/// More credits, once starts are held for the lack of them and that has been tested some times. Meanwhile what was bought
/// unheard is looked for.
async fn pay(scene: &Scene) {
    until(scene, "starts are held", "SELECT count(*) FROM hold WHERE reason = 'BILLING_EXHAUSTED'").await;
    let refused = eventually(PATIENCE, async || {
        (scene.sandbox.account().await["reads"]["credits"].as_u64()? > 3).then_some(())
    });
    assert!(refused.await.is_some(), "credits are not asked for:\n{}", scene.logs());
    scene.sandbox.change("account", &json!({"projectBalances": {"broke": 100_000}})).await;
}

async fn rerun(scene: &Scene, brief: Value, failed: &'static str) {
    until(scene, "the first run has failed", failed).await;
    scene.broker.publish(&second_run(brief)).await;
}

async fn decide(scene: &Scene) {
    const PARKED: &str = "SELECT count(*) FROM job WHERE state = 'parked'";
    until(scene, "a person is asked", PARKED).await;
    scene.command(&["resolve", "parks", "--never-accepted", "--yes", "--reason", "support says so"]).await;
}

async fn until(scene: &Scene, what: &str, query: &'static str) {
    let held = eventually(PATIENCE, async || (scene.stored(query).await? > 0).then_some(())).await;
    assert!(held.is_some(), "not within {PATIENCE:?}: {what}; the logs:\n{}", scene.logs());
}
