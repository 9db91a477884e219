//! Which briefs the ledger knows already.

use super::super::{LedgerError, Reader};
use super::brief_state;
use crate::brief::Identity;
use crate::job::BriefState;

const KNOWN: &str = "SELECT state FROM brief WHERE project_id = $1 AND batch_id = $2 AND brief_id = $3";

impl Reader {
    /// The stored state of each of these briefs; `None`: the ledger does not know it.
    pub async fn known(&self, identities: &[Identity]) -> Result<Vec<Option<BriefState>>, LedgerError> {
        let mut states = Vec::with_capacity(identities.len());
        // One snapshot and one connection for all of them.
        let mut snapshot = self.pool.begin().await?;
        for identity in identities {
            let state: Option<String> = sqlx::query_scalar(KNOWN)
                .bind(&identity.project_id)
                .bind(&identity.batch_id)
                .bind(&identity.brief_id)
                .fetch_optional(&mut *snapshot)
                .await?;
            states.push(state.as_deref().map(brief_state).transpose()?);
        }
        Ok(states)
    }
}

#[cfg(test)]
pub(super) const PLANNED: [&str; 1] = [KNOWN];
