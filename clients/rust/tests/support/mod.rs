//! A gateway for tests: the protocol's server end in a thread, one connection at a time, that breaks when told to.
//!
//! It keeps what a gateway's journal keeps, over all its connections: which requests had an effect, which reports
//! followed. Every order gets two reports, every cancel and mass cancel one. What it refuses it forgets, as a gateway
//! does: the number is used up on that connection, and no report follows.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use tradecore_client::protocol::codes::{KillState, frame_flags};
use tradecore_client::protocol::fields::{
    BrokerStatus, CodMode, Durability, Environment, ExecType, OrdStatus, TradingState,
};
use tradecore_client::protocol::frame::{Envelope, Frame, encode, next_frame};
use tradecore_client::protocol::layout::Text;
use tradecore_client::protocol::messages::{
    CancelOrder, ExecReport, LogonAck, MarketDataSubscribe, MassCancel, MassCancelReport, RequestReject, roles,
};
use tradecore_client::protocol::reason::Reason;
use tradecore_client::protocol::session::{
    GatewayFacts, LogonAnswer, Now, REPLY_BYTES_MAX, ServerAction, ServerConfig, ServerSession, SessionFacts,
};
use tradecore_client::protocol::transcript::MacKey;
use tradecore_client::protocol::wire::{U16, U64};
use tradecore_client::{Address, Options};

pub(crate) const SECRET: &[u8] = b"sixteen bytes or more";

pub(crate) const CONFIG: ServerConfig = ServerConfig {
    gateway_id: Text::EMPTY,
    instance_id: 1,
    environment: Environment::Virtual,
    core: 1,
    resend_count_max: 100,
    logon_timeout_ns: 60_000_000_000,
    heartbeat_min_ms: 10,
    heartbeat_max_ms: 600_000,
};

pub(crate) const GATEWAY: GatewayFacts = GatewayFacts {
    trading_state: TradingState::Open,
    kill_state: KillState::Released,
    durability: Durability::Journaled,
    broker_status: BrokerStatus::Ready,
    throttle_rate: 1_000,
    throttle_burst: 1_000,
    core_epoch: 1,
    ids_max: 1_000,
};

/// What outlives a connection, and the script.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) epoch: u64,
    pub(crate) last_client_seq: u64,
    pub(crate) reports: Vec<Report>,
    /// ClOrdID and flags of every request that had an effect.
    pub(crate) applied: Vec<(u64, u8)>,
    /// The oldest report that can be replayed.
    pub(crate) oldest_report_seq: u64,
    pub(crate) client_epoch: u16,
    pub(crate) last_id_counter: u64,
    pub(crate) ids_max: u32,
    /// Instruments whose quotes were asked for, over all connections.
    pub(crate) subscribed: Vec<u32>,
    /// Every so many requests one is refused without a number; 0 for none.
    pub(crate) refuse_every: usize,
    /// The reason of these refusals.
    pub(crate) refusal: Reason,
    /// The answers to so many first requests are lost with the line, which breaks behind the last of these.
    pub(crate) mute_through: usize,
    /// Requests that came, over all connections.
    pub(crate) requests: usize,
    /// Reasons with which the next logons are refused, without a signature.
    pub(crate) logon_refusals: Vec<Reason>,
    /// Accepts every logon without a proof of its own.
    pub(crate) is_impostor: bool,
    /// Frames, in and out, after which each of the next connections breaks: the last one in is lost, or its effect
    /// stays and its reports are lost; or nothing comes through any more.
    pub(crate) cuts: Vec<(usize, Cut)>,
    pub(crate) connections: usize,
    /// Frames that came on the newest connection.
    pub(crate) frames_in: usize,
}

/// A numbered report.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Report {
    Exec(ExecReport),
    MassCancel(MassCancelReport),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The frame that reaches the count is lost.
    BeforeTheFrame,
    /// The frame that reaches the count is the last.
    AfterTheFrame,
    /// From the frame that reaches the count on all are lost, and the line stays until it is broken.
    Silence,
}

impl Default for State {
    fn default() -> Self {
        Self {
            epoch: 1,
            last_client_seq: 0,
            reports: vec![],
            applied: vec![],
            oldest_report_seq: 1,
            client_epoch: 1,
            last_id_counter: 0,
            ids_max: GATEWAY.ids_max,
            subscribed: vec![],
            refuse_every: 0,
            refusal: Reason::RateLimit,
            mute_through: 0,
            requests: 0,
            logon_refusals: vec![],
            is_impostor: false,
            cuts: vec![],
            connections: 0,
            frames_in: 0,
        }
    }
}

impl State {
    pub(crate) fn facts(&self) -> SessionFacts {
        SessionFacts {
            session_epoch: self.epoch,
            last_client_seq: self.last_client_seq,
            next_report_seq: self.reports.len() as u64 + 1,
            oldest_report_seq: self.oldest_report_seq,
            client_epoch: self.client_epoch,
            roles: roles::TRADE,
            cod_mode: CodMode::None,
            is_connected: false,
            served_at: Text::EMPTY,
        }
    }

    /// The effect of a request: its reports, numbered in `journal_seq` too.
    pub(crate) fn apply(&mut self, frame: &Frame<'_>) -> Vec<(u64, Report)> {
        self.last_client_seq = frame.header.seq;
        let id = frame.leading_id();
        self.applied.push((id, frame.header.flags));
        let first_seq = self.reports.len() as u64 + 1;
        let exec = |seq: u64, cl_ord_id: u64, exec_type: ExecType, ord_status: OrdStatus| ExecReport {
            cl_ord_id: U64::new(cl_ord_id),
            journal_seq: U64::new(seq),
            exec_type: exec_type.raw(),
            ord_status: ord_status.raw(),
            ..ExecReport::default()
        };
        let reports = if let Ok(cancel) = frame.read::<CancelOrder>() {
            let order_id = cancel.orig_cl_ord_id.get();
            let report = exec(first_seq, order_id, ExecType::PendingCancel, OrdStatus::PendingCancel);
            vec![Report::Exec(ExecReport { req_cl_ord_id: U64::new(id), ..report })]
        } else if frame.read::<MassCancel>().is_ok() {
            vec![Report::MassCancel(MassCancelReport { cl_ord_id: U64::new(id), ..MassCancelReport::default() })]
        } else {
            vec![
                Report::Exec(exec(first_seq, id, ExecType::New, OrdStatus::New)),
                Report::Exec(exec(first_seq + 1, id, ExecType::Trade, OrdStatus::Filled)),
            ]
        };
        self.reports.extend(&reports);
        (first_seq..).zip(reports).collect()
    }

    /// Counts a request; true if it is one of those to be refused.
    fn refuses(&mut self) -> bool {
        self.requests += 1;
        self.refuse_every != 0 && self.requests.is_multiple_of(self.refuse_every)
    }
}

pub(crate) struct Gateway {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
    stream: Arc<Mutex<Option<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    pub(crate) fn start(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (state, stream) = (Arc::new(Mutex::new(state)), Arc::new(Mutex::new(None)));
        let (shared, current) = (Arc::clone(&state), Arc::clone(&stream));
        let thread = std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                if Arc::strong_count(&shared) == 1 {
                    return;
                }
                *current.lock().expect("alone") = Some(socket.try_clone().expect("a second handle"));
                Connection::new(socket, &shared).serve();
            }
        });
        Self { address, state, stream, thread: Some(thread) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under the lock")
    }

    /// Breaks the connection that there is.
    pub(crate) fn disconnect(&self) {
        let stream = self.stream.lock().expect("alone").take();
        if let Some(stream) = stream {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new(Address::Tcp(self.address.clone()), 1, "key", SECRET);
        // No heartbeat comes between the frames that a script counts.
        options.heartbeat_ms = 600_000;
        options
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.state = Arc::default();
        self.disconnect();
        drop(TcpStream::connect(&self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

struct Connection<'a> {
    socket: TcpStream,
    state: &'a Mutex<State>,
    session: ServerSession,
    started: Instant,
    cut: Option<(usize, Cut)>,
    frames: usize,
    /// Reports of an effect that are not sent yet.
    pending: Vec<(u64, Report)>,
}

/// The connection is over.
struct Over;

impl<'a> Connection<'a> {
    fn new(socket: TcpStream, state: &'a Mutex<State>) -> Self {
        let started = Instant::now();
        let mut locked = state.lock().expect("no panic under the lock");
        locked.connections += 1;
        locked.frames_in = 0;
        let cut = if locked.cuts.is_empty() { None } else { Some(locked.cuts.remove(0)) };
        let session = ServerSession::new(&CONFIG, [7; 32], Now { mono_ns: 0, utc_ns: 1 });
        Self { socket, state, session, started, cut, frames: 0, pending: vec![] }
    }

    fn now(&self) -> Now {
        Now { mono_ns: self.started.elapsed().as_nanos() as u64, utc_ns: 1 }
    }

    fn serve(mut self) {
        let mut incoming = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            while let Ok(Some(frame)) = next_frame(&incoming) {
                let len = frame.bytes.len();
                if self.take(&frame).is_err() {
                    drop(self.socket.shutdown(Shutdown::Both));
                    return;
                }
                incoming.drain(..len);
            }
            match self.socket.read(&mut chunk) {
                Ok(count @ 1..) => incoming.extend_from_slice(&chunk[..count]),
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Counts a frame, and does what it does unless the script says that it is lost.
    fn count(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Over>) -> Result<(), Over> {
        self.frames += 1;
        if self.cut.is_some_and(|(at, cut)| cut == Cut::Silence && self.frames >= at) {
            return Ok(());
        }
        let cut = self.cut.filter(|(at, _)| *at == self.frames).map(|(_, cut)| cut);
        if cut == Some(Cut::BeforeTheFrame) {
            return Err(Over);
        }
        act(self)?;
        if cut == Some(Cut::AfterTheFrame) { Err(Over) } else { Ok(()) }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Over> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.count(|connection| connection.socket.write_all(bytes).map_err(|_| Over))
    }

    fn report(&mut self, seq: u64, report: &Report, flags: u8) -> Result<(), Over> {
        let mut out = [0; 512];
        let envelope = self.session.envelope(self.now(), seq, flags);
        let written = match report {
            Report::Exec(block) => encode(&mut out, envelope, block),
            Report::MassCancel(block) => encode(&mut out, envelope, block),
        };
        let written = written.expect("room");
        self.session.sent(self.now(), seq);
        self.send(&out[..written])
    }

    fn take(&mut self, frame: &Frame<'_>) -> Result<(), Over> {
        // What the frame leads to is sent, and counted, when the frame itself has been.
        let mut answers = Vec::new();
        let mut action = ServerAction::None;
        let (mut is_refused, mut requests, mut mute_through) = (false, 0, 0);
        let mut refusal = Reason::None;
        let mut out = [0; REPLY_BYTES_MAX];
        self.count(|connection| {
            connection.state.lock().expect("no panic").frames_in += 1;
            let step = connection.session.handle_frame(connection.now(), frame, &mut out);
            answers.extend_from_slice(&out[..step.written]);
            action = step.action;
            if let Ok(block) = frame.read::<MarketDataSubscribe>() {
                connection.state.lock().expect("no panic").subscribed.push(block.instrument_id.get());
            }
            if matches!(action, ServerAction::Command(_)) {
                let mut state = connection.state.lock().expect("no panic");
                is_refused = state.refuses();
                (requests, mute_through, refusal) = (state.requests, state.mute_through, state.refusal);
                let reports = if is_refused { vec![] } else { state.apply(frame) };
                connection.session.set_ack(state.last_client_seq);
                drop(state);
                connection.pending.extend(reports);
            }
            Ok(())
        })?;
        self.send(&answers)?;
        match action {
            ServerAction::CheckLogon(_) => self.log_on(),
            ServerAction::Command(_) if requests <= mute_through => {
                self.pending.clear();
                if requests == mute_through { Err(Over) } else { Ok(()) }
            }
            ServerAction::Command(_) if is_refused => {
                let reject = RequestReject {
                    cl_ord_id: U64::new(frame.leading_id()),
                    ref_seq: U64::new(frame.header.seq),
                    ref_template: U16::new(frame.header.template_id),
                    reason: U16::new(refusal.raw()),
                    ..RequestReject::default()
                };
                let envelope = self.session.envelope(self.now(), 0, 0);
                let mut out = [0; 512];
                let written = encode(&mut out, envelope, &reject).expect("room");
                self.send(&out[..written])
            }
            ServerAction::Command(_) => {
                for (seq, report) in std::mem::take(&mut self.pending) {
                    self.report(seq, &report, 0)?;
                }
                Ok(())
            }
            ServerAction::Close { .. } => Err(Over),
            _ => Ok(()),
        }
    }

    fn log_on(&mut self) -> Result<(), Over> {
        let state = self.state.lock().expect("no panic").clone();
        let mut out = [0; REPLY_BYTES_MAX];
        if state.is_impostor {
            let ack = LogonAck { environment: Environment::Virtual.raw(), ..LogonAck::default() };
            let written = encode(&mut out, Envelope::default(), &ack).expect("room");
            return self.send(&out[..written]);
        }
        let key = MacKey::new(SECRET).expect("long enough");
        let facts = GatewayFacts { ids_max: state.ids_max, ..GATEWAY };
        let session = state.facts();
        let known = LogonAnswer::Known { key: &key, session: &session, gateway: &facts };
        let answer = match state.logon_refusals.first() {
            Some(reason) => LogonAnswer::Refused { reason: *reason, retry_after_ms: 0 },
            None => known,
        };
        drop(self.state.lock().expect("no panic").logon_refusals.drain(..state.logon_refusals.len().min(1)));
        let step = self.session.answer_logon(self.now(), answer, &mut out);
        self.send(&out[..step.written])?;
        let ServerAction::LoggedOn(logged_on) = step.action else { return Err(Over) };
        for seq in logged_on.replay_from_seq..logged_on.next_report_seq {
            self.report(seq, &state.reports[seq as usize - 1], frame_flags::REPLAY)?;
        }
        let written = self.session.replay_complete(self.now(), 0, state.last_id_counter, &mut out).expect("room");
        self.send(&out[..written])
    }
}
