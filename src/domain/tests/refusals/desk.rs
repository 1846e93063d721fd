//! A core with two accounts and two instruments, and one request to be judged.

use tradecore_domain::command::{BrokerFact, Command, FactKind, Origin, PlaceOrder};
use tradecore_domain::event::{AccountDefined, Event, InstrumentDefined, Meta};
use tradecore_domain::market::{Market, Quote};
use tradecore_domain::{Decision, Limits, State, apply, decide};
use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, CodMode, InstrumentId, OrdType, OrderId, Px, Qty, Role, SessionId, Side, Tif,
    UnixNanos,
};
use tradecore_protocol::reason::Reason;

pub(crate) const ONE: i64 = 1_000_000_000;
pub(crate) const MONEY: i128 = ONE as i128 * ONE as i128;
pub(crate) const NOW: u64 = 1_700_000_000_000_000_000;
pub(crate) const SESSION: SessionId = SessionId(1);
pub(crate) const ACCOUNT: AccountId = AccountId(1);
pub(crate) const INSTRUMENT: InstrumentId = InstrumentId(1);
/// Ids that no row uses.
const FIRST_OTHER_ID: u64 = 1000;

/// How a request ended without an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing was decided, no id was used.
    Refused(Reason),
    /// A decision, journaled.
    Rejected(Reason),
}

pub(crate) struct Desk {
    pub(crate) state: State,
    pub(crate) market: Market,
    pub(crate) instrument: InstrumentDefined,
    pub(crate) account: AccountDefined,
    decision: Decision,
    client_seq: u64,
    broker_seq: u64,
    other_id: u64,
}

impl Desk {
    pub(crate) fn new(orders_max: u32) -> Self {
        let limits = Limits {
            orders_max,
            closed_kept: 4,
            executions_kept: 4,
            ids_max: 32,
            sessions_max: 2,
            accounts_max: 2,
            instruments_max: 2,
            mass_cancels_max: 1,
            hash_seed: 0,
        };
        Self::with(limits, &[SESSION, SessionId(2)])
    }

    pub(crate) fn with(limits: Limits, sessions: &[SessionId]) -> Self {
        let mut desk = Self {
            state: State::new(limits),
            market: Market::new(2),
            instrument: instrument(),
            account: account(),
            decision: Decision::new(),
            client_seq: 0,
            broker_seq: 0,
            other_id: FIRST_OTHER_ID,
        };
        desk.system(&Command::StartCore { epoch: 1, core: 1, environment: 3, durability: 1 });
        desk.define();
        sessions.iter().for_each(|session_id| desk.define_session(*session_id));
        desk.broker(BrokerStatus::Ready);
        desk.quote(100 * ONE, 100 * ONE, NOW);
        desk.step();
        desk
    }

    /// Defines the account and the instrument as they now stand here.
    pub(crate) fn define(&mut self) {
        let (instrument, account) = (self.instrument, self.account);
        self.system(&Command::DefineInstrument(instrument));
        self.system(&Command::DefineAccount(account));
    }

    pub(crate) fn define_session(&mut self, session_id: SessionId) {
        let (role, cod_mode) = (Role::Trade, CodMode::None);
        self.system(&Command::DefineSession { session_id, session_epoch: 1, role, cod_mode });
    }

    pub(crate) fn quote(&mut self, bid_px: i64, ask_px: i64, time_ns: u64) {
        let qty = Qty(ONE);
        let quote = Quote { bid_px: Px(bid_px), bid_qty: qty, ask_px: Px(ask_px), ask_qty: qty, time_ns, md_seq: 0 };
        self.market.set(INSTRUMENT, quote);
    }

    pub(crate) fn broker(&mut self, status: BrokerStatus) {
        self.system(&Command::BrokerStatus { status, connection_no: 1 });
    }

    pub(crate) fn step(&mut self) {
        while self.state.has_pending_step(UnixNanos(NOW)) {
            self.system(&Command::Step);
        }
    }

    /// An order that passes every check.
    pub(crate) fn order() -> PlaceOrder {
        PlaceOrder {
            cl_ord_id: ClOrdId::new(1, 1),
            px: Px(100 * ONE),
            order_qty: Qty(2 * ONE),
            instrument_id: INSTRUMENT,
            account_id: ACCOUNT,
            side: Side::Buy.raw(),
            ord_type: OrdType::Limit.raw(),
            tif: Tif::Gtc.raw(),
            ..PlaceOrder::default()
        }
    }

    /// Places another order: its ClOrdID is one that no row uses.
    pub(crate) fn place_other(&mut self, order: PlaceOrder) -> Option<Said> {
        self.other_id += 1;
        let epoch = self.state.session(SESSION).expect("the session").client_epoch.max(1);
        self.session(&Command::PlaceOrder(PlaceOrder { cl_ord_id: ClOrdId::new(epoch, self.other_id), ..order }))
    }

    /// An order that the broker has acknowledged, and filled up to `filled`.
    pub(crate) fn live(&mut self, order: PlaceOrder, filled: i64) {
        assert_eq!(self.session(&Command::PlaceOrder(order)), None, "the order passes");
        self.fact(FactKind::Acknowledged);
        if filled > 0 {
            self.fact(FactKind::Trade {
                broker_exec_id: 1,
                last_px: order.px,
                last_qty: Qty(filled),
                fee: 0,
                liquidity: None,
            });
        }
    }

    /// A fact about the first order.
    pub(crate) fn fact(&mut self, kind: FactKind) {
        self.broker_seq += 1;
        let order_id = OrderId(self.state.known(SESSION, ClOrdId::new(1, 1)).expect("the order").order.order_id);
        let fact = BrokerFact { order_id, broker_seq: self.broker_seq, broker_order_id: 1, broker_time_ns: NOW, kind };
        self.system(&Command::BrokerFact(fact));
    }

    pub(crate) fn system(&mut self, command: &Command) -> Option<Said> {
        self.run(SessionId::NONE, 0, command)
    }

    pub(crate) fn session(&mut self, command: &Command) -> Option<Said> {
        self.client_seq += 1;
        self.run(SESSION, self.client_seq, command)
    }

    pub(crate) fn run(&mut self, session_id: SessionId, client_seq: u64, command: &Command) -> Option<Said> {
        let origin = Origin { session_id, client_seq, recv_time_ns: NOW };
        let mut decision = core::mem::take(&mut self.decision);
        decide(&self.state, UnixNanos(NOW), &self.market, &origin, command, &mut decision);
        let mut said = decision.refusal().map(Said::Refused);
        assert!(said.is_none() || decision.events().is_empty(), "a refusal decides nothing");
        for event in decision.events() {
            apply(&mut self.state, event);
            let raw = match event {
                Event::OrderRejected(e) => e.reason,
                Event::RequestRejected(e) => e.reason,
                _ => continue,
            };
            assert_eq!(decision.events().len(), 1, "a reject stands alone");
            said = Some(Said::Rejected(Reason::from_raw(raw).expect("a reason")));
        }
        self.decision = decision;
        said
    }
}

/// Limits that can each be broken alone around a price of 100: quantity 100, notional 5000.
fn instrument() -> InstrumentDefined {
    InstrumentDefined {
        meta: Meta::default(),
        order_notional_max: 5_000 * MONEY,
        order_qty_max: 100 * ONE,
        tick_size: ONE / 100,
        lot_size: ONE / 1000,
        qty_min: ONE / 100,
        collar_ppm: 100_000,
        instrument_id: INSTRUMENT.0,
        quote_age_max_ns: 5_000_000_000,
        symbol: *b"BTCUSDT\0\0\0\0\0\0\0\0\0",
        currency: *b"USDT\0\0\0\0",
        reserved: 0,
    }
}

/// Position 40, cash 3500: at 100 the position is the wider limit.
fn account() -> AccountDefined {
    AccountDefined {
        meta: Meta { account_id: ACCOUNT.0, ..Meta::default() },
        initial_cash: 3_500 * MONEY,
        position_max: 40 * ONE,
        open_orders_max: 4,
        rate_max: 0,
        currency: *b"USDT\0\0\0\0",
        owner_id: 1,
    }
}
