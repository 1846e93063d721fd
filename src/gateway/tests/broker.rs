//! What is asked of the broker, and what is not: outages, what was withdrawn before it left, a stop.

use tradecore_domain::command::{BrokerFact, EffectFailure, FactKind, ReplaceOrder};
use tradecore_domain::event::order_flags;
use tradecore_protocol::fields::TradingState;

use super::*;
use crate::brokers::SubmitOrder;

impl Core {
    /// A fact that answers a query or a request.
    fn fact(&mut self, order_id: OrderId, kind: FactKind) {
        let fact = BrokerFact { order_id, broker_seq: 0, broker_order_id: 1, broker_time_ns: 1, kind };
        self.link.inbound.push(Inbound::Fact(fact)).expect("room in the ring");
    }

    /// An order that the broker has.
    pub(super) fn rest(&mut self, cl_ord_id: u64) -> OrderId {
        let order_id = self.place(cl_ord_id).expect("accepted");
        self.sync();
        assert!(matches!(self.turn()[..], [Instruction::Submit(_)]));
        self.fact(order_id, FactKind::Acknowledged);
        self.turn();
        assert_eq!(self.status(cl_ord_id), OrdStatus::New);
        order_id
    }

    /// From here on nothing is synced.
    pub(super) fn stall(&mut self) {
        let dir = tempfile::tempdir().expect("a directory");
        let opened = tradecore_journal::open(&Config::new(dir.path())).expect("a journal");
        self.gateway.watermarks = opened.into_parts().2;
    }

    pub(super) fn replace(&mut self, order_id: OrderId) {
        let (px, total_qty) = (Px(101 * ONE), Qty(ONE));
        let replace = ReplaceOrder { cl_ord_id: ClOrdId::new(1, 500), order_id, px, total_qty, ..Default::default() };
        self.request(&Command::ReplaceOrder(replace)).expect("taken");
    }

    fn restrict(&mut self, account_id: AccountId) {
        let (state, reason) = (TradingState::CancelOnly, Reason::Overfill);
        self.gateway.run(&Command::SetTradingState { account_id, state, reason }).expect("restricted");
    }

    /// Orders that are canceled before they leave: places of the table that are used, and closed.
    fn use_places(&mut self, count: u64) {
        for nth in 1..=count {
            let order_id = self.place(10_000 + nth).expect("accepted");
            self.cancel(order_id).expect("taken");
            assert_eq!(self.turn(), []);
        }
        assert_eq!(self.gateway.state.open_orders_count(), 0);
    }
}

#[test]
fn a_cancel_that_left_by_a_connection_that_ended_before_it_was_syncing_is_asked_for_again() {
    let mut core = Core::new();
    core.sync();
    let order_id = core.rest(1);
    core.tell(BrokerStatus::Down, 1);
    assert_eq!(core.turn(), []);
    core.cancel(order_id).expect("taken");
    assert_eq!(core.turn(), [Instruction::Cancel { order_id }]);
    core.tell(BrokerStatus::Down, 2);
    let asked = core.connect(3);
    assert_eq!(asked, [Instruction::Query { order_id }, Instruction::EndOfQueries { connection_no: 3 }]);
    core.fact(order_id, FactKind::FoundLive { cum_qty: Qty(0), px: Px::NONE, total_qty: Qty(0) });
    assert_eq!(core.turn(), [Instruction::Cancel { order_id }]);
}

#[test]
fn a_mass_cancel_that_left_by_such_a_connection_is_asked_for_again_also_when_it_is_the_first_of_a_life() {
    let mut core = Core::new();
    core.sync();
    let order_id = core.rest(1);
    // A start: the connections of the last life were numbered from 1 as well.
    core.gateway.run(&Command::StartCore { epoch: 9, core: 1, environment: 3, durability: 2 }).expect("started");
    assert_eq!(core.turn(), []);
    core.request(&Command::MassCancel(MassCancel::default())).expect("taken");
    assert_eq!(core.turn(), [Instruction::Cancel { order_id }]);
    core.tell(BrokerStatus::Down, 1);
    let asked = core.connect(2);
    assert_eq!(asked, [Instruction::Query { order_id }, Instruction::EndOfQueries { connection_no: 2 }]);
}

#[test]
fn an_order_that_is_canceled_before_it_has_left_never_leaves_and_nor_does_its_cancel() {
    let cancels: [fn(&mut Core, OrderId); 3] = [
        |core, order_id| core.cancel(order_id).expect("taken"),
        |core, _| core.request(&Command::MassCancel(MassCancel::default())).expect("taken"),
        |core, _| {
            let account_id = AccountId::NONE;
            let engage = Command::SetKillSwitch {
                request_id: 1,
                account_id,
                engage: true,
                cancel_open: true,
                reopen: false,
                operator_tag: Text::EMPTY,
            };
            core.gateway.run(&engage).expect("engaged");
        },
    ];
    for (nth, cancel) in cancels.into_iter().enumerate() {
        let mut core = Core::new();
        let order_id = core.place(1).expect("accepted");
        assert_eq!(core.turn(), [], "it waits for its sync");
        cancel(&mut core, order_id);
        let mut left = core.turn();
        core.sync();
        left.extend(core.turn());
        assert_eq!(left, [], "{nth}");
        assert_eq!(core.status(1), OrdStatus::Canceled, "{nth}");
        assert_eq!(core.gateway.state.open_orders_count(), 0, "{nth}");
    }
}

#[test]
fn a_replace_of_an_order_that_is_canceled_before_the_replace_has_left_never_leaves_and_the_cancel_does() {
    let mut core = Core::new();
    core.sync();
    let order_id = core.rest(1);
    core.stall();
    core.replace(order_id);
    assert_eq!(core.turn(), [], "it waits for its sync");
    core.cancel(order_id).expect("taken");
    assert_eq!(core.turn(), [Instruction::Cancel { order_id }]);
    assert_eq!(core.known(1).order.flags & order_flags::REPLACE_PENDING, 0);
    core.sync();
    assert_eq!(core.turn(), []);
}

#[test]
fn what_has_not_left_when_the_trading_state_is_narrowed_never_leaves() {
    for account_id in [AccountId(1), AccountId::NONE] {
        let mut core = Core::new();
        core.sync();
        let resting = core.rest(1);
        core.stall();
        core.place(2).expect("accepted");
        core.replace(resting);
        assert_eq!(core.turn(), [], "they wait for their sync");
        core.restrict(account_id);
        let mut left = core.turn();
        core.sync();
        left.extend(core.turn());
        assert_eq!(left, [], "{account_id:?}");
        assert_eq!((core.status(1), core.status(2)), (OrdStatus::New, OrdStatus::Rejected), "{account_id:?}");
        core.cancel(resting).expect("taken");
        assert_eq!(core.turn(), [Instruction::Cancel { order_id: resting }]);
    }
}

#[test]
fn an_order_that_the_adapter_could_not_send_is_canceled_for_whom_a_cancel_came_meanwhile() {
    let mut core = Core::new();
    core.sync();
    let order_id = core.place(1).expect("accepted");
    core.sync();
    assert!(matches!(core.turn()[..], [Instruction::Submit(_)]), "it is in the adapter's hands");
    core.cancel(order_id).expect("taken");
    assert_eq!(core.turn(), [Instruction::Cancel { order_id }]);
    let (kind, failure, reason) = (EffectKind::Submit, EffectFailure::NotSent, Reason::BrokerNotReady);
    core.link.inbound.push(Inbound::Failed { order_id, kind, failure, reason }).expect("room in the ring");
    core.fact(order_id, FactKind::CancelRejected { reason: Reason::NotAtBroker });
    core.turn();
    assert_eq!(core.status(1), OrdStatus::Canceled);
}

#[test]
fn a_mass_cancel_walks_over_the_table_only_as_long_as_what_it_covers_has_an_open_order() {
    let mut core = Core::new();
    core.use_places(300);
    let events_of = |core: &mut Core| {
        let before = core.gateway.journal.last_seq();
        core.request(&Command::MassCancel(MassCancel::default())).expect("taken");
        core.turn();
        core.gateway.journal.last_seq() - before
    };
    assert_eq!(events_of(&mut core), 2, "begun and completed");
    core.sync();
    core.rest(1);
    assert_eq!(events_of(&mut core), 4, "begun, a step, a cancel, completed");
}

#[test]
fn doubts_are_looked_for_some_places_at_a_time() {
    let mut core = Core::new();
    core.use_places(300);
    core.sync();
    let order_id = core.place(1).expect("accepted");
    core.sync();
    assert!(matches!(core.turn()[..], [Instruction::Submit(_)]));
    core.tell(BrokerStatus::Down, 1);
    assert_eq!(core.turn(), []);
    let mut position = 0;
    assert_eq!(core.gateway.state.next_in_doubt(&mut position, 256), None);
    assert_eq!(position, 256);
    assert_eq!(core.gateway.state.next_in_doubt(&mut position, 256), Some(order_id));
    let asked = core.connect(2);
    assert_eq!(asked, [Instruction::Query { order_id }, Instruction::EndOfQueries { connection_no: 2 }]);
}

#[test]
fn a_stop_waits_until_the_adapter_is_done_with_what_it_was_given() {
    let mut core = Core::new();
    core.sync();
    let order_id = core.rest(1);
    core.cancel(order_id).expect("taken");
    core.gateway.drain();
    core.sync();
    core.turn();
    assert!(!core.gateway.is_drained(), "the broker has not answered");
    // The end of the queries, the order, and its cancel.
    core.link.settled.store(3, std::sync::atomic::Ordering::Release);
    assert!(core.gateway.is_drained());
}

#[test]
fn in_class_journaled_an_order_leaves_with_its_decision_but_for_what_stops_those_that_wait() {
    type Stop = (&'static str, fn(&mut Core, &mut SubmitOrder));
    let stops: [Stop; 4] = [
        ("nothing", |_, _| {}),
        ("its valid-until", |_, order| order.valid_until_ns = 1),
        ("the lease", |core, _| core.gateway.may_trade = false),
        ("the account", |core, _| core.restrict(AccountId(1))),
    ];
    for (what, stop) in stops {
        let mut core = Core::new();
        core.gateway.settings.durability = Durability::Journaled;
        core.place(1).expect("accepted");
        let Some(Instruction::Submit(mut order)) = core.link.instructions.pop() else { panic!("it is in the ring") };
        stop(&mut core, &mut order);
        let now = core.gateway.clock.read();
        core.gateway.hand_on(1, Instruction::Submit(order), now);
        assert_eq!(core.link.instructions.pop().is_some(), what == "nothing", "stopped by {what}");
    }
}
