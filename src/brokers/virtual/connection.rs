//! A socket that carries lines, without blocking.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::Serialize;

use crate::bell::Bell;

/// Bytes that may wait to be written before instructions stay in their ring.
const QUEUED_MAX: usize = 256 * 1024;
/// Longest line that the venue may send, bytes: a page of orders.
const LINE_MAX: usize = 1024 * 1024;

/// Longest that an address is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between looks at anything else meanwhile.
const CONNECT_PAUSE: Duration = Duration::from_millis(1);

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub(super) struct Connection {
    stream: Stream,
    incoming: Vec<u8>,
    taken: usize,
    outgoing: Vec<u8>,
    /// What waits to be written may add risk.
    adds_risk: bool,
}

impl Connection {
    /// Connects, or says why it could not. Nothing here waits long but the look-up of a host's name: in between
    /// `goes_on` is called, and ends it when it says so.
    pub(super) fn open(address: &str, mut goes_on: impl FnMut() -> bool) -> io::Result<Self> {
        let stream = match address.strip_prefix("unix:") {
            // A full queue is an error to a socket that does not block.
            Some(path) => Stream::Unix(mio::net::UnixStream::connect(path)?.into()),
            None => Stream::Tcp(connect(address, &mut goes_on)?),
        };
        Ok(Self { stream, incoming: Vec::new(), taken: 0, outgoing: Vec::new(), adds_risk: false })
    }

    /// True while another request may be queued.
    pub(super) const fn has_room(&self) -> bool {
        self.outgoing.len() < QUEUED_MAX
    }

    pub(super) fn queue(&mut self, request: &impl Serialize) {
        // Our own types always have a JSON form.
        if serde_json::to_writer(&mut self.outgoing, request).is_ok() {
            self.outgoing.push(b'\n');
        }
    }

    /// What was queued last adds risk.
    pub(super) const fn note_risk(&mut self) {
        self.adds_risk = true;
    }

    /// True when something waits to be written that may add risk.
    pub(super) const fn adds_risk(&self) -> bool {
        self.adds_risk
    }

    /// Writes and reads what goes without waiting; true when anything moved.
    pub(super) fn transfer(&mut self, may_read: bool) -> io::Result<bool> {
        let mut moved = false;
        while !self.outgoing.is_empty() {
            let written = match &mut self.stream {
                Stream::Tcp(stream) => stream.write(&self.outgoing),
                Stream::Unix(stream) => stream.write(&self.outgoing),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.outgoing.drain(..count);
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.adds_risk &= !self.outgoing.is_empty();
        if !may_read {
            return Ok(moved);
        }
        self.incoming.drain(..self.taken);
        self.taken = 0;
        if self.incoming.len() > LINE_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of the venue is too long"));
        }
        let mut chunk = [0; 16 * 1024];
        let read = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut chunk),
            Stream::Unix(stream) => stream.read(&mut chunk),
        };
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.incoming.extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(moved),
            Err(error) => Err(error),
        }
    }

    /// The next whole line, without its end.
    pub(super) fn next_line(&mut self) -> Option<Vec<u8>> {
        let rest = self.incoming.get(self.taken..)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = rest.get(..end)?.to_vec();
        self.taken = self.taken.saturating_add(end).saturating_add(1);
        Some(line)
    }

    /// Waits for bytes, for room if some wait for it, or for the bell, at most so long.
    pub(super) fn wait(&self, bell: &Bell, longest: Duration) {
        let fd: BorrowedFd<'_> = match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        };
        let writes = if self.outgoing.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN | writes), PollFd::new(bell, PollFlags::IN)];
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: longest.subsec_nanos().into() };
        // Whatever it says, the next transfer finds out.
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
    }
}

/// Tries each address of `host:port` for so long.
fn connect(address: &str, goes_on: &mut impl FnMut() -> bool) -> io::Result<TcpStream> {
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    for address in address.to_socket_addrs()? {
        match connect_to(address, goes_on) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn connect_to(address: SocketAddr, goes_on: &mut impl FnMut() -> bool) -> io::Result<TcpStream> {
    let stream = TcpStream::from(mio::net::TcpStream::connect(address)?);
    let started = Instant::now();
    let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: CONNECT_PAUSE.subsec_nanos().into() };
    while rustix::event::poll(&mut [PollFd::new(&stream, PollFlags::OUT)], Some(&pause))? == 0 {
        if !goes_on() || started.elapsed() > CONNECT_TIMEOUT {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    match stream.take_error()? {
        Some(error) => Err(error),
        None => stream.set_nodelay(true).map(|()| stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that never answers: its queue is full.
    fn silent() -> (std::os::fd::OwnedFd, Vec<TcpStream>, SocketAddr) {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
        listen(&listener, 0).expect("listens");
        let address = SocketAddr::try_from(getsockname(&listener).expect("named")).expect("an address");
        let waiting = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let waiting = std::iter::from_fn(waiting).collect();
        (listener, waiting, address)
    }

    #[test]
    fn a_host_that_is_silent_is_given_up_as_soon_as_a_stop_is_asked_for() {
        let (_listener, _waiting, address) = silent();
        let mut looks = 0;
        let opened = Connection::open(&address.to_string(), || {
            looks += 1;
            looks < 3
        });
        assert_eq!(opened.err().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        assert_eq!(looks, 3);
    }
}
