//! What is wrong, by promise.

use std::fmt;

/// The promises of `src/lib.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Never bought twice.
    P1,
    /// Nothing lost.
    P2,
    /// Unknown is not failed.
    P3,
    /// Same record, same id, same bytes.
    P4,
    /// Bad input hurts only itself.
    P5,
    /// The account's trouble is not the brief's.
    P6,
    /// The API key stays secret.
    P7,
    /// It counts up.
    P8,
}

impl fmt::Display for Promise {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::P1 => "P1 (never bought twice)",
            Self::P2 => "P2 (nothing lost)",
            Self::P3 => "P3 (unknown is not failed)",
            Self::P4 => "P4 (same id, same bytes)",
            Self::P5 => "P5 (bad input hurts only itself)",
            Self::P6 => "P6 (the account's trouble is not the brief's)",
            Self::P7 => "P7 (the key stays secret)",
            Self::P8 => "P8 (it counts up)",
        };
        formatter.write_str(name)
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Report(Vec<(Promise, String)>);

impl Report {
    pub fn add(&mut self, promise: Promise, what: String) {
        self.0.push((promise, what));
    }

    /// A line each, by promise.
    pub fn lines(mut self) -> Vec<String> {
        self.0.sort_by_key(|(promise, _)| *promise);
        self.0.into_iter().map(|(promise, what)| format!("{promise}: {what}")).collect()
    }
}
