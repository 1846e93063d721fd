//! One order, its account and its session, and what must hold between them after each event.

use std::collections::BTreeMap;

use tradecore_domain::command::{BrokerFact, Command, EffectFailure, EffectKind, FactKind, Origin, PlaceOrder};
use tradecore_domain::event::{AccountDefined, Event, InstrumentDefined, Meta, OrderImage, order_flags};
use tradecore_domain::market::{Market, Quote};
use tradecore_domain::{Decision, Limits, State, apply, decide};
use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, CodMode, InstrumentId, OrdStatus, OrdType, OrderId, Px, Qty, Role, SessionId,
    Side, Tif, TradingState, UnixNanos,
};
use tradecore_protocol::reason::Reason;

pub(crate) const ONE: i64 = 1_000_000_000;
/// Terms of the order, of its first fill, and of a replace.
pub(crate) const PX: Px = Px(100 * ONE);
pub(crate) const QTY: Qty = Qty(10 * ONE);
pub(crate) const PART: Qty = Qty(4 * ONE);
pub(crate) const NEW_PX: Px = Px(101 * ONE);
pub(crate) const NEW_QTY: Qty = Qty(12 * ONE);
pub(crate) const CL_ORD_ID: ClOrdId = ClOrdId::new(1, 1);

pub(crate) const NOW: u64 = 1_700_000_000_000_000_000;
pub(crate) const SESSION: SessionId = SessionId(1);
pub(crate) const OTHER_SESSION: SessionId = SessionId(2);
pub(crate) const ACCOUNT: AccountId = AccountId(1);
const INSTRUMENT: InstrumentId = InstrumentId(1);
const CASH: i128 = ONE as i128 * ONE as i128 * 1_000_000;

/// A core with one order, what was decided since `listen`, and the fills as they were told.
pub(crate) struct Bench {
    pub(crate) state: State,
    cursor: u64,
    market: Market,
    decision: Decision,
    client_seq: u64,
    heard: Vec<String>,
    placed: PlaceOrder,
    fills: BTreeMap<u64, (i128, i128)>,
    filled: i128,
    paid: i128,
    fees: i128,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let limits = Limits {
            orders_max: 4,
            closed_kept: 2,
            executions_kept: 4,
            ids_max: 8,
            sessions_max: 2,
            accounts_max: 1,
            instruments_max: 1,
            mass_cancels_max: 2,
            hash_seed: 0,
        };
        let mut market = Market::new(1);
        let quote = Quote { bid_px: PX, bid_qty: QTY, ask_px: PX, ask_qty: QTY, time_ns: NOW, md_seq: 0 };
        market.set(INSTRUMENT, quote);
        let mut bench = Self {
            state: State::new(limits),
            cursor: 0,
            market,
            decision: Decision::new(),
            client_seq: 0,
            heard: Vec::new(),
            placed: PlaceOrder::default(),
            fills: BTreeMap::new(),
            filled: 0,
            paid: 0,
            fees: 0,
        };
        bench.system(&Command::StartCore { epoch: 1, core: 1, environment: 3, durability: 1 });
        bench.system(&Command::DefineInstrument(instrument()));
        bench.system(&Command::DefineAccount(account()));
        for session_id in [SESSION, OTHER_SESSION] {
            bench.system(&Command::DefineSession {
                session_id,
                session_epoch: 1,
                role: Role::Trade,
                cod_mode: CodMode::Disconnect,
            });
        }
        bench.system(&Command::BrokerStatus { status: BrokerStatus::Ready, connection_no: 1 });
        bench.step();
        bench
    }

    /// The order that every bench places.
    pub(crate) fn order(side: Side) -> PlaceOrder {
        PlaceOrder {
            cl_ord_id: CL_ORD_ID,
            px: PX,
            order_qty: QTY,
            instrument_id: INSTRUMENT,
            account_id: ACCOUNT,
            side: side.raw(),
            ord_type: OrdType::Limit.raw(),
            tif: Tif::Gtc.raw(),
            ..PlaceOrder::default()
        }
    }

    /// The first order that was placed.
    pub(crate) const fn placed(&self) -> PlaceOrder {
        self.placed
    }

    /// The order as it stands.
    pub(crate) fn image(&self) -> OrderImage {
        self.state.known(SESSION, CL_ORD_ID).expect("the order is known").order
    }

    /// What the account may do.
    pub(crate) fn trading_state(&self) -> TradingState {
        let account = self.state.account(ACCOUNT).expect("the account");
        TradingState::from_raw(account.trading_state).expect("it was set")
    }

    /// Progress of the order, and what is under way.
    pub(crate) fn standing(&self) -> String {
        let image = self.image();
        let status = OrdStatus::from_raw(image.ord_status).expect("a status");
        if status.is_closed() {
            return format!("{status:?}");
        }
        let progress = match (image.flags & order_flags::ACKED != 0, image.cum_qty > 0) {
            (false, _) => "PendingNew",
            (true, false) => "New",
            (true, true) => "PartiallyFilled",
        };
        let under_way =
            [(order_flags::CANCEL_PENDING, 'C'), (order_flags::REPLACE_PENDING, 'R'), (order_flags::DOUBT, 'D')];
        let letters: String =
            under_way.iter().filter(|(flag, _)| image.flags & flag != 0).map(|(_, letter)| letter).collect();
        // What is reported is the most urgent of it.
        let reported = match letters.chars().last() {
            Some('D') => "InDoubt",
            Some(_) if letters.contains('C') => "PendingCancel",
            Some(_) => "PendingReplace",
            None => progress,
        };
        assert_eq!(format!("{status:?}"), reported, "the status that is reported of {progress} {letters}");
        format!("{progress} {letters}").trim_end().to_owned()
    }

    /// Forgets what has been decided until now.
    pub(crate) fn listen(&mut self) {
        self.heard.clear();
    }

    /// What has been decided since.
    pub(crate) fn heard(&self) -> String {
        if self.heard.is_empty() { "nothing".to_owned() } else { self.heard.join(", ") }
    }

    pub(crate) fn session(&mut self, command: &Command) {
        if let Command::PlaceOrder(order) = command
            && self.placed == PlaceOrder::default()
        {
            self.placed = *order;
        }
        self.client_seq += 1;
        self.run(SESSION, self.client_seq, command);
    }

    pub(crate) fn other_session(&mut self, command: &Command) {
        self.run(OTHER_SESSION, 1, command);
    }

    pub(crate) fn system(&mut self, command: &Command) {
        self.run(SessionId::NONE, 0, command);
    }

    /// All that is pending in the state.
    pub(crate) fn step(&mut self) {
        while self.state.has_pending_step(UnixNanos(NOW)) {
            self.system(&Command::Step);
        }
    }

    /// The next fact of the broker's stream.
    pub(crate) fn fact(&mut self, kind: FactKind) {
        self.cursor += 1;
        self.fact_at(self.cursor, kind);
        assert_eq!(self.state.broker_cursor(), self.cursor, "the stream moves on by every fact");
    }

    /// The next fact of the broker's stream, of another order.
    pub(crate) fn fact_of(&mut self, order_id: OrderId, kind: FactKind) {
        self.cursor += 1;
        self.tell(order_id, self.cursor, kind);
    }

    /// A fact with this cursor, 0 for the answer to a query.
    pub(crate) fn fact_at(&mut self, broker_seq: u64, kind: FactKind) {
        self.tell(OrderId(self.image().order_id), broker_seq, kind);
    }

    fn tell(&mut self, order_id: OrderId, broker_seq: u64, kind: FactKind) {
        self.system(&Command::BrokerFact(BrokerFact {
            order_id,
            broker_seq,
            broker_order_id: 6,
            broker_time_ns: NOW,
            kind,
        }));
    }

    pub(crate) fn effect_failed(&mut self, kind: EffectKind, failure: EffectFailure) {
        let order_id = OrderId(self.image().order_id);
        let reason = match failure {
            EffectFailure::NotSent => Reason::StaleRequest,
            EffectFailure::Unknown => Reason::OutcomeUnknown,
        };
        self.system(&Command::EffectFailed { order_id, kind, failure, reason });
    }

    pub(crate) fn run(&mut self, session_id: SessionId, client_seq: u64, command: &Command) {
        let origin = Origin { session_id, client_seq, recv_time_ns: NOW };
        let mut decision = core::mem::take(&mut self.decision);
        decide(&self.state, UnixNanos(NOW), &self.market, &origin, command, &mut decision);
        if let Some(reason) = decision.refusal() {
            self.heard.push(format!("refused {reason:?}"));
        }
        if let Some(known) = decision.duplicate() {
            assert_eq!(known.order, self.image(), "a repetition is answered with the order as it stands");
            self.heard.push("duplicate".to_owned());
        }
        for event in decision.events() {
            apply(&mut self.state, event);
            self.heard.push(words(event));
            if let Event::OrderFilled(fill) = event {
                let sign = if fill.order.side == Side::Buy.raw() { 1 } else { -1 };
                let (cum_qty, cum_cost) = self.fills.entry(fill.order.order_id).or_default();
                *cum_qty += i128::from(fill.last_qty);
                *cum_cost += i128::from(fill.last_qty) * i128::from(fill.last_px);
                self.filled += i128::from(fill.last_qty) * sign;
                self.paid += i128::from(fill.last_qty) * i128::from(fill.last_px) * sign;
                self.fees += fill.fee;
            }
            self.check();
        }
        self.decision = decision;
    }

    /// Limits count exactly the worst case of what is open; money and position are exactly the fills.
    fn check(&self) {
        let Some(account) = self.state.account(ACCOUNT) else { return };
        for (order_id, fills) in &self.fills {
            let image = self.state.order(OrderId(*order_id)).expect("an order that was filled");
            assert_eq!((i128::from(image.cum_qty), image.cum_cost), *fills, "CumQty is the fills");
        }
        let (mut notional, mut reserved, mut buys, mut sells, mut open, mut doubt) = (0, 0, 0, 0, 0, 0);
        let mut at = 0;
        while let Some(image) = self.state.next_open_order(&mut at, usize::MAX) {
            assert!(image.cum_qty < image.order_qty, "an open order has leaves");
            let is_replaced = image.flags & order_flags::REPLACE_PENDING != 0;
            let px = if is_replaced { image.px.max(NEW_PX.0) } else { image.px };
            let qty = if is_replaced { image.order_qty.max(NEW_QTY.0) } else { image.order_qty };
            let leaves = i128::from(qty - image.cum_qty);
            let worth = i128::from(px) * leaves;
            let is_buy = image.side == Side::Buy.raw();
            notional += worth;
            reserved += if is_buy { worth } else { 0 };
            *(if is_buy { &mut buys } else { &mut sells }) += leaves;
            open += 1;
            doubt += u32::from(image.flags & order_flags::DOUBT != 0);
        }
        assert_eq!((account.open_notional, account.reserved), (notional, reserved), "the worst case");
        assert_eq!((account.open_orders, account.in_doubt), (open, doubt), "open orders, and those in doubt");
        assert_eq!(self.state.open_orders_count(), open, "open orders of the core");
        assert_eq!(self.state.open_orders_of_session(SESSION), open, "open orders of the session");
        assert_eq!(account.cash, CASH - self.paid - self.fees, "cash is what the fills left");
        if let Some(position) = self.state.position(ACCOUNT, INSTRUMENT) {
            assert_eq!((position.open_buy_qty, position.open_sell_qty), (buys, sells), "open quantities");
            assert_eq!((position.qty, position.fees), (self.filled, self.fees), "the position is the fills");
        }
    }
}

/// An event and why, as the tables say it.
fn words(event: &Event) -> String {
    let name = event.name();
    let reason = |raw| Reason::from_raw(raw).expect("a reason");
    match event {
        Event::OrderRejected(e) => format!("{name} {:?}", reason(e.reason)),
        Event::OrderClosed(e) => format!("{name} {:?}", reason(e.reason)),
        Event::CancelRequested(e) => format!("{name} {:?}", reason(e.reason)),
        Event::ChangeRejected(e) => {
            format!("{name} {} {:?}", if e.change == 1 { "C" } else { "R" }, reason(e.reason))
        }
        Event::OrderInDoubt(e) => format!("{name} {:?}", reason(e.reason)),
        Event::RequestRejected(e) => format!("{name} {:?}", reason(e.reason)),
        Event::BrokerContradicted(e) => format!("{name} {:?}", reason(e.reason)),
        Event::TradingStateChanged(e) => {
            format!("{name} {:?}", TradingState::from_raw(e.state).expect("a trading state"))
        }
        Event::MassCancelCompleted(e) => format!("{name} {}+{}", e.cancel_requested, e.already_pending),
        _ => name.to_owned(),
    }
}

fn instrument() -> InstrumentDefined {
    InstrumentDefined {
        meta: Meta::default(),
        order_notional_max: CASH,
        order_qty_max: 100 * ONE,
        tick_size: ONE / 100,
        lot_size: ONE / 1000,
        qty_min: ONE / 1000,
        collar_ppm: 100_000,
        instrument_id: INSTRUMENT.0,
        quote_age_max_ns: 5_000_000_000,
        symbol: *b"BTCUSDT\0\0\0\0\0\0\0\0\0",
        currency: *b"USDT\0\0\0\0",
        reserved: 0,
    }
}

/// The instrument with limits that the order of the bench is beyond.
pub(crate) fn narrower_instrument() -> InstrumentDefined {
    InstrumentDefined { order_qty_max: ONE, order_notional_max: 1, tick_size: ONE * 7, ..instrument() }
}

/// The account with limits that the order of the bench is beyond.
pub(crate) fn narrower_account() -> AccountDefined {
    AccountDefined { position_max: 1, open_orders_max: 1, ..account() }
}

fn account() -> AccountDefined {
    AccountDefined {
        meta: Meta { account_id: ACCOUNT.0, ..Meta::default() },
        initial_cash: CASH,
        position_max: 500 * ONE,
        open_orders_max: 4,
        rate_max: 0,
        currency: *b"USDT\0\0\0\0",
        owner_id: 1,
    }
}
