//! One connection: its socket, its bytes, the session rules, and what it waits for.

use tradecore_protocol::fields::{CodMode, Role};
use tradecore_protocol::frame::CLIENT_FRAME_BYTES_MAX;
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::ServerSession;

use super::lockout::Host;
use super::pool::ByteQueue;
use super::socket::Stream;
use crate::egress::gate::ConnectionId;
use crate::egress::replay::{Ask, Block};

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

    /// True when it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        let [a, b, c, d] = self.0;
        a | b | c | d == 0
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
    /// Where it comes from.
    pub host: Host,
    /// The rules.
    pub session: ServerSession,
    /// What it speaks for, once it is logged on.
    pub logged_on: Option<LoggedOnAs>,
    /// Refusals by the throttle in a row.
    pub strikes: u32,
    /// Journal sequence number of the event that the session's `ack_seq` acknowledges.
    pub ack_journal_seq: u64,
    /// Subscribed instruments.
    pub subscribed: InstrumentSet,
    /// Subscribed instruments with a quote that has not been sent.
    pub stale_quotes: InstrumentSet,
    /// Answers from the journal that are under way.
    pub answers: Answers,
    /// First report that has not been asked of the replay thread; 0 when no replay is under way.
    pub replay_next: u64,
    /// An open-orders query under way.
    pub open_orders: Option<OpenOrdersCursor>,
    pub(super) stream: Stream,
    pub(super) out: ByteQueue,
    /// When bytes last left since the logon, ns monotonic; 0 while its ack has not.
    pub(super) left_ns: u64,
    /// Its newest place at the gate.
    pub(super) newest_no: u64,
    /// When it last left no more than its floor unread.
    pub(super) above_floor_since_ns: u64,
    /// It has to be sent away: something did not fit.
    pub(super) is_slow: bool,
    pub(super) closing: Option<(Reason, u64)>,
    pub(super) readable: bool,
    /// The peer has closed: no further readiness will tell of what is left to read.
    pub(super) read_closed: bool,
    pub(super) writable: bool,
    pub(super) partial_len: usize,
    pub(super) partial: [u8; CLIENT_FRAME_BYTES_MAX],
}

/// Answers from the journal, a block at a time: the next is asked for when there is room for it, so that a
/// connection that does not read delays nobody else.
#[derive(Debug, Default)]
pub struct Answers {
    /// Missed reports: what to ask for next.
    pub reports: Option<Ask>,
    /// Fills: what to ask for next.
    pub fills: Option<Ask>,
    /// A block has been asked for.
    pub is_asked: bool,
    /// The block, while it waits for room.
    pub block: Option<Block>,
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
    /// True while the loop has more to do for it than to read and to write.
    #[must_use]
    pub const fn needs_attention(&self) -> bool {
        let answers = &self.answers;
        let wants_block = !answers.is_asked && (answers.reports.is_some() || answers.fills.is_some());
        wants_block || answers.block.is_some() || self.open_orders.is_some() || !self.stale_quotes.is_empty()
    }

    /// True while what the peer may have said lies in its socket, or it cannot know yet that it is logged on: then its
    /// silence says nothing.
    #[must_use]
    pub const fn is_unheard(&self) -> bool {
        self.readable || (self.logged_on.is_some() && self.left_ns == 0)
    }

    /// When bytes last left, if all that waits is held: nothing else shows the peer that we live.
    #[must_use]
    pub const fn held_back_since_ns(&self) -> Option<u64> {
        let is_held_back = self.left_ns != 0 && self.out.released() == 0 && self.out.held() > 0;
        if is_held_back { Some(self.left_ns) } else { None }
    }

    /// True while bytes may be written to the socket.
    pub(super) const fn can_write(&self) -> bool {
        self.writable && self.out.released() > 0
    }

    /// True once the connection is on its way out: nothing more is read or queued.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.is_slow || self.closing.is_some()
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub const fn queued_bytes(&self) -> usize {
        self.out.len()
    }
}
