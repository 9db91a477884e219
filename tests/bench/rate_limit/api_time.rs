//! The sandbox's clock, read off once: what time it is there at any moment here.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::SPEED;

/// The quickest of so many answers tells the time.
const SAMPLES: usize = 9;

/// Milliseconds since 1970 at the API, by our own clock.
#[derive(Clone, Copy, Debug)]
pub struct ApiTime {
    at: Instant,
    api_ms: f64,
}

impl ApiTime {
    /// Asks the sandbox at `url`. The error is half of the quickest answer's time, some hundredths of an API second.
    pub async fn read(url: &str) -> Self {
        let mut quickest: Option<(Duration, Self)> = None;
        for _ in 0..SAMPLES {
            let asked = Instant::now();
            let account = summary(url).await;
            let took = asked.elapsed();
            let time = Self { at: asked + took / 2, api_ms: instant_ms(&account["now"]) };
            if quickest.as_ref().is_none_or(|(least, _)| took < *least) {
                quickest = Some((took, time));
            }
        }
        quickest.expect("the sandbox was asked").1
    }

    /// What time it is there at this moment here.
    pub fn at(&self, moment: Instant) -> f64 {
        let after = moment.saturating_duration_since(self.at).as_secs_f64();
        let before = self.at.saturating_duration_since(moment).as_secs_f64();
        self.api_ms + (after - before) * 1_000.0 * SPEED
    }
}

/// So many API seconds, as they pass here.
pub fn scaled(api_seconds: f64) -> Duration {
    Duration::from_secs_f64(api_seconds / SPEED)
}

/// An ISO 8601 instant of the API as milliseconds since 1970.
pub fn instant_ms(value: &Value) -> f64 {
    let instant: Timestamp = value.as_str().unwrap_or_default().parse().expect("the API writes ISO 8601");
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit into 53 bits")]
    let ms = instant.as_millisecond() as f64;
    ms
}

async fn summary(url: &str) -> Value {
    let url = format!("{url}/_sandbox/account?summary=1");
    #[expect(
        clippy::disallowed_methods,
        reason = "the ban is for the API's client; this asks a process of our own"
    )]
    let answer = reqwest::get(url).await.expect("the sandbox answers");
    serde_json::from_slice(&answer.bytes().await.expect("the sandbox answers whole"))
        .expect("the account is JSON")
}
