//! Who may know whom, checked from the paths in the sources: `crate::…`, `super::…` and the crates of the outside.
//!
//! Test modules are free. A rule here is a promise to readers: SQL is in one place, the broker in one place, HTTP in
//! one place, and what a brief, a job and a record are can be read and tested without any of them.

mod sources;

use std::path::Path;

use sources::{Module, modules};

/// What a module must not name. A module that is not listed here is free.
struct Rule {
    /// The first module below the crate.
    of: &'static [&'static str],
    /// Why, for the person who broke it.
    reason: &'static str,
    /// The only modules of ours that it may name, itself aside; `None`: any but the forbidden ones.
    only: Option<&'static [&'static str]>,
    /// Modules of ours that it must not name.
    never: &'static [&'static str],
}

const PURE: &[&str] = &["brief", "job", "record"];

const RULES: [Rule; 8] = [
    Rule {
        of: PURE,
        reason: "the pure centre is data and decisions, nothing that does something",
        only: Some(&["brief", "job", "record", "flow", "config"]),
        never: &[],
    },
    Rule {
        of: &["ledger"],
        reason: "adapters do not know each other, nor those who use them",
        only: None,
        never: &["broker", "layers", "files", "stages", "app", "cli", "sandbox"],
    },
    Rule {
        of: &["broker"],
        reason: "adapters do not know each other, nor those who use them",
        only: None,
        never: &["ledger", "layers", "files", "stages", "app", "cli", "sandbox"],
    },
    Rule {
        of: &["layers"],
        reason: "adapters do not know each other, nor those who use them",
        only: None,
        never: &["ledger", "broker", "files", "stages", "app", "cli", "sandbox"],
    },
    Rule {
        of: &["files"],
        reason: "adapters do not know each other, nor those who use them",
        only: None,
        never: &["ledger", "broker", "layers", "stages", "app", "cli", "sandbox"],
    },
    Rule {
        of: &["stages"],
        reason: "stages are built and run by others",
        only: None,
        never: &["app", "cli", "sandbox"],
    },
    Rule {
        of: &["sandbox"],
        reason: "what simulator and client both got wrong in one place would never be found",
        only: Some(&["clock"]),
        never: &[],
    },
    Rule {
        of: &["app", "config", "telemetry", "flow", "clock"],
        reason: "only main knows the command line",
        only: None,
        never: &["cli"],
    },
];

/// Crates of the outside and the only modules that may name them.
const CRATES: [(&str, &[&str]); 6] = [
    ("sqlx", &["ledger"]),
    ("lapin", &["broker"]),
    ("async_compat", &["broker"]),
    ("reqwest", &["layers", "broker"]), // broker: RabbitMQ's management API
    ("axum", &["telemetry", "sandbox"]),
    ("sd_notify", &["telemetry"]),
];

/// What the pure centre must not name: everything that does something or asks for the time.
const EFFECTS: [&str; 13] = [
    "tokio",
    "tokio_util",
    "futures",
    "axum",
    "sqlx",
    "lapin",
    "reqwest",
    "backon",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
];

#[test]
fn every_module_names_only_those_it_may_know() {
    let modules = modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    for name in ["brief", "broker", "files", "job", "layers", "ledger", "record", "sandbox", "stages"] {
        assert!(modules.iter().any(|module| module.top() == name), "src/{name} has gone; so has its rule");
    }
    let violations = violations(&modules);
    assert!(violations.is_empty(), "\n  {}", violations.join("\n  "));
}

fn violations(modules: &[Module]) -> Vec<String> {
    let mut violations = Vec::new();
    for module in modules {
        let top = module.top();
        let mut object =
            |path: &str, why: &str| violations.push(format!("{} names {path}: {why}", module.file));
        for rule in RULES.iter().filter(|rule| rule.of.contains(&top)) {
            for named in module.ours.iter().filter(|named| *named != top) {
                let foreign = rule.only.is_some_and(|only| !only.contains(&named.as_str()));
                if foreign || rule.never.contains(&named.as_str()) {
                    object(&format!("crate::{named}"), rule.reason);
                }
            }
        }
        for (name, places) in CRATES.iter().filter(|(name, _)| module.foreign.contains(*name)) {
            if !places.contains(&top) {
                object(name, &format!("only {} may know it", places.join(" and ")));
            }
        }
        if PURE.contains(&top) {
            for effect in EFFECTS.iter().filter(|effect| module.foreign.contains(**effect)) {
                object(effect, "the pure centre does nothing and asks nobody");
            }
        }
    }
    violations
}

/// Who moves a counter says its line too: see `src/telemetry/event.rs`.
#[test]
fn counters_move_where_their_event_is_told() {
    /// How long its commits take, for which there is no line.
    const MEASURES: &str = "src/ledger/";
    let events = Path::new("src/telemetry/event");
    let mut told = 0;
    for (file, source) in sources::texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        // A series that begins does not move.
        let source = source.replace(".inc_by(0)", "");
        let moves: usize =
            [".inc()", ".inc_by(", ".observe("].iter().map(|call| source.matches(call).count()).sum();
        if Path::new(&file).starts_with(events) {
            told += moves;
        } else if !file.starts_with(MEASURES) && file != "src/telemetry/metrics.rs" {
            assert_eq!(moves, 0, "{file} moves a counter by itself: give its event a struct in {events:?}");
        }
    }
    assert!(told > 10, "events move only {told} counters");
}

#[test]
fn every_kind_of_offence_is_noticed() {
    let names = |path: &[&str], source: &str| {
        let path = path.iter().map(ToString::to_string).collect();
        violations(&[Module::read("x.rs".to_owned(), path, source).0])
    };
    let offences: [(&[&str], &str); 12] = [
        (&["brief"], "use crate::ledger::Ledger;"),
        (&["brief", "parse"], "use super::super::{clock::Clock};"),
        (&["job"], "async fn f() { tokio::task::yield_now().await }"),
        (&["record"], "use std::{collections::BTreeMap, fs::File};"),
        (&["ledger"], "use crate::{config::Ledger, broker};"),
        (&["broker"], "fn f() -> crate::layers::Client { todo() }"),
        (&["layers"], "pub(in crate::stages) struct A;"),
        (&["stages", "submit"], "use crate::app;"),
        (&["stages"], "#[derive(sqlx::FromRow)] struct A;"),
        (&["app"], "use lapin as rabbit;"),
        (&["sandbox"], "use crate::job::JobState;"),
        (&["cli"], "use {reqwest::Client, std::fmt};"),
    ];
    for (path, source) in offences {
        assert_eq!(names(path, source).len(), 1, "{path:?}: {source}: {:?}", names(path, source));
    }
    let fine: [(&[&str], &str); 6] = [
        (&["brief"], "use crate::{flow::Delivery, job}; // crate::ledger\n/* crate::broker */"),
        (
            &["job"],
            "const TEXT: &str = \"crate::ledger \\\" tokio::spawn\"; const RAW: &str = r#\"lapin::\"#;",
        ),
        (
            &["record"],
            "#[cfg(test)]\nmod tests { use crate::ledger::Ledger; use tokio::test; }\nfn after() {}",
        ),
        (
            &["ledger", "write"],
            "use super::super::flow; use super::broker; fn f<'a>(c: char) -> bool { c == '\"' }",
        ),
        (&["sandbox", "state"], "use crate::clock::Clock; use super::tokio::x; use crate::sandbox::Options;"),
        (&["telemetry"], "use axum::Router; mod lapin {}"),
    ];
    for (path, source) in fine {
        assert_eq!(names(path, source), [""; 0], "{path:?}: {source}");
    }
}
