//! What became of the briefs of one `generate`: those that were delivered since it opened the ledger.
//!
//! The worker lock makes that exact: while it is held nobody else's deliveries are decided.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::sqlite::SqlitePool;

use super::{Input, LedgerError, Reader, StateCounts};
use crate::job::{BriefState, Event};

/// Records, or lines of the story, that are held at once.
const PAGE: i64 = 500;

/// One stretch of work: from when on deliveries and attempts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The newest delivery before it.
    after_delivery: i64,
    /// The newest line of the story before it.
    after_history: i64,
}

/// What became of a session's briefs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// Briefs by state.
    pub states: StateCounts,
    /// Their projects.
    pub projects: i64,
    /// Their batches, two at most.
    pub batches: Vec<String>,
    /// Of these briefs, those that are open for the queue's worker.
    pub queue_open: i64,
    /// Containers that completed, by format.
    pub completed: BTreeMap<String, i64>,
    /// What these are thought to have cost; `None` when nobody knows the price of one.
    pub credits: Option<u64>,
    /// Why containers, or briefs without any, did not complete: most frequent first.
    pub failures: Vec<FailureCount>,
    /// What went wrong on the way, in this session only.
    pub mishaps: BTreeMap<Mishap, i64>,
}

/// Why something did not complete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailureCount {
    /// The error code.
    pub code: String,
    /// Who says so: `layers` or `briefd`.
    pub source: String,
    /// What helps: `rerun`, `change`, `none`.
    pub remedy: String,
    /// Containers, and briefs without any.
    pub n: i64,
}

/// A POST that did not get its answer at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mishap {
    /// It may have left, and nothing readable came back.
    AnswerLost,
    /// No connection came about.
    NotConnected,
    /// The answer had this status, and meant neither yes nor no.
    Status(u16),
}

const STATES: &str = "SELECT state, count(*) FROM brief \
    WHERE id IN (SELECT brief FROM delivery WHERE id > $1) GROUP BY state";

/// The latest record of each container, or the one that stands for all of them.
const RECORDS: &str = "SELECT o.id, o.kind, o.body FROM outbox o JOIN brief b ON b.id = o.brief \
    WHERE o.id > $2 AND o.channel = 'record' AND o.brief IN (SELECT brief FROM delivery WHERE id > $1) \
    AND ((o.variant IS NULL AND o.run = b.run) OR (o.variant IS NOT NULL \
    AND NOT EXISTS (SELECT 1 FROM outbox n WHERE n.brief = o.brief AND n.variant = o.variant AND n.id > o.id) \
    AND NOT EXISTS (SELECT 1 FROM outbox w WHERE w.brief = o.brief AND w.run = b.run AND w.variant IS NULL))) \
    ORDER BY o.id LIMIT $3";

const ATTEMPTS: &str = "SELECT id, detail FROM history WHERE id > $2 AND what = 'attempt' \
    AND brief IN (SELECT brief FROM delivery WHERE id > $1) ORDER BY id LIMIT $3";

impl Reader {
    /// A session that begins now.
    pub async fn session(&self) -> Result<Session, LedgerError> {
        let (after_delivery, after_history) = sqlx::query_as(
            "SELECT (SELECT coalesce(max(id), 0) FROM delivery), (SELECT coalesce(max(id), 0) FROM history)",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Session { after_delivery, after_history })
    }

    /// How far the session's briefs are.
    pub async fn session_states(&self, session: Session) -> Result<StateCounts, LedgerError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as(STATES).bind(session.after_delivery).fetch_all(&self.pool).await?;
        let mut states = StateCounts::default();
        for (word, n) in rows {
            let state = BriefState::from_word(&word)
                .ok_or_else(|| LedgerError::Corrupt(format!("a brief is '{word}'")))?;
            states.add(state, n);
        }
        Ok(states)
    }

    /// Why the session's latest POST found no connection; `None` if it found one, or there was none yet.
    pub async fn session_unreachable(&self, session: Session) -> Result<Option<String>, LedgerError> {
        let latest: Option<String> = sqlx::query_scalar(
            "SELECT detail FROM history WHERE id > $1 AND what = 'attempt' ORDER BY id DESC LIMIT 1",
        )
        .bind(session.after_history)
        .fetch_optional(&self.pool)
        .await?;
        Ok(latest
            .filter(|detail| Mishap::of(detail) == Some(Mishap::NotConnected))
            .and_then(|detail| serde_json::from_str::<Attempt>(&detail).ok())
            .map(|attempt| attempt.detail))
    }

    /// What became of the session's briefs. Reads their records, a page at a time.
    pub async fn session_results(&self, session: Session) -> Result<Results, LedgerError> {
        let mut results =
            Results { states: self.session_states(session).await?, credits: Some(0), ..Results::default() };
        (results.projects, results.queue_open) = sqlx::query_as(
            "SELECT count(DISTINCT project_id), count(*) FILTER (WHERE input = 'queue' AND state IN \
             ('waiting', 'submitting', 'running', 'parked')) FROM brief \
             WHERE id IN (SELECT brief FROM delivery WHERE id > $1)",
        )
        .bind(session.after_delivery)
        .fetch_one(&self.pool)
        .await?;
        results.batches = sqlx::query_scalar(
            "SELECT DISTINCT batch_id FROM brief WHERE id IN (SELECT brief FROM delivery WHERE id > $1) LIMIT 2",
        )
        .bind(session.after_delivery)
        .fetch_all(&self.pool)
        .await?;
        results.read_records(&self.pool, session).await?;
        results.read_attempts(&self.pool, session).await?;
        Ok(results)
    }

    /// Whether anything of this input was ever recorded.
    pub async fn knows_input(&self, input: &Input) -> Result<bool, LedgerError> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM brief WHERE input = $1)")
            .bind(input.word())
            .fetch_one(&self.pool)
            .await?)
    }
}

impl Results {
    /// All containers that completed.
    pub fn containers(&self) -> i64 {
        self.completed.values().sum()
    }

    async fn read_records(&mut self, pool: &SqlitePool, session: Session) -> Result<(), LedgerError> {
        let mut failures: BTreeMap<(String, String, String), i64> = BTreeMap::new();
        let mut last = 0_i64;
        loop {
            let page: Vec<(i64, String, Vec<u8>)> = sqlx::query_as(RECORDS)
                .bind(session.after_delivery)
                .bind(last)
                .bind(PAGE)
                .fetch_all(pool)
                .await?;
            let Some((id, _, _)) = page.last() else { break };
            last = *id;
            for (id, kind, body) in &page {
                let told: Told = serde_json::from_slice(body).map_err(|error| {
                    LedgerError::Corrupt(format!("the record in outbox row {id}: {error}"))
                })?;
                match told.error {
                    None if kind == "container.completed" => {
                        *self.completed.entry(told.format.unwrap_or_default()).or_default() += 1;
                        self.credits = self.credits.zip(told.credits_estimate).map(|(sum, one)| sum + one);
                    }
                    None => {}
                    Some(error) => {
                        *failures.entry((error.code, error.source, error.remedy)).or_default() += 1;
                    }
                }
            }
        }
        self.failures = failures
            .into_iter()
            .map(|((code, source, remedy), n)| FailureCount { code, source, remedy, n })
            .collect();
        self.failures.sort_by_key(|failure| std::cmp::Reverse(failure.n));
        Ok(())
    }

    async fn read_attempts(&mut self, pool: &SqlitePool, session: Session) -> Result<(), LedgerError> {
        let mut last = session.after_history;
        loop {
            let page: Vec<(i64, String)> = sqlx::query_as(ATTEMPTS)
                .bind(session.after_delivery)
                .bind(last)
                .bind(PAGE)
                .fetch_all(pool)
                .await?;
            let Some((id, _)) = page.last() else { return Ok(()) };
            last = *id;
            for mishap in page.iter().filter_map(|(_, detail)| Mishap::of(detail)) {
                *self.mishaps.entry(mishap).or_default() += 1;
            }
        }
    }
}

impl Mishap {
    /// What a line of the story tells; `None`: an answer that meant yes or no.
    fn of(detail: &str) -> Option<Self> {
        let attempt: Attempt = serde_json::from_str(detail).ok()?;
        let is = |event: Event| attempt.outcome == format!("{event:?}");
        let status = attempt.status.filter(|status| !(200..300).contains(status));
        if is(Event::NotConnected) {
            Some(Self::NotConnected)
        } else if is(Event::Unanswered) || is(Event::Unheeded) {
            Some(status.map_or(Self::AnswerLost, Self::Status))
        } else if is(Event::ToldToWait) || is(Event::InProgress) {
            status.map(Self::Status)
        } else {
            None
        }
    }
}

/// What is read of a record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    format: Option<String>,
    credits_estimate: Option<u64>,
    error: Option<ErrorTold>,
}

#[derive(Deserialize)]
struct ErrorTold {
    code: String,
    source: String,
    remedy: String,
}

/// What is read of an attempt.
#[derive(Deserialize)]
struct Attempt {
    outcome: String,
    status: Option<u16>,
    #[serde(default)]
    detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_a_mishap_unless_its_answer_meant_yes_or_no() {
        let of = |outcome: &str, status: &str| {
            Mishap::of(&format!(r#"{{"outcome":"{outcome}","status":{status},"detail":""}}"#))
        };
        assert_eq!(of("Unanswered", "null"), Some(Mishap::AnswerLost));
        assert_eq!(of("Unanswered", "202"), Some(Mishap::AnswerLost)); // half a JSON
        assert_eq!(of("Unanswered", "502"), Some(Mishap::Status(502)));
        assert_eq!(of("Unheeded", "500"), Some(Mishap::Status(500)));
        assert_eq!(of("NotConnected", "null"), Some(Mishap::NotConnected));
        assert_eq!(of("ToldToWait", "429"), Some(Mishap::Status(429)));
        assert_eq!(of("Held", "402"), None); // the hold tells
        assert_eq!(of("Accepted", "202"), None);
        assert_eq!(of("Refused", "422"), None);
    }
}
