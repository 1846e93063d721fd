//! Answers from the state: nothing is decided, nothing is sequenced.
//!
//! A long answer is given some frames a turn, while the connection has room.

use tradecore_domain::State;
use tradecore_domain::event::OrderImage;
use tradecore_domain::market::Market;
use tradecore_protocol::codes::{KillState, SubscribeAction, frame_flags};
use tradecore_protocol::fields::{
    AccountId, ClOrdId, Durability, InstrumentId, OrderId, Role, SessionId, TradingState,
};
use tradecore_protocol::frame::{Envelope, Frame, encode};
use tradecore_protocol::layout::{Message, Text};
use tradecore_protocol::messages as wire;
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::Now;

use crate::egress::gate::Gate;
use crate::egress::report::{self, REPORT_BYTES_MAX, ReportPlace};
use crate::session::directory::Directory;
use crate::session::{Connections, LoggedOnAs, OpenOrdersCursor};

/// Frames of a long answer in one turn.
const FRAMES_PER_TURN: usize = 32;
/// Places of the order table that a long answer looks at in one turn.
const VISITS_PER_TURN: usize = 4096;
/// Bytes that a connection must have room for before a long answer goes on.
const ROOM_FOR_TURN: usize = FRAMES_PER_TURN * REPORT_BYTES_MAX;

/// When and as of what an answer is given.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The turn's clock.
    pub now: Now,
    /// Journal sequence number that the answer reflects; it waits at the gate until that is durable.
    pub journal_seq: u64,
    /// Class of the core.
    pub durability: Durability,
}

/// What answers are made from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The state.
    pub state: &'a State,
    /// The market table.
    pub market: &'a Market,
    /// What sessions may see.
    pub directory: &'a Directory,
}

/// What came of a query.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// It is answered, or will be over the next turns.
    Done,
    /// It is refused.
    Refused(Reason),
    /// It is for the replay thread.
    Fills(wire::FillsRequest),
}

/// Frames of one answer on their way to one connection.
struct Sender<'a> {
    connections: &'a mut Connections,
    gate: &'a mut Gate,
    index: u32,
    place: &'a Place,
    count: u32,
}

impl Sender<'_> {
    fn send<T: Message>(&mut self, block: &T, flags: u8) {
        let Some(connection) = self.connections.get(self.index) else { return };
        let mut out = [0; REPORT_BYTES_MAX];
        let envelope: Envelope = connection.session.envelope(self.place.now, 0, flags);
        let len = encode(&mut out, envelope, block).unwrap_or(0);
        let frame = out.get(..len).unwrap_or_default();
        let seq = self.place.journal_seq;
        self.connections.queue(self.index, frame, Some(seq), seq, self.gate);
        self.count = self.count.saturating_add(1);
    }

    fn end(mut self, request_id: u64, ref_template: u16, reason: Reason) -> Answer {
        let mut block = wire::QueryEnd::default();
        block.request_id.set(request_id);
        block.as_of_seq.set(self.place.journal_seq);
        block.count.set(self.count);
        block.ref_template.set(ref_template);
        block.reason.set(reason.raw());
        self.send(&block, frame_flags::LAST);
        Answer::Done
    }
}

/// Answers a query, or begins to.
pub fn answer(
    sources: Sources<'_>,
    connections: &mut Connections,
    gate: &mut Gate,
    index: u32,
    frame: &Frame<'_>,
    logged_on: LoggedOnAs,
    place: &Place,
) -> Answer {
    let id = frame.leading_id();
    let template_id = frame.header.template_id;
    let may_see =
        |account_id: u32| sources.directory.get(logged_on.session_id).is_some_and(|entry| entry.may_use(account_id));
    let mut sender = Sender { connections, gate, index, place, count: 0 };
    match template_id {
        wire::OrderStatusRequest::TEMPLATE_ID => {
            let Ok(request) = frame.read::<wire::OrderStatusRequest>() else {
                return Answer::Refused(Reason::BlockTooShort);
            };
            let session_id = SessionId(logged_on.session_id);
            let order = match request.order_id.get() {
                0 => sources.state.known(session_id, ClOrdId(request.cl_ord_id.get())).map(|known| known.order),
                order_id => sources.state.order(OrderId(order_id)).copied(),
            };
            let seen = order.filter(|order| may_see_order(sources.directory, logged_on, order));
            if let Some(order) = &seen {
                sender.send(&report::status_report(order, &report_place(place)), 0);
            }
            let reason = if seen.is_some() { Reason::None } else { Reason::UnknownOrder };
            sender.end(id, template_id, reason)
        }
        wire::OpenOrdersRequest::TEMPLATE_ID => {
            let Ok(request) = frame.read::<wire::OpenOrdersRequest>() else {
                return Answer::Refused(Reason::BlockTooShort);
            };
            let cursor = OpenOrdersCursor {
                request_id: id,
                account_id: request.account_id.get(),
                instrument_id: request.instrument_id.get(),
                position: 0,
                count: 0,
            };
            match sender.connections.get_mut(index) {
                Some(connection) if connection.open_orders.is_some() => Answer::Refused(Reason::ResendInProgress),
                Some(connection) => {
                    connection.open_orders = Some(cursor);
                    Answer::Done
                }
                None => Answer::Done,
            }
        }
        wire::PositionRequest::TEMPLATE_ID => {
            let Ok(request) = frame.read::<wire::PositionRequest>() else {
                return Answer::Refused(Reason::BlockTooShort);
            };
            for (account_id, _) in sources.state.accounts() {
                if !matches(request.account_id.get(), account_id.0) || !may_see(account_id.0) {
                    continue;
                }
                for instrument in sources.state.instruments() {
                    let instrument_id = InstrumentId(instrument.instrument_id);
                    let position = sources.state.position(account_id, instrument_id).copied().unwrap_or_default();
                    let is_asked = request.instrument_id.get() == instrument_id.0;
                    let is_empty = position == tradecore_domain::Position::default();
                    if is_asked || (request.instrument_id.get() == 0 && !is_empty) {
                        sender.send(&position_block(id, account_id, instrument_id, &position, place), 0);
                    }
                }
            }
            sender.end(id, template_id, Reason::None)
        }
        wire::AccountRequest::TEMPLATE_ID => {
            let Ok(request) = frame.read::<wire::AccountRequest>() else {
                return Answer::Refused(Reason::BlockTooShort);
            };
            for (account_id, account) in sources.state.accounts() {
                if matches(request.account_id.get(), account_id.0) && may_see(account_id.0) {
                    sender.send(&account_block(id, account_id, account, sources.state, place), 0);
                }
            }
            sender.end(id, template_id, Reason::None)
        }
        wire::InstrumentsRequest::TEMPLATE_ID => {
            let Ok(request) = frame.read::<wire::InstrumentsRequest>() else {
                return Answer::Refused(Reason::BlockTooShort);
            };
            for instrument in sources.state.instruments() {
                if matches(request.instrument_id.get(), instrument.instrument_id) {
                    sender.send(&instrument_block(id, instrument), 0);
                }
            }
            sender.end(id, template_id, Reason::None)
        }
        wire::MarketDataSubscribe::TEMPLATE_ID => {
            let Ok(request) = frame.read::<wire::MarketDataSubscribe>() else {
                return Answer::Refused(Reason::BlockTooShort);
            };
            subscribe(sources, sender, request)
        }
        wire::FillsRequest::TEMPLATE_ID => match frame.read::<wire::FillsRequest>() {
            // A session reads its own stream, all others that of the core.
            Ok(request) if logged_on.role != Role::Trade && !may_see(request.account_id.get()) => {
                Answer::Refused(Reason::AccountForbidden)
            }
            Ok(request) => Answer::Fills(*request),
            Err(_) => Answer::Refused(Reason::BlockTooShort),
        },
        _ => Answer::Refused(Reason::UnknownTemplate),
    }
}

/// A session sees its own orders, all others those of the accounts that they may use.
fn may_see_order(directory: &Directory, logged_on: LoggedOnAs, order: &OrderImage) -> bool {
    match logged_on.role {
        Role::Trade => order.session_id == logged_on.session_id,
        Role::DropCopy | Role::MarketData | Role::Admin => {
            directory.get(logged_on.session_id).is_some_and(|entry| entry.may_use(order.account_id))
        }
    }
}

const fn matches(filter: u32, value: u32) -> bool {
    filter == 0 || filter == value
}

const fn report_place(place: &Place) -> ReportPlace {
    ReportPlace {
        envelope: Envelope { flags: 0, seq: 0, ack_seq: 0, send_ts_ns: 0 },
        journal_seq: place.journal_seq,
        transact_time_ns: place.now.utc_ns,
        durability: place.durability.raw(),
        er_flags: 0,
    }
}

fn subscribe(sources: Sources<'_>, mut sender: Sender<'_>, request: &wire::MarketDataSubscribe) -> Answer {
    let instrument_id = request.instrument_id.get();
    let is_known = sources.state.instrument(InstrumentId(instrument_id)).is_some();
    let action = SubscribeAction::from_raw(request.action);
    let has_quote = sources.market.quote(InstrumentId(instrument_id)).is_some();
    let reason = match (action, sender.connections.get_mut(sender.index)) {
        (None, _) => Reason::FieldValue,
        (Some(_), Some(connection)) if is_known => {
            let present = action == Some(SubscribeAction::Subscribe);
            let fits = connection.subscribed.set(instrument_id, present);
            connection.stale_quotes.set(instrument_id, present && has_quote);
            if fits { Reason::None } else { Reason::InstrumentUnknown }
        }
        (Some(_), Some(_) | None) => Reason::InstrumentUnknown,
    };
    let mut block = wire::SubscribeReport {
        request_id: request.request_id,
        instrument_id: request.instrument_id,
        action: request.action,
        ..Default::default()
    };
    block.reason.set(reason.raw());
    sender.send(&block, 0);
    Answer::Done
}

/// Goes on with a connection's open-orders answer; how many frames were sent.
pub fn go_on(
    connections: &mut Connections,
    index: u32,
    state: &State,
    directory: &Directory,
    gate: &mut Gate,
    place: &Place,
) -> usize {
    let Some(connection) = connections.get(index) else { return 0 };
    let (Some(mut cursor), Some(logged_on)) = (connection.open_orders, connection.logged_on) else { return 0 };
    if !connections.has_room(index, ROOM_FOR_TURN) || gate.room() < FRAMES_PER_TURN {
        return 0;
    }
    let mut sender = Sender { connections, gate, index, place, count: cursor.count };
    let mut sent: usize = 0;
    let turn_end = cursor.position.saturating_add(VISITS_PER_TURN);
    while sent < FRAMES_PER_TURN {
        let visits = turn_end.saturating_sub(cursor.position);
        let Some(order) = state.next_open_order(&mut cursor.position, visits) else { break };
        let is_seen = may_see_order(directory, logged_on, order);
        if is_seen && matches(cursor.account_id, order.account_id) && matches(cursor.instrument_id, order.instrument_id)
        {
            sender.send(&report::status_report(order, &report_place(place)), 0);
            sent = sent.saturating_add(1);
        }
    }
    cursor.count = sender.count;
    let is_done = cursor.position >= state.order_places();
    if is_done {
        let _: Answer = sender.end(cursor.request_id, wire::OpenOrdersRequest::TEMPLATE_ID, Reason::None);
    }
    if let Some(connection) = connections.get_mut(index) {
        connection.open_orders = (!is_done).then_some(cursor);
    }
    sent.saturating_add(usize::from(is_done))
}

fn position_block(
    request_id: u64,
    account_id: AccountId,
    instrument_id: InstrumentId,
    position: &tradecore_domain::Position,
    place: &Place,
) -> wire::Position {
    let mut block = wire::Position::default();
    block.request_id.set(request_id);
    block.account_id.set(account_id.0);
    block.instrument_id.set(instrument_id.0);
    block.position_qty.set(position.qty);
    block.cost.set(position.cost);
    block.realized_pnl.set(position.realized_pnl);
    block.fees.set(position.fees);
    block.open_buy_qty.set(position.open_buy_qty);
    block.open_sell_qty.set(position.open_sell_qty);
    block.journal_seq.set(place.journal_seq);
    block
}

fn account_block(
    request_id: u64,
    account_id: AccountId,
    account: &tradecore_domain::Account,
    state: &State,
    place: &Place,
) -> wire::Account {
    let positions = || state.instruments().filter_map(|i| state.position(account_id, InstrumentId(i.instrument_id)));
    let mut block = wire::Account::default();
    block.request_id.set(request_id);
    block.account_id.set(account_id.0);
    // What holds for its orders: the core's state comes before its own.
    let own = TradingState::from_raw(account.trading_state).unwrap_or(TradingState::Open);
    let core = Some(state.trading_state()).filter(|core| *core != TradingState::Open);
    block.trading_state = core.unwrap_or(own).raw();
    let is_killed = account.is_killed || state.is_killed(AccountId::NONE);
    block.kill_state = if is_killed { KillState::Engaged } else { KillState::Released }.raw();
    block.cash.set(account.cash);
    block.buying_power.set(account.buying_power());
    block.open_notional.set(account.open_notional);
    block.realized_pnl.set(positions().fold(0, |sum, position| sum.saturating_add(position.realized_pnl)));
    block.fees.set(positions().fold(0, |sum, position| sum.saturating_add(position.fees)));
    block.open_orders.set(account.open_orders);
    block.in_doubt_orders.set(account.in_doubt);
    block.journal_seq.set(place.journal_seq);
    block.currency = text(&account.currency);
    block
}

fn instrument_block(request_id: u64, instrument: &tradecore_domain::event::InstrumentDefined) -> wire::InstrumentDef {
    let mut block = wire::InstrumentDef::default();
    block.request_id.set(request_id);
    block.instrument_id.set(instrument.instrument_id);
    block.symbol = text(&instrument.symbol);
    block.currency = text(&instrument.currency);
    block.tick_size.set(instrument.tick_size);
    block.lot_size.set(instrument.lot_size);
    block.qty_min.set(instrument.qty_min);
    block.qty_max.set(instrument.order_qty_max);
    block.px_max.set(i64::MAX);
    block
}

/// NUL-padded text of the journal as NUL-padded text of the wire.
fn text<const N: usize>(bytes: &[u8; N]) -> Text<N> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(N);
    Text::new(bytes.get(..end).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default())
}

/// The newest quote of an instrument.
#[must_use]
pub fn quote(market: &Market, instrument_id: u32) -> Option<wire::Quote> {
    let quote = market.quote(InstrumentId(instrument_id))?;
    let mut block = wire::Quote::default();
    block.instrument_id.set(instrument_id);
    block.md_seq.set(quote.md_seq);
    block.bid_px.set(quote.bid_px.0);
    block.bid_qty.set(quote.bid_qty.0);
    block.ask_px.set(quote.ask_px.0);
    block.ask_qty.set(quote.ask_qty.0);
    block.recv_time_ns.set(quote.time_ns);
    Some(block)
}
