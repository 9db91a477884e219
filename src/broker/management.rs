//! The broker's management API, where there is one: what AMQP cannot ask for. Only `GET`.
//!
//! It tells which bindings lead away from an exchange and what a user may do. The worker never needs it.

use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::connect::vhost;
use crate::config::Amqp;

/// How long one answer may take.
const LIMIT: std::time::Duration = super::ANSWER_LIMIT;
/// Longest answer that is read: some ten thousand bindings.
const ANSWER_BYTES: usize = 16 << 20;

/// Why the management API did not tell.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// Nobody answered.
    #[error(
        "the management API at {origin} does not answer; is the plugin on (rabbitmq-plugins enable rabbitmq_management), and is that its port?"
    )]
    Unreachable {
        /// Scheme, host and port.
        origin: String,
        /// What happened.
        #[source]
        source: reqwest::Error,
    },
    /// The user may not see this.
    #[error(
        "the management API at {origin} refuses this user; give it the tag monitoring, or name another user in --management"
    )]
    Refused {
        /// Scheme, host and port.
        origin: String,
    },
    /// An answer that is not what RabbitMQ answers.
    #[error("the management API at {origin} answers {what}; is that RabbitMQ?")]
    Unreadable {
        /// Scheme, host and port.
        origin: String,
        /// What came instead.
        what: String,
    },
}

/// A binding that leads away from an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Bound {
    /// The queue or exchange behind it.
    pub destination: String,
    /// `queue` or `exchange`.
    pub destination_type: String,
    /// The pattern.
    pub routing_key: String,
}

/// What a user may do in a virtual host: regular expressions of names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rights {
    vhost: String,
    /// What it may publish to.
    pub write: String,
    /// What it may read from.
    pub read: String,
}

/// The management API of one broker, for one virtual host.
pub struct Management {
    http: reqwest::Client,
    base: Url,
    user: String,
    password: secrecy::SecretString,
    /// The user of `amqp.url`, whose rights count.
    amqp_user: String,
    vhost: String,
}

impl Management {
    /// For the broker of `amqp`, at `base`; its user and password if it names them, else those of `amqp.url`.
    pub fn new(base: &Url, amqp: &Amqp) -> Option<Self> {
        let decoded = |text: &str| urldecoded(text);
        let of_amqp = Url::parse(amqp.url.expose_secret()).ok()?;
        let from = if base.username().is_empty() { &of_amqp } else { base };
        let http = reqwest::Client::builder()
            .timeout(LIMIT)
            .redirect(reqwest::redirect::Policy::none()) // the password goes to nobody else
            .build()
            .ok()?;
        let mut bare = base.clone();
        bare.set_username("").ok()?;
        bare.set_password(None).ok()?;
        Some(Self {
            http,
            user: decoded(from.username()),
            password: decoded(from.password().unwrap_or_default()).into(),
            amqp_user: decoded(of_amqp.username()),
            vhost: vhost(amqp),
            base: bare,
        })
    }

    /// All bindings that lead away from an exchange; none for an exchange that does not exist.
    pub async fn bindings_from(&self, exchange: &str) -> Result<Vec<Bound>, ManagementError> {
        Ok(self
            .get(&["api", "exchanges", &self.vhost, exchange, "bindings", "source"])
            .await?
            .unwrap_or_default())
    }

    /// What the user of `amqp.url` may do here; `None`: only an administrator may ask.
    pub async fn rights(&self) -> Result<Option<Rights>, ManagementError> {
        match self.get::<Vec<Rights>>(&["api", "users", &self.amqp_user, "permissions"]).await {
            Ok(rights) => {
                Ok(rights.unwrap_or_default().into_iter().find(|rights| rights.vhost == self.vhost))
            }
            Err(ManagementError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `None`: there is no such thing.
    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>, ManagementError> {
        let origin = self.base.origin().ascii_serialization();
        let unreachable = |source| ManagementError::Unreachable { origin: origin.clone(), source };
        let unreadable = |what: String| ManagementError::Unreadable { origin: origin.clone(), what };
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.http.get(url).basic_auth(&self.user, Some(self.password.expose_secret()));
        let mut answer = request.send().await.map_err(|error| unreachable(error.without_url()))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(ManagementError::Refused { origin });
            }
            status => return Err(unreadable(format!("HTTP {}", status.as_u16()))),
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(error.without_url()))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES {
                return Err(unreadable(format!("more than {} MiB", ANSWER_BYTES >> 20)));
            }
        }
        serde_json::from_slice(&body).map(Some).map_err(|_| unreadable("something else than JSON".to_owned()))
    }
}

/// User and password stand percent-encoded in a URL.
fn urldecoded(text: &str) -> String {
    let pair = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// Whether a topic exchange sends `key` along a binding with this `pattern`: `*` is one word, `#` any number of them.
pub fn topic_matches(pattern: &str, key: &str) -> bool {
    fn words(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), None) => words(rest, key),
            (Some((&"#", rest)), Some((_, behind))) => words(rest, key) || words(pattern, behind),
            (Some((&"*", rest)), Some((_, behind))) => words(rest, behind),
            (Some((word, rest)), Some((same, behind))) => word == same && words(rest, behind),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
    words(&pattern.split('.').collect::<Vec<_>>(), &key.split('.').collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_the_keys_that_the_broker_would_send_along() {
        let key = "container.failed.acme_fit";
        for pattern in [
            "#",
            "container.#",
            "container.*.acme_fit",
            "*.failed.*",
            "#.acme_fit",
            "container.failed.acme_fit",
        ] {
            assert!(topic_matches(pattern, key), "{pattern}");
        }
        for pattern in ["", "*", "container.*", "container.failed", "brief.#", "container.*.nova", "#.failed"]
        {
            assert!(!topic_matches(pattern, key), "{pattern}");
        }
        assert!(topic_matches("#", ""));
        assert!(topic_matches("batch.finished", "batch.finished"));
        assert!(topic_matches("batch.finished.#", "batch.finished"));
    }

    #[test]
    fn user_and_password_come_from_the_url_given_or_else_from_that_of_the_broker() {
        let amqp = crate::broker::example_amqp("amqp://worker:p%40ss@broker:5672/jobs", "broker:5672/jobs");
        let at = |text: &str| Management::new(&Url::parse(text).unwrap(), &amqp).unwrap();
        let own = at("http://boss:s%2Bcret@127.0.0.1:15672/");
        assert_eq!(
            (own.user.as_str(), own.password.expose_secret(), own.vhost.as_str()),
            ("boss", "s+cret", "jobs")
        );
        assert_eq!(own.base.as_str(), "http://127.0.0.1:15672/");
        let shared = at("http://127.0.0.1:15672");
        assert_eq!((shared.user.as_str(), shared.password.expose_secret()), ("worker", "p@ss"));
        assert_eq!(shared.amqp_user, "worker");
    }
}
