//! What operators do: they hold and release, decide about what is parked, cancel, and plan reruns.

use serde_json::json;

use super::ops::Planned;
use super::process::Step;
use super::world::{Sent, World};
use crate::app::requests::{Asked, Scope};
use crate::app::rerun;
use crate::job::plan::Wish;
use crate::ledger::{
    CancelOf, HoldScope, LiftHold, PruneMark, PruneStep, Reader, RecordFilter, Request, RerunFilter,
    Resolution, statements,
};

impl World {
    /// Lifts what only an operator lifts: what one has held, and batches that are held because of refusals. All else is
    /// to go by itself.
    pub(super) fn lift_all(&mut self) {
        let process = self.process.as_ref().unwrap();
        let ledger = &process.worker.desk.ledger;
        process.wait(async {
            for hold in ledger.reader().holds().await.unwrap() {
                if !hold.by_api || matches!(hold.scope, HoldScope::Batch { .. }) {
                    let now_ms = self.clock.now_ms();
                    let lift = LiftHold { scope: hold.scope, reason: Some(hold.reason), now_ms };
                    ledger.write(lift).await.unwrap();
                }
            }
        });
    }

    /// Stops starts, or lets them go on.
    pub(super) fn hold(&mut self, scope: u8, held: bool) {
        let of = scopes().swap_remove(usize::from(scope));
        self.ask(&if held { Asked::Hold { of } } else { Asked::Release { of } });
    }

    /// Cancels what is open of the batch, or of no batch.
    pub(super) fn cancel(&mut self, batch: bool) {
        let batch = batch_id(batch);
        let of_batch = |sent: &&mut Sent| sent.identity.as_ref().is_some_and(|it| it.batch_id == batch);
        self.sent.iter_mut().filter(of_batch).for_each(|sent| sent.canceled = true);
        self.ask(&Asked::Cancel { of: CancelOf::Batch { batch, project: None, up_to: i64::MAX } });
        self.step(&Step::Cancels);
    }

    /// Has a plan made and stored, beside the worker, as `briefd rerun --dry-run` does.
    pub(super) fn plan(&mut self, planned: Planned) {
        self.steps += 1;
        let mut patches = rerun::Patches::default();
        if planned.changed {
            patches.set("brief.hook", json!("another one"));
        }
        let asked = rerun::Asked {
            filter: RerunFilter { batch: Some(batch_id(planned.batch)), ..RerunFilter::default() },
            wish: Wish { run: planned.run.into(), canceled: planned.canceled, ..Wish::default() },
            patches,
        };
        let process = self.process.as_ref().unwrap();
        let reader = process.worker.desk.ledger.reader();
        let stored = process.wait(async {
            let made = rerun::make(&self.settings, reader, asked).await.unwrap();
            let said = ("anna".to_owned(), "simulated".to_owned());
            let new = made.stored("{}".to_owned(), planned.canary, said);
            if new.rows.is_empty() {
                return None;
            }
            Some(new.store(&self.settings.ledger.path, self.clock.now_ms()).await.unwrap())
        });
        self.plans.extend(stored);
    }

    /// Lets one of the plans start, or go on.
    pub(super) fn approve(&mut self, plan: u8, canary: Option<u64>) {
        let latest = self.plans.iter().rev().cycle().nth(plan.into()).copied();
        if let Some(plan) = latest {
            self.ask(&Asked::Rerun { plan, canary });
        }
    }

    /// Has all records that have left sent again.
    pub(super) fn send_again(&mut self) {
        self.ask(&Asked::Records { which: RecordFilter::default(), until: i64::MAX });
    }

    /// Prunes what ended more than so many seconds ago, in small steps.
    pub(super) fn prune(&mut self, seconds: u32) {
        self.pruned = true;
        let now_ms = self.clock.now_ms();
        let before_ms = now_ms - i64::from(seconds) * 1_000;
        let process = self.process.as_ref().unwrap();
        process.wait(async {
            let mut after = PruneMark::default();
            loop {
                let step = PruneStep { before_ms, after, limit: 2, now_ms };
                let pruned = process.worker.desk.ledger.prune(step).await.unwrap();
                if pruned.is_over {
                    return;
                }
                after = pruned.after;
            }
        });
    }

    fn ask(&mut self, asked: &Asked) {
        let args = serde_json::to_value(asked).unwrap();
        let request = Request {
            id: 0,
            at: self.clock.now_ms(),
            kind: args["kind"].as_str().unwrap().to_owned(),
            args: args.to_string(),
            who: "anna".to_owned(),
            reason: "simulated".to_owned(),
        };
        let process = self.process.as_ref().unwrap();
        process.wait(Request::append(&self.settings.ledger.path, &request)).unwrap();
        self.step(&Step::Requests);
    }

    /// Decides about each parked job as somebody does who asked the API's support.
    pub(super) fn resolve(&mut self, repeat: bool) {
        let process = self.process.as_ref().unwrap();
        // With eyes of their own: what a person looks at is nothing that the worker asks.
        let beside = statements::pause();
        let parked: Vec<(i64, String)> = process.wait(async {
            let reader = Reader::open(&self.settings.ledger.path).await.unwrap();
            if !reader.tally().await.unwrap().iter().any(|tally| tally.state == "parked") {
                return Vec::new();
            }
            let mut parked = Vec::new();
            for brief in reader.parked_briefs(None, 100).await.unwrap() {
                for found in reader.find_briefs(&brief.brief_id, (None, None), 10).await.unwrap() {
                    let jobs = reader.story(found.id).await.unwrap().jobs;
                    let jobs = jobs.into_iter().filter(|job| job.state == "parked");
                    parked.extend(jobs.map(|job| (job.id, job.idempotency_key)));
                }
            }
            parked
        });
        drop(beside);
        if parked.is_empty() {
            return;
        }
        let made = self.sandbox.account().jobs;
        for (job, key) in parked {
            let resolution = match made.iter().find(|made| made.idempotency_key.as_ref() == Some(&key)) {
                Some(made) => Resolution::Accepted {
                    job: made.id.clone(),
                    containers: made.container_ids.clone(),
                    format: None,
                },
                None if repeat => Resolution::Repeat,
                None => Resolution::NeverAccepted,
            };
            self.resolved += 1;
            self.parked.remove(&job);
            self.ask(&Asked::Resolve { jobs: vec![job], resolution });
        }
    }
}

/// The batch that there is, or none.
fn batch_id(batch: bool) -> String {
    if batch { "b" } else { "" }.to_owned()
}

/// Whatever a hold in these lists can be of.
fn scopes() -> Vec<Scope> {
    let mut scopes = vec![Scope::Account, Scope::Project("p0".to_owned()), Scope::Batch("b".to_owned())];
    scopes.push(Scope::Project("p1".to_owned()));
    for project in ["p0", "p1"] {
        for batch in ["b", ""] {
            scopes.push(Scope::BatchOfProject { project: project.to_owned(), batch: batch.to_owned() });
        }
    }
    scopes
}
