//! What became of one POST: the guarded transition that follows from it.

use std::collections::{HashMap, HashSet};

use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::accept::{Accepted, accept_all};
use super::cancel::end_if_wished;
use super::rows::{At, Note, follow_jobs, notes};
use super::unmade::reject;
use super::writer::Write;
use super::{Ledger, LedgerError, sets};
use crate::job::{Acceptance, Certainty, Event, JobState, Next, next};
use crate::record::RecordError;

/// What became of one claimed job.
#[derive(Clone, Debug)]
pub struct RecordOutcome {
    /// The job.
    pub job: i64,
    /// The claim it was made under: this process,
    pub boot: String,
    /// and which POST of the job it was. A write that is done again after a commit of unknown fate must not be taken for
    /// the outcome of a later one.
    pub attempt: i64,
    /// What happened.
    pub outcome: AttemptOutcome,
    /// For the story: HTTP status, the API's request id, one line.
    pub told: Told,
    /// When the attempt ended, milliseconds since 1970.
    pub now_ms: i64,
    /// When the job may be tried again, should it have to be, milliseconds since 1970.
    pub retry_ms: i64,
}

/// What an attempt told, for the story.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// HTTP status.
    pub status: Option<u16>,
    /// The API's request id.
    pub request_id: Option<String>,
    /// One line.
    pub detail: String,
}

/// What happened to a claimed job.
#[derive(Clone, Debug)]
pub enum AttemptOutcome {
    /// A readable 2xx, or our container found by `GET` (then without a job id).
    Accepted(Started),
    /// The job is tried again.
    Again(Again),
    /// A definite end without a job: the event that says so, and the error for the record.
    Rejected(Event, Box<RecordError>),
    /// A person must decide.
    Parked(Event, Box<RecordError>),
}

/// Why a job is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Again {
    /// The POST did not leave.
    Unclaimed,
    /// No connection came about.
    NotConnected,
    /// The POST may have left, and nothing readable came back.
    Unanswered,
    /// The same, again and again, while others were accepted.
    Unheeded,
    /// The API asked to wait, or a look-up could not be made now.
    ToldToWait,
    /// The API still serves an earlier POST of this key.
    InProgress,
    /// The account or the project is in trouble.
    Held,
    /// A look-up did not find it; it is looked for once more, later.
    NotFound,
    /// A look-up found our container, and not its siblings: the POST is sent once more to learn them.
    FoundInPart,
}

impl Again {
    /// Whether the job keeps its place among `submit.concurrency`; `None`: as before.
    const fn silent(self) -> Option<bool> {
        match self {
            Self::Unclaimed => None,
            Self::NotConnected | Self::Unanswered => Some(true),
            Self::Unheeded
            | Self::FoundInPart
            | Self::ToldToWait
            | Self::InProgress
            | Self::Held
            | Self::NotFound => Some(false),
        }
    }

    const fn event(self) -> Event {
        match self {
            Self::Unclaimed => Event::Unclaimed,
            Self::NotConnected => Event::NotConnected,
            Self::Unanswered => Event::Unanswered,
            Self::Unheeded => Event::Unheeded,
            Self::ToldToWait => Event::ToldToWait,
            Self::InProgress => Event::InProgress,
            Self::Held => Event::Held,
            Self::NotFound => Event::NotFound,
            Self::FoundInPart => Event::FoundInPart,
        }
    }
}

/// What is known about a job that has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The API's job id; `None` when our container was found by `GET`.
    pub job_id: Option<String>,
    /// Containers, in the order of their variants.
    pub container_ids: Vec<String>,
    /// What `auto` became, when told.
    pub format: Option<String>,
}

impl From<Acceptance> for Started {
    fn from(acceptance: Acceptance) -> Self {
        Self {
            job_id: Some(acceptance.job_id),
            container_ids: acceptance.container_ids,
            format: acceptance.format,
        }
    }
}

/// A job that is being submitted, and what its run promised.
#[derive(sqlx::FromRow)]
pub(super) struct JobRow {
    id: i64,
    pub brief: i64,
    pub run: i64,
    pub kind: String,
    pub variant: Option<i64>,
    state: String,
    claim: Option<String>,
    attempts: i64,
    attempt_at: Option<i64>,
    unknown_first_at: Option<i64>,
    pub variant_count: i64,
    pub owed: i64,
}

impl JobRow {
    async fn get(db: &mut SqliteConnection, job: i64) -> Result<Self, LedgerError> {
        let found = Self::all(db, &[job]).await?.into_values().next();
        found.ok_or_else(|| LedgerError::Corrupt(format!("there is no job {job}, or it has no run")))
    }

    /// Those that exist, by their numbers.
    async fn all(db: &mut SqliteConnection, jobs: &[i64]) -> Result<HashMap<i64, Self>, LedgerError> {
        let mut found = HashMap::with_capacity(jobs.len());
        for part in sets::parts(jobs) {
            let select = (
                "SELECT j.id, j.brief, j.run, j.kind, j.variant, j.state, j.claim, j.attempts, j.attempt_at, j.unknown_first_at, \
                 r.variant_count, r.owed FROM job j CROSS JOIN run r WHERE j.id IN (",
                ") AND r.brief = j.brief AND r.run = j.run",
            );
            let rows: Vec<Self> = sets::ids(select, part).fetch(&mut *db).await?;
            found.extend(rows.into_iter().map(|row| (row.id, row)));
        }
        Ok(found)
    }

    /// Its brief's run.
    pub(super) fn at(&self) -> At {
        (self.brief, self.run)
    }
}

impl AttemptOutcome {
    /// The event of the state machine.
    pub const fn event(&self) -> Event {
        match self {
            Self::Accepted(started) => match started.job_id {
                Some(_) => Event::Accepted,
                None => Event::FoundOurs,
            },
            Self::Again(again) => again.event(),
            Self::Rejected(event, _) | Self::Parked(event, _) => *event,
        }
    }
}

impl Write for RecordOutcome {
    /// The state that followed; `canceled`: somebody had asked for it meanwhile, and nothing has left after all.
    type Out = JobState;
    const TOGETHER: bool = true;

    fn step(&self) -> Option<&'static str> {
        Some(match &self.outcome {
            AttemptOutcome::Accepted(_) => "acceptance",
            AttemptOutcome::Again(_) => "no_verdict",
            AttemptOutcome::Rejected(..) => "refusal",
            AttemptOutcome::Parked(..) => "parking",
        })
    }

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<JobState, LedgerError>> {
        Box::pin(async move {
            let row = JobRow::get(db, self.job).await?;
            let after = self.check(&row)?;
            notes(db, self.story(&row, after).as_slice()).await?;
            match after {
                JobState::Running => accept_all(db, &[self.accepted(&row)?]).await?,
                JobState::Ready => {
                    self.back(db, &row, after).await?;
                    if end_if_wished(db, self.job, self.now_ms).await? {
                        return Ok(JobState::Canceled);
                    }
                }
                JobState::Submitting => self.back(db, &row, after).await?,
                JobState::Rejected => self.rejected(db, &row).await?,
                JobState::Parked => self.parked(db, &row).await?,
                JobState::Completed | JobState::Failed | JobState::Canceled => {
                    return Err(self.conflict(&row));
                }
            }
            Ok(after)
        })
    }

    /// What was accepted is noted together; everything else is rare.
    fn apply_together<'a>(
        writes: &'a [&'a Self],
        db: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<Vec<Option<JobState>>, LedgerError>> {
        Box::pin(async move {
            let jobs: Vec<i64> = writes.iter().map(|write| write.job).collect();
            let rows = JobRow::all(db, &jobs).await?;
            let mut taken = HashSet::new();
            let (mut states, mut story, mut accepted) = (Vec::new(), Vec::new(), Vec::new());
            for write in writes {
                let running = rows.get(&write.job).filter(|row| {
                    matches!(write.check(row), Ok(JobState::Running)) && taken.insert(write.job)
                });
                states.push(running.map(|_| JobState::Running));
                if let Some(row) = running {
                    story.extend(write.story(row, JobState::Running));
                    accepted.push(write.accepted(row)?);
                }
            }
            notes(db, &story).await?;
            accept_all(db, &accepted).await?;
            Ok(states)
        })
    }
}

/// What the story says of an attempt.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    job: i64,
    attempt: i64,
    outcome: String,
    status: Option<u16>,
    request_id: Option<&'a str>,
    detail: &'a str,
    state: &'static str,
}

impl RecordOutcome {
    /// The state that follows, by the one table; everything else is a conflict.
    fn check(&self, row: &JobRow) -> Result<JobState, LedgerError> {
        let state = JobState::from_word(&row.state)
            .ok_or_else(|| LedgerError::Corrupt(format!("job {} is '{}'", self.job, row.state)))?;
        if row.claim.as_deref() != Some(&self.boot) || row.attempts != self.attempt {
            return Err(self.conflict(row));
        }
        let certainty = if row.unknown_first_at.is_some() { Certainty::Unknown } else { Certainty::Harmless };
        match next(state, certainty, self.outcome.event()) {
            Next::To(after) => Ok(after),
            Next::LookUp | Next::Conflict => Err(self.conflict(row)),
        }
    }

    fn conflict(&self, row: &JobRow) -> LedgerError {
        LedgerError::Conflict(format!(
            "job {} is '{}' (claimed by {}), so {:?} cannot happen to it",
            self.job,
            row.state,
            row.claim.as_deref().unwrap_or("nobody"),
            self.outcome.event(),
        ))
    }

    fn story(&self, row: &JobRow, after: JobState) -> Option<Note> {
        if self.outcome.event() == Event::Unclaimed && self.told.detail.is_empty() {
            // Nothing has left, and nothing was learned.
            return None;
        }
        let detail = Line {
            job: self.job,
            attempt: row.attempts,
            outcome: format!("{:?}", self.outcome.event()),
            status: self.told.status,
            request_id: self.told.request_id.as_deref(),
            detail: &self.told.detail,
            state: after.word(),
        };
        Some(Note::new(row.at(), self.now_ms, "attempt", &detail))
    }

    fn accepted<'a>(&'a self, row: &'a JobRow) -> Result<Accepted<'a>, LedgerError> {
        let AttemptOutcome::Accepted(started) = &self.outcome else { return Err(self.conflict(row)) };
        Ok(Accepted { job: self.job, row, started, now_ms: self.now_ms })
    }

    /// Back to `ready`, or on in `submitting`: tried again when it is due.
    async fn back(
        &self,
        db: &mut SqliteConnection,
        row: &JobRow,
        after: JobState,
    ) -> Result<(), LedgerError> {
        let event = self.outcome.event();
        let silent = match &self.outcome {
            AttemptOutcome::Again(again) => again.silent(),
            AttemptOutcome::Accepted(_) | AttemptOutcome::Rejected(..) | AttemptOutcome::Parked(..) => None,
        };
        sqlx::query(
            "UPDATE job SET state = $2, claim = NULL, silent = coalesce($4, silent), unrecorded = 0, due_at = $3 WHERE id = $1",
        )
        .bind(self.job)
        .bind(after.word())
        .bind(self.retry_ms)
        .bind(silent)
        .execute(&mut *db)
        .await?;
        if matches!(event, Event::Unanswered | Event::Unheeded) {
            // What a look-up did not find before this attempt proves nothing about it.
            sqlx::query(
                "UPDATE job SET unknown_first_at = coalesce(unknown_first_at, $2), unknown_ended_at = $3, \
                 unknown_key = coalesce(unknown_key, attempt_key), absent_at = NULL WHERE id = $1",
            )
            .bind(self.job)
            .bind(row.attempt_at)
            .bind(self.now_ms)
            .execute(&mut *db)
            .await?;
            touch(db, row.brief).await?;
        }
        if matches!(event, Event::FoundInPart | Event::InProgress) {
            // A job is there, or is being made, whatever is refused from now on.
            sqlx::query(
                "UPDATE job SET unknown_first_at = coalesce(unknown_first_at, $2), \
                 unknown_key = coalesce(unknown_key, attempt_key) WHERE id = $1",
            )
            .bind(self.job)
            .bind(row.attempt_at)
            .execute(&mut *db)
            .await?;
            touch(db, row.brief).await?;
        }
        if event == Event::NotFound {
            sqlx::query("UPDATE job SET absent_at = coalesce(absent_at, $2) WHERE id = $1")
                .bind(self.job)
                .bind(self.now_ms)
                .execute(&mut *db)
                .await?;
        }
        if after == JobState::Ready {
            // Nothing has left after all.
            sqlx::query(
                "UPDATE run SET submitted_at = NULL WHERE brief = $1 AND run = $2 AND NOT EXISTS \
                 (SELECT 1 FROM job WHERE brief = $1 AND run = $2 AND (accepted_at IS NOT NULL OR state = 'submitting'))",
            )
            .bind(row.brief)
            .bind(row.run)
            .execute(&mut *db)
            .await?;
        }
        follow_jobs(db, (row.brief, row.run), self.now_ms).await
    }

    async fn rejected(&self, db: &mut SqliteConnection, row: &JobRow) -> Result<(), LedgerError> {
        let error = match &self.outcome {
            AttemptOutcome::Rejected(event, error) => {
                if *event != Event::Refused {
                    // The API knew its key or its id: under other content it was bought before this ledger was made.
                    touch(db, row.brief).await?;
                }
                error
            }
            AttemptOutcome::Accepted(_) | AttemptOutcome::Again(_) | AttemptOutcome::Parked(..) => {
                return Err(LedgerError::Corrupt(format!("job {} was rejected without an error", self.job)));
            }
        };
        reject(db, self.job, error, self.now_ms).await
    }

    async fn parked(&self, db: &mut SqliteConnection, row: &JobRow) -> Result<(), LedgerError> {
        let error = match &self.outcome {
            AttemptOutcome::Parked(_, error) | AttemptOutcome::Rejected(_, error) => {
                serde_json::to_string(error).ok()
            }
            AttemptOutcome::Accepted(_) | AttemptOutcome::Again(_) => None,
        };
        sqlx::query(
            "UPDATE job SET state = 'parked', claim = NULL, silent = FALSE, unrecorded = 0, error = $2 WHERE id = $1",
        )
        .bind(self.job)
        .bind(error)
        .execute(&mut *db)
        .await?;
        follow_jobs(db, (row.brief, row.run), self.now_ms).await
    }
}

/// From now on other content under this brief's name is not taken for a better version of it: it may have been bought.
pub(super) async fn touch(db: &mut SqliteConnection, brief: i64) -> Result<(), LedgerError> {
    sqlx::query("UPDATE brief SET touched = TRUE WHERE id = $1").bind(brief).execute(db).await?;
    Ok(())
}

/// Follows a parked job that somebody knows to be running.
pub(super) async fn follow_parked(
    db: &mut SqliteConnection,
    job: i64,
    started: Started,
    now_ms: i64,
) -> Result<(), LedgerError> {
    let row = JobRow::get(db, job).await?;
    accept_all(db, &[Accepted { job, row: &row, started: &started, now_ms }]).await
}

impl Ledger {
    /// Whether an earlier attempt for this brief was answered under this request id: then the answer is a replay, and
    /// tells what was true then, not what is now.
    pub async fn was_answered(&self, brief: i64, request_id: &str) -> Result<bool, LedgerError> {
        let found: Option<i64> = sqlx::query_scalar(
            "SELECT id FROM history WHERE brief = $1 AND what = 'attempt' AND json_extract(detail, '$.requestId') = $2 LIMIT 1",
        )
        .bind(brief)
        .bind(request_id)
        .fetch_optional(&self.reader().pool)
        .await?;
        Ok(found.is_some())
    }
}
