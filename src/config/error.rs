//! What can be wrong with settings: one line each, naming where, the key, the value and what to do.
//!
//! The value of a secret is never part of a line; values of unknown keys are not either, because a misspelt
//! `api_key` is still a key.

use std::path::PathBuf;

use thiserror::Error;

use crate::wording::cut;

/// Everything that is wrong with the settings, found in one go. The process should end with exit code 3.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Most characters of a name that are repeated; a longer one is no setting, and no project.
const NAME_CHARS_MAX: usize = 250;

/// One thing that is wrong with the settings.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The settings file could not be read.
    #[error("{}: the settings file given by {given_by} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// `--config` or `BRIEFD_CONFIG`.
        given_by: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The settings file is not TOML.
    #[error("{place}: not TOML: {problem}")]
    Syntax {
        /// File, line and column.
        place: String,
        /// The parser's message, without the line's text: it could hold a secret.
        problem: String,
    },
    /// A key that does not exist.
    #[error("{}: unknown key {}; {hint}", short(place), short(key))]
    UnknownKey {
        /// File and line, or variable, or flag.
        place: String,
        /// The key as written.
        key: String,
        /// The nearest known key, or those that exist.
        hint: String,
    },
    /// A value in the place of a section, or the other way round.
    #[error("{}: {} {problem}", short(place), short(key))]
    Shape {
        /// File and line, or variable, or flag.
        place: String,
        /// The key as written.
        key: String,
        /// What it should be.
        problem: String,
    },
    /// A value that does not fit its key.
    #[error("{}: {} = {value}: expected {expected}", short(place), short(key))]
    BadValue {
        /// File and line, or variable, or flag.
        place: String,
        /// The key.
        key: String,
        /// The value as written, shortened; `(not shown)` for a secret.
        value: String,
        /// What fits.
        expected: String,
    },
    /// Settings that fit by themselves but not together.
    #[error("{0}")]
    Contradiction(String),
    /// A setting that this command needs is missing.
    #[error("{0}")]
    Missing(String),
}

/// A name in a text for people.
fn short(name: &str) -> String {
    cut(name, NAME_CHARS_MAX)
}
