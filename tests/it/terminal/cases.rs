//! What each command is tried with, in this order, in one scene.

/// A command line and what is expected of it.
pub struct Case {
    /// The words of the command.
    pub command: &'static str,
    pub arguments: &'static [&'static str],
    pub exit: i32,
    pub judge: Judge,
}

/// What is looked at.
#[derive(Clone, Copy)]
pub enum Judge {
    /// All that is shown.
    Shown,
    /// The same; lines may be longer than the terminal is wide, because programs read them.
    Wide,
    /// Only that it ends as it should: what it says is for programs, or differs from time to time.
    Ends,
    /// Only that it ends as it should on Ctrl-C, which is pressed once these words are there.
    Until(&'static str),
}

const fn case(command: &'static str, arguments: &'static [&'static str], exit: i32, judge: Judge) -> Case {
    Case { command, arguments, exit, judge }
}

pub const CASES: &[Case] = &[
    case("status", &[], 0, Judge::Shown),
    case("status", &["spring"], 0, Judge::Shown),
    case("status", &["spring", "--json"], 0, Judge::Wide),
    case("status", &["winter"], 2, Judge::Wide),
    case("list", &["--batch", "spring"], 0, Judge::Shown),
    case("list", &["--csv", "--state", "failed"], 0, Judge::Wide),
    case("show", &["n-01"], 0, Judge::Shown),
    case("records", &["--type", "brief.failed"], 0, Judge::Wide),
    case("rerun", &["--batch", "spring", "--dry-run"], 0, Judge::Shown),
    case("hold", &["--batch", "teaser", "--reason", "not before Monday"], 0, Judge::Shown),
    case("release", &["--batch", "teaser"], 0, Judge::Shown),
    case("resolve", &["n-01", "--repeat", "--reason", "why not", "--yes"], 2, Judge::Wide),
    case("cancel", &["--batch", "spring", "--yes"], 0, Judge::Shown),
    case("reconcile", &["--project", "acme"], 0, Judge::Shown),
    case("dead-letters list", &[], 0, Judge::Shown),
    case("dead-letters show", &["1"], 0, Judge::Wide),
    case("dead-letters discard", &["--reason", "delivery_limit", "--yes"], 0, Judge::Shown),
    case("topology", &[], 0, Judge::Wide),
    case("doctor", &[], 1, Judge::Shown),
    case("doctor", &["--json"], 1, Judge::Wide),
    case("dead-letters requeue", &["--all", "--yes"], 0, Judge::Ends),
    case("enqueue", &["more.jsonl", "--dry-run"], 1, Judge::Shown),
    case("enqueue", &["more.jsonl"], 1, Judge::Wide),
    case("generate", &["spring.jsonl", "--sandbox", "--speed", "600"], 1, Judge::Ends),
    case("sandbox", &["--listen", "127.0.0.1:0"], 0, Judge::Until("127.0.0.1")),
    case("run", &[], 0, Judge::Until("is at work")),
    case("config", &[], 0, Judge::Ends),
    case("schema", &["record"], 0, Judge::Ends),
    case("completions", &["bash"], 0, Judge::Ends),
    case("ledger check", &[], 0, Judge::Shown),
    case("ledger backup", &["spring.jsonl"], 2, Judge::Wide),
    case("ledger prune", &["--dry-run"], 0, Judge::Shown),
    case("man", &["pages"], 0, Judge::Shown),
];
