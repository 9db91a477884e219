//! `generate --sandbox`: the API simulator in this process, a ledger that goes with it, and settings at its pace.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use crate::config::Settings;
use crate::config::layers::{ApiKey, Tier};
use crate::sandbox::{self, Account, Options, Running, Sandbox};

/// The API's documented rate window.
const WINDOW: Duration = Duration::from_mins(1);
/// Requests to this machine get this long at any speed: a busy machine is slow by its own pace.
const REQUEST_TIMEOUT_MIN: Duration = Duration::from_secs(2);

/// Why there is no simulator.
#[derive(Debug, thiserror::Error)]
pub enum SimulatedError {
    /// It did not start.
    #[error(transparent)]
    Sandbox(#[from] sandbox::StartError),
    /// There is no place for its ledger.
    #[error("cannot make a temporary folder {}", path.display())]
    Folder {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its own address is no address.
    #[error("the sandbox has no address: {0}")]
    Address(#[from] url::ParseError),
}

/// A simulator, and the folder of its ledger. Both are gone when it is dropped.
#[derive(Debug)]
pub struct Simulated {
    running: Running,
    _folder: Folder,
}

impl Simulated {
    /// Starts a simulator that runs `speed` times as fast as the API, and makes `settings` fit it: its address and key,
    /// a ledger of its own, every interval at its pace. Nothing in `settings` that costs money is left.
    pub async fn start(settings: &mut Settings, speed: f64) -> Result<Self, SimulatedError> {
        let tier = match settings.layers.tier {
            Tier::Auto | Tier::Standard => sandbox::Tier::Standard,
            Tier::Pilot => sandbox::Tier::Pilot,
            Tier::Partner => sandbox::Tier::Partner,
            Tier::Unlimited => sandbox::Tier::Unlimited,
        };
        let running = Sandbox::start(Options { speed, tier, ..Options::default() }).await?;
        let folder = Folder::make()?;
        at_speed(settings, speed);
        settings.layers.base_url = Url::parse(&format!("{}/", running.base_url))?;
        settings.layers.api_key = ApiKey::Given(SecretString::from(running.api_key.clone()));
        settings.layers.organization = String::new();
        settings.ledger.path = folder.0.join("ledger.db");
        Ok(Self { running, _folder: folder })
    }

    /// What the API did and was asked.
    pub fn account(&self) -> Account {
        self.running.account()
    }
}

/// Divides every interval that belongs to the API's pace by `speed`, never down to zero.
pub fn at_speed(settings: &mut Settings, speed: f64) {
    let scaled = |duration: Duration| {
        let seconds = (duration.as_secs_f64() / speed).max(0.001);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    };
    let layers = &mut settings.layers;
    if layers.tier == Tier::Auto {
        // What whoami tells is in API time.
        layers.tier = Tier::Standard;
    }
    layers.limits.window = Some(scaled(layers.limits.window.unwrap_or(WINDOW)));
    layers.request_timeout = scaled(layers.request_timeout).max(REQUEST_TIMEOUT_MIN);
    for interval in [
        &mut settings.submit.repeat_after,
        &mut settings.submit.retry_initial,
        &mut settings.submit.retry_max,
        &mut settings.submit.probe_interval,
        &mut settings.track.poll_initial,
        &mut settings.track.poll_max,
        &mut settings.track.sweep_interval,
        &mut settings.track.overdue_after,
        &mut settings.track.give_up_after,
        &mut settings.publish.retry_initial,
        &mut settings.publish.retry_max,
    ] {
        *interval = scaled(*interval);
    }
}

/// A folder of our own that is removed in the end.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, SimulatedError> {
        let path = std::env::temp_dir().join(format!("briefd-sandbox-{}", Uuid::new_v4()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(SimulatedError::Folder { path, source }),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(folder = %self.0.display(), %error, "a temporary folder stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interval_of_the_apis_pace_is_scaled_and_none_becomes_zero() {
        let mut settings = Settings::builtin();
        at_speed(&mut settings, 20.0);
        let times = [
            settings.layers.limits.window.unwrap(),
            settings.submit.repeat_after,
            settings.submit.probe_interval,
            settings.track.poll_initial,
            settings.track.sweep_interval,
        ]
        .map(|time| time.as_millis());
        assert_eq!(times, [3_000, 3_000, 3_000, 100, 150]);
        assert_eq!(settings.layers.tier, Tier::Standard);
        assert_eq!(settings.layers.request_timeout, Duration::from_secs(2));
        at_speed(&mut settings, 1e9);
        assert_eq!(settings.track.poll_initial, Duration::from_millis(1));
        assert!(settings.track.poll_initial <= settings.track.poll_max);
        let slow = &mut Settings::builtin();
        at_speed(slow, 0.5);
        assert_eq!(slow.submit.repeat_after, Duration::from_mins(2));
        assert_eq!(slow.layers.request_timeout, Duration::from_mins(1));
    }
}
