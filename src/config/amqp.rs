//! `[amqp]`: the broker, its exchanges and queues.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::reader::Reader;

/// The types of records; `amqp.output.optional` names some of them.
const RECORD_TYPES: [&str; 5] =
    ["container.completed", "container.failed", "container.canceled", "brief.failed", "batch.finished"];

/// The heartbeat travels as 16 bits of seconds; beyond an hour it is none.
const HEARTBEAT_MAX: Duration = Duration::from_hours(1);

/// `[amqp]`
#[derive(Clone, Debug)]
pub struct Amqp {
    /// `amqp://` or `amqps://`; holds a password, so it is secret. Print [`Amqp::address`] instead.
    pub url: SecretString,
    /// `host:port/vhost` without user and password, for logs and errors.
    pub address: String,
    /// PEM of the authority that signed the broker's certificate; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// PEM of the client certificate; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM (PKCS#8) of the client key.
    pub key_file: Option<PathBuf>,
    /// Unacknowledged deliveries the broker may send ahead.
    pub prefetch: u16,
    /// Negotiated heartbeat; a dead peer is noticed after twice this.
    pub heartbeat: Duration,
    /// Declare exchanges and queues; `false`: only check that they exist.
    pub declare: bool,
    /// `[amqp.input]`
    pub input: Input,
    /// `[amqp.output]`
    pub output: Output,
    /// `[amqp.dead_letter]`
    pub dead_letter: DeadLetter,
}

/// `[amqp.input]`: a direct exchange and a quorum queue.
#[derive(Clone, Debug)]
pub struct Input {
    /// Direct exchange that pipelines publish to.
    pub exchange: String,
    /// Quorum queue that briefd consumes.
    pub queue: String,
    /// Binding between the two.
    pub routing_key: String,
    /// `x-delivery-limit`, at least 1; counts connections too.
    pub delivery_limit: u32,
}

/// `[amqp.output]`: a topic exchange. Its queues belong to the consumers.
#[derive(Clone, Debug)]
pub struct Output {
    /// Topic exchange that records are published to.
    pub exchange: String,
    /// Record types that are dropped and counted when no queue is bound for them.
    pub optional: Vec<String>,
}

/// `[amqp.dead_letter]`: a fanout exchange and a quorum queue.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Fanout exchange for what is set aside, by us or by the broker.
    pub exchange: String,
    /// Quorum queue behind it.
    pub queue: String,
}

impl Amqp {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.secret("amqp.url");
        let amqp = Self {
            address: match BrokerUrl::parse(url.expose_secret()) {
                Ok(broker) => broker.address,
                Err(expected) if reader.fits(&["amqp.url"]) => reader.reject("amqp.url", expected),
                Err(_) => String::new(),
            },
            url,
            ca_file: reader.path("amqp.ca_file"),
            cert_file: reader.path("amqp.cert_file"),
            key_file: reader.path("amqp.key_file"),
            prefetch: reader.count("amqp.prefetch", 1..=65_535),
            heartbeat: reader.duration("amqp.heartbeat", Duration::from_secs(1)),
            declare: reader.flag("amqp.declare"),
            input: Input {
                exchange: reader.name("amqp.input.exchange"),
                queue: reader.name("amqp.input.queue"),
                routing_key: reader.routing_key("amqp.input.routing_key"),
                delivery_limit: reader.count("amqp.input.delivery_limit", 1..=1_000_000_000),
            },
            output: Output {
                exchange: reader.name("amqp.output.exchange"),
                optional: reader.words("amqp.output.optional", &RECORD_TYPES),
            },
            dead_letter: DeadLetter {
                exchange: reader.name("amqp.dead_letter.exchange"),
                queue: reader.name("amqp.dead_letter.queue"),
            },
        };
        amqp.check_tls(reader);
        amqp.check_names(reader);
        amqp
    }

    fn check_tls(&self, reader: &mut Reader<'_>) {
        if reader.fits(&["amqp.heartbeat"]) && self.heartbeat > HEARTBEAT_MAX {
            let _: () = reader.reject("amqp.heartbeat", "a duration from \"1s\" to \"1h\"");
        }
        for (given, key, missing) in [
            (self.cert_file.is_some() && self.key_file.is_none(), "amqp.cert_file", "amqp.key_file"),
            (self.key_file.is_some() && self.cert_file.is_none(), "amqp.key_file", "amqp.cert_file"),
        ] {
            if given && reader.fits(&[key, missing]) {
                reader.contradiction(format!("{} needs {missing}, which is not set", reader.cite(key)));
            }
        }
        let has_tls_file = [&self.ca_file, &self.cert_file].into_iter().any(Option::is_some);
        if has_tls_file && reader.fits(&["amqp.url"]) && self.url.expose_secret().starts_with("amqp://") {
            let key = if self.ca_file.is_some() { "amqp.ca_file" } else { "amqp.cert_file" };
            reader.contradiction(format!(
                "{} is for TLS, but {} is amqp://, which is not encrypted; use amqps://",
                reader.cite(key),
                reader.cite("amqp.url"),
            ));
        }
    }

    fn check_names(&self, reader: &mut Reader<'_>) {
        let (input, dead) = ("amqp.input.queue", "amqp.dead_letter.queue");
        if reader.fits(&[input, dead]) && self.input.queue == self.dead_letter.queue {
            reader.contradiction(format!(
                "{} is also {}; dead letters would come in again as briefs",
                reader.cite(input),
                reader.cite(dead),
            ));
        }
        let exchanges = [
            ("amqp.input.exchange", &self.input.exchange),
            ("amqp.output.exchange", &self.output.exchange),
            ("amqp.dead_letter.exchange", &self.dead_letter.exchange),
        ];
        for (index, (key, name)) in exchanges.iter().enumerate() {
            for (earlier, other) in &exchanges[..index] {
                if self.declare && reader.fits(&[key, earlier]) && name == other {
                    reader.contradiction(format!(
                        "{} is also {}; they are exchanges of different kinds",
                        reader.cite(key),
                        reader.cite(earlier),
                    ));
                }
            }
        }
    }
}

/// What may be shown of `amqp.url`.
pub(super) struct BrokerUrl {
    address: String,
    /// The URL with its password blanked, without its query.
    pub(super) without_password: String,
}

impl BrokerUrl {
    /// The error says what was expected and holds nothing of the text.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "an address such as amqp://user:password@host:5672/%2f";
        const ENCODE: &str = "an address whose user, password and vhost are percent-encoded (@ is %40, / is %2f, # is %23, ? is %3f)";
        let mut url = Url::parse(text).map_err(|_| FORM)?;
        let port = match url.scheme() {
            "amqp" => 5672,
            "amqps" => 5671,
            _ => return Err("an address that starts with amqp:// or amqps://"),
        };
        // An unencoded delimiter in a password ends up in what follows the host, and would be shown as vhost.
        let vhost = url.path().strip_prefix('/').unwrap_or("%2f").to_owned();
        if url.fragment().is_some()
            || vhost.contains(['/', '@'])
            || url.query().is_some_and(|q| q.contains('@'))
        {
            return Err(ENCODE);
        }
        if vhost.is_empty() {
            return Err("an address that names a vhost: /%2f for the default one");
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(url::Host::Ipv4(address)) => address.to_string(),
            // The AMQP library would silently take it for localhost.
            Some(url::Host::Ipv6(_)) => {
                return Err("a host name or an IPv4 address; an IPv6 one needs a name");
            }
            Some(url::Host::Domain(_)) | None => return Err(FORM),
        };
        let address = format!("{host}:{}/{vhost}", url.port().unwrap_or(port));
        url.set_query(None);
        if url.password().is_some() && url.set_password(Some("[redacted]")).is_err() {
            return Err(FORM);
        }
        Ok(Self { address, without_password: url.to_string().replace("%5Bredacted%5D", "[redacted]") })
    }
}
