//! Connections that can be cut: the listener behind every way an answer gets lost.
//!
//! HTTP libraries always answer. To lose an answer, its connection is marked first and the answer handed over
//! as usual: the first byte that would be written fails instead, the connection is dropped with nothing sent, and the
//! caller sees an end of stream or a reset.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Closed in order, with no answer.
    Close,
    /// Reset.
    Reset,
}

/// The handle by which a request's own connection can be cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire(Arc<AtomicU8>);

impl Wire {
    /// From now on nothing more is sent on this connection.
    pub(super) fn cut(&self, cut: Cut) {
        let mark = match cut {
            Cut::Close => 1,
            Cut::Reset => 2,
        };
        self.0.store(mark, Ordering::Release);
    }

    fn state(&self) -> Option<Cut> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(Cut::Close),
            2 => Some(Cut::Reset),
            _ => None,
        }
    }
}

impl Connected<IncomingStream<'_, CuttableListener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.io().wire.clone()
    }
}

/// A TCP listener whose connections can be cut.
#[derive(Debug)]
pub(super) struct CuttableListener(pub(super) TcpListener);

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CuttableStream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the sandbox could not switch off Nagle's algorithm; answers may be slower");
        }
        (CuttableStream { stream, wire: Wire::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection that fails to write once its [`Wire`] is cut.
#[derive(Debug)]
pub(super) struct CuttableStream {
    stream: TcpStream,
    wire: Wire,
}

impl CuttableStream {
    fn check(&self) -> io::Result<()> {
        match self.wire.state() {
            None => Ok(()),
            Some(Cut::Close) => Err(io::ErrorKind::BrokenPipe.into()),
            Some(Cut::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl Drop for CuttableStream {
    /// With no time to linger, closing the socket resets the connection.
    fn drop(&mut self) {
        if self.wire.state() == Some(Cut::Reset)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "the sandbox could not reset a connection; it is closed in order");
        }
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An orderly end of stream would come before the reset and hide it.
        if self.wire.state() == Some(Cut::Reset) {
            return Poll::Ready(self.check());
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
