//! Everything that can go wrong with the ledger, each as one line for people.

use std::path::{Path, PathBuf};

/// Why the ledger cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The folder does not exist.
    #[error("the ledger's folder {0} does not exist: create it, or set ledger.url")]
    NoFolder(PathBuf),
    /// A command that only reads found nothing.
    #[error("no ledger at {0}: nothing was recorded yet, or ledger.url (--ledger) names another file")]
    Missing(PathBuf),
    /// Another process holds the worker lock.
    #[error("another worker is at the ledger {path} (lock {lock}): stop it first, or use another --ledger")]
    Locked {
        /// The ledger.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// The file cannot be used.
    #[error("cannot open the ledger {path}: {source}")]
    Open {
        /// The ledger.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is there, and it is not a ledger, or a damaged one.
    #[error("{path} cannot be used as the ledger: {}", cause_and_remedy(.cause))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What `SQLite` says; told in the text, with what to do.
        cause: sqlx::Error,
    },
    /// The end of the file is missing.
    #[error(
        "{path} cannot be used as the ledger: it was cut short ({bytes} bytes are no whole pages); {RESTORE}"
    )]
    CutShort {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// The file was a ledger once, and holds nothing any more.
    #[error(
        "the ledger {path} is empty, and was not before: restore it from a backup; or, to begin anew and enqueue the \
         same briefs again, remove it and {lock}"
    )]
    Emptied {
        /// The ledger.
        path: PathBuf,
        /// The lock file, which tells that there was one.
        lock: PathBuf,
    },
    /// `SQLite`'s locks do not hold on network filesystems.
    #[error(
        "the ledger {path} is on a network filesystem ({kind}), where SQLite's locks do not hold: use a local disk"
    )]
    NetworkFilesystem {
        /// The ledger.
        path: PathBuf,
        /// Which one.
        kind: &'static str,
    },
    /// An earlier version wrote it, and no worker of this one was at it yet.
    #[error(
        "the ledger {0} was last used by an older briefd: start the worker of this version once (briefd run), which \
         brings it up to date; until then `briefd doctor` and `briefd ledger backup` read it"
    )]
    Older(PathBuf),
    /// A later version wrote it.
    #[error("the ledger {0} was written by a newer briefd: use that version or a later one")]
    Newer(PathBuf),
    /// The schema could not be brought up to date.
    #[error("cannot bring the ledger {path} up to date: {source}")]
    Migrate {
        /// The ledger.
        path: PathBuf,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// It belongs to another API.
    #[error(
        "the ledger belongs to {bound}, but layers.base_url is {asked}: use another --ledger, its keys would not guard there"
    )]
    OtherOrigin {
        /// The origin in the ledger.
        bound: String,
        /// The origin in the settings.
        asked: String,
    },
    /// `SQLite` said no.
    #[error("the ledger failed: {0}")]
    Sql(#[from] sqlx::Error),
    /// A row does not hold what it must.
    #[error("the ledger holds something that cannot be: {0}")]
    Corrupt(String),
    /// A guarded transition changed no row: somebody else was first. Nothing was written.
    #[error("{0}")]
    Conflict(String),
    /// The writer has ended (after a failure that was reported, or at the end of the process).
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// Whether the same write may succeed later (a full disk, a busy file), so that it is worth asking again.
    pub fn may_pass(&self) -> bool {
        match self {
            // A broken constraint is a bug in what was written, and stays one.
            Self::Sql(sqlx::Error::Database(error)) => matches!(error.kind(), sqlx::error::ErrorKind::Other),
            Self::Sql(error) => !matches!(error, sqlx::Error::RowNotFound | sqlx::Error::ColumnNotFound(_)),
            Self::NoFolder(_)
            | Self::Missing(_)
            | Self::Locked { .. }
            | Self::Open { .. }
            | Self::Unusable { .. }
            | Self::CutShort { .. }
            | Self::Emptied { .. }
            | Self::NetworkFilesystem { .. }
            | Self::Older(_)
            | Self::Newer(_)
            | Self::Migrate { .. }
            | Self::OtherOrigin { .. }
            | Self::Corrupt(_)
            | Self::Conflict(_)
            | Self::Closed => false,
        }
    }

    /// The same error of a ledger that is being opened, where it names the file.
    pub(super) fn at(self, path: &Path) -> Self {
        if let Self::Sql(source) = self {
            return match remedy(&source) {
                Some(_) => Self::Unusable { path: path.to_owned(), cause: source },
                None => Self::Sql(source),
            };
        }
        self
    }

    /// Whether the disk, the file or another program is the trouble, and not what was asked.
    pub(super) fn is_of_the_file(source: &sqlx::Error) -> bool {
        remedy(source).is_some()
    }

    /// What is wrong and what to do, for people.
    pub(super) fn cause_and_remedy(&self) -> String {
        if let Self::Sql(source) = self { cause_and_remedy(source) } else { self.to_string() }
    }

    /// Whether the ledger itself is the trouble, and not what was to be written.
    pub fn is_of_the_ledger(&self) -> bool {
        self.may_pass() || matches!(self, Self::Closed)
    }
}

/// What `SQLite` says, and what to do about it.
fn cause_and_remedy(source: &sqlx::Error) -> String {
    let cause = if let sqlx::Error::Database(error) = source {
        error.message().to_owned()
    } else {
        source.to_string()
    };
    format!("{cause}; {}", remedy(source).unwrap_or(RESTORE))
}

const RESTORE: &str = "restore it from a backup, or set ledger.url to another file";

/// What a person does about an error of the file, its disk, or another program; `None`: it is none of these.
fn remedy(source: &sqlx::Error) -> Option<&'static str> {
    let sqlx::Error::Database(error) = source else { return None };
    // The low byte is SQLite's primary result code; what is above it says more than a person needs.
    match error.code()?.parse::<u32>().ok()? & 0xff {
        5 | 6 => Some("another program keeps it locked: end that"),
        8 => Some("it may only be read: look at its owner, its mode and how its disk is mounted"),
        10 => Some(
            "its disk does not do what it must: look at the system's log, and at limits for this process",
        ),
        11 | 26 => Some(RESTORE),
        13 => Some("make room on its disk"),
        14 => Some("look at the owner and the mode of its folder"),
        _ => None,
    }
}
