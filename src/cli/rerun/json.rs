//! Plans for programs.

use serde_json::{Map, Value, json};

use super::Made;
use super::figures::Figures;
use super::follow::Far;
use crate::brief::Identity;
use crate::job::plan::{Reason, Step};

/// A plan that was made; without a number nothing is left to start.
pub(super) fn plan(made: &Made, figures: &Figures, number: Option<i64>) -> Value {
    let mut object = Map::new();
    object.insert("plan".to_owned(), json!(number));
    object.insert("lookedAt".to_owned(), json!(made.looked_at));
    if let Ok(Value::Object(figures)) = serde_json::to_value(figures) {
        object.extend(figures);
    }
    object.insert("steps".to_owned(), made.plan.steps.iter().map(step).collect());
    object.insert("leftOut".to_owned(), made.plan.left_out.iter().map(left_out).collect());
    object.insert("files".to_owned(), json!(made.files));
    object.insert("unknown".to_owned(), json!(made.unknown));
    Value::Object(object)
}

/// How far a plan is. `now`: this command started it, or let it go on.
pub(super) fn progress(far: &Far, now: bool) -> Value {
    let left_out: Vec<Value> = far
        .left_out
        .iter()
        .map(|row| {
            json!({
                "projectId": row.project_id,
                "batchId": Some(&row.batch_id).filter(|batch| !batch.is_empty()),
                "briefId": row.brief_id,
                "why": row.why,
            })
        })
        .collect();
    json!({
        "plan": far.plan.id,
        "state": far.plan.state.word(),
        "startedNow": now,
        "by": far.plan.who,
        "reason": far.plan.reason,
        "canary": far.plan.canary,
        "pending": far.plan.pending,
        "started": far.plan.started,
        "leftOutCount": far.plan.left_out,
        "leftOut": left_out,
        "open": far.ends.open,
        "completed": far.ends.completed,
        "notCompleted": far.ends.not_completed,
        "worker": far.has_worker,
    })
}

fn identity(identity: &Identity) -> Map<String, Value> {
    let batch = Some(&identity.batch_id).filter(|batch| !batch.is_empty());
    Map::from_iter([
        ("projectId".to_owned(), json!(identity.project_id)),
        ("batchId".to_owned(), json!(batch)),
        ("briefId".to_owned(), json!(identity.brief_id)),
    ])
}

fn step(step: &Step) -> Value {
    let mut object = identity(&step.candidate.identity);
    object.insert("run".to_owned(), json!(step.candidate.run + 1));
    object.insert("deed".to_owned(), json!(step.deed.word()));
    object.insert("variants".to_owned(), json!(step.taken));
    object.insert("creditsMax".to_owned(), json!(step.credits));
    Value::Object(object)
}

fn left_out((brief, reason): &(Identity, Reason)) -> Value {
    let (word, detail) = match reason {
        Reason::Invalid(why) => ("invalid", json!(why)),
        Reason::OnlyBrief(paths) => ("only brief may change", json!(paths)),
        Reason::Refused(code) => ("would be refused again", json!(code)),
        Reason::NoHelp(code) => ("no rerun helps", json!(code)),
        Reason::Canceled => ("canceled", Value::Null),
        Reason::NothingToDo => ("nothing to do", Value::Null),
        Reason::NotEnded(state) => ("not ended", json!(state.word())),
        Reason::OtherRun(run) => ("another run", json!(run)),
        Reason::PriceUnknown(formats) => ("price unknown", json!(formats)),
        Reason::OverBudget => ("over budget", Value::Null),
    };
    let mut object = identity(brief);
    object.insert("reason".to_owned(), json!(word));
    object.insert("detail".to_owned(), detail);
    Value::Object(object)
}
