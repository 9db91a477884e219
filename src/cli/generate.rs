//! `briefd generate`: a file of briefs run to its end, no broker needed.

mod lines;
mod question;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use self::lines::Lines;
use self::summary::{Proof, Shown};
use super::names::Projects;
use super::progress::{Screen, how_long, pace};
use super::{Outcome, UsageError};
use crate::app::generate::{self, End, Progress, Report, Simulated, Stuck, Task};
use crate::app::survey::Survey;
use crate::clock::Clock;
use crate::config::Settings;
use crate::files::{BriefFile, JsonlSink};
use crate::job::BriefState;
use crate::ledger::{Hold, HoldScope};

/// How long the API may be out of reach before it is mentioned.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(10);
/// Troubles that are said at most; what more there is tells nothing new.
const SAID_MAX: usize = 20;

/// Run a file of briefs to the end, no broker needed.
///
/// Reads JSON Lines or CSV (by its ending; `-`: JSON Lines from standard input), submits each brief, follows it, and
/// writes one record a container: a line for people on a terminal, JSON Lines when piped or with --out. Everything is
/// in the ledger: after an interruption the same command goes on, and nothing is bought twice.
///
/// Exit code: 0 every brief completed, 1 something did not, 130 interrupted.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  briefd generate examples/spring-launch.jsonl --sandbox\n  \
                        briefd generate spring.csv --out records.jsonl")]
pub struct GenerateArgs {
    /// Briefs: .jsonl, .ndjson, .json, .csv, .tsv, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Write the records to a file (as OUT.part until all are there)
    #[arg(long, value_name = "OUT")]
    pub out: Option<PathBuf>,
    /// The batch of every brief; default: the file's name without ending, for lines that name none
    #[arg(long, value_name = "NAME")]
    pub batch: Option<String>,
    /// Use an API simulator in this process: no key, no settings, no costs, a ledger that is thrown away
    #[arg(long)]
    pub sandbox: bool,
    /// How many times as fast as the API the simulator runs
    #[arg(long, value_name = "N", default_value_t = 20.0, requires = "sandbox", value_parser = parse_speed)]
    pub speed: f64,
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.01..=10_000.0).contains(speed));
    speed.ok_or_else(|| "a number from 0.01 to 10000".to_owned())
}

/// It cannot go on before a person has mended something.
#[derive(Debug, thiserror::Error)]
#[error("stopped: {}{}{}; {}, then run the same command again: it goes on where it stopped", .0.reason,
        if .0.detail.is_empty() { "" } else { ": " }, .0.detail, .0.remedy())]
pub struct StuckError(pub Stuck);

/// Runs the file to its end.
pub async fn run(
    args: GenerateArgs,
    mut settings: Settings,
    yes: bool,
    screen: Screen,
) -> anyhow::Result<Outcome> {
    let clock = Clock::system();
    let mut source = BriefFile::open(&args.file)?;
    let survey = Survey::of(&mut source, &settings, args.batch.as_deref())?;
    let simulated = if args.sandbox {
        Some(Simulated::start(&mut settings, args.speed).await?)
    } else {
        settings.require_api_key()?;
        None
    };
    let name = name_of(&args.file);
    if !question::may_start(&args.file, &name, &survey, &settings, yes).await? {
        screen.say("nothing was sent");
        return Ok(Outcome::Incomplete);
    }
    let is_told = args.out.is_none() && io::stdout().is_terminal();
    let sink = if is_told {
        JsonlSink::with(Lines::new(&survey, &settings, screen.clone()).into_writer())
    } else {
        JsonlSink::create(args.out.as_deref())?
    };
    let task = Task {
        default_batch: source.stem().map(str::to_owned),
        source,
        name,
        batch: args.batch.clone(),
        batch_size: survey.batch_size,
        sink,
    };
    let mut display = Display::new(screen.bar(survey.named), screen.clone(), settings.projects.clone());
    let report = generate::run(settings, task, clock, &mut |progress| display.show(progress)).await;
    display.bar.finish_and_clear();
    let report = report?;
    let proof = simulated.as_ref().map(|simulated| Proof::of(&simulated.account()));
    drop(simulated);
    let text = summary::text(&Shown { report: &report, proof, file: &args.file, out: args.out.as_deref() });
    if is_told {
        write!(io::stdout(), "\n{text}")?;
    } else {
        drop(write!(io::stderr(), "{text}"));
    }
    outcome(report)
}

fn outcome(report: Report) -> anyhow::Result<Outcome> {
    match report.end {
        End::Stuck(stuck) => Err(StuckError(stuck).into()),
        End::Interrupted => Ok(Outcome::Interrupted),
        End::NobodyReads => Ok(Outcome::Incomplete),
        End::Done => Ok(if summary::is_complete(&report) { Outcome::Done } else { Outcome::Incomplete }),
    }
}

/// The name of a file in the ledger: the same however it is reached.
fn name_of(file: &Path) -> String {
    if file == Path::new("-") {
        return "-".to_owned();
    }
    let path = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    path.display().to_string()
}

/// What is seen while it works: the bar, and what is said beside it.
struct Display {
    bar: ProgressBar,
    screen: Screen,
    /// Alias → project id.
    projects: BTreeMap<String, String>,
    since: Instant,
    /// Briefs that had ended when it first looked.
    before: Option<u64>,
    /// Since when the API cannot be reached.
    unreachable: Option<Instant>,
    /// What was said, and is not said again.
    said: BTreeSet<String>,
}

impl Display {
    fn new(bar: ProgressBar, screen: Screen, projects: BTreeMap<String, String>) -> Self {
        Self {
            bar,
            screen,
            projects,
            since: Instant::now(),
            before: None,
            unreachable: None,
            said: BTreeSet::new(),
        }
    }

    fn show(&mut self, progress: &Progress) {
        if progress.stopping {
            self.bar.set_message("stopping in order; Ctrl-C again ends at once");
            return;
        }
        let ended = count(progress.states.total() - progress.states.open());
        let before = *self.before.get_or_insert(ended);
        self.bar.set_position(ended);
        let length = self.bar.length().unwrap_or(0);
        let left = length.saturating_sub(ended);
        self.bar.set_message(message(progress, ended.saturating_sub(before), left, self.since.elapsed()));
        self.say_trouble(progress);
    }

    /// What the bar has no room for, once each.
    fn say_trouble(&mut self, progress: &Progress) {
        let mut troubles = Vec::new();
        // What only a person can lift ends the command, which says so then.
        for hold in progress.holds.iter().filter(|hold| !Stuck::is_of(hold)) {
            let project = Projects(&self.projects).name(hold.scope.project());
            // As of its beginning, so that it stays the same sentence.
            troubles.push(format!("starts are held: {}", hold.sentence(project, None, hold.since_ms)));
        }
        if let Some(why) = &progress.unwritable {
            troubles.push(format!("records cannot be written: {why}; trying again until they can"));
        }
        match &progress.unreachable {
            None => self.unreachable = None,
            Some(why) if self.unreachable.get_or_insert_with(Instant::now).elapsed() > UNREACHABLE_AFTER => {
                troubles.push(format!("the API cannot be reached ({why}); trying again until it can"));
            }
            Some(_) => {}
        }
        for trouble in troubles {
            if self.said.len() < SAID_MAX && self.said.insert(trouble.clone()) {
                self.screen.say(&trouble);
            }
        }
    }
}

/// The words behind the bar: `done, 8 running, 1 failed, 3/s, 10 s left`.
fn message(progress: &Progress, ended: u64, left: u64, time: Duration) -> String {
    let states = &progress.states;
    let mut words = vec!["done".to_owned()];
    let mut counted = |n: i64, word: &str| {
        if n > 0 {
            words.push(format!("{n} {word}"));
        }
    };
    counted(states.get(BriefState::Running) + states.get(BriefState::Submitting), "running");
    counted(states.not_completed(), "not completed");
    counted(states.get(BriefState::Parked), "parked");
    if let Some(hold) = progress.holds.first() {
        words.push(format!("held: {}", reason(hold)));
    } else if let Some(pace) = pace(ended, time) {
        words.push(pace);
        let per_brief = time / u32::try_from(ended).unwrap_or(u32::MAX).max(1);
        let left = per_brief.saturating_mul(u32::try_from(left).unwrap_or(u32::MAX));
        words.push(format!("{} left", how_long(left)));
    } else {
        words.push(how_long(time));
    }
    words.join(", ").replacen("done,", "done ", 1)
}

fn reason(hold: &Hold) -> String {
    let target = match &hold.scope {
        HoldScope::Account => return hold.reason.clone(),
        HoldScope::Project(id) => id,
        HoldScope::Batch { batch, .. } => batch,
    };
    format!("{} ({target})", hold.reason)
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
