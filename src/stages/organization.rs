//! A ledger belongs to one organization: what was bought under it is guarded by its keys and ids, which another one does
//! not know.

use super::{Desk, say_held};
use crate::ledger::{BindOrganization, Hold, HoldScope, LiftHold, SetHold};

/// The hold's reason when the key belongs to another organization than the ledger.
const OTHER_ORGANIZATION: &str = "OTHER_ORGANIZATION";

/// Whether the ledger belongs to `organization`; it does from now on if it belonged to none. Under another one starts
/// are held, until the key is that of the ledger's again.
pub async fn belongs(desk: &Desk, organization: String) -> bool {
    match desk.ledger.write(BindOrganization(organization.clone())).await {
        Ok(bound) if bound == organization => {
            lift_account(desk, OTHER_ORGANIZATION).await;
            true
        }
        Ok(bound) => {
            hold(desk, &bound, &organization).await;
            false
        }
        Err(error) => {
            tracing::error!(%error, "the organization could not be stored");
            true
        }
    }
}

async fn hold(desk: &Desk, bound: &str, organization: &str) {
    let hold = Hold {
        scope: HoldScope::Account,
        reason: OTHER_ORGANIZATION.to_owned(),
        detail: format!("the ledger belongs to organization {bound}, the API key to {organization}"),
        required: None,
        available: None,
        stops_reads: false,
        by_api: false,
        since_ms: desk.clock.now_ms(),
        probe_ms: None,
        easing: false,
    };
    match desk.ledger.write(SetHold(hold.clone())).await {
        Ok(true) => say_held(desk, &hold).await,
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "a hold could not be stored"),
    }
}

/// Lifts a hold of the account that the API showed to be over.
pub async fn lift_account(desk: &Desk, reason: &'static str) {
    match desk.ledger.write(LiftHold { scope: HoldScope::Account, reason: Some(reason.to_owned()) }).await {
        Ok(0) => {}
        Ok(_) => tracing::info!(reason, "the hold is over; starts go on"),
        Err(error) => tracing::error!(%error, "a hold could not be lifted"),
    }
}
