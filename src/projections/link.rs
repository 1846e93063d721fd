//! A connection to a server: encrypted where that is asked for, and one that does not wait for ever.
//!
//! A server that falls silent while an answer is waited for counts as lost, which neither the system's keepalives nor the
//! server's own bounds tell of a process that hangs, or of a relay that has lost its other end. The client has one place
//! where a stream can be put around its socket, that of TLS: so what is sent in the clear goes by there as well.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use postgres::Socket;
use postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// How often a wait looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The request for TLS, and the answer that it begins.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const SSL_ACCEPTED: u8 = b'S';

/// Who may sign the certificate of a server: nothing is said to one that has none for its host's name.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Authorities by their certificates, in PEM.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn of(pem: &[u8]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("not in PEM: {error}"))?;
            roots.add(certificate).map_err(|error| format!("a certificate cannot be used: {error}"))?;
        }
        if roots.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }
}

/// A server that does not encrypt.
#[derive(Debug, thiserror::Error)]
#[error("the server does not offer TLS")]
struct NotOffered;

/// True for a server that does not encrypt, or does not show that it is who it should be.
pub(super) fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<rustls::Error>() || inner.is::<NotOffered>())
        || error.source().is_some_and(is_untrusted)
}

/// What makes of a socket a connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Longest silence while something is waited for.
    pub(super) answer_max: Duration,
    /// `None`: in the clear.
    pub(super) tls: Option<Tls>,
}

/// The same for one host.
pub(super) struct Dial {
    answer_max: Duration,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl MakeTlsConnect<Socket> for Link {
    type Stream = Stream;
    type TlsConnect = Dial;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Dial> {
        let tls = self.tls.as_ref().map(|Tls(config)| {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            Ok::<_, io::Error>((TlsConnector::from(Arc::clone(config)), name))
        });
        Ok(Dial { answer_max: self.answer_max, tls: tls.transpose()? })
    }
}

impl TlsConnect<Socket> for Dial {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let mut socket = Watched::new(socket, self.answer_max);
            let Some((connector, name)) = self.tls else { return Ok(Stream(Box::new(socket))) };
            socket.write_all(&SSL_REQUEST).await?;
            if socket.read_u8().await? != SSL_ACCEPTED {
                return Err(io::Error::other(NotOffered));
            }
            Ok(Stream(Box::new(connector.connect(name, socket).await?)))
        })
    }
}

/// What goes both ways.
trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Both for S {}

/// A connection, encrypted or not.
pub(super) struct Stream(Box<dyn Both>);

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl TlsStream for Stream {
    /// The certificate proves who the server is.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
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
