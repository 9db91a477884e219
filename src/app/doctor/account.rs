//! The API: within reach, the key good for all that a worker does with it, the account able to pay.

use super::projects;
use super::{Checks, LIMIT, Mark};
use crate::clock::Clock;
use crate::config::Settings;
use crate::config::layers::Tier;
use crate::job::Trouble;
use crate::layers::limits::numbers;
use crate::layers::{BuildError, Client, Credits, Numbers, Whoami};
use crate::ledger::Reader;
use crate::telemetry::Metrics;
use crate::wording::thousands;

/// What a key must be allowed, and what for.
const SCOPES: [(&str, &str); 4] = [
    ("content:write", "no job can be started"),
    ("content:read", "what is bought cannot be collected"),
    ("jobs:read", "what is bought cannot be followed"),
    ("jobs:cancel", "running jobs cannot be canceled"),
];
/// Without it everything works but `briefd cancel` of what runs.
const SPARE: &str = "jobs:cancel";
/// The `Date` header has whole seconds, and an answer takes its time.
const SKEW_SECONDS: i64 = 5;
/// What depends on an answer to `whoami`.
const TOLD: [&str; 4] = ["scopes", "access", "organization", "tier"];

pub(super) async fn check(settings: &Settings, reader: Option<&Reader>, clock: &Clock) -> Checks {
    let mut checks = Checks::of("api");
    let client = match Client::new(&settings.layers, clock.clone(), Metrics::new([])) {
        Ok(client) => client,
        Err(error) => {
            let mark = match &error {
                BuildError::Key(_)
                | BuildError::BaseUrl(_)
                | BuildError::Organization
                | BuildError::Authority { .. } => Mark::BadSettings,
                BuildError::Http(_) => Mark::Bad,
            };
            checks.failed("api", mark, &error);
            return checks;
        }
    };
    let began = std::time::Instant::now();
    let me = bounded(client.whoami()).await;
    let took = began.elapsed();
    if !is_answer(&me) {
        let says = format!("{} does not answer: {}", settings.layers.origin(), words(me.as_ref().err()));
        let mend = "is layers.base_url right and within reach from here (proxy, firewall)? Is Layers up?";
        checks.bad("api", says, mend);
        checks.unchecked("account", "the API was not reached");
        return checks;
    }
    checks.good("api", format!("{} answers, in {} ms", settings.layers.origin(), took.as_millis()));
    key(&mut checks, &me);
    match &me {
        Ok(me) => {
            scopes(&mut checks, me);
            access(&mut checks, me);
            organization(&mut checks, me, settings, reader).await;
            tier(&mut checks, me, settings);
        }
        Err(trouble) => {
            for name in TOLD {
                checks.unchecked(name, format!("whoami did not tell ({})", words(Some(trouble))));
            }
        }
    }
    credits(&mut checks, bounded(client.credits()).await, settings);
    projects::check(&mut checks, &client, settings).await;
    skew(&mut checks, &client);
    checks
}

/// The answer within the limit; what is later than that is no answer.
pub(super) async fn bounded<T>(request: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    match tokio::time::timeout(LIMIT, request).await {
        Ok(answer) => answer,
        Err(_) => Err(Trouble::NotConnected(format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

/// Whether the API itself said something.
fn is_answer<T>(answer: &Result<T, Trouble>) -> bool {
    matches!(answer, Ok(_) | Err(Trouble::Refusal(_)))
}

/// What went wrong, in a clause.
pub(super) fn words(trouble: Option<&Trouble>) -> String {
    match trouble {
        Some(Trouble::NotConnected(detail)) => detail.clone(),
        Some(Trouble::NoAnswer(answer)) => answer.detail.clone(),
        Some(Trouble::Refusal(refusal)) => format!("HTTP {} {}", refusal.status, refusal.code),
        None => String::new(),
    }
}

fn key(checks: &mut Checks, me: &Result<Whoami, Trouble>) {
    match me {
        Ok(me) => {
            let id = me.api_key_id.as_deref().map(|id| format!(", {id}")).unwrap_or_default();
            checks.good("key", format!("is accepted{id}"));
        }
        Err(trouble) if trouble.is_not_found() => {
            checks.unchecked("key", "this deployment has no whoami");
        }
        Err(trouble) => {
            let mend = match trouble {
                Trouble::Refusal(refusal) if refusal.status == 401 => {
                    "give a valid key: LAYERS_API_KEY, or the file of layers.api_key_file"
                }
                Trouble::Refusal(refusal) if refusal.code == "KILL_SWITCH" => {
                    "Layers has switched the key or the organization off: ask them"
                }
                Trouble::Refusal(_) | Trouble::NoAnswer(_) | Trouble::NotConnected(_) => {
                    "if it stays so, ask Layers, with this answer"
                }
            };
            checks.bad("key", format!("is refused: {}", words(Some(trouble))), mend);
        }
    }
}

fn scopes(checks: &mut Checks, me: &Whoami) {
    let Some(scopes) = &me.scopes else {
        return checks.unchecked("scopes", "whoami does not tell them");
    };
    let missing: Vec<_> = SCOPES.iter().filter(|(scope, _)| !scopes.iter().any(|has| has == scope)).collect();
    let why: Vec<String> = missing.iter().map(|(scope, why)| format!("no {scope}: {why}")).collect();
    if missing.is_empty() {
        return checks.good("scopes", "content:read, content:write, jobs:read, jobs:cancel");
    }
    let names: Vec<&str> = missing.iter().map(|(scope, _)| *scope).collect();
    let mend = format!("give the key {} at Layers", names.join(", "));
    let mark = if names == [SPARE] { Mark::Warning } else { Mark::Bad };
    checks.add("scopes", mark, why.join("; "), Some(mend));
}

fn access(checks: &mut Checks, me: &Whoami) {
    if me.access_revoked == Some(true) {
        checks.bad("access", "API access of the organization is revoked", "ask Layers");
    } else if me.kill_switch == Some(true) {
        checks.bad("access", "the organization is switched off (kill switch)", "ask Layers");
    } else {
        checks.good("access", "neither switched off nor revoked");
    }
}

async fn organization(checks: &mut Checks, me: &Whoami, settings: &Settings, reader: Option<&Reader>) {
    let Some(id) = &me.organization_id else {
        return checks.unchecked("organization", "whoami does not tell it");
    };
    let named = me.organization_name.as_ref().map_or_else(|| id.clone(), |name| format!("{name} ({id})"));
    let bound = match reader {
        Some(reader) => reader.meta("organization").await.ok().flatten(),
        None => None,
    };
    let asked = &settings.layers.organization;
    match bound {
        Some(bound) if bound != *id => checks.bad(
            "organization",
            format!(
                "the key is {named}'s, the ledger belongs to {bound}: neither keys nor ids guard between them"
            ),
            format!("use a key of {bound}, or another ledger (--ledger)"),
        ),
        Some(_) | None if !asked.is_empty() && asked != id => checks.warn(
            "organization",
            format!("layers.organization asks for {asked}, the API answers as {named}"),
            "correct layers.organization, or use a key that may act for it",
        ),
        Some(_) => checks.good("organization", format!("{named}, the ledger's too")),
        None => checks.good("organization", named),
    }
}

fn tier(checks: &mut Checks, me: &Whoami, settings: &Settings) {
    let layers = &settings.layers;
    let ours = numbers(layers.tier, layers.limits);
    let Some(word) = &me.tier else { return checks.unchecked("tier", "whoami does not tell it") };
    let Some(told) = Numbers::with_tier_word(word) else {
        return checks.good("tier", format!("{word}, which this version does not know: layers.tier decides"));
    };
    let rates = |numbers: Numbers| {
        format!("{} starts, {} writes, {} reads a minute", numbers.starts, numbers.writes, numbers.reads)
    };
    if layers.tier == Tier::Auto {
        return checks.good("tier", format!("{word}: {}", rates(told.overridden(layers.limits))));
    }
    let faster = ours
        .is_none_or(|ours| ours.starts > told.starts || ours.reads > told.reads || ours.writes > told.writes);
    if faster {
        let says =
            format!("the key is {word} ({}), the settings go faster: the API will refuse", rates(told));
        checks.warn("tier", says, "set layers.tier = \"auto\" and remove [layers.limits]");
    } else {
        checks.good("tier", format!("{word}: {}", rates(told)));
    }
}

fn credits(checks: &mut Checks, answer: Result<Credits, Trouble>, settings: &Settings) {
    let credits = match answer {
        Ok(credits) => credits,
        Err(trouble) if trouble.is_not_found() => {
            return checks.unchecked("credits", "this deployment does not tell them");
        }
        Err(trouble) => return checks.unchecked("credits", words(Some(&trouble))),
    };
    let Some(available) = credits.available else {
        return checks.unchecked("credits", "the API does not tell what is available");
    };
    let billing = credits.billing_status.map(|status| format!(", billing {status}")).unwrap_or_default();
    let cheapest = credits.per_format.values().chain(settings.layers.prices.values()).min().copied();
    let says = format!("{} available{billing}", thousands(available));
    let needed = cheapest.and_then(|price| i64::try_from(price).ok()).unwrap_or(1);
    if available < needed {
        let says = format!("{says}: not enough for one container");
        checks.warn("credits", says, "add credits at Layers; until then starts are held, and nothing fails");
    } else if cheapest.is_none() {
        let mend = "set [layers.prices], so that quotes and records can name credits";
        checks.warn("credits", format!("{says}; the API names no prices"), mend);
    } else {
        checks.good("credits", says);
    }
}

fn skew(checks: &mut Checks, client: &Client) {
    let Some(skew) = client.skew() else {
        return checks.unchecked("clock", "the API's answers have no date");
    };
    let seconds = skew.as_secs();
    if seconds.abs() <= SKEW_SECONDS {
        checks.good("clock", "agrees with the API's to a few seconds");
    } else {
        let way = if seconds > 0 { "ahead of" } else { "behind" };
        let says = format!("{} s {way} the API's: times in briefs are off, too", seconds.abs());
        checks.warn("clock", says, "synchronize this machine's clock (NTP)");
    }
}
