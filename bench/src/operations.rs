//! The steps of an order, each alone and as often as asked: what `instructions` counts.
//!
//! Everything is made ready before; what happens inside `counted` is the step and the loop around it.

use std::hint::black_box;

use tradecore::egress::report::{self, REPORT_BYTES_MAX, ReportPlace};
use tradecore::ingress::{self, Request};
use tradecore_domain::command::{Command, Origin, PlaceOrder};
use tradecore_domain::event::{BrokerContradicted, Event, OrderAccepted};
use tradecore_domain::market::{Market, Quote};
use tradecore_domain::{Decision, State, apply, decide};
use tradecore_journal::record::{HEADER_BYTES, stored_bytes};
use tradecore_journal::{Config, Space};
use tradecore_protocol::Text;
use tradecore_protocol::codes::{KillState, ReplayMode, TakeoverPolicy};
use tradecore_protocol::fields::{
    AccountId, BrokerStatus, ClOrdId, CodMode, Durability, Environment, InstrumentId, OrdType, Px, Qty, Role,
    SessionId, Side, Tif, TradingState, UnixNanos,
};
use tradecore_protocol::frame::{Envelope, Frame, encode, next_client_frame, next_frame};
use tradecore_protocol::messages::{NewOrder, roles};
use tradecore_protocol::session::{
    ClientConfig, ClientPosition, ClientSession, GatewayFacts, LogonAnswer, Now, REPLY_BYTES_MAX, ServerAction,
    ServerConfig, ServerSession, SessionFacts,
};
use tradecore_protocol::transcript::MacKey;
use tradecore_protocol::wire::{I64, U32, U64};

use crate::Failure;
use crate::append::EVENT_BYTES;
use crate::host::{KEY_ID, SECRET};
use crate::in_process::{BID, Core, ONE};

/// The time of everything here.
const NOW: Now = Now { mono_ns: 1_000_000_000, utc_ns: 1_700_000_001_000_000_000 };
/// A segment that takes every append, so that none is waited for.
const SEGMENT_BYTES: u64 = 16 << 20;
/// The function inside which is counted, as the tool is told.
pub(crate) const COUNTED: &str = "*counted*";

/// A step of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Operation {
    /// A frame to a command: framing, rules of the session, translation.
    Decode,
    /// A new order to its acceptance.
    Decide,
    /// A group of one event of 128 bytes: room, archive, checksum, commit.
    Append,
    /// An acceptance into the state.
    Apply,
    /// An acceptance to the frame of its report.
    Encode,
}

impl Operation {
    /// Does it so often, and nothing else, inside `counted`.
    pub(crate) fn perform(self, times: u64) -> Result<(), Failure> {
        match self {
            Self::Decode => perform_decode(times),
            Self::Decide => perform_decide(times),
            Self::Append => perform_append(times),
            Self::Apply => perform_apply(times),
            Self::Encode => perform_encode(times),
        }
    }
}

/// Calls `step` with 1, 2 and so on. It stays a function of its own: the tool counts from its entry to its end.
#[inline(never)]
fn counted(times: u64, step: &mut dyn FnMut(u64)) {
    for number in 1..=times {
        step(number);
    }
}

fn perform_decode(times: u64) -> Result<(), Failure> {
    let mut session = logged_on()?;
    let mut bytes = [0; NewOrder::FRAME_BYTES];
    let order = NewOrder {
        cl_ord_id: U64::new(ClOrdId::new(1, 1).0),
        px: I64::new(BID.0),
        qty: I64::new(ONE),
        instrument_id: U32::new(1),
        account_id: U32::new(1),
        side: Side::Buy.raw(),
        ord_type: OrdType::Limit.raw(),
        tif: Tif::Gtc.raw(),
        ..NewOrder::default()
    };
    encode(&mut bytes, Envelope { seq: 1, ..Envelope::default() }, &order).map_err(|_| "no room for an order")?;
    let (mut reply, mut commands) = ([0; REPLY_BYTES_MAX], 0_u64);
    counted(times, &mut |number| {
        let Ok(Some(mut frame)) = next_client_frame(black_box(&bytes)) else { return };
        frame.header.seq = number;
        let step = session.handle_frame(NOW, &frame, &mut reply);
        let request = ingress::request_of(&frame);
        if matches!((&step.action, &request), (ServerAction::Command(_), Ok(Request::Command(_)))) {
            commands = commands.saturating_add(1);
        }
        black_box(&request);
    });
    all_were(commands, times)
}

fn perform_decide(times: u64) -> Result<(), Failure> {
    let (state, market) = (state()?, market());
    let (command, mut decision, mut accepted) = (order(), Decision::new(), 0_u64);
    counted(times, &mut |_| {
        decide(black_box(&state), UnixNanos(NOW.utc_ns), &market, &origin(), black_box(&command), &mut decision);
        accepted = accepted.saturating_add(u64::from(matches!(decision.events(), [Event::OrderAccepted(_)])));
    });
    all_were(accepted, times)
}

fn perform_append(times: u64) -> Result<(), Failure> {
    let dir = crate::scratch::in_memory()?;
    let config = Config {
        first_segment_bytes: SEGMENT_BYTES,
        max_segment_bytes: SEGMENT_BYTES,
        ..Config::new(dir.path().join("journal"))
    };
    let (mut journal, _, _, closer) = tradecore_journal::open(&config)?.into_parts();
    let event = Event::from(BrokerContradicted::default());
    let ((kind, version), stored) = (event.kind(), stored_bytes(HEADER_BYTES.saturating_add(EVENT_BYTES)));
    if event.payload_len() != EVENT_BYTES {
        return Err(format!("the event has {} bytes", event.payload_len()).into());
    }
    let (before, mut appended) = (journal.last_seq(), 0_u64);
    counted(times, &mut |_| {
        if journal.can_append(stored, 1, Space::Normal) {
            journal.begin(NOW.utc_ns);
            journal.append(kind, version, EVENT_BYTES, |out| {
                black_box(&event).archive_into(out);
            });
            appended = journal.commit().saturating_sub(before);
        }
    });
    closer.seal(journal);
    all_were(appended, times)
}

fn perform_apply(times: u64) -> Result<(), Failure> {
    let (mut state, first) = (state()?, acceptance()?);
    counted(times, &mut |number| {
        let mut accepted = *black_box(&first);
        accepted.order.order_id = number;
        accepted.order.cl_ord_id = ClOrdId::new(1, number).0;
        accepted.exec_id = number;
        accepted.meta.client_seq = number;
        accepted.meta.report_seq = number;
        accepted.meta.report_no = number;
        apply(&mut state, &Event::OrderAccepted(accepted));
    });
    all_were(state.open_orders_count() as u64, times)
}

fn perform_encode(times: u64) -> Result<(), Failure> {
    let event = Event::OrderAccepted(acceptance()?);
    let (mut out, mut written) = ([0; REPORT_BYTES_MAX], 0_u64);
    counted(times, &mut |number| {
        let envelope = Envelope { seq: number, send_ts_ns: NOW.utc_ns, ..Envelope::default() };
        let place = ReportPlace {
            envelope,
            journal_seq: number,
            transact_time_ns: NOW.utc_ns,
            durability: Durability::Journaled.raw(),
            er_flags: 0,
        };
        let Some(report) = report::of(black_box(&event), &place) else { return };
        written = written.saturating_add(u64::from(report.encode(&mut out, envelope).is_ok()));
        black_box(&out);
    });
    all_were(written, times)
}

/// What was to be counted has happened each time, and nothing else instead.
fn all_were(done: u64, times: u64) -> Result<(), Failure> {
    if done == times { Ok(()) } else { Err(format!("{done} of {times} were done").into()) }
}

/// A core that may trade.
fn state() -> Result<State, Failure> {
    Ok(Core::start(None)?.into_parts().0)
}

fn market() -> Market {
    let mut market = Market::new(1);
    let ask_px = Px(BID.0.saturating_add(ONE / 100));
    let quote = Quote { bid_px: BID, bid_qty: Qty(ONE), ask_px, ask_qty: Qty(ONE), time_ns: NOW.utc_ns, md_seq: 1 };
    market.set(InstrumentId(1), quote);
    market
}

fn order() -> Command {
    Command::PlaceOrder(PlaceOrder {
        cl_ord_id: ClOrdId::new(1, 1),
        px: BID,
        order_qty: Qty(ONE),
        instrument_id: InstrumentId(1),
        account_id: AccountId(1),
        side: Side::Buy.raw(),
        ord_type: OrdType::Limit.raw(),
        tif: Tif::Gtc.raw(),
        ..PlaceOrder::default()
    })
}

fn origin() -> Origin {
    Origin { session_id: SessionId(1), client_seq: 1, recv_time_ns: NOW.utc_ns }
}

fn acceptance() -> Result<OrderAccepted, Failure> {
    let mut decision = Decision::new();
    decide(&state()?, UnixNanos(NOW.utc_ns), &market(), &origin(), &order(), &mut decision);
    match decision.events() {
        [Event::OrderAccepted(accepted)] => Ok(*accepted),
        other => Err(format!("an order was not accepted: {other:?}").into()),
    }
}

/// The server's end of a session that is live, and awaits its first request.
fn logged_on() -> Result<ServerSession, Failure> {
    let server = ServerConfig {
        gateway_id: Text::new("bench"),
        instance_id: 1,
        environment: Environment::Virtual,
        core: 1,
        resend_count_max: 16,
        logon_timeout_ns: 5_000_000_000,
        heartbeat_min_ms: 100,
        heartbeat_max_ms: 60_000,
    };
    let client = ClientConfig {
        key_id: Text::new(KEY_ID),
        session_id: 1,
        core: 1,
        role: Role::Trade,
        environment: Environment::Virtual,
        heartbeat_ms: 60_000,
        cod_mode: Some(CodMode::None),
        cod_window_ms: 0,
        takeover: TakeoverPolicy::TakeOver,
        replay_mode: ReplayMode::Replay,
        logon_timeout_ns: 5_000_000_000,
        app_name: Text::new("bench"),
        app_version: Text::new("1"),
    };
    let key = MacKey::new(SECRET).ok_or("the key is too short")?;
    let position = ClientPosition { session_epoch: 1, next_expected_seq: 1, next_client_seq: 1 };
    let mut server = ServerSession::new(&server, [2; 32], NOW);
    let mut client = ClientSession::new(&client, &key, position, [1; 32], NOW);
    let (mut to_server, mut to_client) = ([0; REPLY_BYTES_MAX], [0; REPLY_BYTES_MAX]);
    let hello = client.start(NOW, &mut to_server)?;
    let challenge = server.handle_frame(NOW, &whole(&to_server, hello)?, &mut to_client).written;
    let logon = client.handle_frame(NOW, &whole(&to_client, challenge)?, &mut to_server).written;
    server.handle_frame(NOW, &whole(&to_server, logon)?, &mut to_client);
    let answer = LogonAnswer::Known { key: &key, session: &session_facts(), gateway: &gateway_facts() };
    server.answer_logon(NOW, answer, &mut to_client);
    server.replay_complete(NOW, 0, 0, &mut to_client).map_err(|_| "no room for the end of the replay")?;
    if server.is_live() { Ok(server) } else { Err("the session did not log on".into()) }
}

/// The one frame that was written.
fn whole(bytes: &[u8], written: usize) -> Result<Frame<'_>, Failure> {
    let frame = next_frame(bytes.get(..written).unwrap_or_default());
    Ok(frame.map_err(|fault| format!("{:?}", fault.reason))?.ok_or("no frame was written")?)
}

const fn session_facts() -> SessionFacts {
    SessionFacts {
        session_epoch: 1,
        last_client_seq: 0,
        next_report_seq: 1,
        oldest_report_seq: 1,
        client_epoch: 1,
        roles: roles::TRADE,
        cod_mode: CodMode::None,
        is_connected: false,
        served_at: Text::EMPTY,
    }
}

const fn gateway_facts() -> GatewayFacts {
    GatewayFacts {
        trading_state: TradingState::Open,
        kill_state: KillState::Released,
        durability: Durability::Journaled,
        broker_status: BrokerStatus::Ready,
        throttle_rate: 0,
        throttle_burst: 0,
        core_epoch: 1,
        ids_max: 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_operation_does_what_it_is_named_for_each_time() {
        for operation in Operation::value_variants() {
            operation.perform(200).unwrap_or_else(|error| panic!("{operation:?}: {error}"));
        }
    }

    #[test]
    fn what_was_not_done_each_time_is_not_counted() {
        assert!(all_were(3, 3).is_ok());
        assert_eq!(all_were(2, 3).unwrap_err().to_string(), "2 of 3 were done");
    }
}
