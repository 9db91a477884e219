//! What a sandbox is like: every choice that the API's reference leaves open is a switch here.

use std::collections::BTreeMap;
use std::str::FromStr;

use thiserror::Error;

use super::draw::Draw;
use super::faults::Fault;

/// How a sandbox behaves. [`Options::default`] is a quick, patient, fault-free API without rate limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything random follows from it: same seed and same requests, same answers.
    pub seed: u64,
    /// API seconds that pass in one real second. Every duration and rate window below is in API time.
    pub speed: f64,
    /// Which of the documented rate limits apply.
    pub tier: Tier,
    /// Keys that are let in; empty: one that follows from the seed ([`Options::default_key`]).
    pub api_keys: Vec<String>,
    /// What `whoami` answers when no `X-Layers-Organization` was sent.
    pub organization_id: String,
    /// What the keys may do: `content:read`, `content:write`, `jobs:read`, `jobs:cancel`.
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
    /// Credits at the start; `None`: so many that they never end.
    pub credits: Option<u64>,
    /// Most jobs that may run at once; `None`: no cap.
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
    /// Replay 402 for 24 hours like other refusals that were decided after the look-up. `false`: a repeat is
    /// decided anew, so that it succeeds once there are credits again.
    pub replay_billing: bool,
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
            scopes: ["content:read", "content:write", "jobs:read", "jobs:cancel"].map(str::to_owned).to_vec(),
            projects: Vec::new(),
            two_layers: Vec::new(),
            min_seconds: 30.0,
            max_seconds: 180.0,
            fail_share: 0.0,
            partial_share: 0.0,
            refuse_share: 0.0,
            credits: None,
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
            replay_billing: true,
            serves_account_endpoints: true,
        }
    }
}

impl Options {
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
        // A hundred years: beyond it, times could no longer be written as ISO 8601.
        if let Some((name, value)) = seconds.into_iter().find(|(_, value)| !(0.0..=3.2e9).contains(value)) {
            return Err(OptionsError::Seconds { name, value });
        }
        if let Some((name, value)) = shares.into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(OptionsError::Share { name, value });
        }
        if self.min_seconds > self.max_seconds {
            return Err(OptionsError::Range { min: self.min_seconds, max: self.max_seconds });
        }
        Ok(())
    }
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

/// Which of the documented rate limits apply, per API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// 120 reads, 60 short writes, 20 starts a minute.
    Standard,
    /// 1,200 reads, 600 short writes, 60 starts a minute.
    Pilot,
    /// 6,000 reads, 3,000 short writes, 300 starts a minute.
    Partner,
    /// No limit.
    Unlimited,
}

impl Tier {
    const ALL: [Self; 4] = [Self::Standard, Self::Pilot, Self::Partner, Self::Unlimited];

    /// The name in options and in `whoami`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Pilot => "pilot",
            Self::Partner => "partner",
            Self::Unlimited => "unlimited",
        }
    }
}

impl FromStr for Tier {
    type Err = OptionsError;

    fn from_str(name: &str) -> Result<Self, OptionsError> {
        known("tier", name, &Self::ALL.map(|tier| (tier.name(), tier)))
    }
}

/// Which form the id of the first container has when the caller sent one as `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerIds {
    /// The caller's own id.
    Ours,
    /// A `cnt_` id; the container can be read by the caller's id, too.
    CntAlias,
    /// A `cnt_` id; the caller's own id is not found.
    CntOnly,
}

impl ContainerIds {
    const ALL: [Self; 3] = [Self::Ours, Self::CntAlias, Self::CntOnly];

    /// The name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::CntAlias => "cnt-alias",
            Self::CntOnly => "cnt-only",
        }
    }
}

impl FromStr for ContainerIds {
    type Err = OptionsError;

    fn from_str(name: &str) -> Result<Self, OptionsError> {
        known("form of container ids", name, &Self::ALL.map(|form| (form.name(), form)))
    }
}

/// Finds a word in a table, or names all of them.
pub(super) fn known<T: Copy>(
    what: &'static str,
    given: &str,
    table: &[(&str, T)],
) -> Result<T, OptionsError> {
    table.iter().find(|(name, _)| *name == given).map(|(_, value)| *value).ok_or_else(|| {
        OptionsError::Unknown {
            what,
            given: given.to_owned(),
            known: table.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
        }
    })
}
