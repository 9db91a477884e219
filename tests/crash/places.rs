//! Every place where the program may be let die, read from the sources, and proof that no step goes without one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Places that no short scene reaches, and where what they guard is proved instead.
const ELSEWHERE: [(&str, &str); 2] = [
    (
        "ledger.NoteAnswered.",
        "noted after a minute of answers; lost, it only makes us more patient (src/stages/track/patience.rs)",
    ),
    (
        "ledger.NameContainers.",
        "only after an answer that names the first container alone, which leaves siblings unnamed (src/ledger/naming.rs, src/stages/submit/tests/siblings.rs)",
    ),
];

/// What the simulated API of a scene takes a while to answer.
const SLOWLY_ANSWERED: [&str; 2] = ["submit", "regenerate"];

/// Why a place is not in the matrix; `None`: it is.
pub fn elsewhere(place: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(prefix, _)| place.starts_with(prefix)).map(|(_, why)| *why)
}

/// Every place, by name.
pub fn all() -> Vec<String> {
    let mut places = BTreeSet::new();
    for file in sources("src") {
        for write in after_each(&file.code, "impl Write for ", char::is_alphanumeric) {
            if file.is_in("src/ledger") {
                add(&mut places, "ledger", write, ["before_commit", "after_commit"]);
            }
        }
        for method in file.code.split("fn step(&self)").skip(1) {
            // The texts of its body, which ends where the next method or the next item begins.
            let body = method.split(" fn ").next().and_then(|rest| rest.split(" impl ").next());
            for step in body.unwrap_or_default().split('"').skip(1).step_by(2) {
                add(&mut places, "ledger", step, ["before_commit", "after_commit"]);
            }
        }
        for call in after_each(&file.code, "around(\"", |c| c.is_alphanumeric() || c == '_') {
            add(&mut places, "amqp", call, ["before", "after"]);
        }
        for literal in file.code.split("reached(\"").skip(1) {
            // reached("ledger", "start_boot", "before_commit"): what is not three texts is one of the narrow places.
            let texts: Vec<&str> = literal.split(')').next().unwrap_or_default().split('"').collect();
            if let [edge, ", ", step, ", ", moment, ..] = texts.as_slice() {
                places.insert(format!("{edge}.{step}.{moment}"));
            }
        }
    }
    for endpoint in endpoints() {
        add(&mut places, "api", &endpoint, ["before_send", "after_answer"]);
        if SLOWLY_ANSWERED.contains(&endpoint.as_str()) {
            places.insert(format!("api.{endpoint}.in_flight"));
        }
    }
    places.into_iter().collect()
}

fn add(places: &mut BTreeSet<String>, edge: &str, step: &str, moments: [&str; 2]) {
    places.extend(moments.map(|moment| format!("{edge}.{step}.{moment}")));
}

/// The words of the API's endpoints.
fn endpoints() -> Vec<String> {
    let source = file("src/layers/endpoint.rs");
    let words = source.code.split(" => \"").skip(1).filter_map(|rest| rest.split('"').next());
    words.map(str::to_owned).collect()
}

/// The names that follow `mark`.
fn after_each<'a>(code: &'a str, mark: &'a str, of_name: fn(char) -> bool) -> impl Iterator<Item = &'a str> {
    code.split(mark)
        .skip(1)
        .map(move |rest| rest.split(|c| !of_name(c)).next().unwrap_or_default())
        .filter(|name| !name.is_empty())
}

/// A source file without its tests and without white space that a formatter may put anywhere.
struct Source {
    path: PathBuf,
    code: String,
}

impl Source {
    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(root().join(folder))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(path: &str) -> Source {
    read(&root().join(path))
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("a source file can be read");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    // A call and its first argument in one line, as if lines had no end.
    let code = lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("around(\n", "around(")
        .replace("reached(\n", "reached(");
    let code = squeezed(&code);
    Source { path: path.to_owned(), code }
}

/// One space for any white space, none after an opening bracket and before a dot.
fn squeezed(code: &str) -> String {
    let words = code.split_whitespace().collect::<Vec<_>>().join(" ");
    words.replace("( ", "(").replace(" .", ".").replace(", )", ")")
}

/// Every source file below a folder that is no test.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder can be read") {
            let path = entry.expect("its entries, too").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !name.contains("tests") {
                found.push(read(&path));
            }
        }
    }
    found
}

#[test]
fn places_are_found_at_each_of_the_narrow_places() {
    let all = all();
    for place in [
        "ledger.Decide.before_commit",
        "ledger.RecordOutcome.after_commit",
        "ledger.start_boot.after_commit",
        "ledger.append.before_commit",
        "ledger.dead_letter.after_commit",
        "ledger.acceptance.before_commit",
        "ledger.refusal.after_commit",
        "ledger.planned.after_commit",
        "ledger.migrate.before_commit",
        "api.submit.in_flight",
        "amqp.dead_letter.before",
        "api.submit.before_send",
        "api.list.after_answer",
        "amqp.basic_publish.after",
        "amqp.ack.before",
        "amqp.delivery.after",
    ] {
        assert!(all.iter().any(|known| known == place), "{place} is not in {all:#?}");
    }
}

#[test]
fn no_commit_goes_without_its_places() {
    for source in sources("src/ledger") {
        for (index, _) in source.code.match_indices(".commit().await") {
            let (before, after) = (&source.code[..index], &source.code[index..]);
            // A savepoint is part of the group that is committed after it.
            let savepoint = before.ends_with("inner") || before.ends_with("attempt");
            let around = before.rsplit(';').nth(1).is_some_and(|text| text.contains("before_commit"))
                && after.split(';').nth(1).is_some_and(|text| text.contains("after_commit"));
            assert!(
                savepoint || around,
                "a commit in {} has no crash points around it",
                source.path.display()
            );
        }
    }
}

/// A statement outside of a transaction is a commit by itself.
#[test]
fn no_statement_commits_by_itself_without_its_places() {
    for source in sources("src/ledger") {
        // Of the test of its own that a file may have beside others, and what is durable without it: a checkpoint.
        for (index, _) in source.code.match_indices(".execute(&mut ") {
            let (before, after) = (&source.code[..index], &source.code[index..]);
            let by_itself =
                ["db)", "connection)"].iter().any(|it| after[".execute(&mut ".len()..].starts_with(it));
            let statement = before.rsplit(';').next().unwrap_or_default();
            let around = before.rsplit(';').nth(1).is_some_and(|text| text.contains("before_commit"))
                && after.split(';').nth(1).is_some_and(|text| text.contains("after_commit"));
            assert!(
                !by_itself || statement.contains("PRAGMA") || around,
                "a statement in {} is a commit without crash points: {statement}",
                source.path.display()
            );
        }
    }
    let open = file("src/ledger/open.rs").code;
    for step in ["migrate(path, &mut connection)", "bind_origin(&mut connection,"] {
        let (before, after) = open.split_once(step).expect("a start does it");
        assert!(
            before.ends_with("\"before_commit\"); ")
                && after.split(';').nth(1).is_some_and(|it| it.contains("after_commit")),
            "{step}"
        );
    }
}

#[test]
fn no_request_leaves_but_through_the_transport() {
    let sends: Vec<PathBuf> = sources("src/layers")
        .into_iter()
        .filter(|it| it.code.contains(".send()"))
        .map(|it| it.path)
        .collect();
    assert_eq!(sends, [root().join("src/layers/transport.rs")]);
    let transport = file("src/layers/transport.rs").code;
    assert_eq!(transport.matches(".send()").count(), 1);
    assert!(transport.contains("\"before_send\"") && transport.contains("\"after_answer\""));
}

#[test]
fn no_call_of_the_broker_goes_without_its_places() {
    let of_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut calls = BTreeSet::new();
    for source in sources("src/broker") {
        // Which speaks HTTP, and only reads.
        if source.path.ends_with("broker/management.rs") {
            continue;
        }
        let own_wrapper = source.path.ends_with("broker/connect.rs");
        for call in after_each(&source.code, ".", of_name) {
            let is_lapin =
                ["basic_", "exchange_", "queue_", "tx_", "confirm_"].iter().any(|it| call.starts_with(it))
                    || ["ack", "nack", "reject"].contains(&call)
                    || own_wrapper && ["create_channel", "close"].contains(&call);
            if is_lapin && source.code.contains(&format!(".{call}(")) {
                let around = format!("around(\"{call}\"");
                let (calls_of_it, arounds) =
                    (source.code.matches(&format!(".{call}(")).count(), source.code.matches(&around).count());
                assert!(calls_of_it <= arounds, "{call} in {} goes without {around}", source.path.display());
                calls.insert(call.to_owned());
            }
        }
    }
    assert!(calls.len() > 8, "calls are found: {calls:?}");
}

#[test]
fn no_wait_for_confirms_goes_without_its_places() {
    for source in sources("src/broker") {
        let selects = source.code.matches(".confirm_select(").count();
        let waits = source.code.matches("around(\"confirms\"").count();
        assert_eq!(
            selects,
            waits,
            "channels in confirm mode and waits for confirms in {}",
            source.path.display()
        );
    }
}

#[test]
fn a_release_has_no_crash_points() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest can be read");
    let features = manifest
        .split("[features]")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .expect("there are some");
    assert!(
        !features.lines().any(|line| line.starts_with("default")),
        "no feature is on by itself: {features}"
    );
    assert!(manifest.lines().any(|line| line.starts_with("fail = ") && line.contains("optional = true")));
}

#[test]
fn what_is_proved_elsewhere_exists() {
    let all = all();
    for (prefix, _) in ELSEWHERE {
        assert!(all.iter().any(|place| place.starts_with(prefix)), "{prefix} is no place any more");
    }
}
