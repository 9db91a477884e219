//! A person's decision about parked jobs: the way out where nothing the API says can decide any more. Who decided, when
//! and why stays in the brief's story.

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;

use super::attempt::{Started, follow_parked};
use super::rows::{follow_jobs, note};
use super::unmade::reject;
use super::writer::Write;
use super::{LedgerError, Reader};
use crate::job::{Certainty, Event, JobState, Next, next};
use crate::record::{RecordError, Source};

/// What a person decided about a parked job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resolution {
    /// The API accepted it.
    Accepted {
        /// The API's job id.
        job: String,
        /// Its containers, as far as they are known.
        containers: Vec<String>,
        /// What `auto` became, when told.
        format: Option<String>,
    },
    /// The same POST is sent again, once also where nothing guards it any more.
    Repeat,
    /// The API never accepted it.
    NeverAccepted,
}

impl Resolution {
    const fn event(&self) -> Event {
        match self {
            Self::Accepted { .. } => Event::ResolvedAccepted,
            Self::Repeat => Event::ResolvedRepeat,
            Self::NeverAccepted => Event::ResolvedNever,
        }
    }

    /// As people say it.
    const fn words(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Repeat => "repeat",
            Self::NeverAccepted => "never accepted",
        }
    }
}

/// Carries out a decision about parked jobs.
#[derive(Clone, Debug)]
pub struct Resolve {
    /// The ledger's numbers of the jobs, as they were parked when the person decided.
    pub jobs: Vec<i64>,
    /// What was decided.
    pub resolution: Resolution,
    /// By whom.
    pub who: String,
    /// Why, in their words.
    pub reason: String,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// What a decision changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// Jobs that it was carried out for, and the state of each now.
    pub done: Vec<(i64, JobState)>,
    /// Jobs that are not parked any more, and the state of each: somebody else was first.
    pub not_parked: Vec<(i64, String)>,
    /// Records of a failure that follow from it: the project, and the error.
    pub failed: Vec<(String, RecordError)>,
}

impl Write for Resolve {
    type Out = Resolved;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Resolved, LedgerError>> {
        Box::pin(async move {
            let mut resolved = Resolved::default();
            for job in &self.jobs {
                let row = Row::get(db, *job).await?;
                match row.after(self.resolution.event())? {
                    Some(state) => {
                        self.story(db, &row, state).await?;
                        resolved.failed.extend(self.carry_out(db, &row).await?);
                        resolved.done.push((*job, state));
                    }
                    None => resolved.not_parked.push((*job, row.state)),
                }
            }
            Ok(resolved)
        })
    }

    fn rows(&self) -> usize {
        self.jobs.len()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    brief: i64,
    run: i64,
    project_id: String,
    kind: String,
    container: Option<String>,
    state: String,
    unknown_first_at: Option<i64>,
    error: Option<String>,
}

impl Row {
    async fn get(db: &mut SqliteConnection, job: i64) -> Result<Self, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT id, brief, run, project_id, kind, container, state, unknown_first_at, error FROM job WHERE id = $1",
        )
        .bind(job)
        .fetch_one(db)
        .await?)
    }

    /// The state that follows, by the one table; `None`: it is not parked.
    fn after(&self, event: Event) -> Result<Option<JobState>, LedgerError> {
        let state = JobState::from_word(&self.state)
            .ok_or_else(|| LedgerError::Corrupt(format!("job {} is '{}'", self.id, self.state)))?;
        let certainty =
            if self.unknown_first_at.is_some() { Certainty::Unknown } else { Certainty::Harmless };
        Ok(match next(state, certainty, event) {
            Next::To(after) => Some(after),
            Next::LookUp | Next::Conflict => None,
        })
    }
}

impl Resolve {
    async fn story(&self, db: &mut SqliteConnection, row: &Row, after: JobState) -> Result<(), LedgerError> {
        let job_id = match &self.resolution {
            Resolution::Accepted { job, .. } => Some(job),
            Resolution::Repeat | Resolution::NeverAccepted => None,
        };
        let said = json!({
            "job": row.id,
            "decision": self.resolution.words(),
            "jobId": job_id,
            "by": self.who,
            "reason": self.reason,
            "state": after.word(),
        });
        note(db, (row.brief, row.run), self.now_ms, "resolved", &said).await
    }

    /// Moves one parked job; returns the failure that its record tells, if it ends here.
    async fn carry_out(
        &self,
        db: &mut SqliteConnection,
        row: &Row,
    ) -> Result<Option<(String, RecordError)>, LedgerError> {
        match &self.resolution {
            Resolution::Accepted { job, containers, format } => {
                sqlx::query("UPDATE job SET error = NULL WHERE id = $1")
                    .bind(row.id)
                    .execute(&mut *db)
                    .await?;
                let started = Started {
                    job_id: Some(job.clone()),
                    container_ids: if row.kind == "generate" { containers.clone() } else { Vec::new() },
                    format: format.clone(),
                };
                follow_parked(db, row.id, started, self.now_ms).await?;
                Ok(None)
            }
            Resolution::Repeat => {
                self.repeat(db, row).await?;
                Ok(None)
            }
            Resolution::NeverAccepted => {
                let error = self.never_accepted(row);
                reject(db, row.id, &error, self.now_ms).await?;
                Ok(Some((row.project_id.clone(), error)))
            }
        }
    }

    /// Due at once, with the same key and bytes. Without the key of its first unknown attempt the next POST is allowed
    /// whatever the time and the API key; should its answer be lost too, the old limits hold again.
    async fn repeat(&self, db: &mut SqliteConnection, row: &Row) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE job SET state = 'submitting', claim = NULL, due_at = $2, unrecorded = 0, unknown_key = NULL, \
             absent_at = NULL, error = NULL WHERE id = $1 AND state = 'parked'",
        )
        .bind(row.id)
        .bind(self.now_ms)
        .execute(&mut *db)
        .await?;
        follow_jobs(db, (row.brief, row.run), self.now_ms).await
    }

    /// Why it failed: the API's own refusal, where one was stored; else that nobody ever heard how it ended.
    fn never_accepted(&self, row: &Row) -> RecordError {
        if let Some(refusal) = row.error.as_deref().and_then(refusal) {
            return refusal;
        }
        let what = row.container.as_deref().map_or("a job for it", |_| "a job for this container");
        let why = if self.reason.is_empty() { "no reason given" } else { &self.reason };
        RecordError::new(
            Source::Briefd,
            "GENERATION_LOST",
            format!("the API never told whether it made {what}; {} decided that it did not: {why}", self.who),
        )
    }
}

/// The API's refusal that was stored when the job was parked.
fn refusal(stored: &str) -> Option<RecordError> {
    let stored: Value = serde_json::from_str(stored).ok()?;
    let text = |name: &str| stored.get(name).and_then(Value::as_str);
    if Source::from_word(text("source")?)? != Source::Layers {
        return None;
    }
    let mut error = RecordError::new(Source::Layers, text("code")?, text("message")?);
    error.request_id = text("requestId").map(ToOwned::to_owned);
    error.details = stored.get("details").filter(|details| !details.is_null()).cloned();
    Some(error)
}

/// A job that a person must decide about.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ParkedJob {
    /// The ledger's number of it.
    pub id: i64,
    /// `generate` or `regenerate`.
    pub kind: String,
    /// For a regenerate: the container's id at the API.
    pub container: Option<String>,
    /// Our container id in the body; `None`: key-only.
    pub alias: Option<String>,
    /// The bytes that were sent.
    pub body: String,
}

impl Reader {
    /// The parked jobs of a brief (by the ledger's number), first to last.
    pub async fn parked_jobs(&self, brief: i64) -> Result<Vec<ParkedJob>, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT id, kind, container, alias, body FROM job WHERE brief = $1 AND state = 'parked' ORDER BY id",
        )
        .bind(brief)
        .fetch_all(&self.pool)
        .await?)
    }
}
