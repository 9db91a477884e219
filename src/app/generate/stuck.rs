//! When it makes no sense to wait: the account is in a trouble that only a person can mend.
//!
//! `run` waits such holds out, because somebody watches its alerts. Who sits before `generate` is told at once.

use std::time::Duration;

use crate::ledger::{Hold, HoldScope, LedgerError, SetHold};
use crate::stages::Desk;

/// How long a hold of an earlier command that is not probed may take to be lifted.
const PATIENCE: Duration = Duration::from_secs(10);
/// Reasons that do not pass by themselves.
const REASONS: [&str; 4] = ["UNAUTHENTICATED", "FORBIDDEN_SCOPE", "KILL_SWITCH", "OTHER_ORGANIZATION"];

/// A hold on everything that only a person can lift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The hold's reason, as a code.
    pub reason: String,
    /// What the API said.
    pub detail: String,
}

impl Stuck {
    /// Whether only a person can lift this hold.
    pub fn is_of(hold: &Hold) -> bool {
        hold.scope == HoldScope::Account && REASONS.contains(&hold.reason.as_str())
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self.reason.as_str() {
            "UNAUTHENTICATED" => "give a valid API key (LAYERS_API_KEY, or the file of layers.api_key_file)",
            "FORBIDDEN_SCOPE" => "give the API key the scopes content:read, content:write and jobs:read",
            "KILL_SWITCH" => "somebody switched the key or the organization off at Layers: ask them",
            _ => "use the API key of the ledger's organization, or another ledger (--ledger)",
        }
    }
}

/// Tells a hold that stands from one that an earlier command left and that may be mended by now.
pub(super) struct Watch {
    start_ms: i64,
}

impl Watch {
    /// Has the holds that an earlier command left tested at once.
    pub(super) async fn start(desk: &Desk) -> Result<Self, LedgerError> {
        let start_ms = desk.clock.now_ms();
        for hold in desk.ledger.reader().holds().await? {
            if hold.by_api && hold.scope == HoldScope::Account && hold.probe_ms.is_some() {
                desk.ledger.write(SetHold(Hold { probe_ms: Some(start_ms), ..hold })).await?;
            }
        }
        Ok(Self { start_ms })
    }

    /// The hold that makes waiting useless, if there is one.
    pub(super) fn look(&self, holds: &[Hold], now_ms: i64) -> Option<Stuck> {
        let stands = |hold: &&Hold| {
            let tested = hold.probe_ms.is_some_and(|probe_ms| probe_ms > self.start_ms);
            let patience_ms = i64::try_from(PATIENCE.as_millis()).unwrap_or(i64::MAX);
            let waited = hold.probe_ms.is_none() && now_ms - self.start_ms > patience_ms;
            Stuck::is_of(hold) && (hold.since_ms >= self.start_ms || tested || waited)
        };
        let hold = holds.iter().find(stands)?;
        Some(Stuck { reason: hold.reason.clone(), detail: hold.detail.trim_end_matches('.').to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(reason: &str, since_ms: i64, probe_ms: Option<i64>) -> Hold {
        Hold {
            scope: HoldScope::Account,
            reason: reason.to_owned(),
            detail: String::new(),
            required: None,
            available: None,
            stops_reads: false,
            by_api: true,
            since_ms,
            probe_ms,
            easing: false,
        }
    }

    #[test]
    fn a_hold_that_an_earlier_command_left_counts_only_once_it_was_tested_again() {
        let watch = Watch { start_ms: 1_000 };
        let stuck = |hold: Hold, now_ms| watch.look(&[hold], now_ms).is_some();
        assert!(!stuck(hold("UNAUTHENTICATED", 10, Some(1_000)), 1_500));
        assert!(stuck(hold("UNAUTHENTICATED", 10, Some(61_500)), 1_500));
        assert!(stuck(hold("KILL_SWITCH", 1_200, Some(301_200)), 1_500));
        assert!(!stuck(hold("OTHER_ORGANIZATION", 10, None), 1_500));
        assert!(stuck(hold("OTHER_ORGANIZATION", 10, None), 11_500));
    }

    #[test]
    fn a_hold_that_passes_by_itself_is_waited_for() {
        let watch = Watch { start_ms: 1_000 };
        assert_eq!(watch.look(&[hold("BILLING_EXHAUSTED", 1_200, Some(61_200))], 5_000), None);
        let project =
            Hold { scope: HoldScope::Project("p".to_owned()), ..hold("UNAUTHENTICATED", 1_200, None) };
        assert_eq!(watch.look(&[project], 50_000), None);
    }
}
