//! A core and what happens to it at random: every command, every fact, in orders that nobody would think of.

use std::collections::BTreeMap;

use tradecore_domain::command::{
    BrokerFact, CancelOrder, Command, EffectFailure, EffectKind, FactKind, MassCancel, Origin, PlaceOrder, ReplaceOrder,
};
use tradecore_domain::event::{AccountDefined, Event, InstrumentDefined, Meta, OrderImage};
use tradecore_domain::market::{Market, Quote};
use tradecore_domain::{Decision, Limits, State, apply, decide};
use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, CodMode, InstrumentId, OrderId, Px, Qty, Role, SessionId, StrategyId,
    TradingState, UnixNanos,
};
use tradecore_protocol::layout::Text;
use tradecore_protocol::reason::Reason;

const ONE: i64 = 1_000_000_000;
/// The session of an operator; those below trade.
const ADMIN: u32 = 4;

struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// A history that is long enough for more orders than one step looks at: closed ones are kept as long.
pub(crate) const LONG: u64 = 12;

pub(crate) const fn turns(seed: u64) -> u64 {
    if seed == LONG { 4500 } else { 1500 }
}

pub(crate) fn limits(seed: u64) -> Limits {
    Limits {
        orders_max: 64,
        closed_kept: if seed == LONG { 300 } else { 16 },
        executions_kept: 16,
        ids_max: 256,
        sessions_max: ADMIN,
        accounts_max: 2,
        instruments_max: 2,
        mass_cancels_max: 4,
        hash_seed: seed,
    }
}

/// How often what has happened, by name.
pub(crate) type Seen = BTreeMap<String, u64>;

/// Hears of each group of events: the state after it, and its events.
type Listener<'a> = dyn FnMut(&State, &[Event]) + 'a;

struct Core<'a> {
    live: State,
    market: Market,
    decision: Decision,
    now: u64,
    client_seq: [u64; ADMIN as usize + 1],
    client_epoch: [u16; ADMIN as usize + 1],
    broker_seq: u64,
    seed: u64,
    accepted: Vec<u64>,
    seen: Seen,
    listener: &'a mut Listener<'a>,
}

impl<'a> Core<'a> {
    fn new(seed: u64, listener: &'a mut Listener<'a>) -> Self {
        let mut core = Self {
            live: State::new(limits(seed)),
            market: Market::new(2),
            decision: Decision::new(),
            now: 1_700_000_000_000_000_000,
            client_seq: Default::default(),
            client_epoch: [1; ADMIN as usize + 1],
            broker_seq: 0,
            seed,
            accepted: Vec::new(),
            seen: Seen::new(),
            listener,
        };
        core.system(&Command::StartCore { epoch: 1, core: 1, environment: 3, durability: 1 });
        for id in 1..=2 {
            core.system(&Command::DefineInstrument(instrument(id)));
            core.system(&Command::DefineAccount(account(id)));
        }
        for id in 1..=ADMIN {
            core.reset(id, 1);
        }
        core.system(&Command::BrokerStatus { status: BrokerStatus::Ready, connection_no: 1 });
        core
    }

    fn system(&mut self, command: &Command) {
        self.run(SessionId::NONE, 0, command);
    }

    /// Defines a session, or starts its streams anew.
    fn reset(&mut self, session: u32, session_epoch: u64) {
        self.client_seq[session as usize] = 0;
        self.system(&Command::DefineSession {
            session_id: SessionId(session),
            session_epoch,
            role: if session == ADMIN { Role::Admin } else { Role::Trade },
            cod_mode: CodMode::Disconnect,
        });
    }

    fn session(&mut self, session: u32, command: &Command) {
        let seq = self.client_seq[session as usize] + 1;
        self.client_seq[session as usize] = seq;
        self.run(SessionId(session), seq, command);
    }

    fn run(&mut self, session_id: SessionId, client_seq: u64, command: &Command) {
        let origin = Origin { session_id, client_seq, recv_time_ns: self.now };
        decide(&self.live, UnixNanos(self.now), &self.market, &origin, command, &mut self.decision);
        if let Some(reason) = self.decision.refusal() {
            *self.seen.entry(format!("refused {}", reason.name())).or_default() += 1;
            if let (Reason::IdsMax, Command::PlaceOrder(order)) = (reason, command) {
                let open = self.live.session(session_id).expect("it trades").client_epoch;
                assert!(order.cl_ord_id.epoch() <= open, "seed {}: a new client epoch finds room", self.seed);
                self.client_epoch[session_id.0 as usize] += 1;
            }
        }
        for event in self.decision.events() {
            apply(&mut self.live, event);
            if let Event::OrderAccepted(e) = event {
                self.accepted.push(e.order.order_id);
            }
            for name in names_of(event, client_seq) {
                *self.seen.entry(name).or_default() += 1;
            }
        }
        if let Err(broken) = self.live.check_invariants() {
            panic!("seed {}: {command:?}: {broken}", self.seed);
        }
        assert!(self.live.ids_count() <= self.live.limits().ids_max as usize, "seed {}: bounded", self.seed);
        if !self.decision.events().is_empty() {
            (self.listener)(&self.live, self.decision.events());
        }
    }

    fn some_order(&self, rng: &mut Rng) -> Option<OrderImage> {
        let mut position = rng.next(self.live.order_places() as u64 + 1) as usize;
        self.live.next_open_order(&mut position, 80).copied()
    }
}

/// The type of an event, and what of it is a case of its own.
fn names_of(event: &Event, client_seq: u64) -> Vec<String> {
    let word = |raw: u16| Reason::from_raw(raw).map_or("?", Reason::name);
    let more = match event {
        Event::OrderRejected(e) => vec![format!("rejected {}", word(e.reason))],
        Event::RequestRejected(e) => vec![format!("request rejected {}", word(e.reason))],
        // What no frame asked for is a step's work.
        Event::CancelRequested(e) if client_seq == 0 => vec![format!("canceled for {}", word(e.reason))],
        Event::MassCancelAccepted(e) => [
            (e.account_id != 0, "mass cancel of an account"),
            (e.instrument_id != 0, "mass cancel of an instrument"),
            (e.side != 0, "mass cancel of a side"),
            (e.target_session_id == 0, "mass cancel of every session"),
            (e.lockout == 1, "lock-out engaged"),
            (e.lockout == 2, "lock-out released"),
        ]
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, name)| name.to_owned())
        .collect(),
        Event::KillSwitchChanged(e) => {
            let scope = if e.meta.account_id == 0 { "the core" } else { "an account" };
            vec![format!("kill switch of {scope} {}", if e.engaged == 1 { "engaged" } else { "released" })]
        }
        _ => Vec::new(),
    };
    more.into_iter().chain([event.name().to_owned()]).collect()
}

fn instrument(id: u32) -> InstrumentDefined {
    InstrumentDefined {
        meta: Meta::default(),
        order_notional_max: i128::from(ONE) * i128::from(ONE) * 1_000_000,
        order_qty_max: 100 * ONE,
        tick_size: ONE / 100,
        lot_size: ONE / 1000,
        qty_min: ONE / 1000,
        collar_ppm: 100_000,
        instrument_id: id,
        quote_age_max_ns: 5_000_000_000,
        symbol: *b"BTCUSDT\0\0\0\0\0\0\0\0\0",
        currency: *b"USDT\0\0\0\0",
        reserved: 0,
    }
}

fn account(id: u32) -> AccountDefined {
    AccountDefined {
        meta: Meta { account_id: id, ..Meta::default() },
        initial_cash: i128::from(ONE) * i128::from(ONE) * 10_000_000,
        position_max: 500 * ONE,
        open_orders_max: 40,
        rate_max: 50,
        currency: *b"USDT\0\0\0\0",
        owner_id: 1,
    }
}

/// A whole history; `listener` hears of every group. How often what was seen.
pub(crate) fn history<'a>(seed: u64, listener: &'a mut Listener<'a>) -> Seen {
    let turns = turns(seed);
    let mut rng = Rng(seed);
    let mut core = Core::new(seed, listener);
    let mut counter = 0;
    let mut accepted = 0_u64;
    for turn in 0..turns {
        core.now += rng.next(50_000_000);
        if rng.next(5) == 0 {
            let mid = 100 * ONE + rng.next(1000) as i64 * ONE / 100;
            let quote = Quote {
                bid_px: Px(mid),
                bid_qty: Qty(ONE),
                ask_px: Px(mid + ONE / 100),
                ask_qty: Qty(ONE),
                time_ns: core.now,
                md_seq: 0,
            };
            core.market.set(InstrumentId(1 + rng.next(2) as u32), quote);
        }
        let session = 1 + rng.next(3) as u32;
        if turn.is_multiple_of(50) {
            core.session(ADMIN, &Command::NoteByOperator { request_id: turn, text: Text::new("a note") });
        }
        match rng.next(28) {
            0..=6 => {
                counter += 1;
                let reuse = rng.next(10) == 0;
                let epoch = core.client_epoch[session as usize] - u16::from(rng.next(40) == 0);
                let is_market = rng.next(4) == 0;
                let mut order = PlaceOrder {
                    cl_ord_id: ClOrdId::new(epoch, if reuse { counter / 2 } else { counter }),
                    px: if is_market { Px::NONE } else { Px(95 * ONE + rng.next(1500) as i64 * ONE / 100) },
                    order_qty: Qty((1 + rng.next(3000) as i64) * ONE / 1000),
                    instrument_id: InstrumentId(1 + rng.next(2) as u32),
                    account_id: AccountId(1 + rng.next(2) as u32),
                    side: 1 + rng.next(2) as u8,
                    ord_type: if is_market { 1 } else { 2 },
                    tif: if is_market { 1 } else { 1 + rng.next(2) as u8 },
                    exec_flags: if is_market { 0 } else { rng.next(4) as u8 },
                    ..PlaceOrder::default()
                };
                match rng.next(40) {
                    0 => order.order_qty = Qty(-5),
                    1 => order.side = 3,
                    2 => order.ord_type = 1 + rng.next(3) as u8,
                    3 => order.tif = 1 + rng.next(5) as u8,
                    _ => {}
                }
                core.session(session, &Command::PlaceOrder(order));
            }
            7 => {
                if let Some(order) = core.some_order(&mut rng) {
                    let cancel = CancelOrder {
                        cl_ord_id: ClOrdId(1),
                        orig_cl_ord_id: ClOrdId(order.cl_ord_id),
                        order_id: OrderId::NONE,
                    };
                    core.session(order.session_id, &Command::CancelOrder(cancel));
                }
            }
            8 => {
                if let Some(order) = core.some_order(&mut rng) {
                    let replace = ReplaceOrder {
                        cl_ord_id: ClOrdId(2),
                        order_id: OrderId(order.order_id),
                        px: Px(100 * ONE + rng.next(300) as i64 * ONE / 100),
                        total_qty: Qty(order.order_qty.saturating_add(ONE / 1000)),
                        ..ReplaceOrder::default()
                    };
                    core.session(order.session_id, &Command::ReplaceOrder(replace));
                }
            }
            9 => {
                let session = if rng.next(5) == 0 { ADMIN } else { session };
                let cancel = MassCancel {
                    request_id: turn,
                    every_session: (session == ADMIN) != (rng.next(8) == 0),
                    account_id: AccountId(rng.next(3) as u32),
                    instrument_id: InstrumentId(rng.next(4) as u32),
                    strategy_id: StrategyId::default(),
                    side: rng.next(3) as u8,
                    lockout: [0, 0, 0, 1, 2, 2, 2, 2][rng.next(8) as usize],
                };
                core.session(session, &Command::MassCancel(cancel));
            }
            10 => core.run(SessionId(session), 0, &Command::EndSession { reason: Reason::ConnectionLost }),
            11 => core.run(
                SessionId(session),
                0,
                &Command::LogOn { connection_no: turn, cod_mode: CodMode::Disconnect, cod_window_ms: 100 },
            ),
            12 if rng.next(20) == 0 => {
                core.client_epoch[session as usize] += 1;
            }
            13 if rng.next(30) == 0 => {
                core.system(&Command::BrokerStatus { status: BrokerStatus::Down, connection_no: turn });
            }
            14 => {
                core.system(&Command::BrokerStatus { status: BrokerStatus::Ready, connection_no: turn });
                for account_id in (0..3).map(AccountId) {
                    let (state, reason) = (TradingState::Open, Reason::OperatorRequest);
                    core.system(&Command::SetTradingState { account_id, state, reason });
                }
            }
            15 if rng.next(60) == 0 => {
                let epoch = core.live.epoch() + 1;
                core.system(&Command::StartCore { epoch, core: 1, environment: 3, durability: 1 });
                if rng.next(2) == 0 {
                    core.reset(session, u64::from(epoch));
                }
            }
            16 => {
                if let Some(order) = core.some_order(&mut rng) {
                    let kind = [EffectKind::Submit, EffectKind::Cancel, EffectKind::Replace][rng.next(3) as usize];
                    let failure = [EffectFailure::NotSent, EffectFailure::Unknown][rng.next(2) as usize];
                    core.system(&Command::EffectFailed {
                        order_id: OrderId(order.order_id),
                        kind,
                        failure,
                        reason: Reason::StaleRequest,
                    });
                }
            }
            17 => {
                let engage = rng.next(3) == 0;
                let scope = rng.next(4) as u32;
                // What is engaged for one is released for all.
                for account_id in if engage { scope..scope + 1 } else { 0..3 } {
                    let kill = Command::SetKillSwitch {
                        request_id: turn,
                        account_id: AccountId(account_id),
                        engage,
                        cancel_open: rng.next(2) == 0,
                        reopen: rng.next(2) == 0,
                        operator_tag: Text::EMPTY,
                    };
                    core.session(ADMIN, &kill);
                }
            }
            _ => {
                let order = core.some_order(&mut rng);
                core.broker_seq += u64::from(rng.next(10) != 0);
                // Now and then more than was asked for.
                let leaves = order.map_or(ONE, |order| order.order_qty.saturating_sub(order.cum_qty)) as u64;
                let most = if rng.next(30) == 0 { 3 * ONE as u64 } else { leaves.min(3 * ONE as u64) };
                let last_qty = Qty(1 + rng.next(most) as i64);
                let kind = match rng.next(16) {
                    0..=2 => FactKind::Acknowledged,
                    3..=5 => FactKind::Trade {
                        broker_exec_id: turn,
                        last_px: Px(100 * ONE),
                        last_qty,
                        fee: 7,
                        liquidity: None,
                    },
                    6 | 13..=15 => FactKind::Canceled { requested: true },
                    7 => FactKind::Expired,
                    8 => {
                        let total_qty = [last_qty, Qty(0), Qty(-1), Qty(i64::MAX)][rng.next(4) as usize];
                        FactKind::Replaced { px: [Px(101 * ONE), Px::NONE][rng.next(4) as usize / 3], total_qty }
                    }
                    9 => FactKind::CancelRejected { reason: Reason::BrokerReject },
                    10 => FactKind::ReplaceRejected { reason: Reason::BrokerReject },
                    11 => {
                        let total_qty = [Qty(0), Qty(-1), last_qty][rng.next(3) as usize];
                        FactKind::FoundLive { cum_qty: Qty(0), px: [Px::NONE, Px(-1)][rng.next(2) as usize], total_qty }
                    }
                    _ => {
                        [FactKind::NotFound, FactKind::Rejected { reason: Reason::BrokerReject }][rng.next(2) as usize]
                    }
                };
                // Now and then of an order that was closed a while ago, or that there never was.
                let order_id = match (rng.next(300), order) {
                    (0, _) => rng.next(100),
                    (1..=4, _) if !core.accepted.is_empty() => {
                        core.accepted[core.accepted.len() - 1 - rng.next(core.accepted.len() as u64).min(40) as usize]
                    }
                    (_, Some(order)) => order.order_id,
                    (_, None) => 0,
                };
                let fact = BrokerFact {
                    order_id: OrderId(order_id),
                    broker_seq: core.broker_seq,
                    broker_order_id: 1,
                    broker_time_ns: core.now,
                    kind,
                };
                if order_id != 0 {
                    core.system(&Command::BrokerFact(fact));
                }
            }
        }
        while core.live.has_pending_step(UnixNanos(core.now)) {
            core.system(&Command::Step);
        }
        if turn % (turns / 3) == turns / 3 - 1 {
            let so_far = core.accepted.len() as u64;
            assert!(
                so_far > accepted + turns / 100,
                "seed {seed}: orders pass in every third of the history: {:?}",
                core.seen
            );
            accepted = so_far;
        }
    }
    core.seen
}
