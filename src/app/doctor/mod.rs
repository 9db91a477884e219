//! `briefd doctor`: looks at everything a worker depends on and says what to do about what is not right.
//!
//! It only reads: `GET` at the API, passive looks at the broker, a read-only ledger, a port that is bound for a moment.
//! It costs nothing, changes nothing, and works beside a running worker and without one. Every check is made whatever
//! the others found, in bounded time; what cannot be looked at is said to be unchecked, never to be good.
//!
//! It does not look into briefs: that is `briefd status`.

mod account;
mod broker;
mod endpoint;
mod ledger;
mod projects;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{ConfigErrors, Loaded, Settings};
use crate::ledger::Reader;

/// How long one look at one thing may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Projects whose bindings are looked for.
const PROJECTS_MAX: usize = 1_000;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// As it should be.
    Good,
    /// Could not be looked at; nothing says that it is bad.
    Unchecked,
    /// Work goes on, or will, but somebody should look.
    Warning,
    /// The settings are wrong.
    BadSettings,
    /// Something that is needed is not there, or refuses.
    Bad,
}

impl Mark {
    /// One word, the same in text and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Unchecked => "skip",
            Self::Warning => "warn",
            Self::BadSettings | Self::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `settings`, `api`, `broker`, `ledger` or `machine`.
    pub group: &'static str,
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// How it is.
    pub mark: Mark,
    /// What was found.
    pub says: String,
    /// What mends it.
    pub mend: Option<String>,
}

/// Checks of one group in the making.
struct Checks {
    group: &'static str,
    list: Vec<Check>,
}

impl Checks {
    const fn of(group: &'static str) -> Self {
        Self { group, list: Vec::new() }
    }

    fn add(&mut self, name: &'static str, mark: Mark, says: impl Into<String>, mend: Option<String>) {
        self.list.push(Check { group: self.group, name, mark, says: says.into(), mend });
    }

    fn good(&mut self, name: &'static str, says: impl Into<String>) {
        self.add(name, Mark::Good, says, None);
    }

    fn unchecked(&mut self, name: &'static str, why: impl Into<String>) {
        self.add(name, Mark::Unchecked, format!("not checked: {}", why.into()), None);
    }

    fn warn(&mut self, name: &'static str, says: impl Into<String>, mend: impl Into<String>) {
        self.add(name, Mark::Warning, says, Some(mend.into()));
    }

    fn bad(&mut self, name: &'static str, says: impl Into<String>, mend: impl Into<String>) {
        self.add(name, Mark::Bad, says, Some(mend.into()));
    }

    /// Our errors say what failed and, behind the first semicolon, what to do next.
    fn failed(&mut self, name: &'static str, mark: Mark, error: &(impl std::fmt::Display + ?Sized)) {
        let text = error.to_string();
        match text.split_once("; ") {
            Some((says, mend)) => self.add(name, mark, says, Some(mend.to_owned())),
            None => self.add(name, mark, text, None),
        }
    }
}

/// What is looked at beyond what the settings name.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The broker's management API, which alone can list bindings and rights.
    pub management: Option<url::Url>,
    /// `generate` needs no broker.
    pub without_broker: bool,
}

/// Looks at everything. Takes a few seconds at most where everything answers.
pub async fn examine(loaded: &Loaded, scope: &Scope, clock: &Clock) -> Vec<Check> {
    let settings = &loaded.settings;
    let reader = tokio::time::timeout(LIMIT, Reader::open_of_any_age(&settings.ledger.path)).await;
    let reader = reader.unwrap_or(Err(crate::ledger::LedgerError::Closed));
    let known = reader.as_ref().ok();
    let projects = known_projects(settings, known).await;
    let (api, broker, ledger, machine) = tokio::join!(
        account::check(settings, known, clock),
        broker::check(settings, known, scope, &projects),
        ledger::check(settings, &reader, clock),
        endpoint::check(settings, known),
    );
    let mut checks = of_settings(loaded).list;
    checks.extend([api, broker, ledger, machine].into_iter().flat_map(|group| group.list));
    checks
}

/// What is left to say where the settings cannot be read: everything else depends on them.
pub fn without_settings(errors: &ConfigErrors) -> Vec<Check> {
    let mut checks = Checks::of("settings");
    checks.add("settings", Mark::BadSettings, errors.to_string(), None);
    checks.unchecked("all else", "it depends on the settings");
    checks.list
}

fn of_settings(loaded: &Loaded) -> Checks {
    let mut checks = Checks::of("settings");
    let set: Vec<_> = loaded.values.iter().filter(|shown| shown.origin != "default").collect();
    // `briefd.toml:7` is one place with all other lines of that file.
    let place = |origin: &str| match origin.rsplit_once(':') {
        Some((file, line)) if line.bytes().all(|byte| byte.is_ascii_digit()) => file.to_owned(),
        Some(_) | None => origin.to_owned(),
    };
    let places: BTreeSet<String> = set.iter().map(|shown| place(&shown.origin)).collect();
    let says = match set.len() {
        0 => "all as built in".to_owned(),
        n => format!(
            "{n} of {} set, by {}",
            loaded.values.len(),
            places.into_iter().collect::<Vec<_>>().join(", ")
        ),
    };
    checks.good("settings", says);
    match loaded.settings.require_api_key() {
        Ok(()) => checks.good("api key", "is set"),
        Err(error) => checks.failed("api key", Mark::BadSettings, &error),
    }
    checks
}

/// Projects that records may be about: those with a name, and those the ledger has briefs of.
async fn known_projects(settings: &Settings, reader: Option<&Reader>) -> BTreeSet<String> {
    let mut projects: BTreeSet<String> = settings.projects.values().cloned().collect();
    if let Some(reader) = reader
        && let Ok(Ok(tally)) = tokio::time::timeout(LIMIT, reader.tally()).await
    {
        projects.extend(tally.into_iter().filter(|row| row.what == "brief").map(|row| row.label));
    }
    projects.into_iter().take(PROJECTS_MAX).collect()
}
