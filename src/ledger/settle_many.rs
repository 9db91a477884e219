//! The usual settlements, many at once: containers of `generate` jobs that have ended, each for the first time.
//!
//! What follows is worked out from what is stored now and written in a few statements, in the transaction of all of
//! them. Whatever is unusual is left to be settled alone ([`super::settle`]): a container that was settled before or
//! never named, a regenerate, a run that somebody has asked for meanwhile. Both ways leave the same rows.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteConnection;

use super::outbox::{NewRow, container_record, insert_messages};
use super::rows::{At, BriefRow, Moved, Note, RunRow, bind_at, move_briefs, notes};
use super::settle::{ContainerEnd, ContainerStates, JobRow, Of, Settle, Settled};
use super::totals::bump_all;
use super::{LedgerError, sets};

/// Settles what is usual of these; `None` for what is to be settled alone.
pub(super) async fn settle_usual(
    db: &mut SqliteConnection,
    settles: &[&Settle],
) -> Result<Vec<Option<Settled>>, LedgerError> {
    let known = Known::read(db, settles).await?;
    let mut changes = Changes::default();
    let mut taken = HashSet::new();
    let mut settled = Vec::with_capacity(settles.len());
    for settle in settles {
        let usual = known.get(&settle.job).and_then(|known| known.usual(settle));
        let usual = usual.filter(|usual| taken.insert(usual.brief.id));
        settled.push(match usual {
            Some(usual) => Some(changes.add(settle, &usual)?),
            None => None,
        });
    }
    changes.write(db).await?;
    Ok(settled)
}

/// A job to be settled, and what is stored about it.
#[derive(sqlx::FromRow)]
struct Known {
    number: i64,
    /// Its run is the brief's current one: what is of one name in these three is the same.
    #[sqlx(flatten)]
    job: JobRow,
    #[sqlx(flatten)]
    brief: BriefRow,
    #[sqlx(flatten)]
    run: RunRow,
    /// The next run was asked for.
    again: bool,
    /// All of the brief.
    #[sqlx(json)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    variant: i64,
    id: String,
    job: i64,
    status: String,
}

/// A settlement with nothing unusual about it.
struct Usual<'a> {
    job: &'a JobRow,
    brief: &'a BriefRow,
    run: &'a RunRow,
    containers: &'a [Container],
}

/// A row a job, since each costs a word between two threads.
const KNOWN: (&str, &str) = (
    "SELECT j.id AS number, j.kind, j.api_job_id, j.format AS became, b.id, b.project_id, b.batch_id, b.brief_id, b.input, \
     b.touched, b.pruned_at, r.brief, r.run, r.fingerprint, r.request, r.metadata, r.format, r.variant_count, r.priority, \
     r.not_before, r.expires_at, r.correlation_id, r.traceparent, r.tracestate, r.enqueued_at, r.received_at, \
     r.submitted_at, r.state, r.owed, r.made, \
     EXISTS (SELECT 1 FROM run n WHERE n.brief = j.brief AND n.state = 'remembered') AS again, \
     (SELECT json_group_array(json_object('variant', c.variant, 'id', c.id, 'job', c.job, 'status', c.status)) \
     FROM container c WHERE c.brief = j.brief) AS containers \
     FROM job j CROSS JOIN brief b CROSS JOIN run r WHERE j.id IN (",
    ") AND j.state = 'running' AND b.id = j.brief AND b.run = j.run AND r.brief = j.brief AND r.run = j.run",
);

impl Known {
    /// Those of the jobs that run and are of their brief's current run, by their numbers.
    async fn read(db: &mut SqliteConnection, settles: &[&Settle]) -> Result<HashMap<i64, Self>, LedgerError> {
        let jobs: Vec<i64> = settles.iter().map(|settle| settle.job).collect();
        let mut known = HashMap::with_capacity(jobs.len());
        for part in sets::parts(&jobs) {
            let rows: Vec<Self> = sets::ids(KNOWN, part).fetch(&mut *db).await?;
            known.extend(rows.into_iter().map(|row| (row.number, row)));
        }
        Ok(known)
    }

    fn usual(&self, settle: &Settle) -> Option<Usual<'_>> {
        let Self { job, brief, run, containers, .. } = self;
        let mut ended = HashSet::new();
        let each_ends_now = settle.ends.iter().all(|end| {
            ended.insert(&end.container)
                && containers
                    .iter()
                    .any(|one| one.job == settle.job && one.status == "running" && one.id == end.container)
        });
        let all_named = (1..=run.owed).all(|variant| containers.iter().any(|one| one.variant == variant));
        let is_usual = job.kind == "generate"
            && !self.again
            && each_ends_now
            && !settle.ends.is_empty()
            && (all_named || !settle.close);
        is_usual.then_some(Usual { job, brief, run, containers })
    }
}

/// What is to be written.
#[derive(Default)]
struct Changes {
    ends: Vec<EndedContainer>,
    records: Vec<NewRow>,
    runs: Vec<ChangedRun>,
    jobs: Vec<EndedJob>,
    moved: Vec<Moved>,
    story: Vec<Note>,
}

struct EndedContainer {
    brief: i64,
    variant: i64,
    job: i64,
    end: ContainerEnd,
}

/// A run that has made more records, and how it ended if it did.
struct ChangedRun {
    of: At,
    made: i64,
    over: Option<Moved>,
}

struct EndedJob {
    id: i64,
    state: &'static str,
    at_ms: i64,
}

/// What the story says of the end of a job.
#[derive(Serialize)]
struct JobEnded {
    job: i64,
    state: &'static str,
}

/// What the story says of the end of a run.
#[derive(Serialize)]
struct NowIn {
    state: &'static str,
}

impl Changes {
    fn add(&mut self, settle: &Settle, usual: &Usual<'_>) -> Result<Settled, LedgerError> {
        let Usual { job, brief, run, containers } = usual;
        let variants = run.variant_count.max(run.owed);
        for end in &settle.ends {
            let ours = |one: &&Container| one.id == end.container && one.job == settle.job;
            let Some(Container { variant, .. }) = containers.iter().find(ours) else { continue };
            let part = job.part(end, (*variant, variants));
            let (record, said) = container_record(brief, run, &part, settle.now_ms)?;
            self.records.push(record);
            self.story.push(said);
            let (brief, variant, end) = (brief.id, *variant, end.clone());
            self.ends.push(EndedContainer { brief, variant, job: settle.job, end });
        }
        let made = i64::try_from(settle.ends.len()).unwrap_or(i64::MAX);
        let over = self.end_job(settle, usual, run.made.saturating_add(made));
        self.runs.push(ChangedRun { of: job.at(), made, over });
        self.moved.extend(over);
        let name = format!("{}/{}/{}", brief.project_id, brief.batch_id, brief.brief_id);
        let format = job.format.clone().or_else(|| run.format.clone());
        let newly = vec![true; settle.ends.len()];
        let of = Of { brief: name, format, traceparent: run.traceparent.clone() };
        Ok(Settled { newly, missing: 0, over: over.is_some(), of })
    }

    /// Ends the job and its run if nothing of them is open any more.
    fn end_job(&mut self, settle: &Settle, usual: &Usual<'_>, made: i64) -> Option<Moved> {
        let Usual { job, run, containers, .. } = usual;
        let status_of = |one: &Container| {
            let end = settle.ends.iter().find(|end| end.container == one.id && one.job == settle.job);
            end.map_or_else(|| one.status.clone(), |end| end.ended.word().to_owned())
        };
        let of_job = containers.iter().filter(|one| one.job == settle.job).map(status_of);
        let (at_ms, of) = (settle.now_ms, job.at());
        let state = ContainerStates::count(of_job).job_state().filter(|_| made >= run.owed)?;
        self.jobs.push(EndedJob { id: settle.job, state, at_ms });
        self.story.push(Note::new(of, at_ms, "job ended", &JobEnded { job: settle.job, state }));
        let state = ContainerStates::count(containers.iter().map(status_of)).brief_state();
        self.story.push(Note::new(of, at_ms, "ended", &NowIn { state: state.word() }));
        Some(Moved { of, state, at_ms })
    }

    async fn write(self, db: &mut SqliteConnection) -> Result<(), LedgerError> {
        let ended = (
            "WITH ended (brief, variant, job, status, record, at) AS (",
            ") UPDATE container SET status = ended.status, record = coalesce(ended.record, container.record), \
             ended_at = ended.at FROM ended WHERE container.brief = ended.brief AND container.variant = ended.variant \
             AND container.job = ended.job AND container.status = 'running'",
        );
        let changed =
            sets::change(db, ended, &self.ends, |row, EndedContainer { brief, variant, job, end }| {
                row.push_bind(*brief).push_bind(*variant).push_bind(*job).push_bind(end.ended.word());
                row.push_bind(end.record.clone()).push_bind(end.ended_ms);
            })
            .await?;
        sets::all_changed("containers", self.ends.len(), changed)?;
        insert_messages(db, &self.records).await?;
        self.write_runs(db).await?;
        let ended = (
            "WITH ended (id, state, at) AS (",
            ") UPDATE job SET state = ended.state, finished_at = ended.at FROM ended \
             WHERE job.id = ended.id AND job.state = 'running'",
        );
        let changed = sets::change(db, ended, &self.jobs, |row, job| {
            row.push_bind(job.id).push_bind(job.state).push_bind(job.at_ms);
        })
        .await?;
        sets::all_changed("jobs", self.jobs.len(), changed)?;
        move_briefs(db, &self.moved).await?;
        notes(db, &self.story).await
    }

    /// Each run has made more records, and may be over.
    async fn write_runs(&self, db: &mut SqliteConnection) -> Result<(), LedgerError> {
        let statement = (
            "WITH changed (brief, run, made, state, at) AS (",
            ") UPDATE run SET made = run.made + changed.made, state = coalesce(changed.state, run.state), \
             finished_at = coalesce(changed.at, run.finished_at) FROM changed \
             WHERE run.brief = changed.brief AND run.run = changed.run",
        );
        sets::change(db, statement, &self.runs, |row, run| {
            bind_at(row, &run.of);
            row.push_bind(run.made).push_bind(run.over.map(|over| over.state.word()));
            row.push_bind(run.over.map(|over| over.at_ms));
        })
        .await?;
        let made = self.runs.iter().map(|run| run.made).sum::<i64>();
        bump_all(db, &[("made", made), ("open", -made)]).await
    }
}
