//! The running totals are what the rows add up to, counted here once more.

use super::ledger::LedgerRows;
use super::report::{Promise, Report};

/// Says which sums differ.
pub fn check(ledger: &LedgerRows, report: &mut Report) {
    let mut parts = [0; 4];
    for decision in &ledger.decisions {
        match decision.as_str() {
            "new" | "invalid" => parts[0] += 1,
            "duplicate" | "republished" => parts[1] += 1,
            "rerun" | "replaced" => parts[2] += 1,
            "conflict" | "unreadable" => parts[3] += 1,
            other => {
                report.add(Promise::P8, format!("a delivery was decided as '{other}', which counts nowhere"));
            }
        }
    }
    let [new, duplicate, rerun, dead_lettered] = parts;
    let count = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let records = ledger.outbox.iter().filter(|row| row.channel == "record" && row.brief.is_some()).count();
    let dead_letters = ledger.outbox.iter().filter(|row| row.channel == "dead_letter").count();
    let owed: i64 = ledger.runs.iter().map(|run| run.owed).sum();
    let made: i64 = ledger.runs.iter().map(|run| run.made).sum();
    let open: i64 = ledger.runs.iter().map(|run| run.owed - run.made).sum();
    let total = |name: &str| ledger.totals.get(name).copied().unwrap_or(0);
    let sums = [
        ("decided", total("decided"), count(ledger.decisions.len()), "the deliveries that are stored"),
        (
            "decided",
            total("decided"),
            new + duplicate + rerun + dead_lettered,
            "new + duplicate + rerun + dead-lettered",
        ),
        ("new", total("new"), new, "the deliveries that were new"),
        ("new", total("new"), count(ledger.briefs.len()), "the briefs that are stored"),
        ("duplicate", total("duplicate"), duplicate, "the deliveries that were duplicates"),
        ("rerun", total("rerun"), rerun, "the deliveries that asked for a run"),
        ("dead_lettered", total("dead_lettered"), dead_lettered, "the deliveries that were set aside"),
        ("dead_lettered", total("dead_lettered"), count(dead_letters), "the dead letters in the outbox"),
        ("owed", total("owed"), owed, "what the runs owe"),
        ("owed", total("owed"), count(records) + open, "what is in the outbox and what is open"),
        ("made", total("made"), made, "what the runs have made"),
        ("made", total("made"), count(records), "the records in the outbox"),
        ("open", total("open"), open, "what the runs still owe"),
    ];
    for (name, total, counted, of) in sums.into_iter().filter(|(_, total, counted, _)| total != counted) {
        report.add(Promise::P8, format!("{name} is {total}, but {of}: {counted}"));
    }
}
