//! A line to the broker that a test can cut, keep silent, and mend.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Bytes go both ways.
    Open,
    /// Connections stay, nothing goes through them any more.
    Silent,
    /// New connections are accepted and wait, as at a peer that does not say a word; old ones stay as they are.
    Mute,
    /// Connections are closed, old ones and new ones.
    Closed,
}

/// A port of this machine that nobody listens on until [`Forwarder::listen`].
pub struct Forwarder {
    address: SocketAddr,
    socket: Option<TcpSocket>,
    line: watch::Sender<Line>,
    calls: Arc<AtomicUsize>,
    ports: Arc<Mutex<HashSet<u16>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Takes a port, so that nobody else does; whoever connects to it is refused.
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        let address = socket.local_addr().expect("a bound socket has an address");
        let (line, _) = watch::channel(Line::Closed);
        Self {
            address,
            socket: Some(socket),
            line,
            calls: Arc::default(),
            ports: Arc::default(),
            accepting: None,
        }
    }

    /// `url` by way of this port.
    pub fn on_the_way_to(&self, url: &str) -> String {
        let mut url = reqwest::Url::parse(url).expect("a broker has a URL");
        url.set_host(Some("127.0.0.1")).expect("it has a host");
        url.set_port(Some(self.address.port())).expect("it has a port");
        url.into()
    }

    /// Listens from now on, with a line that is still closed, to the host and port of `url`.
    pub fn listen(&mut self, url: &str) {
        let socket = self.socket.take().expect("it does not listen yet");
        let listener = socket.listen(64).expect("it can listen");
        let url = reqwest::Url::parse(url).expect("a broker has a URL");
        let target = (url.host_str().expect("it has a host").to_owned(), url.port().unwrap_or(5672));
        let (calls, ports) = (Arc::clone(&self.calls), Arc::clone(&self.ports));
        let line = self.line.subscribe();
        self.accepting = Some(tokio::spawn(accept(listener, target, line, (calls, ports))));
    }

    /// Changes the line, for connections that stand too.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// How often somebody has connected.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Whether the other end knows one of these connections by this port.
    pub fn owns(&self, port: u16) -> bool {
        self.ports.lock().expect("no holder panics").contains(&port)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

async fn accept(
    listener: TcpListener,
    target: (String, u16),
    line: watch::Receiver<Line>,
    (calls, ports): (Arc<AtomicUsize>, Arc<Mutex<HashSet<u16>>>),
) {
    while let Ok((near, _)) = listener.accept().await {
        calls.fetch_add(1, Ordering::Relaxed);
        if *line.borrow() == Line::Closed {
            continue;
        }
        let (target, mut line, ports) = (target.clone(), line.clone(), Arc::clone(&ports));
        tokio::spawn(async move {
            let closed = line.wait_for(|line| *line != Line::Mute).await.map(|line| *line == Line::Closed);
            if closed.is_ok_and(|closed| !closed)
                && let Ok(far) = TcpStream::connect(target).await
            {
                ports.lock().expect("no holder panics").extend(far.local_addr().map(|far| far.port()));
                carry(near, far, line).await;
            }
        });
    }
}

/// Carries bytes until one side ends or the line is closed. What was kept silent once is not mended, only closed:
/// bytes are missing.
async fn carry(mut near: TcpStream, mut far: TcpStream, mut line: watch::Receiver<Line>) {
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
        _ = line.wait_for(|line| matches!(line, Line::Silent | Line::Closed)) => {}
    }
    // An error says that the test is over.
    drop(line.wait_for(|line| *line == Line::Closed).await);
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::support::eventually;
    use crate::support::process::PROMPTLY;

    #[tokio::test]
    async fn a_line_is_refused_then_closed_then_open_then_silent_then_closed() {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("amqp://{}", echo.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        let mut forwarder = Forwarder::reserve();
        let refused = TcpStream::connect(forwarder.address).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

        forwarder.listen(&url);
        let mut closed = TcpStream::connect(forwarder.address).await.unwrap();
        assert!(matches!(closed.read(&mut [0]).await, Ok(0) | Err(_)));
        assert_eq!(forwarder.calls(), 1);

        forwarder.set(Line::Open);
        let mut stream = TcpStream::connect(forwarder.address).await.unwrap();
        stream.write_all(b"!").await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, *b"!");

        forwarder.set(Line::Silent);
        forwarder.set(Line::Closed);
        let ended = eventually(PROMPTLY, async || stream.read(&mut [0]).await.ok().filter(|n| *n == 0));
        assert!(ended.await.is_some());
    }
}
