//! Files in and out: briefs from JSON Lines or CSV ([`BriefFile`]), records as JSON Lines ([`JsonlSink`]).
//!
//! They are a source and a sink like RabbitMQ, so that `generate FILE` is the same worker as `run`.
//!
//! Invariants:
//! - A bad line hurts only itself: it comes out as a delivery with a `fault` that names the line.
//! - Memory is bounded: a line is read up to 4 MiB, standard input up to 1 GiB.
//! - `--out FILE` holds either nothing, or every record of the input's briefs: it is written as `FILE.part`, and renamed
//!   once it is complete and on disk.
//!
//! This module does not judge briefs; [`crate::brief::parse`] does. A CSV row becomes the JSON object that a person
//! would have written for it, and goes the same way.

mod cells;
mod csv;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod part_file;
mod report;
mod rows;
mod sink;
mod source;
mod tree;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use cells::cells;
pub use csv::cell_value;
pub use report::{DeadLetterNote, SinkReport};
pub use sink::{JsonlSink, RecordWriter};
pub use source::BriefFile;

/// A file of briefs cannot be read at all, or a file of records cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no such file.
    #[error("{}: no such file; check the path", .0.display())]
    NotFound(PathBuf),
    /// It is a directory.
    #[error("{}: is a directory; name a file in it", .0.display())]
    IsDirectory(PathBuf),
    /// Its ending tells neither JSON Lines nor CSV.
    #[error("{}: the ending must be .jsonl, .ndjson, .json, .csv or .tsv", .0.display())]
    UnknownEnding(PathBuf),
    /// The operating system refuses to read it.
    #[error("{name}: cannot be read")]
    Read {
        /// The path, or `standard input`.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read twice, and is too long to be kept in memory.
    #[error("{name}: more than {} MiB; put it into a file of its own", .max_bytes / (1024 * 1024))]
    TooLong {
        /// The path, or `standard input`.
        name: String,
        /// The most that is kept in memory.
        max_bytes: u64,
    },
    /// The header line of a CSV file does not name fields.
    #[error("{name}: the header line {problem}")]
    Header {
        /// The path.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The operating system refuses to create, write or rename a file of records.
    #[error("{}: cannot be written", .path.display())]
    Write {
        /// The file that was asked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
