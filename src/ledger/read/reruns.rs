//! What is known of briefs that may be run again, a page at a time.

use std::collections::HashMap;

use super::super::{LedgerError, Reader};
use super::{BRIEFS, brief_state};
use crate::brief::Identity;
use crate::job::BriefState;
use crate::job::plan::{Code, Container, ContainerStatus};
use crate::record::Source;

/// Which briefs.
#[derive(Clone, Debug, Default)]
pub struct RerunFilter {
    /// Of this batch; '' for those without one.
    pub batch: Option<String>,
    /// Of this project.
    pub project: Option<String>,
    /// With one of these ids, whatever project and batch they are of; empty: all.
    pub briefs: Vec<String>,
    /// Received at or after, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Received at or before, milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// Also those that completed.
    pub completed: bool,
}

/// A brief that may be run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rerunnable {
    /// The ledger's number of it.
    pub brief: i64,
    /// Which brief.
    pub identity: Identity,
    /// Whose brief: `queue`, or `file:` and a name.
    pub input: String,
    /// The current run.
    pub run: i64,
    /// Its stored state.
    pub state: BriefState,
    /// When it first came, milliseconds since 1970.
    pub received_ms: i64,
    /// When its state changed last, milliseconds since 1970.
    pub changed_ms: i64,
    /// 0 to 9, higher first.
    pub priority: u8,
    /// What was asked for.
    pub format: Option<String>,
    /// Containers asked for.
    pub variant_count: u8,
    /// The API's request fields.
    pub request: String,
    /// Of the request, as hex.
    pub fingerprint: String,
    /// Why it failed as a whole.
    pub trouble: Option<Code>,
    /// Its containers, with what the API named, by its id.
    pub containers: Vec<(String, Container)>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    project_id: String,
    batch_id: String,
    brief_id: String,
    input: String,
    run: i64,
    state: String,
    received_at: i64,
    changed_at: i64,
    priority: i64,
    format: Option<String>,
    variant_count: i64,
    request: String,
    fingerprint: String,
}

macro_rules! rerunnable {
    ($where:literal) => {
        concat!(
            "SELECT b.id, b.project_id, b.batch_id, b.brief_id, b.input, b.run, b.state, b.received_at, b.changed_at, \
             r.priority, r.format, r.variant_count, r.request, r.fingerprint \
             FROM brief b CROSS JOIN run r ON r.brief = b.id AND r.run = b.run WHERE b.id > $1 ",
            $where,
            " AND ($2 IS NULL OR b.project_id = $2) AND ($3 IS NULL OR b.received_at <= $3) \
             AND ($6 OR b.state <> 'completed') AND b.pruned_at IS NULL ORDER BY b.id LIMIT $4",
        )
    };
}

const ALL: &str = rerunnable!("AND $5 = ''");
const OF_BATCH: &str = rerunnable!("AND b.batch_id = $5");
/// The ids are a JSON list: few enough for one to be sorted.
const BY_ID: &str = rerunnable!("AND +b.id > 0 AND b.brief_id IN (SELECT value FROM json_each($5))");

const CONTAINERS: &str = "SELECT c.brief, c.variant, c.id, c.status, j.format, json_extract(c.record, '$.approvalStatus') AS approval \
     FROM json_each($1) AS asked CROSS JOIN container c ON c.brief = asked.value JOIN job j ON j.id = c.job \
     ORDER BY c.brief, c.variant";

/// The latest record of each variant, and of each brief as a whole.
const TROUBLES: &str = "SELECT o.brief, o.run, o.variant, json_extract(CAST(o.body AS TEXT), '$.error.code') AS code, \
     json_extract(CAST(o.body AS TEXT), '$.error.source') AS source FROM outbox o WHERE o.id IN ( \
       SELECT max(l.id) FROM json_each($1) AS asked CROSS JOIN outbox l ON l.brief = asked.value \
       WHERE l.channel = 'record' GROUP BY l.brief, l.variant)";

#[derive(sqlx::FromRow)]
struct ContainerRow {
    brief: i64,
    variant: i64,
    id: String,
    status: String,
    format: Option<String>,
    approval: Option<String>,
}

#[derive(sqlx::FromRow)]
struct TroubleRow {
    brief: i64,
    run: i64,
    variant: Option<i64>,
    code: Option<String>,
    source: Option<String>,
}

impl Reader {
    /// A page of at most `limit` briefs after brief `after` (0: from the start), and the number of the last one looked
    /// at; `None`: that was the last page.
    pub async fn rerunnable(
        &self,
        filter: &RerunFilter,
        after: i64,
        limit: u32,
    ) -> Result<(Vec<Rerunnable>, Option<i64>), LedgerError> {
        let after = match filter.since_ms {
            Some(since_ms) if after == 0 => self.last_before(&BRIEFS, since_ms).await?,
            Some(_) | None => after,
        };
        let ids = serde_json::to_string(&filter.briefs).unwrap_or_default();
        let (query, key) = match (&filter.batch, filter.briefs.as_slice()) {
            (_, [_, ..]) => (BY_ID, ids),
            (Some(batch), []) => (OF_BATCH, batch.clone()),
            (None, []) => (ALL, String::new()),
        };
        let mut rows: Vec<Row> = sqlx::query_as(query)
            .bind(after)
            .bind(filter.project.as_deref())
            .bind(filter.until_ms)
            .bind(limit)
            .bind(key)
            .bind(filter.completed)
            .fetch_all(&self.pool)
            .await?;
        let full = u32::try_from(rows.len()).is_ok_and(|n| n >= limit);
        let last = rows.last().map(|row| row.id).filter(|_| full);
        rows.retain(|row| filter.batch.as_ref().is_none_or(|batch| *batch == row.batch_id));
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let ids = serde_json::to_string(&ids).unwrap_or_default();
        let containers: Vec<ContainerRow> =
            sqlx::query_as(CONTAINERS).bind(&ids).fetch_all(&self.pool).await?;
        let troubles: Vec<TroubleRow> = sqlx::query_as(TROUBLES).bind(&ids).fetch_all(&self.pool).await?;
        let mut known = Known::new(containers, troubles);
        let briefs: Result<Vec<_>, _> = rows.into_iter().map(|row| known.brief(row)).collect();
        Ok((briefs?, last))
    }
}

/// What hangs on the briefs of a page.
struct Known {
    containers: HashMap<i64, Vec<ContainerRow>>,
    troubles: HashMap<(i64, Option<i64>), TroubleRow>,
}

impl Known {
    fn new(containers: Vec<ContainerRow>, troubles: Vec<TroubleRow>) -> Self {
        let mut by_brief: HashMap<i64, Vec<ContainerRow>> = HashMap::new();
        for container in containers {
            by_brief.entry(container.brief).or_default().push(container);
        }
        let troubles = troubles.into_iter().map(|row| ((row.brief, row.variant), row)).collect();
        Self { containers: by_brief, troubles }
    }

    fn trouble(&self, brief: i64, variant: Option<i64>) -> Option<(i64, Code)> {
        let row = self.troubles.get(&(brief, variant))?;
        let source = Source::from_word(row.source.as_deref()?)?;
        Some((row.run, Code { code: row.code.clone()?, source }))
    }

    fn brief(&mut self, row: Row) -> Result<Rerunnable, LedgerError> {
        let mut containers = Vec::new();
        for found in self.containers.remove(&row.id).unwrap_or_default() {
            let status = ContainerStatus::from_word(&found.status).ok_or_else(|| {
                LedgerError::Corrupt(format!(
                    "container {} of brief {} is '{}'",
                    found.variant, row.id, found.status
                ))
            })?;
            let approval = found.approval.as_deref();
            containers.push((
                found.id.clone(),
                Container {
                    variant: found.variant,
                    named: !found.id.is_empty(),
                    status,
                    trouble: self.trouble(row.id, Some(found.variant)).map(|(_, code)| code),
                    format: found.format.or_else(|| row.format.clone()).unwrap_or_else(|| "auto".to_owned()),
                    approved: approval == Some("approved"),
                    // What a reviewer says by now, only the API can tell.
                    rejected: false,
                },
            ));
        }
        let whole = self.trouble(row.id, None).filter(|(run, _)| *run == row.run);
        Ok(Rerunnable {
            brief: row.id,
            identity: Identity { project_id: row.project_id, batch_id: row.batch_id, brief_id: row.brief_id },
            input: row.input,
            run: row.run,
            state: brief_state(&row.state)?,
            received_ms: row.received_at,
            changed_ms: row.changed_at,
            priority: u8::try_from(row.priority).unwrap_or(crate::brief::PRIORITY_DEFAULT),
            format: row.format,
            variant_count: u8::try_from(row.variant_count).unwrap_or(1),
            request: row.request,
            fingerprint: row.fingerprint,
            trouble: whole.map(|(_, code)| code),
            containers,
        })
    }
}

#[cfg(test)]
pub(super) const PLANNED: [&str; 4] = [ALL, OF_BATCH, CONTAINERS, TROUBLES];
