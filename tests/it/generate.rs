//! `briefd generate`: a file of briefs run to its end, also in several goes; nothing is bought twice and the file of
//! records is whole.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::five_hundred::without_own_doings;
use crate::support::checker::{Evidence, judge_first_runs};
use crate::support::message::Message;
use crate::support::process::{API_KEY, PROMPTLY, Process, SandboxProcess, briefd};
use crate::support::{Variable, eventually};

/// Even a thousand briefs have ended by then.
const PATIENCE: Duration = Duration::from_mins(1);
const QUICK: &str = "--speed 600 --tier unlimited --min-seconds 30 --max-seconds 60";
/// Each start is being served for 0.3 s, for 0.6 s if its answer gets lost.
const SLOW: &str = "--speed 60 --tier unlimited --overlap-makes-two --start-seconds 18 --in-flight-seconds 18 \
    --min-seconds 10 --max-seconds 60";
/// API time after which a start that was cut off is certainly served.
const SERVED_AFTER: Duration = Duration::from_secs(18 + 18);

#[tokio::test]
async fn three_broken_lines_of_a_thousand_are_named_and_the_others_run() {
    let scene = Scene::set(QUICK).await;
    let briefs: Vec<Value> = (0..997).map(plain).collect();
    let mut lines: Vec<String> = briefs.iter().map(Value::to_string).collect();
    lines.insert(99, "{\"projectId\": \"p\", \"brief\": {\"hook\": \"cut o".to_owned());
    lines.insert(499, json!({"briefId": "whose?", "brief": {}}).to_string());
    lines.insert(999, "{\"projectId\": \"p\", \"projectId\": \"q\", \"brief\": {}}".to_owned());
    scene.write("briefs.jsonl", &lines);

    let done = scene.run(&["generate", "briefs.jsonl", "--out", "records.jsonl"]).await;
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let said = done.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for named in [
        "997 of 1,000 briefs completed",
        "line 100: UNREADABLE: the message is not JSON",
        "line 500: UNREADABLE: projectId",
        "line 1000: UNREADABLE: the message is ambiguous",
    ] {
        assert!(said.contains(named), "{named} is not in: {said}");
    }
    assert_eq!(done.stdout, "");
    assert!(!scene.path("records.jsonl.part").exists());
    scene.judge(&briefs, scene.records("records.jsonl")).await;
}

#[tokio::test]
async fn after_an_interruption_the_same_command_goes_on_and_the_file_of_records_is_whole() {
    let (scene, briefs, mut first) = Scene::in_the_middle().await;
    first.sigint();
    assert_eq!(first.wait_exit(PROMPTLY).await.code(), Some(130));
    assert!(first.stderr().contains("the same command goes on"), "{}", first.stderr());
    let before = scene.left_by_the_first().await;

    let done = scene.run(&TWO_HUNDRED).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    scene.judge_both(&briefs, before).await;
}

#[tokio::test]
async fn after_a_kill_the_same_command_goes_on_and_the_file_of_records_is_whole() {
    let (scene, briefs, mut first) = Scene::in_the_middle().await;
    first.sigkill();
    let before = scene.left_by_the_first().await;

    let done = scene.run(&TWO_HUNDRED).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    scene.judge_both(&briefs, before).await;
}

#[tokio::test]
async fn a_file_that_is_done_is_told_again_and_nothing_is_asked_of_the_api() {
    let scene = Scene::set(QUICK).await;
    let briefs: Vec<Value> = (0..20).map(plain).collect();
    scene.write("briefs.jsonl", &briefs.iter().map(Value::to_string).collect::<Vec<_>>());
    let first = scene.run(&["generate", "briefs.jsonl", "--out", "first.jsonl"]).await;
    let posts = scene.sandbox.account().await["posts"].clone();

    let again = scene.run(&["generate", "briefs.jsonl"]).await;
    assert_eq!((first.code, again.code), (Some(0), Some(0)), "{}\n{}", first.stderr, again.stderr);
    assert_eq!(scene.sandbox.account().await["posts"], posts);
    assert_eq!(sorted(&again.stdout), sorted(&scene.text("first.jsonl")));
}

#[tokio::test]
async fn a_file_whose_ledger_was_lost_in_the_middle_is_done_again_and_buys_nothing_twice() {
    let (scene, briefs, mut first) = Scene::in_the_middle().await;
    first.sigkill();
    let before = scene.left_by_the_first().await;
    for (file, _) in scene.ledger_files() {
        std::fs::remove_file(file).unwrap();
    }
    // Which POSTs were in flight is lost, too, so nobody can wait for each of them: they have to be over.
    scene.sandbox.let_pass(SERVED_AFTER).await;

    let done = scene.run(&TWO_HUNDRED).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(scene.posts_and_jobs().await.1, 200);
    let records = scene.records("records.jsonl");
    scene.judge(&briefs, records.clone()).await;
    // The new ledger knows of nothing, so its records tell of its own doings; all else must be as before.
    let both = before.iter().chain(&records).map(without_own_doings).collect();
    Evidence::of_first_runs(scene.sandbox.account().await, both, &briefs).assert_clean();
}

#[tokio::test]
async fn a_csv_file_has_the_identities_of_its_json_lines() {
    let scene = Scene::set(QUICK).await;
    let (jsonl, csv) = (example("spring-launch.jsonl"), example("spring-launch.csv"));
    let first = scene.run(&["generate", &jsonl, "--out", "jsonl.out"]).await;
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let (posts, jobs) = scene.posts_and_jobs().await;

    let second = scene.run(&["generate", &csv, "--out", "csv.out"]).await;
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_eq!(scene.posts_and_jobs().await, (posts, jobs), "the CSV file bought something");
    assert_eq!(jobs, 24);
    assert_eq!(sorted(&scene.text("csv.out")), sorted(&scene.text("jsonl.out")));
    assert_eq!(sorted(&scene.text("csv.out")).len(), 33);
}

#[tokio::test]
async fn the_simulator_needs_no_key_and_never_meets_the_real_ledger() {
    let scene = Scene::set(QUICK).await;
    let ledger = vec![scene.ledger()];
    let file = example("spring-launch.jsonl");
    let simulate = ["generate", &file, "--sandbox", "--speed", "600"];

    let done = scene.run_with(&simulate, &ledger).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("3,190 credits, once"), "{}", done.stderr);
    assert_eq!(scene.ledger_files(), BTreeSet::new());

    // The same with a ledger that knows these briefs already: it is neither read nor written.
    assert_eq!(scene.run(&["generate", &file]).await.code, Some(0));
    let (before, posts) = (scene.ledger_files(), scene.posts_and_jobs().await);
    assert!(!before.is_empty());
    let done = scene.run_with(&simulate, &[scene.variables.clone(), ledger].concat()).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("3,190 credits, once"), "{}", done.stderr);
    assert_eq!(scene.ledger_files(), before);
    assert_eq!(scene.posts_and_jobs().await, posts, "the other API was asked");
}

#[tokio::test]
async fn what_fails_is_told_with_what_helps_and_standard_output_holds_records_only() {
    let scene = Scene::set(QUICK).await;
    let file = example("with-failures.jsonl");
    let done = scene.run_with(&["generate", &file, "--sandbox", "--speed", "600"], &[]).await;
    assert_eq!(done.code, Some(1), "{}", done.stderr);

    let records: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(records.iter().all(|record| record["schema"] == "briefd.record/1"));
    let named: BTreeSet<_> = records.iter().map(|record| record["briefId"].to_string()).collect();
    assert_eq!(named.len(), 11, "{named:?}");
    let told: BTreeSet<_> = records.iter().filter_map(|record| record["error"]["code"].as_str()).collect();
    for code in told {
        assert!(done.stderr.contains(code), "{code} is not in:\n{}", done.stderr);
    }
    for named in ["what helps", "RENDER_FAILED", "MODERATION_BLOCKED", "INVALID_BRIEF", "EXPIRED", "line 6: "]
    {
        assert!(done.stderr.contains(named), "{named} is not in:\n{}", done.stderr);
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_one_line_and_exit_code_3() {
    let scene = Scene::set(QUICK).await;
    let done = scene.run(&["generate", "nowhere.jsonl"]).await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(3), ""));
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    assert!(done.stderr.contains("nowhere.jsonl"), "{}", done.stderr);
    assert_eq!(scene.ledger_files(), BTreeSet::new());
}

#[tokio::test]
async fn what_costs_money_is_refused_without_a_yes_before_anything_is_connected_to() {
    let scene = Scene::set(QUICK).await;
    scene.write("briefs.jsonl", &[plain(1).to_string()]);
    // Whoever wants to reach a host that is not this machine has to come by here.
    let gate = TcpListener::bind("127.0.0.1:0").unwrap();
    gate.set_nonblocking(true).unwrap();
    let variables = vec![
        ("BRIEFD__LAYERS__BASE_URL", "https://192.0.2.1".to_owned()),
        ("LAYERS_API_KEY", API_KEY.to_owned()),
        ("HTTPS_PROXY", format!("http://{}", gate.local_addr().unwrap())),
        scene.ledger(),
    ];
    let refused = scene.run_with(&["generate", "briefs.jsonl"], &variables).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert!(gate.accept().is_err(), "somebody was connected to before the refusal");
    assert_eq!(scene.ledger_files(), BTreeSet::new());

    // With a yes it goes there, so the gate does see who comes.
    let started = Process::start(
        scene.dir.path(),
        briefd(scene.dir.path(), &["generate", "briefs.jsonl", "--yes"], &variables),
    );
    let came = eventually(PROMPTLY, async || gate.accept().ok()).await;
    assert!(came.is_some(), "{}", started.stderr());
}

const TWO_HUNDRED: [&str; 4] = ["generate", "briefs.jsonl", "--out", "records.jsonl"];

/// The API, a directory with a ledger, and the settings that bring them together.
struct Scene {
    sandbox: SandboxProcess,
    dir: TempDir,
    variables: Vec<Variable>,
}

/// A command that has ended.
struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Scene {
    async fn set(sandbox: &str) -> Self {
        let sandbox = SandboxProcess::spawn(&sandbox.split_whitespace().collect::<Vec<_>>()).await;
        let mut scene = Self { sandbox, dir: TempDir::new().unwrap(), variables: Vec::new() };
        scene.variables = scene.sandbox.variables();
        scene.variables.push(scene.ledger());
        let settings = [
            ("BRIEFD__LAYERS__TIER", "unlimited"),
            // More than the sandbox needs to serve a start whose answer got lost.
            ("BRIEFD__SUBMIT__REPEAT_AFTER", "1s"),
            ("BRIEFD__SUBMIT__RETRY_INITIAL", "20ms"),
            ("BRIEFD__SUBMIT__RETRY_MAX", "200ms"),
            ("BRIEFD__TRACK__POLL_INITIAL", "50ms"),
            ("BRIEFD__TRACK__POLL_MAX", "200ms"),
            ("BRIEFD__TRACK__SWEEP_INTERVAL", "200ms"),
        ];
        scene.variables.extend(settings.map(|(name, value)| (name, value.to_owned())));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ledger(&self) -> Variable {
        ("BRIEFD__LEDGER__URL", format!("sqlite://{}", self.path("briefd.db").display()))
    }

    /// What there is of the ledger, byte for byte.
    fn ledger_files(&self) -> BTreeSet<(PathBuf, Vec<u8>)> {
        let files = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let of_ledger = files.filter(|path| path.to_string_lossy().contains("briefd.db"));
        of_ledger.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    fn write(&self, name: &str, lines: &[String]) {
        std::fs::write(self.path(name), lines.join("\n") + "\n").unwrap();
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The whole lines of a file of records.
    fn records(&self, name: &str) -> Vec<Message> {
        let text = self.text(name);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(Message::of_line).collect()
    }

    fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.dir.path(), briefd(self.dir.path(), arguments, &self.variables))
    }

    async fn run(&self, arguments: &[&str]) -> Done {
        self.run_with(arguments, &self.variables).await
    }

    async fn run_with(&self, arguments: &[&str], variables: &[Variable]) -> Done {
        let mut process = Process::start(self.dir.path(), briefd(self.dir.path(), arguments, variables));
        let code = process.wait_exit(PATIENCE).await.code();
        Done { code, stdout: process.stdout(), stderr: process.stderr() }
    }

    async fn posts_and_jobs(&self) -> (Value, u64) {
        let account = self.sandbox.account().await;
        (account["posts"].clone(), account["jobsMade"].as_u64().unwrap())
    }

    /// Two hundred briefs; one in ten has its answer lost.
    fn write_two_hundred(&self) -> Vec<Value> {
        let mut briefs: Vec<Value> = (0..200).map(plain).collect();
        for brief in briefs.iter_mut().step_by(10) {
            brief["metadata"] = json!({"sandbox": {"faults": ["accepted-unanswered"]}});
        }
        self.write("briefs.jsonl", &briefs.iter().map(Value::to_string).collect::<Vec<_>>());
        briefs
    }

    /// A slow API, and a process that works on two hundred briefs and is in the middle of them.
    async fn in_the_middle() -> (Self, Vec<Value>, Process) {
        let scene = Self::set(SLOW).await;
        let briefs = scene.write_two_hundred();
        let mut first = scene.start(&TWO_HUNDRED);
        scene.until_in_the_middle(&mut first).await;
        (scene, briefs, first)
    }

    /// Some records are written, and a POST has just arrived, so it is being served for a while.
    async fn until_in_the_middle(&self, process: &mut Process) {
        let mut posts = u64::MAX;
        let middle = eventually(PROMPTLY, async || {
            let (now, _) = self.posts_and_jobs().await;
            let arrived = now["generate"].as_u64().unwrap();
            let grew = arrived > posts;
            posts = arrived;
            let written = std::fs::read(self.path("records.jsonl.part")).unwrap_or_default();
            (grew && written.split(|byte| *byte == b'\n').count() > 20).then_some(())
        });
        assert!(middle.await.is_some(), "it said:\n{}", process.stderr());
    }

    /// The records that the first go has written.
    async fn left_by_the_first(&self) -> Vec<Message> {
        assert!(!self.path("records.jsonl").exists(), "the file has its name before it is whole");
        let (_, jobs) = self.posts_and_jobs().await;
        assert!(jobs < 200, "the end came too late to prove anything");
        self.records("records.jsonl.part")
    }

    async fn judge(&self, briefs: &[Value], records: Vec<Message>) {
        judge_first_runs(&self.sandbox, self.dir.path(), records, briefs).await;
    }

    /// The second file alone is whole; together with what the first go wrote, equal ids have equal bytes.
    async fn judge_both(&self, briefs: &[Value], before: Vec<Message>) {
        assert!(!self.path("records.jsonl.part").exists());
        let records = self.records("records.jsonl");
        assert_eq!(records.len(), briefs.len());
        self.judge(briefs, records.clone()).await;
        self.judge(briefs, [before, records].concat()).await;
    }
}

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).display().to_string()
}

fn sorted(text: &str) -> BTreeSet<&str> {
    text.lines().collect()
}

fn plain(n: u64) -> Value {
    json!({
        "projectId": format!("project.{}", n % 3), "batchId": "thousand", "briefId": format!("brief-{n}"),
        "format": "slideshow_remix", "brief": {"hook": format!("Hook {n}")},
    })
}
