//! Questions: only on a terminal. Without one, `--yes` or refusal.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;

use super::UsageError;

/// Whether somebody sits there who can answer.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether a person agrees to what `text` says, asked with `question`; `yes`: they did already. Without a terminal to
/// ask on it is refused, saying that `--yes` does it.
pub(super) async fn agreed(text: &str, question: &str, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !can_ask() {
        return Err(UsageError(format!("{text}\nwithout a terminal to ask on: add --yes to do it")).into());
    }
    write!(io::stderr(), "{text}\n{question} [y/N] ")?;
    said_yes().await
}

/// Reads the answer to a question.
pub(super) async fn said_yes() -> anyhow::Result<bool> {
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await?.context("the answer cannot be read")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
