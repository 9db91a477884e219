//! Alerts and recording rules: each fires when it should and not otherwise, asks for metrics that exist, and has an entry
//! in the runbook.

mod scaled;
mod trouble;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::broker::TestBroker;
use crate::support::process::{SandboxProcess, Worker};

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn text(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).unwrap()
}

fn alerts() -> Vec<String> {
    let rules = text("prometheus/rules.yml");
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// Everything in a text that looks like one of our metrics.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    words.filter(|word| word.starts_with("briefd_")).map(str::to_owned).collect()
}

fn promtool(arguments: &[&str], file: &str) {
    let output = Command::new("promtool").args(arguments).arg(deploy(file)).output();
    let output = output.expect("promtool runs (Debian package prometheus; tests/run installs it)");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn each_alert_fires_when_it_should_and_not_otherwise() {
    promtool(&["check", "rules"], "prometheus/rules.yml");
    promtool(&["check", "config", "--syntax-only"], "prometheus/prometheus.yml");
    promtool(&["test", "rules"], "prometheus/rules_test.yml");
    let tests = text("prometheus/rules_test.yml");
    for alert in alerts() {
        for kind in ["fires", "does not fire"] {
            assert!(tests.contains(&format!("- name: {alert} {kind}")), "{alert}: no test that it {kind}");
        }
    }
}

#[test]
fn each_alert_is_told_in_a_sentence_and_has_an_entry_in_the_runbook() {
    let (rules, runbook) = (text("prometheus/rules.yml"), text("RUNBOOK.md"));
    let entries: Vec<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## Briefd")).collect();
    let alerts = alerts();
    assert!(alerts.len() >= 18);
    for alert in &alerts {
        assert!(entries.contains(&alert.trim_start_matches("Briefd")), "{alert} is not in deploy/RUNBOOK.md");
        assert!(rules.contains(&format!("runbook: deploy/RUNBOOK.md#{}", alert.to_lowercase())), "{alert}");
    }
    assert_eq!(entries.len(), alerts.len(), "the runbook tells of alerts that do not exist");
    for part in rules.split("- alert: ").skip(1) {
        for word in ["severity: ", "summary: ", "description: "] {
            assert!(part.contains(word), "{word} is missing: {part}");
        }
    }
}

#[tokio::test]
async fn rules_ask_for_metrics_that_a_worker_exports() {
    let (broker, sandbox) = (TestBroker::connect().await, SandboxProcess::spawn(&[]).await);
    let dir = tempfile::tempdir().unwrap();
    let mut worker = Worker::spawn(dir.path(), &[broker.variables(), sandbox.variables()].concat());
    worker.wait_ready().await;
    let exported = metrics_in(&worker.metrics().await);
    let asked = metrics_in(&text("prometheus/rules.yml"));
    assert!(asked.len() > 15);
    assert_eq!(asked.difference(&exported).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// Every command of the runbook runs, beside a worker and on its ledger; 1 says that something is not complete.
#[tokio::test]
async fn the_commands_of_the_runbook_run() {
    let (broker, sandbox) = (TestBroker::connect().await, SandboxProcess::spawn(&[]).await);
    let dir = tempfile::tempdir().unwrap();
    let mut variables = [broker.variables(), sandbox.variables()].concat();
    variables.push(("BRIEFD__LEDGER__URL", format!("sqlite://{}", dir.path().join("briefd.db").display())));
    let mut worker = Worker::spawn(dir.path(), &variables);
    worker.wait_ready().await;
    let runbook = text("RUNBOOK.md").replace("/tmp/", &format!("{}/", dir.path().display()));
    let commands: BTreeSet<&str> =
        runbook.lines().filter_map(|line| line.strip_prefix("$ briefd ")).collect();
    assert!(commands.len() > 8, "{commands:?}");
    for command in commands {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let output = crate::support::process::briefd(dir.path(), &arguments, &variables).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "briefd {command}: {:?} {said}", output.status);
    }
}
