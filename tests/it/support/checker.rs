//! The judge: reads what the API counted, what came out and what the ledger stored, and decides about each of the eight
//! promises (`src/lib.rs`) by itself. Each line of its report begins with the promise that is broken.
//!
//! It knows the contract and the columns of the ledger, nothing of how briefd works, and believes no side alone:
//! purchases are the sandbox's account, results are the messages that consumers got, and the ledger has to agree with
//! both. It says everything it finds, not the first.
//!
//! It judges a finished scene: every expected run has ended, and all that was published has been taken.

mod difference;
mod ledger;
mod open_ends;
mod purchases;
mod report;
mod results;
mod secrets;
mod stored;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use self::ledger::LedgerRows;
use self::report::{Promise, Report};
use super::message::Message;
use super::process::{API_KEY, SandboxProcess};

/// What a test left behind, and what it had asked for.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// `GET /_sandbox/account`
    pub account: Value,
    /// Everything that came out of the output exchange, repeats included, or the lines of a record file.
    pub records: Vec<Message>,
    /// Everything that was set aside.
    pub dead_letters: Vec<Message>,
    /// The ledger, if it is the only one of the scene: one that was lost has taken its story with it.
    pub ledger: Option<LedgerRows>,
    /// Every run of a brief that must have ended.
    pub expected_runs: Vec<ExpectedRun>,
    /// The reasons of all dead letters that there must be.
    pub expected_dead_letters: Vec<&'static str>,
    /// The `briefId`s that have not ended, and must not have.
    pub expected_open: Vec<&'static str>,
    /// So many jobs wait for a person's decision, as they must.
    pub expected_parked: usize,
    /// How often the worker was killed: each may have cost a job one attempt.
    pub crashes: usize,
    /// API keys of the scene besides [`API_KEY`].
    pub secrets: Vec<String>,
}

/// One run of a brief that must have ended: in one record for each variant, or in one for the whole brief.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedRun {
    pub project_id: String,
    pub batch_id: Option<String>,
    pub brief_id: String,
    pub run: u64,
    /// The variants that owe a record; a rerun may take fewer than the first run.
    pub variants: Vec<u64>,
    /// The `correlation_id` of its records.
    pub correlation_id: String,
}

impl ExpectedRun {
    /// The first run that a brief message with a `briefId` and no `correlation_id` asks for.
    pub fn first_of(brief: &Value) -> Self {
        let text = |name: &str| brief[name].as_str().map(str::to_owned);
        let brief_id = text("briefId").expect("the brief has a briefId");
        Self {
            project_id: text("projectId").expect("the brief has a projectId"),
            batch_id: text("batchId"),
            correlation_id: brief_id.clone(),
            brief_id,
            run: 1,
            variants: (1..=brief["variantCount"].as_u64().unwrap_or(1)).collect(),
        }
    }
}

impl Evidence {
    /// Of a scene in which each brief ends with its first run, and nothing is set aside.
    pub fn of_first_runs(account: Value, records: Vec<Message>, briefs: &[Value]) -> Self {
        let expected_runs = briefs.iter().map(ExpectedRun::first_of).collect();
        Self { account, records, expected_runs, ..Self::default() }
    }

    /// The same with what was set aside, and what must have been.
    pub fn set_aside(self, dead_letters: Vec<Message>, expected_dead_letters: &[&'static str]) -> Self {
        Self { dead_letters, expected_dead_letters: expected_dead_letters.to_vec(), ..self }
    }

    /// The same with the ledger `briefd.db` in `dir`, once nothing in it is open or unsent any more (in bounded time: a
    /// ledger that never gets there is taken as it is). A worker may be at it.
    pub async fn with_ledger(self, dir: &Path) -> Self {
        let secrets = self.all_secrets();
        let ledger = LedgerRows::once_settled(&dir.join("briefd.db"), &secrets, &self.expected_open).await;
        Self { ledger: Some(ledger), ..self }
    }

    /// Everything that is wrong, a line each, which begins with the promise. Empty: clean.
    pub fn violations(&self) -> Vec<String> {
        let mut report = Report::default();
        let results = results::Results::read(&self.records, &mut report);
        results.check_runs(&self.expected_runs, &mut report);
        purchases::check(self, &results, &mut report);
        check_dead_letters(self, &mut report);
        results.check_troubles(&mut report);
        secrets::check(self, &mut report);
        if let Some(ledger) = &self.ledger {
            stored::check(ledger, self, &mut report);
            open_ends::check(ledger, self, &mut report);
            sums::check(ledger, &mut report);
        }
        report.lines()
    }

    /// Fails the test with all that is wrong.
    pub fn assert_clean(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "{} violations:\n  {}", violations.len(), violations.join("\n  "));
    }

    fn all_secrets(&self) -> Vec<String> {
        self.secrets.iter().cloned().chain([API_KEY.to_owned()]).collect()
    }
}

/// Fails the test unless each brief has ended with its first run and the ledger in `dir` agrees with everybody.
pub async fn judge_first_runs(sandbox: &SandboxProcess, dir: &Path, records: Vec<Message>, briefs: &[Value]) {
    Evidence::of_first_runs(sandbox.account().await, records, briefs).with_ledger(dir).await.assert_clean();
}

/// How many dead letters of one reason came.
#[derive(Default)]
struct Came {
    letters: usize,
    /// By the id that says what they are.
    different: usize,
    wanted: usize,
}

/// Each dead letter says why, and there are those that must be there.
fn check_dead_letters(evidence: &Evidence, report: &mut Report) {
    let mut came: BTreeMap<&str, Came> = BTreeMap::new();
    let (mut rows, mut ids) = (BTreeMap::new(), BTreeMap::new());
    for (index, dead_letter) in evidence.dead_letters.iter().enumerate() {
        for header in ["x-briefd-reason", "x-briefd-detail", "x-briefd-at"] {
            if dead_letter.header(header).is_empty() {
                report.add(Promise::P5, format!("dead letter {index} has no header {header}"));
            }
        }
        // A confirm that was lost with its worker: the same row comes again.
        let row = dead_letter.header("x-briefd-row");
        if !row.is_empty()
            && let Some(first) = rows.insert(row, dead_letter)
        {
            if first != dead_letter {
                let how = difference::of(first, dead_letter);
                report.add(Promise::P4, format!("dead letter {row} was published again and differs: {how}"));
            }
            continue;
        }
        let of_reason = came.entry(dead_letter.header("x-briefd-reason")).or_default();
        of_reason.letters += 1;
        let id = dead_letter.header("x-briefd-id");
        match ids.insert(id, dead_letter).filter(|_| !id.is_empty()) {
            None => of_reason.different += 1,
            Some(first) if first.body == dead_letter.body => {}
            Some(_) => {
                report.add(Promise::P4, format!("dead letter {id} came with two bodies"));
            }
        }
    }
    for reason in &evidence.expected_dead_letters {
        came.entry(reason).or_default().wanted += 1;
    }
    for (reason, Came { letters, different, wanted }) in came {
        // What was set aside just before a death is set aside again, and tells so by its id.
        let most = wanted * (1 + evidence.crashes);
        let fits = match evidence.crashes {
            0 => letters == wanted,
            _ => (wanted..=most).contains(&letters) && different <= wanted,
        };
        if !fits {
            report.add(
                Promise::P5,
                format!(
                    "{letters} dead letters with reason {reason:?}, {different} of them different, there must be {wanted}"
                ),
            );
        }
    }
}
