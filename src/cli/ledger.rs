//! `briefd ledger`: is it sound, a copy of it, and less of it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::hold::who;
use super::times::stamp;
use super::{Outcome, UsageError};
use crate::app::requests::{Asked, HandedOver, ask};
use crate::clock::Clock;
use crate::config::Settings;
use crate::ledger::Reader;

/// Look after the ledger: check it, copy it, prune it.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  briefd ledger check\n  briefd ledger backup /backup/briefd-2026-05-02.db\n  briefd ledger prune --older-than 30days --dry-run"
)]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum LedgerCommand {
    /// Count everything again, and look for damage in the file
    ///
    /// Every delivery is decided once, and each run owes its records: the running totals must be what the rows say.
    /// Reads the whole file, beside a worker too. Exit code 1 if something is wrong.
    #[command(after_help = "Example:\n  briefd ledger check")]
    Check,
    /// Copy the ledger to a new file, beside a worker too
    ///
    /// The copy is the ledger of one moment. A ledger that is restored from it does not know what was bought since:
    /// enqueue the same briefs again before new ones; keys and ids keep them from being bought twice.
    #[command(after_help = "Example:\n  briefd ledger backup /backup/briefd-2026-05-02.db")]
    Backup {
        /// The new file
        file: PathBuf,
    },
    /// Drop what ended long ago; a tombstone of each brief stays
    ///
    /// A worker does so by itself with what is older than ledger.keep_finished. What is open, unknown, lost or not
    /// published yet is never pruned, nor part of a batch. A repeat of a pruned brief is still known and not bought again.
    #[command(after_help = "Example:\n  briefd ledger prune --older-than 30days --dry-run")]
    Prune {
        /// What ended longer ago than this; default: ledger.keep_finished
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        older_than: Option<Duration>,
        /// Only say how many briefs it would be
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs the command.
pub async fn run(
    args: LedgerArgs,
    settings: &Settings,
    clock: &Clock,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    match args.command {
        LedgerCommand::Check => check(settings, out).await,
        LedgerCommand::Backup { file } => backup(settings, file, out).await,
        LedgerCommand::Prune { older_than, dry_run } => {
            let keep = older_than.unwrap_or(settings.ledger.keep_finished);
            let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
            let before_ms = clock.now_ms().saturating_sub(keep_ms);
            prune(settings, before_ms, dry_run, out).await
        }
    }
}

async fn check(settings: &Settings, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let reader = Reader::open(&settings.ledger.path).await?;
    let sums = reader.imbalance().await?;
    let damage = reader.damage().await?;
    for line in &sums.lines {
        writeln!(out, "does not add up: {line}")?;
    }
    for line in &damage {
        writeln!(out, "damaged: {line}")?;
    }
    if sums.lines.is_empty() && damage.is_empty() {
        writeln!(out, "{}: sound, and everything adds up.", settings.ledger.path.display())?;
        return Ok(Outcome::Done);
    }
    writeln!(
        out,
        "Keep a copy of the file as it is, then restore the last good backup and enqueue the same files again."
    )?;
    Ok(Outcome::Incomplete)
}

async fn backup(settings: &Settings, file: PathBuf, out: &mut impl Write) -> anyhow::Result<Outcome> {
    if file.exists() {
        return Err(UsageError(format!("{} is there already: name a new file", file.display())).into());
    }
    let mut part = file.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = || format!("cannot back up to {}", file.display());
    // Private from the first byte on: it holds the briefs of customers.
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .with_context(failed)?;
    let copied = Reader::open_of_any_age(&settings.ledger.path).await?.copy_to(&part).await;
    if let Err(error) = copied {
        drop(std::fs::remove_file(&part));
        bail!("{}: {error}", failed());
    }
    let copy = Reader::open_of_any_age(&part).await?;
    if !copy.damage().await?.is_empty() {
        bail!("{}: the copy is damaged; check the disk, and the ledger with `briefd ledger check`", failed());
    }
    std::fs::File::open(&part).and_then(|part| part.sync_all()).with_context(failed)?;
    std::fs::rename(&part, &file).with_context(failed)?;
    writeln!(out, "{}: a sound copy of {}.", file.display(), settings.ledger.path.display())?;
    Ok(Outcome::Done)
}

async fn prune(
    settings: &Settings,
    before_ms: i64,
    dry_run: bool,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let briefs = Reader::open(&settings.ledger.path).await?.prunable(before_ms).await?;
    let before = stamp(before_ms);
    if dry_run {
        writeln!(out, "{briefs} briefs that ended before {before} would become tombstones.")?;
        return Ok(Outcome::Done);
    }
    match ask(settings, &Asked::Prune { before_ms }, &who(), "").await? {
        HandedOver::ToTheWorker => {
            writeln!(out, "Stored; the worker prunes {briefs} briefs in small steps, within seconds.")?;
        }
        HandedOver::Done => writeln!(out, "{briefs} briefs that ended before {before} are tombstones now.")?,
    }
    Ok(Outcome::Done)
}
