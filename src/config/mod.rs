//! Settings: raw files and variables in, checked settings out. One file a section.
//!
//! Everything behind this module works with the checked types below: durations are `Duration`, sizes are bytes,
//! URLs are parsed, contradictions are gone.

pub mod amqp;
pub mod layers;
pub mod ledger;
pub mod log;
pub mod work;

use std::collections::BTreeMap;

pub use amqp::Amqp;
pub use layers::Layers;
pub use ledger::Ledger;
pub use log::Log;
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
