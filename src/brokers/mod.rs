//! Adapters, one a broker, and the border between the loop and the threads that talk to brokers.
//!
//! Must not know the domain's state. Instructions come in by one bounded ring, what the broker said goes
//! out by another; an adapter answers each instruction with facts, or with how it failed, and never
//! guesses.

#[path = "virtual/mod.rs"]
pub mod virtual_venue;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::bell::Bell;
use crate::replication::Replication;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use tradecore_domain::command::{BrokerFact, EffectFailure, EffectKind};
use tradecore_domain::market::Quote;
use tradecore_protocol::fields::{AccountId, BrokerStatus, InstrumentId, OrdType, OrderId, Px, Qty, Side, Tif};
use tradecore_protocol::reason::Reason;

/// A new order on its way to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmitOrder {
    /// FIX OrderID (37): the client order id at the broker is a pure function of it.
    pub order_id: OrderId,
    /// Account.
    pub account_id: AccountId,
    /// Instrument.
    pub instrument_id: InstrumentId,
    /// FIX Side (54).
    pub side: Side,
    /// FIX OrdType (40).
    pub ord_type: OrdType,
    /// FIX TimeInForce (59).
    pub tif: Tif,
    /// Refuse rather than take.
    pub post_only: bool,
    /// FIX Price (44); `Px::NONE` for a market order.
    pub px: Px,
    /// FIX OrderQty (38).
    pub order_qty: Qty,
    /// UTC ns after which it must not leave; 0 for never.
    pub valid_until_ns: u64,
    /// Kill epoch of the core at the decision: the adapter asks `Link::is_killed_since` before the write.
    pub kill_epoch: u64,
}

/// What the loop asks of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Send a new order.
    Submit(SubmitOrder),
    /// Cancel an order.
    Cancel {
        /// FIX OrderID (37).
        order_id: OrderId,
    },
    /// Replace an order.
    Replace {
        /// FIX OrderID (37).
        order_id: OrderId,
        /// Account.
        account_id: AccountId,
        /// New price.
        px: Px,
        /// New total quantity.
        total_qty: Qty,
        /// UTC ns after which it must not leave; 0 for never.
        valid_until_ns: u64,
        /// Kill epoch of the core at the decision.
        kill_epoch: u64,
    },
    /// Ask the broker for an order whose outcome is unknown; the answer is a fact `FoundLive`, `NotFound`, or
    /// the fact that closed it.
    Query {
        /// FIX OrderID (37).
        order_id: OrderId,
    },
    /// No more queries for this connection: when they are answered, the adapter reports `Ready`.
    EndOfQueries {
        /// The connection that reported `Syncing`.
        connection_no: u64,
    },
}

impl Instruction {
    /// The effect that it has at the broker; `None` for a question.
    #[must_use]
    pub const fn effect(&self) -> Option<(OrderId, EffectKind)> {
        match self {
            Self::Submit(order) => Some((order.order_id, EffectKind::Submit)),
            Self::Cancel { order_id } => Some((*order_id, EffectKind::Cancel)),
            Self::Replace { order_id, .. } => Some((*order_id, EffectKind::Replace)),
            Self::Query { .. } | Self::EndOfQueries { .. } => None,
        }
    }

    /// True for a new order or a replace that is past its valid-until: it must not leave any more.
    #[must_use]
    pub const fn is_stale(&self, now_ns: u64) -> bool {
        match self {
            Self::Submit(SubmitOrder { valid_until_ns, .. }) | Self::Replace { valid_until_ns, .. } => {
                *valid_until_ns != 0 && *valid_until_ns < now_ns
            }
            Self::Cancel { .. } | Self::Query { .. } | Self::EndOfQueries { .. } => false,
        }
    }
}

/// What an adapter tells the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// The connection changed. `Syncing` comes when the broker's stream has caught up with the cursor that was
    /// asked for; the loop then sends its queries.
    Status {
        /// State.
        status: BrokerStatus,
        /// Number of the connection since the start of the process, from 1.
        connection_no: u64,
    },
    /// The broker told a fact.
    Fact(BrokerFact),
    /// An instruction did not simply leave.
    Failed {
        /// FIX OrderID (37).
        order_id: OrderId,
        /// What was to be done.
        kind: EffectKind,
        /// How it ended.
        failure: EffectFailure,
        /// Why.
        reason: Reason,
    },
}

/// A quote, and how old it was when the adapter got it: a broker sends its newest however long ago that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgedQuote {
    /// Of which instrument.
    pub instrument_id: InstrumentId,
    /// Its content; the loop sets its time.
    pub quote: Quote,
    /// Age by the broker's time, ns.
    pub age_ns: u64,
}

/// The rings between the loop and one adapter thread; every one is bounded.
#[derive(Debug)]
pub struct Link {
    /// Loop → adapter. The outbox keeps what does not fit.
    pub instructions: ArrayQueue<Instruction>,
    /// Adapter → loop. The adapter stops reading its socket while it is full: no fact is dropped.
    pub inbound: ArrayQueue<Inbound>,
    /// Adapter → loop: quotes, conflated by the adapter while it is full.
    pub quotes: ArrayQueue<AgedQuote>,
    /// Instructions that the adapter has done with, of all that were put into the ring: answered, refused, or lost with
    /// their connection.
    pub settled: CachePadded<AtomicU64>,
    /// By account, the core's first: the kill epoch at which its kill switch has last engaged.
    kill_epochs: Box<[CachePadded<AtomicU64>]>,
    /// Wakes the adapter when instructions have come, or when it should end.
    pub bell: Bell,
    /// The adapter ends when it is set.
    pub stop: AtomicBool,
    /// Whether this core may trade.
    pub replication: Arc<Replication>,
}

impl Link {
    /// Rings that hold this many entries each, for accounts up to `accounts_max`.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new(instructions_max: usize, inbound_max: usize, quotes_max: usize, accounts_max: u32) -> io::Result<Self> {
        Ok(Self {
            instructions: ArrayQueue::new(instructions_max.max(1)),
            inbound: ArrayQueue::new(inbound_max.max(1)),
            quotes: ArrayQueue::new(quotes_max.max(1)),
            settled: CachePadded::new(AtomicU64::new(0)),
            kill_epochs: (0..=accounts_max).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            bell: Bell::new()?,
            stop: AtomicBool::new(false),
            replication: Arc::new(Replication::new(Instant::now(), false)),
        })
    }

    /// The same, of a core that trades only while it may.
    #[must_use]
    pub fn with(self, replication: Arc<Replication>) -> Self {
        Self { replication, ..self }
    }

    /// The kill switch of an account, of the core for `NONE`, has engaged: what was decided before must not leave.
    pub fn note_kill(&self, account_id: AccountId, kill_epoch: u64) {
        if let Some(place) = self.kill_epochs.get(account_id.0 as usize) {
            place.store(kill_epoch, Ordering::Release);
        }
    }

    /// True when a kill switch that covers the account has engaged since the core was at `kill_epoch`.
    #[must_use]
    pub fn is_killed_since(&self, account_id: AccountId, kill_epoch: u64) -> bool {
        let places = [AccountId::NONE, account_id].map(|account_id| self.kill_epochs.get(account_id.0 as usize));
        places.into_iter().flatten().any(|place| place.load(Ordering::Acquire) > kill_epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_switch_stops_what_was_decided_before_for_whom_it_covers_and_for_nobody_else() {
        let link = Link::new(1, 1, 1, 2).unwrap();
        let [mine, other] = [AccountId(1), AccountId(2)];
        link.note_kill(mine, 4);
        assert!(link.is_killed_since(mine, 3) && !link.is_killed_since(mine, 4));
        assert!(!link.is_killed_since(other, 3), "the kill of one account is not told of another");
        link.note_kill(AccountId::NONE, 5);
        assert!([mine, other].iter().all(|account| link.is_killed_since(*account, 4)));
        assert!([mine, other].iter().all(|account| !link.is_killed_since(*account, 5)));
    }
}
