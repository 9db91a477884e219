//! The real program as a child process: the worker, the sandbox, or any command.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::{Variable, eventually};

/// Bound of waits for something that a healthy program does at once.
pub const PROMPTLY: Duration = Duration::from_secs(30);
/// The key that sandboxes of tests let in.
pub const API_KEY: &str = "lp_test_0123456789abcdef_0123456789abcdef0123456789abcdef0123456789a";

/// A port of 127.0.0.1 that nobody listens on. It lies below those that systems hand out by themselves (and those of
/// brokers), so that nobody gets it by chance until somebody listens there.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_240;
    const PORTS: u32 = 9_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = std::iter::repeat_with(|| {
        let nth = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        FIRST + u16::try_from(nth % PORTS).expect("there are fewer ports")
    });
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.by_ref().take(1_000).find(free).expect("a port is free")
}

/// `briefd` with the given arguments, in `dir`, knowing nothing of the caller's settings.
pub fn briefd(dir: &Path, arguments: &[&str], variables: &[Variable]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_briefd"));
    command.args(arguments).current_dir(dir).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(variables.iter().map(|(name, value)| (*name, value)));
    command
}

/// A command as a shell runs it that does something first.
pub fn after(first: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{first} exec \"$0\" \"$@\""))
        .arg(command.get_program())
        .args(command.get_args());
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    shell
}

/// Sends a process a signal, such as `USR1`.
pub fn send_signal(process_id: &str, name: &str) {
    let status = Command::new("kill").args(["-s", name, process_id]).status();
    assert!(status.is_ok_and(|status| status.success()), "SIG{name} cannot be sent: it has ended already");
}

/// A child process. Its output goes to files; it is killed when dropped.
pub struct Process {
    child: Child,
    /// File of its standard output; that of its standard error ends in `.err` instead of `.out`.
    output: PathBuf,
}

impl Process {
    /// Starts a command whose output goes to new files in `dir`.
    pub fn start(dir: &Path, mut command: Command) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let output = dir.join(format!("process-{}.out", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let file = |path: &Path| File::create(path).expect("the test's directory can be written to");
        command.stdin(Stdio::null()).stdout(file(&output)).stderr(file(&output.with_extension("err")));
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        Self { child, output }
    }

    /// Its number at the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.output).expect("the output file can be read")
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.output.with_extension("err")).expect("the output file can be read")
    }

    /// Asks it to end.
    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    /// Stops it where it stands; what is sent to it waits.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Stops it for now at a moment in which others can write its ledger: never in the middle of a write of its own.
    pub async fn freeze_between_writes(&self, ledger: &Path) {
        let frozen = eventually(PROMPTLY, async || {
            self.freeze();
            let options = SqliteConnectOptions::new().filename(ledger).busy_timeout(Duration::ZERO);
            let mut other = options.connect().await.ok()?;
            let free = sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.is_ok();
            other.close().await.ok()?;
            if !free {
                self.thaw();
            }
            free.then_some(())
        });
        assert!(frozen.await.is_some(), "{} is written all the time", ledger.display());
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Interrupts it, as Ctrl-C does.
    pub fn sigint(&self) {
        self.signal("INT");
    }

    /// Ends it without asking; returns when it is gone.
    pub fn sigkill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Sends it a signal, such as `USR1`.
    pub fn signal(&self, name: &str) {
        send_signal(&self.id().to_string(), name);
    }

    /// How many threads of this name it has.
    pub fn threads(&self, name: &str) -> usize {
        let named =
            |thread: &PathBuf| fs::read_to_string(thread.join("comm")).is_ok_and(|it| it.trim() == name);
        self.in_proc("task").filter(named).count()
    }

    /// How many sockets it has open.
    pub fn sockets(&self) -> usize {
        let is_socket = |file: &PathBuf| {
            fs::read_link(file).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
        };
        self.in_proc("fd").filter(is_socket).count()
    }

    fn in_proc(&self, folder: &str) -> impl Iterator<Item = PathBuf> {
        let folder = format!("/proc/{}/{folder}", self.id());
        let entries = fs::read_dir(folder).expect("a running process is below /proc");
        entries.filter_map(Result::ok).map(|entry| entry.path())
    }

    /// Asks it to end and waits, for places where nothing can be awaited.
    pub fn end_in_order(&mut self) {
        let began = std::time::Instant::now();
        if self.ended().is_none() {
            self.sigterm();
        }
        while self.ended().is_none() && began.elapsed() < PROMPTLY {
            std::thread::sleep(super::LOOK_AGAIN);
        }
    }

    /// Waits until it has ended by itself.
    pub async fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let ended = eventually(within, async || self.ended()).await;
        ended.unwrap_or_else(|| panic!("it has not ended within {within:?}; it said:\n{}", self.stderr()))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits until an address answers with 200 and returns the body.
    async fn wait_answer(&mut self, url: &str, within: Duration) -> String {
        let answer = eventually(within, async || {
            if let Some(status) = self.ended() {
                panic!("it ended ({status}) instead of serving {url}; it said:\n{}", self.stderr());
            }
            get(url).await
        });
        let answer = answer.await;
        answer
            .unwrap_or_else(|| panic!("{url} did not answer within {within:?}; it said:\n{}", self.stderr()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error says that it has ended already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            // Its folder may be gone already, and a second panic would end all tests.
            let said = fs::read_to_string(self.output.with_extension("err")).unwrap_or_default();
            eprintln!("--- {} said:\n{said}", self.output.display());
        }
    }
}

/// The body, if the answer is 200.
async fn get(url: &str) -> Option<String> {
    look(url).await.filter(|(status, _)| *status == 200).map(|(_, body)| body)
}

/// Status and body of an answer; `None`: nobody answers.
async fn look(url: &str) -> Option<(u16, String)> {
    let answer = client().get(url).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(5)).build().expect("a client can be made")
}

/// `briefd run`, with its ledger in a directory that the test keeps, so that a second one can go on with it.
pub struct Worker {
    /// The process.
    pub process: Process,
    http: String,
}

impl Worker {
    /// Starts a worker; later variables win.
    pub fn spawn(dir: &Path, variables: &[Variable]) -> Self {
        Self::spawn_after(dir, variables, "")
    }

    /// The same by a shell that does something first, such as `ulimit -f 100;`.
    pub fn spawn_after(dir: &Path, variables: &[Variable], first: &str) -> Self {
        let named = variables.iter().rfind(|(name, _)| *name == "BRIEFD__HTTP__LISTEN");
        let address =
            named.map_or_else(|| format!("127.0.0.1:{}", free_port()), |(_, address)| address.clone());
        let mut all = vec![
            ("BRIEFD__HTTP__LISTEN", address.clone()),
            ("BRIEFD__LEDGER__URL", format!("sqlite://{}", dir.join("briefd.db").display())),
        ];
        all.extend_from_slice(variables);
        let process = Process::start(dir, after(first, &briefd(dir, &["run"], &all)));
        Self { process, http: format!("http://{address}") }
    }

    /// The setting that it was started with, for commands beside it.
    pub fn listens(&self) -> Variable {
        ("BRIEFD__HTTP__LISTEN", self.http.trim_start_matches("http://").to_owned())
    }

    /// Waits until broker, ledger and stages are up.
    pub async fn wait_ready(&mut self) {
        self.process.wait_answer(&format!("{}/readyz", self.http), PROMPTLY).await;
    }

    /// The metrics as Prometheus text.
    pub async fn metrics(&self) -> String {
        get(&format!("{}/metrics", self.http)).await.expect("a running worker serves its metrics")
    }

    /// The value of one series, such as `briefd_amqp_reconnects_total`.
    pub async fn series(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("there is no series {series}"))
    }

    /// Waits until a series has a value.
    pub async fn wait_series(&self, series: &str, value: f64) {
        let mut last = f64::NAN;
        let reached = eventually(PROMPTLY, async || {
            last = self.series(series).await;
            (last.total_cmp(&value).is_eq()).then_some(())
        });
        let reached = reached.await.is_some();
        assert!(reached, "{series} is {last}, not {value}; the worker said:\n{}", self.process.stderr());
    }

    /// Status and body of one of its endpoints, such as `/readyz`; `None`: nobody answers.
    pub async fn look(&self, path: &str) -> Option<(u16, Value)> {
        let (status, body) = look(&format!("{}{path}", self.http)).await?;
        Some((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
    }

    /// Waits until it has said something on standard error.
    pub async fn wait_said(&self, words: &str) {
        let said = eventually(PROMPTLY, async || self.process.stderr().contains(words).then_some(()));
        assert!(said.await.is_some(), "it did not say {words:?}, but:\n{}", self.process.stderr());
    }
}

/// `briefd sandbox`.
pub struct SandboxProcess {
    /// The process.
    pub process: Process,
    url: String,
    _dir: TempDir,
}

impl SandboxProcess {
    /// Starts a sandbox that lets [`API_KEY`] in, and waits until it answers.
    pub async fn spawn(arguments: &[&str]) -> Self {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let address = format!("127.0.0.1:{}", free_port());
        let mut all = vec!["sandbox", "--listen", &address, "--api-key", API_KEY];
        all.extend_from_slice(arguments);
        let process = Process::start(dir.path(), briefd(dir.path(), &all, &[]));
        let mut sandbox = Self { process, url: format!("http://{address}"), _dir: dir };
        let summary = format!("{}/_sandbox/account?summary=1", sandbox.url);
        sandbox.process.wait_answer(&summary, PROMPTLY).await;
        sandbox
    }

    /// The settings that make a worker use this sandbox.
    pub fn variables(&self) -> Vec<Variable> {
        vec![("BRIEFD__LAYERS__BASE_URL", self.url.clone()), ("LAYERS_API_KEY", API_KEY.to_owned())]
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until so much of its time has passed.
    pub async fn let_pass(&self, time: Duration) {
        let now = async || {
            self.account_summary().await["now"].as_str().and_then(|now| now.parse::<jiff::Timestamp>().ok())
        };
        let later = now().await.expect("the account tells the time") + time;
        let passed = eventually(PROMPTLY, async || now().await.filter(|now| *now >= later)).await;
        assert!(passed.is_some(), "{time:?} of the sandbox's time have not passed");
    }

    /// Changes its `account` or its `faults` from now on.
    pub async fn change(&self, what: &str, change: &Value) {
        let url = format!("{}/_sandbox/{what}", self.url);
        let answer = client().put(&url).body(change.to_string()).send().await.expect("the sandbox answers");
        assert_eq!(answer.status(), 200, "PUT {url} {change}: {:?}", answer.text().await);
    }

    /// Does what somebody else with the same account may do, such as `/v1/jobs/ID/cancel`.
    pub async fn post(&self, path: &str) {
        self.post_body(path, &Value::Object(serde_json::Map::new())).await;
    }

    /// The same with a body.
    pub async fn post_body(&self, path: &str, body: &Value) {
        let url = format!("{}{path}", self.url);
        let request = client().post(&url).header("X-Api-Key", API_KEY).body(body.to_string());
        let answer = request.send().await.expect("the sandbox answers");
        assert!(answer.status().is_success(), "POST {url}: {:?}", answer.text().await);
    }

    /// What it did and was asked, as JSON.
    pub async fn account(&self) -> Value {
        self.account_at("/_sandbox/account").await
    }

    /// The same without its lists: those of a million jobs are too long for one answer.
    pub async fn account_summary(&self) -> Value {
        self.account_at("/_sandbox/account?summary=1").await
    }

    async fn account_at(&self, path: &str) -> Value {
        let text = get(&format!("{}{path}", self.url)).await.expect("the sandbox answers");
        serde_json::from_str(&text).expect("the account is JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_and_exit_status_of_a_process_are_kept() {
        let dir = TempDir::new().unwrap();
        let mut process = Process::start(dir.path(), shell("echo out; echo err >&2; exit 3"));
        assert_eq!(process.wait_exit(PROMPTLY).await.code(), Some(3));
        assert_eq!((process.stdout().as_str(), process.stderr().as_str()), ("out\n", "err\n"));
    }

    #[tokio::test]
    async fn a_process_can_be_asked_to_end() {
        use std::os::unix::process::ExitStatusExt;
        let dir = TempDir::new().unwrap();
        let mut process = Process::start(dir.path(), shell("exec sleep 600"));
        process.sigterm();
        assert_eq!(process.wait_exit(PROMPTLY).await.signal(), Some(15));
    }

    #[test]
    fn a_process_does_not_outlive_its_test() {
        let dir = TempDir::new().unwrap();
        let process = Process::start(dir.path(), shell("exec sleep 600"));
        let id = process.child.id().to_string();
        drop(process);
        let alive = Command::new("kill").args(["-0", &id]).stderr(Stdio::null()).status().unwrap();
        assert!(!alive.success());
    }

    #[tokio::test]
    #[should_panic(expected = "broken on purpose")]
    async fn a_process_that_ends_instead_of_serving_is_named_with_what_it_said() {
        let dir = TempDir::new().unwrap();
        let mut process = Process::start(dir.path(), shell("echo broken on purpose >&2; exit 1"));
        process.wait_exit(PROMPTLY).await;
        process.wait_answer(&format!("http://127.0.0.1:{}/", free_port()), PROMPTLY).await;
    }
}
