//! What every stage has at hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::holds::Reads;
use crate::clock::Clock;
use crate::ledger::{Ledger, LedgerError, Write};
use crate::telemetry::{Health, Metrics, TroubleLog};

/// How often a stage looks although nobody rang, so that a lost wake-up costs no more than this.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What every stage has at hand. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    /// The ledger.
    pub ledger: Ledger,
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
    /// Signs of life.
    pub health: Health,
    /// One line per trouble, not per request.
    pub troubles: TroubleLog,
    /// Takes nothing new once canceled.
    pub stopping: CancellationToken,
    /// Project id → alias, the only project labels in metrics.
    pub aliases: Arc<BTreeMap<String, String>>,
    /// A hold stops reads too (a dead key): only probes ask the API.
    pub reads_held: Arc<AtomicBool>,
    /// Keeps `reads_held` right.
    pub reads: Arc<Reads>,
}

impl Desk {
    /// Says that a stage has taken a step.
    pub fn step(&self, stage: &'static str) {
        let now = self.clock.now();
        self.health.stage_step(stage, now);
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit into 53 bits")]
        self.metrics
            .stage_last_step_timestamp_seconds
            .with_label_values(&[stage])
            .set(now.as_millisecond() as f64 / 1_000.0);
    }

    /// What people call a project: its alias, else its id.
    pub fn project_name<'a>(&'a self, project_id: &'a str) -> &'a str {
        self.aliases.get(project_id).map_or(project_id, String::as_str)
    }

    /// Whether a hold stops reads too. What a read told meanwhile is not believed: it may be another organization's.
    pub fn reads_are_held(&self) -> bool {
        self.reads_held.load(Ordering::Acquire)
    }

    /// The metric label of a project.
    pub fn project_label(&self, project_id: &str) -> &str {
        self.aliases.get(project_id).map_or("other", String::as_str)
    }

    /// Writes, and writes again for as long as the ledger may come back (a full disk, a busy file). What is not
    /// committed is not done, so the caller must not go on; the ledger says so, once for all stages.
    pub async fn write_until_done<W: Write + Clone>(
        &self,
        stage: &'static str,
        write: W,
    ) -> Result<W::Out, LedgerError> {
        loop {
            match self.ledger.write(write.clone()).await {
                Err(error) if error.may_pass() && !self.stopping.is_cancelled() => {
                    tracing::debug!(stage, %error, "not written; it is tried again");
                    self.clock.sleep(LOOK_AGAIN).await;
                    self.step(stage);
                }
                result => return result,
            }
        }
    }
}
