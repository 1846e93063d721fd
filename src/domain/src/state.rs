//! Everything the core knows, sized at start.

use tradecore_protocol::codes::KillState;
use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, ID_COUNTER_BITS, InstrumentId, OrderId, SessionId, TradingState, UnixNanos,
};
use tradecore_protocol::reason::Reason;

use crate::account::{Account, Position};
use crate::command::EffectKind;
use crate::event::{InstrumentDefined, OrderImage, order_flags};
use crate::executions::Executions;
use crate::index::Index;
use crate::limits::Limits;
use crate::order::Order;
use crate::session::Session;

/// What is known of a ClOrdID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdEntry {
    pub(crate) session_id: u32,
    pub(crate) next: u32,
    pub(crate) content_hash: u64,
    pub(crate) cl_ord_id: u64,
    /// Place of the live order; `NIL` once it is closed.
    pub(crate) slot: u32,
    pub(crate) reason: u16,
    /// Its client epoch is closed: it goes when the order does.
    pub(crate) is_orphan: bool,
}

// What every new order looks at lies two in a cache line; the orders that have ended lie apart.
const _: () = assert!(core::mem::size_of::<IdEntry>() == 32);

pub(crate) const NIL: u32 = u32::MAX;

/// A mass cancel under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MassCancelState {
    pub(crate) id: u64,
    pub(crate) request_id: u64,
    pub(crate) requester: u32,
    pub(crate) order_id_max: u64,
    pub(crate) account_id: u32,
    pub(crate) instrument_id: u32,
    pub(crate) target_session_id: u32,
    pub(crate) strategy_id: u32,
    pub(crate) side: u8,
    pub(crate) flagged_only: bool,
    pub(crate) reason: u16,
    pub(crate) next_slot: u32,
    pub(crate) cancel_requested: u32,
    pub(crate) already_pending: u32,
}

/// The state of one core.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) limits: Limits,
    pub(crate) epoch: u32,
    pub(crate) next_order: u64,
    pub(crate) next_exec: u64,
    pub(crate) next_report_no: u64,
    pub(crate) next_mass_cancel: u64,
    pub(crate) orders: Vec<Order>,
    pub(crate) free_orders: Vec<u32>,
    pub(crate) slots_used: u32,
    pub(crate) by_order_id: Index,
    pub(crate) closed: std::collections::VecDeque<u32>,
    pub(crate) executions: Executions,
    pub(crate) open_orders: u32,
    pub(crate) ids: Vec<IdEntry>,
    /// Of each ClOrdID without a live order, at its place: the order when it closed, or as it was asked for when it was
    /// rejected. What else stands here has no meaning.
    pub(crate) ended: Vec<OrderImage>,
    pub(crate) free_ids: Vec<u32>,
    pub(crate) by_cl_ord_id: Index,
    pub(crate) reclaim_head: u32,
    pub(crate) reclaim_tail: u32,
    pub(crate) sessions: Vec<Session>,
    pub(crate) sessions_count: u32,
    pub(crate) cod_armed: u32,
    pub(crate) accounts: Vec<Account>,
    pub(crate) positions: Vec<Position>,
    pub(crate) instruments: Vec<Option<InstrumentDefined>>,
    pub(crate) mass_cancels: std::collections::VecDeque<MassCancelState>,
    pub(crate) doubt_search: Option<u32>,
    pub(crate) broker_status: u8,
    pub(crate) broker_connection_no: u64,
    pub(crate) broker_cursor: u64,
    pub(crate) kill_epoch: u64,
    pub(crate) is_killed: bool,
    pub(crate) trading_state: u8,
}

/// True when the order in a place has this id.
pub(crate) fn holds(orders: &[Order], slot: u32, order_id: u64) -> bool {
    orders.get(slot as usize).is_some_and(|order| order.image.order_id == order_id)
}

/// True when the ClOrdID in a place is this one of this session.
pub(crate) fn knows(ids: &[IdEntry], place: u32, (cl_ord_id, session_id): (u64, u64)) -> bool {
    ids.get(place as usize).is_some_and(|id| (id.cl_ord_id, u64::from(id.session_id)) == (cl_ord_id, session_id))
}

fn table<T: Clone + Default>(greatest_id: u32) -> Vec<T> {
    vec![T::default(); (greatest_id as usize).saturating_add(1)]
}

impl State {
    /// An empty state with room for everything that it may ever hold.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let slots = limits.orders_max.saturating_add(limits.closed_kept);
        let positions = limits.accounts_max.saturating_add(1).saturating_mul(limits.instruments_max.saturating_add(1));
        Self {
            limits,
            epoch: 0,
            next_order: 1,
            next_exec: 1,
            next_report_no: 1,
            next_mass_cancel: 1,
            orders: vec![Order::default(); slots as usize],
            free_orders: Vec::with_capacity(slots as usize),
            slots_used: 0,
            by_order_id: Index::new(slots, limits.hash_seed),
            closed: std::collections::VecDeque::with_capacity((limits.closed_kept as usize).saturating_add(1)),
            executions: Executions::new(limits.executions_kept, limits.hash_seed),
            open_orders: 0,
            ids: vec![IdEntry::default(); limits.ids_max as usize],
            ended: vec![OrderImage::default(); limits.ids_max as usize],
            free_ids: (0..limits.ids_max).rev().collect(),
            by_cl_ord_id: Index::new(limits.ids_max, limits.hash_seed),
            reclaim_head: NIL,
            reclaim_tail: NIL,
            sessions: table(limits.sessions_max),
            sessions_count: 0,
            cod_armed: 0,
            accounts: table(limits.accounts_max),
            positions: vec![Position::default(); positions as usize],
            instruments: table(limits.instruments_max),
            mass_cancels: std::collections::VecDeque::with_capacity(limits.mass_cancel_places()),
            doubt_search: None,
            broker_status: BrokerStatus::Down.raw(),
            broker_connection_no: 0,
            broker_cursor: 0,
            kill_epoch: 0,
            is_killed: false,
            trading_state: TradingState::Open.raw(),
        }
    }

    /// A free place for an order. A journal may hold more than the limits of now: a replay takes all of it in, and
    /// the table grows. On the loop `decide` keeps to the limits, and nothing grows.
    pub(crate) fn take_order_place(&mut self) -> u32 {
        let slot = self.free_orders.pop().unwrap_or(self.slots_used);
        self.slots_used = self.slots_used.max(slot.saturating_add(1));
        if slot as usize >= self.orders.len() {
            let slots = self.slots_used.saturating_mul(2);
            self.orders.resize(slots as usize, Order::default());
            self.by_order_id.grow(slots);
        }
        slot
    }

    /// A free place for a ClOrdID; grows like that of orders.
    pub(crate) fn take_id_place(&mut self) -> u32 {
        if self.free_ids.is_empty() {
            let len = self.ids.len() as u32;
            let grown = len.saturating_mul(2).max(1);
            self.ids.resize(grown as usize, IdEntry::default());
            self.ended.resize(grown as usize, OrderImage::default());
            self.free_ids.extend((len..grown).rev());
            self.by_cl_ord_id.grow(grown);
        }
        self.free_ids.pop().unwrap_or(NIL)
    }

    /// Start epoch; 0 before the first start.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How much there may be.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Number of the next report of the core.
    #[must_use]
    pub const fn next_report_no(&self) -> u64 {
        self.next_report_no
    }

    /// Orders that may still trade.
    #[must_use]
    pub const fn open_orders_count(&self) -> u32 {
        self.open_orders
    }

    /// ClOrdIDs that are remembered.
    #[must_use]
    pub const fn ids_count(&self) -> usize {
        self.by_cl_ord_id.len()
    }

    /// Kill epoch: raised whenever a kill switch engages.
    #[must_use]
    pub const fn kill_epoch(&self) -> u64 {
        self.kill_epoch
    }

    /// State of the core's kill switch.
    #[must_use]
    pub const fn kill_state(&self) -> KillState {
        if self.is_killed { KillState::Engaged } else { KillState::Released }
    }

    /// True when the kill switch of the account, of the core for `NONE`, is engaged.
    #[must_use]
    pub fn is_killed(&self, account_id: AccountId) -> bool {
        if account_id == AccountId::NONE {
            self.is_killed
        } else {
            self.account(account_id).is_some_and(|account| account.is_killed)
        }
    }

    /// True when a cancel of the order is on its way, or its outcome unknown.
    #[must_use]
    pub fn is_canceling(&self, order_id: OrderId) -> bool {
        self.order(order_id).is_some_and(|order| order.flags & order_flags::CANCEL_PENDING != 0)
    }

    /// What passes.
    #[must_use]
    pub fn trading_state(&self) -> TradingState {
        TradingState::from_raw(self.trading_state).unwrap_or(TradingState::Frozen)
    }

    /// State of the connection to the broker.
    #[must_use]
    pub fn broker_status(&self) -> BrokerStatus {
        BrokerStatus::from_raw(self.broker_status).unwrap_or(BrokerStatus::Down)
    }

    /// The last fact of the broker's stream that was applied: the adapter resumes behind it.
    #[must_use]
    pub const fn broker_cursor(&self) -> u64 {
        self.broker_cursor
    }

    /// A session.
    #[must_use]
    pub fn session(&self, session_id: SessionId) -> Option<&Session> {
        self.sessions.get(session_id.0 as usize).filter(|session| session.is_defined())
    }

    /// Open orders of a session.
    #[must_use]
    pub fn open_orders_of_session(&self, session_id: SessionId) -> u32 {
        self.session(session_id).map_or(0, |session| session.open_orders)
    }

    /// An account.
    #[must_use]
    pub fn account(&self, account_id: AccountId) -> Option<&Account> {
        self.accounts.get(account_id.0 as usize).filter(|account| account.is_defined)
    }

    /// Every account there is, with its id.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        self.accounts.iter().zip(0..).filter(|(account, _)| account.is_defined).map(|(a, id)| (AccountId(id), a))
    }

    pub(crate) fn position_place(&self, account_id: u32, instrument_id: u32) -> usize {
        let columns = (self.limits.instruments_max as usize).saturating_add(1);
        (account_id as usize).saturating_mul(columns).saturating_add(instrument_id as usize)
    }

    /// The position of an account in an instrument.
    #[must_use]
    pub fn position(&self, account_id: AccountId, instrument_id: InstrumentId) -> Option<&Position> {
        self.account(account_id)?;
        self.instrument(instrument_id)?;
        self.positions.get(self.position_place(account_id.0, instrument_id.0))
    }

    /// An instrument.
    #[must_use]
    pub fn instrument(&self, instrument_id: InstrumentId) -> Option<&InstrumentDefined> {
        self.instruments.get(instrument_id.0 as usize).and_then(Option::as_ref)
    }

    /// Every instrument there is.
    pub fn instruments(&self) -> impl Iterator<Item = &InstrumentDefined> {
        self.instruments.iter().flatten()
    }

    /// An order that is open, or closed lately.
    #[must_use]
    pub fn order(&self, order_id: OrderId) -> Option<&OrderImage> {
        self.slot_of(order_id).and_then(|slot| self.orders.get(slot as usize)).map(|order| &order.image)
    }

    pub(crate) fn slot_of(&self, order_id: OrderId) -> Option<u32> {
        self.by_order_id.get((order_id.0, 0), |slot| holds(&self.orders, slot, order_id.0))
    }

    /// The place of a session's ClOrdID, and what stands there.
    pub(crate) fn id_entry(&self, session_id: SessionId, cl_ord_id: ClOrdId) -> Option<(u32, &IdEntry)> {
        let key = (cl_ord_id.0, u64::from(session_id.0));
        let place = self.by_cl_ord_id.get(key, |place| knows(&self.ids, place, key))?;
        self.ids.get(place as usize).map(|entry| (place, entry))
    }

    /// The ended orders that have a meaning: of ids that are known, and lead to no live order.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &OrderImage> {
        let is_meant = |entry: &IdEntry| entry.cl_ord_id != 0 && entry.slot == NIL;
        self.ids.iter().zip(&self.ended).filter(move |(entry, _)| is_meant(entry)).map(|(_, image)| image)
    }

    /// What is known of a session's ClOrdID: the order, and the reason if it was rejected.
    #[must_use]
    pub fn known(&self, session_id: SessionId, cl_ord_id: ClOrdId) -> Option<Known> {
        self.id_entry(session_id, cl_ord_id).map(|(place, entry)| self.known_of(place, entry))
    }

    pub(crate) fn known_of(&self, place: u32, entry: &IdEntry) -> Known {
        let live = self.orders.get(entry.slot as usize).filter(|_| entry.slot != NIL);
        let ended = || self.ended.get(place as usize).copied().unwrap_or_default();
        Known {
            order: live.map_or_else(ended, |order| order.image),
            reject_reason: Reason::from_raw(entry.reason).unwrap_or(Reason::None),
        }
    }

    /// ClOrdIDs that a session may use of one client epoch: an equal share of those that open orders of closed
    /// epochs cannot take. With it the table never fills: every id brings more than one of a closed epoch out.
    #[must_use]
    pub fn ids_per_session(&self) -> u32 {
        let shared = self.limits.ids_max.saturating_sub(self.limits.orders_max);
        shared.checked_div(self.sessions_count).unwrap_or(0).max(1)
    }

    /// True when an id more of the session can be remembered. One that opens a client epoch can, even in a full
    /// table (shares shrink when sessions are added), when the epoch that it closes has an id whose order is closed.
    pub(crate) fn has_room_for_id(&self, session: &Session, cl_ord_id: ClOrdId) -> bool {
        let is_full = self.by_cl_ord_id.len() >= self.limits.ids_max as usize;
        if cl_ord_id.epoch() > session.client_epoch {
            !is_full || session.ids > session.open_orders
        } else {
            !is_full && session.ids < self.ids_per_session()
        }
    }

    /// The next open order at or behind `position` in the order table; `position` moves behind it.
    /// At most `visits` places are looked at: `None` with `position` below the end means "go on later".
    pub fn next_open_order(&self, position: &mut usize, visits: usize) -> Option<&OrderImage> {
        for _ in 0..visits {
            let order = self.orders.get(*position).filter(|_| *position < self.slots_used as usize)?;
            *position = position.saturating_add(1);
            if order.is_open() {
                return Some(&order.image);
            }
        }
        None
    }

    /// Places of the order table that have ever been used.
    #[must_use]
    pub const fn order_places(&self) -> usize {
        self.slots_used as usize
    }

    /// The next order in doubt at or behind `position`, as `next_open_order` finds the next open one.
    pub fn next_in_doubt(&self, position: &mut usize, visits: usize) -> Option<OrderId> {
        let end = position.saturating_add(visits);
        while *position < end {
            let order = self.next_open_order(position, end.saturating_sub(*position))?;
            if order.flags & order_flags::DOUBT != 0 {
                return Some(OrderId(order.order_id));
            }
        }
        None
    }

    /// True while orders whose outcome became unknown are still being looked for.
    #[must_use]
    pub const fn has_doubts_to_note(&self) -> bool {
        self.doubt_search.is_some()
    }

    /// True when `Command::Step` has something to do.
    #[must_use]
    pub fn has_pending_step(&self, now: UnixNanos) -> bool {
        !self.mass_cancels.is_empty() || self.doubt_search.is_some() || self.session_due(now).is_some()
    }

    /// Sessions that a connection speaks for.
    #[must_use]
    pub fn connected_sessions(&self) -> Vec<SessionId> {
        let connected = self.sessions.iter().zip(0..).filter(|(session, _)| session.connection_no != 0);
        connected.map(|(_, id)| SessionId(id)).collect()
    }

    /// The session whose cancel-on-disconnect is due.
    pub(crate) fn session_due(&self, now: UnixNanos) -> Option<u32> {
        if self.cod_armed == 0 {
            return None;
        }
        let due = |session: &Session| session.cod_due_ns != 0 && session.cod_due_ns <= now.0;
        self.sessions.iter().zip(0..).find(|(session, _)| due(session)).map(|(_, id)| id)
    }

    /// Why a new order or a replace that has not left must not leave any more; `None` when it may. Not what is to be
    /// canceled: it could fill before its cancel arrives. Without the broker it does not wait for the next connection,
    /// which would have to be asked whether it has arrived. A cancel may always leave.
    #[must_use]
    pub fn stops(&self, order_id: OrderId, kind: EffectKind) -> Option<Reason> {
        let order = self.order(order_id).filter(|order| !crate::order::is_closed(order));
        let restriction = order.and_then(|order| self.restriction(order.account_id));
        let is_wanted = order.is_some_and(|order| match kind {
            EffectKind::Submit => order.flags & order_flags::ACKED == 0,
            EffectKind::Replace => order.flags & order_flags::REPLACE_PENDING != 0,
            EffectKind::Cancel => true,
        });
        if kind == EffectKind::Cancel {
            None
        } else if !is_wanted {
            Some(Reason::TooLate)
        } else if self.is_canceling(order_id) {
            Some(Reason::PendingChange)
        } else if restriction.is_some() {
            restriction
        } else if self.broker_status() != BrokerStatus::Ready {
            Some(Reason::BrokerNotReady)
        } else {
            None
        }
    }

    /// Why nothing that adds risk may pass for an account: a kill switch or a trading state, its own or the core's.
    pub(crate) fn restriction(&self, account_id: u32) -> Option<Reason> {
        let account = self.account(AccountId(account_id));
        let is_open = |raw: u8| raw == 0 || raw == TradingState::Open.raw();
        if self.is_killed || account.is_some_and(|account| account.is_killed) {
            Some(Reason::Killed)
        } else if !is_open(self.trading_state) || account.is_some_and(|account| !is_open(account.trading_state)) {
            Some(Reason::AccountState)
        } else {
            None
        }
    }

    pub(crate) const fn id(&self, counter: u64) -> u64 {
        ((self.epoch as u64) << ID_COUNTER_BITS) | counter
    }
}

/// What is known of a ClOrdID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The order as it stands, or as it was asked for.
    pub order: OrderImage,
    /// Why it was rejected; `None` when it was accepted.
    pub reject_reason: Reason,
}
