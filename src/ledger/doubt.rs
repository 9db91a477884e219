//! What is known about attempts of unknown outcome: how many there were, and whether the API answers look-ups by our
//! own container id at all. Only where it does can a 404 ever prove something.

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;

use super::open::set_meta;
use super::rows::time;
use super::writer::Write;
use super::{Ledger, LedgerError};

/// `works` or `fails`; absent: not tried yet.
const LOOK_UPS: &str = "look_ups";
/// When that was found out.
const LOOK_UPS_AT: &str = "look_ups_at";

/// What a job's story tells about its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Doubt {
    /// Attempts of unknown outcome, those that were cut off among them.
    pub unknown: i64,
    /// Those of them that were made while others were accepted, after several in vain.
    pub unheeded: i64,
    /// Attempts that found an earlier one still being served.
    pub in_progress: i64,
    /// A look-up found our container once, and not its siblings.
    pub found_in_part: bool,
}

/// Notes whether the API answers look-ups by our own container id.
#[derive(Clone, Copy, Debug)]
pub struct LookUpsTried {
    /// It does.
    pub works: bool,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

impl Write for LookUpsTried {
    type Out = ();

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            let known: Option<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name = $1")
                .bind(LOOK_UPS)
                .fetch_optional(&mut *db)
                .await?;
            // One that was answered is proof; one that was not is only a sign.
            if known.as_deref() == Some("works") || (known.is_some() && !self.works) {
                return Ok(());
            }
            set_meta(db, LOOK_UPS, if self.works { "works" } else { "fails" }).await?;
            set_meta(db, LOOK_UPS_AT, &time(self.now_ms).to_string()).await
        })
    }
}

impl Ledger {
    /// How often the outcome of a job's POST was unknown, by its brief's story.
    pub async fn doubt(&self, brief: i64, job: i64) -> Result<Doubt, LedgerError> {
        Ok(sqlx::query_as(
            "SELECT count(*) FILTER (WHERE what = 'cut off' OR json_extract(detail, '$.outcome') IN ('Unanswered', 'Unheeded')) AS unknown, \
             count(*) FILTER (WHERE json_extract(detail, '$.outcome') = 'Unheeded') AS unheeded, \
             count(*) FILTER (WHERE json_extract(detail, '$.outcome') = 'InProgress') AS in_progress, \
             count(*) FILTER (WHERE json_extract(detail, '$.outcome') = 'FoundInPart') > 0 AS found_in_part \
             FROM history WHERE brief = $1 AND what IN ('attempt', 'cut off') AND json_extract(detail, '$.job') = $2",
        )
        .bind(brief)
        .bind(job)
        .fetch_one(&self.reader().pool)
        .await?)
    }

    /// Whether the API answers look-ups by our own container id; `None`: not known yet.
    pub async fn look_ups(&self) -> Result<Option<bool>, LedgerError> {
        match self.reader().meta(LOOK_UPS).await?.as_deref() {
            Some("works") => return Ok(Some(true)),
            Some(_) => return Ok(Some(false)),
            None => {}
        }
        // An earlier version did not note it: one of our ids that the API answered with as its own.
        let ours: Option<i64> = sqlx::query_scalar(
            "SELECT c.job FROM container c JOIN job j ON j.id = c.job WHERE j.alias IS NOT NULL AND c.id = j.alias LIMIT 1",
        )
        .fetch_optional(&self.reader().pool)
        .await?;
        Ok(ours.map(|_| true))
    }
}
