//! The address of `/metrics`, `/healthz` and `/readyz`: served by the worker that runs, free for the one that shall.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Checks, LIMIT};
use crate::config::Settings;
use crate::ledger::Reader;

/// Longest answer that is read; `/readyz` is a few lines.
const ANSWER_BYTES: u64 = 64 << 10;

pub(super) async fn check(settings: &Settings, reader: Option<&Reader>) -> Checks {
    let mut checks = Checks::of("machine");
    let address = settings.http.listen;
    if reader.is_some_and(Reader::has_worker) {
        served(&mut checks, address).await;
    } else {
        free(&mut checks, address).await;
    }
    checks
}

async fn served(checks: &mut Checks, address: SocketAddr) {
    let answer = tokio::time::timeout(LIMIT, ask(address)).await;
    let answer = answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
    match answer.as_deref().map(status_of) {
        Ok(Some(200)) => checks.good("http", format!("{address}: the worker is ready")),
        Ok(Some(status)) => checks.warn(
            "http",
            format!("{address}: the worker is not ready (/readyz answers {status})"),
            format!("curl http://{address}/readyz tells which part is down"),
        ),
        Ok(None) => checks.warn(
            "http",
            format!("{address} is used by something that is not briefd"),
            "set http.listen to the address of the worker at this ledger",
        ),
        Err(error) => checks.warn(
            "http",
            format!("somebody is at the ledger, and nobody answers at {address} ({error})"),
            "fine for briefd generate; for briefd run: does it have other settings (http.listen)?",
        ),
    }
}

/// The answer to `GET /readyz`.
async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The status of an answer that tells how ready briefd is.
fn status_of(answer: &str) -> Option<u16> {
    let rest = answer.strip_prefix("HTTP/1.1 ").filter(|_| answer.contains("\"components\""))?;
    rest.split(' ').next()?.parse().ok()
}

async fn free(checks: &mut Checks, address: SocketAddr) {
    match TcpListener::bind(address).await {
        Ok(_) => checks.good("http", format!("{address} is free for a worker")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => checks.bad(
            "http",
            format!("{address} is in use, and not by a worker at this ledger"),
            "set http.listen, or stop what uses it",
        ),
        Err(error) => checks.bad(
            "http",
            format!("cannot listen on {address}: {error}"),
            "set http.listen to an address of this machine",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_briefd_tells_how_ready_it_is() {
        let ready = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"ready\":false,\"components\":{}}";
        assert_eq!(status_of(ready), Some(503));
        assert_eq!(status_of("HTTP/1.1 200 OK\r\n\r\nhello"), None);
        assert_eq!(status_of(""), None);
    }
}
