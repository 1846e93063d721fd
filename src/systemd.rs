//! Telling the service manager how we are: the notify protocol, a datagram of `KEY=VALUE` lines.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The manager's socket, if a manager started us.
#[derive(Debug)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// As `$NOTIFY_SOCKET` says; silent without it.
    #[must_use]
    pub fn from_env() -> Self {
        let connect = || -> Option<(UnixDatagram, SocketAddr)> {
            let path = std::env::var("NOTIFY_SOCKET").ok()?;
            Some((UnixDatagram::unbound().ok()?, address(&path).ok()?))
        };
        Self(connect())
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.0 {
            // A manager that does not listen changes nothing about trading.
            drop(socket.send_to_addr(message.as_bytes(), address));
        }
    }

    /// Replay is done and the listeners are open.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// What we are doing, for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}\n"));
    }

    /// A long replay: so much more time is needed, at most.
    pub fn extend_timeout(&self, micros: u64) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={micros}\n"));
    }

    /// The loop has turned.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1\n");
    }

    /// We are on our way out.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}\n"));
    }
}

fn address(path: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}
