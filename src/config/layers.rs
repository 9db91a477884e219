//! `[layers]`: the content API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::error::ConfigError;
use super::reader::Reader;
use ::config::ValueKind;

/// Times that the network takes part in are never zero.
const MOMENT: Duration = Duration::from_millis(1);

/// `[layers]`
#[derive(Clone, Debug)]
pub struct Layers {
    /// Where the API is; `https`, or `http` to loopback (or with `allow_http`). Ends in `/`.
    pub base_url: Url,
    /// PEM of the authority that signed the API's certificate; the system's when absent.
    pub ca_file: Option<PathBuf>,
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

impl Layers {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let base_url = read_base_url(reader);
        let organization = reader.text("layers.organization");
        if !is_header_text(&organization) {
            let _: () = reader.reject("layers.organization", "text that fits an HTTP header");
        }
        let layers = Self {
            ca_file: reader.path("layers.ca_file"),
            api_key: ApiKey::choose(reader),
            auth: reader.word("layers.auth", [("x-api-key", Auth::XApiKey), ("bearer", Auth::Bearer)]),
            organization,
            tier: reader.word(
                "layers.tier",
                [
                    ("auto", Tier::Auto),
                    ("standard", Tier::Standard),
                    ("pilot", Tier::Pilot),
                    ("partner", Tier::Partner),
                    ("unlimited", Tier::Unlimited),
                ],
            ),
            limits: LimitOverrides {
                reads: reader.optional_count("layers.limits.reads", 1..=1_000_000),
                writes: reader.optional_count("layers.limits.writes", 1..=1_000_000),
                starts: reader.optional_count("layers.limits.starts", 1..=1_000_000),
                window: reader.optional_duration("layers.limits.window", MOMENT),
            },
            connect_timeout: reader.duration("layers.connect_timeout", MOMENT),
            request_timeout: reader.duration("layers.request_timeout", MOMENT),
            max_response_bytes: reader.size("layers.max_response_bytes", 1 << 10..=1 << 30),
            send_container_id: reader.flag("layers.send_container_id"),
            max_running_jobs: reader.count("layers.max_running_jobs", 0..=1_000_000),
            prices: read_prices(reader),
            base_url: base_url?,
        };
        layers.check_encryption(reader);
        Some(layers)
    }

    fn check_encryption(&self, reader: &mut Reader<'_>) {
        let allowed = reader.flag("layers.allow_http");
        let keys = ["layers.base_url", "layers.allow_http"];
        if reader.fits(&keys) && self.base_url.scheme() == "http" && !self.is_loopback() && !allowed {
            reader.contradiction(format!(
                "{} is plain http to another machine, where the API key can be read on the way; use https, \
                 or set layers.allow_http = true",
                reader.cite("layers.base_url"),
            ));
        }
        if self.ca_file.is_some() && reader.fits(&["layers.base_url"]) && self.base_url.scheme() == "http" {
            reader.contradiction(format!(
                "{} is for TLS, but {} is http://, which is not encrypted; use https://",
                reader.cite("layers.ca_file"),
                reader.cite("layers.base_url"),
            ));
        }
    }
}

fn read_base_url(reader: &mut Reader<'_>) -> Option<Url> {
    let text = reader.text("layers.base_url");
    if !reader.fits(&["layers.base_url"]) {
        return None;
    }
    let Some(mut url) = Url::parse(&text).ok().filter(|url| ["https", "http"].contains(&url.scheme())) else {
        return reader.reject("layers.base_url", "an address such as \"https://api.layers.com\"");
    };
    if url.username() != "" || url.password().is_some() {
        reader.contradiction(format!(
            "{}: layers.base_url holds a user or password (not shown); the key belongs in layers.api_key",
            reader.place("layers.base_url"),
        ));
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        return reader.reject("layers.base_url", "an address without ? and #");
    }
    if !url.path().ends_with('/') {
        // Else joining a path would replace the last part of a prefix.
        url.set_path(&format!("{}/", url.path()));
    }
    Some(url)
}

fn read_prices(reader: &mut Reader<'_>) -> BTreeMap<String, u64> {
    let mut prices = BTreeMap::new();
    for (format, value) in reader.map("layers.prices") {
        if let ValueKind::I64(credits) = value.kind
            && let Ok(credits) = u64::try_from(credits)
        {
            prices.insert(format, credits);
        } else {
            reader.reject_entry("layers.prices", &format, value, "credits as a whole number");
        }
    }
    prices
}

fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
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
    fn choose(reader: &mut Reader<'_>) -> Self {
        let key = reader.secret("layers.api_key");
        let file = reader.path("layers.api_key_file");
        if !is_header_text(key.expose_secret().trim()) {
            let _: () = reader.reject("layers.api_key", "a key of visible ASCII characters");
        }
        match file {
            Some(_) if !key.expose_secret().is_empty() => {
                reader.contradiction(format!(
                    "{} and {} are both set; keep one of them",
                    reader.cite("layers.api_key"),
                    reader.cite("layers.api_key_file"),
                ));
                Self::Given(key)
            }
            Some(file) => Self::File(file),
            None => Self::Given(key),
        }
    }

    /// Refuses when there is no key, for commands that talk to the API.
    pub(super) fn require(&self) -> Result<(), ConfigError> {
        let problem = match (self.read(), self) {
            (Ok(key), _) if !key.expose_secret().is_empty() => return Ok(()),
            (Ok(_), Self::Given(_)) => {
                "no API key: set the variable LAYERS_API_KEY, or layers.api_key_file".to_owned()
            }
            (Ok(_), Self::File(path)) => {
                format!("no API key: the file of layers.api_key_file, {}, is empty", path.display())
            }
            (Err(error), Self::Given(_)) => format!("no API key: {error}"),
            (Err(error), Self::File(path)) => format!(
                "no API key: the file of layers.api_key_file, {}, cannot be read: {error}; mend it, or set \
                 LAYERS_API_KEY in its place",
                path.display()
            ),
        };
        Err(ConfigError::Missing(problem))
    }

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
