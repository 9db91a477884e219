//! Jobs that are given up, and results that come after all.
//!
//! Giving up is ours, not the API's word: the container may still end there, and was paid for. So it keeps the status
//! `lost`, and what comes later is published by itself, as one record more of the brief's current run: that of the job,
//! or a rerun that ended before it looked. A record of a type that the run has had already would carry the same id with
//! other bytes; that one goes to the history only. While a newer run is at the container, that one looks.

use futures::future::BoxFuture;
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use super::LedgerError;
use super::ours::OurFailure;
use super::outbox::insert_container_record;
use super::rows::{BriefRow, RunRow, follow_jobs, move_brief, note, owe};
use super::running::nobody_newer;
use super::settle::{
    ContainerEnd, Ended, JobRow, Of, Settled, Unnamed, close, finish_container_as, state_of_containers,
};
use super::writer::Write;

/// Ends a running job of which the API never told how it ended: `GENERATION_LOST` for each container.
#[derive(Clone, Debug)]
pub struct GiveUp {
    /// The job.
    pub job: i64,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Write for GiveUp {
    type Out = Settled;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Settled, LedgerError>> {
        Box::pin(async move {
            let mut settled = Settled { of: Of::job(db, self.job).await?, ..Settled::default() };
            let open: Vec<String> = sqlx::query_scalar(
                "SELECT id FROM container WHERE job = $1 AND status = 'running' ORDER BY variant",
            )
            .bind(self.job)
            .fetch_all(&mut *db)
            .await?;
            for container in open {
                let end = ContainerEnd {
                    container,
                    ended: Ended::Failed,
                    record: None,
                    error: Some(OurFailure::GenerationLost.error()),
                    format: None,
                    ended_ms: self.now_ms,
                    credits_estimate: None,
                };
                let newly = finish_container_as(db, self.job, (&end, "lost"), self.now_ms).await?;
                settled.newly.push(newly);
            }
            settled.missing = close(db, self.job, Unnamed::Lost, self.now_ms).await?;
            settled.over = JobRow::running(db, self.job).await?.is_none();
            Ok(settled)
        })
    }
}

/// Settles containers of a job that was given up, which have ended after all.
#[derive(Clone, Debug)]
pub struct SettleLate {
    /// The job.
    pub job: i64,
    /// Containers that have ended.
    pub ends: Vec<ContainerEnd>,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// What became of late results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Late {
    /// For each of the ends: it was published.
    pub published: Vec<bool>,
    /// Nothing of the job is lost any more, or a newer run looks.
    pub over: bool,
    /// Whose.
    pub of: Of,
}

impl Write for SettleLate {
    type Out = Late;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Late, LedgerError>> {
        Box::pin(async move {
            let mut late = Late { of: Of::job(db, self.job).await?, ..Late::default() };
            let row: Option<JobRow> = sqlx::query_as(
                "SELECT j.brief, b.run, j.kind, j.api_job_id, j.format AS became FROM job j \
                 JOIN brief b ON b.id = j.brief WHERE j.id = $1 AND b.pruned_at IS NULL",
            )
            .bind(self.job)
            .fetch_optional(&mut *db)
            .await?;
            let Some(row) = row else {
                return Ok(Late { published: vec![false; self.ends.len()], over: true, ..late });
            };
            for end in &self.ends {
                late.published.push(self.settle(db, &row, end).await?);
            }
            let lost: i64 = sqlx::query_scalar(concat!(
                "SELECT count(*) FROM container c JOIN job j ON j.id = c.job WHERE c.job = $1 AND c.status = 'lost' AND ",
                nobody_newer!()
            ))
            .bind(self.job)
            .fetch_one(&mut *db)
            .await?;
            late.over = lost == 0;
            Ok(late)
        })
    }

    fn rows(&self) -> usize {
        self.ends.len().max(1)
    }
}

impl SettleLate {
    async fn settle(
        &self,
        db: &mut SqliteConnection,
        row: &JobRow,
        end: &ContainerEnd,
    ) -> Result<bool, LedgerError> {
        let variant: Option<i64> = sqlx::query_scalar(concat!(
            "UPDATE container AS c SET status = $3, record = coalesce($4, record), ended_at = $5 \
             WHERE job = $1 AND id = $2 AND status = 'lost' AND EXISTS (SELECT 1 FROM job j WHERE j.id = c.job AND ",
            nobody_newer!(),
            ") RETURNING variant"
        ))
        .bind(self.job)
        .bind(&end.container)
        .bind(end.ended.word())
        .bind(&end.record)
        .bind(end.ended_ms)
        .fetch_optional(&mut *db)
        .await?;
        let Some(variant) = variant else { return Ok(false) };
        let at = (row.brief, row.run);
        let kind = end.ended.record_type().word();
        let before: Option<i64> = sqlx::query_scalar(
            "SELECT id FROM outbox WHERE brief = $1 AND run = $2 AND variant = $3 AND kind = $4 LIMIT 1",
        )
        .bind(at.0)
        .bind(at.1)
        .bind(variant)
        .bind(kind)
        .fetch_optional(&mut *db)
        .await?;
        let said = json!({
            "job": self.job, "container": end.container, "variant": variant, "ended": end.ended.word(),
            "error": end.error, "published": before.is_none(),
        });
        note(db, at, self.now_ms, "late result", &said).await?;
        if before.is_none() {
            let brief = BriefRow::by_id(db, row.brief).await?;
            let run = RunRow::get(db, at.0, at.1).await?;
            let known: i64 = sqlx::query_scalar("SELECT count(*) FROM container WHERE brief = $1")
                .bind(row.brief)
                .fetch_one(&mut *db)
                .await?;
            let variants = (variant, run.variant_count.max(known));
            // One record more than was promised once.
            owe(db, at, 1, 0).await?;
            let regenerates: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM job WHERE brief = $1 AND run = $2 AND kind = 'regenerate' AND variant = $3",
            )
            .bind(at.0)
            .bind(at.1)
            .bind(variant)
            .fetch_one(&mut *db)
            .await?;
            let mut part = row.part(end, variants);
            part.regenerated = (regenerates > 0).then_some(end.container.as_str());
            insert_container_record(db, &brief, &run, &part, self.now_ms).await?;
        }
        let run = RunRow::get(db, at.0, at.1).await?;
        if run.made < run.owed {
            // Others of its containers are still at work.
            follow_jobs(db, at, self.now_ms).await?;
        } else {
            let state = state_of_containers(db, at).await?;
            move_brief(db, at, state, self.now_ms).await?;
        }
        Ok(before.is_none())
    }
}
