//! Flags, help and what is said at the start.

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
    let args =
        parse(&["--fault", "slow=0.5", "--fault", "cut-json=0.1", "--container-ids", "cnt-only"]).unwrap();
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
    let expected = format!("the sandbox cannot listen on {address}; choose another address with --listen");
    assert_eq!(error.to_string(), expected);
}
