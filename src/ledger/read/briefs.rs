//! One line a brief, in the order they came.

use serde_json::Value;

use super::super::{LedgerError, Reader};
use super::{BRIEFS, Waiting, brief_state};
use crate::job::BriefState;

/// Which briefs.
#[derive(Clone, Debug, Default)]
pub struct BriefFilter {
    /// Of this batch; '' for those without one.
    pub batch: Option<String>,
    /// Of this project.
    pub project: Option<String>,
    /// In this state, derived ones included.
    pub state: Option<BriefState>,
    /// Whose latest trouble has this code.
    pub code: Option<String>,
    /// That this plan of reruns was to start.
    pub plan: Option<i64>,
    /// Received at or after, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Read what each asks for, too.
    pub with_request: bool,
}

/// One brief.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BriefLine {
    /// The ledger's number of it.
    pub id: i64,
    /// The project.
    pub project_id: String,
    /// The batch, or ''.
    pub batch_id: String,
    /// Its id within project and batch.
    pub brief_id: String,
    /// The current run.
    pub run: i64,
    /// Its state, as people see it.
    pub state: BriefState,
    /// Why it did not complete, or why it is parked; `None` for what is open or completed.
    pub code: Option<String>,
    /// The same in a line for people.
    pub message: Option<String>,
    /// What helps: `rerun`, `change`, `none`.
    pub remedy: Option<String>,
    /// What the current run asks for, as JSON, if the filter wants it.
    pub request: Option<String>,
    /// When it first came, milliseconds since 1970.
    pub received_ms: i64,
    /// When its state changed last, milliseconds since 1970.
    pub changed_ms: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    project_id: String,
    batch_id: String,
    brief_id: String,
    run: i64,
    state: String,
    trouble: Option<String>,
    request: Option<String>,
    received_at: i64,
    changed_at: i64,
    not_before: Option<i64>,
}

/// What the queries have in common.
macro_rules! lines {
    ($where:literal) => {
        concat!(
            "SELECT b.id, b.project_id, b.batch_id, b.brief_id, b.run, b.state, b.received_at, b.changed_at, r.not_before, \
             CASE WHEN b.state IN ('partial', 'failed', 'canceled') THEN \
             (SELECT json_extract(CAST(o.body AS TEXT), '$.error') FROM outbox o WHERE o.brief = b.id \
             AND o.channel = 'record' AND o.kind <> 'container.completed' ORDER BY o.id DESC LIMIT 1) \
             WHEN b.state = 'parked' THEN (SELECT j.error FROM job j WHERE j.brief = b.id \
             AND j.run = b.run AND j.state = 'parked' ORDER BY j.id DESC LIMIT 1) END AS trouble, \
             CASE WHEN $5 THEN r.request END AS request \
             FROM brief b CROSS JOIN run r ON r.brief = b.id AND r.run = b.run WHERE b.id > $1 ",
            $where,
            " AND ($2 IS NULL OR b.project_id = $2) AND ($3 IS NULL OR b.state = $3) ORDER BY b.id LIMIT $4",
        )
    };
}

/// Along the whole table, in pages: what a listing without a batch is.
const ALL: &str = lines!("");
/// Along one batch, by its own index.
const OF_BATCH: &str = lines!("AND b.batch_id = $6");
/// Those of one plan, however large the ledger.
const OF_PLAN: &str = lines!(
    "AND b.id IN (SELECT p.brief FROM plan_row p WHERE p.plan = $7) AND ($6 IS NULL OR b.batch_id = $6)"
);

impl Reader {
    /// A page of at most `limit` briefs that were looked at after brief `after` (0: from the start), and the number of
    /// the last one looked at; `None`: that was the last page. The page may be empty without being the last.
    pub async fn brief_lines(
        &self,
        filter: &BriefFilter,
        waiting: &Waiting,
        after: i64,
        limit: u32,
    ) -> Result<(Vec<BriefLine>, Option<i64>), LedgerError> {
        let after = match filter.since_ms {
            Some(since_ms) if after == 0 => self.last_before(&BRIEFS, since_ms).await?,
            Some(_) | None => after,
        };
        let stored = filter.state.map(|state| match state {
            BriefState::Scheduled | BriefState::Held | BriefState::Waiting => BriefState::Waiting.word(),
            BriefState::Submitting
            | BriefState::Running
            | BriefState::Completed
            | BriefState::Partial
            | BriefState::Failed
            | BriefState::Canceled
            | BriefState::Parked => state.word(),
        });
        let query = match (&filter.batch, filter.plan) {
            (_, Some(_)) => OF_PLAN,
            (Some(_), None) => OF_BATCH,
            (None, None) => ALL,
        };
        let mut query = sqlx::query_as(query)
            .bind(after)
            .bind(filter.project.as_deref())
            .bind(stored)
            .bind(limit)
            .bind(filter.with_request);
        if filter.batch.is_some() || filter.plan.is_some() {
            query = query.bind(filter.batch.as_deref());
        }
        if let Some(plan) = filter.plan {
            query = query.bind(plan);
        }
        let rows: Vec<Row> = query.fetch_all(&self.pool).await?;
        let full = u32::try_from(rows.len()).is_ok_and(|n| n >= limit);
        let last = rows.last().map(|row| row.id).filter(|_| full);
        let lines: Result<Vec<_>, _> = rows.into_iter().map(|row| row.line(waiting)).collect();
        let mut lines = lines?;
        lines.retain(|line| {
            filter.state.is_none_or(|state| line.state == state)
                && (filter.code.is_none() || filter.code == line.code)
        });
        Ok((lines, last))
    }
}

impl Row {
    fn line(self, waiting: &Waiting) -> Result<BriefLine, LedgerError> {
        let stored = brief_state(&self.state)?;
        let trouble = self.trouble.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        let told = |name: &str| trouble[name].as_str().map(ToOwned::to_owned);
        Ok(BriefLine {
            state: waiting.state(stored, (&self.project_id, &self.batch_id), self.not_before),
            id: self.id,
            project_id: self.project_id,
            batch_id: self.batch_id,
            brief_id: self.brief_id,
            run: self.run,
            code: told("code"),
            message: told("message"),
            remedy: told("remedy"),
            request: self.request,
            received_ms: self.received_at,
            changed_ms: self.changed_at,
        })
    }
}

#[cfg(test)]
pub(super) const PLANNED: [&str; 3] = [ALL, OF_BATCH, OF_PLAN];
