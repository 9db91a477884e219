//! A ledger belongs to one organization: what was bought under it is guarded by its keys and ids, which another one does
//! not know.

use std::time::Duration;

use super::Desk;
use super::holds::{OTHER_ORGANIZATION, api_hold, next_probe, seems_over, set};
use crate::ledger::{BindOrganization, HoldScope};

/// Whether the ledger belongs to `organization`; it does from now on if it belonged to none. Under another one
/// everything is held, until the key is that of the ledger's again; `key` is the fingerprint of the one that was asked
/// with, `probe_interval` is `submit.probe_interval`.
pub async fn belongs(desk: &Desk, probe_interval: Duration, (organization, key): (String, String)) -> bool {
    match desk.ledger.write(BindOrganization { organization: organization.clone(), key }).await {
        Ok(bound) if bound == organization => {
            seems_over(desk, OTHER_ORGANIZATION).await;
            true
        }
        Ok(bound) => {
            let detail = format!(
                "the ledger belongs to organization {bound}, the API key to {organization}: use a key of {bound}, or \
                 another ledger"
            );
            let probe_ms = next_probe(desk, probe_interval, OTHER_ORGANIZATION);
            let hold = api_hold(desk, HoldScope::Account, OTHER_ORGANIZATION, detail, Some(probe_ms));
            set(desk, hold).await;
            false
        }
        Err(error) => {
            tracing::error!(%error, "the organization could not be stored");
            true
        }
    }
}
