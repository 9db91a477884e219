//! What the ledger says in the end, asked with eyes of the judge's own.

use std::collections::HashSet;

use sqlx::{Connection as _, FromRow};

use crate::app::simulation::world::World;
use crate::brief::Identity;
use crate::flow::Outgoing;
use crate::ledger::{RecordFilter, StoredRecord};

/// What the ledger says.
pub(super) struct Stored {
    /// What does not add up, a line each.
    pub imbalance: Vec<String>,
    pub records: Vec<StoredRecord>,
    /// Of briefs that are kept.
    pub runs: Vec<StoredRun>,
    pub planned: Vec<PlanRow>,
    pub pruned: Vec<Whose>,
}

/// Whose it is.
#[derive(FromRow)]
#[expect(clippy::struct_field_names, reason = "the columns are named so")]
pub(super) struct Whose {
    pub project_id: String,
    pub batch_id: String,
    pub brief_id: String,
}

/// A run of a brief.
#[derive(FromRow)]
pub(super) struct StoredRun {
    #[sqlx(flatten)]
    pub whose: Whose,
    pub run: i64,
    pub state: String,
    pub owed: i64,
}

/// A row of a plan that was let start.
#[derive(FromRow)]
pub(super) struct PlanRow {
    #[sqlx(flatten)]
    pub whose: Whose,
    pub plan: i64,
    pub plan_state: String,
    pub state: String,
    pub run: Option<i64>,
    /// Whether nothing has happened to the brief since it was planned.
    pub unchanged: bool,
}

impl Whose {
    pub(super) fn identity(&self) -> Identity {
        let Self { project_id, batch_id, brief_id } = self;
        let (project_id, batch_id, brief_id) = (project_id.clone(), batch_id.clone(), brief_id.clone());
        Identity { project_id, batch_id, brief_id }
    }
}

const RUNS: &str = "SELECT b.project_id, b.batch_id, b.brief_id, r.run, r.state, r.owed \
    FROM run r JOIN brief b ON b.id = r.brief ORDER BY r.brief, r.run";
const PLANNED: &str = "SELECT b.project_id, b.batch_id, b.brief_id, w.plan, p.state AS plan_state, w.state, w.run, \
    b.run = w.from_run AND b.changed_at = w.changed_at AND b.pruned_at IS NULL AS unchanged \
    FROM plan_row w JOIN plan p ON p.id = w.plan JOIN brief b ON b.id = w.brief ORDER BY w.plan, w.place";
const PRUNED: &str = "SELECT project_id, batch_id, brief_id FROM brief WHERE pruned_at IS NOT NULL";

impl Stored {
    pub(super) fn of(world: &World) -> Self {
        let process = world.process.as_ref().unwrap();
        let reader = process.worker.desk.ledger.reader();
        process.wait(async {
            let mut db = world.beside().await;
            let stored = Self {
                imbalance: reader.imbalance().await.unwrap().lines,
                records: reader.records_after(&RecordFilter::default(), 0, 10_000).await.unwrap(),
                runs: sqlx::query_as(RUNS).fetch_all(&mut db).await.unwrap(),
                planned: sqlx::query_as(PLANNED).fetch_all(&mut db).await.unwrap(),
                pruned: sqlx::query_as(PRUNED).fetch_all(&mut db).await.unwrap(),
            };
            db.close().await.unwrap();
            stored
        })
    }

    pub(super) fn is_pruned(&self, identity: &Identity) -> bool {
        self.pruned.iter().any(|whose| whose.identity() == *identity)
    }

    /// P2, P8: what is stored adds up, and all of it has arrived.
    pub(super) fn all_left(&self, consumed: &[Outgoing], wrong: &mut Vec<String>) {
        wrong.extend(self.imbalance.iter().map(|line| format!("P8 {line}")));
        let arrived: HashSet<_> = consumed.iter().map(|message| &message.body).collect();
        for record in self.records.iter().filter(|record| !arrived.contains(&record.body)) {
            wrong.push(format!("P2 a record never arrived: {}", String::from_utf8_lossy(&record.body)));
        }
    }
}
