//! Documents that cannot drift: what the README and the deployment files say is what the program does.

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
fn every_promise_of_the_readme_names_tests_that_exist() {
    let readme = read("README.md");
    let mut code = String::new();
    sources(&root().join("src"), &mut code);
    sources(&root().join("tests"), &mut code);
    for promise in 1..=8 {
        let row = readme
            .lines()
            .find(|line| line.starts_with(&format!("| P{promise} |")))
            .unwrap_or_else(|| panic!("the README has no row for P{promise}"));
        let tests: Vec<&str> =
            row.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "P{promise} names no test");
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "P{promise} names {test}, which does not exist");
        }
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

#[test]
fn every_command_of_the_readme_exists_and_explains_itself() {
    let readme = read("README.md");
    let mut seen = 0;
    for part in readme.split("briefd ").skip(1) {
        let word: String =
            part.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '-').collect();
        let known = [
            "run",
            "generate",
            "enqueue",
            "status",
            "list",
            "show",
            "records",
            "hold",
            "release",
            "topology",
            "sandbox",
            "config",
            "schema",
            "completions",
        ];
        if !known.contains(&word.as_str()) {
            continue;
        }
        seen += 1;
        let help = briefd(&[&word, "--help"]);
        assert!(help.status.success(), "briefd {word} --help");
        assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: briefd"), "briefd {word} --help");
    }
    assert!(seen > 10, "the README names the commands");
}

#[test]
fn the_definitions_for_the_broker_are_what_the_worker_would_declare() {
    let printed = briefd(&["topology", "--definitions"]);
    assert_eq!(String::from_utf8_lossy(&printed.stdout), read("deploy/rabbitmq/definitions.json"));
}
