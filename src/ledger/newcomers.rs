//! Briefs that nobody has heard of, many at once: by far the most of what comes in.
//!
//! What is known already, comes twice in one batch, is invalid or asks for a later run is decided alone
//! ([`super::decide`]), each in its place among the others. Both ways leave the same rows.

use std::collections::HashSet;

use sqlx::sqlite::SqliteConnection;

use super::decide::{Decide, Received};
use super::decision::Decision;
use super::deliveries::Decided;
use super::rows::{Table, next_id};
use super::runs::{Due, NewJob, NewRun, insert_jobs, insert_runs};
use super::totals::bump_all;
use super::{LedgerError, sets};
use crate::brief::{Brief, Identity};

/// A delivery, and the brief that it brings.
pub(super) type Newcomer<'a> = (&'a Received, &'a Brief);

/// Those identities of a batch that the ledger knows.
pub(super) async fn known_identities(
    db: &mut SqliteConnection,
    deliveries: &[Received],
) -> Result<HashSet<Identity>, LedgerError> {
    let select = (
        "WITH named (project_id, batch_id, brief_id) AS (",
        ") SELECT b.project_id, b.batch_id, b.brief_id FROM named n CROSS JOIN brief b \
         WHERE b.project_id = n.project_id AND b.batch_id = n.batch_id AND b.brief_id = n.brief_id",
    );
    let named: Vec<&Identity> =
        deliveries.iter().filter_map(|one| Some(&one.content.as_ref().ok()?.identity)).collect();
    let mut known = HashSet::new();
    for part in sets::parts(&named) {
        let query = sets::lists(select, part, |row, identity| {
            row.push_bind(identity.project_id.clone()).push_bind(identity.batch_id.clone());
            row.push_bind(identity.brief_id.clone());
        });
        let found: Vec<(String, String, String)> = query.fetch(&mut *db).await?;
        known.extend(found.into_iter().map(|(project_id, batch_id, brief_id)| Identity {
            project_id,
            batch_id,
            brief_id,
        }));
    }
    Ok(known)
}

/// The newcomers that a batch begins with: valid briefs of which nobody has heard, each named once.
pub(super) fn unheard_of<'a>(known: &HashSet<Identity>, deliveries: &'a [Received]) -> Vec<Newcomer<'a>> {
    let mut named = HashSet::new();
    let newcomer = |received: &'a Received| {
        let brief = received.content.as_ref().ok()?;
        let new = brief.violations.is_empty() && brief.run <= 1 && !known.contains(&brief.identity);
        (new && named.insert(&brief.identity)).then_some((received, brief))
    };
    deliveries.iter().map_while(newcomer).collect()
}

impl Decide {
    /// Takes newcomers into the ledger, each with its run and its job.
    pub(super) async fn take_new(
        &self,
        db: &mut SqliteConnection,
        new: &[Newcomer<'_>],
    ) -> Result<Vec<(Decision, Option<i64>)>, LedgerError> {
        let first = next_id(db, Table::Brief).await?;
        let numbered: Vec<(i64, &Identity)> =
            (first..).zip(new.iter().map(|(_, brief)| &brief.identity)).collect();
        self.insert_briefs(db, &numbered).await?;
        let runs: Vec<NewRun<'_>> = new.iter().map(|new| self.first_run(*new)).collect();
        let numbered: Vec<_> = (first..).map(|id| (id, 1)).zip(&runs).collect();
        insert_runs(db, &numbered, "waiting", 1).await?;
        let input = self.input.word();
        let jobs: Vec<NewJob<'_>> =
            (first..).zip(new).map(|(id, (_, brief))| self.first_job(id, brief, &input)).collect();
        insert_jobs(db, &jobs).await?;
        let owed: i64 = new.iter().map(|(_, brief)| i64::from(brief.variant_count)).sum();
        bump_all(db, &[("owed", owed), ("open", owed)]).await?;
        let mut announced = HashSet::new();
        for (received, brief) in new {
            // The first size that is given counts, so that of a repeat changes nothing.
            if brief.batch_size.is_some() && announced.insert(&brief.identity.batch_id) {
                self.announce_size(db, received).await?;
            }
        }
        let decision = Decision::New;
        let decided: Vec<Decided<'_>> = (first..)
            .zip(new)
            .map(|(id, (received, _))| Decided { received, decision, at: Some((id, 1)) })
            .collect();
        self.note_deliveries(db, &decided).await?;
        Ok(decided.iter().map(|one| (decision, one.at.map(|(brief, _)| brief))).collect())
    }

    /// Stores briefs, waiting in their first run.
    pub(super) async fn insert_briefs(
        &self,
        db: &mut SqliteConnection,
        briefs: &[(i64, &Identity)],
    ) -> Result<(), LedgerError> {
        let insert = (
            "INSERT INTO brief (id, project_id, batch_id, brief_id, input, run, state, touched, received_at, changed_at) ",
            "",
        );
        let input = self.input.word();
        sets::insert(db, insert, briefs, |row, (id, identity)| {
            row.push_bind(*id).push_bind(identity.project_id.clone()).push_bind(identity.batch_id.clone());
            row.push_bind(identity.brief_id.clone()).push_bind(input.clone()).push_bind(1_i64);
            row.push_bind("waiting").push_bind(false).push_bind(self.now_ms).push_bind(self.now_ms);
        })
        .await
    }

    fn first_run<'a>(&self, (received, brief): Newcomer<'a>) -> NewRun<'a> {
        NewRun { brief, received: &received.properties, plan: None, now_ms: self.now_ms }
    }

    fn first_job<'a>(&self, id: i64, brief: &'a Brief, input: &'a str) -> NewJob<'a> {
        let at_ms = brief.not_before.map_or(self.now_ms, jiff::Timestamp::as_millisecond);
        NewJob {
            brief: id,
            run: 1,
            identity: &brief.identity,
            input,
            request: &brief.request,
            priority: i64::from(brief.priority),
            expires_ms: brief.expires_at.map(jiff::Timestamp::as_millisecond),
            container: None,
            due: Due { at_ms, send_container_id: self.send_container_id },
        }
    }
}
