//! The ledger: where it is, whether it opens, whose it is, who works at it, and the disk under it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Checks, LIMIT, Mark};
use crate::clock::Clock;
use crate::config::Settings;
use crate::ledger::{LedgerError, Reader, check_place, free_bytes, may_write};
use crate::wording::{counted, thousands};

/// Below this much free disk somebody should look, and below that a worker may stop at any moment.
const DISK_SMALL: u64 = 1 << 30;
const DISK_FULL: u64 = 100 << 20;
/// A record that has not left after this long is trouble.
const LATE_MS: i64 = 60_000;

pub(super) async fn check(
    settings: &Settings,
    reader: &Result<Reader, LedgerError>,
    clock: &Clock,
) -> Checks {
    let mut checks = Checks::of("ledger");
    let path = &settings.ledger.path;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    match (check_place(path), reader) {
        (Err(error), _) => checks.failed("ledger", Mark::Bad, &error),
        (Ok(()), Err(LedgerError::Missing(_))) if may_write(&folder) => {
            checks.good("ledger", format!("{} is not there yet: the first worker makes it", path.display()));
        }
        (Ok(()), Err(LedgerError::Missing(_))) => checks.bad(
            "ledger",
            format!("{} is not there, and this user may not make it", path.display()),
            format!("let this user write to {}, or set ledger.url", folder.display()),
        ),
        (Ok(()), Err(error)) => checks.failed("ledger", Mark::Bad, error),
        (Ok(()), Ok(reader)) => {
            opened(&mut checks, path, &folder);
            let looked = tokio::time::timeout(LIMIT, inside(&mut checks, reader, settings, clock)).await;
            match looked {
                Ok(Ok(())) => {}
                Ok(Err(error)) => checks.failed("ledger", Mark::Bad, &error),
                Err(_) => checks.bad(
                    "ledger",
                    format!("did not answer within {} s", LIMIT.as_secs()),
                    "is the disk overloaded, or does another program hold a lock on it?",
                ),
            }
        }
    }
    disk(&mut checks, &folder);
    checks
}

fn opened(checks: &mut Checks, path: &Path, folder: &Path) {
    if !(may_write(path) && may_write(folder)) {
        return checks.bad(
            "ledger",
            format!("{} can be read but not written by this user", path.display()),
            "run as the user that owns it, or give that right to the file and its folder",
        );
    }
    let open_to_others = path.metadata().is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if open_to_others {
        let says = format!("{} may be read by other users: it holds customers' briefs", path.display());
        return checks.warn("ledger", says, format!("chmod 600 {}", path.display()));
    }
    checks.good("ledger", format!("{} opens", path.display()));
}

async fn inside(
    checks: &mut Checks,
    reader: &Reader,
    settings: &Settings,
    clock: &Clock,
) -> Result<(), LedgerError> {
    let (stored, known) = reader.schema().await?;
    if stored < known {
        checks.good("schema", format!("{stored}; the next worker brings it to {known}"));
    } else {
        checks.good("schema", format!("{stored}, this version's"));
    }
    if let Some(bound) = reader.meta("origin").await?
        && bound != settings.layers.origin()
    {
        let asked = settings.layers.origin();
        let says = format!("the ledger belongs to {bound}, but layers.base_url is {asked}");
        let mend = "use another --ledger: this one's keys would not guard there";
        checks.add("origin", Mark::BadSettings, says, Some(mend.to_owned()));
    }
    let open = i64::try_from(reader.open_briefs().await?).unwrap_or(i64::MAX);
    match (reader.has_worker(), open) {
        (true, _) => checks.good("worker", format!("is at the ledger; {} open", counted(open, "brief"))),
        (false, 0) => checks.good("worker", "none is at the ledger, and no brief is open"),
        (false, _) => checks.warn(
            "worker",
            format!("none is at the ledger, and {} open", counted(open, "brief")),
            "start briefd run, or the briefd generate they came from",
        ),
    }
    holds(checks, reader, settings, clock).await?;
    let late = reader.late_rows(clock.now_ms() - LATE_MS).await?;
    match late.iter().map(|rows| rows.n).sum::<i64>() {
        0 => checks.good("records", "none is late"),
        n => {
            let kinds: Vec<&str> = late.iter().map(|rows| rows.kind.as_str()).collect();
            let says = format!("{} not sent for over a minute ({})", counted(n, "record"), kinds.join(", "));
            checks.warn("records", says, "briefd status says why; nothing is lost");
        }
    }
    Ok(())
}

async fn holds(
    checks: &mut Checks,
    reader: &Reader,
    settings: &Settings,
    clock: &Clock,
) -> Result<(), LedgerError> {
    let holds = reader.holds().await?;
    if holds.is_empty() {
        checks.good("holds", "none");
    }
    for hold in holds {
        let id = hold.scope.project();
        let alias = settings.projects.iter().find(|(_, known)| *known == id).map(|(alias, _)| alias.as_str());
        let sentence = hold.sentence(alias.unwrap_or(id), None, clock.now_ms());
        let said = sentence.said.map(|said| format!(" {said}")).unwrap_or_default();
        checks.warn("holds", format!("{}{said}", sentence.head), sentence.next);
    }
    Ok(())
}

fn disk(checks: &mut Checks, folder: &Path) {
    let free = match free_bytes(folder) {
        Ok(free) => free,
        Err(error) => return checks.unchecked("disk", format!("{}: {error}", folder.display())),
    };
    let mib = i64::try_from(free >> 20).unwrap_or(i64::MAX);
    let says = format!("{} MiB free under the ledger", thousands(mib));
    let mend = "make room: a worker stops taking briefs when the ledger cannot be written";
    if free < DISK_FULL {
        checks.bad("disk", says, mend);
    } else if free < DISK_SMALL {
        checks.warn("disk", says, mend);
    } else {
        checks.good("disk", says);
    }
}
