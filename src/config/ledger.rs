//! `[ledger]`: the SQLite file.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;

/// `[ledger]`
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The file behind `sqlite://…`.
    pub path: PathBuf,
    /// How long finished briefs are kept before only a tombstone stays.
    pub keep_finished: Duration,
}

impl Ledger {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.text("ledger.url");
        let path = file_of(&url).unwrap_or_else(|expected| {
            if reader.fits(&["ledger.url"]) { reader.reject("ledger.url", expected) } else { PathBuf::new() }
        });
        Self { path, keep_finished: reader.duration("ledger.keep_finished", Duration::ZERO) }
    }
}

fn file_of(url: &str) -> Result<PathBuf, &'static str> {
    let Some(path) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) else {
        return Err("a file as \"sqlite://briefd.db\" or \"sqlite:///var/lib/briefd/briefd.db\"");
    };
    match path {
        "" => Err("a file name after sqlite://"),
        ":memory:" => Err("a file: a ledger in memory would forget what was bought"),
        path if path.contains(['?', '#', '\0']) => Err("a file name without ?, # and parameters"),
        path => Ok(PathBuf::from(path)),
    }
}
