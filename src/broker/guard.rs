//! The broker's bytes on their way to lapin, with content headers made harmless by [`tame`].
//!
//! A frame of a content header or a method is held back until it is whole, at most [`HELD_BYTES_MAX`]; all others pass as
//! they come. What is no AMQP passes, too: lapin says so best. Bytes to the broker are not looked at.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::Tokio;

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use futures::Stream;
use futures::io::{AsyncRead, AsyncWrite};

use super::tame;

/// Kind, channel and length of a frame.
const HEAD_BYTES: usize = 7;
/// The frames that are looked into.
const METHOD: u8 = 1;
const HEADER: u8 = 2;
/// Longest frame that is held back; brokers send none over 128 KiB unless they are told to.
const HELD_BYTES_MAX: usize = 1024 * 1024;
/// Read from the socket at a time.
const READ_BYTES: usize = 16 * 1024;

/// What lapin runs on: tokio, with sockets that are guarded.
pub(super) type Runtime = async_rs::Runtime<RuntimeParts<Tokio, GuardedSockets>>;

/// The runtime of the caller.
pub(super) fn runtime() -> Runtime {
    Runtime::new(RuntimeParts::new(Tokio::current(), GuardedSockets(Tokio::current())))
}

/// tokio's sockets and timers.
#[derive(Clone, Debug)]
pub(super) struct GuardedSockets(Tokio);

impl Reactor for GuardedSockets {
    type TcpStream = Guarded;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: io::Read + io::Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(Guarded::new(connecting.await?)) }
    }
}

trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Line for S {}

/// A line to the broker whose incoming content headers are harmless.
pub(super) struct Guarded {
    line: Box<dyn Line>,
    frames: Frames,
    buffer: Vec<u8>,
}

impl Guarded {
    /// Guards a line on which nothing has been read yet.
    pub(super) fn new(line: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { line: Box::new(line), frames: Frames::default(), buffer: vec![0; READ_BYTES] }
    }
}

/// Where the incoming bytes stand.
#[derive(Default)]
struct Frames {
    /// Came and must not go on yet: a head, or a frame that is looked into.
    held: Vec<u8>,
    /// May go on.
    free: Vec<u8>,
    /// How much of `free` has gone on.
    gone: usize,
    /// So many bytes of the frame under way pass as they come.
    passing: usize,
    /// These are no frames.
    given_up: bool,
}

impl Frames {
    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.given_up {
                self.free.extend_from_slice(bytes);
                return;
            }
            if self.passing > 0 {
                let (pass, rest) = bytes.split_at(self.passing.min(bytes.len()));
                self.free.extend_from_slice(pass);
                self.passing -= pass.len();
                bytes = rest;
                continue;
            }
            let missing = self.missing();
            let (more, rest) = bytes.split_at(missing.min(bytes.len()));
            self.held.extend_from_slice(more);
            bytes = rest;
            self.judge();
        }
    }

    /// What `held` lacks of a head, or of its whole frame.
    fn missing(&self) -> usize {
        self.frame_bytes().unwrap_or(HEAD_BYTES).saturating_sub(self.held.len())
    }

    /// Length of the frame whose head is held, with its head and its end.
    fn frame_bytes(&self) -> Option<usize> {
        let head: [u8; HEAD_BYTES] = self.held.first_chunk().copied()?;
        let payload = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        usize::try_from(payload).ok()?.checked_add(HEAD_BYTES + 1)
    }

    fn judge(&mut self) {
        let Some(length) = self.frame_bytes() else { return };
        let kind = self.held.first().copied().unwrap_or_default();
        self.given_up = kind == b'A'; // `AMQP`: the broker wants another version, and closes
        if self.given_up || !matches!(kind, METHOD | HEADER) || length > HELD_BYTES_MAX {
            self.passing = if self.given_up { 0 } else { length - self.held.len() };
        } else if self.held.len() < length {
            return;
        } else if let Some(payload) = self.held.get_mut(HEAD_BYTES..length - 1) {
            // What ends too early is not AMQP: lapin closes the connection.
            _ = if kind == HEADER { tame::header(payload) } else { tame::method(payload) };
        }
        self.free.append(&mut self.held);
    }

    /// Hands out what may go on.
    fn give(&mut self, into: &mut [u8]) -> usize {
        let free = self.free.get(self.gone..).unwrap_or_default();
        let count = free.len().min(into.len());
        if let (Some(into), Some(free)) = (into.get_mut(..count), free.get(..count)) {
            into.copy_from_slice(free);
        }
        self.gone += count;
        if self.gone == self.free.len() {
            self.free.clear();
            self.gone = 0;
        }
        count
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            let given = this.frames.give(into);
            if given > 0 || into.is_empty() {
                return Poll::Ready(Ok(given));
            }
            let read = ready!(Pin::new(&mut this.line).poll_read(context, &mut this.buffer))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            this.frames.take(this.buffer.get(..read).unwrap_or_default());
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.line).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.line).poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let frame = |kind: u8, payload: &[u8]| {
            let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
            [&[kind, 0, 1][..], &size, payload, &[0xce]].concat()
        };
        let header = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x80, 0, 2, b'a', 0xff];
        let frames = [frame(1, &[0, 10, 0, 10]), frame(2, &header), frame(3, b"{}"), frame(8, b"")].concat();
        let mut expected = frames.clone();
        let odd = expected.iter().position(|byte| *byte == 0xff).unwrap();
        expected[odd] = b'?';
        for size in [1, 2, 3, 7, 11, 1_000] {
            let (mut guard, mut out) = (Frames::default(), Vec::new());
            for part in frames.chunks(size) {
                guard.take(part);
                let mut into = [0; 5];
                loop {
                    let given = guard.give(&mut into);
                    if given == 0 {
                        break;
                    }
                    out.extend_from_slice(&into[..given]);
                }
            }
            assert_eq!(out, expected, "{size}");
        }
        let mut guard = Frames::default();
        guard.take(b"AMQP\0\0\x09\x01 and what not");
        assert_eq!(guard.free, b"AMQP\0\0\x09\x01 and what not");
    }
}
