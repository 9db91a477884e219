//! Documents that cannot drift: what the README and the deployment files say is what the program does.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn briefd(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_briefd")).args(args).current_dir(root()).output().unwrap()
}

/// Fenced blocks of the README in one language.
fn blocks(language: &str) -> Vec<String> {
    let text = read("README.md");
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_metric_and_its_labels_are_in_the_table_of_what_moves_them() {
    let (table, defined) = (read("deploy/README.md"), read("src/telemetry/metrics.rs"));
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, rest)| {
            let labels = rest.split('|').next().unwrap_or_default().split('`');
            std::iter::once(name).chain(labels.skip(1).step_by(2)).collect()
        })
        .collect();
    let definitions: Vec<Vec<&str>> = defined
        .lines()
        .filter_map(|line| {
            line.strip_prefix("    ")?.split_once(": ").filter(|(_, rest)| rest.contains(" = |n, h| "))
        })
        .map(|(name, rest)| {
            let labels = rest.split_once(", &[\"").map_or("", |(_, labels)| labels);
            let labels = labels.trim_end_matches("\"]);").trim_end_matches("\"]));").split("\", \"");
            std::iter::once(name).chain(labels.filter(|label| !label.is_empty())).collect()
        })
        .collect();
    assert!(definitions.len() > 40);
    for definition in &definitions {
        assert!(rows.contains(definition), "{definition:?} is not so in the table of deploy/README.md");
    }
    let metrics = rows.iter().filter(|row| definitions.iter().any(|known| known[0] == row[0]));
    assert_eq!(metrics.count(), definitions.len(), "the table tells of a metric twice");
}

/// What promises are made in, for everybody and for operators.
const PROMISING: [&str; 2] = ["README.md", "deploy/GUARANTEES.md"];

/// The names of all tests: of the functions that say by an attribute that they are one.
fn tests() -> BTreeSet<String> {
    tests_below(&["src", "tests"])
}

fn tests_below(folders: &[&str]) -> BTreeSet<String> {
    let mut code = String::new();
    for folder in folders {
        sources(&root().join(folder), &mut code);
    }
    let after_attribute = code.split("#[test]").skip(1).chain(code.split("#[tokio::test").skip(1));
    let name = |rest: &str| Some(rest.split("fn ").nth(1)?.split(['(', '<']).next()?.to_owned());
    after_attribute.filter_map(name).collect()
}

/// Whether a word in a text is a test's name.
fn is_test_name(text: &str) -> bool {
    text.matches('_').count() >= 4
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[test]
fn every_promise_names_tests_of_briefd_that_exist() {
    let (known, of_the_judge) = (tests(), tests_below(&["tests/it/support"]));
    for document in PROMISING {
        let text = read(document);
        let promises = text.lines().filter(|line| line.starts_with("| P")).count();
        assert_eq!(promises, 8, "{document} has a row for each promise");
        for promise in 1..=8 {
            let row = text
                .lines()
                .find(|line| line.starts_with(&format!("| P{promise} |")))
                .unwrap_or_else(|| panic!("{document} has no row for P{promise}"));
            let tests: Vec<&str> =
                row.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
            assert!(!tests.is_empty(), "{document}: P{promise} names no test");
            for test in tests {
                assert!(known.contains(test), "{document}: P{promise} names {test}, which does not exist");
                assert!(!of_the_judge.contains(test), "{document}: {test} proves the judge, not P{promise}");
            }
        }
    }
}

#[test]
fn every_test_that_a_promising_document_names_exists() {
    let tests = tests();
    for document in PROMISING {
        let text = read(document);
        let names: Vec<&str> = text.split('`').filter(|name| is_test_name(name)).collect();
        assert!(names.len() > 15, "{document}: {names:?}");
        for name in names {
            assert!(tests.contains(name), "{document} names {name}, which does not exist");
        }
    }
}

#[test]
fn every_threat_names_tests_that_exist() {
    let (known, text) = (tests(), read(".github/SECURITY.md"));
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 12, "{rows:?}");
    for row in rows {
        let shown_by = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let tests: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test shows this: {row}");
        for test in tests {
            assert!(known.contains(test), "SECURITY.md names {test}, which does not exist");
        }
    }
}

/// The flags and the faults that `briefd sandbox` has.
fn switches() -> (BTreeSet<String>, BTreeSet<String>) {
    let help = String::from_utf8(briefd(&["sandbox", "--help"]).stdout).unwrap();
    let (options, faults) = help.split_once("\nFaults:\n").expect("the help lists the faults");
    let flag = |line: &str| line.trim_start().strip_prefix("--")?.split([' ', '=']).next().map(str::to_owned);
    let fault = |line: &str| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned);
    (options.lines().filter_map(flag).collect(), faults.lines().filter_map(fault).collect())
}

#[test]
fn the_switches_and_commands_of_the_guarantees_exist() {
    let (text, (flags, faults)) = (read("deploy/GUARANTEES.md"), switches());
    assert!(flags.contains("speed") && faults.contains("slow"), "{flags:?} {faults:?}");
    let mut named = text.split("`--").skip(1).filter_map(|rest| rest.split('`').next()).peekable();
    assert!(named.peek().is_some());
    for switch in named {
        let (flag, value) = switch.split_once(' ').unwrap_or((switch, ""));
        assert!(flags.contains(flag), "there is no briefd sandbox --{flag}");
        if flag == "fault" {
            let (fault, _) = value.split_once('=').unwrap_or_else(|| panic!("`--{switch}` lacks its share"));
            assert!(faults.contains(fault), "there is no fault {fault}");
        }
    }
    for part in text.split("`briefd ").skip(1) {
        let word = part.split(|letter: char| !letter.is_ascii_lowercase()).next().unwrap();
        assert!(commands().iter().any(|command| command == word), "there is no briefd {word}");
    }
}

#[test]
fn every_statement_of_the_api_that_the_guarantees_rest_on_has_a_switch_that_breaks_it() {
    let text = read("deploy/GUARANTEES.md");
    let section = text.split("## What it rests on\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 5, "{rows:?}");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [says, so, switches] = cells[..] else { panic!("not three cells: {row}") };
        assert!(!says.is_empty() && !so.is_empty(), "{row}");
        assert!(switches.contains("`--"), "no switch shows what happens where this is not so: {says}");
        // Behind the switch stands what one then sees.
        assert!(switches.contains("`: "), "nothing is told of what one sees: {says}");
    }
}

#[test]
fn the_brief_of_the_readme_fits_the_published_schema() {
    let schema: serde_json::Value = serde_json::from_slice(&briefd(&["schema", "brief"]).stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let examples = blocks("json");
    assert!(!examples.is_empty());
    for example in examples {
        let brief: serde_json::Value = serde_json::from_str(&example).unwrap();
        let problems: Vec<String> = validator.iter_errors(&brief).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}");
    }
}

/// The commands that `briefd --help` lists.
fn commands() -> Vec<String> {
    let help = String::from_utf8(briefd(&["--help"]).stdout).unwrap();
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let first = |line: &str| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned);
    list.lines().filter_map(first).filter(|word| !word.is_empty() && word != "help").collect()
}

#[test]
fn every_command_explains_itself_and_is_in_the_table_of_the_readme() {
    let readme = read("README.md");
    let table = readme.split("## Commands\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    for command in &commands {
        let named = table.split('`').skip(1).step_by(2).any(|code| {
            let mut words = code.split(' ');
            words.next() == Some("briefd") && words.next() == Some(command)
        });
        assert!(named, "the README's commands lack briefd {command}");
        let help = briefd(&[command, "--help"]);
        assert!(help.status.success(), "briefd {command} --help");
        assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: briefd"), "briefd {command} --help");
    }
}

#[test]
fn every_reason_for_which_starts_are_held_is_in_the_readme() {
    let readme = read("README.md");
    let section = readme.split("## When the API is in trouble\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    // OTHER stands for all others, in metrics only.
    for reason in briefd::telemetry::HOLD_REASONS.into_iter().filter(|reason| *reason != "OTHER") {
        assert!(
            section.contains(&format!("| `HELD … {reason}` |")),
            "the README says nothing about {reason}"
        );
    }
}

#[test]
fn every_file_that_contributing_names_exists() {
    let text = read("CONTRIBUTING.md");
    let section = text.split("Reading order: ").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut seen = 0;
    for row in section.lines().filter(|line| line.starts_with("| ")) {
        let mut folder = Path::new("").to_owned();
        for name in row.split('`').skip(1).step_by(2) {
            // A name without a folder is a file beside the one before it.
            let path = if name.contains('/') { Path::new(name).to_owned() } else { folder.join(name) };
            assert!(root().join("src").join(&path).is_file(), "CONTRIBUTING names {}", path.display());
            folder = path.parent().unwrap().to_owned();
            seen += 1;
        }
    }
    assert!(seen > 10, "CONTRIBUTING says where to read");
}

#[test]
fn every_command_that_the_readme_shows_exists() {
    let (readme, known) = (read("README.md"), commands());
    let mut seen = 0;
    for start in ["`briefd ", "$ briefd "] {
        for part in readme.split(start).skip(1) {
            let word =
                part.split(|letter: char| !letter.is_ascii_lowercase() && letter != '-').next().unwrap();
            assert!(known.iter().any(|command| command == word), "the README shows briefd {word}");
            seen += 1;
        }
    }
    assert!(seen > 10, "the README names the commands");
}
