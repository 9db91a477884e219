//! The status as one JSON document. Its fields are part of the contract: they may grow, never change.

use serde_json::{Map, Value, json};

use super::super::names::Projects;
use super::super::times::iso;
use super::facts::{BatchFacts, Facts};
use super::pace::Left;
use crate::config::Settings;
use crate::job::BriefState;
use crate::ledger::{Hold, HoldScope, StateCounts};

/// The document.
pub(super) fn document(facts: &Facts, settings: &Settings) -> Value {
    let projects = Projects(&settings.projects);
    let holds = facts.holds.iter().map(|(hold, waiting)| held(hold, *waiting, projects));
    let parked = facts.parked.1.iter().map(|brief| {
        json!({
            "projectId": brief.project_id,
            "project": projects.alias(&brief.project_id),
            "batchId": some(&brief.batch_id),
            "briefId": brief.brief_id,
            "code": brief.code,
            "message": brief.message,
        })
    });
    let late = facts.late.iter().map(|late| {
        json!({
            "channel": late.channel,
            "kind": late.kind,
            "input": late.input,
            "count": late.n,
            "oldestAt": iso(late.oldest_ms),
            "attempts": late.attempts,
        })
    });
    let mut document = json!({
        "at": iso(facts.now_ms),
        "worker": facts.worker,
        "holds": holds.collect::<Vec<_>>(),
        "noAnswer": {
            "unknown": facts.silence.unknown,
            "unknownSince": facts.silence.unknown_since.map(iso),
            "unsent": facts.silence.unsent,
            "unsentSince": facts.silence.unsent_since.map(iso),
        },
        "parked": { "count": facts.parked.0, "first": parked.collect::<Vec<_>>() },
        "outbox": {
            "pending": facts.outbox_pending,
            "parked": facts.outbox_parked,
            "late": late.collect::<Vec<_>>(),
        },
        "batches": facts.batches.iter().map(|one| batch(one, settings)).collect::<Vec<_>>(),
        "moreBatches": facts.more_batches,
    });
    if let Some(detail) = &facts.detail {
        let codes = detail.codes.iter();
        let codes =
            codes.map(|code| json!({ "code": code.code, "remedy": code.remedy, "briefs": code.briefs }));
        document["codes"] = codes.collect();
        let by_project = detail.projects.iter().map(|(id, counts)| {
            json!({
                "projectId": id,
                "project": projects.alias(id),
                "briefs": counts.total(),
                "byState": by_state(counts),
            })
        });
        document["projects"] = by_project.collect();
    }
    document
}

fn held(hold: &Hold, waiting: i64, projects: Projects<'_>) -> Value {
    let target = match &hold.scope {
        HoldScope::Account => "",
        HoldScope::Project(id) => id,
        HoldScope::Batch { batch, .. } => batch,
    };
    let project = match &hold.scope {
        HoldScope::Project(id) => projects.alias(id),
        HoldScope::Batch { project, .. } => project.as_deref().map(|id| projects.name(id)),
        HoldScope::Account => None,
    };
    json!({
        "scope": hold.scope.word(),
        "target": some(target),
        "project": project,
        "reason": hold.reason,
        "detail": hold.detail,
        "required": hold.required,
        "available": hold.available,
        "setBy": if hold.by_api { "api" } else { "operator" },
        "since": iso(hold.since_ms),
        "easing": hold.easing,
        "probeAt": hold.probe_ms.map(iso),
        "waiting": waiting,
    })
}

fn batch(facts: &BatchFacts, settings: &Settings) -> Value {
    let left = Left::of(facts, &settings.layers);
    json!({
        "batch": some(&facts.batch),
        "briefs": facts.counts.total(),
        "batchSize": facts.size,
        "byState": by_state(&facts.counts),
        "ended": left == Left::Done,
        "leftSeconds": left.seconds(),
    })
}

/// Every state, also those that nothing is in.
fn by_state(counts: &StateCounts) -> Value {
    let states = BriefState::ALL.into_iter().map(|state| (state.word().to_owned(), counts.get(state).into()));
    Value::Object(states.collect::<Map<_, _>>())
}

/// '' is how the ledger says "none".
fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
