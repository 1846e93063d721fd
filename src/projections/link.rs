//! A connection to a server that does not wait for ever: one that falls silent while an answer is waited for counts as
//! lost, which neither the system's keepalives nor the server's own bounds tell of a process that hangs, or of a relay
//! that has lost its other end.
//!
//! The client has one place where a stream can be put around its socket, that of TLS: so what is sent in the clear goes
//! by there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use postgres::Socket;
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How often a wait looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What makes of a socket a connection that is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Longest silence while something is waited for.
    pub(super) answer_max: Duration,
}

impl MakeTlsConnect<Socket> for Link {
    type Stream = Watched<Socket>;
    type TlsConnect = Self;
    type Error = io::Error;

    fn make_tls_connect(&mut self, _: &str) -> io::Result<Self> {
        Ok(*self)
    }
}

impl TlsConnect<Socket> for Link {
    type Stream = Watched<Socket>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Watched<Socket>>>;

    fn connect(self, socket: Socket) -> Self::Future {
        std::future::ready(Ok(Watched::new(socket, self.answer_max)))
    }
}

/// A stream that fails when it has been waited for too long.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    answer_max: Duration,
    /// Time that was waited for since anything last moved.
    silent: Duration,
    looked_at: Instant,
    next_look: Pin<Box<Sleep>>,
}

impl<S> Watched<S> {
    fn new(stream: S, answer_max: Duration) -> Self {
        let next_look = Box::pin(sleep(LOOK_EVERY));
        Self { stream, answer_max, silent: Duration::ZERO, looked_at: Instant::now(), next_look }
    }

    /// What came of a try to read or write.
    fn watch<T>(&mut self, cx: &mut Context<'_>, moved: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let since = self.looked_at.elapsed();
        self.looked_at = Instant::now();
        if moved.is_ready() {
            self.silent = Duration::ZERO;
            return moved;
        }
        // Who waits looks in time; a longer while is one in which nobody has asked for anything.
        self.silent =
            if since > LOOK_EVERY.saturating_mul(4) { Duration::ZERO } else { self.silent.saturating_add(since) };
        if self.silent >= self.answer_max {
            let text = format!("it has said nothing for {} s, and an answer was waited for", self.answer_max.as_secs());
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
        while self.next_look.as_mut().poll(cx).is_ready() {
            self.next_look.set(sleep(LOOK_EVERY));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, out);
        self.watch(cx, read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl TlsStream for Watched<Socket> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}
