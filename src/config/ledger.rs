//! `[ledger]`: the SQLite file.

use std::path::PathBuf;
use std::time::Duration;

/// `[ledger]`
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The file behind `sqlite://…`.
    pub path: PathBuf,
    /// How long finished briefs are kept before only a tombstone stays.
    pub keep_finished: Duration,
}
