//! `briefd enqueue`: a file of briefs to the input exchange.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::Outcome;
use super::names::quoted;
use super::progress::Screen;
use super::quote::Quote;
use super::status::limits;
use super::table::{counted, thousands, wrap};
use super::times::roughly;
use crate::app::credits;
use crate::app::enqueue::{self, Enqueued, Known};
use crate::app::survey::{Batching, Survey};
use crate::brief::Identity;
use crate::clock::Clock;
use crate::config::Settings;
use crate::files::BriefFile;
use crate::job::BriefState;
use crate::layers::Numbers;
use crate::layers::limits::numbers;
use crate::ledger::{LedgerError, Reader};

/// Lines that were not sent and are named one by one.
const PROBLEMS_SHOWN: usize = 20;

/// Publish a file of briefs to the input exchange, each confirmed and routed, or reported.
///
/// Reads JSON Lines or CSV (by its ending; `-`: JSON Lines from standard input). Lines that cannot be read or would be
/// refused are reported by number and not sent. A repeat is recognized, so the same command may be run again.
///
/// Exit code: 0 every line was sent, 1 some were not, 4 the broker could not be reached or has no queue.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  briefd enqueue spring.jsonl --dry-run\n  \
                        briefd enqueue spring.csv --batch spring")]
pub struct EnqueueArgs {
    /// Briefs: .jsonl, .ndjson, .json, .csv, .tsv, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The batch of every brief; default: the file's name without ending, for lines that name none
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Send nothing: check every line; tell containers, credits, hours, and which briefs the ledger knows
    #[arg(long)]
    pub dry_run: bool,
}

/// Carries the command out.
pub async fn run(
    args: EnqueueArgs,
    settings: &Settings,
    clock: &Clock,
    screen: Screen,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<Outcome> {
    let mut source = BriefFile::open(&args.file)?;
    let survey = Survey::of(&mut source, settings, args.batch.as_deref())?;
    let stem = source.stem().map(str::to_owned);
    let batching = Batching {
        batch: args.batch.as_deref(),
        default_batch: stem.as_deref(),
        batch_size: (survey.batch_size > 0).then_some(survey.batch_size),
    };
    let text = if args.dry_run {
        let reader = match Reader::open(&settings.ledger.path).await {
            Ok(reader) => Some(reader),
            Err(LedgerError::Missing(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let done = enqueue::dry_run(settings, source, batching, clock, reader.as_ref()).await?;
        let limits = match &reader {
            Some(reader) => limits(reader, &settings.layers).await?,
            None => numbers(settings.layers.tier, settings.layers.limits),
        };
        // Who has no key here has the prices of the settings.
        let prices = match settings.require_api_key() {
            Ok(()) => credits::ask(settings).await.prices,
            Err(_) => settings.layers.prices.clone(),
        };
        let quote = Quote::new(&survey, &prices);
        let mut text = quoted_text(&args.file.display().to_string(), &survey, &quote, limits);
        text.push_str(&known_text(done.known.as_ref(), settings));
        (text, done)
    } else {
        let bar = screen.bar(survey.briefs);
        bar.set_message("enqueued");
        let sent = enqueue::run(settings, source, batching, clock, &mut |sent| bar.set_position(sent)).await;
        bar.finish_and_clear();
        let done = sent?;
        (sent_text(&done, &survey, settings), done)
    };
    let (text, done) = text;
    for line in problems(&done) {
        screen.say(&line);
    }
    out.write_all(text.as_bytes())?;
    Ok(if done.problem_count == 0 { Outcome::Done } else { Outcome::Incomplete })
}

/// `1,000 briefs enqueued …`, and what to do next.
fn sent_text(done: &Enqueued, survey: &Survey, settings: &Settings) -> String {
    let input = &settings.amqp.input;
    let (exchange, key) = (quoted(&input.exchange), quoted(&input.routing_key));
    let mut lines = vec![
        format!("{} enqueued, each confirmed and routed", counted(number(done.briefs), "brief")),
        format!("  at {}, exchange {exchange}, routing key {key}", settings.amqp.address),
    ];
    if done.repeats > 0 {
        let says = if done.repeats == 1 { "says" } else { "say" };
        lines.push(format!(
            "{} {says} the same as an earlier one: sent once",
            counted(number(done.repeats), "line")
        ));
    }
    let mut batches = survey.batches.iter();
    let batch = match (batches.next(), batches.next()) {
        (Some(batch), None) if !batch.is_empty() => format!(" {}", quoted(batch)),
        _ => String::new(),
    };
    lines.push(format!("next: briefd status{batch} --watch\n"));
    lines.join("\n")
}

/// What enqueueing the file would cost, in credits and hours.
fn quoted_text(file: &str, survey: &Survey, quote: &Quote, limits: Option<Numbers>) -> String {
    let mut lines = vec![format!("{file}: {}, {}; nothing was sent", quote.briefs(), quote.containers())];
    lines.extend(quote.table().lines().map(str::to_owned));
    lines.extend(quote.credits().map(|credits| format!("  about {} credits in all", thousands(credits))));
    if let Some(limits) = limits {
        let windows = survey.briefs.div_ceil(u64::from(limits.starts.max(1)));
        let time = limits.window.saturating_mul(u32::try_from(windows.saturating_sub(1)).unwrap_or(u32::MAX));
        let window = match limits.window.as_secs() {
            60 => "a minute".to_owned(),
            _ => format!("in {}", humantime::format_duration(limits.window)),
        };
        let last = match time {
            Duration::ZERO => "all start at once".to_owned(),
            time => format!("the last one starts after {}", roughly(time)),
        };
        lines.push(format!("  {last} ({} starts {window})", limits.starts));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Which of them the ledger knows, so that they cost less than was quoted.
fn known_text(known: Option<&Known>, settings: &Settings) -> String {
    let text = match known {
        None => format!(
            "no ledger at {}, so whether some were enqueued before is not known here",
            settings.ledger.path.display()
        ),
        Some(known) if known.counts.total() == 0 => "the ledger knows none of them".to_owned(),
        Some(known) => format!(
            "the ledger knows {} of them ({} open, {} completed, {} not): as they are, these are not bought again",
            thousands(known.counts.total()),
            thousands(known.counts.open()),
            thousands(known.counts.get(BriefState::Completed)),
            thousands(known.counts.not_completed()),
        ),
    };
    let mut lines = wrap("  ", &text);
    if let Some(known) = known.filter(|known| !known.first.is_empty()) {
        let name = |(brief, state): &(Identity, BriefState)| format!("{} ({})", brief.brief_id, state.word());
        let mut names: Vec<_> = known.first.iter().map(name).collect();
        let more = known.counts.total() - number(u64::try_from(names.len()).unwrap_or(u64::MAX));
        if more > 0 {
            names.push(format!("and {} more", thousands(more)));
        }
        lines.extend(wrap("    ", &names.join(", ")));
    }
    lines.join("\n") + "\n"
}

fn problems(done: &Enqueued) -> Vec<String> {
    let mut lines = Vec::new();
    for problem in done.problems.iter().take(PROBLEMS_SHOWN) {
        let place = format!("line {}: ", problem.line);
        let text = problem.problem.strip_prefix(&place).unwrap_or(&problem.problem);
        lines.extend(wrap("", &format!("{place}{}: {text}", problem.code)));
    }
    let shown = done.problems.len().min(PROBLEMS_SHOWN);
    let more = done.problem_count.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    if more > 0 {
        lines.push(format!("and {} more", counted(number(more), "line")));
    }
    if !lines.is_empty() {
        let count = counted(number(done.problem_count), "line");
        let mend = "mend the file and run the same command again, a repeat costs nothing";
        lines.extend(wrap("", &format!("{count} not sent: {mend}")));
    }
    lines
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::enqueue::LineProblem;

    fn survey(briefs: u64) -> Survey {
        Survey {
            named: briefs,
            briefs,
            containers: [("video_remix".to_owned(), 2 * briefs), ("auto".to_owned(), 3)].into(),
            batch_size: briefs,
            batches: ["2026-05-spring".to_owned()].into(),
            longest_id: 20,
        }
    }

    #[test]
    fn a_dry_run_tells_containers_credits_and_hours() {
        let mut settings = Settings::builtin();
        let quoted = |survey: &Survey, settings: &Settings| {
            let layers = &settings.layers;
            quoted_text(
                "spring.csv",
                survey,
                &Quote::new(survey, &layers.prices),
                numbers(layers.tier, layers.limits),
            )
        };
        insta::assert_snapshot!(quoted(&survey(5_000), &settings), @r"
        spring.csv: 5,000 briefs, 10,003 containers; nothing was sent
          video_remix       10,000, credits unknown
          auto                   3, credits unknown
          the last one starts after 4.1 h (20 starts a minute)
        ");
        settings.layers.prices = [("video_remix".to_owned(), 120), ("auto".to_owned(), 120)].into();
        insta::assert_snapshot!(quoted(&survey(7), &settings), @r"
        spring.csv: 7 briefs, 17 containers; nothing was sent
          video_remix           14 × 120 =     1,680 credits
          auto                   3 × 120 =       360 credits
          about 2,040 credits in all
          all start at once (20 starts a minute)
        ");
    }

    #[test]
    fn briefs_that_the_ledger_knows_are_named() {
        let mut known = Known::default();
        for (n, state) in (1..).zip([BriefState::Completed, BriefState::Failed, BriefState::Running]) {
            let [project_id, batch_id, brief_id] =
                ["p", "spring", &format!("spring-{n:03}")].map(str::to_owned);
            known.counts.add(state, 1);
            known.first.push((Identity { project_id, batch_id, brief_id }, state));
        }
        known.counts.add(BriefState::Completed, 1_237);
        insta::assert_snapshot!(known_text(Some(&known), &Settings::builtin()), @r"
        the ledger knows 1,240 of them (1 open, 1,238 completed, 1 not): as they are,
        these are not bought again
          spring-001 (completed), spring-002 (failed), spring-003 (running), and 1,237
          more
        ");
        assert_eq!(
            known_text(Some(&Known::default()), &Settings::builtin()),
            "  the ledger knows none of them\n"
        );
    }

    #[test]
    fn what_was_sent_and_what_was_not_is_told_with_what_to_do_next() {
        let mut done = Enqueued { briefs: 1_000, repeats: 1, ..Enqueued::default() };
        insta::assert_snapshot!(sent_text(&done, &survey(1_000), &Settings::builtin()), @r"
        1,000 briefs enqueued, each confirmed and routed
          at 127.0.0.1:5672/%2f, exchange briefs, routing key brief
        1 line says the same as an earlier one: sent once
        next: briefd status 2026-05-spring --watch
        ");
        let problem =
            LineProblem { line: 7, code: "UNREADABLE", problem: "line 7: more than 4 MiB".to_owned() };
        done.problems = vec![problem; 21];
        done.problem_count = 21;
        let lines = problems(&done);
        assert_eq!(lines.len(), 23);
        insta::assert_snapshot!(lines[19..].join("\n"), @r"
        line 7: UNREADABLE: more than 4 MiB
        and 1 line more
        21 lines not sent: mend the file and run the same command again, a repeat costs
        nothing
        ");
    }
}
