//! Settings: raw files and variables in, checked settings out. One file a section.
//!
//! Everything behind this module works with the checked types below: durations are `Duration`, sizes are bytes,
//! URLs are parsed, contradictions are gone. [`load`] puts the layers over each other (the later wins: built-in
//! defaults, file, environment, flags), knows every key ([`DEFAULT_TOML`] is the list) and reports all mistakes
//! at once. It does not look at what settings point to: files, brokers and the API are checked by who uses them.

pub mod amqp;
mod error;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod layer;
pub mod layers;
pub mod ledger;
mod load;
pub mod log;
mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod value;
pub mod work;

use std::collections::BTreeMap;

pub use amqp::Amqp;
pub use error::{ConfigError, ConfigErrors};
pub use layers::Layers;
pub use ledger::Ledger;
pub use load::{Inputs, Loaded, Shown, load};
pub use log::Log;
pub use schema::DEFAULT_TOML;
pub use work::{Http, Intake, Publish, Shutdown, Submit, Track};

/// All settings of one process, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[amqp]`
    pub amqp: Amqp,
    /// `[layers]`
    pub layers: Layers,
    /// `[projects]`: alias → project id. Aliases are also the only project labels in metrics.
    pub projects: BTreeMap<String, String>,
    /// `[ledger]`
    pub ledger: Ledger,
    /// `[intake]`
    pub intake: Intake,
    /// `[submit]`
    pub submit: Submit,
    /// `[track]`
    pub track: Track,
    /// `[publish]`
    pub publish: Publish,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[http]`
    pub http: Http,
    /// `[log]`
    pub log: Log,
}

impl Settings {
    /// The built-in defaults and nothing else.
    pub fn builtin() -> Self {
        #[expect(clippy::expect_used, reason = "the text is compiled in; a test loads it")]
        let loaded = load(&Inputs::default()).expect("the built-in settings are valid");
        loaded.settings
    }

    /// Refuses when there is no API key, for commands that talk to the API.
    pub fn require_api_key(&self) -> Result<(), ConfigErrors> {
        self.layers.api_key.require().map_err(ConfigErrors::from)
    }
}
