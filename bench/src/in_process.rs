//! A core without sockets: every command through `decide`, the journal and `apply`, as the gateway's loop does it.
#![allow(clippy::arithmetic_side_effects)]

use std::path::Path;
use std::time::{Duration, Instant};

use tradecore_domain::command::{BrokerFact, Command, FactKind, Origin, PlaceOrder};
use tradecore_domain::event::{AccountDefined, Event, InstrumentDefined, Meta};
use tradecore_domain::market::{Market, Quote};
use tradecore_domain::{Decision, Limits, State, apply, decide};
use tradecore_journal::{Config, Space, Writer};
use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, CodMode, Durability, Environment, InstrumentId, OrdType, OrderId, Px, Qty, Role,
    SessionId, Side, Tif, UnixNanos,
};

use crate::Failure;

/// One unit of a price or a quantity.
pub(crate) const ONE: i64 = 1_000_000_000;
/// The bid, at which orders are placed.
pub(crate) const BID: Px = Px(100 * ONE);
/// Ids of one client epoch.
const EPOCH_IDS: u64 = 100_000;
const ENVIRONMENT: Environment = Environment::Virtual;

/// A journal of such a core in a directory, synced as a gateway in the default class syncs it.
pub(crate) fn journal(dir: &Path) -> Config {
    let sync = tradecore::daemon::sync_policy(Durability::Synced);
    Config { environment: ENVIRONMENT.raw(), sync, ..Config::new(dir) }
}

/// A core without sockets.
pub(crate) struct Core {
    pub(crate) state: State,
    market: Market,
    decision: Decision,
    journal: Option<Writer>,
    now_ns: u64,
    client_seq: u64,
    broker_seq: u64,
    next_id: u64,
    /// Events so far.
    pub(crate) events: u64,
    /// How long commands waited for a segment that was still being made.
    pub(crate) waited: Duration,
}

impl Core {
    /// A core that may trade, with one account and one instrument; without a journal, events are applied only.
    pub(crate) fn start(journal: Option<Writer>) -> Result<Self, Failure> {
        let mut core = Self {
            state: State::new(Limits::default()),
            market: Market::new(1),
            decision: Decision::new(),
            journal,
            now_ns: 1_700_000_000_000_000_000,
            client_seq: 0,
            broker_seq: 0,
            next_id: 0,
            events: 0,
            waited: Duration::ZERO,
        };
        core.define()?;
        Ok(core)
    }

    /// Its state and its journal.
    pub(crate) fn into_parts(self) -> (State, Option<Writer>) {
        (self.state, self.journal)
    }

    fn define(&mut self) -> Result<(), Failure> {
        let money = i128::from(ONE) * i128::from(ONE);
        self.run(&Command::StartCore { epoch: 1, core: 1, environment: ENVIRONMENT.raw(), durability: 1 }, false)?;
        let instrument = InstrumentDefined {
            meta: Meta::default(),
            order_notional_max: money * 1_000_000,
            order_qty_max: 100 * ONE,
            tick_size: ONE / 100,
            lot_size: ONE / 1000,
            qty_min: ONE / 1000,
            collar_ppm: 100_000,
            instrument_id: 1,
            quote_age_max_ns: u64::MAX / 2,
            symbol: *b"BTCUSDT\0\0\0\0\0\0\0\0\0",
            currency: *b"USDT\0\0\0\0",
            reserved: 0,
        };
        self.run(&Command::DefineInstrument(instrument), false)?;
        let account = AccountDefined {
            meta: Meta { account_id: 1, ..Meta::default() },
            initial_cash: money * 1_000_000_000_000,
            position_max: i64::MAX,
            open_orders_max: 10_000,
            rate_max: 0,
            currency: *b"USDT\0\0\0\0",
            owner_id: 1,
        };
        self.run(&Command::DefineAccount(account), false)?;
        let session = Command::DefineSession {
            session_id: SessionId(1),
            session_epoch: 1,
            role: Role::Trade,
            cod_mode: CodMode::None,
        };
        self.run(&session, false)?;
        self.run(&Command::BrokerStatus { status: BrokerStatus::Ready, connection_no: 1 }, false)?;
        let quote = Quote {
            bid_px: BID,
            bid_qty: Qty(ONE),
            ask_px: Px(BID.0 + ONE / 100),
            ask_qty: Qty(ONE),
            time_ns: self.now_ns,
            md_seq: 1,
        };
        self.market.set(InstrumentId(1), quote);
        Ok(())
    }

    /// The next id of a request, in the client epoch that it belongs to.
    pub(crate) fn next_id(&mut self) -> Result<ClOrdId, Failure> {
        self.next_id += 1;
        Ok(ClOrdId::new(u16::try_from(self.next_id / EPOCH_IDS + 1)?, self.next_id))
    }

    /// A limit order at the bid; how the core names it.
    pub(crate) fn place(&mut self, side: Side, tif: Tif) -> Result<OrderId, Failure> {
        let place = PlaceOrder {
            cl_ord_id: self.next_id()?,
            px: BID,
            order_qty: Qty(ONE),
            instrument_id: InstrumentId(1),
            account_id: AccountId(1),
            side: side.raw(),
            ord_type: OrdType::Limit.raw(),
            tif: tif.raw(),
            ..PlaceOrder::default()
        };
        self.run(&Command::PlaceOrder(place), true)?;
        match self.decision.events().first() {
            Some(Event::OrderAccepted(accepted)) => Ok(OrderId(accepted.order.order_id)),
            other => Err(format!("an order was not accepted: {other:?}").into()),
        }
    }

    /// What the broker says of an order.
    pub(crate) fn fact(&mut self, order_id: OrderId, kind: FactKind) -> Result<(), Failure> {
        self.broker_seq += 1;
        let fact = BrokerFact {
            order_id,
            broker_seq: self.broker_seq,
            broker_order_id: order_id.0,
            broker_time_ns: self.now_ns,
            kind,
        };
        self.run(&Command::BrokerFact(fact), false)
    }

    /// A trade of an order at the bid.
    pub(crate) fn trade(&mut self, order_id: OrderId, last_qty: Qty) -> Result<(), Failure> {
        let broker_exec_id = self.broker_seq;
        self.fact(order_id, FactKind::Trade { broker_exec_id, last_px: BID, last_qty, fee: 7, liquidity: None })
    }

    /// True when the last command was answered by an event that `is_expected`.
    pub(crate) fn has_made(&self, is_expected: impl FnOnce(&Event) -> bool) -> bool {
        self.decision.events().first().is_some_and(is_expected)
    }

    /// One command; what a client asks has the next number of its session.
    pub(crate) fn run(&mut self, command: &Command, is_client: bool) -> Result<(), Failure> {
        self.now_ns += 1000;
        let origin = if is_client {
            self.client_seq += 1;
            Origin { session_id: SessionId(1), client_seq: self.client_seq, recv_time_ns: self.now_ns }
        } else {
            Origin { recv_time_ns: self.now_ns, ..Origin::default() }
        };
        decide(&self.state, UnixNanos(self.now_ns), &self.market, &origin, command, &mut self.decision);
        if let Some(reason) = self.decision.refusal() {
            return Err(format!("refused: {reason:?}").into());
        }
        match &mut self.journal {
            Some(journal) => {
                self.waited += wait_for_room(journal);
                journal.begin(self.now_ns);
                for event in self.decision.events() {
                    let (kind, version) = event.kind();
                    journal.append(kind, version, event.payload_len(), |payload| {
                        event.archive_into(payload);
                    });
                    apply(&mut self.state, event);
                }
                journal.commit();
            }
            None => self.decision.events().iter().for_each(|event| apply(&mut self.state, event)),
        }
        self.events += self.decision.events().len() as u64;
        Ok(())
    }
}

/// How long the next segment was waited for; the clock is read only then.
fn wait_for_room(journal: &mut Writer) -> Duration {
    if journal.can_append(4096, 8, Space::Normal) {
        return Duration::ZERO;
    }
    let since = Instant::now();
    while !journal.can_append(4096, 8, Space::Normal) {
        // The disk is slower than this loop.
        std::thread::yield_now();
    }
    since.elapsed()
}
