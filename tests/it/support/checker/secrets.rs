//! The API key is nowhere but in requests.

use super::Evidence;
use super::report::{Promise, Report};
use crate::support::message::Message;

/// Says where a key was found.
pub fn check(evidence: &Evidence, report: &mut Report) {
    let secrets = evidence.all_secrets();
    let holds = |message: &&Message| {
        let beside = serde_json::to_string(&message.envelope).unwrap_or_default();
        let body = String::from_utf8_lossy(&message.body);
        secrets.iter().any(|secret| body.contains(secret) || beside.contains(secret))
    };
    for record in evidence.records.iter().filter(holds) {
        report.add(Promise::P7, format!("record {} tells the API key", record.json()["recordId"]));
    }
    // A message that came with the key in it is set aside as it is: it was never ours to blank.
    for letter in evidence.dead_letters.iter().filter(holds) {
        if letter.header("x-briefd-reason") != "UNREADABLE"
            || secrets.iter().any(|it| letter.header("x-briefd-detail").contains(it))
        {
            report
                .add(Promise::P7, format!("dead letter {} tells the API key", letter.header("x-briefd-row")));
        }
    }
    for place in evidence.ledger.iter().flat_map(|ledger| &ledger.places_of_secrets) {
        report.add(Promise::P7, format!("the API key stands in the ledger, in {place}"));
    }
}
