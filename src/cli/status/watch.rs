//! `--watch`: the same page again and again, in place. On a terminal it has a screen of its own, is overwritten rather
//! than cleared (so it does not flicker), and gives the terminal back as it was, however it ends.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::clock::Clock;

/// A screen of its own, without cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
/// What an earlier, longer line or page left behind.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Draws `page` every `step` until somebody ends it.
pub(super) async fn watch(
    step: Duration,
    clock: &Clock,
    out: &mut impl Write,
    mut page: impl AsyncFnMut() -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    // One listener each for the whole loop: a Ctrl-C during a query must not be lost.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut resize = signal(SignalKind::window_change())?;
    let screen = Screen::enter(out)?;
    let keys = Keys::listen();
    let mut last = String::new();
    let ended = loop {
        match page().await {
            Ok(drawn) => last = drawn,
            Err(error) => break Err(error),
        }
        if let Err(error) = draw(out, &last, screen.is_some()) {
            break Err(error.into());
        }
        tokio::select! {
            () = clock.sleep(step) => {}
            _ = resize.recv() => {}
            () = keys.quit() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            _ = hang_up.recv() => break Ok(()),
        }
    };
    drop(keys);
    if let Some(screen) = screen {
        drop(screen);
        // What was seen last stays.
        if ended.is_ok() {
            writeln!(out, "{last}")?;
            out.flush()?;
        }
    }
    ended
}

fn draw(out: &mut impl Write, page: &str, on_screen: bool) -> io::Result<()> {
    if on_screen {
        let rows = rustix::termios::tcgetwinsize(io::stdout()).map_or(24, |size| usize::from(size.ws_row));
        out.write_all(frame(page, rows).as_bytes())?;
    } else {
        writeln!(out, "{page}")?;
    }
    out.flush()
}

/// One write that turns what is on the screen into `page`; what has no room is left out and said to be.
fn frame(page: &str, rows: usize) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines.len() > room { &lines[..room - 1] } else { &lines[..] };
    let mut frame = HOME.to_owned();
    for line in shown {
        frame.push_str(line);
        frame.push_str(CLEAR_LINE);
        frame.push_str("\r\n");
    }
    if shown.len() < lines.len() {
        frame.push_str(&format!("… {} more lines{CLEAR_LINE}\r\n", lines.len() - shown.len()));
    }
    frame.push_str(&format!("q: end{CLEAR_LINE}{CLEAR_BELOW}"));
    frame
}

/// The terminal's other screen; the first one comes back when this goes.
struct Screen;

impl Screen {
    fn enter(out: &mut impl Write) -> io::Result<Option<Self>> {
        if !io::stdout().is_terminal() {
            return Ok(None);
        }
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(Some(Self))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout();
        drop(out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush()));
    }
}

/// Keys as they are pressed, without Enter and without echo, while this lives.
struct Keys {
    /// What the terminal was like; `None`: there is none, and no keys.
    before: Option<Termios>,
    quit: Arc<Notify>,
    over: Arc<AtomicBool>,
}

impl Keys {
    fn listen() -> Self {
        let keys = Self { before: single_keys(), quit: Arc::default(), over: Arc::default() };
        if keys.before.is_some() {
            let (quit, over) = (Arc::clone(&keys.quit), Arc::clone(&keys.over));
            // Reading a terminal blocks, so it has a thread of its own, which looks up five times a second.
            std::thread::spawn(move || {
                let mut pressed = [0; 64];
                while !over.load(Ordering::Acquire) {
                    match rustix::io::read(io::stdin(), &mut pressed) {
                        Ok(n) if pressed[..n].iter().any(|key| matches!(key, b'q' | b'Q')) => {
                            quit.notify_one();
                        }
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(_) => return,
                    }
                }
            });
        }
        keys
    }

    /// Returns when `q` was pressed; never where there are no keys.
    async fn quit(&self) {
        self.quit.notified().await;
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(before) = &self.before {
            restore(before);
        }
    }
}

/// Has a read return each key at once, and nothing after a fifth of a second without one. Returns what was before.
fn single_keys() -> Option<Termios> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let before = tcgetattr(io::stdin()).ok()?;
    let mut single = before.clone();
    single.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
    single.special_codes[SpecialCodeIndex::VMIN] = 0;
    single.special_codes[SpecialCodeIndex::VTIME] = 2;
    tcsetattr(io::stdin(), OptionalActions::Now, &single).ok()?;
    Some(before)
}

fn restore(before: &Termios) {
    if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, before) {
        tracing::debug!(%error, "the terminal is gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_overwrites_what_was_there_and_says_what_has_no_room() {
        assert_eq!(frame("a\nb", 10), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\nq: end\x1b[K\x1b[J");
        let long = frame("1\n2\n3\n4\n5", 4);
        assert!(!long.contains("\x1b[2J"), "clearing first is what flickers");
        assert_eq!(long.matches("\r\n").count(), 3, "one row is left for the last line");
        assert!(long.contains("… 3 more lines"), "{long:?}");
    }
}
