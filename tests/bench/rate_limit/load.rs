//! What is asked for: how many briefs of how many variants on which tier, how long each generates, and what the targets
//! are.

use serde_json::{Value, json};

/// The only project: one campaign, as a sweep meets it.
pub const PROJECT: &str = "254a4ce1-f4ca-42b1-9e36-17ca45ef3d39";
/// The default tier.
pub const STANDARD: Tier = Tier { name: "standard", starts: 20 };
const PILOT: Tier = Tier { name: "pilot", starts: 60 };
const PARTNER: Tier = Tier { name: "partner", starts: 300 };

/// The window in which the API counts, API seconds.
pub const WINDOW_SECONDS: f64 = 60.0;
/// The durations are the same in every run of this benchmark, and for both clients.
const SEED: u64 = 20_260_514;

/// One of the API's tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// What settings and the sandbox call it.
    pub name: &'static str,
    /// Job starts a window.
    pub starts: usize,
}

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub tier: Tier,
    pub briefs: usize,
    pub variants: usize,
    /// Generation, API seconds: drawn uniformly between the two.
    pub seconds: (f64, f64),
    /// Whether the documented poll loop runs it, too.
    pub with_poll_loop: bool,
}

/// What briefd must reach.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    pub makespan_over_ideal: f64,
    /// From ended at the API to the record, API seconds: p50, p95, p99.
    pub lag_seconds: [f64; 3],
    pub rate_limited: f64,
    pub reads_per_container: f64,
}

impl Load {
    /// Five windows of starts on each tier, and 5,000 jobs that run at once.
    pub fn all() -> Vec<Self> {
        let mut loads = Vec::new();
        for tier in [STANDARD, PILOT, PARTNER] {
            for variants in [1, 5] {
                let briefs = 5 * tier.starts;
                loads.push(Self { tier, briefs, variants, seconds: (30.0, 180.0), with_poll_loop: true });
            }
        }
        // 5,000 starts take 17 minutes, so the first still runs when the last starts. The loop would need 29,000 reads a
        // minute of 6,000, and would measure how fast this machine refuses the rest.
        loads.push(Self {
            tier: PARTNER,
            briefs: 5_000,
            variants: 1,
            seconds: (1_080.0, 1_200.0),
            with_poll_loop: false,
        });
        loads
    }

    /// `standard 100x5`: tier, briefs, variants.
    pub fn name(&self) -> String {
        format!("{} {}x{}", self.tier.name, self.briefs, self.variants)
    }

    /// How many containers there will be.
    pub fn containers(&self) -> usize {
        self.briefs * self.variants
    }

    /// About what an ideal client needs, API seconds.
    pub fn ideal_guess_seconds(&self) -> f64 {
        as_f64((self.briefs - 1) / self.tier.starts) * WINDOW_SECONDS + self.seconds.1
    }

    /// The messages, in the order in which they are sent.
    pub fn messages(&self) -> Vec<Value> {
        (0..self.briefs).map(|number| self.message(number)).collect()
    }

    fn message(&self, number: usize) -> Value {
        let (least, most) = self.seconds;
        let seconds = least + unit(number) * (most - least);
        json!({
            "projectId": PROJECT, "batchId": "rate-limit", "briefId": format!("brief-{number:05}"),
            "format": "video_remix", "variantCount": self.variants,
            "brief": {"topic": "Your first 5k", "hook": format!("Hook {number}"), "targetPlatforms": ["tiktok"]},
            "metadata": {"sandbox": {"seconds": seconds}},
        })
    }

    /// The targets were set for one and five variants.
    pub fn targets(&self) -> Targets {
        if self.variants == 1 {
            Targets {
                makespan_over_ideal: 1.03,
                lag_seconds: [3.0, 8.0, 12.0],
                rate_limited: 0.0,
                reads_per_container: 2.5,
            }
        } else {
            Targets {
                makespan_over_ideal: 1.05,
                lag_seconds: [6.0, 24.0, 32.0],
                rate_limited: 0.0,
                reads_per_container: 1.3,
            }
        }
    }
}

/// A number in 0..1 that follows from another one (splitmix64).
pub fn unit(number: usize) -> f64 {
    let mut bits = SEED.wrapping_add((number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    f64::from(u32::try_from(bits >> 32).unwrap_or(0)) / 4_294_967_296.0
}

/// A count as a number that can be divided.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
pub fn as_f64(count: usize) -> f64 {
    count as f64
}
