//! What consumers keep of the records, and whether `status` and `reconcile` say the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{BATCH, BRIEFS, Scene, number};
use crate::support::checker::ExpectedRun;
use crate::support::message::Message;

/// The briefs' projects.
const PROJECTS: [&str; 3] = ["project.0", "project.1", "project.2"];

/// By brief, then by variant (0: all of them): the highest run that told, and the type of what it told.
type Kept = BTreeMap<String, BTreeMap<u64, (u64, String)>>;

/// The consumer's rule: one row a variant, the highest run wins, and within a run what completed.
fn kept(records: &[Message]) -> Kept {
    let mut kept = Kept::new();
    for record in records.iter().map(Message::json).filter(|record| record["type"] != "batch.finished") {
        let row = (number(&record["run"]), record["type"].as_str().unwrap().to_owned());
        let rows = kept.entry(record["briefId"].as_str().unwrap().to_owned()).or_default();
        let old = rows.entry(record["variant"].as_u64().unwrap_or(0)).or_insert_with(|| row.clone());
        if row.0 > old.0 || (row.0 == old.0 && row.1 == "container.completed") {
            *old = row;
        }
    }
    kept
}

/// The word that a brief's rows come to.
fn state(rows: &BTreeMap<u64, (u64, String)>) -> &'static str {
    let whole = rows.get(&0).map_or(0, |(run, _)| *run);
    let variants: Vec<_> = rows.iter().filter(|(variant, (run, _))| **variant > 0 && *run > whole).collect();
    let completed = variants.iter().filter(|(_, (_, kind))| kind == "container.completed").count();
    match completed {
        0 => "failed",
        all if all == variants.len() => "completed",
        _ => "partial",
    }
}

/// What was run again is completed, and is a result of that run: another job, ended after that of the first.
pub(super) fn assert_own(records: &[Message], second_runs: &[ExpectedRun]) {
    let kept = kept(records);
    let bodies: Vec<Value> = records.iter().map(Message::json).collect();
    let told = |of: &ExpectedRun, run: u64, variant: u64| {
        bodies.iter().find(|body| {
            (body["briefId"].as_str(), body["run"].as_u64()) == (Some(&of.brief_id), Some(run))
                && body["variant"].as_u64() == Some(variant)
        })
    };
    for run in second_runs {
        for variant in run.variants.iter().copied() {
            let name = format!("{} variant {variant}", run.brief_id);
            assert_eq!(kept[&run.brief_id][&variant], (2, "container.completed".to_owned()), "{name}");
            let (Some(first), Some(second)) = (told(run, 1, variant), told(run, 2, variant)) else {
                continue;
            };
            assert_eq!(first["containerId"], second["containerId"], "{name}: the same container");
            assert_ne!(first["jobId"], second["jobId"], "{name}: another job");
            let ended = |body: &Value, at: &str| body["container"][at].as_str().map(str::to_owned);
            let (failed, completed) = (ended(first, "failedAt"), ended(second, "completedAt"));
            assert!(failed.is_some() && completed > failed, "{name}: {failed:?}, then {completed:?}");
            assert_eq!(second["container"]["status"], "completed", "{name}");
        }
    }
}

impl Scene {
    /// `status`, `reconcile` and the records so far say the same of the batch.
    pub(super) async fn assert_agreement(&self) {
        let kept = kept(&self.records);
        assert_eq!(u64::try_from(kept.len()).unwrap(), BRIEFS);
        let (status, _) = self.ran(&["status", BATCH, "--json"]).await;
        let status: Value = serde_json::from_str(&status).unwrap();
        for project in PROJECTS {
            self.assert_agreement_on(project, &kept, &status).await;
        }
        let open = ["waiting", "scheduled", "held", "submitting", "running", "parked"];
        let batch = &status["batches"][0];
        assert!(open.iter().all(|state| batch["byState"][state] == 0), "{batch}");
        assert_eq!((&batch["briefs"], &batch["ended"]), (&BRIEFS.into(), &true.into()));
        let short: u64 = status["codes"].as_array().unwrap().iter().map(|code| number(&code["briefs"])).sum();
        let not_completed = kept.values().filter(|rows| state(rows) != "completed").count();
        assert_eq!(short, u64::try_from(not_completed).unwrap(), "{}", status["codes"]);
    }

    async fn assert_agreement_on(&self, project: &str, kept: &Kept, status: &Value) {
        let records: Vec<Value> =
            self.records.iter().map(Message::json).filter(|record| record["projectId"] == project).collect();
        let briefs: BTreeSet<&str> = records.iter().filter_map(|record| record["briefId"].as_str()).collect();
        let mut shown = status["projects"].as_array().unwrap().iter();
        let shown = shown.find(|shown| shown["projectId"] == project).unwrap();
        for word in ["completed", "partial", "failed"] {
            let so = briefs.iter().filter(|brief| state(&kept[**brief]) == word).count();
            assert_eq!(shown["byState"][word], so, "{project}, {word}: {shown}");
        }
        let containers: BTreeSet<&str> =
            records.iter().filter_map(|record| record["containerId"].as_str()).collect();
        let compared =
            self.told(&["reconcile", "--project", project, "--since", "1h", "--grace", "0s", "--json"]).await;
        assert_eq!((&compared["differenceCount"], &compared["tooNew"]), (&0.into(), &0.into()), "{compared}");
        assert_eq!(compared["whole"], true);
        let all = Value::from(containers.len());
        assert_eq!((&compared["atApi"], &compared["explained"]), (&all, &all), "{project}");
    }
}
