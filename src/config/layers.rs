//! `[layers]`: the content API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// `[layers]`
#[derive(Clone, Debug)]
pub struct Layers {
    /// Where the API is; `https`, or `http` to loopback (or with `allow_http`). Ends in `/`.
    pub base_url: Url,
    /// Where the key comes from.
    pub api_key: ApiKey,
    /// How the key is sent.
    pub auth: Auth,
    /// Sent as `X-Layers-Organization` when not empty.
    pub organization: String,
    /// Which rate limits apply.
    pub tier: Tier,
    /// `[layers.limits]`: overrides of the tier's numbers.
    pub limits: LimitOverrides,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long one request may take, from its first byte to the last of the answer.
    pub request_timeout: Duration,
    /// Longest answer that is read.
    pub max_response_bytes: u64,
    /// Send our container id as `id` (the guard against double purchase that has no time limit).
    pub send_container_id: bool,
    /// Jobs that may run at once by our own choice; 0: no limit of our own.
    pub max_running_jobs: u32,
    /// `[layers.prices]`: credits by format, when `GET /v1/credits` does not tell.
    pub prices: BTreeMap<String, u64>,
}

impl Layers {
    /// Whether the API is on this machine, so that nothing it makes costs money.
    pub fn is_loopback(&self) -> bool {
        match self.base_url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// The scheme, host and port, as stored in a ledger: `https://api.layers.com`.
    pub fn origin(&self) -> String {
        self.base_url.origin().ascii_serialization()
    }
}

/// Where the API key comes from.
#[derive(Clone, Debug)]
pub enum ApiKey {
    /// `layers.api_key` or `$LAYERS_API_KEY`.
    Given(SecretString),
    /// `layers.api_key_file`, read again at each probe of a hold.
    File(PathBuf),
}

impl ApiKey {
    /// The key as it is now, without surrounding white space.
    pub fn read(&self) -> Result<SecretString, std::io::Error> {
        match self {
            Self::Given(key) => Ok(SecretString::from(key.expose_secret().trim())),
            Self::File(path) => Ok(SecretString::from(std::fs::read_to_string(path)?.trim())),
        }
    }
}

/// How the API key is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `X-Api-Key: …`
    XApiKey,
    /// `Authorization: Bearer …`
    Bearer,
}

/// Which of the API's documented rate limits apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Ask `whoami`; standard when it does not tell.
    Auto,
    /// 120 reads, 60 short writes, 20 starts a minute.
    Standard,
    /// 1,200 reads, 600 short writes, 60 starts a minute.
    Pilot,
    /// 6,000 reads, 3,000 short writes, 300 starts a minute.
    Partner,
    /// No limit on our side (a sandbox).
    Unlimited,
}

/// `[layers.limits]`: what is set replaces the tier's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitOverrides {
    /// GETs in a window.
    pub reads: Option<u32>,
    /// Short writes in a window.
    pub writes: Option<u32>,
    /// Job starts in a window.
    pub starts: Option<u32>,
    /// The window; 60 s in the API's documentation.
    pub window: Option<Duration>,
}
