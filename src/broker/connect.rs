//! Opens one connection to the broker, in bounded time, and leaves nothing behind when that fails.
//!
//! lapin bounds no part of a connect, and each connect that is given up while the peer stays mute leaks a thread
//! and a socket there. So the TCP and TLS part is done here, before lapin is started, and a duplicate of the socket
//! is kept: shutting that down ends lapin's thread, whatever state it is in ([`OpenSocket`]).

mod error;

use std::io;
use std::net::Shutdown;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_compat::Compat;
pub use error::ConnectError;
use lapin::ConnectionProperties;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::{AMQPScheme, AMQPUri};
use secrecy::ExposeSecret;
use tokio::net::TcpStream;

use super::guard::{self, Guarded};
use super::{REPLY_SUCCESS, constant, tls};
use crate::config::Amqp;
use crate::crash_point::around;

/// Longest connect: name look-up, TCP, TLS and the AMQP handshake together.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What a connection is for; it shows in the broker's list of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The worker's deliveries and acknowledgements.
    Consume,
    /// The worker's records and dead letters.
    Publish,
    /// A command's short visit.
    Inspect,
}

impl Purpose {
    /// One word, the same as the label of `briefd_amqp_connected`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Consume => "consume",
            Self::Publish => "publish",
            Self::Inspect => "inspect",
        }
    }
}

/// A connection that stands, or stood.
///
/// Dropping it cuts the socket; [`Connection::close`] is the polite way.
#[derive(Debug)]
pub struct Connection {
    inner: lapin::Connection,
    socket: OpenSocket,
}

impl Connection {
    /// Whether the connection stands as far as this side knows.
    pub fn is_up(&self) -> bool {
        self.inner.status().connected()
    }

    /// Whether the broker has stopped reading from it (memory or disk alarm).
    pub(super) fn is_blocked(&self) -> bool {
        self.inner.status().blocked()
    }

    pub(super) async fn create_channel(&self) -> lapin::Result<lapin::Channel> {
        around("create_channel", self.inner.create_channel()).await
    }

    /// Closes the connection; after `limit` the socket is shut down without the broker's consent, because a blocked
    /// broker never answers. What was written before is flushed unless the limit is reached.
    pub async fn close(&self, limit: Duration) {
        let closing = around("close", self.inner.close(REPLY_SUCCESS, constant("done")));
        match tokio::time::timeout(limit, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the connection was gone before it was closed"),
            Err(_) => tracing::debug!("the broker did not answer the closing of the connection; it was cut"),
        }
        self.socket.shut_down();
    }
}

/// Connects within ten seconds. Cancel-safe: given up, it leaves no thread and no socket.
pub async fn connect(amqp: &Amqp, purpose: Purpose) -> Result<Connection, ConnectError> {
    connect_within(amqp, purpose, CONNECT_LIMIT).await
}

async fn connect_within(amqp: &Amqp, purpose: Purpose, limit: Duration) -> Result<Connection, ConnectError> {
    let timed_out = |_| ConnectError::TimedOut { address: amqp.address.clone(), limit };
    tokio::time::timeout(limit, open(amqp, purpose)).await.map_err(timed_out)?
}

async fn open(amqp: &Amqp, purpose: Purpose) -> Result<Connection, ConnectError> {
    let uri = uri(amqp)?;
    let connector = match uri.scheme {
        AMQPScheme::AMQP => None,
        AMQPScheme::AMQPS => Some(tls::connector(amqp)?),
    };
    let tcp = reach(&uri, &amqp.address).await?;
    let unreachable = |error: io::Error| ConnectError::Unreachable {
        address: amqp.address.clone(),
        problem: error.to_string(),
    };
    let socket = OpenSocket::of(&tcp).map_err(unreachable)?;
    let mut stream = AsyncTcpStream::Plain(Compat::new(tcp));
    if let Some(connector) = connector {
        stream = stream
            .into_rustls(&connector, &uri.authority.host)
            .await
            .map_err(|error| ConnectError::tls(&amqp.address, &error))?;
    }
    let name = format!("briefd {}", purpose.word());
    // Recovery stays off (the default): it would hide from us which acknowledgements and confirms are void.
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let ready_stream = Mutex::new(Some(AsyncTcpStream::Plain(Guarded::new(stream))));
    let take_stream = async move |_uri, _runtime| {
        let stream = ready_stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        // lapin asks once: a second time would be its recovery, which is off.
        stream.ok_or_else(|| lapin::Error::from(io::Error::from(io::ErrorKind::NotConnected)))
    };
    let connecting = lapin::Connection::connector(uri, guard::runtime(), take_stream, properties);
    let inner = around("connector", connecting)
        .await
        .map_err(|error| ConnectError::handshake(&amqp.address, &error))?;
    Ok(Connection { inner, socket })
}

/// The URL for lapin: with our heartbeat, and with the IPv6 host that lapin's parser replaces by `localhost`.
fn uri(amqp: &Amqp) -> Result<AMQPUri, ConnectError> {
    let text = amqp.url.expose_secret();
    let unfit = || ConnectError::Url { address: amqp.address.clone() };
    // The parser's own text repeats the URL, password included: drop it.
    let mut uri = AMQPUri::from_str(text).map_err(|_| unfit())?;
    if let Some(url::Host::Ipv6(address)) = url::Url::parse(text).map_err(|_| unfit())?.host() {
        uri.authority.host = address.to_string();
    }
    // 0 would switch heartbeats off, and a dead peer would never be noticed.
    uri.query.heartbeat = Some(u16::try_from(amqp.heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
    Ok(uri)
}

/// The virtual host in `amqp.url`; `/` if there is none.
pub(super) fn vhost(amqp: &Amqp) -> String {
    AMQPUri::from_str(amqp.url.expose_secret()).map_or_else(|_| "/".to_owned(), |uri| uri.vhost)
}

async fn reach(uri: &AMQPUri, address: &str) -> Result<TcpStream, ConnectError> {
    let target = (uri.authority.host.as_str(), uri.authority.port);
    let unresolved = |problem: String| ConnectError::Name { address: address.to_owned(), problem };
    let mut last_problem = None;
    for candidate in tokio::net::lookup_host(target).await.map_err(|error| unresolved(error.to_string()))? {
        match TcpStream::connect(candidate).await {
            Ok(stream) => {
                // Small frames (acknowledgements) must not wait for the next one.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                return Ok(stream);
            }
            Err(error) => last_problem = Some(error.to_string()),
        }
    }
    match last_problem {
        Some(problem) => Err(ConnectError::Unreachable { address: address.to_owned(), problem }),
        None => Err(unresolved("no address".to_owned())),
    }
}

/// A duplicate of the socket that lapin's thread reads from. Shutting it down ends that thread.
#[derive(Debug)]
struct OpenSocket(socket2::Socket);

impl OpenSocket {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self(socket2::SockRef::from(stream).try_clone()?))
    }

    fn shut_down(&self) {
        // Fails only if the peer was faster.
        drop(self.0.shutdown(Shutdown::Both));
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.shut_down();
    }
}

#[cfg(test)]
mod tests;
