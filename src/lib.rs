//! **briefd** — a queue-driven batch generation worker for the Layers content API.
//!
//! Campaign briefs come in on RabbitMQ (or from a file). Each is submitted to the API under a deterministic
//! `Idempotency-Key`, every job is kept in a `SQLite` ledger and followed to a terminal state, and one record for each
//! container goes out. Users pay for each generation, so everything follows from two sins: *buying the same thing
//! twice*, and *losing what was paid for*.
//!
//! ```text
//!  RabbitMQ ─▶ intake ─▶ ┌────────┐ ─▶ submit ─▶ Layers API
//!  (or file)             │ ledger │ ◀▶ track  ─▶ Layers API
//!  RabbitMQ ◀─ publish ◀─└────────┘
//!  (or file)
//! ```
//!
//! # Promises
//! - **P1 Never bought twice.** One intent makes at most one job at the API, whatever crashes, repeats or times out.
//! - **P2 Nothing lost.** A message is acknowledged only once its brief, or the decision about it, is committed.
//! - **P3 Unknown is not failed.** A lost answer leaves the outcome unknown until it is known.
//! - **P4 Same record, same id, same bytes**, as long as the brief is kept.
//! - **P5 Bad input hurts only itself.**
//! - **P6 The account's trouble is not the brief's.** Work is held; none of it fails.
//! - **P7 The API key stays secret.**
//! - **P8 It counts up.** Running totals and rows agree; the difference is a metric that must be 0.
//!
//! # Reading order
//! 1. [`flow`]: the two traits of the flow; [`clock`]: where time comes in.
//! 2. The pure centre: [`brief`] (what comes in, its identity and keys), [`job`] (states, transitions, what an answer
//!    means), [`record`] (what goes out). Data and hashing only: no I/O, no clock.
//! 3. [`ledger`]: the only place that knows sqlx, and the queue between the stages.
//! 4. The other edges: [`broker`] (lapin), [`layers`] (reqwest), [`files`].
//! 5. [`stages`]: intake, submit, track, publish. [`app`] builds and drains them; [`cli`] is what people type.
//! 6. Beside them: [`config`], [`telemetry`], [`wording`], and [`sandbox`], a simulator of the API that shares no code with the client;
//!    [`crash_point`], where tests let the process die.
//!
//! Who may know whom: `brief, job, record ← ledger, broker, layers, files ← stages ← app ← cli`. The adapters never
//! import each other. A test reads this from the `use` lines.

pub mod app;
pub mod brief;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash_point;
pub mod files;
pub mod flow;
#[cfg(test)]
mod fuzz_seeds;
pub mod job;
pub mod layers;
pub mod ledger;
pub mod record;
pub mod sandbox;
pub mod stages;
pub mod telemetry;
pub mod wording;
