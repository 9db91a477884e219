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
    assert_eq!((options.key_hours, options.read_lag_seconds, options.forgets_ids), (24.0, 0.0, false));
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

#[test]
fn keys_scopes_and_budgets_are_read_as_they_are_documented() {
    let args = parse(&[
        "--api-key",
        "one=org_a",
        "--scope",
        "jobs:read",
        "--project-credits",
        "a=b=600",
        "--checks",
        "rate,scope,kill-switch",
        "--revision",
        "b",
    ]);
    let options = options(args.unwrap());
    assert_eq!(options.api_keys, ["one=org_a"]);
    assert_eq!(options.scopes, ["jobs:read"]);
    assert_eq!(options.project_credits, [("a=b".to_owned(), 600)].into());
    assert_eq!(options.checks, [Check::Rate, Check::Scope, Check::KillSwitch]);
    assert_eq!(options.revision, Revision::B);
    assert!(parse(&["--project-credits", "600"]).unwrap_err().to_string().contains("PROJECT=N"));
    assert!(parse(&["--checks", "rate,rate,scope"]).unwrap_err().to_string().contains("each once"));
}

#[tokio::test]
async fn an_unknown_scope_and_an_empty_key_are_said_before_anything_is_served() {
    for (args, said) in [
        (["--scope", "content:delete"], "unknown scope `content:delete`; known: content:read, "),
        (["--api-key", "=org_a"], "must be written as KEY or KEY=ORGANIZATION"),
    ] {
        let error = run(parse(&args).unwrap()).await.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn no_flags_mean_the_defaults() {
    let (flags, defaults) = (options(parse(&[]).unwrap()), Options::default());
    // A person gets the limits that the API has; a test gets none.
    assert_eq!(flags.tier, Tier::Standard);
    assert_eq!(format!("{:?}", Options { tier: defaults.tier, ..flags }), format!("{defaults:?}"));
}

#[test]
fn every_flag_and_its_default_stand_in_the_reference() {
    let documented: Vec<_> = include_str!("../../sandbox/reference.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `--")?.split_once("` | "))
        .map(|(flag, rest)| (flag.to_owned(), rest.split(" |").next().unwrap_or("").replace('`', "")))
        .collect();
    let command = <Command as clap::CommandFactory>::command();
    let flags: Vec<_> = command.get_arguments().filter_map(|flag| Some((flag.get_long()?, flag))).collect();
    assert_eq!(
        documented.iter().map(|(flag, _)| flag.as_str()).collect::<Vec<_>>(),
        flags.iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
    for ((name, documented), (_, flag)) in documented.iter().zip(&flags) {
        let default = flag.get_default_values().first().and_then(|default| default.to_str());
        if flag.get_action().takes_values() {
            assert!(default.is_none_or(|default| default == documented), "--{name}: {default:?}");
        } else {
            assert_eq!(documented, "off", "--{name}");
        }
    }
}

#[test]
fn the_long_help_names_every_fault_and_gives_an_example() {
    let help = <Command as clap::CommandFactory>::command().render_long_help().to_string();
    for fault in Fault::ALL {
        assert!(help.contains(&format!("  {} ", fault.name())), "{}", fault.name());
    }
    assert!(help.contains("Example:\n  briefd sandbox --speed 20"), "{help}");
}

#[test]
fn the_command_to_try_is_one_line_in_a_pipe_and_fits_a_terminal_of_80_columns() {
    let address = "127.0.0.1:8600".parse().unwrap();
    let key = Options::default_key(0);
    let piped = announcement(address, &key, None);
    let lines: Vec<_> = piped.lines().collect();
    assert_eq!(lines[0], "sandbox of the Layers API on http://127.0.0.1:8600");
    assert_eq!(lines[1], format!("key: {key}"));
    assert_eq!(lines[2], "account: http://127.0.0.1:8600/_sandbox/account");
    assert_eq!(lines[3], "openapi: http://127.0.0.1:8600/openapi.json");
    assert!(lines[4].starts_with("try: curl ") && lines.len() == 5, "{piped}");

    let narrow = announcement(address, &key, Some(80));
    assert!(narrow.lines().all(|line| line.len() <= 80), "{narrow}");
    // A shell reads both as the same words.
    let words = |text: &str| {
        let command = text.split_once("try:").unwrap().1.trim_start().replacen("curl", "printf '%s\\n'", 1);
        let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        let mut words: Vec<_> =
            String::from_utf8(output.stdout).unwrap().lines().map(|word| word.replace(": ", ":")).collect();
        words.sort();
        words
    };
    assert_eq!(words(&narrow), words(&piped));
}
