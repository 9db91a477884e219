//! What a sandbox is like: every choice that the API's reference leaves open is a switch here.

use std::collections::BTreeMap;

use thiserror::Error;

use super::choices::known;
pub(super) use super::choices::{Check, ContainerIds, Revision, Tier};
use super::draw::Draw;
use super::faults::Fault;
use super::keys::split_key;

/// A hundred years: beyond it, times could no longer be written as ISO 8601.
const MAX_SECONDS: f64 = 3.2e9;

/// How a sandbox behaves. [`Options::default`] is a quick, patient, fault-free API without rate limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything random follows from it: same seed and same requests, same answers.
    pub seed: u64,
    /// API seconds that pass in one real second. Every duration and rate window below is in API time.
    pub speed: f64,
    /// Which of the documented rate limits apply.
    pub tier: Tier,
    /// Keys that are let in, as `KEY` or `KEY=ORGANIZATION`; empty: one that follows from the seed
    /// ([`Options::default_key`]).
    pub api_keys: Vec<String>,
    /// The organization of every key that names none.
    pub organization_id: String,
    /// What the keys may do: some of [`Options::SCOPES`].
    pub scopes: Vec<String>,
    /// Projects that exist; empty: every project id is taken as known.
    pub projects: Vec<String>,
    /// Projects with two layers: a POST without `projectLayerId` is a conflict there.
    pub two_layers: Vec<String>,
    /// Shortest generation, API seconds.
    pub min_seconds: f64,
    /// Longest generation, API seconds; durations are uniform between the two.
    pub max_seconds: f64,
    /// Share of jobs (0..=1) of which every container fails.
    pub fail_share: f64,
    /// Share of the remaining jobs of several variants, of which some fail and others complete.
    pub partial_share: f64,
    /// Share of briefs that are refused: half as invalid, half by moderation.
    pub refuse_share: f64,
    /// Credits of each organization at the start; `None`: so many that they never end.
    pub credits: Option<u64>,
    /// Projects with a budget of their own, within the organization's credits.
    pub project_credits: BTreeMap<String, u64>,
    /// Most jobs of one organization that may run at once; `None`: no cap.
    pub running_cap: Option<u64>,
    /// New containers start as `pending`, not as `not_required`.
    pub approval_required: bool,
    /// How often each fault happens (0..=1).
    pub faults: BTreeMap<Fault, f64>,
    /// How long the fault `slow` keeps the caller waiting, API seconds.
    pub slow_seconds: f64,
    /// How long each start is being served before it is answered, API seconds.
    pub start_seconds: f64,
    /// How long a start whose answer was lost by a fault still counts as being served, API seconds.
    pub in_flight_seconds: f64,
    /// Two overlapping POSTs of one key make two jobs; otherwise the second is told `IDEMPOTENCY_IN_PROGRESS`.
    pub overlap_makes_two: bool,
    /// Which form the id of the first container has when the caller sent one.
    pub container_ids: ContainerIds,
    /// Answer starts in the short form, which names the first container only.
    pub names_first_container_only: bool,
    /// How far the list endpoint lags behind, API seconds.
    pub list_lag_seconds: f64,
    /// How long a new container cannot be read by its id, API seconds.
    pub read_lag_seconds: f64,
    /// How long an `Idempotency-Key` is remembered, API hours.
    pub key_hours: f64,
    /// A body `id` is forgotten at once: a second start with it makes new containers.
    pub forgets_ids: bool,
    /// Replay 402 for 24 hours like other refusals that were decided after the look-up. `false`: a repeat is
    /// decided anew, so that it succeeds once there are credits again.
    pub replay_billing: bool,
    /// Replay refusals that were decided after the look-up. `false`: only 2xx are remembered.
    pub replay_refusals: bool,
    /// In which order kill switch, scope and rate are checked.
    pub checks: [Check; 3],
    /// Validate a body before its `Idempotency-Key` is looked up.
    pub validates_first: bool,
    /// `whoami` is served while the organization is switched off.
    pub kill_switch_spares_whoami: bool,
    /// Which revision of the documentation is served.
    pub revision: Revision,
    /// Assets name themselves `id`, not `assetId`.
    pub asset_ids_as_id: bool,
    /// Serve `whoami` and `credits`; older deployments do not.
    pub serves_account_endpoints: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            speed: 1.0,
            tier: Tier::Unlimited,
            api_keys: Vec::new(),
            organization_id: "org_sandbox".to_owned(),
            scopes: Self::SCOPES.map(str::to_owned).to_vec(),
            projects: Vec::new(),
            two_layers: Vec::new(),
            min_seconds: 30.0,
            max_seconds: 180.0,
            fail_share: 0.0,
            partial_share: 0.0,
            refuse_share: 0.0,
            credits: None,
            project_credits: BTreeMap::new(),
            running_cap: None,
            approval_required: false,
            faults: BTreeMap::new(),
            slow_seconds: 2.0,
            start_seconds: 0.0,
            in_flight_seconds: 0.0,
            overlap_makes_two: false,
            container_ids: ContainerIds::Ours,
            names_first_container_only: false,
            list_lag_seconds: 0.0,
            read_lag_seconds: 0.0,
            key_hours: 24.0,
            forgets_ids: false,
            replay_billing: true,
            replay_refusals: true,
            checks: Check::ALL,
            validates_first: false,
            kill_switch_spares_whoami: true,
            revision: Revision::A,
            asset_ids_as_id: false,
            serves_account_endpoints: true,
        }
    }
}

impl Options {
    /// Every scope that is documented.
    pub const SCOPES: [&str; 4] = ["content:read", "content:write", "jobs:read", "jobs:cancel"];

    /// The key of a sandbox with this seed, in the documented form `lp_test_<16>_<43>`.
    pub fn default_key(seed: u64) -> String {
        let draw = Draw::new(seed, &["api key"]);
        format!("lp_test_{}_{}", draw.text("public", 16), draw.text("secret", 43))
    }

    /// The keys that are let in, [`Options::default_key`] when none was given.
    pub fn keys(&self) -> Vec<String> {
        if self.api_keys.is_empty() { vec![Self::default_key(self.seed)] } else { self.api_keys.clone() }
    }

    /// Says what is out of range, if anything is.
    pub fn check(&self) -> Result<(), OptionsError> {
        let seconds = [
            ("min-seconds", self.min_seconds),
            ("max-seconds", self.max_seconds),
            ("slow-seconds", self.slow_seconds),
            ("start-seconds", self.start_seconds),
            ("in-flight-seconds", self.in_flight_seconds),
            ("list-lag-seconds", self.list_lag_seconds),
            ("read-lag-seconds", self.read_lag_seconds),
        ];
        let shares = [
            ("fail-share", self.fail_share),
            ("partial-share", self.partial_share),
            ("refuse-share", self.refuse_share),
        ];
        let shares =
            shares.into_iter().chain(self.faults.iter().map(|(fault, share)| (fault.name(), *share)));
        if !(self.speed.is_finite() && self.speed > 0.0) {
            return Err(OptionsError::Speed(self.speed));
        }
        if let Some((name, value)) =
            seconds.into_iter().find(|(_, value)| !(0.0..=MAX_SECONDS).contains(value))
        {
            return Err(OptionsError::Seconds { name, value });
        }
        if let Some((name, value)) = shares.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(OptionsError::Share { name, value });
        }
        if !(0.0..=MAX_SECONDS / 3_600.0).contains(&self.key_hours) {
            return Err(OptionsError::Hours(self.key_hours));
        }
        for key in &self.api_keys {
            check_key(key)?;
        }
        for scope in &self.scopes {
            known("scope", scope, &Self::SCOPES.map(|scope| (scope, ())))?;
        }
        if self.min_seconds > self.max_seconds {
            return Err(OptionsError::Range { min: self.min_seconds, max: self.max_seconds });
        }
        Ok(())
    }
}

/// Says whether this is a key, or a key with its organization.
pub(super) fn check_key(text: &str) -> Result<(), OptionsError> {
    let (key, organization) = split_key(text);
    if key.is_empty() || organization.is_some_and(str::is_empty) {
        return Err(OptionsError::Key);
    }
    Ok(())
}

/// Which option of a sandbox makes no sense.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OptionsError {
    /// Time must go forward.
    #[error("the sandbox's speed must be above 0, not {0}")]
    Speed(f64),
    /// A duration that is negative or endless.
    #[error("the sandbox's {name} must be 0 seconds or more, at most 100 years, not {value}")]
    Seconds {
        /// Which one.
        name: &'static str,
        /// What it was.
        value: f64,
    },
    /// Keys that are remembered for a negative or an endless time.
    #[error("the sandbox's key-hours must be 0 or more, at most 100 years, not {0}")]
    Hours(f64),
    /// A share outside 0..=1.
    #[error("the sandbox's share of {name} must be between 0 and 1, not {value}")]
    Share {
        /// Of what.
        name: &'static str,
        /// What it was.
        value: f64,
    },
    /// The shortest generation is longer than the longest.
    #[error("the sandbox's min-seconds ({min}) must not be above its max-seconds ({max})")]
    Range {
        /// `min_seconds`
        min: f64,
        /// `max_seconds`
        max: f64,
    },
    /// A key is empty, or its organization is. The text may be a secret, so it is not shown.
    #[error("a key of the sandbox must be written as KEY or KEY=ORGANIZATION, neither of them empty")]
    Key,
    /// The checks are not each there once.
    #[error("the sandbox's checks must be kill-switch, scope and rate, each once, not {0}")]
    Order(String),
    /// A word that is none of the known ones.
    #[error("unknown {what} `{given}`; known: {known}")]
    Unknown {
        /// What kind of word was expected.
        what: &'static str,
        /// What was given.
        given: String,
        /// Every word that is known.
        known: String,
    },
}
