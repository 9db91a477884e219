//! Whether the key can read the projects that have a name. A key that cannot read must not buy.

use super::Checks;
use super::account::{bounded, words};
use crate::config::Settings;
use crate::job::Trouble;
use crate::layers::{Client, ListQuery};

/// Of the six reads a minute that a worker leaves to commands, those that whoami and credits leave over.
const ASKED_MAX: usize = 4;

pub(super) async fn check(checks: &mut Checks, client: &Client, settings: &Settings) {
    if settings.projects.is_empty() {
        return checks.unchecked("projects", "none has a name in [projects]");
    }
    let one = ListQuery { limit: Some(1), ..ListQuery::default() };
    let mut readable = Vec::new();
    for (alias, id) in settings.projects.iter().take(ASKED_MAX) {
        match bounded(client.list(id, &one)).await {
            Ok(_) => readable.push(alias.as_str()),
            Err(trouble) => unreadable(checks, alias, id, &trouble),
        }
    }
    if !readable.is_empty() {
        let more = settings.projects.len().saturating_sub(ASKED_MAX);
        let more = if more > 0 { format!("; {more} more were not asked for") } else { String::new() };
        checks.good("projects", format!("can be read: {}{more}", readable.join(", ")));
    }
}

fn unreadable(checks: &mut Checks, alias: &str, id: &str, trouble: &Trouble) {
    match trouble {
        Trouble::Refusal(refusal) if refusal.status == 404 => checks.warn(
            "projects",
            format!("{alias} ({id}) is not known to the API under this key"),
            format!("correct projects.{alias}, or use a key of its organization"),
        ),
        Trouble::Refusal(refusal) if refusal.status == 403 => checks.bad(
            "projects",
            format!("{alias} cannot be read with this key: {}", words(Some(trouble))),
            "give the key content:read: what it buys could not be collected",
        ),
        Trouble::Refusal(_) | Trouble::NoAnswer(_) | Trouble::NotConnected(_) => {
            checks.unchecked("projects", format!("{alias}: {}", words(Some(trouble))));
        }
    }
}
