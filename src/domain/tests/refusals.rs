//! Every reason that a decision gives to a new order, a cancel, a replace, a mass cancel: what provokes it, and
//! which of two wins.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic)]

#[path = "refusals/desk.rs"]
mod desk;
#[path = "refusals/ids.rs"]
mod ids;
#[path = "refusals/requests.rs"]
mod requests;

use std::collections::BTreeSet;

use desk::{ACCOUNT, Desk, NOW, ONE, SESSION, Said};
use tradecore_domain::command::{CancelOrder, Command, MassCancel, Origin, PlaceOrder};
use tradecore_domain::event::order_flags;
use tradecore_domain::{Decision, apply, decide};
use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, InstrumentId, OrdType, Px, Qty, SessionId, Side, Tif, TradingState, UnixNanos,
    exec_flags,
};
use tradecore_protocol::layout::Text;
use tradecore_protocol::reason::Reason as R;

use Said::{Refused, Rejected};

/// A new order and the core that it meets.
struct Case {
    order: PlaceOrder,
    session_id: SessionId,
    orders_max: u32,
    /// Its ClOrdID has been used, with other content.
    is_id_used: bool,
    is_epoch_closed: bool,
    /// Another order has been placed in the same second.
    is_second_used: bool,
    is_id_memory_full: bool,
    /// What happens to the core last.
    turns: Vec<fn(&mut Desk)>,
}

impl Case {
    /// Nothing is wrong.
    fn sound() -> Self {
        Self {
            order: Desk::order(),
            session_id: SESSION,
            orders_max: 4,
            is_id_used: false,
            is_epoch_closed: false,
            is_second_used: false,
            is_id_memory_full: false,
            turns: Vec::new(),
        }
    }

    fn said(&self) -> Option<Said> {
        let mut desk = Desk::new(self.orders_max);
        // A side without meaning: it is remembered, and needs no room among the open orders.
        let bad = PlaceOrder { side: 9, strategy_id: tradecore_protocol::fields::StrategyId(77), ..Desk::order() };
        if self.is_id_used {
            desk.session(&Command::PlaceOrder(bad));
        }
        if self.is_epoch_closed {
            desk.session(&Command::PlaceOrder(PlaceOrder { cl_ord_id: ClOrdId::new(2, 1), ..bad }));
        }
        if self.is_second_used {
            desk.place_other(Desk::order());
        }
        if self.is_id_memory_full {
            while desk.place_other(bad) == Some(Rejected(R::SideInvalid)) {}
        }
        self.turns.iter().for_each(|turn| turn(&mut desk));
        desk.run(self.session_id, 99, &Command::PlaceOrder(self.order))
    }
}

/// How a sound case is broken, and what is said to it.
type Check = (Said, fn(&mut Case));

fn lock_out(desk: &mut Desk) {
    desk.session(&Command::MassCancel(MassCancel { lockout: 1, ..MassCancel::default() }));
    desk.step();
}

fn kill(desk: &mut Desk, account_id: AccountId) {
    desk.system(&Command::SetKillSwitch {
        request_id: 1,
        account_id,
        engage: true,
        cancel_open: true,
        reopen: false,
        operator_tag: Text::EMPTY,
    });
    desk.step();
}

fn restrict(desk: &mut Desk, account_id: AccountId, state: TradingState) {
    desk.system(&Command::SetTradingState { account_id, state, reason: R::OperatorRequest });
}

fn market(case: &mut Case, tif: Tif) {
    case.order.ord_type = OrdType::Market.raw();
    case.order.px = Px::NONE;
    case.order.tif = tif.raw();
}

/// The checks of a new order, in the order in which they stand.
const CHECKS: &[Check] = &[
    // Identity.
    (Refused(R::ClOrdIdMissing), |case| case.order.cl_ord_id = ClOrdId(0)),
    (Refused(R::NotLoggedOn), |case| case.session_id = SessionId(3)),
    (Refused(R::ClientEpochClosed), |case| case.is_epoch_closed = true),
    (Rejected(R::DuplicateId), |case| case.is_id_used = true),
    (Refused(R::IdsMax), |case| case.is_id_memory_full = true),
    // Shape.
    (Rejected(R::SideInvalid), |case| case.order.side = 9),
    (Rejected(R::OrdTypeInvalid), |case| case.order.ord_type = 9),
    (Rejected(R::TifInvalid), |case| case.order.tif = 9),
    (Rejected(R::ExecFlagsInvalid), |case| case.order.exec_flags = 128),
    (Rejected(R::PriceForbidden), |case| {
        market(case, Tif::Day);
        case.order.px = Px(100 * ONE);
    }),
    (Rejected(R::PriceMissing), |case| {
        case.order.ord_type = OrdType::Limit.raw();
        case.order.px = Px::NONE;
    }),
    (Rejected(R::PriceNotPositive), |case| {
        case.order.ord_type = OrdType::Limit.raw();
        case.order.px = Px(0);
    }),
    (Rejected(R::QtyNotPositive), |case| case.order.order_qty = Qty(0)),
    (Rejected(R::MarketTifInvalid), |case| market(case, Tif::Gtc)),
    (Rejected(R::PostOnlyInvalid), |case| {
        case.order.tif = Tif::Ioc.raw();
        case.order.exec_flags = exec_flags::POST_ONLY;
    }),
    // State.
    (Refused(R::BrokerNotReady), |case| case.turns.push(|desk| desk.broker(BrokerStatus::Syncing))),
    (Refused(R::OrdersMax), |case| case.orders_max = 0),
    (Rejected(R::InstrumentUnknown), |case| case.order.instrument_id = InstrumentId(2)),
    (Rejected(R::AccountUnknown), |case| case.order.account_id = AccountId(2)),
    (Rejected(R::Killed), |case| case.turns.push(|desk| kill(desk, AccountId::NONE))),
    (Rejected(R::LockedOut), |case| case.turns.push(lock_out)),
    (Rejected(R::AccountState), |case| case.turns.push(|desk| restrict(desk, ACCOUNT, TradingState::CancelOnly))),
    (Rejected(R::StaleRequest), |case| case.order.valid_until_ns = NOW - 1),
    // Limits.
    (Rejected(R::PriceTick), |case| case.order.px = Px(100 * ONE + 1)),
    (Rejected(R::QtyLot), |case| case.order.order_qty = Qty(2 * ONE + 1)),
    (Rejected(R::QtyMin), |case| case.order.order_qty = Qty(ONE / 1000)),
    (Rejected(R::OrderQtyMax), |case| case.order.order_qty = Qty(101 * ONE)),
    (Rejected(R::OpenOrdersMax), |case| {
        case.turns.push(|desk| {
            desk.account.open_orders_max = 0;
            desk.define();
        });
    }),
    (Rejected(R::RateLimit), |case| {
        case.is_second_used = true;
        case.turns.push(|desk| {
            desk.account.rate_max = 1;
            desk.define();
        });
    }),
    (Rejected(R::MarketStale), |case| case.turns.push(|desk| desk.quote(100 * ONE, 100 * ONE, NOW - 5_000_000_001))),
    (Rejected(R::PriceCollar), |case| case.order.px = Px(110 * ONE + ONE / 100)),
    (Rejected(R::OrderNotionalMax), |case| case.order.order_qty = Qty(60 * ONE)),
    (Rejected(R::PositionMax), |case| case.order.order_qty = Qty(45 * ONE)),
    (Rejected(R::BuyingPower), |case| case.order.order_qty = Qty(36 * ONE)),
];

/// Other ways to the same reasons.
const VARIANTS: &[Check] = &[
    (Rejected(R::SideInvalid), |case| case.order.side = 0),
    (Rejected(R::PriceNotPositive), |case| case.order.px = Px(-ONE)),
    (Rejected(R::QtyNotPositive), |case| case.order.order_qty = Qty(-ONE)),
    (Rejected(R::PostOnlyInvalid), |case| {
        case.order.tif = Tif::Fok.raw();
        case.order.exec_flags = exec_flags::POST_ONLY;
    }),
    (Rejected(R::PostOnlyInvalid), |case| {
        market(case, Tif::Day);
        case.order.exec_flags = exec_flags::POST_ONLY;
    }),
    (Refused(R::BrokerNotReady), |case| case.turns.push(|desk| desk.broker(BrokerStatus::Down))),
    (Rejected(R::InstrumentUnknown), |case| case.order.instrument_id = InstrumentId::NONE),
    (Rejected(R::InstrumentUnknown), |case| case.order.instrument_id = InstrumentId(u32::MAX)),
    (Rejected(R::AccountUnknown), |case| case.order.account_id = AccountId::NONE),
    (Rejected(R::AccountUnknown), |case| case.order.account_id = AccountId(u32::MAX)),
    (Rejected(R::Killed), |case| case.turns.push(|desk| kill(desk, ACCOUNT))),
    (Rejected(R::AccountState), |case| case.turns.push(|desk| restrict(desk, ACCOUNT, TradingState::Frozen))),
    (Rejected(R::AccountState), |case| {
        case.turns.push(|desk| restrict(desk, AccountId::NONE, TradingState::CancelOnly));
    }),
    (Rejected(R::MarketStale), |case| case.turns.push(|desk| desk.quote(100 * ONE, 100 * ONE, 0))),
    (Rejected(R::MarketStale), |case| case.turns.push(|desk| desk.quote(Px::NONE.0, 100 * ONE, NOW))),
    (Rejected(R::MarketStale), |case| case.turns.push(|desk| desk.quote(100 * ONE, Px::NONE.0, NOW))),
    (Rejected(R::PriceCollar), |case| case.order.px = Px(90 * ONE - ONE / 100)),
    (Rejected(R::PositionMax), |case| {
        case.order.side = Side::Sell.raw();
        case.order.order_qty = Qty(41 * ONE);
    }),
    (Rejected(R::PositionMax), |case| {
        // What is open counts as if it were filled.
        case.turns.push(|desk| {
            let open = PlaceOrder { side: Side::Sell.raw(), order_qty: Qty(20 * ONE), ..Desk::order() };
            assert_eq!(desk.place_other(open), None);
        });
        case.order.side = Side::Sell.raw();
        case.order.order_qty = Qty(21 * ONE);
    }),
    (Rejected(R::BuyingPower), |case| {
        case.turns.push(|desk| assert_eq!(desk.place_other(Desk::order()), None));
        case.order.order_qty = Qty(34 * ONE);
    }),
    (Rejected(R::BuyingPower), |case| {
        market(case, Tif::Ioc);
        case.order.order_qty = Qty(36 * ONE);
    }),
];

/// At the limit, and not beyond it.
const ALLOWED: &[fn(&mut Case)] = &[
    |_| (),
    |case| case.order.valid_until_ns = NOW,
    |case| case.order.order_qty = Qty(ONE / 100),
    |case| case.order.order_qty = Qty(35 * ONE),
    |case| case.order.px = Px(110 * ONE),
    |case| case.order.px = Px(90 * ONE),
    |case| case.turns.push(|desk| desk.quote(100 * ONE, 100 * ONE, NOW - 5_000_000_000)),
    |case| {
        case.order.side = Side::Sell.raw();
        case.order.order_qty = Qty(40 * ONE);
    },
    |case| market(case, Tif::Day),
    |case| {
        case.turns.push(|desk| {
            desk.account.rate_max = 1;
            desk.account.open_orders_max = 1;
            desk.define();
        });
    },
    |case| {
        // The greatest quantity and the greatest notional at once.
        case.turns.push(|desk| {
            desk.account.position_max = 100 * ONE;
            desk.instrument.order_notional_max = 10_000 * desk::MONEY;
            desk.define();
        });
        case.order.side = Side::Sell.raw();
        case.order.order_qty = Qty(100 * ONE);
    },
];

/// Reasons that none of the four requests gets from a decision, by who gives them.
const ELSEWHERE: &[(&str, &[R])] = &[
    ("nobody: there is nothing to say", &[R::None]),
    (
        "the session, before a request is read",
        &[
            R::AuthFailed,
            R::Version,
            R::SessionInUse,
            R::EpochMismatch,
            R::SeqAhead,
            R::SeqError,
            R::SeqUnavailable,
            R::HeartbeatTimeout,
            R::FrameSize,
            R::UnknownTemplate,
            R::BlockTooShort,
            R::RoleForbidden,
            R::ResendInProgress,
            R::ResendLimit,
            R::SlowConsumer,
            R::TakenOver,
            R::Shutdown,
            R::NonzeroReserved,
            R::LoginRate,
            R::ReplayInProgress,
            R::LogonTimeout,
            R::EnvironmentMismatch,
            R::Redirect,
            R::ConnectionsMax,
            R::Logout,
            R::ConnectionLost,
        ],
    ),
    (
        "the gateway, before it decides",
        &[R::AccountForbidden, R::JournalFull, R::OutboxFull, R::DurabilityLag, R::NoLease],
    ),
    (
        "what the broker says, and what becomes of an effect",
        &[
            R::BrokerReject,
            R::BrokerCancel,
            R::Expired,
            R::OutcomeUnknown,
            R::NotAtBroker,
            R::BrokerContradiction,
            R::Overfill,
            R::WouldTake,
        ],
    ),
    ("why an order is being canceled", &[R::ClientDisconnect, R::ClientRequest, R::OperatorRequest]),
];

#[test]
fn every_broken_check_of_a_new_order_gives_its_reason() {
    for (at, (expected, breaks)) in CHECKS.iter().chain(VARIANTS).enumerate() {
        let mut case = Case::sound();
        breaks(&mut case);
        assert_eq!(case.said(), Some(*expected), "row {at}");
    }
}

#[test]
fn a_new_order_at_its_limits_passes() {
    for (at, changes) in ALLOWED.iter().enumerate() {
        let mut case = Case::sound();
        changes(&mut case);
        assert_eq!(case.said(), None, "row {at}");
    }
}

#[test]
fn of_two_broken_checks_of_a_new_order_the_earlier_gives_the_reason() {
    for (at, (expected, breaks)) in CHECKS.iter().enumerate() {
        for (later, breaks_later) in CHECKS.iter().skip(at + 1) {
            let mut case = Case::sound();
            // Where both need the same field, the earlier has it.
            breaks_later(&mut case);
            breaks(&mut case);
            assert_eq!(case.said(), Some(*expected), "and not {later:?}");
        }
    }
}

#[test]
fn every_reason_is_provoked_here_or_given_elsewhere() {
    let reason = |said: &Said| match said {
        Refused(reason) | Rejected(reason) => *reason,
    };
    let of_orders = CHECKS.iter().chain(VARIANTS).map(|(said, _)| reason(said));
    let here: BTreeSet<R> = of_orders.chain(requests::ROWS.iter().map(|(said, _)| reason(said))).collect();
    let mut elsewhere = BTreeSet::new();
    for (who, reasons) in ELSEWHERE {
        for reason in *reasons {
            assert!(elsewhere.insert(*reason), "{reason:?} is given by {who}, and stands in the list twice");
            assert!(!here.contains(reason), "{reason:?} is given by {who}, and provoked here");
        }
    }
    for (reason, ..) in R::TABLE {
        assert!(here.contains(reason) || elsewhere.contains(reason), "{reason:?} has no row, and nobody gives it");
    }
}

#[test]
fn a_broker_that_stays_away_is_noted_once_and_again_with_each_connection_that_ends_while_an_order_is_open() {
    let mut desk = Desk::new(8);
    let mut decision = Decision::new();
    let mut noted = |desk: &mut Desk, status, connection_no| {
        let command = Command::BrokerStatus { status, connection_no };
        decide(&desk.state, UnixNanos(NOW), &desk.market, &Origin::default(), &command, &mut decision);
        decision.events().iter().for_each(|event| apply(&mut desk.state, event));
        let is_noted = !decision.events().is_empty();
        desk.step();
        is_noted
    };
    let (down, syncing) = (BrokerStatus::Down, BrokerStatus::Syncing);
    assert!(noted(&mut desk, down, 1));
    assert!(!noted(&mut desk, down, 1) && !noted(&mut desk, down, 2), "nothing can have left");
    assert!(noted(&mut desk, syncing, 3) && noted(&mut desk, BrokerStatus::Ready, 3));
    desk.live(Desk::order(), 0);
    assert!(noted(&mut desk, down, 3) && !noted(&mut desk, down, 3));
    let id = Desk::order().cl_ord_id;
    desk.session(&Command::CancelOrder(CancelOrder { orig_cl_ord_id: id, ..CancelOrder::default() }));
    assert!(noted(&mut desk, down, 4), "a cancel may have left by it");
    let order = desk.state.known(SESSION, id).expect("known").order;
    assert_ne!(order.flags & order_flags::DOUBT, 0);
}
