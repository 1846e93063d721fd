//! Cancels, replaces and mass cancels that are refused: each row builds its core, asks, and tells what was said.

use tradecore_domain::command::{
    CancelOrder, Command, EffectFailure, EffectKind, FactKind, MassCancel, PlaceOrder, ReplaceOrder,
};
use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, InstrumentId, OrdType, OrderId, Px, Qty, SessionId, Tif, TradingState,
};
use tradecore_protocol::layout::Text;
use tradecore_protocol::reason::Reason as R;

use crate::desk::Said::{self, Refused, Rejected};
use crate::desk::{ACCOUNT, Desk, NOW, ONE};

/// The live order, and one that does not exist.
const ORDER: ClOrdId = ClOrdId::new(1, 1);
const NO_ORDER: ClOrdId = ClOrdId::new(1, 9);

fn cancel(change: fn(&mut Desk, &mut CancelOrder)) -> Option<Said> {
    let mut desk = Desk::new(4);
    desk.live(Desk::order(), 0);
    let mut request = CancelOrder { cl_ord_id: ClOrdId::new(1, 5), orig_cl_ord_id: ORDER, order_id: OrderId::NONE };
    change(&mut desk, &mut request);
    desk.session(&Command::CancelOrder(request))
}

fn replace(change: fn(&mut Desk, &mut ReplaceOrder)) -> Option<Said> {
    let mut desk = Desk::new(4);
    desk.live(Desk::order(), 0);
    let mut request = ReplaceOrder {
        cl_ord_id: ClOrdId::new(1, 5),
        orig_cl_ord_id: ORDER,
        px: Px(101 * ONE),
        total_qty: Qty(3 * ONE),
        ..ReplaceOrder::default()
    };
    change(&mut desk, &mut request);
    desk.session(&Command::ReplaceOrder(request))
}

fn mass_cancel(change: fn(&mut Desk, &mut MassCancel)) -> Option<Said> {
    let mut desk = Desk::new(4);
    desk.live(Desk::order(), 0);
    let mut request = MassCancel { request_id: 7, ..MassCancel::default() };
    change(&mut desk, &mut request);
    desk.session(&Command::MassCancel(request))
}

fn in_doubt(desk: &mut Desk) {
    let order_id = OrderId(desk.state.known(crate::desk::SESSION, ORDER).expect("the order").order.order_id);
    desk.system(&Command::EffectFailed {
        order_id,
        kind: EffectKind::Cancel,
        failure: EffectFailure::Unknown,
        reason: R::OutcomeUnknown,
    });
}

/// A second order, of which the broker has said nothing.
fn second(desk: &mut Desk, order: PlaceOrder) -> ClOrdId {
    let cl_ord_id = ClOrdId::new(1, 2);
    assert_eq!(desk.session(&Command::PlaceOrder(PlaceOrder { cl_ord_id, ..order })), None);
    cl_ord_id
}

fn trade(qty: i64) -> FactKind {
    FactKind::Trade { broker_exec_id: 5, last_px: Px(100 * ONE), last_qty: Qty(qty), fee: 0, liquidity: None }
}

/// Engages a kill switch, before its cancels have begun.
fn kill(desk: &mut Desk, account_id: AccountId) {
    desk.system(&Command::SetKillSwitch {
        request_id: 1,
        account_id,
        engage: true,
        cancel_open: true,
        reopen: false,
        operator_tag: Text::EMPTY,
    });
}

pub(crate) type Row = (Said, fn() -> Option<Said>);

pub(crate) const ROWS: &[Row] = &[
    (Rejected(R::UnknownOrder), || cancel(|_, request| request.orig_cl_ord_id = NO_ORDER)),
    (Rejected(R::UnknownOrder), || cancel(|_, request| request.order_id = OrderId(1))),
    (Rejected(R::UnknownOrder), || {
        cancel(|desk, request| {
            // A ClOrdID whose order was rejected.
            let rejected = PlaceOrder { cl_ord_id: NO_ORDER, side: 9, ..Desk::order() };
            assert_eq!(desk.session(&Command::PlaceOrder(rejected)), Some(Rejected(R::SideInvalid)));
            request.orig_cl_ord_id = NO_ORDER;
        })
    }),
    (Rejected(R::UnknownOrder), || {
        // An order of another session, by either id.
        let mut desk = Desk::new(4);
        desk.live(Desk::order(), 0);
        let order_id = OrderId(desk.state.known(crate::desk::SESSION, ORDER)?.order.order_id);
        let by_order_id = CancelOrder { order_id, ..CancelOrder::default() };
        let said = desk.run(SessionId(2), 1, &Command::CancelOrder(by_order_id));
        let by_cl_ord_id = CancelOrder { orig_cl_ord_id: ORDER, ..CancelOrder::default() };
        assert_eq!(desk.run(SessionId(2), 2, &Command::CancelOrder(by_cl_ord_id)), said);
        said
    }),
    (Rejected(R::TooLate), || cancel(|desk, _| desk.fact(FactKind::Expired))),
    (Rejected(R::PendingChange), || {
        cancel(|desk, request| {
            desk.session(&Command::CancelOrder(*request));
        })
    }),
    (Rejected(R::UnknownOrder), || replace(|_, request| request.orig_cl_ord_id = NO_ORDER)),
    (Rejected(R::TooLate), || replace(|desk, _| desk.fact(trade(2 * ONE)))),
    (Rejected(R::ReplaceForbidden), || {
        replace(|desk, request| {
            let market =
                PlaceOrder { ord_type: OrdType::Market.raw(), px: Px::NONE, tif: Tif::Ioc.raw(), ..Desk::order() };
            request.orig_cl_ord_id = second(desk, market);
        })
    }),
    (Rejected(R::PendingChange), || replace(|desk, request| request.orig_cl_ord_id = second(desk, Desk::order()))),
    (Rejected(R::PendingChange), || {
        replace(|desk, request| {
            desk.session(&Command::ReplaceOrder(*request));
        })
    }),
    (Rejected(R::PendingChange), || {
        replace(|desk, _| {
            desk.session(&Command::CancelOrder(CancelOrder { orig_cl_ord_id: ORDER, ..CancelOrder::default() }));
        })
    }),
    (Rejected(R::PendingChange), || replace(|desk, _| in_doubt(desk))),
    (Rejected(R::PriceMissing), || replace(|_, request| request.px = Px::NONE)),
    (Rejected(R::PriceNotPositive), || replace(|_, request| request.px = Px(0))),
    (Rejected(R::QtyBelowExecuted), || replace(|_, request| request.total_qty = Qty(0))),
    (Rejected(R::QtyBelowExecuted), || {
        replace(|desk, request| {
            desk.fact(trade(ONE));
            request.total_qty = Qty(ONE);
        })
    }),
    (Rejected(R::NothingToReplace), || {
        replace(|_, request| (request.px, request.total_qty) = (Px(100 * ONE), Qty(2 * ONE)))
    }),
    (Refused(R::BrokerNotReady), || replace(|desk, _| desk.broker(BrokerStatus::Syncing))),
    (Rejected(R::StaleRequest), || replace(|_, request| request.valid_until_ns = NOW - 1)),
    (Rejected(R::Killed), || replace(|desk, _| kill(desk, AccountId::NONE))),
    (Rejected(R::Killed), || replace(|desk, _| kill(desk, ACCOUNT))),
    (Rejected(R::LockedOut), || {
        replace(|desk, _| {
            desk.session(&Command::MassCancel(MassCancel { lockout: 1, ..MassCancel::default() }));
        })
    }),
    (Rejected(R::AccountState), || {
        replace(|desk, _| {
            let (state, reason) = (TradingState::CancelOnly, R::OperatorRequest);
            desk.system(&Command::SetTradingState { account_id: ACCOUNT, state, reason });
        })
    }),
    (Rejected(R::PriceTick), || replace(|_, request| request.px = Px(101 * ONE + 1))),
    (Rejected(R::QtyLot), || replace(|_, request| request.total_qty = Qty(3 * ONE + 1))),
    (Rejected(R::QtyMin), || replace(|_, request| request.total_qty = Qty(ONE / 1000))),
    (Rejected(R::OrderQtyMax), || replace(|_, request| request.total_qty = Qty(101 * ONE))),
    (Rejected(R::RateLimit), || {
        replace(|desk, _| {
            // The order itself was of this second.
            desk.account.rate_max = 1;
            desk.define();
        })
    }),
    (Rejected(R::MarketStale), || replace(|desk, _| desk.quote(100 * ONE, 100 * ONE, NOW - 5_000_000_001))),
    (Rejected(R::PriceCollar), || replace(|_, request| request.px = Px(110 * ONE + ONE / 100))),
    (Rejected(R::OrderNotionalMax), || replace(|_, request| request.total_qty = Qty(60 * ONE))),
    (Rejected(R::PositionMax), || replace(|_, request| request.total_qty = Qty(45 * ONE))),
    (Rejected(R::BuyingPower), || replace(|_, request| request.total_qty = Qty(36 * ONE))),
    (Rejected(R::SideInvalid), || mass_cancel(|_, request| request.side = 9)),
    (Rejected(R::FieldValue), || mass_cancel(|_, request| request.lockout = 3)),
    // The whole core is for an operator; a lock-out is the session's own.
    (Rejected(R::ScopeInvalid), || mass_cancel(|_, request| request.every_session = true)),
    (Rejected(R::ScopeInvalid), || {
        mass_cancel(|_, request| (request.every_session, request.account_id, request.lockout) = (true, ACCOUNT, 1))
    }),
    (Rejected(R::AccountUnknown), || mass_cancel(|_, request| request.account_id = AccountId(2))),
    (Rejected(R::InstrumentUnknown), || mass_cancel(|_, request| request.instrument_id = InstrumentId(2))),
    (Refused(R::PendingChange), || {
        mass_cancel(|desk, request| {
            // As many as there may be under way.
            assert_eq!(desk.session(&Command::MassCancel(*request)), None);
        })
    }),
];

#[test]
fn every_request_that_cannot_be_done_is_told_why() {
    for (at, (expected, said)) in ROWS.iter().enumerate() {
        assert_eq!(said(), Some(*expected), "row {at}");
    }
}

#[test]
fn every_request_without_a_fault_is_accepted() {
    assert_eq!(cancel(|_, _| ()), None);
    assert_eq!(replace(|_, _| ()), None);
    assert_eq!(mass_cancel(|_, _| ()), None);
    assert_eq!(mass_cancel(|_, request| (request.every_session, request.account_id) = (true, ACCOUNT)), None);
    // What the order already counts for is not counted again: 34 at 101 is within the cash of 3500.
    assert_eq!(replace(|_, request| request.total_qty = Qty(34 * ONE)), None);
}
