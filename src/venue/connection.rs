//! One client's socket: bytes in, bounded; bytes out, bounded.

use super::order::ClientIndex;
use super::wire::REQUEST_BYTES_MAX;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read, Write};

/// Output at which a connection takes no further requests, events or quotes until it has drained, bytes.
const OUTPUT_BYTES_HIGH: usize = 256 * 1024;
/// Read at a time, bytes.
const READ_BYTES: usize = 16 * 1024;

pub(super) enum Stream {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
}

/// What a client has last been sent of an instrument, by the market table's counters.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) quote_no: u64,
    pub(super) print_no: u64,
}

pub(super) struct Connection {
    /// Names it in the log.
    no: usize,
    stream: Stream,
    readable: bool,
    writable: bool,
    /// The peer has sent its last byte.
    ended: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// No more is read; what is left to write is tried once.
    pub(super) closing: bool,
    pub(super) client: Option<ClientIndex>,
    /// Next event to send.
    pub(super) cursor: Option<u64>,
    /// One entry an instrument once quotes are asked for.
    pub(super) quotes: Option<Vec<Sent>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        tracing::info!(no = self.no, "a connection to the venue has gone");
    }
}

impl Connection {
    pub(super) fn open(mut stream: Stream, registry: &Registry, token: Token) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match &mut stream {
            Stream::Tcp(tcp) => {
                tcp.set_nodelay(true)?;
                tcp.register(registry, token, interest)?;
            }
            Stream::Unix(unix) => unix.register(registry, token, interest)?,
        }
        let no = token.0;
        tracing::info!(no, "a connection to the venue has come");
        Ok(Self {
            no,
            stream,
            readable: false,
            writable: true,
            ended: false,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            closing: false,
            client: None,
            cursor: None,
            quotes: None,
        })
    }

    pub(super) fn set_ready(&mut self, readable: bool, writable: bool) {
        self.readable |= readable && !self.ended;
        self.writable |= writable;
    }

    /// True when there is something to read and room for the answer.
    pub(super) fn wants_turn(&self) -> bool {
        !self.closing && self.has_room() && (self.readable || self.input.contains(&b'\n'))
    }

    pub(super) fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_BYTES_HIGH
    }

    /// Reads once. Errors close; the end of the stream closes once its whole lines are taken.
    pub(super) fn fill(&mut self) {
        if !self.readable || self.input.len() >= REQUEST_BYTES_MAX {
            return;
        }
        let mut bytes = [0; READ_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => (self.ended, self.readable) = (true, false),
            Ok(count) => self.input.extend_from_slice(bytes.get(..count).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => self.readable = false,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.closing = true,
        }
    }

    /// The next whole line, without its newline, if there is room for its answer.
    pub(super) fn next_line(&mut self, line: &mut Vec<u8>) -> bool {
        let end = self.input.iter().position(|byte| *byte == b'\n');
        let Some(end) = end.filter(|_| self.has_room()) else {
            return false;
        };
        line.clear();
        line.extend(self.input.drain(..=end));
        line.pop();
        true
    }

    /// True when all that will ever come has been taken.
    pub(super) fn is_finished(&self) -> bool {
        self.ended && !self.input.contains(&b'\n')
    }

    /// True when what was read can never become a line.
    pub(super) fn line_too_long(&self) -> bool {
        self.input.len() >= REQUEST_BYTES_MAX && !self.input.contains(&b'\n')
    }

    /// Queues one line.
    pub(super) fn push(&mut self, message: &impl serde::Serialize) {
        // Writing to memory cannot fail, and every message is serializable.
        if serde_json::to_writer(&mut self.output, message).is_ok() {
            self.output.push(b'\n');
        }
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) {
        while self.writable && self.written < self.output.len() {
            let rest = self.output.get(self.written..).unwrap_or_default();
            match self.stream.write(rest) {
                Ok(count) => self.written = self.written.saturating_add(count),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.closing = true;
                    return;
                }
            }
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(bytes),
            Self::Unix(unix) => unix.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Unix(unix) => unix.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
