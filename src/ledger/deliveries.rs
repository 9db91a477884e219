//! Decisions about deliveries, written down and counted.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::decide::{Decide, Received};
use super::decision::Decision;
use super::rows::{At, Note, notes};
use super::totals::bump_all;
use super::{LedgerError, sets};

/// A decision before it is written down.
pub(super) struct Decided<'a> {
    pub received: &'a Received,
    pub decision: Decision,
    /// The brief and the run it is about.
    pub at: Option<At>,
}

/// What the story says of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    result: &'static str,
    message_id: Option<&'a str>,
    redelivered: bool,
}

impl Decided<'_> {
    fn note(&self, at_ms: i64) -> Option<Note> {
        let detail = Line {
            result: self.decision.word(),
            message_id: self.received.properties.message_id.as_deref(),
            redelivered: self.received.redelivered,
        };
        self.at.map(|of| Note::new(of, at_ms, "received", &detail))
    }
}

impl Decide {
    /// Writes decisions down, in this order, and counts them.
    pub(super) async fn note_deliveries(
        &self,
        db: &mut SqliteConnection,
        decided: &[Decided<'_>],
    ) -> Result<(), LedgerError> {
        let insert = ("INSERT INTO delivery (at, result, brief, run, message_id, redelivered) ", "");
        sets::insert(db, insert, decided, |row, one| {
            row.push_bind(self.now_ms).push_bind(one.decision.word());
            row.push_bind(one.at.map(|(brief, _)| brief)).push_bind(one.at.map(|(_, run)| run));
            row.push_bind(one.received.properties.message_id.clone()).push_bind(one.received.redelivered);
        })
        .await?;
        let story: Vec<Note> = decided.iter().filter_map(|one| one.note(self.now_ms)).collect();
        notes(db, &story).await?;
        let mut totals = BTreeMap::new();
        for one in decided {
            *totals.entry(one.decision.total()).or_insert(0) += 1;
        }
        let mut totals: Vec<(&'static str, i64)> = totals.into_iter().collect();
        totals.push(("decided", i64::try_from(decided.len()).unwrap_or(i64::MAX)));
        bump_all(db, &totals).await
    }
}
