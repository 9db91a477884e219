//! The ledger: every brief, job, container, record and decision, in one `SQLite` file. The only place that knows sqlx.
//!
//! The ledger is also the queue between the stages: a stage looks at what is stored, takes one step, and writes a
//! guarded transition (`WHERE id = … AND state = …`; zero rows changed is a [`LedgerError::Conflict`], not a success).
//! Restart, retry and normal work are one code path.
//!
//! - [`Ledger`] is the worker's: it holds the worker lock and the one writer, which commits in groups (`writer`).
//! - [`Reader`] is for everybody else: a small read-only pool beside the worker.
//! - Each write is a type of its own that says what it does: [`Decide`], [`Claim`], [`RecordOutcome`], [`Settle`], …
//!
//! Time is handed in by the caller, in milliseconds since 1970; nothing in here reads a clock. No transaction is open
//! across an HTTP or AMQP call. What is in here is the whole of what a `PostgreSQL` ledger would have to offer.

mod accept;
mod ages;
mod attempt;
mod batch;
mod cancel;
mod claim;
mod decide;
mod decision;
mod deliveries;
mod doubt;
mod error;
mod file;
mod hold;
mod hold_sentence;
mod inspect;
mod look_ups;
mod lost;
mod naming;
mod newcomers;
mod open;
mod ours;
mod outbox;
mod plan;
mod prune;
mod read;
mod reconcile;
mod request;
mod resolve;
mod rows;
mod running;
mod runs;
mod sent;
mod sets;
mod settle;
mod settle_many;
mod silence;
mod spent;
mod standing;
mod summary;
mod totals;
mod turns;
mod unmade;
mod upkeep;
mod waiting;
mod wake;
mod whose;
mod writer;

#[cfg(test)]
pub(crate) mod statements;
#[cfg(test)]
mod tests;

pub use ages::Ages;
pub use attempt::{Again, AttemptOutcome, RecordOutcome, Started, Told};
pub use batch::FinishBatches;
pub use cancel::{Cancel, CancelAsked, CancelCounts, CancelDue, CancelOf, CancelStep};
pub use claim::{Claim, Claimed, Work};
pub use decide::{Decide, Received};
pub use decision::Decision;
pub use doubt::{Doubt, LookUpsTried};
pub use error::LedgerError;
pub use hold::{ChangeHold, Hold, HoldScope, LiftHold, SetHold};
pub use hold_sentence::HoldSentence;
pub use inspect::{Found, Inspect, Inspected, Inspection};
pub use look_ups::ClaimLookUps;
pub use lost::{GiveUp, Late, SettleLate};
pub use naming::NameContainers;
pub use open::{BindOrganization, Ledger, OpenOptions, Reader, check_place, free_bytes, may_write};
pub use outbox::PendingRow;
pub use plan::{
    ApprovePlan, Approved, CanaryEnded, Content, NewPlan, NewPlanRow, PlanEnds, PlanRow, PlanState, PlanStep,
    StartPlanned, StoredPlan, Take,
};
pub use prune::{PruneMark, PruneStep, Pruned};
pub use read::{
    BriefFilter, BriefFound, BriefLine, CodeCount, ContainerStory, HistoryLine, HoldStory, JobStory,
    LateRows, Pace, ParkedBrief, RecentBatch, RecordFilter, RecordStory, RerunFilter, Rerunnable, RunStory,
    StateCounts, StoredRecord, Story, Waiting,
};
pub use reconcile::{AdoptFound, KnownContainer, UnnamedJob, Unpublished};
pub use request::{Request, RequestDone};
pub use resolve::{ParkedJob, Resolution, Resolve, Resolved};
pub use rows::Input;
pub use running::{NoteAnswered, Running};
pub use sent::{MarkSent, SendAgain, Sent};
pub use settle::{ContainerEnd, Ended, Of, Settle, Settled};
pub use silence::Silence;
pub use spent::{RememberTier, Spend};
pub use summary::{FailureCount, Mishap, Results, Session};
pub use totals::{Imbalance, Tally};
pub use turns::Turn;
pub use upkeep::PruneBefore;
pub use waiting::WaitingPart;
pub use wake::Wake;
pub use whose::Whose;
pub use writer::Write;
