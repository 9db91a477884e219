//! `briefd topology`: what the broker has and what it should have.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;

use crate::broker::topology::{Depth, Finding, State, check, declare, definitions};
use crate::broker::{Purpose, connect};
use crate::config::Settings;

/// How long saying goodbye to the broker may take.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Show what the broker has and should have, or create it.
///
/// Looks at the exchanges and queues of the amqp settings and says what is missing or differs, and how to mend it. Nothing is
/// changed without --declare. Bindings cannot be asked for over AMQP and are not shown; --declare makes them.
///
/// Exit code: 0 all is as it should be, 1 something is missing or differs, 4 the broker cannot be reached.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "Examples:\n  briefd topology\n  briefd topology --declare\n  \
                        briefd topology --definitions > briefd.json   # for rabbitmqctl import_definitions")]
pub struct TopologyArgs {
    /// Create what is missing, bindings included
    #[arg(long, conflicts_with = "definitions")]
    pub declare: bool,
    /// Print the same as RabbitMQ definitions (JSON); asks no broker
    #[arg(long, visible_alias = "json")]
    pub definitions: bool,
}

/// Carries the command out and returns its exit code, 0 or 1. An unreachable broker is a `ConnectError` in the
/// chain, a refused `--declare` a `TopologyError`.
pub async fn run(
    args: TopologyArgs,
    settings: &Settings,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<u8> {
    let mut amqp = settings.amqp.clone();
    if args.definitions {
        writeln!(out, "{:#}", definitions(&amqp)).context("cannot write the definitions")?;
        return Ok(0);
    }
    let connection = connect(&amqp, Purpose::Inspect).await?;
    if args.declare {
        // Asked for by hand: it goes before the setting.
        amqp.declare = true;
        let declared = declare(&connection, &amqp).await;
        if declared.is_err() {
            connection.close(CLOSE_LIMIT).await;
        }
        declared?;
    }
    let findings = check(&connection, &amqp).await;
    connection.close(CLOSE_LIMIT).await;
    out.write_all(table(&amqp.address, &findings).as_bytes()).context("cannot write the table")?;
    Ok(u8::from(findings.iter().any(|finding| is_trouble(&finding.state))))
}

fn is_trouble(state: &State) -> bool {
    match state {
        State::Same | State::Exists(_) => false,
        State::Missing | State::Differs(_) | State::Unknown(_) => true,
    }
}

/// One line for each exchange and queue, a second one where something is to be done.
fn table(address: &str, findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.object.chars().count()).max().unwrap_or(0);
    let mut lines = vec![format!("RabbitMQ at {address}\n")];
    for Finding { object, setting, wanted, state, depth } in findings {
        let (word, advice) = match state {
            State::Same => ("ok", None),
            State::Missing => ("missing", Some(format!("create it with --declare, or correct {setting}"))),
            State::Differs(difference) => {
                let advice = format!(
                    "{difference};\n      delete it when it is empty and unused, or give {setting} a new name"
                );
                ("differs", Some(advice))
            }
            State::Exists(why) => ("exists", Some(why.clone())),
            State::Unknown(why) => ("unknown", Some(why.clone())),
        };
        lines.push(format!("  {word:<8} {object:<width$}  {wanted}{}", waiting(*depth)));
        lines.extend(advice.map(|advice| format!("      {advice}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn waiting(depth: Option<Depth>) -> String {
    let Some(Depth { messages, consumers }) = depth else { return String::new() };
    format!(", {messages} waiting, {consumers} consumer{}", if consumers == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::topology::Difference;

    #[test]
    fn the_table_names_what_differs_and_how_to_mend_it() {
        let difference =
            Difference { argument: "x-delivery-limit".into(), ours: "100".into(), theirs: "20".into() };
        let findings = [
            Finding {
                object: r#"exchange "containers""#.into(),
                setting: "amqp.output.exchange",
                wanted: "topic".into(),
                state: State::Missing,
                depth: None,
            },
            Finding {
                object: r#"queue "briefs""#.into(),
                setting: "amqp.input.queue",
                wanted: "quorum, delivery limit 100".into(),
                state: State::Differs(difference),
                depth: Some(Depth { messages: 3, consumers: 1 }),
            },
        ];
        let text = table("127.0.0.1:5672/", &findings);
        insta::assert_snapshot!(text, @r#"
        RabbitMQ at 127.0.0.1:5672/

          missing  exchange "containers"  topic
              create it with --declare, or correct amqp.output.exchange
          differs  queue "briefs"         quorum, delivery limit 100, 3 waiting, 1 consumer
              x-delivery-limit = 20 at the broker, briefd needs 100;
              delete it when it is empty and unused, or give amqp.input.queue a new name
        "#);
    }
}
