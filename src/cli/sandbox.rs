//! `briefd sandbox`: serves the Layers API simulator.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::sandbox::{ContainerIds, Fault, Options, Sandbox, Tier};

/// How long open requests may take after a signal.
const GRACE: Duration = Duration::from_secs(2);

/// Serve a simulator of the Layers API: nothing it makes is real, nothing costs money.
///
/// Example: briefd sandbox --speed 20 --fault accepted-unanswered=0.1
#[derive(Clone, Debug, clap::Args)]
pub struct SandboxArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8600")]
    pub listen: SocketAddr,
    /// API seconds that pass in one real second
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub speed: f64,
    /// Everything random follows from it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Rate limits: standard, pilot, partner or unlimited
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
    /// Credits at the start; default: they never end
    #[arg(long, value_name = "N")]
    pub credits: Option<u64>,
    /// Most jobs that may run at once; default: no cap
    #[arg(long, value_name = "N")]
    pub running_cap: Option<u64>,
    /// A fault and how often it strikes, such as accepted-reset=0.05; repeatable; an unknown name lists all
    #[arg(long = "fault", value_name = "NAME=SHARE", value_parser = parse_fault)]
    pub faults: Vec<(Fault, f64)>,
    /// How late a slow answer is, API seconds
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    pub slow_seconds: f64,
    /// How long each start is being served, API seconds
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    pub start_seconds: f64,
    /// How long a start whose answer was lost still counts as being served, API seconds
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    pub in_flight_seconds: f64,
    /// Two overlapping POSTs of one key make two jobs
    #[arg(long)]
    pub overlap_makes_two: bool,
    /// Form of the first container's id when the caller sent one: ours, cnt-alias or cnt-only
    #[arg(long, value_name = "FORM", default_value = "ours")]
    pub container_ids: ContainerIds,
    /// Answer starts in the short form, which names the first container only
    #[arg(long)]
    pub first_container_only: bool,
    /// How far the list lags behind, API seconds
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    pub list_lag_seconds: f64,
    /// Decide anew about a start that was refused for lack of credits, instead of replaying the refusal
    #[arg(long)]
    pub forget_billing_refusals: bool,
    /// Answer whoami and credits with 404, like older deployments
    #[arg(long)]
    pub no_account_endpoints: bool,
    /// A project that exists; repeatable; default: every project does
    #[arg(long = "project", value_name = "ID")]
    pub projects: Vec<String>,
    /// A project with two layers; repeatable
    #[arg(long = "two-layers", value_name = "PROJECT")]
    pub two_layers: Vec<String>,
    /// A key that is let in; repeatable; default: one that follows from the seed
    #[arg(long = "api-key", value_name = "KEY")]
    pub api_keys: Vec<String>,
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
    announce(address, sandbox.api_key());
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
    Options {
        seed: args.seed,
        speed: args.speed,
        tier: args.tier,
        api_keys: args.api_keys,
        projects: args.projects,
        two_layers: args.two_layers,
        min_seconds: args.min_seconds,
        max_seconds: args.max_seconds,
        fail_share: args.fail_share,
        partial_share: args.partial_share,
        refuse_share: args.refuse_share,
        credits: args.credits,
        running_cap: args.running_cap,
        faults: args.faults.into_iter().collect(),
        slow_seconds: args.slow_seconds,
        start_seconds: args.start_seconds,
        in_flight_seconds: args.in_flight_seconds,
        overlap_makes_two: args.overlap_makes_two,
        container_ids: args.container_ids,
        names_first_container_only: args.first_container_only,
        list_lag_seconds: args.list_lag_seconds,
        replay_billing: !args.forget_billing_refusals,
        serves_account_endpoints: !args.no_account_endpoints,
        ..Options::default()
    }
}

#[expect(clippy::print_stdout, reason = "the result of the command: where the sandbox is and how to try it")]
fn announce(address: SocketAddr, key: &str) {
    println!("sandbox of the Layers API on http://{address}");
    println!("key: {key}");
    println!("account: http://{address}/_sandbox/account");
    println!(
        "try: curl -sS -X POST http://{address}/v1/projects/demo/content -H 'X-Api-Key: {key}' \
         -H 'Idempotency-Key: try-1' -H 'Content-Type: application/json' -d '{{\"brief\":{{\"topic\":\"Morning runs\"}}}}'"
    );
}

fn parse_fault(text: &str) -> Result<(Fault, f64), String> {
    let (name, share) = text.split_once('=').ok_or("write it as NAME=SHARE, such as accepted-reset=0.05")?;
    let fault = name.parse::<Fault>().map_err(|error| error.to_string())?;
    let share = share.parse().map_err(|_| format!("`{share}` is not a number between 0 and 1"))?;
    Ok((fault, share))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: SandboxArgs,
    }

    fn parse(args: &[&str]) -> Result<SandboxArgs, clap::Error> {
        Command::try_parse_from([&["sandbox"], args].concat()).map(|command| command.args)
    }

    #[test]
    fn flags_become_options_and_an_unknown_fault_lists_all() {
        let args = parse(&["--fault", "slow=0.5", "--fault", "cut-json=0.1", "--container-ids", "cnt-only"])
            .unwrap();
        let options = options(args);
        assert_eq!(options.faults, [(Fault::Slow, 0.5), (Fault::CutJson, 0.1)].into());
        assert_eq!((options.tier, options.container_ids), (Tier::Standard, ContainerIds::CntOnly));
        let error = parse(&["--fault", "slowly=0.5"]).unwrap_err().to_string();
        assert!(error.contains("unknown fault `slowly`; known: accepted-unanswered, "), "{error}");
    }

    #[tokio::test]
    async fn a_busy_port_is_a_clear_error_of_one_line() {
        let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = busy.local_addr().unwrap();
        let error = run(parse(&["--listen", &address.to_string()]).unwrap()).await.unwrap_err();
        let expected =
            format!("the sandbox cannot listen on {address}; choose another address with --listen");
        assert_eq!(error.to_string(), expected);
    }
}
