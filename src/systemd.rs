//! Telling the service manager how we are: the notify protocol, a datagram of `KEY=VALUE` lines.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Longest step of a start, `TimeoutStartSec` of the unit: to read and sync a segment, or to replay some thousand events.
const START_STEP_MAX: Duration = Duration::from_secs(60);

/// Longest time that a message may wait for the manager.
const SEND_MAX: Duration = Duration::from_secs(1);

/// The manager's socket, if a manager started us.
#[derive(Debug)]
pub struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// As `$NOTIFY_SOCKET` says; silent without it.
    #[must_use]
    pub fn from_env() -> Self {
        let connect = || -> Option<(UnixDatagram, SocketAddr)> {
            let path = std::env::var("NOTIFY_SOCKET").ok()?;
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that takes no more must not keep a stop from its goodbyes.
            socket.set_write_timeout(Some(SEND_MAX)).ok()?;
            Some((socket, address(&path).ok()?))
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

    /// A step of a long start is done: the next one may take its time as well.
    pub fn start_goes_on(&self) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}\n", START_STEP_MAX.as_micros()));
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
