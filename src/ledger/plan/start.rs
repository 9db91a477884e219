//! Carries a plan out, a few briefs at a time: each gets its next run, in the transaction that says so.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use super::{Content, PlanState, Take};
use crate::brief::{Brief, Identity};
use crate::flow::Properties;
use crate::ledger::LedgerError;
use crate::ledger::decide::has_ended;
use crate::ledger::rows::{BriefRow, RunRow, note};
use crate::ledger::runs::{Chosen, Containers, NewRun, give_jobs, make_current};
use crate::ledger::writer::Write;

/// Briefs that one write looks at, at most.
const ROWS_AT_ONCE: i64 = 200;
/// After so long a write leaves the rest to the next one: others wait for the writer.
const LONG: Duration = Duration::from_millis(20);

/// Starts some of a plan's briefs.
#[derive(Clone, Debug)]
pub struct StartPlanned {
    /// The plan.
    pub plan: i64,
    /// `layers.send_container_id`
    pub send_container_id: bool,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// What one write started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanStep {
    /// Briefs that were started.
    pub started: usize,
    /// Briefs that were left out because they had changed.
    pub left_out: usize,
    /// Where the plan stands now.
    pub state: PlanState,
}

#[derive(sqlx::FromRow)]
struct Row {
    place: i64,
    brief: i64,
    from_run: i64,
    changed_at: i64,
    take: String,
    content: Option<String>,
}

/// Who made the plan, and why.
type Said = (String, String);

impl Write for StartPlanned {
    type Out = PlanStep;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<PlanStep, LedgerError>> {
        Box::pin(async move {
            let (state, canary, who, reason): (String, i64, String, String) =
                sqlx::query_as("SELECT state, canary, who, reason FROM plan WHERE id = $1")
                    .bind(self.plan)
                    .fetch_one(&mut *db)
                    .await?;
            let state = PlanState::from_word(&state)?;
            let mut step = PlanStep { started: 0, left_out: 0, state };
            if state != PlanState::Starting {
                return Ok(step);
            }
            let room = if canary > 0 { canary - self.started(db).await? } else { i64::MAX };
            let rows = self.pending(db, ROWS_AT_ONCE).await?;
            let began = Instant::now();
            for row in rows {
                if began.elapsed() >= LONG || i64::try_from(step.started).is_ok_and(|n| n >= room) {
                    break;
                }
                if self.decide(db, &row, &(who.clone(), reason.clone())).await? {
                    step.started += 1;
                } else {
                    step.left_out += 1;
                }
            }
            step.state = if self.pending(db, 1).await?.is_empty() {
                PlanState::Started
            } else if i64::try_from(step.started).is_ok_and(|n| n >= room) {
                PlanState::Canary
            } else {
                PlanState::Starting
            };
            if step.state != state {
                sqlx::query("UPDATE plan SET state = $2, changed_at = $3 WHERE id = $1")
                    .bind(self.plan)
                    .bind(step.state.word())
                    .bind(self.now_ms)
                    .execute(db)
                    .await?;
            }
            Ok(step)
        })
    }
}

impl StartPlanned {
    async fn started(&self, db: &mut SqliteConnection) -> Result<i64, LedgerError> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM plan_row WHERE plan = $1 AND state = 'started'")
            .bind(self.plan)
            .fetch_one(db)
            .await?)
    }

    async fn pending(&self, db: &mut SqliteConnection, limit: i64) -> Result<Vec<Row>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT place, brief, from_run, changed_at, take, content FROM plan_row \
             WHERE plan = $1 AND state = 'pending' ORDER BY place LIMIT $2",
        )
        .bind(self.plan)
        .bind(limit)
        .fetch_all(db)
        .await?)
    }

    /// Starts one brief, or notes why it is left out. `true`: it was started.
    async fn decide(&self, db: &mut SqliteConnection, row: &Row, said: &Said) -> Result<bool, LedgerError> {
        // One that cannot be started must not keep the others: what it had begun is taken back.
        let mut attempt = db.begin().await?;
        let why = match self.start(&mut attempt, row, said).await {
            Ok(why) => {
                attempt.commit().await?;
                why
            }
            Err(LedgerError::Corrupt(why)) => {
                attempt.rollback().await?;
                Some(why)
            }
            Err(error) => return Err(error),
        };
        sqlx::query("UPDATE plan_row SET state = $3, run = $4, why = $5 WHERE plan = $1 AND place = $2")
            .bind(self.plan)
            .bind(row.place)
            .bind(if why.is_none() { "started" } else { "left_out" })
            .bind(why.is_none().then_some(row.from_run + 1))
            .bind(&why)
            .execute(db)
            .await?;
        Ok(why.is_none())
    }

    /// `None`: the brief's next run is its current one now, and has its jobs.
    async fn start(
        &self,
        db: &mut SqliteConnection,
        row: &Row,
        (who, reason): &Said,
    ) -> Result<Option<String>, LedgerError> {
        let brief = BriefRow::by_id(db, row.brief).await?;
        let changed_at: i64 = sqlx::query_scalar("SELECT changed_at FROM brief WHERE id = $1")
            .bind(row.brief)
            .fetch_one(&mut *db)
            .await?;
        if brief.pruned_at.is_some() {
            return Ok(Some("it was pruned since".to_owned()));
        }
        if brief.run != row.from_run {
            return Ok(Some(format!("run {} was started since", brief.run)));
        }
        if changed_at != row.changed_at || !has_ended(brief.state()?) {
            return Ok(Some(format!("it changed since: it is {} now", brief.state)));
        }
        let take: Vec<Take> = parsed(&row.take)?;
        let named = Containers::of(db, brief.id).await?.named;
        if (named == 0) != take.is_empty() {
            return Ok(Some("its containers are others by now".to_owned()));
        }
        let current = RunRow::get(db, brief.id, brief.run).await?;
        let next = (brief.id, brief.run + 1);
        let asked = asked(&brief, &current, row.content.as_deref())?;
        let received = Properties {
            correlation_id: current.correlation_id.clone(),
            headers: [("traceparent", &current.traceparent), ("tracestate", &current.tracestate)]
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), json!(value.as_ref()?))))
                .collect(),
            ..Properties::default()
        };
        let run = NewRun { brief: &asked, received: &received, plan: Some(self.plan), now_ms: self.now_ms };
        run.insert(db, next, "waiting").await?;
        make_current(db, next, &brief.input, self.now_ms).await?;
        let said = json!({ "plan": self.plan, "by": who, "reason": reason });
        note(db, next, self.now_ms, "rerun", &said).await?;
        let chosen = if take.is_empty() { Chosen::NotCompleted } else { Chosen::These(&take) };
        give_jobs(db, next, (chosen, self.send_container_id), self.now_ms).await?;
        Ok(None)
    }
}

/// What the next run asks for: what the run before did, unless it was changed. It has no `expiresAt` of its own accord:
/// what has expired once would expire again.
fn asked(brief: &BriefRow, current: &RunRow, content: Option<&str>) -> Result<Brief, LedgerError> {
    let content: Option<Content> = content.map(parsed).transpose()?;
    let content = content.unwrap_or_else(|| Content {
        fingerprint: current.fingerprint.clone(),
        request: current.request.clone(),
        metadata: current.metadata.clone(),
        format: current.format.clone(),
        variant_count: u8::try_from(current.variant_count).unwrap_or(1),
        priority: u8::try_from(current.priority).unwrap_or(crate::brief::PRIORITY_DEFAULT),
        not_before_ms: None,
        expires_at_ms: None,
    });
    let Identity { project_id, batch_id, brief_id } = brief.identity();
    let time = |ms: Option<i64>| ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Ok(Brief {
        identity: Identity { project_id, batch_id, brief_id },
        run: u32::try_from(brief.run + 1)
            .map_err(|_| LedgerError::Corrupt(format!("brief {} has had {} runs", brief.id, brief.run)))?,
        batch_size: None,
        priority: content.priority,
        not_before: time(content.not_before_ms),
        expires_at: time(content.expires_at_ms),
        fingerprint: content.fingerprint.parse().map_err(|_| {
            LedgerError::Corrupt(format!("brief {} has the fingerprint '{}'", brief.id, content.fingerprint))
        })?,
        request: content.request,
        metadata: content.metadata,
        variant_count: content.variant_count,
        format: content.format,
        violations: Vec::new(),
    })
}

fn parsed<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, LedgerError> {
    serde_json::from_str(text).map_err(|error| LedgerError::Corrupt(format!("a row of a plan: {error}")))
}
