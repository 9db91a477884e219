//! What is unknown, parked, given up or worn out at the end.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Evidence;
use super::ledger::{JobRow, LedgerRows};
use super::report::{Promise, Report};

/// Says which jobs have no end, and which were ended without knowing.
pub fn check(ledger: &LedgerRows, evidence: &Evidence, report: &mut Report) {
    check_open(ledger, evidence, report);
    check_rejected(ledger, &evidence.account, report);
    check_worn_out(ledger, evidence.crashes, report);
}

/// No job is left open but those that must be, and as many are parked as must be.
fn check_open(ledger: &LedgerRows, evidence: &Evidence, report: &mut Report) {
    let expected_parked = evidence.expected_parked;
    let name = |job: &JobRow| format!("the {} of {}", job.kind, ledger.name_of(job.brief, job.run));
    let stays_open = |job: &JobRow| ledger.is_of(job.brief, &evidence.expected_open);
    for job in ledger.jobs.iter().filter(|job| job.is_open() && !stays_open(job)) {
        report.add(Promise::P3, format!("{} is still '{}': its outcome is not known", name(job), job.state));
    }
    for id in &evidence.expected_open {
        let waits = |job: &JobRow| job.is_open() && ledger.is_of(job.brief, &[*id]);
        if !ledger.jobs.iter().any(waits) {
            report.add(Promise::P3, format!("{id} must still be open, and no job of it is"));
        }
    }
    let parked: Vec<&JobRow> = ledger.jobs.iter().filter(|job| job.state == "parked").collect();
    if parked.len() != expected_parked {
        let names =
            parked.iter().map(|job| format!("{} ({})", name(job), job.error.as_deref().unwrap_or("?")));
        let names = names.collect::<Vec<_>>().join(", ");
        report.add(
            Promise::P3,
            format!("{} jobs wait for a person, there must be {expected_parked}: {names}", parked.len()),
        );
    }
}

/// What was called refused was never accepted.
fn check_rejected(ledger: &LedgerRows, account: &Value, report: &mut Report) {
    let bought: BTreeSet<&str> =
        account["jobsByKey"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let rejected = |job: &&JobRow| job.state == "rejected" && bought.contains(job.idempotency_key.as_str());
    for job in ledger.jobs.iter().filter(rejected) {
        let name = ledger.name_of(job.brief, job.run);
        report.add(Promise::P3, format!("{name} was called refused, but the API made a job of it"));
    }
}

/// Attempts guard against a crash loop and nothing else.
fn check_worn_out(ledger: &LedgerRows, crashes: usize, report: &mut Report) {
    for job in &ledger.jobs {
        // One more: the attempt that was refused is not counted down, its job is over.
        if usize::try_from(job.unrecorded).is_ok_and(|spent| spent > crashes + 1) {
            let (name, spent) = (ledger.name_of(job.brief, job.run), job.unrecorded);
            report.add(Promise::P6, format!("{name} has spent {spent} attempts, with {crashes} crashes"));
        }
    }
}
