//! Jobs of unknown outcome whose starts are held: they must not be `POSTed`, but what they may have bought is looked for.

use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;

use super::claim::{CLAIMED, Claimed, batches_of, held_list, projects_of};
use super::rows::Input;
use super::writer::Write;
use super::{HoldScope, LedgerError};

/// Claims due jobs of unknown outcome within the scopes of holds, for a look-up and nothing else. The job stays
/// `submitting` and counts no attempt; its outcome is recorded like that of a POST.
#[derive(Clone, Debug)]
pub struct ClaimLookUps {
    /// How many at most.
    pub limit: u32,
    /// This process.
    pub boot: String,
    /// Whose briefs.
    pub input: Input,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// What is held.
    pub held: Vec<HoldScope>,
}

pub(super) const HELD_UNKNOWN: &str = "SELECT id FROM job WHERE state = 'submitting' AND claim IS NULL AND input = $1 AND due_at <= $2 \
    AND unknown_first_at IS NOT NULL AND (alias IS NOT NULL OR container IS NOT NULL) \
    AND ($3 OR project_id IN (SELECT value FROM json_each($4)) \
    OR EXISTS (SELECT 1 FROM json_each($5) AS held WHERE json_extract(held.value, '$[1]') = batch_id \
    AND json_extract(held.value, '$[0]') IN ('', project_id))) ORDER BY due_at, id LIMIT $6";

impl Write for ClaimLookUps {
    type Out = Vec<Claimed>;

    fn apply<'a>(&'a self, db: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Vec<Claimed>, LedgerError>> {
        Box::pin(async move {
            let ids: Vec<i64> = sqlx::query_scalar(HELD_UNKNOWN)
                .bind(self.input.word())
                .bind(self.now_ms)
                .bind(self.held.contains(&HoldScope::Account))
                .bind(held_list(&projects_of(&self.held)))
                .bind(held_list(&batches_of(&self.held)))
                .bind(self.limit)
                .fetch_all(&mut *db)
                .await?;
            let mut claimed = Vec::with_capacity(ids.len());
            for id in ids {
                sqlx::query(
                    "UPDATE job SET claim = $2, unrecorded = unrecorded + 1 \
                     WHERE id = $1 AND state = 'submitting' AND claim IS NULL",
                )
                .bind(id)
                .bind(&self.boot)
                .execute(&mut *db)
                .await?;
                claimed.push(sqlx::query_as(CLAIMED).bind(id).fetch_one(&mut *db).await?);
            }
            Ok(claimed)
        })
    }
}
