//! `briefd doctor`: checks everything and says what to do.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};
use url::Url;

use super::Outcome;
use super::color::{Paint, Tone};
use super::table::{counted, wrap};
use crate::app::doctor::{Check, Mark, Scope, examine, without_settings};
use crate::clock::Clock;
use crate::config::{ConfigErrors, Loaded};

/// Names of checks have at most this many characters.
const NAME_WIDTH: usize = 12;

/// Check everything a worker needs, and say what to do about what is not right
///
/// Settings, API (key, scopes, tier, credits, organization, clock), RabbitMQ (exchanges, queues, who reads them, bindings
/// and rights), ledger, disk and HTTP port. Reads only: it costs nothing, changes nothing, and may be run beside a worker
/// or without one. What cannot be looked at is marked skip.
///
/// Exit code: 0 nothing is wrong, 1 somebody should look at a warning, 3 the settings are wrong, 4 something that is
/// needed is not there or refuses.
#[derive(Args, Debug, Clone)]
#[command(after_help = "\
Examples:
  briefd doctor
  briefd doctor --management http://127.0.0.1:15672   # bindings and rights, too
  briefd doctor --without-broker --json               # before a briefd generate")]
pub struct DoctorArgs {
    /// RabbitMQ's management API; without a user in it, that of amqp.url is used
    #[arg(long, value_name = "URL", value_parser = management)]
    management: Option<Url>,
    /// Leave RabbitMQ out: briefd generate needs none
    #[arg(long, conflicts_with = "management")]
    without_broker: bool,
    /// One JSON document, for programs
    #[arg(long)]
    json: bool,
}

/// Looks at everything and prints what was found.
pub async fn run(
    args: DoctorArgs,
    loaded: &Loaded,
    clock: &Clock,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let scope = Scope { management: args.management, without_broker: args.without_broker };
    print(&examine(loaded, &scope, clock).await, args.json, out)
}

/// Prints what is left to say where the settings cannot be read.
pub fn without(args: &DoctorArgs, errors: &ConfigErrors, out: &mut impl Write) -> anyhow::Result<Outcome> {
    print(&without_settings(errors), args.json, out)
}

fn print(checks: &[Check], json: bool, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let outcome = outcome(checks);
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&document(checks, outcome))?)?;
    } else {
        write!(out, "{}", page(checks, Paint::of_stdout()))?;
    }
    out.flush()?;
    Ok(outcome)
}

/// The worst of them; wrong settings go first, because all else follows from them.
fn outcome(checks: &[Check]) -> Outcome {
    let any = |mark| checks.iter().any(|check| check.mark == mark);
    if any(Mark::BadSettings) {
        Outcome::WrongSettings
    } else if any(Mark::Bad) {
        Outcome::Unavailable
    } else if any(Mark::Warning) {
        Outcome::Incomplete
    } else {
        Outcome::Done
    }
}

fn page(checks: &[Check], paint: Paint) -> String {
    let mut lines: Vec<String> = checks.iter().flat_map(|check| lines_of(check, paint)).collect();
    lines.push(String::new());
    lines.push(sum(checks));
    lines.push(String::new());
    lines.join("\n")
}

fn lines_of(check: &Check, paint: Paint) -> Vec<String> {
    let (word, name) = (check.mark.word(), check.name);
    let tone = match check.mark {
        Mark::Good => Tone::Good,
        Mark::Unchecked => Tone::Faint,
        Mark::Warning => Tone::Warning,
        Mark::BadSettings | Mark::Bad => Tone::Trouble,
    };
    // Wrong settings are told a line each.
    let mut lines = Vec::new();
    for (at, says) in check.says.lines().enumerate() {
        let label = if at == 0 { format!("{word:<4}  {name:<NAME_WIDTH$}  ") } else { " ".repeat(20) };
        lines.extend(wrap(&label, says));
    }
    if let Some(first) = lines.first_mut() {
        *first = paint.tint_start(tone, first, word.len());
    }
    if let Some(mend) = &check.mend {
        lines.extend(wrap(&format!("{:20}-> ", ""), mend));
    }
    lines
}

fn sum(checks: &[Check]) -> String {
    let n = |marks: &[Mark]| {
        i64::try_from(checks.iter().filter(|check| marks.contains(&check.mark)).count()).unwrap_or(i64::MAX)
    };
    let (bad, warnings, unchecked) =
        (n(&[Mark::Bad, Mark::BadSettings]), n(&[Mark::Warning]), n(&[Mark::Unchecked]));
    let mut parts = Vec::new();
    if bad > 0 {
        parts.push(format!("{bad} bad"));
    }
    if warnings > 0 {
        parts.push(counted(warnings, "warning"));
    }
    if parts.is_empty() {
        parts.push("Nothing is wrong".to_owned());
    }
    if unchecked > 0 {
        parts.push(format!("{unchecked} not checked"));
    }
    format!("{} ({})", parts.join(", "), counted(i64::try_from(checks.len()).unwrap_or(i64::MAX), "check"))
}

/// The document. Its fields are part of the contract: they may grow, never change.
fn document(checks: &[Check], outcome: Outcome) -> Value {
    let list = checks.iter().map(|check| {
        json!({
            "group": check.group,
            "name": check.name,
            "mark": check.mark.word(),
            "says": check.says,
            "mend": check.mend,
        })
    });
    json!({ "exitCode": outcome.code(), "checks": list.collect::<Vec<_>>() })
}

/// An address with a host; its password is never repeated.
fn management(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| "give an address such as http://127.0.0.1:15672".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, mark: Mark, says: &str, mend: Option<&str>) -> Check {
        Check { group: "api", name, mark, says: says.to_owned(), mend: mend.map(str::to_owned) }
    }

    fn examples() -> Vec<Check> {
        vec![
            check("settings", Mark::Good, "3 of 58 set, by LAYERS_API_KEY, briefd.toml", None),
            check(
                "key",
                Mark::Bad,
                "is refused: HTTP 401 UNAUTHENTICATED",
                Some("give a valid key: LAYERS_API_KEY, or the file of layers.api_key_file"),
            ),
            check("credits", Mark::Warning, "12 available", Some("add credits at Layers")),
            check(
                "bindings",
                Mark::Unchecked,
                "not checked: AMQP cannot tell; name the management API: --management http://HOST:15672",
                None,
            ),
        ]
    }

    #[test]
    fn every_check_has_a_mark_and_what_is_bad_says_what_mends_it() {
        let page = page(&examples(), Paint(false));
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
        insta::assert_snapshot!(page, @r"
        ok    settings      3 of 58 set, by LAYERS_API_KEY, briefd.toml
        bad   key           is refused: HTTP 401 UNAUTHENTICATED
                            -> give a valid key: LAYERS_API_KEY, or the file of
                               layers.api_key_file
        warn  credits       12 available
                            -> add credits at Layers
        skip  bindings      not checked: AMQP cannot tell; name the management API:
                            --management http://HOST:15672

        1 bad, 1 warning, 1 not checked (4 checks)
        ");
        insta::assert_json_snapshot!(document(&examples(), outcome(&examples())));
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let of = |marks: &[Mark]| {
            let checks: Vec<Check> = marks.iter().map(|mark| check("x", *mark, "", None)).collect();
            outcome(&checks).code()
        };
        assert_eq!(of(&[Mark::Good, Mark::Unchecked]), 0);
        assert_eq!(of(&[Mark::Good, Mark::Warning]), 1);
        assert_eq!(of(&[Mark::Warning, Mark::Bad]), 4);
        assert_eq!(of(&[Mark::Bad, Mark::BadSettings, Mark::Warning]), 3);
    }

    #[test]
    fn a_wrong_address_of_the_management_api_is_not_repeated() {
        let wrong = management("amqp://guest:secret@host").unwrap_err();
        assert!(!wrong.contains("secret"));
        management("https://user:secret@broker.example").unwrap();
    }
}
