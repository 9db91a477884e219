//! `briefd reconcile`: the ledger against the API's own list. Is every credit explained?

use std::io::Write;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::hold::who;
use super::names::{Projects, quoted};
use super::progress::Screen;
use super::table::{Column, Layout, counted, thousands, wrap};
use super::times::Since;
use super::{Outcome, UsageError};
use crate::app::reconcile::{self, Adopt, Difference, Kind, Reconciled, Span};
use crate::app::requests::{ADOPTED, Asked, ask_and_hear};
use crate::clock::Clock;
use crate::config::Settings;
use crate::ledger::Reader;

/// Differences that are shown; `--json` has more.
const SHOWN_MAX: usize = 200;
/// Containers that one request takes over: it is stored in one piece, with their records.
const ADOPTED_AT_ONCE: usize = 20;
/// How long to wait for the worker, which looks every second.
const HEAR_WITHIN: Duration = Duration::from_secs(10);
/// The first brief's container may be older than the ledger's word for it, by a clock that is wrong.
const MARGIN_MS: i64 = 5 * 60_000;

/// Compare the ledger with what the API lists of a project, both ways: is every credit explained?
///
/// Tells what the API has and the ledger does not, what the ledger has and the API does not, what ended in another way,
/// and results that were never published. What is newer than --grace is not called a difference. Reads beside a
/// running worker, six pages a minute of 200 containers; without one, as fast as the API allows.
///
/// Exit code: 0 all is explained, 1 something differs.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  briefd reconcile --project acme-fit --since 7days
  briefd reconcile --project acme-fit --adopt")]
pub struct ReconcileArgs {
    /// The project, by alias or id
    #[arg(long)]
    project: String,
    /// Containers created since: a duration ("2days") or an ISO 8601 time; default: since the ledger's first brief of it
    #[arg(long, value_name = "TIME")]
    since: Option<Since>,
    /// Only those created until
    #[arg(long, value_name = "TIME")]
    until: Option<Since>,
    /// Only those that the API lists with this status; may be repeated
    #[arg(long, value_parser = PossibleValuesParser::new(["queued", "generating", "completed", "failed", "canceled"]))]
    status: Vec<String>,
    /// What is newer is not called a difference: lists lag
    #[arg(long, value_name = "DURATION", default_value = "10min", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Take over results of ours that came late, or whose answer was lost
    #[arg(long)]
    adopt: bool,
    /// One JSON document, for programs
    #[arg(long)]
    json: bool,
}

/// Compares, takes over what is asked for, and prints what differs to `out`.
pub async fn run(
    args: ReconcileArgs,
    settings: &Settings,
    (clock, screen): (&Clock, Screen),
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let projects = Projects(&settings.projects);
    let span = span(&args, settings, clock).await?;
    let bar = screen.bar(0);
    let result = reconcile::run(settings, &span, clock, &mut |seen| {
        bar.set_length(seen);
        bar.set_position(seen);
        bar.set_message("containers listed");
    })
    .await;
    bar.finish_and_clear();
    let result = result?;
    let adopted = if args.adopt { adopt(&result, settings).await? } else { None };
    if args.json {
        writeln!(out, "{}", document(&result, &span, adopted.as_deref()))?;
    } else {
        for line in page(&result, projects.name(&span.project), adopted.as_deref()) {
            writeln!(out, "{line}")?;
        }
    }
    out.flush()?;
    let clean = result.difference_count == 0 && result.whole;
    Ok(if clean { Outcome::Done } else { Outcome::Incomplete })
}

async fn span(args: &ReconcileArgs, settings: &Settings, clock: &Clock) -> anyhow::Result<Span> {
    let project = Projects(&settings.projects).id(&args.project).to_owned();
    let since_ms = if let Some(since) = args.since {
        since.ms(clock.now_ms())
    } else {
        let reader = Reader::open(&settings.ledger.path).await?;
        let first = reader.first_brief_ms(&project).await?;
        let none =
            || UsageError(format!("no brief of project {} is in the ledger: say --since when", args.project));
        first.ok_or_else(none)? - MARGIN_MS
    };
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms);
    let until = args.until.map(|until| time(until.ms(clock.now_ms()))).transpose()?;
    Ok(Span { project, since: time(since_ms)?, until, statuses: args.status.clone(), grace: args.grace })
}

/// Hands over what can be taken over; what came of it, `None` if there is nothing.
async fn adopt(result: &Reconciled, settings: &Settings) -> anyhow::Result<Option<String>> {
    let all: Vec<Adopt> =
        result.differences.iter().filter_map(|difference| difference.adopt.clone()).collect();
    if all.is_empty() {
        return Ok(None);
    }
    let mut later = false;
    let mut adopted = 0;
    for what in all.chunks(ADOPTED_AT_ONCE) {
        let asked = Asked::Adopt { what: what.to_vec() };
        let (_, heard) = ask_and_hear(settings, &asked, (&who(), "reconcile --adopt"), HEAR_WITHIN).await?;
        match heard {
            Some(outcome) if outcome.starts_with(ADOPTED) => {
                let number = outcome.split(' ').nth(1).and_then(|word| word.parse::<i64>().ok());
                adopted += number.unwrap_or(0);
            }
            Some(outcome) => return Err(anyhow::anyhow!("what was to be adopted: {outcome}")),
            None => later = true,
        }
    }
    let rest = if later { "; the worker is still at it" } else { "" };
    Ok(Some(format!("{} adopted{rest}", counted(adopted, "container"))))
}

/// An id that is cut names nothing.
const COLUMNS: [Column; 4] =
    [Column::word("CONTAINER"), Column::word("AT THE API"), Column::name("HERE"), Column::name("BRIEF")];

/// What differs, by kind with what to do, then how much is explained.
fn page(result: &Reconciled, project: &str, adopted: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut kinds: Vec<Kind> = result.differences.iter().map(|difference| difference.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut left = SHOWN_MAX;
    for kind in kinds {
        let of_kind: Vec<&Difference> =
            result.differences.iter().filter(|difference| difference.kind == kind).collect();
        let count = i64::try_from(of_kind.len()).unwrap_or(i64::MAX);
        lines.extend(wrap(&format!("{} ", thousands(count)), kind.advice()));
        let rows: Vec<Vec<String>> = of_kind.iter().take(left).map(|difference| cells(difference)).collect();
        left -= rows.len();
        if !rows.is_empty() {
            lines.extend(Layout::fit(&COLUMNS, &rows).lines(&rows));
        }
        lines.push(String::new());
    }
    let shown = SHOWN_MAX - left;
    if u64::try_from(shown).is_ok_and(|shown| shown < result.difference_count) {
        lines.extend(wrap("", &format!("{shown} differences are shown; --json has more")));
    }
    if result.unknown_without_id > 0 {
        let jobs = counted(result.unknown_without_id, "job");
        lines.extend(wrap(
            "",
            &format!(
                "{jobs} of unknown outcome carried no id of ours: what is foreign may be theirs. See: briefd list \
                 --project {} --state parked",
                quoted(project)
            ),
        ));
    }
    lines.extend(adopted.map(ToOwned::to_owned));
    lines.extend(wrap("", &closing(result)));
    lines
}

fn cells(difference: &Difference) -> Vec<String> {
    let dash = || "-".to_owned();
    let brief = difference.brief.as_ref().map(|(_, brief)| brief.clone());
    vec![
        Some(difference.container.clone()).filter(|id| !id.is_empty()).unwrap_or_else(dash),
        difference.at_api.clone().unwrap_or_else(dash),
        difference.here.clone().unwrap_or_else(dash),
        brief.unwrap_or_else(dash),
    ]
}

/// `5,210 containers at the API, 5,210 explained; ~624,000 credits`
fn closing(result: &Reconciled) -> String {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut text = format!(
        "{} at the API, {} explained",
        counted(number(result.at_api), "container"),
        thousands(number(result.explained))
    );
    if result.too_new > 0 {
        text += &format!(", {} too new to tell", thousands(number(result.too_new)));
    }
    if let Some(credits) = result.credits {
        text += &format!("; ~{} credits", thousands(number(credits)));
    }
    if !result.whole {
        text += "; the list was not read to its end: ask for a shorter time with --since and --until";
    }
    text
}

fn document(result: &Reconciled, span: &Span, adopted: Option<&str>) -> String {
    let differences = result.differences.iter().map(|difference| {
        json!({
            "kind": difference.kind.word(),
            "containerId": Some(&difference.container).filter(|id| !id.is_empty()),
            "atApi": difference.at_api,
            "here": difference.here,
            "batchId": difference.brief.as_ref().map(|(batch, _)| batch).filter(|batch| !batch.is_empty()),
            "briefId": difference.brief.as_ref().map(|(_, brief)| brief),
            "adoptable": difference.adopt.is_some(),
        })
    });
    json!({
        "projectId": span.project,
        "since": span.since.to_string(),
        "until": span.until.map(|until| until.to_string()),
        "atApi": result.at_api,
        "explained": result.explained,
        "tooNew": result.too_new,
        "creditsEstimate": result.credits,
        "whole": result.whole,
        "unknownWithoutId": result.unknown_without_id,
        "differenceCount": result.difference_count,
        "differences": differences.collect::<Vec<_>>(),
        "adopted": adopted,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(kind: Kind, container: &str, at_api: Option<&str>, here: Option<&str>) -> Difference {
        Difference {
            kind,
            container: container.to_owned(),
            at_api: at_api.map(ToOwned::to_owned),
            here: here.map(ToOwned::to_owned),
            brief: here.map(|_| ("2026-05-spring".to_owned(), "run-first-5k".to_owned())),
            adopt: None,
        }
    }

    #[test]
    fn what_is_explained_is_told_in_one_line_and_what_differs_with_what_to_do() {
        let mut result = Reconciled {
            at_api: 5_210,
            explained: 5_210,
            credits: Some(624_000),
            whole: true,
            ..Reconciled::default()
        };
        insta::assert_snapshot!(page(&result, "acme-fit", None).join("\n"), @"5,210 containers at the API, 5,210 explained; ~624,000 credits");
        let uuid = "0e4f6c1a-3a54-5c5d-9f43-0a8f5b3d1c77";
        result.differences = vec![
            difference(Kind::Foreign, "cnt_01HV2KXW4T9R8Q7P6N5M4L3K2J", Some("completed"), None),
            difference(Kind::Unknown, uuid, Some("completed"), Some("parked")),
            difference(Kind::Missing, uuid, None, Some("completed")),
            difference(Kind::Unpublished, "", None, Some("container.completed parked")),
        ];
        result.difference_count = 4;
        result.explained = 5_206;
        result.too_new = 2;
        result.unknown_without_id = 1;
        result.whole = false;
        let lines = page(&result, "acme-fit", Some("1 container adopted"));
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
        insta::assert_snapshot!(lines.join("\n"), @r"
        1 bought, but the answer was lost: --adopt follows it; with several variants,
          briefd resolve
        CONTAINER                             AT THE API  HERE    BRIEF
        0e4f6c1a-3a54-5c5d-9f43-0a8f5b3d1c77  completed   parked  run-first-5k

        1 is in the ledger, but not at the API: ask Layers
        CONTAINER                             AT THE API  HERE       BRIEF
        0e4f6c1a-3a54-5c5d-9f43-0a8f5b3d1c77  -           completed  run-first-5k

        1 its record is made, but not published: see briefd status
        CONTAINER  AT THE API  HERE                        BRIEF
        -          -           container.completed parked  run-first-5k

        1 not of this ledger: made by somebody else, or under an id that is not ours
        CONTAINER                       AT THE API  HERE  BRIEF
        cnt_01HV2KXW4T9R8Q7P6N5M4L3K2J  completed   -     -

        1 job of unknown outcome carried no id of ours: what is foreign may be theirs.
        See: briefd list --project acme-fit --state parked
        1 container adopted
        5,210 containers at the API, 5,206 explained, 2 too new to tell; ~624,000
        credits; the list was not read to its end: ask for a shorter time with --since
        and --until
        ");
    }
}
