//! The memory for ClOrdIDs: shared out between sessions, and freed by new client epochs.

use tradecore_domain::Limits;
use tradecore_domain::command::{Command, PlaceOrder};
use tradecore_protocol::fields::{ClOrdId, CodMode, Role, SessionId};
use tradecore_protocol::reason::Reason as R;

use crate::desk::{Desk, SESSION, Said};
use Said::{Refused, Rejected};

const OTHER: SessionId = SessionId(2);

fn desk(orders_max: u32, ids_max: u32, sessions: &[SessionId]) -> Desk {
    let limits = Limits {
        orders_max,
        closed_kept: 4,
        executions_kept: 4,
        ids_max,
        sessions_max: 2,
        accounts_max: 2,
        instruments_max: 2,
        mass_cancels_max: 1,
        hash_seed: 0,
    };
    Desk::with(limits, sessions)
}

/// An order without a side: rejected, and remembered as such.
fn reject(desk: &mut Desk, session: SessionId, epoch: u16, counter: u64) -> Option<Said> {
    let order = PlaceOrder { cl_ord_id: ClOrdId::new(epoch, counter), side: 9, ..Desk::order() };
    let said = desk.run(session, counter, &Command::PlaceOrder(order));
    desk.state.check_invariants().expect("holds");
    assert!(desk.state.ids_count() <= desk.state.limits().ids_max as usize, "bounded");
    said
}

/// Orders of one client epoch until no more are remembered: how many there were.
fn use_up(desk: &mut Desk, session: SessionId, epoch: u16) -> u32 {
    let taken = (1..100).take_while(|n| reject(desk, session, epoch, *n) == Some(Rejected(R::SideInvalid))).count();
    assert_eq!(reject(desk, session, epoch, 100), Some(Refused(R::IdsMax)));
    taken as u32
}

#[test]
fn one_greedy_session_does_not_stop_another() {
    let mut desk = desk(4, 32, &[SESSION, OTHER]);
    assert_eq!(desk.state.ids_per_session(), 14, "half of what open orders do not need");
    for epoch in 1..=9 {
        assert_eq!(use_up(&mut desk, SESSION, epoch), 14);
    }
    assert_eq!(use_up(&mut desk, OTHER, 1), 14, "its share was kept for it");
}

#[test]
fn a_new_client_epoch_finds_room_in_a_full_memory_and_makes_room_for_others() {
    let mut desk = desk(0, 8, &[SESSION]);
    assert_eq!(use_up(&mut desk, SESSION, 1), 8);
    assert_eq!(desk.state.ids_count(), 8, "full");
    desk.define_session(OTHER);
    assert_eq!(reject(&mut desk, OTHER, 1, 1), Some(Refused(R::IdsMax)), "nothing is free");
    assert_eq!(reject(&mut desk, SESSION, 2, 101), Some(Rejected(R::SideInvalid)), "of the last epoch it is");
    assert_eq!(use_up(&mut desk, OTHER, 1), 4);
    assert_eq!(use_up(&mut desk, SESSION, 3), 4);
}

#[test]
fn a_new_session_epoch_begins_the_client_epochs_anew_and_frees_the_ids_of_the_last() {
    let mut desk = desk(4, 32, &[SESSION]);
    assert_eq!(use_up(&mut desk, SESSION, u16::MAX), 28);
    assert_eq!(reject(&mut desk, SESSION, 1, 1), Some(Refused(R::ClientEpochClosed)));
    let (role, cod_mode) = (Role::Trade, CodMode::None);
    desk.system(&Command::DefineSession { session_id: SESSION, session_epoch: 2, role, cod_mode });
    desk.state.check_invariants().expect("holds");
    for epoch in 1..=2 {
        assert_eq!(use_up(&mut desk, SESSION, epoch), 28);
    }
    let back = Command::DefineSession { session_id: SESSION, session_epoch: 1, role, cod_mode };
    assert_eq!(desk.run(SESSION, 0, &back), Some(Refused(R::EpochMismatch)), "an epoch is not given twice");
    let is_known = |id| desk.state.known(SESSION, id).is_some();
    assert_eq!([(u16::MAX, 1), (2, 1)].map(|(epoch, n)| is_known(ClOrdId::new(epoch, n))), [false, true]);
}

#[test]
fn a_client_epoch_of_open_orders_alone_frees_nothing_until_they_are_closed() {
    let mut desk = desk(2, 2, &[SESSION]);
    let place = |desk: &mut Desk, epoch, counter| {
        let order = PlaceOrder { cl_ord_id: ClOrdId::new(epoch, counter), ..Desk::order() };
        desk.run(SESSION, counter, &Command::PlaceOrder(order))
    };
    assert_eq!(place(&mut desk, 1, 1), None);
    assert_eq!(place(&mut desk, 2, 2), None);
    assert_eq!(place(&mut desk, 3, 3), Some(Refused(R::IdsMax)), "both ids belong to open orders");
    desk.state.check_invariants().expect("holds");
}
