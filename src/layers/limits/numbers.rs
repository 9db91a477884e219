//! PURE. How many requests the API allows.

use std::time::Duration;

use super::Class;
use crate::config::layers::{LimitOverrides, Tier};

/// The API's documented window.
const WINDOW: Duration = Duration::from_mins(1);

/// Reads a window that are left to commands,
const COMMANDS_READS: u32 = 6;
/// where there are at least as many as this; else this part of them.
const MANY_READS: u32 = 60;
const COMMANDS_PART: u32 = 20;

/// Requests a window, by class. [`u32::MAX`] means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Every GET.
    pub reads: u32,
    /// POSTs that start no generation.
    pub writes: u32,
    /// POSTs that start generation.
    pub starts: u32,
    /// The window.
    pub window: Duration,
}

impl Numbers {
    /// The default tier, also of keys of which nothing is known.
    pub const STANDARD: Self = Self { reads: 120, writes: 60, starts: 20, window: WINDOW };
    /// `pilot`
    pub const PILOT: Self = Self { reads: 1_200, writes: 600, starts: 60, window: WINDOW };
    /// `partner`
    pub const PARTNER: Self = Self { reads: 6_000, writes: 3_000, starts: 300, window: WINDOW };
    /// No limit in any class.
    pub const UNLIMITED: Self = Self { reads: u32::MAX, writes: u32::MAX, starts: u32::MAX, window: WINDOW };

    /// The numbers of `rateLimitTier` as `whoami` writes it; `None` for a word that this version does not know.
    pub fn with_tier_word(word: &str) -> Option<Self> {
        match word {
            "standard" => Some(Self::STANDARD),
            "pilot" => Some(Self::PILOT),
            "partner" => Some(Self::PARTNER),
            _ => None,
        }
    }

    /// These numbers, with what the settings say instead.
    #[must_use]
    pub fn overridden(self, overrides: LimitOverrides) -> Self {
        Self {
            reads: overrides.reads.unwrap_or(self.reads),
            writes: overrides.writes.unwrap_or(self.writes),
            starts: overrides.starts.unwrap_or(self.starts),
            window: overrides.window.unwrap_or(self.window),
        }
    }

    /// What a worker may use of these: a few reads are left to the commands beside it.
    #[must_use]
    pub fn of_worker(self) -> Self {
        Self { reads: self.reads.saturating_sub(self.left_to_commands()), ..self }
    }

    /// What a command may use of these, so that it and a worker together stay within them.
    #[must_use]
    pub fn of_commands(self) -> Self {
        match self.left_to_commands() {
            0 => self,
            reads => Self { reads, ..self },
        }
    }

    /// Reads a window that a worker leaves to commands; 0 where there is nothing to part.
    fn left_to_commands(self) -> u32 {
        match self.reads {
            0 | 1 | u32::MAX => 0,
            reads if reads < MANY_READS => (reads / COMMANDS_PART).max(1),
            _ => COMMANDS_READS,
        }
    }

    /// The number of `class`; never 0, with which nothing would ever move.
    pub(super) fn of(&self, class: Class) -> u32 {
        match class {
            Class::Read => self.reads,
            Class::Write => self.writes,
            Class::Start => self.starts,
        }
        .max(1)
    }
}

/// The numbers of the settings; `None`: no limit at all. [`Tier::Auto`] begins as standard, until `whoami` tells.
pub fn numbers(tier: Tier, overrides: LimitOverrides) -> Option<Numbers> {
    let of_tier = match tier {
        Tier::Auto | Tier::Standard => Numbers::STANDARD,
        Tier::Pilot => Numbers::PILOT,
        Tier::Partner => Numbers::PARTNER,
        Tier::Unlimited => Numbers::UNLIMITED,
    };
    let numbers = of_tier.overridden(overrides);
    let unlimited = [numbers.reads, numbers.writes, numbers.starts] == [u32::MAX; 3];
    if unlimited { None } else { Some(numbers) }
}
