//! P2, P5: every message, every run and every row of a plan has its records.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::stored::{PlanRow, Stored, StoredRun};
use super::{Evidence, Record};
use crate::app::simulation::world::Sent;
use crate::brief::Identity;
use crate::flow::{Channel, Outgoing};

/// Every message is answered by a record of its brief, or set aside as it was, as often as it was sent.
pub(super) fn all_answered(evidence: &Evidence<'_>, records: &[Record], wrong: &mut Vec<String>) {
    let Evidence { world, consumed, ledger, .. } = evidence;
    let set_aside = set_aside(consumed);
    let mut times: HashMap<String, usize> = HashMap::new();
    for sent in &world.sent {
        *times.entry(blanked(&sent.body, &world.keys)).or_default() += sent.times;
    }
    for sent in &world.sent {
        let body = blanked(&sent.body, &world.keys);
        if set_aside.get(&body).is_some_and(|letters| letters.len() >= times[&body]) {
            continue;
        }
        let Some(identity) = &sent.identity else {
            wrong.push(format!("P5 nothing can be made of it, and it was not set aside: {body}"));
            continue;
        };
        let runs = Runs::of(identity, sent.variants, records);
        if runs.0.is_empty() && sent.variants == 0 {
            wrong.push(format!("P5 it is no good, and neither answered nor set aside: {body}"));
        } else if runs.0.is_empty() {
            wrong.push(format!("P2 no record and no dead letter: {body}"));
        }
        let taken = runs.0.last_key_value().is_some_and(|(last, _)| *last >= sent.run);
        if !taken && !runs.0.is_empty() && !is_needless(sent, &runs) && !ledger.is_pruned(identity) {
            wrong.push(format!("P2 run {} was asked for, and never came: {body}", sent.run));
        }
        for run in runs.0.keys() {
            let forgotten = world.pruned && !world.plans.is_empty();
            let planned = ledger.planned.iter().any(|row| {
                row.run.is_some_and(|own| own == i64::try_from(*run).unwrap_or(0))
                    && row.whose.identity() == *identity
            });
            runs.all_told(*run, planned || forgotten, wrong);
        }
    }
}

/// Whether a rerun that was asked for may be dropped: there is nothing to run again, or somebody canceled it.
fn is_needless(sent: &Sent, runs: &Runs<'_>) -> bool {
    let named = runs.named(u64::MAX);
    sent.canceled || (!named.is_empty() && named.is_subset(&runs.completed(u64::MAX)))
}

/// The dead letters of each body: their ids, with what is beside the body.
fn set_aside(consumed: &[Outgoing]) -> HashMap<String, HashSet<(&str, String)>> {
    let mut set_aside: HashMap<String, HashSet<_>> = HashMap::new();
    for letter in consumed.iter().filter(|message| message.channel == Channel::DeadLetter) {
        let beside = serde_json::to_string(&letter.properties).unwrap();
        set_aside.entry(blanked(&letter.body, &[])).or_default().insert((letter.message_id.as_str(), beside));
    }
    set_aside
}

/// The records of a brief by their runs.
struct Runs<'a>(BTreeMap<u64, Vec<&'a Record>>, u64);

impl<'a> Runs<'a> {
    fn of(identity: &Identity, variants: u64, records: &'a [Record]) -> Self {
        let mut runs: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
        for record in records.iter().filter(|record| record.identity == *identity) {
            runs.entry(record.run).or_default().push(record);
        }
        Self(runs, variants)
    }

    /// Variants that the API named in a run before this one.
    fn named(&self, before: u64) -> BTreeSet<u64> {
        let records = self.0.range(..before).flat_map(|(_, records)| records);
        records.filter(|record| record.container.is_some()).filter_map(|record| record.variant).collect()
    }

    /// Variants that completed in a run before this one.
    fn completed(&self, before: u64) -> BTreeSet<u64> {
        let records = self.0.range(..before).flat_map(|(_, records)| records);
        let completed = records.filter(|record| record.kind == "container.completed");
        completed.filter_map(|record| record.variant).collect()
    }

    /// A run tells of all of the brief, or of all that was left to do. A plan may take a part of that.
    fn all_told(&self, run: u64, planned: bool, wrong: &mut Vec<String>) {
        let records = &self.0[&run];
        if records.iter().any(|record| record.kind == "brief.failed") {
            return;
        }
        let told: BTreeSet<_> = records.iter().filter_map(|record| record.variant).collect();
        let all: BTreeSet<_> = (1..=self.1).collect();
        let named = self.named(run);
        let is_right = if named.is_empty() {
            told == all
        } else {
            let left = named.difference(&self.completed(run)).copied().collect();
            told.is_subset(&all) && !told.is_empty() && (planned || told.is_superset(&left))
        };
        if !is_right {
            let one = records[0].name();
            wrong.push(format!("P2 {one}: {told:?} of {} variants are told", self.1));
        }
    }
}

/// Every run that is stored has as many records as it owes, and every row of a plan that was let start has its run.
pub(super) fn all_runs(ledger: &Stored, records: &[Record], wrong: &mut Vec<String>) {
    let name = |identity: &Identity, run: i64| format!("run {run} of {identity}");
    for StoredRun { whose, run, state, owed } in &ledger.runs {
        let identity = whose.identity();
        let own = records.iter().filter(|record| {
            i64::try_from(record.run).is_ok_and(|of| of == *run) && record.identity == identity
        });
        let told = own.map(|record| record.id.as_str()).collect::<HashSet<_>>().len();
        let is_right = match state.as_str() {
            "superseded" => told == 0,
            "remembered" => false,
            _ => told > 0 && i64::try_from(told).is_ok_and(|told| told == *owed),
        };
        if !is_right {
            wrong
                .push(format!("P2 {} is {state}, owes {owed} records and has {told}", name(&identity, *run)));
        }
    }
    for PlanRow { whose, plan, plan_state, state, run, unchanged } in &ledger.planned {
        let identity = whose.identity();
        let is_stored = |run: i64| {
            let it = |stored: &StoredRun| stored.run == run && stored.whose.identity() == identity;
            ledger.runs.iter().any(it) || ledger.is_pruned(&identity)
        };
        let is_right = match (state.as_str(), run) {
            ("pending", None) => plan_state != "started",
            ("started", Some(run)) => is_stored(*run),
            ("left_out", None) => !unchanged,
            _ => false,
        };
        if !is_right {
            wrong.push(format!("P2 {identity} is {state} in plan {plan}, which is {plan_state}"));
        }
    }
}

/// The text of a body; the one key that a message had in it is blanked before it is stored.
fn blanked(body: &[u8], keys: &[String]) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    keys.iter().fold(text, |text, key| text.replace(key.as_str(), "[redacted]"))
}
