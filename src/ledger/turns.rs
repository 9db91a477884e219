//! Which due jobs start next: fairness among campaigns.
//!
//! An API that starts 20 jobs a minute takes four hours for a batch of 5,000; five briefs sent after it must not wait for
//! that. So the highest priority goes first, within it batches take turns, a *batch* being all briefs of one project and
//! batch id, and within a batch who is due first. One start in ten goes to whoever has been due the longest, whatever its
//! priority, so that nothing starves behind a stream of urgent briefs.
//!
//! Whose turn it is is kept by the caller ([`Turn`]) and not stored: after a restart the round begins anew. The cost of a
//! claim follows from how many jobs it takes, not from how long the backlog is.

use std::collections::{BTreeMap, HashSet};

use sqlx::sqlite::SqliteConnection;
use sqlx::types::Json;

use super::LedgerError;
use super::claim::{Claim, held_list};

/// One start in so many goes to the oldest due job.
const OLDEST_EACH: u64 = 10;
/// Batches of one priority that a claim looks into at most; where none of them has a due job, the next one goes on behind.
const BATCHES_AT_ONCE: usize = 256;
/// Jobs that the search for the oldest looks at beyond those that are held.
const OLDEST_SEARCH: i64 = 1_000;

/// Whose turn it is. `Default` is the beginning of a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Starts so far: tells when it is the oldest job's turn.
    started: u64,
    /// Who had the last turn, by priority.
    after: BTreeMap<i64, Batch>,
}

/// All briefs of one project and batch id.
type Batch = (String, String);

/// A due job, and whose turn it takes.
type Due = (i64, (i64, Batch));

/// Which jobs start next.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The ledger's numbers of them, in the order in which they start.
    pub(super) ids: Vec<i64>,
    /// Not every batch was looked at: more may be due.
    pub(super) more: bool,
}

/// The next lower priority at which something waits.
pub(super) const PRIORITY: &str = "SELECT max(priority) FROM job WHERE state = 'ready' AND claim IS NULL \
    AND (kind = 'generate' OR seen_before IS NOT NULL) AND input = $1 AND priority < $2";

/// The next batch, by project and batch id.
pub(super) const BATCH: &str = "SELECT project_id, batch_id FROM job WHERE state = 'ready' AND claim IS NULL \
    AND (kind = 'generate' OR seen_before IS NOT NULL) AND input = $1 AND priority = $2 \
    AND (project_id, batch_id) > ($3, $4) ORDER BY project_id, batch_id LIMIT 1";

/// The due jobs of one batch, as a list in one row: each row costs a word between two threads.
pub(super) const DUE: &str = "SELECT json_group_array(id) FROM (SELECT id FROM job WHERE state = 'ready' AND claim IS NULL \
    AND (kind = 'generate' OR seen_before IS NOT NULL) AND input = $1 AND priority = $2 AND project_id = $3 \
    AND batch_id = $4 AND due_at <= $5 AND NOT silent ORDER BY due_at, id LIMIT $6)";

/// Who has been due the longest, as a list in one row. The inner limit bounds the search behind a large batch that is held.
pub(super) const OLDEST: &str = "SELECT json_group_array(id) FROM (SELECT id FROM (SELECT id, project_id, batch_id FROM job WHERE state = 'ready' AND claim IS NULL \
    AND input = $1 AND due_at <= $2 AND (kind = 'generate' OR seen_before IS NOT NULL) AND NOT silent ORDER BY due_at, id LIMIT $5) \
    WHERE project_id NOT IN (SELECT value FROM json_each($3)) \
    AND NOT EXISTS (SELECT 1 FROM json_each($4) AS held WHERE json_extract(held.value, '$[1]') = batch_id \
    AND json_extract(held.value, '$[0]') IN ('', project_id)) LIMIT $6)";

impl Turn {
    /// Up to `limit` due jobs that hold no place yet.
    pub(super) async fn take(
        &mut self,
        db: &mut SqliteConnection,
        claim: &Claim,
        limit: usize,
    ) -> Result<Chosen, LedgerError> {
        let aged = (1..=limit as u64).filter(|n| (self.started + n).is_multiple_of(OLDEST_EACH)).count();
        let oldest = if aged == 0 { Vec::new() } else { oldest(db, claim, limit).await? };
        // So many more, in case that those which go first for their age have their turn too.
        let wanted = limit + aged;
        let (mut in_turn, mut more) = (Vec::new(), false);
        let mut priority = i64::MAX;
        while limit > 0 && in_turn.len() < wanted {
            let lower: Option<i64> = sqlx::query_scalar(PRIORITY)
                .bind(claim.input.word())
                .bind(priority)
                .fetch_one(&mut *db)
                .await?;
            let Some(lower) = lower else { break };
            priority = lower;
            let (due, is_all) = self.round(db, claim, priority, wanted - in_turn.len()).await?;
            in_turn.extend(due);
            more |= !is_all;
        }
        Ok(Chosen { ids: self.merge(&oldest, &in_turn, limit), more })
    }

    /// Due jobs of one priority, batch after batch in turns, and whether these are all there are up to the end of the
    /// round, or as many as are wanted.
    async fn round(
        &mut self,
        db: &mut SqliteConnection,
        claim: &Claim,
        priority: i64,
        wanted: usize,
    ) -> Result<(Vec<Due>, bool), LedgerError> {
        let began = self.after.get(&priority).cloned().unwrap_or_default();
        let mut queues: Vec<(Batch, Vec<i64>)> = Vec::new();
        let (mut at, mut wrapped, mut is_all) = (began.clone(), false, false);
        for _ in 0..BATCHES_AT_ONCE {
            if queues.len() >= wanted {
                is_all = true;
                break;
            }
            match next_batch(db, claim, priority, &at).await? {
                Some(batch) if !wrapped || batch <= began => at = batch,
                // No project has the empty id, so this is before all of them.
                None if !wrapped => {
                    (at, wrapped) = (Batch::default(), true);
                    continue;
                }
                Some(_) | None => {
                    is_all = true;
                    break;
                }
            }
            let due = due_of(db, claim, priority, &at, wanted).await?;
            if !due.is_empty() {
                queues.push((at.clone(), due));
            }
        }
        if queues.is_empty() {
            self.after.insert(priority, at);
        }
        let in_turn = in_turns(&queues, wanted).into_iter();
        // Past the end of the round those behind it were looked at before: what is not due yet is not searched for ever.
        Ok((in_turn.map(|(id, batch)| (id, (priority, batch))).collect(), is_all || wrapped))
    }

    /// Puts both orders together and moves on.
    fn merge(&mut self, oldest: &[i64], in_turn: &[Due], limit: usize) -> Vec<i64> {
        let mut ids: Vec<i64> = Vec::with_capacity(limit);
        let mut taken = HashSet::with_capacity(limit);
        let (mut oldest, mut in_turn) = (oldest.iter(), in_turn.iter());
        while ids.len() < limit {
            let for_age = (self.started + 1).is_multiple_of(OLDEST_EACH);
            let aged = if for_age { oldest.find(|id| !taken.contains(*id)) } else { None };
            let id = if let Some(id) = aged {
                *id
            } else if let Some((id, turn)) = in_turn.find(|(id, _)| !taken.contains(id)) {
                self.after.extend([turn.clone()]);
                *id
            } else {
                break;
            };
            self.started += 1;
            taken.insert(id);
            ids.push(id);
        }
        ids
    }
}

/// Those that have been due the longest.
async fn oldest(db: &mut SqliteConnection, claim: &Claim, limit: usize) -> Result<Vec<i64>, LedgerError> {
    let Json(ids) = sqlx::query_scalar(OLDEST)
        .bind(claim.input.word())
        .bind(claim.now_ms)
        .bind(held_list(&claim.held_projects))
        .bind(held_list(&claim.held_batches))
        .bind(OLDEST_SEARCH)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_one(db)
        .await?;
    Ok(ids)
}

async fn next_batch(
    db: &mut SqliteConnection,
    claim: &Claim,
    priority: i64,
    after: &Batch,
) -> Result<Option<Batch>, LedgerError> {
    Ok(sqlx::query_as(BATCH)
        .bind(claim.input.word())
        .bind(priority)
        .bind(&after.0)
        .bind(&after.1)
        .fetch_optional(db)
        .await?)
}

/// The due jobs of one batch, none if it is held.
async fn due_of(
    db: &mut SqliteConnection,
    claim: &Claim,
    priority: i64,
    (project, batch): &Batch,
    wanted: usize,
) -> Result<Vec<i64>, LedgerError> {
    let holds = |(held, id): &Batch| id == batch && (held.is_empty() || held == project);
    if claim.held_projects.contains(project) || claim.held_batches.iter().any(holds) {
        return Ok(Vec::new());
    }
    let Json(ids) = sqlx::query_scalar(DUE)
        .bind(claim.input.word())
        .bind(priority)
        .bind(project)
        .bind(batch)
        .bind(claim.now_ms)
        .bind(i64::try_from(wanted).unwrap_or(i64::MAX))
        .fetch_one(db)
        .await?;
    Ok(ids)
}

/// One of each queue, then the next of each, until there are enough.
fn in_turns(queues: &[(Batch, Vec<i64>)], wanted: usize) -> Vec<(i64, Batch)> {
    let longest = queues.iter().map(|(_, due)| due.len()).max().unwrap_or(0);
    let rounds = (0..longest)
        .flat_map(|n| queues.iter().filter_map(move |(batch, due)| Some((*due.get(n)?, batch.clone()))));
    rounds.take(wanted).collect()
}
