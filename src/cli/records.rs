//! `briefd records`: the records as they were published, again.

use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use super::hold::who;
use super::names::{Projects, batch_id};
use super::question::agreed;
use super::table::counted;
use super::times::Since;
use crate::app::requests::{Asked, HandedOver, ask_and_hear};
use crate::clock::Clock;
use crate::config::Settings;
use crate::ledger::{Reader, RecordFilter};
use crate::record::{BATCH_FINISHED, RecordType};

/// Records that are read and written at a time; each may be a few hundred KiB.
const PAGE: u32 = 100;
/// How long to wait for the worker, which looks every second.
const HEAR_WITHIN: Duration = Duration::from_secs(10);
/// How often `--follow` looks for newer ones.
const FOLLOW_STEP: Duration = Duration::from_millis(500);

/// Records again from the ledger, as they were published
///
/// One JSON object a line, in the order they were made: exactly the bytes that were, or will be, published. Filters are
/// joined by "and". Reads beside a running worker, page by page.
///
/// --publish sends those that have left once more, with the same message_id and bytes, also what was dropped because no
/// queue was bound, or parked. Consumers that have seen them drop them. The worker does it; where none runs, the next one.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  briefd records --batch 2026-05-spring --type container.failed
  briefd records --since 1h --follow | jq -r .containerId
  briefd records --batch 2026-05-spring --publish --reason \"new consumer\"")]
pub struct RecordsArgs {
    /// Only records of this batch ('' for briefs without one)
    #[arg(long)]
    batch: Option<String>,
    /// Only records of this type, as `container.failed` or `brief.failed`
    #[arg(long = "type", value_name = "TYPE", value_parser = record_type)]
    kind: Option<String>,
    /// Only records made since: a duration ("2h") or an ISO 8601 time
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only records of this project, by alias or id
    #[arg(long)]
    project: Option<String>,
    /// Wait for newer ones, until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// Send them again, instead of printing them
    #[arg(long, conflicts_with = "follow")]
    publish: bool,
    /// Why they are sent again; stored
    #[arg(long, value_name = "TEXT", default_value = "", requires = "publish")]
    reason: String,
}

/// Prints the records to `out`.
pub async fn run(
    args: RecordsArgs,
    settings: &Settings,
    (clock, yes): (&Clock, bool),
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let reader = Reader::open(&settings.ledger.path).await?;
    let filter = RecordFilter {
        batch: args.batch.as_deref().map(batch_id).map(ToOwned::to_owned),
        project: args.project.as_deref().map(|given| Projects(&settings.projects).id(given).to_owned()),
        kind: args.kind,
        since_ms: args.since.map(|since| since.ms(clock.now_ms())),
    };
    if args.publish {
        return publish(&reader, settings, (filter, &args.reason, yes), out).await;
    }
    let last = stored(&reader, &filter, out).await?;
    if args.follow {
        follow(&reader, &filter, (last, clock), out).await?;
    }
    Ok(Outcome::Done)
}

/// Has the records sent again, and says how many they are.
async fn publish(
    reader: &Reader,
    settings: &Settings,
    (which, reason, yes): (RecordFilter, &str, bool),
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let until = reader.newest_outbox_row().await?;
    let found = reader.records_to_send_again(&which, until).await?.len();
    if found == 0 {
        writeln!(
            std::io::stderr(),
            "briefd: no record like that has left for a queue yet: nothing to send again"
        )?;
        return Ok(Outcome::Done);
    }
    let records = counted(i64::try_from(found).unwrap_or(i64::MAX), "record");
    let text = format!("{records} leave once more, with the same message_id and bytes.");
    if !agreed(&text, "Go on?", yes).await? {
        writeln!(std::io::stderr(), "nothing was changed")?;
        return Ok(Outcome::Incomplete);
    }
    let asked = Asked::Records { which, until };
    let (handed_over, heard) = ask_and_hear(settings, &asked, (&who(), reason), HEAR_WITHIN).await?;
    match (heard, handed_over) {
        (None, _) => writeln!(out, "Stored; the worker carries it out as soon as it can write.")?,
        (Some(outcome), HandedOver::ToTheWorker) => writeln!(out, "{outcome}.")?,
        (Some(outcome), HandedOver::Done) => {
            writeln!(out, "{outcome}. No worker runs: they leave with the next briefd run.")?;
        }
    }
    Ok(Outcome::Done)
}

fn record_type(word: &str) -> Result<String, String> {
    if word == BATCH_FINISHED || RecordType::from_word(word).is_some() {
        return Ok(word.to_owned());
    }
    let words: Vec<_> = RecordType::ALL.into_iter().map(RecordType::word).collect();
    Err(format!("one of {}, {BATCH_FINISHED}", words.join(", ")))
}

/// Prints what is stored; returns the row up to which it looked.
async fn stored(reader: &Reader, filter: &RecordFilter, out: &mut impl Write) -> anyhow::Result<i64> {
    let start = reader.records_start(filter).await?;
    let newest = reader.newest_outbox_row().await?;
    let Some(ids) = reader.record_ids(filter, (start, newest)).await? else {
        return walk(reader, filter, start, out).await;
    };
    for id in ids {
        if let Some(body) = reader.record_body(id).await? {
            line(out, &body)?;
        }
    }
    out.flush()?;
    Ok(newest)
}

/// Prints what is newer than row `last`, until Ctrl-C.
async fn follow(
    reader: &Reader,
    filter: &RecordFilter,
    (mut last, clock): (i64, &Clock),
    out: &mut impl Write,
) -> anyhow::Result<()> {
    // One listener for the whole loop: a Ctrl-C during a query must not be lost.
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            () = clock.sleep(FOLLOW_STEP) => {}
            interrupted = &mut interrupted => return Ok(interrupted?),
        }
        tokio::select! {
            walked = walk(reader, filter, last, out) => last = walked?,
            interrupted = &mut interrupted => return Ok(interrupted?),
        }
    }
}

/// Prints what comes after row `last`; returns the row up to which it looked.
async fn walk(
    reader: &Reader,
    filter: &RecordFilter,
    mut last: i64,
    out: &mut impl Write,
) -> anyhow::Result<i64> {
    loop {
        let page = reader.records_after(filter, last, PAGE).await?;
        for record in &page {
            line(out, &record.body)?;
        }
        out.flush()?;
        let Some(record) = page.last() else { return Ok(last) };
        last = record.id;
    }
}

fn line(out: &mut impl Write, body: &[u8]) -> std::io::Result<()> {
    out.write_all(body)?;
    out.write_all(b"\n")
}
