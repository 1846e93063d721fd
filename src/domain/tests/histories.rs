//! Long random histories: the live state is the replayed state, and no invariant ever breaks.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use tradecore_domain::command::{
    BrokerFact, CancelOrder, Command, EffectFailure, EffectKind, FactKind, MassCancel, Origin, PlaceOrder, ReplaceOrder,
};
use tradecore_domain::event::{AccountDefined, Event, InstrumentDefined, Meta, order_flags};
use tradecore_domain::market::{Market, Quote};
use tradecore_domain::{Decision, Limits, State, apply, decide};
use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, CodMode, InstrumentId, OrderId, Px, Qty, Role, SessionId, UnixNanos,
};
use tradecore_protocol::reason::Reason;

const ONE: i64 = 1_000_000_000;

struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn limits() -> Limits {
    Limits {
        orders_max: 64,
        closed_kept: 16,
        executions_kept: 16,
        ids_max: 256,
        sessions_max: 3,
        accounts_max: 2,
        instruments_max: 2,
        mass_cancels_max: 4,
    }
}

struct Core {
    live: State,
    replayed: State,
    market: Market,
    decision: Decision,
    now: u64,
    client_seq: [u64; 4],
    broker_seq: u64,
    seed: u64,
}

impl Core {
    fn new(seed: u64) -> Self {
        let mut core = Self {
            live: State::new(limits()),
            replayed: State::new(limits()),
            market: Market::new(2),
            decision: Decision::new(),
            now: 1_700_000_000_000_000_000,
            client_seq: [0; 4],
            broker_seq: 0,
            seed,
        };
        core.system(&Command::StartCore { epoch: 1, core: 1, environment: 3, durability: 1 });
        for id in 1..=2 {
            core.system(&Command::DefineInstrument(instrument(id)));
            core.system(&Command::DefineAccount(account(id)));
        }
        for id in 1..=3 {
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
            role: Role::Trade,
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
        for event in self.decision.events() {
            apply(&mut self.live, event);
            // What is replayed has been through its archive.
            let (kind, version) = event.kind();
            let mut bytes = vec![0xAA; event.payload_len()];
            let mut aligned = aligned_copy(&mut bytes);
            assert!(event.archive_into(aligned.get()));
            let back = Event::from_archive(kind, version, aligned.get()).expect("reads back");
            assert_eq!(&back, event);
            apply(&mut self.replayed, &back);
            self.check(event);
        }
        if let Err(broken) = self.live.check_invariants() {
            panic!("seed {}: {command:?}: {broken}", self.seed);
        }
        assert_eq!(self.live.hash(), self.replayed.hash(), "seed {}: {command:?}", self.seed);
    }

    fn check(&self, event: &Event) {
        for (account_id, account) in self.live.accounts() {
            let (mut notional, mut reserved, mut open, mut doubt) = (0_i128, 0_i128, 0, 0);
            let mut position = 0;
            while let Some(order) = self.live.next_open_order(&mut position, usize::MAX) {
                if order.account_id != account_id.0 {
                    continue;
                }
                open += 1;
                doubt += u32::from(order.flags & order_flags::DOUBT != 0);
                assert!(order.cum_qty < order.order_qty, "seed {}: an open order has leaves", self.seed);
                if order.flags & order_flags::REPLACE_PENDING == 0 && order.px != Px::NONE.0 {
                    let worth = i128::from(order.px) * i128::from(order.order_qty - order.cum_qty);
                    notional += worth;
                    reserved += if order.side == 1 { worth } else { 0 };
                }
            }
            assert_eq!((account.open_orders, account.in_doubt), (open, doubt), "seed {}: {event:?}", self.seed);
            assert!(
                account.open_notional >= notional && account.reserved >= reserved,
                "seed {}: worst case",
                self.seed
            );
        }
    }

    fn some_order(&self, rng: &mut Rng) -> Option<tradecore_domain::event::OrderImage> {
        let mut position = rng.next(64) as usize;
        self.live.next_open_order(&mut position, 80).copied()
    }
}

/// A 16-aligned copy, as the journal gives.
struct Aligned(Vec<u128>, usize);
impl Aligned {
    fn get(&mut self) -> &mut [u8] {
        let len = self.1;
        let (head, bytes, _) = bytes_of(&mut self.0);
        assert!(head.is_empty());
        &mut bytes[..len]
    }
}
fn aligned_copy(bytes: &mut [u8]) -> Aligned {
    Aligned(vec![0; bytes.len() / 16 + 1], bytes.len())
}
fn bytes_of(words: &mut [u128]) -> (&mut [u8], &mut [u8], &mut [u8]) {
    (&mut [], zerocopy::IntoBytes::as_mut_bytes(words), &mut [])
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

fn history(seed: u64, turns: u64) {
    let mut rng = Rng(seed);
    let mut core = Core::new(seed);
    let mut counter = 0;
    let mut client_epoch = 1;
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
        match rng.next(20) {
            0..=6 => {
                counter += 1;
                let reuse = rng.next(10) == 0;
                let order = PlaceOrder {
                    cl_ord_id: ClOrdId::new(client_epoch, if reuse { counter / 2 } else { counter }),
                    px: if rng.next(6) == 0 { Px::NONE } else { Px(95 * ONE + rng.next(1500) as i64 * ONE / 100) },
                    order_qty: Qty((rng.next(3000) as i64 - 5) * ONE / 1000),
                    instrument_id: InstrumentId(1 + rng.next(2) as u32),
                    account_id: AccountId(1 + rng.next(2) as u32),
                    side: rng.next(3) as u8,
                    ord_type: 1 + rng.next(2) as u8,
                    tif: 1 + rng.next(4) as u8,
                    exec_flags: rng.next(4) as u8,
                    ..PlaceOrder::default()
                };
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
                        total_qty: Qty(order.order_qty + ONE / 1000),
                        ..ReplaceOrder::default()
                    };
                    core.session(order.session_id, &Command::ReplaceOrder(replace));
                }
            }
            9 => {
                let cancel =
                    MassCancel { request_id: turn, side: rng.next(3) as u8, lockout: 2, ..MassCancel::default() };
                core.session(session, &Command::MassCancel(cancel));
            }
            10 => core.run(SessionId(session), 0, &Command::EndSession { reason: Reason::ConnectionLost }),
            11 => core.run(
                SessionId(session),
                0,
                &Command::LogOn { connection_no: turn, cod_mode: CodMode::Disconnect, cod_window_ms: 100 },
            ),
            12 if rng.next(20) == 0 => {
                client_epoch += 1;
            }
            13 if rng.next(30) == 0 => {
                core.system(&Command::BrokerStatus { status: BrokerStatus::Down, connection_no: turn });
            }
            14 if rng.next(3) == 0 => {
                core.system(&Command::BrokerStatus { status: BrokerStatus::Ready, connection_no: turn });
                core.system(&Command::SetTradingState {
                    account_id: AccountId(1 + rng.next(2) as u32),
                    state: tradecore_protocol::fields::TradingState::Open,
                    reason: Reason::OperatorRequest,
                });
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
            _ => {
                let order = core.some_order(&mut rng);
                core.broker_seq += u64::from(rng.next(10) != 0);
                let last_qty = Qty(1 + rng.next(2000) as i64 * ONE / 1000);
                let kind = match rng.next(13) {
                    0..=2 => FactKind::Acknowledged,
                    3..=5 => FactKind::Trade {
                        broker_exec_id: turn,
                        last_px: Px(100 * ONE),
                        last_qty,
                        fee: 7,
                        liquidity: None,
                    },
                    6 => FactKind::Canceled { requested: true },
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
                let order_id = order.map_or(OrderId(rng.next(100)), |order| OrderId(order.order_id));
                let fact = BrokerFact {
                    order_id,
                    broker_seq: core.broker_seq,
                    broker_order_id: 1,
                    broker_time_ns: core.now,
                    kind,
                };
                core.system(&Command::BrokerFact(fact));
            }
        }
        while core.live.has_pending_step(UnixNanos(core.now)) {
            core.system(&Command::Step);
        }
    }
    assert!(core.live.next_report_no() > turns / 4, "seed {seed}: the history is not empty");
}

#[test]
fn the_live_state_is_the_replayed_state_at_every_group_of_long_random_histories() {
    for seed in 1..=12 {
        history(seed, 1500);
    }
}
