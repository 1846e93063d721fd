//! What is not said of one order: sessions that end, the core's start, its broker, kill switches, definitions.

use std::collections::BTreeSet;

use tradecore_domain::command::{Command, PlaceOrder};
use tradecore_protocol::fields::{AccountId, BrokerStatus, CodMode, Role, SessionId, Side, TradingState, exec_flags};
use tradecore_protocol::reason::Reason;

use crate::bench::{self, Bench};
use crate::{Happening, STANDINGS, check, check_of, flagged, kill_switch, limit_orders, stand_of};

/// The session logs on with this mode, and what is heard begins behind that.
fn log_on(bench: &mut Bench, cod_mode: CodMode) {
    bench.session(&Command::LogOn { connection_no: 7, cod_mode, cod_window_ms: 0 });
    bench.listen();
}

/// A session with this mode ends for this reason, and what is due then is done.
fn end(section: &'static str, cod_mode: CodMode, reason: Reason) -> Happening {
    (
        section,
        Box::new(move |bench| {
            log_on(bench, cod_mode);
            bench.session(&Command::EndSession { reason });
            bench.step();
        }),
    )
}

#[test]
fn the_end_of_a_session_does_to_every_standing_what_the_table_says() {
    check(
        include_str!("sessions.txt"),
        &[
            end("Disconnect that cancels all", CodMode::Disconnect, Reason::HeartbeatTimeout),
            end("Logout that cancels all", CodMode::Both, Reason::Logout),
            end("Logout that cancels nothing", CodMode::Disconnect, Reason::Logout),
            end("Take-over", CodMode::Both, Reason::TakenOver),
        ],
    );
    let disconnect = || end("Disconnect", CodMode::None, Reason::HeartbeatTimeout);
    let (marked, plain): (Vec<PlaceOrder>, Vec<PlaceOrder>) =
        limit_orders().into_iter().partition(|order| order.exec_flags & exec_flags::CANCEL_ON_DISCONNECT != 0);
    check_of(&marked, include_str!("flagged.txt"), &[disconnect()]);
    check_of(&plain, include_str!("unflagged.txt"), &[disconnect()]);
}

#[test]
fn what_befalls_the_whole_core_does_to_every_standing_what_the_table_says() {
    let and_steps = |section, command: Command| -> Happening {
        (
            section,
            Box::new(move |bench| {
                bench.system(&command);
                bench.step();
            }),
        )
    };
    check(
        include_str!("core.txt"),
        &[
            and_steps("StartCore", Command::StartCore { epoch: 2, core: 1, environment: 3, durability: 1 }),
            and_steps("BrokerStatus Down", Command::BrokerStatus { status: BrokerStatus::Down, connection_no: 1 }),
            and_steps("SetKillSwitch that cancels", kill_switch(true, false)),
        ],
    );
}

/// Commands that are about no order.
fn others() -> Vec<Command> {
    let account_id = bench::ACCOUNT;
    let kill = |engage, account_id| Command::SetKillSwitch {
        request_id: 9,
        account_id,
        engage,
        cancel_open: !engage,
        reopen: true,
        operator_tag: tradecore_protocol::layout::Text::EMPTY,
    };
    let state = |account_id, state| Command::SetTradingState { account_id, state, reason: Reason::OperatorRequest };
    let status = |status| Command::BrokerStatus { status, connection_no: 2 };
    let session_id = SessionId(1);
    let role = Role::Trade;
    vec![
        Command::DefineInstrument(bench::narrower_instrument()),
        Command::DefineAccount(bench::narrower_account()),
        Command::DefineSession { session_id, session_epoch: 2, role, cod_mode: CodMode::Both },
        Command::LogOn { connection_no: 7, cod_mode: CodMode::Both, cod_window_ms: 1 },
        kill(true, AccountId::NONE),
        kill(true, account_id),
        kill(false, AccountId::NONE),
        state(AccountId::NONE, TradingState::CancelOnly),
        state(account_id, TradingState::Frozen),
        status(BrokerStatus::Syncing),
        status(BrokerStatus::Ready),
        Command::NoteByOperator { request_id: 9, text: tradecore_protocol::layout::Text::new("desk 3") },
        Command::Step,
    ]
}

#[test]
fn what_is_about_no_order_leaves_every_order_as_it_stands() {
    for standing in STANDINGS {
        for command in others() {
            let mut bench = stand_of(standing, flagged(Bench::order(Side::Buy)));
            let before = bench.image();
            bench.session(&command);
            bench.step();
            assert_eq!(bench.image(), before, "{standing}: {command:?}");
        }
    }
}

/// One number for each command, and where it is checked; a command that is added stops the build here.
const fn command_no(command: &Command) -> usize {
    match command {
        // lifecycle/requests.txt
        Command::PlaceOrder(_) => 0,
        Command::CancelOrder(_) => 1,
        Command::ReplaceOrder(_) => 2,
        Command::MassCancel(_) => 3,
        // lifecycle/facts.txt, lifecycle/effects.txt
        Command::BrokerFact(_) => 4,
        Command::EffectFailed { .. } => 5,
        // lifecycle/sessions.txt
        Command::EndSession { .. } => 6,
        // lifecycle/core.txt; what of them is about no order, and the rest, in `others`
        Command::StartCore { .. } => 7,
        Command::BrokerStatus { .. } => 8,
        Command::SetKillSwitch { .. } => 9,
        Command::DefineInstrument(_) => 10,
        Command::DefineAccount(_) => 11,
        Command::DefineSession { .. } => 12,
        Command::LogOn { .. } => 13,
        Command::SetTradingState { .. } => 14,
        Command::NoteByOperator { .. } => 15,
        Command::Step => 16,
    }
}

#[test]
fn no_command_that_is_about_no_order_is_left_out() {
    let numbers: BTreeSet<usize> = others().iter().map(command_no).collect();
    assert_eq!(numbers, BTreeSet::from_iter(8..17));
}
