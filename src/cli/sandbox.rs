//! `briefd sandbox`: serves the Layers API simulator.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::sandbox::{Check, ContainerIds, Fault, Options, Revision, Sandbox, Tier};

/// How long open requests may take after a signal.
const GRACE: Duration = Duration::from_secs(2);

/// Serve a simulator of the Layers API: nothing it makes is real, nothing costs money.
///
/// While it runs: GET /_sandbox/account tells what it made and was asked, PUT changes credits, keys and switches;
/// PUT /_sandbox/faults changes the faults; GET /openapi.json describes the API. The request header
/// X-Sandbox-Fault: NAME strikes one request, metadata.sandbox in a brief decides that brief's fate.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  briefd sandbox --speed 20 --fault accepted-unanswered=0.1\n\nAll faults: briefd sandbox --help",
    after_long_help = after_long_help()
)]
pub struct SandboxArgs {
    /// Where to listen; port 0: any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8600")]
    pub listen: SocketAddr,
    /// API seconds that pass in one real second
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub speed: f64,
    /// Everything random follows from it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Rate limits of each key: standard, pilot, partner or unlimited
    #[arg(long, default_value = "standard")]
    pub tier: Tier,
    /// Shortest generation, API seconds
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    pub min_seconds: f64,
    /// Longest generation, API seconds
    #[arg(long, value_name = "N", default_value_t = 180.0)]
    pub max_seconds: f64,
    /// Share of jobs that fail, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub fail_share: f64,
    /// Share of jobs of several variants of which some fail and others complete
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub partial_share: f64,
    /// Share of briefs that are refused
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub refuse_share: f64,
    /// A fault and how often it strikes, such as accepted-reset=0.05; repeatable
    #[arg(long = "fault", value_name = "NAME=SHARE", value_parser = parse_fault)]
    pub faults: Vec<(Fault, f64)>,
    /// How late a slow answer is, API seconds
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    pub slow_seconds: f64,
    /// A key that is let in; repeatable; default: one that follows from the seed
    #[arg(long = "api-key", value_name = "KEY[=ORGANIZATION]", help_heading = "Account")]
    pub api_keys: Vec<String>,
    /// The organization of the keys that name none
    #[arg(long, value_name = "ID", default_value = "org_sandbox", help_heading = "Account")]
    pub organization: String,
    /// A scope that the keys have; repeatable; default: all four
    #[arg(long = "scope", value_name = "SCOPE", help_heading = "Account")]
    pub scopes: Vec<String>,
    /// Credits of each organization at the start; default: they never end
    #[arg(long, value_name = "N", help_heading = "Account")]
    pub credits: Option<u64>,
    /// A project with a budget of its own, in credits; repeatable
    #[arg(long = "project-credits", value_name = "PROJECT=N", value_parser = parse_budget, help_heading = "Account")]
    pub project_credits: Vec<(String, u64)>,
    /// Most jobs of one organization that may run at once; default: no cap
    #[arg(long, value_name = "N", help_heading = "Account")]
    pub running_cap: Option<u64>,
    /// A project that exists; repeatable; default: every project does
    #[arg(long = "project", value_name = "ID", help_heading = "Account")]
    pub projects: Vec<String>,
    /// A project with two layers: starts must name one; repeatable
    #[arg(long = "two-layers", value_name = "PROJECT", help_heading = "Account")]
    pub two_layers: Vec<String>,
    /// New containers wait for approval
    #[arg(long, help_heading = "Account")]
    pub approval_required: bool,
    /// How long each start is being served, API seconds
    #[arg(long, value_name = "N", default_value_t = 0.0, help_heading = SILENT)]
    pub start_seconds: f64,
    /// How long a start whose answer was lost still counts as being served, API seconds
    #[arg(long, value_name = "N", default_value_t = 0.0, help_heading = SILENT)]
    pub in_flight_seconds: f64,
    /// Two overlapping POSTs of one key make two jobs
    #[arg(long, help_heading = SILENT)]
    pub overlap_makes_two: bool,
    /// Form of the first container's id when the caller sent one: ours, cnt-alias or cnt-only
    #[arg(long, value_name = "FORM", default_value = "ours", help_heading = SILENT)]
    pub container_ids: ContainerIds,
    /// Answer starts in the short form, which names the first container only
    #[arg(long, help_heading = SILENT)]
    pub first_container_only: bool,
    /// How far the list lags behind, API seconds
    #[arg(long, value_name = "N", default_value_t = 0.0, help_heading = SILENT)]
    pub list_lag_seconds: f64,
    /// How long reads of a new container are 404, API seconds
    #[arg(long, value_name = "N", default_value_t = 0.0, help_heading = OTHERWISE)]
    pub read_lag_seconds: f64,
    /// How long an Idempotency-Key is remembered, API hours
    #[arg(long, value_name = "N", default_value_t = 24.0, help_heading = OTHERWISE)]
    pub key_hours: f64,
    /// Do not know a body id again: a second start with it makes new containers
    #[arg(long, help_heading = OTHERWISE)]
    pub forget_ids: bool,
    /// Decide anew about a start that was refused for lack of credits, instead of replaying the refusal
    #[arg(long, help_heading = SILENT)]
    pub forget_billing_refusals: bool,
    /// Decide anew about every start that was refused: only accepted ones are replayed
    #[arg(long, help_heading = SILENT)]
    pub forget_refusals: bool,
    /// Order of the checks after authentication
    #[arg(long, value_name = "ORDER", default_value = "kill-switch,scope,rate", value_parser = Check::parse_order, help_heading = SILENT)]
    pub checks: [Check; 3],
    /// Validate a body before its Idempotency-Key is looked up
    #[arg(long, help_heading = SILENT)]
    pub validate_first: bool,
    /// Answer whoami with 503, too, while the organization is switched off
    #[arg(long, help_heading = SILENT)]
    pub kill_switch_everywhere: bool,
    /// Answer whoami and credits with 404, like older deployments
    #[arg(long, help_heading = SILENT)]
    pub no_account_endpoints: bool,
    /// Assets in records are called id, not assetId
    #[arg(long, help_heading = SILENT)]
    pub asset_ids_as_id: bool,
    /// Revision of the documentation: a or b (bearer only, VALIDATION, processing)
    #[arg(long, default_value = "a", help_heading = SILENT)]
    pub revision: Revision,
}

/// The heading of all switches for what the reference does not say.
const SILENT: &str = "Where the reference is silent";

/// The heading of the switches that break what the reference says.
const OTHERWISE: &str = "Other than the reference says";

fn after_long_help() -> String {
    let faults = Fault::ALL.iter().map(|fault| format!("  {:<26}{}\n", fault.name(), fault.meaning()));
    format!(
        "Faults:\n{}\nExample:\n  briefd sandbox --speed 20 --fault accepted-unanswered=0.1",
        faults.collect::<String>()
    )
}

/// Serves until SIGINT or SIGTERM.
pub async fn run(args: SandboxArgs) -> anyhow::Result<()> {
    let listen = args.listen;
    let options = options(args);
    options.check()?;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("the sandbox cannot listen on {listen}; choose another address with --listen")
    })?;
    let address = listener.local_addr().context("the sandbox's own address cannot be read")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("SIGINT cannot be awaited")?;
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM cannot be awaited")?;
    let sandbox = Sandbox::new(options, Clock::system());
    announce(&announcement(address, sandbox.api_key(), terminal_width()));
    let stop = CancellationToken::new();
    let served = sandbox.serve(listener, stop.clone().cancelled_owned());
    tokio::pin!(served);
    tokio::select! {
        outcome = &mut served => return outcome.context("the sandbox stopped serving"),
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    stop.cancel();
    match tokio::time::timeout(GRACE, served).await {
        Ok(outcome) => outcome.context("the sandbox stopped serving"),
        // Who is still waiting for an answer loses it, as with any server that is stopped.
        Err(_) => Ok(()),
    }
}

fn options(args: SandboxArgs) -> Options {
    let defaults = Options::default();
    Options {
        seed: args.seed,
        speed: args.speed,
        tier: args.tier,
        api_keys: args.api_keys,
        organization_id: args.organization,
        scopes: if args.scopes.is_empty() { defaults.scopes } else { args.scopes },
        projects: args.projects,
        two_layers: args.two_layers,
        min_seconds: args.min_seconds,
        max_seconds: args.max_seconds,
        fail_share: args.fail_share,
        partial_share: args.partial_share,
        refuse_share: args.refuse_share,
        credits: args.credits,
        project_credits: args.project_credits.into_iter().collect(),
        running_cap: args.running_cap,
        approval_required: args.approval_required,
        faults: args.faults.into_iter().collect(),
        slow_seconds: args.slow_seconds,
        start_seconds: args.start_seconds,
        in_flight_seconds: args.in_flight_seconds,
        overlap_makes_two: args.overlap_makes_two,
        container_ids: args.container_ids,
        names_first_container_only: args.first_container_only,
        list_lag_seconds: args.list_lag_seconds,
        read_lag_seconds: args.read_lag_seconds,
        key_hours: args.key_hours,
        forgets_ids: args.forget_ids,
        replay_billing: !args.forget_billing_refusals,
        replay_refusals: !args.forget_refusals,
        checks: args.checks,
        validates_first: args.validate_first,
        kill_switch_spares_whoami: !args.kill_switch_everywhere,
        revision: args.revision,
        asset_ids_as_id: args.asset_ids_as_id,
        serves_account_endpoints: !args.no_account_endpoints,
    }
}

/// Says where the sandbox is. Scripts read these lines from a pipe, so each is flushed; that nobody reads them is no
/// reason to stop.
fn announce(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        tracing::debug!(%error, "nobody reads where the sandbox is");
    }
}

/// Columns of the terminal that standard output is, if it is one.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Where the sandbox is, and a command to try: one line, or several that fit the terminal and can be pasted as they are.
fn announcement(address: SocketAddr, key: &str, width: Option<usize>) -> String {
    let (api, sandbox) = (format!("http://{address}/v1"), format!("http://{address}/_sandbox"));
    let body = r#"'{"brief":{"topic":"Morning runs"}}'"#;
    let curl = format!("curl -sS {api}/projects/demo/content");
    let line = format!(
        "try: {curl} -H 'X-Api-Key: {key}' -H 'Idempotency-Key: try-1' -H 'Content-Type: application/json' -d {body}"
    );
    let fits = width.is_none_or(|columns| line.len() <= columns);
    let command = if fits {
        line
    } else {
        // A backslash at the end of a line joins it with the next one, so the key gets a line of its own.
        format!(
            "try:\n{curl} \\\n-H Idempotency-Key:try-1 -H Content-Type:application/json \\\n-d {body} -H X-Api-Key:\\\n{key}"
        )
    };
    format!(
        "sandbox of the Layers API on http://{address}\nkey: {key}\naccount: {sandbox}/account\n\
         openapi: http://{address}/openapi.json\n{command}\n"
    )
}

fn parse_budget(text: &str) -> Result<(String, u64), String> {
    let written = text.rsplit_once('=').filter(|(project, _)| !project.is_empty());
    let (project, credits) = written.ok_or("write it as PROJECT=N, such as spring=600")?;
    let credits = credits.parse().map_err(|_| format!("`{credits}` is not a whole number of credits"))?;
    Ok((project.to_owned(), credits))
}

fn parse_fault(text: &str) -> Result<(Fault, f64), String> {
    let (name, share) = text.split_once('=').ok_or("write it as NAME=SHARE, such as accepted-reset=0.05")?;
    let fault = name.parse::<Fault>().map_err(|error| error.to_string())?;
    let share = share.parse().map_err(|_| format!("`{share}` is not a number between 0 and 1"))?;
    Ok((fault, share))
}

#[cfg(test)]
mod tests;
