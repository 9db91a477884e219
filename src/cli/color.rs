//! Colors: only on a terminal, never where `NO_COLOR` is set. They repeat what the words say.

use std::io::IsTerminal as _;

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warning,
    Trouble,
    Faint,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warning => "33",
            Self::Trouble => "1;31",
            Self::Faint => "2",
        }
    }
}

/// Whether standard output is colored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    /// As the terminal and the environment want it (<https://no-color.org>).
    pub(super) fn of_stdout() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self(std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !dumb)
    }

    /// `text`, colored or as it is.
    pub(super) fn tint(self, tone: Tone, text: &str) -> String {
        if self.0 { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_owned() }
    }

    /// The first `width` characters colored.
    pub(super) fn tint_start(self, tone: Tone, line: &str, width: usize) -> String {
        match line.char_indices().nth(width) {
            Some((at, _)) if self.0 => format!("{}{}", self.tint(tone, &line[..at]), &line[at..]),
            Some(_) | None => line.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_same_with_and_without_color() {
        assert_eq!(Paint(false).tint(Tone::Trouble, "bad"), "bad");
        assert_eq!(Paint(true).tint(Tone::Good, "ok"), "\x1b[32mok\x1b[0m");
        assert_eq!(Paint(true).tint_start(Tone::Trouble, "! é HELD", 3), "\x1b[1;31m! é\x1b[0m HELD");
        assert_eq!(Paint(true).tint_start(Tone::Trouble, "!", 3), "!");
    }
}
