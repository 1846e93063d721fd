//! Connections: sockets, byte queues, and the protocol's session rules, one a connection.
//!
//! Must not know why an order may live. Everything is allocated at start: a connection is a slot of a
//! table, its bytes are chunks of one pool.

pub mod directory;
pub mod pool;
pub mod socket;
pub mod throttle;

use std::io;

use mio::{Events, Poll, Token};
use tradecore_protocol::fields::{CodMode, Role};
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{Now, ServerConfig, ServerSession};

use crate::egress::gate::{ConnectionId, Gate};
use crate::egress::replay::Block;
use pool::{ByteQueue, Pool};
use socket::{Listener, Stream, Transfer};
use throttle::Throttle;

/// Longest frame that a client may send, bytes. Every client message is far shorter; a longer announcement
/// ends the connection before anything of it is kept.
pub const CLIENT_FRAME_BYTES_MAX: usize = 1024;

/// Instruments that a connection can subscribe to.
pub const SUBSCRIPTIONS_MAX: u32 = 256;

/// Time that a closing connection has to take its last bytes, ns.
const CLOSE_LINGER_NS: u64 = 1_000_000_000;

/// Bytes read from a socket at once.
pub const READ_BYTES: usize = 16 * 1024;

/// A session that a connection speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedOnAs {
    /// The session.
    pub session_id: u32,
    /// Its role.
    pub role: Role,
    /// Cancel-on-disconnect mode in force.
    pub cod_mode: CodMode,
}

/// Instruments, a bit each.
#[derive(Clone, Copy, Debug, Default)]
pub struct InstrumentSet([u64; 4]);

impl InstrumentSet {
    fn bit(instrument_id: u32) -> (usize, u64) {
        ((instrument_id / 64) as usize, 1_u64.wrapping_shl(instrument_id % 64))
    }

    /// Adds or removes an instrument; false when it is beyond `SUBSCRIPTIONS_MAX`.
    pub fn set(&mut self, instrument_id: u32, present: bool) -> bool {
        let (word, bit) = Self::bit(instrument_id);
        self.0.get_mut(word).is_some_and(|word| {
            *word = if present { *word | bit } else { *word & !bit };
            true
        })
    }

    /// True when the instrument is in the set.
    #[must_use]
    pub fn has(&self, instrument_id: u32) -> bool {
        let (word, bit) = Self::bit(instrument_id);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Takes the lowest instrument out.
    pub fn take_first(&mut self) -> Option<u32> {
        let (index, word) = self.0.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= word.wrapping_sub(1);
        Some((index as u32).saturating_mul(64).saturating_add(bit))
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// Who it is, also to rings that outlive it.
    pub id: ConnectionId,
    /// The rules.
    pub session: ServerSession,
    /// What it speaks for, once it is logged on.
    pub logged_on: Option<LoggedOnAs>,
    /// Frames per second, orders.
    pub throttle: Throttle,
    /// Frames per second, cancels and queries.
    pub cancel_throttle: Throttle,
    /// Refusals by the throttle in a row.
    pub strikes: u32,
    /// Subscribed instruments.
    pub subscribed: InstrumentSet,
    /// Subscribed instruments with a quote that has not been sent.
    pub stale_quotes: InstrumentSet,
    /// A block of a replay that waits for room.
    pub block: Option<Block>,
    /// First report that has not been asked of the replay thread; 0 when no replay is under way.
    pub replay_next: u64,
    /// An open-orders query under way.
    pub open_orders: Option<OpenOrdersCursor>,
    stream: Stream,
    out: ByteQueue,
    closing: Option<(Reason, u64)>,
    readable: bool,
    writable: bool,
    partial_len: usize,
    partial: [u8; CLIENT_FRAME_BYTES_MAX],
}

/// How far an open-orders query has come.
#[derive(Clone, Copy, Debug)]
pub struct OpenOrdersCursor {
    /// The client's id of the query.
    pub request_id: u64,
    /// Only this account; 0 for all.
    pub account_id: u32,
    /// Only this instrument; 0 for all.
    pub instrument_id: u32,
    /// Where to go on in the order table.
    pub position: usize,
    /// Frames sent.
    pub count: u32,
}

impl Connection {
    /// True once the connection is on its way out: nothing more is read or queued.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub const fn queued_bytes(&self) -> usize {
        self.out.len()
    }
}

/// Every connection, and the places where new ones come in.
pub struct Connections {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    active: Vec<u32>,
    pool: Pool,
    next_no: u32,
    outbound_bytes_max: usize,
    accepting: bool,
    accept_ready: bool,
}

/// Bounds of the table.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub connections_max: u32,
    /// Bytes that may wait for one connection.
    pub outbound_bytes_max: usize,
    /// Chunks of 8 KiB that all connections share.
    pub pool_chunks: u32,
}

const LISTENER_TOKENS: usize = usize::MAX / 2;

impl Connections {
    /// A table with its listeners, every page of its pool touched.
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
            pool: Pool::new(bounds.pool_chunks),
            next_no: 1,
            outbound_bytes_max: bounds.outbound_bytes_max,
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

    /// Connections there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.active.len()
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
                connection.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                connection.writable |= event.is_writable();
            }
        }
        Ok(work)
    }

    /// Takes in one new connection, if there is one and room for it.
    pub fn accept(&mut self, config: &ServerConfig, nonce: impl FnOnce() -> [u8; 32], now: Now) -> Option<u32> {
        if !self.accept_ready {
            return None;
        }
        let mut stream = None;
        for listener in &self.listeners {
            if let Ok(Some(accepted)) = listener.accept() {
                stream = Some(accepted);
                break;
            }
        }
        let Some(mut stream) = stream else {
            self.accept_ready = false;
            return None;
        };
        if !self.accepting {
            return None;
        }
        // Without a slot the socket is closed at once: the peer reads the end of the stream.
        let index = self.free.pop()?;
        if stream.register(self.poll.registry(), Token(index as usize)).is_err() {
            self.free.push(index);
            return None;
        }
        let id = ConnectionId { index, no: self.next_no };
        self.next_no = self.next_no.wrapping_add(1);
        let connection = Connection {
            id,
            session: ServerSession::new(config, nonce(), now),
            logged_on: None,
            throttle: Throttle::new(0, 0, now.mono_ns),
            cancel_throttle: Throttle::new(0, 0, now.mono_ns),
            strikes: 0,
            subscribed: InstrumentSet::default(),
            stale_quotes: InstrumentSet::default(),
            block: None,
            replay_next: 0,
            open_orders: None,
            stream,
            out: ByteQueue::default(),
            closing: None,
            readable: true,
            writable: true,
            partial_len: 0,
            partial: [0; CLIENT_FRAME_BYTES_MAX],
        };
        *self.slots.get_mut(index as usize)? = Some(connection);
        self.active.push(index);
        Some(index)
    }

    /// Reads once from a connection that may have something: how many bytes of `scratch` are filled, what
    /// was kept of an earlier read included.
    pub fn read(&mut self, index: u32, scratch: &mut [u8]) -> Option<(usize, bool)> {
        let connection = self.get_mut(index)?;
        if !connection.readable || connection.closing.is_some() {
            return None;
        }
        let kept = connection.partial_len;
        let (head, room) = scratch.split_at_mut_checked(kept)?;
        head.copy_from_slice(connection.partial.get(..kept)?);
        let room_bytes = room.len();
        match connection.stream.read(room) {
            Transfer::Bytes(bytes) => {
                // A short read has emptied the socket: readiness will tell of more.
                connection.readable = bytes == room_bytes;
                Some((kept.saturating_add(bytes), false))
            }
            Transfer::Later => {
                connection.readable = false;
                None
            }
            Transfer::Ended => Some((kept, true)),
        }
    }

    /// Keeps the start of a frame whose rest has not come yet; false when it is longer than any client frame.
    pub fn keep(&mut self, index: u32, rest: &[u8]) -> bool {
        let Some(connection) = self.get_mut(index) else { return true };
        let Some(place) = connection.partial.get_mut(..rest.len()) else { return false };
        place.copy_from_slice(rest);
        connection.partial_len = rest.len();
        true
    }

    /// Queues a frame. With `journal_seq` it waits at the gate until that event is durable; without, it waits
    /// for nothing but what is queued before it. False when there is no room: a slow consumer.
    pub fn queue(
        &mut self,
        index: u32,
        frame: &[u8],
        journal_seq: Option<u64>,
        last_seq: u64,
        gate: &mut Gate,
    ) -> bool {
        let outbound_bytes_max = self.outbound_bytes_max;
        let Some(Some(connection)) = self.slots.get_mut(index as usize) else { return true };
        if connection.closing.is_some() || frame.is_empty() {
            return true;
        }
        if connection.out.len().saturating_add(frame.len()) > outbound_bytes_max {
            return false;
        }
        let behind_others = !connection.out.is_fully_released();
        if !self.pool.push(&mut connection.out, frame) {
            return false;
        }
        match journal_seq {
            Some(seq) => gate.hold(seq, connection.id, frame.len()),
            None if behind_others => gate.hold(last_seq, connection.id, frame.len()),
            None => {
                connection.out.release(frame.len());
                true
            }
        }
    }

    /// Lets bytes leave that the gate has let go.
    pub fn release(&mut self, id: ConnectionId, bytes: usize) {
        if let Some(connection) = self.find_mut(id) {
            connection.out.release(bytes);
        }
    }

    /// Room for `bytes` more in the connection's queue.
    #[must_use]
    pub fn has_room(&self, index: u32, bytes: usize) -> bool {
        self.get(index).is_some_and(|connection| connection.out.len().saturating_add(bytes) <= self.outbound_bytes_max)
            && (self.pool.free_chunks() as usize).saturating_mul(pool::CHUNK_BYTES) > bytes
    }

    /// Ends a connection once what is queued and durable has been written, at the latest after a second.
    pub fn close(&mut self, index: u32, reason: Reason, now: Now) {
        if let Some(connection) = self.get_mut(index)
            && connection.closing.is_none()
        {
            connection.closing = Some((reason, now.mono_ns.saturating_add(CLOSE_LINGER_NS)));
        }
    }

    /// Writes what may leave, one write a connection; removes the connections that are done. The number of
    /// connections that were written to, and the block of a removed one, which must go home.
    pub fn flush(&mut self, now: Now, go_home: &mut dyn FnMut(Block)) -> usize {
        let mut work: usize = 0;
        let mut nth = 0;
        while let Some(index) = self.active.get(nth).copied() {
            let Some(Some(connection)) = self.slots.get_mut(index as usize) else {
                self.active.swap_remove(nth);
                continue;
            };
            let mut broken = false;
            while connection.writable && connection.out.released() > 0 {
                work = work.saturating_add(1);
                let front = self.pool.front(&connection.out);
                let wanted = front.len();
                match connection.stream.write(front) {
                    Transfer::Bytes(bytes) => {
                        self.pool.pop(&mut connection.out, bytes);
                        connection.writable = bytes == wanted;
                    }
                    Transfer::Later => connection.writable = false,
                    Transfer::Ended => {
                        broken = true;
                        break;
                    }
                }
            }
            let done = connection
                .closing
                .is_some_and(|(_, deadline_ns)| connection.out.is_empty() || broken || now.mono_ns >= deadline_ns);
            if broken && connection.closing.is_none() {
                // The reader finds the end of the stream and ends the session.
                connection.readable = true;
                self.pool.clear(&mut connection.out);
            }
            if done {
                self.pool.clear(&mut connection.out);
                if let Some(block) = connection.block.take() {
                    go_home(block);
                }
                if let Some(slot) = self.slots.get_mut(index as usize) {
                    *slot = None;
                }
                self.free.push(index);
                self.active.swap_remove(nth);
            } else {
                nth = nth.saturating_add(1);
            }
        }
        work
    }
}

impl core::fmt::Debug for Connections {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Connections").field("active", &self.active.len()).finish_non_exhaustive()
    }
}
