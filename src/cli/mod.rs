//! The command line: one file per command.
//!
//! Results go to standard output, everything else to standard error. A command returns an [`Outcome`] or an error;
//! [`run`] maps both to the exit codes that the README promises.

#![expect(clippy::doc_markdown, reason = "doc comments of arguments are the help texts people read")]

pub mod cancel;
mod color;
pub mod config;
pub mod dead_letters;
pub mod doctor;
pub mod enqueue;
pub mod generate;
pub mod hold;
pub mod ledger;
pub mod list;
pub mod man;
mod names;
mod progress;
mod question;
mod quote;
pub mod reconcile;
pub mod records;
pub mod rerun;
pub mod resolve;
pub mod sandbox;
pub mod schema;
pub mod show;
pub mod status;
mod table;
#[cfg(test)]
mod tests;
mod times;
pub mod topology;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::progress::Screen;
use crate::app;
use crate::config::{ConfigErrors, Inputs, Loaded, Shown, load};
use crate::files::FileError;
use crate::telemetry::logging;

/// A queue-driven batch generation worker for the Layers content API: briefs in, container records out; nothing
/// bought twice, nothing lost.
#[derive(Debug, clap::Parser)]
#[command(name = "briefd", version, max_term_width = 100, propagate_version = false)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// Settings file (also: $BRIEFD_CONFIG)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// The ledger, instead of ledger.url: a path, or sqlite://PATH
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    ledger: Option<String>,
    /// How log lines look: text or json
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Global options")]
    log_format: Option<String>,
    /// Answer every question with yes
    #[arg(long, global = true, help_heading = "Global options")]
    yes: bool,
    /// Say more; twice: say everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The worker: RabbitMQ in, RabbitMQ out, until SIGTERM or SIGINT
    #[command(after_help = "Example:\n  briefd run --config /etc/briefd.toml")]
    Run,
    Generate(generate::GenerateArgs),
    Enqueue(enqueue::EnqueueArgs),
    Status(status::StatusArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Records(records::RecordsArgs),
    Rerun(rerun::RerunArgs),
    Hold(hold::HoldArgs),
    Release(hold::ReleaseArgs),
    Resolve(resolve::ResolveArgs),
    Cancel(cancel::CancelArgs),
    DeadLetters(dead_letters::DeadLettersArgs),
    Reconcile(reconcile::ReconcileArgs),
    Ledger(ledger::LedgerArgs),
    Topology(topology::TopologyArgs),
    Doctor(doctor::DoctorArgs),
    Sandbox(Box<sandbox::SandboxArgs>),
    /// Show every setting, its value and where it comes from; secrets are redacted
    Config(config::ConfigArgs),
    /// Print the JSON Schema of the brief message, of the record, or of briefd status --json
    Schema(schema::SchemaArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  briefd completions bash > /etc/bash_completion.d/briefd")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    Man(man::ManArgs),
}

impl Command {
    /// What is logged by a command that tells a person itself what happens: `generate` also says in its own words what
    /// it waits for, and counts at the end what went wrong on the way.
    const fn quiet_level(&self) -> Option<&'static str> {
        if matches!(self, Self::Run | Self::Sandbox(_)) {
            None
        } else if matches!(self, Self::Generate(_)) {
            Some("error")
        } else {
            Some("warn")
        }
    }
}

/// Logs no more than `level`, unless somebody set one.
fn quieten(loaded: &mut Loaded, level: &str) {
    let is_set = |shown: &Shown| shown.key == "log.level" && shown.origin != "default";
    if !loaded.values.iter().any(is_set) {
        level.clone_into(&mut loaded.settings.log.level);
    }
}

/// How a command ended that did what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done: exit code 0.
    Done,
    /// Done, but something did not complete, or differs: exit code 1.
    Incomplete,
    /// Looked, and the settings are wrong: exit code 3.
    WrongSettings,
    /// Looked, and something that is needed is not there or refuses: exit code 4.
    Unavailable,
    /// Interrupted by the user; the same command goes on: exit code 130.
    Interrupted,
}

impl Outcome {
    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Incomplete => 1,
            Self::WrongSettings => 3,
            Self::Unavailable => 4,
            Self::Interrupted => 130,
        }
    }
}

/// Wrong usage that only shows once the data is looked at: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The whole command line: what completions, manual pages and tests are made from.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line, runs the command, and maps how it ended to an exit code: 0 done; 1 done, but something did
/// not complete; 2 wrong usage; 3 bad settings or an input file that cannot be read; 4 a dependency could not be
/// reached or refused, or the worker lock is taken; 130 `generate` interrupted.
pub fn run() -> ExitCode {
    let _armed = crate::crash_point::arm();
    let cli = Cli::parse();
    match carry_out(cli) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let code = exit_code(&error);
            drop(writeln!(std::io::stderr(), "briefd: {}", one_line(&error)));
            ExitCode::from(code)
        }
    }
}

fn carry_out(cli: Cli) -> anyhow::Result<Outcome> {
    let mut out = std::io::stdout().lock();
    match &cli.command {
        Command::Schema(args) => return schema::run(args, &mut out).map(|()| Outcome::Done),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut command(), "briefd", &mut out);
            return Ok(Outcome::Done);
        }
        Command::Man(args) => return man::run(args, command(), &mut out).map(|()| Outcome::Done),
        Command::Run
        | Command::Generate(_)
        | Command::Enqueue(_)
        | Command::Status(_)
        | Command::List(_)
        | Command::Show(_)
        | Command::Records(_)
        | Command::Rerun(_)
        | Command::Hold(_)
        | Command::Release(_)
        | Command::Resolve(_)
        | Command::Cancel(_)
        | Command::DeadLetters(_)
        | Command::Reconcile(_)
        | Command::Ledger(_)
        | Command::Topology(_)
        | Command::Doctor(_)
        | Command::Sandbox(_)
        | Command::Config(_) => {}
    }
    drop(out);
    let mut loaded = match (load(&cli.global.inputs()), &cli.command) {
        (Ok(loaded), _) => loaded,
        (Err(errors), Command::Doctor(args)) => {
            return doctor::without(args, &errors, &mut std::io::stdout());
        }
        (Err(errors), _) => return Err(errors.into()),
    };
    let screen = Screen::default();
    if let Some(level) = cli.command.quiet_level() {
        quieten(&mut loaded, level);
    }
    logging::init(&loaded.settings.log, cli.global.verbose, screen.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(asynchronous(cli.command, cli.global.yes, loaded, screen));
    // A blocking thread that hangs must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

async fn asynchronous(
    command: Command,
    yes: bool,
    loaded: Loaded,
    screen: Screen,
) -> anyhow::Result<Outcome> {
    let clock = crate::clock::Clock::system();
    match command {
        Command::Run => {
            loaded.settings.require_api_key()?;
            app::run::run(loaded.settings).await?;
            Ok(Outcome::Done)
        }
        Command::Generate(args) => generate::run(args, loaded.settings, yes, screen).await,
        Command::Enqueue(args) => {
            enqueue::run(args, &loaded.settings, &clock, screen, &mut std::io::stdout()).await
        }
        Command::Sandbox(args) => sandbox::run(*args).await.map(|()| Outcome::Done),
        Command::Status(args) => status::run(args, &loaded.settings, &clock, &mut std::io::stdout()).await,
        Command::List(args) => list::run(args, &loaded.settings, &clock, &mut std::io::stdout()).await,
        Command::Show(args) => show::run(args, &loaded.settings, &clock, &mut std::io::stdout()).await,
        Command::Records(args) => {
            records::run(args, &loaded.settings, (&clock, yes), &mut std::io::stdout()).await
        }
        Command::Rerun(args) => {
            rerun::run(args, &loaded.settings, (&clock, screen), yes, &mut std::io::stdout()).await
        }
        Command::Hold(args) => hold::hold(args, &loaded.settings, &mut std::io::stdout()).await,
        Command::Release(args) => hold::release(args, &loaded.settings, &mut std::io::stdout()).await,
        Command::Resolve(args) => resolve::run(args, &loaded.settings, yes, &mut std::io::stdout()).await,
        Command::Cancel(args) => cancel::run(args, &loaded.settings, yes, &mut std::io::stdout()).await,
        Command::Reconcile(args) => {
            reconcile::run(args, &loaded.settings, (&clock, screen), &mut std::io::stdout()).await
        }
        Command::DeadLetters(args) => {
            dead_letters::run(args, &loaded.settings, yes, &mut std::io::stdout()).await
        }
        Command::Ledger(args) => ledger::run(args, &loaded.settings, &clock, &mut std::io::stdout()).await,
        Command::Topology(args) => {
            let code = topology::run(args, &loaded.settings, &mut std::io::stdout()).await?;
            Ok(if code == 0 { Outcome::Done } else { Outcome::Incomplete })
        }
        Command::Doctor(args) => doctor::run(args, &loaded, &clock, &mut std::io::stdout()).await,
        Command::Config(args) => {
            config::run(&args, &loaded, &mut std::io::stdout().lock()).map(|()| Outcome::Done)
        }
        Command::Schema(_) | Command::Completions { .. } | Command::Man(_) => Ok(Outcome::Done),
    }
}

impl Global {
    fn inputs(&self) -> Inputs {
        let mut flags = Vec::new();
        if let Some(ledger) = &self.ledger {
            let url =
                if ledger.starts_with("sqlite:") { ledger.clone() } else { format!("sqlite://{ledger}") };
            flags.push(("ledger.url".to_owned(), url));
        }
        if let Some(format) = &self.log_format {
            flags.push(("log.format".to_owned(), format.clone()));
        }
        Inputs::from_process(self.config.clone(), flags)
    }
}

/// The exit code that an error stands for.
fn exit_code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<UsageError>().is_some() {
        2
    } else if error.chain().any(|cause| {
        cause.is::<ConfigErrors>()
            || cause.is::<FileError>()
            || cause.is::<app::rerun::PatchError>()
            || cause.is::<logging::LoggingError>()
    }) {
        3
    } else {
        4
    }
}

/// The error and its causes; a cause that its parent already tells is not repeated. `ConfigErrors` keep their lines.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
