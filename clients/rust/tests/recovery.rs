//! Whatever breaks between client and gateway: every report once and in order, every request one effect.
//! Each case runs for both clients.
#![cfg(feature = "async")]
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use support::{Cut, Gateway, State};
use tradecore_client::protocol::codes::frame_flags;
use tradecore_client::protocol::fields::{ClOrdId, ExecType, Px, Qty, Side};
use tradecore_client::protocol::reason::Reason;
use tradecore_client::{AsyncClient, Client, ClientError, Event, NewOrder, Options};

const DEADLINE: Duration = Duration::from_secs(30);
const ORDERS: usize = 6;

fn order() -> NewOrder {
    NewOrder::limit(1, 1, Side::Buy, Qty(1), Px(1))
}

/// What both clients can do, in a test's words.
trait Trader: Sized {
    fn log_on(options: Options) -> Result<Self, ClientError>;
    fn not_connected(options: Options) -> Self;
    fn place(&mut self, order: &NewOrder) -> Result<ClOrdId, ClientError>;
    fn try_next(&mut self) -> Result<Event, ClientError>;
    fn in_doubt(&self) -> usize;
    fn is_ready(&self) -> bool;
    fn subscribe(&mut self, instrument_id: u32) -> Result<(), ClientError>;
    fn cancel(&mut self, cl_ord_id: ClOrdId) -> Result<ClOrdId, ClientError>;
    fn mass_cancel(&mut self) -> Result<ClOrdId, ClientError>;
    fn repeat(&mut self, cl_ord_id: ClOrdId, order: &NewOrder) -> Result<(), ClientError>;

    fn next(&mut self) -> Event {
        self.try_next().expect("no fault that cannot be mended")
    }

    /// Events up to and with the first that is wanted.
    fn until(&mut self, is_wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = vec![];
        loop {
            let event = self.next();
            let is_last = is_wanted(&event);
            events.push(event);
            if is_last {
                return events;
            }
        }
    }
}

impl Trader for Client {
    fn log_on(options: Options) -> Result<Self, ClientError> {
        Self::connect(options)
    }
    fn not_connected(options: Options) -> Self {
        Self::new(options).expect("a key and a state")
    }
    fn place(&mut self, order: &NewOrder) -> Result<ClOrdId, ClientError> {
        self.new_order(order)
    }
    fn try_next(&mut self) -> Result<Event, ClientError> {
        self.poll(DEADLINE).map(|event| event.expect("an event in time"))
    }
    fn in_doubt(&self) -> usize {
        Self::in_doubt(self)
    }
    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }
    fn subscribe(&mut self, instrument_id: u32) -> Result<(), ClientError> {
        Self::subscribe(self, instrument_id)
    }
    fn cancel(&mut self, cl_ord_id: ClOrdId) -> Result<ClOrdId, ClientError> {
        Self::cancel(self, cl_ord_id)
    }
    fn mass_cancel(&mut self) -> Result<ClOrdId, ClientError> {
        Self::mass_cancel(self, false)
    }
    fn repeat(&mut self, cl_ord_id: ClOrdId, order: &NewOrder) -> Result<(), ClientError> {
        self.repeat_order(cl_ord_id, order)
    }
}

struct Async {
    runtime: tokio::runtime::Runtime,
    client: AsyncClient,
}

impl Trader for Async {
    fn log_on(options: Options) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime.block_on(AsyncClient::connect(options))?;
        Ok(Self { runtime, client })
    }
    fn not_connected(options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, client: AsyncClient::new(options).expect("a key and a state") }
    }
    fn place(&mut self, order: &NewOrder) -> Result<ClOrdId, ClientError> {
        self.runtime.block_on(self.client.new_order(order))
    }
    fn try_next(&mut self) -> Result<Event, ClientError> {
        let next = async { tokio::time::timeout(DEADLINE, self.client.next_event()).await };
        self.runtime.block_on(next).expect("an event in time")
    }
    fn in_doubt(&self) -> usize {
        self.client.in_doubt()
    }
    fn is_ready(&self) -> bool {
        self.client.is_ready()
    }
    fn subscribe(&mut self, instrument_id: u32) -> Result<(), ClientError> {
        self.runtime.block_on(self.client.subscribe(instrument_id))
    }
    fn cancel(&mut self, cl_ord_id: ClOrdId) -> Result<ClOrdId, ClientError> {
        self.runtime.block_on(self.client.cancel(cl_ord_id))
    }
    fn mass_cancel(&mut self) -> Result<ClOrdId, ClientError> {
        self.runtime.block_on(self.client.mass_cancel(false))
    }
    fn repeat(&mut self, cl_ord_id: ClOrdId, order: &NewOrder) -> Result<(), ClientError> {
        self.runtime.block_on(self.client.repeat_order(cl_ord_id, order))
    }
}

/// Makes a test of each case for each client.
macro_rules! for_both_clients {
    ($($case:ident,)*) => {
        mod blocking {
            $(#[test] fn $case() { super::$case::<tradecore_client::Client>(); })*
        }
        mod on_tokio {
            $(#[test] fn $case() { super::$case::<super::Async>(); })*
        }
    };
}

for_both_clients! {
    a_logon_is_ready_for_orders_and_reports_come,
    a_gateway_that_cannot_prove_itself_is_refused_and_told_nothing,
    a_connection_cut_at_any_frame_loses_and_doubles_nothing,
    an_order_in_doubt_is_abandoned_once_it_is_stale,
    an_epoch_change_asks_for_resynchronization_and_sends_nothing_old,
    reports_that_the_gateway_has_no_more_are_told_as_a_gap,
    a_client_without_memory_gives_no_id_that_an_order_of_the_session_has_had,
    ids_go_on_in_a_new_client_epoch_before_the_gateway_has_no_room_for_more,
    only_orders_that_the_gateway_has_to_know_use_a_client_epoch_up,
    a_new_session_epoch_begins_the_client_epochs_anew_for_good,
    quotes_are_asked_for_again_on_every_connection,
    every_request_has_one_outcome_wherever_the_line_breaks_when_some_are_refused,
    a_request_whose_number_another_client_has_used_is_told_as_not_applied,
    a_request_whose_answer_may_have_been_skipped_is_told_as_unknown_and_not_sent_again,
    an_order_that_was_repeated_before_its_answer_stays_ahead_of_what_came_behind_it,
    requests_that_were_refused_by_the_million_lock_no_client_out,
    a_client_that_has_more_reports_than_its_gateway_is_refused_and_keeps_what_is_in_doubt,
    a_logon_that_came_too_slowly_is_tried_again,
    an_unsigned_refusal_ends_no_client_that_has_been_logged_on,
    a_first_logon_to_a_session_with_a_past_asks_for_resynchronization,
}

fn a_logon_is_ready_for_orders_and_reports_come<T: Trader>() {
    let gateway = Gateway::start(State::default());
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    let id = trader.place(&order()).expect("sent");
    for seq in 1..=2 {
        let Event::Exec(report) = trader.next() else { panic!("a report") };
        assert_eq!((report.cl_ord_id.get(), report.journal_seq.get()), (id.0, seq));
    }
    assert_eq!(trader.in_doubt(), 0, "reports acknowledge");
    assert_eq!(gateway.state().applied, [(id.0, 0)]);
}

fn a_gateway_that_cannot_prove_itself_is_refused_and_told_nothing<T: Trader>() {
    let gateway = Gateway::start(State { is_impostor: true, ..State::default() });
    match T::log_on(gateway.options()).map(drop) {
        Err(ClientError::Refused { reason, text }) => {
            assert_eq!(reason, Reason::AuthFailed);
            assert!(text.contains("prove"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(gateway.state().frames_in, 2, "hello and logon, nothing after the false proof");
}

/// Trades six orders, three at a time: the ids, and the numbers of the reports as they came.
fn trade<T: Trader>(trader: &mut T, at: &str) -> (Vec<u64>, Vec<u64>) {
    let (mut ids, mut seen) = (vec![], vec![]);
    while seen.len() < 2 * ORDERS {
        while ids.len() < ORDERS && seen.len() >= 2 * (ids.len() / 3 * 3) {
            match trader.place(&order()) {
                Ok(id) => ids.push(id.0),
                Err(ClientError::NotReady) => break,
                Err(error) => panic!("{at}: {error}"),
            }
        }
        match trader.next() {
            Event::Exec(report) => seen.push(report.journal_seq.get()),
            Event::Ready { .. } | Event::Disconnected { .. } => {}
            other => panic!("{at}: {other:?}"),
        }
    }
    (ids, seen)
}

fn a_connection_cut_at_any_frame_loses_and_doubles_nothing<T: Trader>() {
    let mut resent = 0;
    let mut replayed = 0;
    for cut in [Cut::BeforeTheFrame, Cut::AfterTheFrame] {
        for frames in 1.. {
            let at = format!("{cut:?} {frames}");
            // The second connection breaks as early, in its replay or in what it sends again; the third is whole.
            let cuts = vec![(usize::MAX, cut), (frames, cut), (frames, cut)];
            let gateway = Gateway::start(State { cuts, ..State::default() });
            let mut trader = T::not_connected(gateway.options());
            let (ids, seen) = trade(&mut trader, &at);
            assert_eq!(seen, (1..=2 * ORDERS as u64).collect::<Vec<_>>(), "{at}: every report once, in order");
            let state = gateway.state().clone();
            let applied: Vec<u64> = state.applied.iter().map(|(id, _)| *id).collect();
            assert_eq!(applied, ids, "{at}: every request one effect, in order");
            resent += state.applied.iter().filter(|(_, flags)| flags & frame_flags::POSS_RESEND != 0).count();
            // The first connection learns the epoch, the second was not cut any more.
            if state.connections == 2 {
                assert!(frames > 20, "{at}: not one cut in a whole conversation");
                break;
            }
            replayed += usize::from(state.connections > 2);
        }
    }
    assert!(resent > 12 && replayed > 40, "{resent} requests sent again, {replayed} conversations recovered");
}

/// What came back, by ClOrdID.
#[derive(Default)]
struct Outcomes(BTreeMap<u64, Vec<&'static str>>);

impl Outcomes {
    fn note(&mut self, event: &Event, at: &str) {
        let (id, outcome) = match event {
            Event::Exec(report) if report.req_cl_ord_id.get() != 0 => (report.req_cl_ord_id.get(), "applied"),
            Event::Exec(report) if report.exec_type == ExecType::New.raw() => (report.cl_ord_id.get(), "applied"),
            Event::MassCancel(report) => (report.cl_ord_id.get(), "applied"),
            Event::Reject(reject) => (reject.cl_ord_id.get(), "refused"),
            Event::NotApplied { cl_ord_id } => (cl_ord_id.0, "not applied"),
            Event::Exec(_) | Event::Ready { .. } | Event::Disconnected { .. } => return,
            other => panic!("{at}: {other:?}"),
        };
        self.0.entry(id).or_default().push(outcome);
    }

    fn ids_of(&self, outcome: &str) -> Vec<u64> {
        self.0.iter().filter(|(_, outcomes)| outcomes.contains(&outcome)).map(|(id, _)| *id).collect()
    }
}

fn every_request_has_one_outcome_wherever_the_line_breaks_when_some_are_refused<T: Trader>() {
    let mut lost_refusals = 0;
    let cases = [(2, 0, Cut::BeforeTheFrame), (3, 0, Cut::AfterTheFrame), (2, 3, Cut::BeforeTheFrame)];
    for (refuse_every, mute_through, cut) in cases {
        for frames in 1.. {
            let at = format!("every {refuse_every}. refused, {mute_through} without answer, {cut:?} {frames}");
            let whole = if mute_through == 0 { 1 } else { 2 };
            let cuts: Vec<_> = [vec![(usize::MAX, cut); whole], vec![(frames, cut); 2]].concat();
            let gateway = Gateway::start(State { cuts, refuse_every, mute_through, ..State::default() });
            let mut trader = T::not_connected(gateway.options());
            let (mut ids, mut outcomes) = (vec![], Outcomes::default());
            while ids.len() < 9 || outcomes.0.len() < ids.len() {
                // Three at a time: an order, its cancel, then a further order or a mass cancel.
                while ids.len() < 9 && outcomes.0.len() >= ids.len() / 3 * 3 {
                    let sent = match ids.len() % 6 {
                        1 | 4 => trader.cancel(ClOrdId(ids[ids.len() - 1])),
                        5 => trader.mass_cancel(),
                        _ => trader.place(&order()),
                    };
                    match sent {
                        Ok(id) => ids.push(id.0),
                        Err(ClientError::NotReady) => break,
                        Err(error) => panic!("{at}: {error}"),
                    }
                }
                outcomes.note(&trader.next(), &at);
            }
            // What came behind the last outcome has come when a further request has its own.
            while !trader.is_ready() {
                outcomes.note(&trader.next(), &at);
            }
            ids.push(trader.place(&order()).expect("sent").0);
            while outcomes.0.len() < ids.len() {
                outcomes.note(&trader.next(), &at);
            }
            assert_eq!(outcomes.0.keys().copied().collect::<Vec<_>>(), ids, "{at}");
            for (id, outcomes) in &outcomes.0 {
                assert_eq!(outcomes.len(), 1, "{at}: {id} {outcomes:?}");
            }
            assert_eq!(trader.in_doubt(), 0, "{at}");
            let state = gateway.state().clone();
            let applied: Vec<u64> = state.applied.iter().map(|(id, _)| *id).collect();
            assert_eq!(applied, outcomes.ids_of("applied"), "{at}: what had an effect is told so, in order");
            lost_refusals += outcomes.ids_of("not applied").len();
            if state.connections == whole + 1 {
                assert!(frames > 15, "{at}: not one cut in a whole conversation");
                break;
            }
        }
    }
    assert!(lost_refusals > 15, "{lost_refusals} refusals were lost with a line");
}

fn a_request_whose_number_another_client_has_used_is_told_as_not_applied<T: Trader>() {
    let cuts = vec![(usize::MAX, Cut::AfterTheFrame), (6, Cut::BeforeTheFrame)];
    let gateway = Gateway::start(State { cuts, ..State::default() });
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    let id = trader.place(&order()).expect("sent");
    gateway.state().last_client_seq = 1;
    let events = trader.until(|event| matches!(event, Event::Ready { .. }));
    let told = |event: &&Event| matches!(event, Event::NotApplied { cl_ord_id } if *cl_ord_id == id);
    assert_eq!(events.iter().filter(told).count(), 1, "{events:?}");
    assert_eq!((trader.in_doubt(), gateway.state().applied.len()), (0, 0));
}

fn a_request_whose_answer_may_have_been_skipped_is_told_as_unknown_and_not_sent_again<T: Trader>() {
    // The order has its effect, and its reports are lost, then too old for a replay.
    let cuts = vec![(usize::MAX, Cut::AfterTheFrame), (6, Cut::AfterTheFrame)];
    let gateway = Gateway::start(State { cuts, ..State::default() });
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    let id = trader.place(&order()).expect("sent");
    while gateway.state().applied.is_empty() {
        std::thread::yield_now();
    }
    gateway.state().oldest_report_seq = 3;
    let events = trader.until(|event| matches!(event, Event::Ready { .. }));
    let [.., Event::OutcomeUnknown { cl_ord_id }, Event::Resynchronize, Event::Ready { .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!((*cl_ord_id, trader.in_doubt()), (id, 0));
    assert_eq!(gateway.state().applied, [(id.0, 0)]);
}

fn an_order_that_was_repeated_before_its_answer_stays_ahead_of_what_came_behind_it<T: Trader>() {
    let cuts = vec![(usize::MAX, Cut::AfterTheFrame), (6, Cut::Silence)];
    let gateway = Gateway::start(State { cuts, ..State::default() });
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    let id = trader.place(&order()).expect("sent");
    let all = trader.mass_cancel().expect("sent");
    trader.repeat(id, &order()).expect("sent");
    gateway.disconnect();
    trader.until(|event| matches!(event, Event::MassCancel(_)));
    let applied: Vec<u64> = gateway.state().applied.iter().map(|(id, _)| *id).collect();
    assert_eq!((applied, trader.in_doubt()), (vec![id.0, all.0], 0), "the mass cancel comes last, as it was sent");
    let next = trader.place(&order()).expect("sent");
    trader.until(|event| matches!(event, Event::Exec(report) if report.cl_ord_id.get() == next.0));
    assert_eq!(gateway.state().last_client_seq, 3, "the repetition was not sent again");
}

fn requests_that_were_refused_by_the_million_lock_no_client_out<T: Trader>() {
    let cuts = vec![(usize::MAX, Cut::AfterTheFrame), (6, Cut::Silence)];
    let gateway = Gateway::start(State { last_client_seq: 2_000_000, cuts, ..State::default() });
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = gateway.options();
    options.state_path = Some(dir.path().join("state"));
    let mut trader = T::log_on(options.clone()).expect("logs on");
    let mut sent = [(); 2].map(|()| trader.place(&order()).expect("sent").0).to_vec();
    // Nothing but the third request was a decision.
    gateway.state().last_client_seq = 3;
    gateway.disconnect();
    trader.until(|event| matches!(event, Event::Exec(report) if report.cl_ord_id.get() == sent[1]));
    drop(trader);
    let mut trader = T::log_on(options).expect("logs on");
    sent.push(trader.place(&order()).expect("sent").0);
    trader.until(|event| matches!(event, Event::Exec(report) if report.cl_ord_id.get() == sent[2]));
    let applied: Vec<u64> = gateway.state().applied.iter().map(|(id, _)| *id).collect();
    assert_eq!((applied, gateway.state().last_client_seq), (sent, 6), "each once, in order, behind the third");
}

fn a_client_that_has_more_reports_than_its_gateway_is_refused_and_keeps_what_is_in_doubt<T: Trader>() {
    let cuts = vec![(usize::MAX, Cut::AfterTheFrame), (9, Cut::Silence)];
    let gateway = Gateway::start(State { cuts, ..State::default() });
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = gateway.options();
    options.state_path = Some(dir.path().join("state"));
    let mut trader = T::log_on(options.clone()).expect("logs on");
    trader.place(&order()).expect("sent");
    trader.until(|event| matches!(event, Event::Exec(report) if report.journal_seq.get() == 2));
    let in_doubt = trader.place(&order()).expect("sent");
    let right = std::mem::take(&mut *gateway.state());
    gateway.disconnect();
    let refused = loop {
        match trader.try_next() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let ClientError::Refused { reason: Reason::SeqAhead, text } = refused else { panic!("{refused}") };
    assert!(text.contains("lost its journal"), "{text}");
    drop(trader);
    *gateway.state() = right;
    let mut trader = T::log_on(options).expect("logs on");
    trader.until(|event| matches!(event, Event::Exec(report) if report.cl_ord_id.get() == in_doubt.0));
    assert_eq!(gateway.state().applied.len(), 2, "each order once");
}

fn a_logon_that_came_too_slowly_is_tried_again<T: Trader>() {
    let logon_refusals = vec![Reason::LogonTimeout, Reason::LoginRate, Reason::ConnectionsMax, Reason::Shutdown];
    let gateway = Gateway::start(State { logon_refusals, ..State::default() });
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    trader.place(&order()).expect("sent");
    assert_eq!(gateway.state().connections, 6, "four refused, one for the epoch, one that stays");
}

fn an_unsigned_refusal_ends_no_client_that_has_been_logged_on<T: Trader>() {
    let gateway = Gateway::start(State::default());
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    gateway.state().logon_refusals = vec![Reason::AuthFailed, Reason::SeqAhead, Reason::FieldValue];
    gateway.disconnect();
    trader.until(|event| matches!(event, Event::Ready { .. }));
    drop(trader);
    gateway.state().logon_refusals = vec![Reason::AuthFailed];
    match T::log_on(gateway.options()).map(drop) {
        Err(ClientError::Refused { reason: Reason::AuthFailed, .. }) => {}
        other => panic!("{other:?}: who was never logged on has the wrong key"),
    }
}

fn a_first_logon_to_a_session_with_a_past_asks_for_resynchronization<T: Trader>() {
    let gateway = Gateway::start(State::default());
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = gateway.options();
    options.state_path = Some(dir.path().join("state"));
    let asked = |options: &Options| {
        let mut trader = T::not_connected(options.clone());
        let events = trader.until(|event| matches!(event, Event::Ready { .. }));
        // The connection is up, so that to come back says that it has been dealt with.
        trader.place(&order()).expect("sent");
        trader.until(|event| matches!(event, Event::Exec(_)));
        events.iter().filter(|event| matches!(event, Event::Resynchronize)).count()
    };
    assert_eq!(asked(&options), 0, "a session without a past");
    assert_eq!(asked(&options), 0, "a state that knows the past");
    std::fs::remove_file(dir.path().join("state")).expect("there");
    assert_eq!(asked(&options), 1, "a state that was lost");
    assert_eq!(asked(&options), 0, "it was told, and dealt with");
}

fn an_order_in_doubt_is_abandoned_once_it_is_stale<T: Trader>() {
    // On the second connection: hello, challenge, logon, ack, end of replay, then the order, which is lost.
    let cuts = vec![(usize::MAX, Cut::AfterTheFrame), (6, Cut::BeforeTheFrame)];
    let gateway = Gateway::start(State { cuts, ..State::default() });
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    let stale = trader.place(&NewOrder { valid_until_ns: 1, ..order() }).expect("sent");
    let events = trader.until(|event| matches!(event, Event::Ready { .. }));
    let abandoned = |event: &Event| matches!(event, Event::Abandoned { cl_ord_id } if *cl_ord_id == stale);
    assert_eq!(events.iter().filter(|event| abandoned(event)).count(), 1, "{events:?}");
    assert_eq!(trader.in_doubt(), 0);
    let id = trader.place(&order()).expect("sent");
    trader.until(|event| matches!(event, Event::Exec(report) if report.cl_ord_id.get() == id.0));
    assert_eq!(gateway.state().applied, [(id.0, 0)], "the stale order has no effect, the next takes its number");
}

fn quotes_are_asked_for_again_on_every_connection<T: Trader>() {
    let gateway = Gateway::start(State::default());
    let mut trader = T::not_connected(gateway.options());
    assert!(matches!(trader.subscribe(7), Err(ClientError::NotReady)), "it is asked for later");
    trader.until(|event| matches!(event, Event::Ready { .. }));
    trader.subscribe(8).expect("sent");
    gateway.disconnect();
    trader.until(|event| matches!(event, Event::Ready { .. }));
    // What is answered came behind what was asked before.
    trader.place(&order()).expect("sent");
    trader.until(|event| matches!(event, Event::Exec(_)));
    assert_eq!(gateway.state().subscribed, [7, 8, 7, 8]);
}

/// Client epochs of the ids that three orders get, one after the other.
fn epochs_of_three<T: Trader>(trader: &mut T) -> Vec<u16> {
    (0..3)
        .map(|_| {
            let id = trader.place(&order()).expect("taken");
            trader.until(|event| matches!(event, Event::Exec(exec) if exec.cl_ord_id.get() == id.0));
            id.epoch()
        })
        .collect()
}

/// However fast the ids of its earlier life have outrun the clock, and wherever that stands.
fn a_client_without_memory_gives_no_id_that_an_order_of_the_session_has_had<T: Trader>() {
    const FULL: u64 = (1 << ClOrdId::COUNTER_BITS) - 1;
    const AHEAD: u64 = FULL / 8 * 7;
    let gateway = Gateway::start(State { last_id_counter: AHEAD, ..State::default() });
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    assert_eq!(trader.place(&order()).expect("sent"), ClOrdId::new(1, AHEAD + 1));
    for (told, expected) in [(7, ClOrdId::new(1, AHEAD + 2)), (FULL, ClOrdId::new(2, 0)), (0, ClOrdId::new(2, 1))] {
        gateway.state().last_id_counter = told;
        gateway.disconnect();
        trader.until(|event| matches!(event, Event::Ready { .. }));
        assert_eq!(trader.place(&order()).expect("sent"), expected, "it never goes back");
    }
}

fn ids_go_on_in_a_new_client_epoch_before_the_gateway_has_no_room_for_more<T: Trader>() {
    let dir = tempfile::tempdir().expect("a directory");
    let gateway = Gateway::start(State { ids_max: 2, ..State::default() });
    let mut options = gateway.options();
    options.state_path = Some(dir.path().join("state"));
    let mut trader = T::log_on(options.clone()).expect("logs on");
    assert_eq!(epochs_of_three(&mut trader), [1, 1, 2]);
    drop(trader);
    let mut trader = T::log_on(options.clone()).expect("logs on");
    assert_eq!(epochs_of_three(&mut trader), [2, 3, 3], "a restart goes on counting");
    gateway.state().client_epoch = 9;
    gateway.disconnect();
    trader.until(|event| matches!(event, Event::Ready { .. }));
    assert_eq!(epochs_of_three(&mut trader), [9, 9, 10], "another client of the session has opened an epoch");
    let ids: BTreeSet<u64> = gateway.state().applied.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), 9, "no id came twice");
}

fn only_orders_that_the_gateway_has_to_know_use_a_client_epoch_up<T: Trader>() {
    let gateway = Gateway::start(State { ids_max: 2, ..State::default() });
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    let order_id = trader.place(&order()).expect("sent");
    trader.until(|event| matches!(event, Event::Exec(exec) if exec.cl_ord_id.get() == order_id.0));
    for _ in 0..3 {
        let id = trader.cancel(order_id).expect("sent");
        trader.until(|event| matches!(event, Event::Exec(exec) if exec.req_cl_ord_id.get() == id.0));
        trader.repeat(order_id, &order()).expect("sent");
    }
    let refused = |trader: &mut T, refusal| {
        gateway.state().refuse_every = 1;
        gateway.state().refusal = refusal;
        let id = trader.place(&order()).expect("sent");
        trader.until(|event| matches!(event, Event::Reject(reject) if reject.cl_ord_id.get() == id.0));
        gateway.state().refuse_every = 0;
        id.epoch()
    };
    assert_eq!([(); 3].map(|()| refused(&mut trader, Reason::BrokerNotReady)), [1; 3]);
    assert_eq!(epochs_of_three(&mut trader), [1, 2, 2], "after the second order that is known");
    assert_eq!(refused(&mut trader, Reason::IdsMax), 3);
    assert_eq!(epochs_of_three(&mut trader), [4, 4, 5], "another client has used the epoch up");
}

fn a_new_session_epoch_begins_the_client_epochs_anew_for_good<T: Trader>() {
    let dir = tempfile::tempdir().expect("a directory");
    let cuts = vec![(usize::MAX, Cut::AfterTheFrame), (9, Cut::Silence)];
    let gateway = Gateway::start(State { client_epoch: u16::MAX, cuts, ..State::default() });
    let mut options = gateway.options();
    options.state_path = Some(dir.path().join("state"));
    let mut trader = T::log_on(options.clone()).expect("logs on");
    let old = trader.place(&order()).expect("sent");
    trader.until(|event| matches!(event, Event::Exec(_)));
    let in_doubt = trader.place(&order()).expect("sent");
    assert_eq!([old, in_doubt].map(ClOrdId::epoch), [u16::MAX; 2]);
    *gateway.state() = State { epoch: 2, client_epoch: 0, ..State::default() };
    gateway.disconnect();
    let events = trader.until(|event| matches!(event, Event::OutcomeUnknown { .. }));
    assert!(matches!(events.last(), Some(Event::OutcomeUnknown { cl_ord_id }) if *cl_ord_id == in_doubt), "{events:?}");
    // The state still has the request of the old epoch: nobody came back for more.
    drop(trader);
    let mut trader = T::log_on(options).expect("logs on");
    assert_eq!(epochs_of_three(&mut trader), [1; 3]);
    let counter = |id: u64| ClOrdId::new(0, id).0;
    let first = gateway.state().applied[0].0;
    assert!(counter(first) > counter(in_doubt.0), "{first:x} {in_doubt:x?}");
}

fn an_epoch_change_asks_for_resynchronization_and_sends_nothing_old<T: Trader>() {
    let gateway = Gateway::start(State::default());
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    trader.place(&order()).expect("sent");
    trader.until(|event| matches!(event, Event::Exec(report) if report.journal_seq.get() == 2));
    {
        // The next order arrives at a gateway that loses it together with its memory.
        let mut state = gateway.state();
        *state = State { epoch: 7, ..State::default() };
    }
    gateway.disconnect();
    let lost = trader.place(&order());
    let events = trader.until(|event| matches!(event, Event::Ready { .. }));
    let asked = events.iter().filter(|event| matches!(event, Event::Resynchronize)).count();
    assert_eq!(asked, 1, "{events:?}");
    assert_eq!(trader.in_doubt(), 0, "{lost:?} belongs to another epoch");
    let id = trader.place(&order()).expect("sent");
    trader.until(|event| matches!(event, Event::Exec(report) if report.cl_ord_id.get() == id.0));
    let state = gateway.state().clone();
    assert_eq!((state.applied, state.last_client_seq), (vec![(id.0, 0)], 1), "numbers begin again");
}

fn reports_that_the_gateway_has_no_more_are_told_as_a_gap<T: Trader>() {
    let gateway = Gateway::start(State::default());
    let mut trader = T::log_on(gateway.options()).expect("logs on");
    trader.place(&order()).expect("sent");
    trader.until(|event| matches!(event, Event::Exec(report) if report.journal_seq.get() == 2));
    {
        let mut state = gateway.state();
        let report = state.reports[0];
        state.reports.extend([report; 3]);
        state.oldest_report_seq = 5;
    }
    gateway.disconnect();
    let events = trader.until(|event| matches!(event, Event::Ready { .. }));
    assert!(events.iter().any(|event| matches!(event, Event::Resynchronize)), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Exec(_))), "{events:?}");
    trader.place(&order()).expect("sent");
    let Event::Exec(report) = trader.next() else { panic!("a report") };
    assert_eq!(report.journal_seq.get(), 6);
}

#[test]
fn an_event_that_is_awaited_in_slices_of_time_is_not_lost() {
    let gateway = Gateway::start(State {
        cuts: vec![(usize::MAX, Cut::AfterTheFrame), (9, Cut::AfterTheFrame)],
        ..State::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = AsyncClient::new(gateway.options()).expect("a key");
        let (mut ids, mut seen, mut dropped) = (vec![], vec![], 0_u64);
        while seen.len() < 2 * ORDERS {
            if client.is_ready() && ids.len() < ORDERS {
                // A verb, too, may be dropped: it has not begun, or its order is kept.
                ids.extend(
                    tokio::time::timeout(Duration::ZERO, client.new_order(&order())).await.map(|id| id.map(|id| id.0)),
                );
            }
            // Dropped at every await, logon and reconnect included.
            match tokio::time::timeout(Duration::ZERO, client.next_event()).await {
                Ok(Ok(Event::Exec(report))) => seen.push(report.journal_seq.get()),
                Ok(event) => drop(event.expect("mended")),
                Err(_) => {
                    dropped += 1;
                    // Others get their turn, the socket's readiness among them.
                    tokio::task::yield_now().await;
                }
            }
        }
        assert_eq!(seen, (1..=2 * ORDERS as u64).collect::<Vec<_>>());
        let applied: Vec<u64> = gateway.state().applied.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.into_iter().collect::<Result<Vec<_>, _>>().expect("sent"), applied);
        assert!(dropped > 10, "{dropped} futures were dropped");
    });
}
