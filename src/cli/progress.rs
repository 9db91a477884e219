//! What a command shows on standard error while it works: a bar on a terminal, and log lines that do not break it.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

/// How often the bar moves although nothing happened: the seconds go on.
const TICK: Duration = Duration::from_millis(500);
const TEMPLATE: &str = "{bar:20}  {pos}/{len} {msg}";

/// Standard error. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Screen(MultiProgress);

impl Screen {
    /// A bar of `length` steps; invisible unless standard error is a terminal.
    pub(super) fn bar(&self, length: u64) -> ProgressBar {
        if !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = self.0.add(ProgressBar::new(length));
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar.enable_steady_tick(TICK);
        bar
    }

    /// Writes something while the bar is out of the way.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// One line on standard error; that nobody reads it is no trouble.
    pub(super) fn say(&self, line: &str) {
        self.aside(|| drop(writeln!(io::stderr(), "{line}")));
    }
}

impl MakeWriter<'_> for Screen {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// One log line comes in one piece.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.aside(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Columns of the terminal behind standard output; `None` if it is none.
pub(super) fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// How long something took or will take: `16 s`, `4 min 10 s`, `3 h 12 min`.
pub(super) fn how_long(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// How many a second, minute or hour: the first of which there is more than one.
pub(super) fn pace(n: u64, time: Duration) -> Option<String> {
    let units = [(1, "s"), (60, "min"), (3_600, "h")];
    let per = |seconds: u64| u128::from(n) * u128::from(seconds) * 1_000 / time.as_millis().max(1);
    units
        .into_iter()
        .map(|(seconds, unit)| (per(seconds), unit))
        .find(|(many, _)| *many > 1)
        .map(|(many, unit)| format!("{many}/{unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_paces_are_told_in_units_that_fit() {
        let told = [0, 16, 60, 250, 3_600, 11_520].map(|seconds| how_long(Duration::from_secs(seconds)));
        assert_eq!(told, ["0 s", "16 s", "1 min 0 s", "4 min 10 s", "1 h 0 min", "3 h 12 min"]);
        let told = [(24, 8), (20, 60), (5, 3_600), (0, 10)]
            .map(|(n, seconds)| pace(n, Duration::from_secs(seconds)).unwrap_or_default());
        assert_eq!(told, ["3/s", "20/min", "5/h", ""]);
    }
}
