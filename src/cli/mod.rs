//! The commands, one file each. Results go to standard output, everything else to standard error.

pub mod list;
mod names;
pub mod records;
pub mod show;
pub mod status;
mod table;
#[cfg(test)]
mod tests;
mod times;

/// How a command ended that did what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 1: done, but something did not complete.
    Incomplete,
}

/// The command was asked for something that makes no sense here. Exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Who reads our output may stop reading (`| head`): that is a quiet end, not a failure.
fn until_pipe_closes(result: anyhow::Result<Outcome>) -> anyhow::Result<Outcome> {
    match result {
        Err(error)
            if error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe) =>
        {
            Ok(Outcome::Done)
        }
        other => other,
    }
}
