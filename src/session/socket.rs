//! Listening and connected sockets, TCP and unix alike.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use super::lockout::Host;

/// A place where clients connect.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix socket; its file goes with it.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens on a TCP address.
    ///
    /// # Errors
    /// As the system says: address in use, not permitted.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).map(Self::Tcp)
    }

    /// Listens on a unix socket. A file left by a dead process is taken over; a live one is an error.
    ///
    /// # Errors
    /// `AddrInUse` when a process listens there; else as the system says.
    pub fn unix(path: &Path) -> io::Result<Self> {
        match UnixListener::bind(path) {
            Ok(listener) => Ok(Self::Unix(listener, path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                UnixListener::bind(path).map(|listener| Self::Unix(listener, path.to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Where clients connect, for people.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| "?".to_owned(), |address| address.to_string()),
            Self::Unix(_, path) => path.display().to_string(),
        }
    }

    /// The next connection, and where it comes from; `None` when there is none.
    ///
    /// # Errors
    /// As the system says; the caller goes on listening.
    pub fn accept(&self) -> io::Result<Option<(Stream, Host)>> {
        let accepted = match self {
            Self::Tcp(listener) => listener.accept().and_then(|(stream, address)| {
                // A report waits for nothing.
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Host::Ip(address.ip())))
            }),
            Self::Unix(listener, _) => listener.accept().map(|(stream, _)| (Stream::Unix(stream), Host::Unix)),
        };
        match accepted {
            Ok(accepted) => Ok(Some(accepted)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hears of new connections under `token`.
    ///
    /// # Errors
    /// As the system says.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(registry, token, Interest::READABLE),
            Self::Unix(listener, _) => listener.register(registry, token, Interest::READABLE),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // The file may be gone already; nothing depends on it.
            drop(std::fs::remove_file(path));
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix socket.
    Unix(UnixStream),
}

/// What a read or a write of a non-blocking socket came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing now; readiness will tell.
    Later,
    /// The peer closed or reset the connection.
    Ended,
}

impl Stream {
    /// Hears of readiness under `token`.
    ///
    /// # Errors
    /// As the system says.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, interest),
            Self::Unix(stream) => stream.register(registry, token, interest),
        }
    }

    /// Reads once.
    pub fn read(&mut self, into: &mut [u8]) -> Transfer {
        transfer(match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        })
    }

    /// Writes once.
    pub fn write(&mut self, from: &[u8]) -> Transfer {
        transfer(match self {
            Self::Tcp(stream) => stream.write(from),
            Self::Unix(stream) => stream.write(from),
        })
    }

    /// Writes all of these with one call.
    pub fn write_pieces(&mut self, from: &[IoSlice<'_>]) -> Transfer {
        match (from, self) {
            // Cheaper for the kernel.
            ([only], stream) => stream.write(only),
            (_, Self::Tcp(stream)) => transfer(stream.write_vectored(from)),
            (_, Self::Unix(stream)) => transfer(stream.write_vectored(from)),
        }
    }
}

fn transfer(result: io::Result<usize>) -> Transfer {
    match result {
        Ok(0) => Transfer::Ended,
        Ok(bytes) => Transfer::Bytes(bytes),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Transfer::Later,
            _ => Transfer::Ended,
        },
    }
}
