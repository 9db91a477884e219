//! Which briefs the ledger knows already.

use super::super::{LedgerError, Reader};
use super::{StateCounts, brief_state};
use crate::brief::Identity;

const KNOWN: &str = "SELECT state FROM brief WHERE project_id = $1 AND batch_id = $2 AND brief_id = $3";

impl Reader {
    /// How many of these briefs are known, by stored state.
    pub async fn known(&self, identities: &[Identity]) -> Result<StateCounts, LedgerError> {
        let mut counts = StateCounts::default();
        // One snapshot and one connection for all of them.
        let mut snapshot = self.pool.begin().await?;
        for identity in identities {
            let state: Option<String> = sqlx::query_scalar(KNOWN)
                .bind(&identity.project_id)
                .bind(&identity.batch_id)
                .bind(&identity.brief_id)
                .fetch_optional(&mut *snapshot)
                .await?;
            if let Some(state) = state {
                counts.add(brief_state(&state)?, 1);
            }
        }
        Ok(counts)
    }
}

#[cfg(test)]
pub(super) const PLANNED: [&str; 1] = [KNOWN];
