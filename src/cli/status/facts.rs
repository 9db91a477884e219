//! What `status` shows, read from the ledger once.

use super::pace::PaceFacts;
use crate::config::Layers;
use crate::job::BriefState;
use crate::ledger::{
    CodeCount, Hold, HoldScope, LateRows, LedgerError, ParkedBrief, Reader, Silence, StateCounts, Tally,
    Waiting,
};

/// Batches that the overview lists.
const BATCHES_SHOWN: u32 = 20;
/// Parked briefs that are named.
const PARKED_SHOWN: u32 = 3;
/// A record that has not left after this long is trouble.
const LATE_MS: i64 = 60_000;

/// Everything about a moment.
#[derive(Debug)]
pub(super) struct Facts {
    pub now_ms: i64,
    /// A worker is at the ledger right now.
    pub worker: bool,
    /// Holds in force (on anything of the batch), and how many briefs wait behind each.
    pub holds: Vec<(Hold, i64)>,
    /// Briefs that the API has left without an answer.
    pub silence: Silence,
    /// Briefs that a person must decide about, and the first few of them.
    pub parked: (i64, Vec<ParkedBrief>),
    pub outbox_pending: i64,
    pub outbox_parked: i64,
    pub late: Vec<LateRows>,
    pub pace: PaceFacts,
    /// Of the whole ledger, by stored state.
    pub totals: StateCounts,
    pub batches: Vec<BatchFacts>,
    /// Batches that are not listed.
    pub more_batches: i64,
    /// When one batch was asked for.
    pub detail: Option<Detail>,
}

/// One batch.
#[derive(Debug)]
pub(super) struct BatchFacts {
    pub batch: String,
    pub counts: StateCounts,
    /// How many briefs it is said to have.
    pub size: Option<i64>,
    /// What its records say that it cost; `None`: they do not say.
    pub credits: Option<i64>,
}

/// More about the one batch that was asked for.
#[derive(Debug)]
pub(super) struct Detail {
    pub codes: Vec<CodeCount>,
    /// The worst first.
    pub projects: Vec<(String, StateCounts)>,
}

impl Facts {
    pub(super) async fn gather(
        reader: &Reader,
        batch: Option<&str>,
        layers: &Layers,
        now_ms: i64,
    ) -> Result<Self, LedgerError> {
        let tally = reader.tally().await?;
        let holds = reader.holds().await?;
        let waiting = Waiting::new(&holds, now_ms);
        let detail = match batch {
            Some(batch) => Some(Detail::gather(reader, batch, &waiting).await?),
            None => None,
        };
        let mut facts = Self {
            now_ms,
            worker: reader.has_worker(),
            holds: Vec::new(),
            silence: reader.silence(batch).await?,
            parked: (0, Vec::new()),
            outbox_pending: tallied(&tally, "outbox", "pending"),
            outbox_parked: tallied(&tally, "outbox", "parked"),
            late: Vec::new(),
            pace: PaceFacts::gather(reader, layers, now_ms).await?,
            totals: totals(&tally),
            batches: Vec::new(),
            more_batches: 0,
            detail,
        };
        facts.add_batches(reader, batch, &waiting).await?;
        for hold in holds {
            if facts.concerns(&hold, batch) {
                let n = reader.waiting_behind(&hold).await?;
                facts.holds.push((hold, n));
            }
        }
        facts.parked.0 = match (batch, facts.batches.first()) {
            (Some(_), Some(one)) => one.counts.get(BriefState::Parked),
            (Some(_), None) | (None, _) => facts.totals.get(BriefState::Parked),
        };
        if facts.parked.0 > 0 {
            facts.parked.1 = reader.parked_briefs(batch, PARKED_SHOWN).await?;
        }
        if facts.outbox_pending > 0 {
            facts.late = reader.late_rows(now_ms - LATE_MS).await?;
        }
        Ok(facts)
    }

    async fn add_batches(
        &mut self,
        reader: &Reader,
        batch: Option<&str>,
        waiting: &Waiting,
    ) -> Result<(), LedgerError> {
        let mut listed = Vec::new();
        if let Some(batch) = batch {
            listed.push(batch.to_owned());
        } else {
            let recent = reader.recent_batches(BATCHES_SHOWN).await?;
            let shown = i64::try_from(recent.len()).unwrap_or(i64::MAX);
            self.more_batches = recent.first().map_or(0, |one| one.total - shown);
            listed.extend(recent.into_iter().map(|one| one.batch_id));
        }
        for batch in listed {
            let counts = reader.batch_counts(&batch, waiting).await?;
            let size = if batch.is_empty() { None } else { reader.batch_size(&batch).await? };
            let credits = reader.batch_credits(&batch).await?;
            self.batches.push(BatchFacts { batch, counts, size, credits });
        }
        Ok(())
    }

    /// Whether a hold stops anything of what was asked about.
    fn concerns(&self, hold: &Hold, batch: Option<&str>) -> bool {
        match (&hold.scope, batch) {
            (_, None) | (HoldScope::Account, Some(_)) => true,
            (HoldScope::Batch { batch: held, .. }, Some(batch)) => held == batch,
            (HoldScope::Project(held), Some(_)) => {
                self.detail.as_ref().is_some_and(|detail| detail.projects.iter().any(|(id, _)| id == held))
            }
        }
    }
}

impl Detail {
    async fn gather(reader: &Reader, batch: &str, waiting: &Waiting) -> Result<Self, LedgerError> {
        let mut projects = reader.batch_projects(batch, waiting).await?;
        projects.sort_by_key(|(id, counts)| {
            (std::cmp::Reverse((counts.not_completed(), counts.total())), id.clone())
        });
        Ok(Self { codes: reader.batch_codes(batch).await?, projects })
    }
}

/// How far what was asked about is.
#[derive(Debug)]
pub(super) struct Progress {
    pub counts: StateCounts,
    pub ended: bool,
}

/// A batch has ended when every brief of it has come and has ended; everything has, when nothing is open.
pub(super) async fn progress(
    reader: &Reader,
    batch: Option<&str>,
    now_ms: i64,
) -> Result<Progress, LedgerError> {
    let Some(batch) = batch else {
        let counts = totals(&reader.tally().await?);
        return Ok(Progress { ended: counts.open() == 0, counts });
    };
    let counts = reader.batch_counts(batch, &Waiting::new(&[], now_ms)).await?;
    let mut ended = counts.total() > 0 && counts.open() == 0;
    if ended && !batch.is_empty() {
        ended = reader.batch_size(batch).await?.is_none_or(|size| counts.total() >= size);
    }
    Ok(Progress { counts, ended })
}

fn totals(tally: &[Tally]) -> StateCounts {
    let mut counts = StateCounts::default();
    for row in tally.iter().filter(|row| row.what == "brief") {
        if let Some(state) = BriefState::from_word(&row.state) {
            counts.add(state, row.n);
        }
    }
    counts
}

fn tallied(tally: &[Tally], what: &str, state: &str) -> i64 {
    tally.iter().filter(|row| row.what == what && row.state == state).map(|row| row.n).sum()
}
