//! Evidence that is not true: for each promise what breaking it would leave behind, and that it is seen, by its name.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::stored::{PlanRow, Stored, StoredRun, Whose};
use super::{Evidence, Record, records_in};
use crate::app::simulation::ops::{Ack, Op, Poison, Wish};
use crate::app::simulation::races::{live_on, plain};
use crate::app::simulation::scenes::{ask, start};
use crate::app::simulation::world::World;
use crate::brief::{Identity, keys};
use crate::flow::{Channel, Outgoing};
use crate::sandbox::JobAccount;

/// A brief that completes, one that fails and is run again, and two messages that are no good.
fn world() -> World {
    let mut world = World::new(&plain());
    let mut ops = start(0, Wish::Seconds(5), Vec::new());
    ops.extend(start(1, Wish::FailsThenTakes(60), Vec::new()));
    ops.extend([Op::Advance(300), Op::Track]);
    ops.extend(ask(1, 2, Wish::FailsThenTakes(60), vec![Vec::new(), Vec::new()]));
    ops.extend([Op::Poison(Poison::NotJson), Op::Poison(Poison::Invalid)]);
    ops.push(Op::Intake { chunk: 3, ack: Ack::Arrives });
    live_on(&mut world, &ops);
    world
}

impl Evidence<'_> {
    fn key_of(&self, brief: usize, run: u32, container: Option<&str>) -> String {
        let identity = self.world.sent[brief].identity.as_ref().unwrap();
        keys::idempotency_key(&keys::key_text(identity, run, container)).to_string()
    }

    /// What was told and stored of these never was.
    fn forget(&mut self, which: impl Fn(&Record) -> bool) {
        let is_it = |message: &Outgoing| message.channel == Channel::Record && which(&Record::read(message));
        let (gone, kept) = std::mem::take(&mut self.consumed).into_iter().partition::<Vec<_>, _>(is_it);
        assert!(!gone.is_empty());
        self.consumed = kept;
        let bodies: BTreeSet<_> = gone.iter().map(|message| &message.body).collect();
        self.ledger.records.retain(|stored| !bodies.contains(&stored.body));
        for record in gone.iter().map(Record::read) {
            let is_it = |run: &&mut StoredRun| {
                run.whose.identity() == record.identity && i64::try_from(record.run).unwrap() == run.run
            };
            self.ledger.runs.iter_mut().find(is_it).unwrap().owed -= 1;
        }
        self.ledger.runs.retain(|run| run.owed > 0);
    }

    /// Something else was told and stored of the first of these.
    fn retell(&mut self, kind: &str, change: impl Fn(&mut Value)) {
        let is_it = |message: &&mut Outgoing| Record::read(message).kind == kind;
        let message = self.consumed.iter_mut().find(is_it).unwrap();
        let mut body = serde_json::from_slice(&message.body).unwrap();
        change(&mut body);
        let body = body.to_string().into_bytes();
        let stored = self.ledger.records.iter_mut().find(|stored| stored.body == message.body);
        stored.unwrap().body.clone_from(&body);
        message.body = body;
    }

    fn failed_with(&mut self, code: &str) {
        self.retell("container.failed", |body| body["error"]["code"] = json!(code));
    }

    /// A message more.
    fn publish(&mut self, change: impl FnOnce(&mut Outgoing)) {
        let mut message = self.consumed[0].clone();
        change(&mut message);
        self.consumed.push(message);
    }

    /// A plan was started, with this row.
    fn plan(&mut self, state: &str, run: Option<i64>, unchanged: bool) {
        let Identity { project_id, batch_id, brief_id } = self.world.sent[0].identity.clone().unwrap();
        let whose = Whose { project_id, batch_id, brief_id };
        let (plan_state, state) = ("started".to_owned(), state.to_owned());
        self.ledger.planned.push(PlanRow { whose, plan: 1, plan_state, state, run, unchanged });
    }

    /// Changes the ledger itself, and asks it again.
    fn sql(&mut self, statement: &'static str) {
        let process = self.world.process.as_ref().unwrap();
        process.wait(async {
            let mut db = self.world.beside().await;
            sqlx::query(statement).execute(&mut db).await.unwrap();
        });
        self.ledger = Stored::of(self.world);
    }
}

type Doctor = fn(&mut Evidence<'_>);

/// What is done to the evidence, and the promise that is broken then.
const DOCTORED: &[(&str, &str, Doctor)] = &[
    ("P1", "a key made two jobs", |it| {
        it.account.jobs_by_key.values_mut().next().unwrap().push("job_2".to_owned());
    }),
    ("P1", "a key came with two bodies", |it| {
        it.account.keys.values_mut().next().unwrap().bodies.insert("another".to_owned());
    }),
    ("P1", "a brief was generated twice, under two keys", |it| {
        let mut again = it.account.jobs[0].clone();
        again.idempotency_key = Some(it.key_of(0, 2, None));
        it.account.jobs.push(again);
    }),
    ("P1", "a job has a key of nobody", |it| it.account.jobs[0].idempotency_key = None),
    ("P1", "what had completed was regenerated", |it| {
        let mut again = it.account.jobs[0].clone();
        again.idempotency_key = Some(it.key_of(0, 2, Some(&again.container_ids[0])));
        again.kind = "regenerate".to_owned();
        it.account.jobs.push(again);
    }),
    ("P2", "a record was lost on the way", |it| {
        let at = it.consumed.iter().position(|message| Record::read(message).kind == "container.failed");
        it.consumed.remove(at.unwrap());
    }),
    ("P2", "a rerun was swallowed", |it| {
        it.forget(|record| record.run == 2);
        it.account.jobs.retain(|job| job.kind == "generate");
    }),
    ("P2", "a variant of a rerun was left out", |it| {
        let left_out = |record: &Record| record.run == 2 && record.variant == Some(2);
        let container = records_in(&it.consumed).into_iter().find(left_out).unwrap().container.unwrap();
        it.forget(left_out);
        let is_it = |job: &JobAccount| job.kind == "regenerate" && job.container_ids.contains(&container);
        it.account.jobs.retain(|job| !is_it(job));
    }),
    ("P2", "a run owes more than was told", |it| it.ledger.runs[0].owed += 1),
    ("P2", "a rerun is remembered for ever", |it| {
        let run = it.ledger.runs.iter_mut().find(|run| run.run == 2).unwrap();
        run.state = "remembered".to_owned();
    }),
    ("P2", "a row of a plan has no run", |it| it.plan("started", Some(3), false)),
    ("P2", "a row of a plan was left out for no reason", |it| it.plan("left_out", None, true)),
    ("P2", "a row of a plan was forgotten", |it| it.plan("pending", None, false)),
    ("P3", "what completed was told to have failed", |it| {
        it.retell("container.completed", |body| body["type"] = json!("container.failed"));
    }),
    ("P3", "what runs was told to be over", |it| it.account.jobs[0].status = "running".to_owned()),
    ("P3", "it was given up at once", |it| it.failed_with("GENERATION_LOST")),
    ("P3", "it was not there for a moment", |it| it.failed_with("CONTAINER_MISSING")),
    ("P4", "a record came with other bytes", |it| it.publish(|message| message.body.push(b' '))),
    ("P4", "a record came with another routing key", |it| {
        it.publish(|message| message.routing_key.push('x'));
    }),
    ("P4", "a record came with other properties", |it| {
        it.publish(|message| message.properties.correlation_id = None);
    }),
    ("P5", "what cannot be read was dropped", |it| {
        it.consumed.retain(|message| message.channel != Channel::DeadLetter);
    }),
    ("P5", "what does not fit its schema was dropped", |it| {
        it.forget(|record| record.kind == "brief.failed");
    }),
    ("P6", "a brief failed for want of credits", |it| it.failed_with("BILLING_EXHAUSTED")),
    ("P6", "a brief failed because the API was down", |it| it.failed_with("INTERNAL")),
    ("P7", "a dead letter has the key in its body", |it| {
        let key = it.world.keys[0].clone().into_bytes();
        it.publish(|message| {
            (message.channel, message.message_id) = (Channel::DeadLetter, "dead-99".to_owned());
            message.body = key;
        });
    }),
    ("P7", "a dead letter has the key beside its body", |it| {
        let key = json!(it.world.keys[0]);
        it.publish(|message| {
            (message.channel, message.message_id) = (Channel::DeadLetter, "dead-99".to_owned());
            message.properties.headers.insert("x-briefd-detail".to_owned(), key);
        });
    }),
    ("P8", "a delivery was counted twice", |it| {
        it.sql("UPDATE total SET n = n + 1 WHERE name = 'decided'");
    }),
    ("P8", "a delivery was not stored", |it| it.sql("DELETE FROM delivery WHERE result = 'unreadable'")),
];

#[test]
fn for_each_promise_evidence_that_it_was_broken_is_judged_by_its_name() {
    let world = world();
    assert_eq!(Evidence::of(&world).violations(), [""; 0]);
    let mut promises = BTreeSet::new();
    for (promise, what, doctor) in DOCTORED {
        let mut evidence = Evidence::of(&world);
        doctor(&mut evidence);
        let wrong = evidence.violations();
        let named: BTreeSet<_> = wrong.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(named, [*promise].into(), "{what}: {wrong:#?}");
        promises.insert(*promise);
    }
    assert_eq!(promises.len(), 8);
}
