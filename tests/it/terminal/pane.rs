//! A real terminal: tmux, 80 columns wide, without anybody's settings.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use super::PATIENCE;
use crate::support::{Variable, eventually};

/// Columns.
pub const WIDTH: usize = 80;

/// What was on the terminal when a command had ended.
pub struct Shown {
    /// The lines, as they stood there.
    pub text: String,
    /// The same with lines that had to be wrapped in one piece.
    pub unwrapped: String,
    /// The same with what colors them.
    pub escapes: String,
    /// A line was longer than the terminal is wide.
    pub is_wrapped: bool,
    /// The command's exit code.
    pub code: i32,
}

/// A tmux server with a socket of its own, for commands one after the other. It ends with this value.
pub struct Terminal {
    socket: PathBuf,
    dir: PathBuf,
    exports: String,
}

impl Terminal {
    /// Commands run in `dir` with these settings.
    pub fn open(dir: &Path, variables: &[Variable]) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let found = Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success());
        assert!(
            found,
            "the tests in a terminal need tmux: run them with tests/run, or `sudo apt-get install tmux`"
        );
        let quoted = |value: &str| format!("'{}'", value.replace('\'', r"'\''"));
        // A shell cannot export a name with a dash, env can.
        let exports = variables.iter().map(|(name, value)| format!(" {name}={}", quoted(value))).collect();
        let socket = dir.join(format!("tmux-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        Self { socket, dir: dir.to_owned(), exports }
    }

    /// Starts a command; its exit code and the terminal's modes are shown behind what it says.
    pub fn start(&self, words: &[&str]) {
        let quoted: Vec<String> =
            words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        let script = self.dir.join("case.sh");
        let text = format!(
            "trap : INT\ncd '{}'\nenv{} '{}' {}\necho \"[exit $?]\"\nstty -a | tr ';\\n' '  '\necho '[end]'\nexec sleep 600\n",
            self.dir.display(),
            self.exports,
            env!("CARGO_BIN_EXE_briefd"),
            quoted.join(" ")
        );
        std::fs::write(&script, text).expect("the test's directory can be written to");
        let (columns, script) = (WIDTH.to_string(), script.display().to_string());
        self.tmux(&["new-session", "-d", "-s", "it", "-x", &columns, "-y", "400", &format!("sh {script}")]);
    }

    /// Runs a command to its end.
    pub async fn run(&self, words: &[&str]) -> Shown {
        self.start(words);
        self.ended().await
    }

    /// Runs a command until it has said something, and then presses Ctrl-C.
    pub async fn until(&self, words: &[&str], saying: &str) -> Shown {
        self.start(words);
        self.wait_for(saying).await;
        self.press("C-c");
        self.ended().await
    }

    async fn ended(&self) -> Shown {
        let page = self.wait_for("[end]").await;
        let capture = |how: &[&str]| {
            let page = self.tmux(&[&["capture-pane", "-p", "-t", "it", "-S", "-"], how].concat());
            page.split("[exit ").next().unwrap_or_default().trim_end().to_owned()
        };
        let code = page.split("[exit ").nth(1).and_then(|rest| rest.split(']').next()?.parse().ok());
        // Such a capture keeps blanks at the ends of lines.
        let lines: Vec<String> = capture(&["-J"]).lines().map(|line| line.trim_end().to_owned()).collect();
        let shown = Shown {
            text: capture(&[]),
            escapes: capture(&["-e"]),
            is_wrapped: lines.iter().any(|line| line.chars().count() > WIDTH),
            unwrapped: lines.join("\n"),
            code: code.expect("the shell tells the exit code"),
        };
        self.tmux(&["kill-session", "-t", "it"]);
        shown
    }

    /// Waits until something stands on the terminal, and returns all of it.
    pub async fn wait_for(&self, words: &str) -> String {
        let mut page = String::new();
        let there = eventually(PATIENCE, async || {
            page = self.tmux(&["capture-pane", "-p", "-t", "it", "-S", "-"]);
            page.contains(words).then_some(())
        });
        let there = there.await.is_some();
        assert!(there, "{words:?} does not come up; there is:\n{page}");
        page
    }

    /// Presses a key, as tmux names it.
    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", "-t", "it", key]);
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(&self.socket).args(["-f", "/dev/null"]).args(arguments);
        command.env_clear().env("LANG", "C.UTF-8").env("TERM", "xterm");
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        let output = command.output().expect("tmux can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        // It may have ended with its last session.
        drop(command.arg("-S").arg(&self.socket).arg("kill-server").output());
    }
}
