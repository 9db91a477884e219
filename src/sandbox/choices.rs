//! The words that options are made of.

use std::str::FromStr;

use super::options::OptionsError;

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

/// Which form the id of the first container has when the caller sent one.
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

/// Which revision of the public documentation is served. They disagree in details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// Either header brings the key, `VALIDATION_FAILED`, a running container is `generating`.
    A,
    /// Only `Authorization: Bearer` brings the key, `VALIDATION`, a running container is `processing`.
    B,
}

impl Revision {
    const ALL: [Self; 2] = [Self::A, Self::B];

    /// The name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl FromStr for Revision {
    type Err = OptionsError;

    fn from_str(name: &str) -> Result<Self, OptionsError> {
        known("revision", name, &Self::ALL.map(|revision| (revision.name(), revision)))
    }
}

/// One of the checks between authentication and the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The organization is not switched off, else 503.
    KillSwitch,
    /// The key has the scope, else 403.
    Scope,
    /// The key's bucket has room, else 429.
    Rate,
}

impl Check {
    /// All, in the order that holds by default.
    pub const ALL: [Self; 3] = [Self::KillSwitch, Self::Scope, Self::Rate];

    /// The name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillSwitch => "kill-switch",
            Self::Scope => "scope",
            Self::Rate => "rate",
        }
    }

    /// Reads an order: each check once, with commas in between.
    pub fn parse_order(text: &str) -> Result<[Self; 3], OptionsError> {
        let table = Self::ALL.map(|check| (check.name(), check));
        let order = text.split(',').map(|name| known("check", name.trim(), &table));
        let order = order.collect::<Result<Vec<_>, _>>()?;
        <[Self; 3]>::try_from(order)
            .ok()
            .filter(|order| Self::ALL.iter().all(|check| order.contains(check)))
            .ok_or_else(|| OptionsError::Order(text.to_owned()))
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
