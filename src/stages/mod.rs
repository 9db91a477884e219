//! The four stages. The ledger is the queue between them.
//!
//! ```text
//!  source ─▶ intake ─▶ ┌────────┐ ─▶ submit ─▶ Layers API
//!                      │ ledger │ ◀▶ track  ─▶ Layers API
//!  sink   ◀─ publish ◀─└────────┘
//! ```
//!
//! A stage takes no input but the ledger: it looks at what is stored, takes one step, and writes a guarded transition.
//! Restart, retry and normal work are one code path; there is no recovery mode. Stages wake each other by a bell
//! ([`crate::ledger::Wake`]) and look again on a timer, so that a lost wake-up costs seconds, never a job.
//!
//! How a stage ends: [`Desk::stopping`] tells it to take nothing new; it lets what is under way finish and returns.
//! Publishing goes on until the others have ended and nothing is left to send, or the grace is over.

mod back_off;
mod desk;
pub mod holds;
pub mod intake;
mod look_up;
mod organization;
mod prices;
pub mod publish;
mod regenerate;
pub mod submit;
pub mod track;

pub use desk::Desk;
pub use look_up::{end_has_changed, same_brief};
pub use organization::belongs;
pub use prices::Prices;
pub use track::container_end;
