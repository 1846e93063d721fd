//! Connections: sockets, byte queues, and the protocol's session rules, one a connection.
//!
//! Must not know why an order may live. Everything is allocated at start: a connection is a slot of a
//! table, its bytes are chunks of one pool.

pub mod connection;
pub mod directory;
pub mod lockout;
pub mod places;
pub mod pool;
mod queues;
pub mod socket;
#[cfg(test)]
mod tests;
pub mod throttle;

use std::io::{self, IoSlice};

use mio::{Events, Poll, Token};
use tradecore_protocol::frame::{CLIENT_FRAME_BYTES_MAX, Envelope, encode};
use tradecore_protocol::layout::Text;
use tradecore_protocol::messages::LogonReject;
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{Now, ServerConfig, ServerSession};

use crate::egress::gate::ConnectionId;
use crate::egress::replay::Block;
use crate::stages::Recorder;
use connection::{Answers, InstrumentSet};
pub use connection::{Connection, LoggedOnAs, OpenOrdersCursor};
use places::Places;
use pool::{ByteQueue, Pool};
use socket::{Listener, Stream, Transfer};

/// Instruments that a connection can subscribe to.
pub const SUBSCRIPTIONS_MAX: u32 = 256;

/// When a connection that found no room may try again, ms.
const RETRY_AFTER_MS: u32 = 1_000;

/// Least floor of a connection in the pool: what one read of it can be answered with.
pub const FLOOR_BYTES_MIN: u64 = 64 * 1024;

/// Bytes read from a socket at once.
pub const READ_BYTES: usize = 16 * 1024;

/// Chunks of a connection's queue that one write takes: more than the answers to one read.
const PIECES_PER_WRITE: usize = 16;

/// Every connection, and the places where new ones come in.
pub struct Connections {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    active: Vec<u32>,
    /// Those that may have something to read.
    to_read: Places,
    /// Those that may be written to, or are on their way out.
    to_write: Places,
    /// Those that `Connection::needs_attention`.
    to_attend: Places,
    /// Those that have to be sent away since they do not read.
    slow: Places,
    /// Where the search for passed deadlines goes on.
    sweep_at: usize,
    pool: Pool,
    next_no: u32,
    /// How many found no room.
    turned_away: u64,
    outbound_bytes_max: usize,
    close_linger_ns: u64,
    accepting: bool,
    accept_ready: bool,
}

/// Bounds of the table.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub connections_max: u32,
    /// Bytes that one connection may leave unread.
    pub outbound_bytes_max: usize,
    /// Chunks of 8 KiB, half of them in equal floors and half shared.
    pub pool_chunks: u32,
    /// Time that a connection which ends has to take its last bytes, ns.
    pub close_linger_ns: u64,
}

const LISTENER_TOKENS: usize = usize::MAX / 2;

impl Connections {
    /// A table with its listeners and its pool.
    ///
    /// # Errors
    /// When the system refuses the poll or a listener's registration.
    pub fn new(bounds: Bounds, listeners: Vec<Listener>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listeners = listeners;
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), Token(LISTENER_TOKENS.saturating_add(index)))?;
        }
        let count = bounds.connections_max as usize;
        let mut slots = Vec::with_capacity(count);
        slots.resize_with(count, || None);
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            listeners,
            slots,
            free: (0..bounds.connections_max).rev().collect(),
            active: Vec::with_capacity(count),
            to_read: Places::new(count),
            to_write: Places::new(count),
            to_attend: Places::new(count),
            slow: Places::new(count),
            sweep_at: 0,
            pool: Pool::new(bounds.pool_chunks, bounds.connections_max),
            next_no: 1,
            turned_away: 0,
            outbound_bytes_max: bounds.outbound_bytes_max,
            close_linger_ns: bounds.close_linger_ns,
            accepting: true,
            accept_ready: true,
        })
    }

    /// Where clients connect.
    pub fn addresses(&self) -> impl Iterator<Item = String> + '_ {
        self.listeners.iter().map(Listener::address)
    }

    /// Refuses new connections from now on.
    pub fn stop_accepting(&mut self) {
        self.accepting = false;
    }

    /// Most connections that there can be.
    #[must_use]
    pub const fn connections_max(&self) -> usize {
        self.slots.len()
    }

    /// Connections there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.active.len()
    }

    /// Connections that were refused since there was no room, since the start.
    #[must_use]
    pub const fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// True when there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// The place in the table of the `nth` connection there is.
    #[must_use]
    pub fn nth(&self, nth: usize) -> Option<u32> {
        self.active.get(nth).copied()
    }

    /// The connection at a place.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Connection> {
        self.slots.get(index as usize).and_then(Option::as_ref)
    }

    /// The connection at a place.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Connection> {
        self.slots.get_mut(index as usize).and_then(Option::as_mut)
    }

    /// The connection with this identity, if it still is there.
    pub fn find_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.get_mut(id.index).filter(|connection| connection.id == id)
    }

    /// Asks the system what is ready, waiting at most `wait`; notes it in the connections.
    ///
    /// # Errors
    /// When the poll itself fails: the process cannot go on.
    pub fn poll(&mut self, wait: core::time::Duration) -> io::Result<usize> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            Err(error) => return Err(error),
        }
        let mut work: usize = 0;
        for event in &self.events {
            work = work.saturating_add(1);
            let token = event.token().0;
            if token >= LISTENER_TOKENS {
                self.accept_ready = true;
            } else if let Some(Some(connection)) = self.slots.get_mut(token) {
                connection.read_closed |= event.is_read_closed() || event.is_error();
                connection.readable |= event.is_readable() || connection.read_closed;
                connection.writable |= event.is_writable();
                if connection.readable {
                    self.to_read.add(token as u32);
                }
                if connection.can_write() {
                    self.to_write.add(token as u32);
                }
            }
        }
        Ok(work)
    }

    /// Takes in one new connection, if there is one and room for it, or one that is not logged on: the oldest of those
    /// makes room, so that silent peers keep nobody out.
    pub fn accept(&mut self, config: &ServerConfig, nonce: impl FnOnce() -> [u8; 32], now: Now) -> Option<u32> {
        if !self.accept_ready {
            return None;
        }
        let mut accepted = None;
        let mut failed = false;
        for listener in &self.listeners {
            match listener.accept() {
                Ok(None) => {}
                Ok(Some(stream)) => {
                    accepted = Some(stream);
                    break;
                }
                // As without a file descriptor: who waits is asked again, since nothing will tell of it.
                Err(_) => failed = true,
            }
        }
        let Some((mut stream, host)) = accepted else {
            self.accept_ready = failed;
            return None;
        };
        if !self.accepting {
            return None;
        }
        if self.free.is_empty() {
            self.turn_oldest_stranger_away(now);
        }
        let Some(index) = self.free.pop() else {
            turn_away(&mut stream, now);
            self.turned_away = self.turned_away.saturating_add(1);
            return None;
        };
        if stream.register(self.poll.registry(), Token(index as usize)).is_err() {
            self.free.push(index);
            return None;
        }
        let id = ConnectionId { index, no: self.next_no };
        self.next_no = self.next_no.wrapping_add(1);
        let connection = Connection {
            id,
            host,
            session: ServerSession::new(config, nonce(), now),
            logged_on: None,
            strikes: 0,
            ack_journal_seq: 0,
            subscribed: InstrumentSet::default(),
            stale_quotes: InstrumentSet::default(),
            answers: Answers::default(),
            replay_next: 0,
            open_orders: None,
            stream,
            out: ByteQueue::default(),
            left_ns: 0,
            newest_no: 0,
            above_floor_since_ns: 0,
            is_slow: false,
            closing: None,
            readable: true,
            read_closed: false,
            writable: true,
            partial_len: 0,
            partial: [0; CLIENT_FRAME_BYTES_MAX],
        };
        *self.slots.get_mut(index as usize)? = Some(connection);
        self.active.push(index);
        self.to_read.add(index);
        Some(index)
    }

    fn turn_oldest_stranger_away(&mut self, now: Now) {
        let strangers = self.active.iter().filter_map(|index| {
            let connection = self.get(*index)?;
            let is_stranger = connection.logged_on.is_none() && !connection.is_closing();
            is_stranger.then_some((self.next_no.wrapping_sub(connection.id.no), *index))
        });
        let Some((_, index)) = strangers.max() else { return };
        if let Some(connection) = self.get_mut(index) {
            turn_away(&mut connection.stream, now);
        }
        self.turned_away = self.turned_away.saturating_add(1);
        self.remove(index);
    }

    /// Frees the place of a connection. It has no block of an answer: the caller has sent that home.
    fn remove(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize)
            && let Some(connection) = slot
        {
            self.pool.clear(&mut connection.out);
            *slot = None;
            self.free.push(index);
        }
        if let Some(nth) = self.active.iter().position(|active| *active == index) {
            self.active.swap_remove(nth);
        }
    }

    /// How many connections may have something to read.
    #[must_use]
    pub fn readable_count(&self) -> usize {
        self.to_read.len()
    }

    /// The next connection that may have something to read.
    pub fn next_readable(&mut self) -> Option<u32> {
        self.to_read.take()
    }

    /// How many connections need attention.
    #[must_use]
    pub fn attention_count(&self) -> usize {
        self.to_attend.len()
    }

    /// The next connection that needs attention; the caller `attend`s to it again if it still does.
    pub fn next_to_attend(&mut self) -> Option<u32> {
        self.to_attend.take()
    }

    /// Puts a connection in line if it needs attention.
    pub fn attend(&mut self, index: u32) {
        if self.get(index).is_some_and(Connection::needs_attention) {
            self.to_attend.add(index);
        }
    }

    /// The next connection to be searched for passed deadlines, each in turn.
    pub fn next_to_sweep(&mut self) -> Option<u32> {
        self.sweep_at = self.sweep_at.saturating_add(1);
        if self.sweep_at >= self.active.len() {
            self.sweep_at = 0;
        }
        self.nth(self.sweep_at)
    }

    /// Reads once from a connection that may have something: how many bytes of `scratch` are filled, what
    /// was kept of an earlier read included. It stays in line while there may be more.
    pub fn read(&mut self, index: u32, scratch: &mut [u8]) -> Option<(usize, bool)> {
        let connection = self.slots.get_mut(index as usize)?.as_mut()?;
        if !connection.readable || connection.is_closing() {
            return None;
        }
        let kept = connection.partial_len;
        let (head, room) = scratch.split_at_mut_checked(kept)?;
        head.copy_from_slice(connection.partial.get(..kept)?);
        let room_bytes = room.len();
        match connection.stream.read(room) {
            Transfer::Bytes(bytes) => {
                // A short read has emptied the socket: readiness will tell of more, unless the end is all there is.
                connection.readable = bytes == room_bytes || connection.read_closed;
                if connection.readable {
                    self.to_read.add(index);
                }
                Some((kept.saturating_add(bytes), false))
            }
            Transfer::Later => {
                connection.readable = false;
                None
            }
            Transfer::Ended => Some((kept, true)),
        }
    }

    /// Keeps the start of a frame whose rest has not come yet: shorter than the longest client frame.
    pub fn keep(&mut self, index: u32, rest: &[u8]) {
        if let Some(connection) = self.get_mut(index)
            && let Some(place) = connection.partial.get_mut(..rest.len())
        {
            place.copy_from_slice(rest);
            connection.partial_len = rest.len();
        }
    }

    /// Ends a connection once what is queued and durable has been written, at the latest after `close_linger_ns`.
    pub fn close(&mut self, index: u32, reason: Reason, now: Now) {
        let deadline_ns = now.mono_ns.saturating_add(self.close_linger_ns);
        if let Some(connection) = self.get_mut(index)
            && connection.closing.is_none()
        {
            connection.closing = Some((reason, deadline_ns));
            self.to_write.add(index);
        }
    }

    /// Writes what may leave, one write a connection; removes the connections that are done. The number of
    /// connections that were written to, and the block of a removed one, which must go home.
    pub fn flush(&mut self, now: Now, stages: &mut Recorder, go_home: &mut dyn FnMut(Block)) -> usize {
        let mut work: usize = 0;
        for _ in 0..self.to_write.len() {
            let Some(index) = self.to_write.take() else { break };
            let Some(Some(connection)) = self.slots.get_mut(index as usize) else { continue };
            let mut broken = false;
            while connection.can_write() {
                work = work.saturating_add(1);
                let mut pieces = [IoSlice::new(&[]); PIECES_PER_WRITE];
                let (mut count, mut wanted) = (0_usize, 0_usize);
                for (place, piece) in pieces.iter_mut().zip(self.pool.pieces(&connection.out)) {
                    *place = IoSlice::new(piece);
                    count = count.saturating_add(1);
                    wanted = wanted.saturating_add(piece.len());
                }
                match connection.stream.write_pieces(pieces.get(..count).unwrap_or_default()) {
                    Transfer::Bytes(bytes) => {
                        stages.wrote(connection.id);
                        self.pool.pop(&mut connection.out, bytes);
                        connection.writable = bytes == wanted;
                        if connection.logged_on.is_some() {
                            connection.left_ns = now.mono_ns.max(1);
                        }
                    }
                    Transfer::Later => connection.writable = false,
                    Transfer::Ended => {
                        broken = true;
                        break;
                    }
                }
            }
            let Some((_, deadline_ns)) = connection.closing else {
                if broken {
                    // The reader finds the end of the stream and ends the session.
                    connection.readable = true;
                    self.to_read.add(index);
                    self.pool.clear(&mut connection.out);
                }
                // A socket that is full says when it is not; bytes that are held are put in line when released.
                continue;
            };
            if !connection.out.is_empty() && !broken && now.mono_ns < deadline_ns {
                self.to_write.add(index);
                continue;
            }
            if let Some(block) = connection.answers.block.take() {
                go_home(block);
            }
            self.remove(index);
        }
        work
    }
}

/// Says that there is no room, and closes: a fresh socket takes these bytes, a peer that is gone does not matter.
fn turn_away(stream: &mut Stream, now: Now) {
    let mut frame = [0; LogonReject::FRAME_BYTES];
    let mut block = LogonReject::default();
    block.reason.set(Reason::ConnectionsMax.raw());
    block.retry_after_ms.set(RETRY_AFTER_MS);
    block.text = Text::new("no room for another connection");
    let envelope = Envelope { send_ts_ns: now.utc_ns, ..Envelope::default() };
    if encode(&mut frame, envelope, &block).is_ok() {
        let _: Transfer = stream.write(&frame);
    }
}

impl core::fmt::Debug for Connections {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Connections").field("active", &self.active.len()).finish_non_exhaustive()
    }
}
