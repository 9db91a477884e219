//! The command line: one file per command.
//!
//! Results go to standard output, everything else to standard error. What a command returns is an [`Outcome`] or an
//! error; [`exit_code`] maps both to the exit codes that the README promises.

pub mod config;
pub mod schema;
pub mod topology;

/// How a command ended that did what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done: exit code 0.
    Done,
    /// Done, but something did not complete, or differs: exit code 1.
    Incomplete,
    /// Interrupted by the user; the same command goes on: exit code 130.
    Interrupted,
}

/// Wrong usage that only shows once the data is looked at: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);
