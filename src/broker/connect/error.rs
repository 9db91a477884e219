//! Why there is no connection, in words that say what to try.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::broker::{plain, reply_code};

/// Why there is no connection. One line for people each; the password is in none of them.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// `amqp.url` cannot be read.
    #[error("amqp.url ({address}) is not an AMQP URL: write amqp://user:password@host:5672/vhost")]
    Url {
        /// Host, port and virtual host, as far as known.
        address: String,
    },
    /// A PEM file cannot be used.
    #[error("{setting} {}: {problem}; correct the file or the setting", path.display())]
    Pem {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The machine has no authorities to trust.
    #[error(
        "no certificate authorities to check the broker with ({problem}); install ca-certificates or set amqp.ca_file"
    )]
    Trust {
        /// What the TLS library says.
        problem: String,
    },
    /// The host name is unknown.
    #[error(
        "cannot find RabbitMQ at {address}: the host name does not resolve ({problem}); check the host in amqp.url"
    )]
    Name {
        /// Host, port and virtual host.
        address: String,
        /// What the resolver says.
        problem: String,
    },
    /// Nobody listens, or no way leads there.
    #[error(
        "cannot reach RabbitMQ at {address}: {problem}; is it running there? Check host and port in amqp.url"
    )]
    Unreachable {
        /// Host, port and virtual host.
        address: String,
        /// What the system says.
        problem: String,
    },
    /// It took too long.
    #[error(
        "RabbitMQ at {address} did not answer within {} s; check the port in amqp.url (amqps:// for TLS), a firewall, \
         and whether the broker is alive", limit.as_secs_f32()
    )]
    TimedOut {
        /// Host, port and virtual host.
        address: String,
        /// How long we waited.
        limit: Duration,
    },
    /// TLS could not be set up.
    #[error("no TLS with RabbitMQ at {address}: {problem}; {advice}")]
    Tls {
        /// Host, port and virtual host.
        address: String,
        /// What the TLS library says.
        problem: String,
        /// What to try.
        advice: &'static str,
    },
    /// User or password are wrong.
    #[error(
        "RabbitMQ at {address} refused the login; check user and password in amqp.url (guest may only log in from the \
         broker's own machine)"
    )]
    Login {
        /// Host, port and virtual host.
        address: String,
    },
    /// The virtual host is missing or closed to this user.
    #[error(
        "RabbitMQ at {address} refused the virtual host: {problem}; check the last part of amqp.url (the default one is \
         written /%2f) and the user's permissions"
    )]
    Vhost {
        /// Host, port and virtual host.
        address: String,
        /// What the broker says.
        problem: String,
    },
    /// The peer does not talk AMQP, or stopped doing so.
    #[error(
        "the AMQP handshake with {address} failed: {problem}; check the port in amqp.url (amqps:// for TLS), \
         and whether the broker wants a client certificate (amqp.cert_file)"
    )]
    Handshake {
        /// Host, port and virtual host.
        address: String,
        /// What happened.
        problem: String,
    },
}

impl ConnectError {
    pub(super) fn tls(address: &str, error: &io::Error) -> Self {
        let problem = error.to_string();
        let advice = if ["UnknownIssuer", "BadSignature"].into_iter().any(|why| problem.contains(why)) {
            // The second: an authority of the same name with another key.
            "set amqp.ca_file to the authority that signed the broker's certificate"
        } else if problem.contains("InvalidContentType") {
            "that port does not talk TLS: use amqp://, or the broker's TLS port (usually 5671)"
        } else if problem.contains("not valid for name") || problem.contains("NotValidForName") {
            "the certificate is for another name: use that name in amqp.url"
        } else {
            "check the port in amqp.url, the certificate's dates, and whether the broker wants a client certificate"
        };
        Self::Tls { address: address.to_owned(), problem, advice }
    }

    pub(super) fn handshake(address: &str, error: &lapin::Error) -> Self {
        let address = address.to_owned();
        match reply_code(error) {
            Some(403) => Self::Login { address },
            Some(530) => Self::Vhost { address, problem: plain(error) },
            Some(_) | None => Self::Handshake { address, problem: plain(error) },
        }
    }
}
