//! The judge: reads what the sandbox counted and what came out, and says whether anything was bought twice or lost.
//!
//! It knows the contract only, nothing of how briefd works, and believes neither side alone: purchases are the
//! sandbox's account, results are the messages that consumers got. It says everything it finds, not the first.
//!
//! It judges a finished scene: every expected run has ended, and all that was published has been taken.

mod purchases;
mod results;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

use super::message::Message;

/// What a test left behind, and what it had asked for.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// `GET /_sandbox/account`
    pub account: Value,
    /// Everything that came out of the output exchange, repeats included, or the lines of a record file.
    pub records: Vec<Message>,
    /// Everything that was set aside.
    pub dead_letters: Vec<Message>,
    /// Every run of a brief that must have ended.
    pub expected_runs: Vec<ExpectedRun>,
    /// The reasons of all dead letters that there must be.
    pub expected_dead_letters: Vec<&'static str>,
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
    /// Everything that is wrong, a line each. Empty: clean.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let results = results::Results::read(&self.records, &mut violations);
        results.check_runs(&self.expected_runs, &mut violations);
        purchases::check(&self.account, &results, &mut violations);
        check_dead_letters(&self.dead_letters, &self.expected_dead_letters, &mut violations);
        violations
    }

    /// Fails the test with all that is wrong.
    pub fn assert_clean(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "{} violations:\n  {}", violations.len(), violations.join("\n  "));
    }
}

/// Each dead letter says why, and there are those that must be there.
fn check_dead_letters(dead_letters: &[Message], expected: &[&str], violations: &mut Vec<String>) {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (index, dead_letter) in dead_letters.iter().enumerate() {
        for header in ["x-briefd-reason", "x-briefd-detail", "x-briefd-at"] {
            if dead_letter.header(header).is_empty() {
                violations.push(format!("dead letter {index} has no header {header}"));
            }
        }
        counts.entry(dead_letter.header("x-briefd-reason")).or_default().0 += 1;
    }
    for reason in expected {
        counts.entry(reason).or_default().1 += 1;
    }
    for (reason, (found, wanted)) in counts {
        if found != wanted {
            violations.push(format!("{found} dead letters with reason {reason:?}, there must be {wanted}"));
        }
    }
}
