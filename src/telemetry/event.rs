//! What happens, told once: each event is a struct that says its log line and moves its counters together, so that they
//! cannot drift apart.
//!
//! A field is what the line carries or what a label says. Who causes an event fills the struct and emits it; that is the
//! only place where a counter of the contract moves (a test reads the sources for it). Gauges are not events: they are
//! brought up to date where the state is known. Nor is a line that no counter belongs to.
//!
//! What the API answers and what is written about it are two events, at two times: the answer is counted and told by the
//! client ([`Asked`]) and the trouble log, its consequence when it is in the ledger ([`AttemptRecorded`]).

mod attempt;
mod connection;
mod delivery;
mod record;
mod result;

pub use attempt::{Attempt, AttemptRecorded, Became, Start};
pub use connection::{AcksLost, Asked, Connected};
pub use delivery::{DeadLettered, Decided, IntakePaused, InvalidBrief};
pub use record::{Published, Returned};
pub use result::{ContainerEnded, FailedOnRequest, JobGivenUp, JobSettled, LateResult};
