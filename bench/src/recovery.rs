//! How fast a start folds a journal into its state.
#![allow(clippy::arithmetic_side_effects)]

use std::path::Path;
use std::time::Instant;

use tradecore_domain::command::{BrokerFact, Command, FactKind, Origin, PlaceOrder};
use tradecore_domain::event::{AccountDefined, Event, InstrumentDefined, Meta};
use tradecore_domain::market::{Market, Quote};
use tradecore_domain::{Decision, Limits, State, apply, decide};
use tradecore_journal::{Config, Space, Writer};
use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, CodMode, InstrumentId, OrdType, OrderId, Px, Qty, Role, SessionId, Side, Tif,
    UnixNanos,
};

use crate::Failure;
use crate::hiccup::Meter;
use crate::outcome::Outcome;
use crate::thousandths::Thousandths;
use crate::timing::median;

const ONE: i64 = 1_000_000_000;
/// Orders open at once.
const WINDOW: u64 = 500;
/// Orders of one client epoch.
const EPOCH_ORDERS: u64 = 100_000;

/// Replays a journal of so many orders.
pub(crate) fn measure(orders: u64, runs: usize) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    outcome.configure("orders", orders);
    outcome.configure("runs", runs);
    let dir = tempfile::tempdir()?;
    let (events, hash) = write(dir.path(), orders)?;
    println!("replay of {events} events of {orders} orders, {WINDOW} open at once, checksums and archives checked");
    let mut rates = Vec::new();
    let meter = Meter::start()?;
    for run in 1..=runs {
        let mut state = State::new(Limits::default());
        let started = Instant::now();
        let replayed = tradecore::recovery::replay(dir.path(), &mut state, &mut |_| {})?;
        let elapsed_ns = u64::try_from(started.elapsed().as_nanos())?;
        if (replayed, state.hash()) != (events, hash) {
            return Err("the replayed state is not the live one".into());
        }
        let rate = u64::try_from(u128::from(replayed) * 1_000_000_000 / u128::from(elapsed_ns.max(1)))?;
        println!("  run {run}: {replayed} events in {} ms, {rate} events/s", elapsed_ns / 1_000_000);
        rates.push(rate);
    }
    let rate = median(rates);
    outcome.hiccups = meter.stop()?;
    outcome.add_value("recovery_events_per_s", Thousandths::whole(rate));
    Ok(outcome)
}

/// A core without sockets.
struct Core {
    state: State,
    market: Market,
    decision: Decision,
    journal: Writer,
    now_ns: u64,
    client_seq: u64,
    broker_seq: u64,
    events: u64,
}

/// Writes a journal of whole lives of orders: accepted, acknowledged, filled in two parts. How many events,
/// and the hash of the state that they make.
fn write(dir: &Path, orders: u64) -> Result<(u64, u64), Failure> {
    let opened = tradecore_journal::open(&Config::new(dir))?;
    let (journal, _, _, closer) = opened.into_parts();
    let mut core = Core {
        state: State::new(Limits::default()),
        market: Market::new(1),
        decision: Decision::new(),
        journal,
        now_ns: 1_700_000_000_000_000_000,
        client_seq: 0,
        broker_seq: 0,
        events: 0,
    };
    core.define()?;
    let mut ids = std::collections::VecDeque::new();
    for order in 0..orders {
        if let Some(id) = core.place(order)? {
            ids.push_back(id);
        }
        if ids.len() as u64 >= WINDOW || order + 1 == orders {
            while ids.len() as u64 >= WINDOW || (order + 1 == orders && !ids.is_empty()) {
                let Some(id) = ids.pop_front() else { break };
                core.fact(id, order, FactKind::Acknowledged)?;
                for part in 0..2 {
                    let trade = FactKind::Trade {
                        broker_exec_id: order * 2 + part,
                        last_px: Px(100 * ONE),
                        last_qty: Qty(ONE / 2),
                        fee: 7,
                        liquidity: None,
                    };
                    core.fact(id, order, trade)?;
                }
            }
        }
    }
    let made = (core.events, core.state.hash());
    closer.seal(core.journal);
    Ok(made)
}

impl Core {
    fn define(&mut self) -> Result<(), Failure> {
        let money = i128::from(ONE) * i128::from(ONE);
        self.run(&Command::StartCore { epoch: 1, core: 1, environment: 3, durability: 1 }, false)?;
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
            bid_px: Px(100 * ONE),
            bid_qty: Qty(ONE),
            ask_px: Px(100 * ONE + ONE / 100),
            ask_qty: Qty(ONE),
            time_ns: self.now_ns,
            md_seq: 1,
        };
        self.market.set(InstrumentId(1), quote);
        Ok(())
    }

    fn place(&mut self, order: u64) -> Result<Option<OrderId>, Failure> {
        let epoch = u16::try_from(order / EPOCH_ORDERS + 1)?;
        let side = if order.is_multiple_of(2) { Side::Buy } else { Side::Sell };
        let place = PlaceOrder {
            cl_ord_id: ClOrdId::new(epoch, order + 1),
            px: Px(100 * ONE),
            order_qty: Qty(ONE),
            instrument_id: InstrumentId(1),
            account_id: AccountId(1),
            side: side.raw(),
            ord_type: OrdType::Limit.raw(),
            tif: Tif::Day.raw(),
            ..PlaceOrder::default()
        };
        self.run(&Command::PlaceOrder(place), true)?;
        Ok(self.decision.events().iter().find_map(|event| match event {
            Event::OrderAccepted(accepted) => Some(OrderId(accepted.order.order_id)),
            _ => None,
        }))
    }

    fn fact(&mut self, order_id: OrderId, order: u64, kind: FactKind) -> Result<(), Failure> {
        self.broker_seq += 1;
        let fact = BrokerFact {
            order_id,
            broker_seq: self.broker_seq,
            broker_order_id: order,
            broker_time_ns: self.now_ns,
            kind,
        };
        self.run(&Command::BrokerFact(fact), false)
    }

    fn run(&mut self, command: &Command, is_client: bool) -> Result<(), Failure> {
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
        while !self.journal.can_append(4096, 8, Space::Normal) {
            // The disk is slower than this loop: the next segment is being made.
            std::thread::yield_now();
        }
        self.journal.begin(self.now_ns);
        for event in self.decision.events() {
            let (kind, version) = event.kind();
            self.journal.append(kind, version, event.payload_len(), |payload| {
                event.archive_into(payload);
            });
            apply(&mut self.state, event);
            self.events += 1;
        }
        self.journal.commit();
        Ok(())
    }
}
