//! What is asked for in a scene, and when: messages, commands, credits. Each step waits for what is stored or was bought,
//! never for a worker, which may be dead.

mod adoption;
mod operator;

use serde_json::{Value, json};

pub use self::adoption::adopt;
use self::adoption::{slow, unknown};
use self::operator::{AGAIN, AWAY, operated, runs_again, waits};
pub use self::operator::{prune, repeat};
use crate::scene::Scene;
use crate::support::checker::{Evidence, ExpectedRun};
use crate::support::eventually;
use crate::{PATIENCE, Plan};

/// An API that generates in about a second, and makes two jobs of two POSTs of one key that overlap.
const SANDBOX: [&str; 12] = [
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
/// One whose time is ours: only then is it known what is new to a list.
const AS_FAST_AS_WE: [&str; 4] = ["--speed", "1", "--tier", "partner"];

/// Which story is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Many fates, and an end for all of them.
    All,
    /// An operator cancels, runs again, sends again, clears up and prunes.
    Operator,
    /// What was given up, and what is unknown, is found in the API's list and adopted.
    Adopted,
}

/// Places that only the operator's commands lead to,
const OF_OPERATOR: [&str; 16] = [
    "ledger.ApprovePlan.",
    "ledger.CanaryEnded.",
    "ledger.Cancel.",
    "ledger.CancelAsked.",
    "ledger.Prune.",
    "ledger.PruneBefore.",
    "ledger.SendAgain.",
    "ledger.StartPlanned.",
    "ledger.plan.",
    "ledger.planned.",
    "ledger.plan_rows.",
    "amqp.basic_ack.",
    "amqp.basic_get.",
    "amqp.requeue.",
    "api.cancel.",
    "api.progress.",
];
/// and those on the way to an adoption.
const OF_ADOPTION: [&str; 3] = ["ledger.GiveUp.", "ledger.AdoptFound.", "ledger.SettleLate."];

impl Kind {
    pub fn of(plan: &Plan) -> Self {
        let leads_to = |prefixes: &[&str]| {
            plan.kills.iter().any(|(place, _)| prefixes.iter().any(|prefix| place.starts_with(prefix)))
        };
        if leads_to(&OF_ADOPTION) {
            Self::Adopted
        } else if leads_to(&OF_OPERATOR) {
            Self::Operator
        } else {
            Self::All
        }
    }

    /// Whether one scene can lead to both places.
    pub fn leads_to_both(one: &str, other: &str) -> bool {
        let [one, other] =
            [one, other].map(|place| Self::of(&Plan { kills: vec![(place.to_owned(), 1)], must_hit: false }));
        one == other || one == Self::All || other == Self::All
    }

    pub fn sandbox(self) -> &'static [&'static str] {
        match self {
            Self::All | Self::Operator => &SANDBOX,
            Self::Adopted => &AS_FAST_AS_WE,
        }
    }

    /// Everything at the sandbox's pace.
    pub fn pace(self) -> [(&'static str, &'static str); 10] {
        let (overdue, give_up, poll_max) =
            if self == Self::Adopted { ("1s", "1s", "50ms") } else { ("1h", "3d", "200ms") };
        [
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "600ms"),
            ("BRIEFD__SUBMIT__RETRY_INITIAL", "100ms"),
            ("BRIEFD__SUBMIT__RETRY_MAX", "500ms"),
            ("BRIEFD__SUBMIT__PROBE_INTERVAL", "200ms"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", poll_max),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "100ms"),
            ("BRIEFD__TRACK__OVERDUE_AFTER", overdue),
            ("BRIEFD__TRACK__GIVE_UP_AFTER", give_up),
            ("BRIEFD__AMQP__PREFETCH", "4"),
        ]
    }

    /// What waits before there is a worker.
    fn briefs(self) -> Vec<Value> {
        match self {
            Self::All => many_fates(),
            Self::Operator => operated(),
            Self::Adopted => vec![slow()],
        }
    }

    /// What must have come of it.
    pub fn expected(self) -> Evidence {
        let mut expected_runs: Vec<_> = self.briefs().iter().map(ExpectedRun::first_of).collect();
        let (later, again, expected_dead_letters) = match self {
            Self::All => (held(), vec![fails(), parks()], vec!["UNREADABLE", "BRIEF_CONFLICT"]),
            // One of the two is requeued, and set aside again.
            Self::Operator => (waits(), runs_again().to_vec(), vec!["UNREADABLE"; 3]),
            Self::Adopted => (unknown(), Vec::new(), Vec::new()),
        };
        expected_runs.push(ExpectedRun::first_of(&later));
        expected_runs
            .extend(again.iter().map(|again| ExpectedRun { run: 2, ..ExpectedRun::first_of(again) }));
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
    let unreadable = async |id: &'static str| {
        let properties = lapin::BasicProperties::default().with_message_id(id.into());
        scene.broker.publish_with(b"no brief", properties).await;
    };
    match scene.kind {
        Kind::All => {
            scene.broker.publish(&many_fates()[0]).await;
            unreadable(AGAIN).await;
            let unknown = json!({"projectId": "p", "briefId": "unknown", "run": 5, "brief": {"hook": "x"}});
            scene.broker.publish(&unknown).await;
        }
        Kind::Operator => {
            unreadable(AGAIN).await;
            unreadable(AWAY).await;
        }
        Kind::Adopted => {}
    }
}

/// Everything else that is done while there is a worker.
pub async fn take(scene: &Scene) {
    until(scene, "the worker takes messages", "SELECT count(*) FROM brief").await;
    match scene.kind {
        Kind::All => many_steps(scene).await,
        Kind::Operator => operator::work(scene).await,
        Kind::Adopted => adoption::prepare(scene).await,
    }
}

async fn many_steps(scene: &Scene) {
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
    assert!(refused.await.is_some(), "credits are not asked for");
    scene.sandbox.change("account", &json!({"projectBalances": {"broke": 100_000}})).await;
}

async fn rerun(scene: &Scene, brief: Value, failed: &'static str) {
    until(scene, "the first run has failed", failed).await;
    scene.broker.publish(&second_run(brief)).await;
}

async fn decide(scene: &Scene) {
    const PARKED: &str = "SELECT count(*) FROM brief WHERE brief_id = 'parks' AND state = 'parked'";
    until(scene, "a person is asked", PARKED).await;
    scene.command(&["resolve", "parks", "--never-accepted", "--yes", "--reason", "support says so"]).await;
}

async fn until(scene: &Scene, what: &str, query: &'static str) {
    let held = eventually(PATIENCE, async || (scene.stored(query).await? > 0).then_some(())).await;
    assert!(held.is_some(), "not within {PATIENCE:?}: {what}");
}
