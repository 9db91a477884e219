//! Stores what is drawn from the rate limits before it is used, and remembers it after a restart.
//!
//! Beside the stages: whoever waits for a read or a short write waits for a slice of permits to be stored here, one
//! commit for all who wait. While the ledger cannot be written they go on waiting, and it is tried again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::clock::Clock;
use crate::layers::{Class, Limits};
use crate::ledger::{Ledger, LedgerError, Spend};

/// How soon a ledger that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Counts what processes before this one have drawn.
pub(super) async fn remember(limits: &Limits, ledger: &Ledger) -> Result<(), LedgerError> {
    for (class, drawn_ms, n) in ledger.spent().await? {
        // A word that is unknown is that of a later version, which this one cannot open.
        if let Some(class) = Class::with_word(&class) {
            limits.remember(class, drawn_ms, n);
        }
    }
    Ok(())
}

/// Ends with `drain`, and lets go of the ledger then: what still goes on asks the API nothing.
pub(super) fn spawn(worker: &Worker, drain: CancellationToken) {
    let (limits, ledger, clock) =
        (worker.limits.clone(), worker.desk.ledger.clone(), worker.desk.clock.clone());
    tokio::spawn(async move { drain.run_until_cancelled(run(limits, ledger, clock)).await });
}

async fn run(limits: Limits, ledger: Ledger, clock: Clock) {
    let mut failed = false;
    loop {
        let slice = limits.slice_wanted().await;
        let class = slice.class();
        let spend = Spend {
            class: class.word(),
            drawn_ms: slice.drawn_ms(),
            n: slice.n(),
            forget_before_ms: limits.forget_before_ms(class).unwrap_or(i64::MIN),
        };
        match ledger.write(spend).await {
            Ok(()) => {
                slice.stored();
                if failed {
                    tracing::info!("the ledger can be written again; the API is asked again");
                }
                failed = false;
            }
            Err(error) => {
                drop(slice);
                if !failed {
                    tracing::error!(%error, "the ledger cannot be written; the API is asked nothing until it can");
                }
                failed = true;
                clock.sleep(AGAIN).await;
            }
        }
    }
}
