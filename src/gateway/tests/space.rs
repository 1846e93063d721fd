//! Who may use how much of the journal's room.

use super::*;

#[test]
fn who_has_orders_may_log_on_from_the_whole_reserve_and_others_from_a_quarter_of_it() {
    let mut core = Core::new();
    assert_eq!(core.gateway.space_of_logon(SESSION.0, Role::Trade), Space::FirstQuarter);
    assert_eq!(core.gateway.space_of_logon(SESSION.0, Role::Admin), Space::Reserve, "for the kill switch");
    core.sync();
    core.place(1).expect("accepted");
    assert_eq!(core.gateway.space_of_logon(SESSION.0, Role::Trade), Space::Reserve);
}

#[test]
fn the_reserve_is_kept_for_what_takes_risk_away_and_for_what_has_happened() {
    let reject = Event::from(RequestRejected {
        meta: Meta::default(),
        offered: 0,
        allowed: 0,
        req_cl_ord_id: 1,
        orig_cl_ord_id: 2,
        order_id: 0,
        reason: Reason::TooLate.raw(),
        ref_template: 101,
        ord_status: 0,
        reserved: [0; 3],
    });
    let meta = Meta::default();
    let some = Event::from(CoreStarted { meta, epoch: 1, core: 1, environment: 3, durability: 1, reserved: 0 });
    let place = Command::PlaceOrder(PlaceOrder::default());
    let cancel = Command::CancelOrder(CancelOrder::default());
    let log_on = Command::LogOn { connection_no: 1, cod_mode: CodMode::None, cod_window_ms: 0 };
    let end = Command::EndSession { reason: Reason::Logout };
    let mut core = Core::new();
    let (live, canceling) = (core.place(1).expect("accepted"), core.place(2).expect("accepted"));
    core.cancel(canceling).expect("taken");
    let canceled = |order_id: OrderId| {
        let order = *core.gateway.state.order(order_id).expect("known");
        let (exec_id, reason) = (1, Reason::ClientRequest.raw());
        Event::from(CancelRequested { meta, order, req_cl_ord_id: 3, exec_id, reason, reserved: [0; 14] })
    };
    let account_id = AccountId::NONE;
    let kill = |engage| Command::SetKillSwitch {
        request_id: 1,
        account_id,
        engage,
        cancel_open: true,
        reopen: false,
        operator_tag: Text::EMPTY,
    };
    let is_of = |state: &State, command: &Command, event| space_of(state, SESSION, command, &[event]);
    for (command, event, expected) in [
        (place, some, (Space::Normal, Reason::JournalFull)),
        (cancel, canceled(live), (Space::Reserve, Reason::JournalFull)),
        (cancel, canceled(canceling), (Space::FirstQuarter, Reason::JournalFull)),
        (Command::MassCancel(MassCancel::default()), some, (Space::FirstQuarter, Reason::JournalFull)),
        (kill(true), some, (Space::Reserve, Reason::JournalFull)),
        (kill(false), some, (Space::FirstQuarter, Reason::JournalFull)),
        (cancel, reject, (Space::Normal, Reason::TooLate)),
        (log_on, some, (Space::Reserve, Reason::JournalFull)),
        (end, some, (Space::FirstQuarter, Reason::JournalFull)),
        (Command::Step, some, (Space::Reserve, Reason::JournalFull)),
    ] {
        assert_eq!(is_of(&core.gateway.state, &command, event), expected, "{command:?}");
    }
    core.gateway.run(&kill(true)).expect("engaged");
    let again = is_of(&core.gateway.state, &kill(true), some);
    assert_eq!(again, (Space::FirstQuarter, Reason::JournalFull), "it is engaged already");
    core.request(&log_on).expect("logged on");
    let first = is_of(&core.gateway.state, &end, some);
    assert_eq!(first, (Space::Reserve, Reason::JournalFull), "its logon is journaled");
}

#[test]
fn the_end_of_a_connection_whose_logon_was_not_journaled_arms_what_is_not_armed_and_is_no_event_otherwise() {
    let mut core = Core::new();
    let log_on = Command::LogOn { connection_no: 1, cod_mode: CodMode::Disconnect, cod_window_ms: u32::MAX };
    let ended = |core: &mut Core, reason| {
        let before = core.gateway.journal.last_seq();
        core.request(&Command::EndSession { reason }).expect("taken");
        core.gateway.journal.last_seq() - before
    };
    core.request(&log_on).expect("journaled");
    core.place(1).expect("accepted");
    assert_eq!(ended(&mut core, Reason::Logout), 1);
    assert_eq!(ended(&mut core, Reason::Logout), 0, "it is away, and its orders stay");
    assert_eq!(ended(&mut core, Reason::ConnectionLost), 1, "its orders are due in a while");
    assert_eq!(ended(&mut core, Reason::ConnectionLost), 0, "they are due already");
}

#[test]
fn while_readers_keep_as_much_of_the_journal_as_they_may_new_orders_are_refused_and_cancels_pass() {
    let mut core = Core::new();
    let live = core.place(1).expect("accepted");
    let watermarks = Arc::clone(&core.gateway.watermarks);
    watermarks.set_backlogged(true);
    assert_eq!(core.place(2), Err(Reason::JournalFull));
    core.cancel(live).expect("taken");
    core.request(&Command::EndSession { reason: Reason::ConnectionLost }).expect("what has happened");
    watermarks.set_backlogged(false);
    core.place(3).expect("accepted again");
}
