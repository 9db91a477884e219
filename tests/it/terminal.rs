//! Every command in a real terminal of 80 columns, and with its output going to a pipe: what people see, exactly.
//!
//! The list of commands is the program's own: one without a case here fails the test. What changes from run to run is
//! replaced before anything is compared.

mod cases;
mod pane;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use self::cases::{CASES, Case, Judge};
use self::pane::{Terminal, WIDTH};
use crate::support::Variable;
use crate::support::broker::TestBroker;
use crate::support::process::{PROMPTLY, Process, SandboxProcess, Worker, briefd, free_port};

/// What differs from run to run, and what stands for it.
const VOLATILE: [(&str, &str); 21] = [
    (r"test-[0-9a-f]{32}\.", ""),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[uuid]"),
    (r"\b(job|cnt|req|ast|key|org|apk)_[A-Za-z0-9]+", "[id]"),
    (r"\d{4}-\d\d-\d\d[T ][0-9:]+(\.\d+)?Z", "[time]"),
    (r"\b\d\d:\d\dZ", "[time]"),
    (r"\b[0-9a-f]{10}\b", "[letter]"),
    (r"took [\d.]+ m?s", "took [n] s"),
    (r"(localhost|127\.0\.0\.1|[a-z.-]+):\d{4,5}/%2f", "[broker]"),
    (r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:[port]"),
    (r"in \d+ ms", "in [n] ms"),
    // The sandbox's time runs ahead.
    (r"\d+ s (behind|ahead of) the API's", "[n] s behind the API's"),
    (r"[\d,]+ MiB free", "[n] MiB free"),
    (r"Starts [\d,]+( of [\d,]+)?", "Starts [n]"),
    (r"reads [\d,]+( of [\d,]+)?", "reads [n]"),
    (r"known after [\d.]+ s", "known after [n] s"),
    (r#""(starts|reads|oldestAt|resultKnownAfterSeconds)": [^,\n]+"#, "\"$1\": [n]"),
    (r"(?m) +\d+s$", "  [age]"),
    (r"[\d,]+ available", "[n] available"),
    (r"\d+ of \d+ set", "[n] set"),
    (r"\d+ pages in", "[n] pages in"),
    (r"\d+, this version's", "[n], this version's"),
];

/// A ledger with an end of every kind, its broker and its API; no worker is at it.
struct Scene {
    dir: TempDir,
    broker: TestBroker,
    sandbox: SandboxProcess,
    variables: Vec<Variable>,
}

impl Scene {
    async fn set() -> Self {
        let (broker, dir) = (TestBroker::connect().await, TempDir::new().unwrap());
        let sandbox = SandboxProcess::spawn(&["--speed", "600", "--tier", "unlimited"]).await;
        let mut variables = [broker.variables(), sandbox.variables()].concat();
        variables.extend([
            ("BRIEFD__LAYERS__TIER", "unlimited".to_owned()),
            ("BRIEFD__PROJECTS__ACME", "p-acme".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
        ]);
        let mut scene = Self { dir, broker, sandbox, variables };
        scene.write("spring.jsonl", &[
            json!({"projectId": "acme", "briefId": "s-01", "variantCount": 2, "format": "video_remix", "brief": {"hook": "one"}}),
            json!({"projectId": "acme", "briefId": "s-02", "format": "slideshow_remix", "brief": {"hook": "two"}}),
            json!({"projectId": "nova", "briefId": "n-01", "brief": {"hook": "three"}, "metadata": {"sandbox": {"refuse": "MODERATION_BLOCKED"}}}),
            json!({"projectId": "nova", "briefId": "n-02", "brief": {"hook": "four"}, "metadata": {"sandbox": {"failVariants": [1]}}}),
        ]);
        scene.write("more.jsonl", &[
            json!({"projectId": "acme", "batchId": "spring", "briefId": "s-02", "format": "slideshow_remix", "brief": {"hook": "two"}}),
            json!({"projectId": "acme", "batchId": "teaser", "briefId": "t-01", "format": "ugc_remix", "variantCount": 3, "brief": {"hook": "new"}}),
            json!({"projectId": "acme", "batchId": "teaser", "briefId": "t-02", "variantCount": 9, "brief": {"hook": "nine"}}),
        ]);
        scene.fill().await;
        scene.variables.push(("BRIEFD__HTTP__LISTEN", format!("127.0.0.1:{}", free_port())));
        scene
    }

    /// Has a worker run the briefs of `spring.jsonl` to their end.
    async fn fill(&self) {
        let mut worker = Worker::spawn(self.dir.path(), &self.variables);
        worker.wait_ready().await;
        self.pipe(&["enqueue", "spring.jsonl"]).await;
        let (code, said) = self.pipe(&["status", "spring", "--wait", "--timeout", "60s"]).await;
        assert_eq!(code, Some(1), "two of four do not complete: {said}");
        self.broker.publish_with(b"nonsense", lapin::BasicProperties::default()).await;
        worker.wait_series("briefd_dead_lettered_total{reason=\"UNREADABLE\"}", 1.0).await;
        // Until all of them are sent, status would tell that they are not.
        worker.wait_series("briefd_outbox_pending", 0.0).await;
        worker.process.sigterm();
        assert!(worker.process.wait_exit(PROMPTLY).await.success());
    }

    fn write(&self, name: &str, briefs: &[serde_json::Value]) {
        let lines: Vec<String> = briefs.iter().map(ToString::to_string).collect();
        std::fs::write(self.dir.path().join(name), lines.join("\n")).unwrap();
    }

    /// Runs a command with its output in files; for one that ends with Ctrl-C, once it has said something.
    async fn pipe(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut process =
            Process::start(self.dir.path(), briefd(self.dir.path(), arguments, &self.variables));
        let code = process.wait_exit(PROMPTLY * 2).await.code();
        (code, both(&process.stdout(), &process.stderr()))
    }

    async fn pipe_until(&self, arguments: &[&str], words: &str) -> (Option<i32>, String) {
        let mut process =
            Process::start(self.dir.path(), briefd(self.dir.path(), arguments, &self.variables));
        let said = crate::support::eventually(PROMPTLY, async || {
            (process.stdout() + &process.stderr()).contains(words).then_some(())
        });
        assert!(said.await.is_some(), "{arguments:?} did not say {words:?}: {}", process.stderr());
        process.sigint();
        let code = process.wait_exit(PROMPTLY).await.code();
        (code, both(&process.stdout(), &process.stderr()))
    }
}

fn both(out: &str, err: &str) -> String {
    let err: Vec<String> = err.lines().map(|line| format!("stderr: {line}").trim_end().to_owned()).collect();
    [out.trim_end().to_owned(), err.join("\n")].join("\n").trim().to_owned()
}

/// The words of every command that does something.
fn commands(command: &clap::Command, words: &str, into: &mut BTreeSet<String>) {
    let mut parts = command.get_subcommands().filter(|part| part.get_name() != "help").peekable();
    if parts.peek().is_none() {
        into.insert(words.to_owned());
    }
    for part in parts {
        commands(part, format!("{words} {}", part.get_name()).trim(), into);
    }
}

#[test]
fn every_command_is_tried_in_a_terminal() {
    let mut known = BTreeSet::new();
    commands(&::briefd::cli::command(), "", &mut known);
    let tried: BTreeSet<String> = CASES.iter().map(|case| case.command.to_owned()).collect();
    let missing: Vec<_> = known.difference(&tried).collect();
    assert!(missing.is_empty(), "no case in tests/it/terminal/cases.rs for {missing:?}");
    let gone: Vec<_> = tried.difference(&known).collect();
    assert!(gone.is_empty(), "these commands do not exist any more: {gone:?}");
}

#[tokio::test]
async fn every_command_fits_a_terminal_of_80_columns_and_is_plain_text_in_a_pipe() {
    let scene = Scene::set().await;
    let terminal = Terminal::open(scene.dir.path(), &scene.variables);
    for case in CASES {
        case.judge(&scene, &terminal).await;
    }
}

impl Case {
    async fn judge(&self, scene: &Scene, terminal: &Terminal) {
        let words: Vec<&str> = self.command.split(' ').chain(self.arguments.iter().copied()).collect();
        let (shown, (code, piped)) = match self.judge {
            Judge::Until(saying) => {
                (terminal.until(&words, saying).await, scene.pipe_until(&words, saying).await)
            }
            Judge::Shown | Judge::Wide | Judge::Ends => {
                (terminal.run(&words).await, scene.pipe(&words).await)
            }
        };
        let line = words.join(" ");
        assert_eq!(code, Some(self.exit), "briefd {line}, piped: {piped}");
        assert_eq!(shown.code, self.exit, "briefd {line}, in a terminal: {}", shown.text);
        assert!(!piped.contains('\x1b'), "briefd {line}: escape sequences in a pipe: {piped:?}");
        if !matches!(self.judge, Judge::Wide | Judge::Ends | Judge::Until(_)) {
            assert!(
                !shown.is_wrapped,
                "briefd {line}: a line is longer than {WIDTH} columns:\n{}",
                shown.text
            );
        }
        if matches!(self.judge, Judge::Ends | Judge::Until(_)) {
            return;
        }
        let shown = if matches!(self.judge, Judge::Wide) { shown.unwrapped } else { shown.text };
        // Ages and the like differ from one second to the next.
        let lasting = |text: &str| text.split(|c: char| c.is_ascii_digit() || c == ' ').collect::<String>();
        let text = if lasting(&shown) == lasting(&piped.replace("stderr: ", "")) {
            format!("$ briefd {line}\n{piped}\n[exit {}]", self.exit)
        } else {
            format!("$ briefd {line}\n{shown}\n[exit {}]\n\n$ briefd {line} | cat\n{piped}", self.exit)
        };
        compare(&self.name(), &text, scene.dir.path());
    }

    /// The command, and what tells it from other cases of the same.
    fn name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let words = std::iter::once(self.command).chain(self.arguments.iter().copied().take(2));
        words.collect::<Vec<_>>().join(" ").chars().map(plain).collect()
    }
}

fn compare(name: &str, text: &str, dir: &Path) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(&format!("{}/?", dir.display()), "");
    for (pattern, instead) in VOLATILE {
        settings.add_filter(pattern, instead);
    }
    settings.set_snapshot_suffix(name);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("terminal", text));
}

#[tokio::test]
async fn color_is_for_terminals_and_for_those_who_want_it() {
    let dir = TempDir::new().unwrap();
    let settings: Vec<Variable> = vec![("BRIEFD__LAYERS__BASE_URL", "http://127.0.0.1:1".to_owned())];
    let doctor = ["doctor", "--without-broker"];
    let colored = Terminal::open(dir.path(), &settings).run(&doctor).await;
    assert!(colored.escapes.contains("bad\x1b"), "{:?}", colored.escapes);
    let plain = [settings, vec![("NO_COLOR", "1".to_owned())]].concat();
    let plain = Terminal::open(dir.path(), &plain).run(&doctor).await;
    assert!(!plain.escapes.contains('\x1b'), "{:?}", plain.escapes);
    // The disk changes meanwhile.
    let words = |text: &str| text.lines().filter(|line| !line.contains("MiB")).collect::<Vec<_>>().join("\n");
    assert_eq!(words(&plain.text), words(&colored.text), "the words say the same");
}

#[tokio::test]
async fn watching_draws_in_place_and_gives_the_terminal_back() {
    let scene = Scene::set().await;
    for key in ["q", "C-c"] {
        let terminal = Terminal::open(scene.dir.path(), &scene.variables);
        terminal.start(&["status", "--watch"]);
        let page = terminal.wait_for("q: end").await;
        assert!(page.contains("spring") && !page.contains("[exit"), "{page}");
        terminal.press(key);
        let page = terminal.wait_for("[end]").await;
        assert!(page.contains("[exit 0]"), "{page}");
        assert!(page.contains("BATCH") && !page.contains("q: end"), "what was seen last stays: {page}");
        assert!(page.contains(" icanon") && page.contains(" echo "), "as it was before: {page}");
    }
}

#[tokio::test]
async fn doctor_is_content_with_a_worker_that_runs_and_names_a_record_without_a_queue() {
    let mut scene = Scene::set().await;
    scene.variables.pop();
    let mut worker = Worker::spawn(scene.dir.path(), &scene.variables);
    scene.variables.push(worker.listens());
    worker.wait_ready().await;
    let management = std::env::var("BRIEFD_TEST_MANAGEMENT_URL").expect("tests/run names the management API");
    let doctor = ["doctor", "--json", "--management", management.as_str()];
    let looked = async || {
        let (code, said) = scene.pipe(&doctor).await;
        let document: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        assert_eq!(document["exitCode"], json!(code.unwrap()));
        let checks = document["checks"].as_array().unwrap().clone();
        let of = move |name: &str, mark: &str| {
            checks.iter().filter(|one| one["name"] == name && one["mark"] == mark).count()
        };
        (code, of, said)
    };
    // Consumers are counted by the broker once in a while.
    let mut last = String::new();
    let settled = crate::support::eventually(PROMPTLY, async || {
        let (code, of, said) = looked().await;
        last = said;
        // The sandbox's time runs ahead, a dead letter waits, and nothing else is wrong.
        (code == Some(1) && of("consumers", "ok") == 1 && of("clock", "warn") == 1).then_some(of)
    });
    let of = settled.await;
    let of = of.unwrap_or_else(|| panic!("nothing is wrong with a worker that runs, but: {last}"));
    for name in ["key", "scopes", "tier", "worker", "http", "rights", "schema", "organization"] {
        assert_eq!(of(name, "ok"), 1, "{name}");
    }
    assert_eq!((of("topology", "ok"), of("bindings", "ok")), (5, 2));
    assert_eq!(last.matches("\"warn\"").count() + last.matches("\"bad\"").count(), 2, "{last}");

    scene.broker.delete_records_queue().await;
    scene.sandbox.change("account", &json!({"keyRevoked": true})).await;
    let (code, of, said) = looked().await;
    assert_eq!(code, Some(4), "{said}");
    assert_eq!((of("bindings", "bad"), of("key", "bad")), (1, 1), "{said}");
    assert!(said.contains("no queue is bound on exchange"), "{said}");
    let account = scene.sandbox.account().await;
    assert_eq!(account["jobsMade"], 3, "looking costs nothing");
    worker.process.sigterm();
    assert!(worker.process.wait_exit(PROMPTLY).await.success());
}

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);
