//! What is looked at in the files before `SQLite` is let at them: it takes an empty file for a new database, does not
//! notice half a missing page, and its locks do not hold everywhere. Nothing in here changes a ledger.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use sqlx::sqlite::SqliteConnection;

use super::LedgerError;
use super::open::{lock_path, unusable};

/// What a lock file holds once the ledger beside it was made.
const MADE: &[u8] = b"the ledger beside this file was made\n";
/// Up to where the head of a database names the length of its pages.
const HEAD_BYTES: usize = 18;

/// A ledger is whole pages. Without a write-ahead log beside it, which may hold the rest, anything else was cut short.
pub(super) fn refuse_cut_short(path: &Path) -> Result<(), LedgerError> {
    let open = |source| LedgerError::Open { path: path.to_owned(), source };
    let mut head = [0_u8; HEAD_BYTES];
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(open(error)),
    };
    let bytes = file.metadata().map_err(open)?.len();
    if file.read_exact(&mut head).is_err() {
        // Shorter than any database: `SQLite` says so, unless it is empty, which `refuse_emptied` judges.
        return Ok(());
    }
    let page_bytes = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let is_whole = bytes.checked_rem(page_bytes).is_none_or(|rest| rest == 0);
    if is_whole || !head.starts_with(b"SQLite format 3\0") {
        return Ok(());
    }
    let mut log = path.to_owned().into_os_string();
    log.push("-wal");
    if std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        return Ok(());
    }
    Err(LedgerError::CutShort { path: path.to_owned(), bytes })
}

/// `SQLite` takes an empty file for a new database. One that was a ledger before has lost everything it knew: whoever goes
/// on with it shall have decided so.
pub(super) fn refuse_emptied(lock: &File, path: &Path) -> Result<(), LedgerError> {
    let open = |source| LedgerError::Open { path: path.to_owned(), source };
    let is_empty = std::fs::metadata(path).is_ok_and(|file| file.len() == 0);
    if is_empty && lock.metadata().map_err(open)?.len() > 0 {
        return Err(LedgerError::Emptied { path: path.to_owned(), lock: lock_path(path) });
    }
    Ok(())
}

/// The same of a file that is a database, and no ledger: what was in it stood in the file beside it (`-wal`).
pub(super) async fn refuse_a_new_one(
    lock: &File,
    path: &Path,
    connection: &mut SqliteConnection,
) -> Result<(), LedgerError> {
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = '_sqlx_migrations'")
            .fetch_one(connection)
            .await
            .map_err(unusable(path))?;
    let open = |source| LedgerError::Open { path: path.to_owned(), source };
    if tables == 0 && lock.metadata().map_err(open)?.len() > 0 {
        return Err(LedgerError::Emptied { path: path.to_owned(), lock: lock_path(path) });
    }
    Ok(())
}

/// Notes in the lock file that there is a ledger beside it.
pub(super) fn mark_made(mut lock: &File, path: &Path) -> Result<(), LedgerError> {
    let noted = lock.metadata().and_then(|file| if file.len() == 0 { lock.write_all(MADE) } else { Ok(()) });
    noted.map_err(|source| LedgerError::Open { path: lock_path(path), source })
}

pub(super) fn refuse_network_filesystem(path: &Path, folder: &Path) -> Result<(), LedgerError> {
    let stat = rustix::fs::statfs(folder).map_err(|error| LedgerError::Open {
        path: path.to_owned(),
        source: std::io::Error::from_raw_os_error(error.raw_os_error()),
    })?;
    match network_filesystem(stat.f_type) {
        Some(kind) => Err(LedgerError::NetworkFilesystem { path: path.to_owned(), kind }),
        None => Ok(()),
    }
}

/// The name of a network filesystem by its magic number (statfs(2)).
fn network_filesystem(magic: i64) -> Option<&'static str> {
    match magic & 0xffff_ffff {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x5346_414f => Some("AFS"),
        0x00c3_6400 => Some("Ceph"),
        0x0bd0_0bd0 => Some("Lustre"),
        0x0102_1997 => Some("9P"),
        0x4750_4653 => Some("GPFS"),
        0x7461_636f => Some("OCFS2"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_filesystem_is_known_by_its_number() {
        assert_eq!(network_filesystem(0x6969), Some("NFS"));
        assert_eq!(network_filesystem(-11_317_950), Some("SMB")); // 0xff534d42 as a signed word
        assert_eq!(network_filesystem(0xef53), None); // ext4
    }
}
