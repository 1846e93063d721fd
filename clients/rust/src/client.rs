//! The blocking client.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tradecore_protocol::codes::{ReplayMode, TakeoverPolicy};
use tradecore_protocol::fields::{ClOrdId, CodMode, Environment, OrdType, Px, Qty, Role, Side, Tif};
use tradecore_protocol::frame::{Frame, next_frame};
use tradecore_protocol::layout::{Message, Text};
use tradecore_protocol::messages as wire;
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::{
    ClientAction, ClientConfig, ClientPosition, ClientSession, Now, REPLY_BYTES_MAX, SendError,
};
use tradecore_protocol::transcript::MacKey;
use tradecore_protocol::wire::{I64, U32, U64};

use crate::store::{Request, Store, StoreError};

/// Longest application frame that a client sends, bytes.
const REQUEST_BYTES_MAX: usize = 256;
const RECONNECT_MIN: Duration = Duration::from_millis(20);
const RECONNECT_MAX: Duration = Duration::from_secs(1);

/// Where the gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`.
    Tcp(String),
    /// Path of a unix socket.
    Unix(PathBuf),
}

/// Who logs on, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub address: Address,
    /// The configured session.
    pub session_id: u32,
    /// Its core.
    pub core: u16,
    /// Names the key.
    pub key_id: String,
    /// The key, at least 16 bytes.
    pub secret: Vec<u8>,
    /// What the session wants to do.
    pub role: Role,
    /// Whose money the algo believes that it trades.
    pub environment: Environment,
    /// Heartbeat interval, ms.
    pub heartbeat_ms: u32,
    /// Cancel-on-disconnect mode.
    pub cod_mode: CodMode,
    /// Cancel-on-disconnect window, ms.
    pub cod_window_ms: u32,
    /// The file of what must not be forgotten; none: in memory.
    pub state_path: Option<PathBuf>,
    /// For the gateway's logs.
    pub app_name: String,
}

impl Options {
    /// A trading session on the virtual environment of core 1, with a heartbeat a second.
    #[must_use]
    pub fn new(address: Address, session_id: u32, key_id: &str, secret: &[u8]) -> Self {
        Self {
            address,
            session_id,
            core: 1,
            key_id: key_id.to_owned(),
            secret: secret.to_vec(),
            role: Role::Trade,
            environment: Environment::Virtual,
            heartbeat_ms: 1000,
            cod_mode: CodMode::None,
            cod_window_ms: 0,
            state_path: None,
            app_name: "algo".to_owned(),
        }
    }
}

/// Why a client cannot go on. Broken connections are none: they are mended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The state file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The gateway refuses the logon for good.
    #[error("the gateway refuses the logon: {reason:?}: {text}")]
    Refused {
        /// Why.
        reason: Reason,
        /// What is allowed.
        text: String,
    },
    /// The key is shorter than 16 bytes.
    #[error("a key has at least 16 bytes")]
    Key,
    /// Not connected now, and the request adds risk: it was not kept and will not be sent.
    #[error("not connected; poll until `Event::Ready`")]
    NotReady,
    /// The role may not send this.
    #[error("{0}")]
    NotAllowed(SendError),
    /// The system gives no randomness.
    #[error("no randomness for the logon")]
    Random,
}

/// What happened, in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Logged on and up to date: new orders pass.
    Ready {
        /// Open orders of the session.
        open_orders: u32,
    },
    /// A report of an order.
    Exec(wire::ExecReport),
    /// A request was refused or rejected.
    Reject(wire::RequestReject),
    /// A mass cancel.
    MassCancel(wire::MassCancelReport),
    /// A kill switch.
    Kill(wire::KillSwitchReport),
    /// A quote.
    Quote(wire::Quote),
    /// A position, answer to a query.
    Position(wire::Position),
    /// An account, answer to a query.
    Account(wire::Account),
    /// An instrument, answer to a query.
    Instrument(wire::InstrumentDef),
    /// The end of an answer.
    QueryEnd(wire::QueryEnd),
    /// These requests had no effect and never will.
    NotApplied {
        /// The first.
        from_seq: u64,
        /// How many.
        count: u32,
    },
    /// A kept order was not sent again: its valid-until has passed.
    Abandoned {
        /// FIX ClOrdID (11).
        cl_ord_id: ClOrdId,
    },
    /// The session rules refused a frame: a defect of the caller.
    SessionReject(wire::SessionReject),
    /// Reports were skipped or numbers were reset: query open orders, positions and fills.
    Resynchronize,
    /// The connection is gone; the client reconnects by itself.
    Disconnected {
        /// Why.
        reason: Reason,
    },
}

/// A new order, as an algo thinks of it.
#[derive(Clone, Copy, Debug)]
pub struct NewOrder {
    /// Instrument.
    pub instrument_id: u32,
    /// Account.
    pub account_id: u32,
    /// Side.
    pub side: Side,
    /// Quantity.
    pub qty: Qty,
    /// Price; none for a market order.
    pub px: Option<Px>,
    /// Time in force.
    pub tif: Tif,
    /// `exec_flags`.
    pub exec_flags: u8,
    /// Free for the algo.
    pub strategy_id: u32,
    /// Not sent later than this, ns UTC; 0 for no bound.
    pub valid_until_ns: u64,
}

impl NewOrder {
    /// A limit order for the day.
    #[must_use]
    pub const fn limit(instrument_id: u32, account_id: u32, side: Side, qty: Qty, px: Px) -> Self {
        Self {
            instrument_id,
            account_id,
            side,
            qty,
            px: Some(px),
            tif: Tif::Day,
            exec_flags: 0,
            strategy_id: 0,
            valid_until_ns: 0,
        }
    }

    fn block(&self, cl_ord_id: ClOrdId) -> wire::NewOrder {
        wire::NewOrder {
            cl_ord_id: U64::new(cl_ord_id.0),
            px: I64::new(self.px.unwrap_or(Px::NONE).0),
            qty: I64::new(self.qty.0),
            valid_until_ns: U64::new(self.valid_until_ns),
            instrument_id: U32::new(self.instrument_id),
            account_id: U32::new(self.account_id),
            strategy_id: U32::new(self.strategy_id),
            side: self.side.raw(),
            ord_type: if self.px.is_some() { OrdType::Limit } else { OrdType::Market }.raw(),
            tif: self.tif.raw(),
            exec_flags: self.exec_flags,
            ..wire::NewOrder::default()
        }
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn open(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
        }
    }

    fn read(&mut self, into: &mut [u8], longest: Duration) -> io::Result<usize> {
        let longest = Some(longest.max(Duration::from_micros(1)));
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(longest).and_then(|()| stream.read(into)),
            Self::Unix(stream) => stream.set_read_timeout(longest).and_then(|()| stream.read(into)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

struct Connection {
    socket: Socket,
    session: ClientSession,
    incoming: Vec<u8>,
    taken: usize,
    is_ready: bool,
}

/// A client that blocks for at most as long as it is told to.
pub struct Client {
    options: Options,
    key: MacKey,
    store: Store,
    origin: Instant,
    connection: Option<Connection>,
    next_attempt: Instant,
    backoff: Duration,
    events: VecDeque<Event>,
    next_request: u64,
}

impl Client {
    /// A client that is not connected; `poll` connects.
    ///
    /// # Errors
    /// The state file, or a key that is too short.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        let key = MacKey::new(&options.secret).ok_or(ClientError::Key)?;
        let store = match &options.state_path {
            Some(path) => Store::open(path)?,
            None => Store::in_memory(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()),
        };
        Ok(Self {
            options,
            key,
            store,
            origin: Instant::now(),
            connection: None,
            next_attempt: Instant::now(),
            backoff: RECONNECT_MIN,
            events: VecDeque::new(),
            next_request: 1,
        })
    }

    /// As `new`, and polls until the session is up to date.
    ///
    /// # Errors
    /// As `new` and `poll`.
    pub fn connect(options: Options) -> Result<Self, ClientError> {
        let mut client = Self::new(options)?;
        let mut earlier = VecDeque::new();
        loop {
            match client.poll(Duration::from_millis(100))? {
                Some(Event::Ready { .. }) => break,
                Some(event) => earlier.push_back(event),
                None => {}
            }
        }
        earlier.append(&mut client.events);
        client.events = earlier;
        Ok(client)
    }

    /// True when new orders pass.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_ready)
    }

    /// Requests whose arrival is not known.
    #[must_use]
    pub fn in_doubt(&self) -> usize {
        self.store.unacked.len()
    }

    fn now(&self) -> Now {
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Now { mono_ns: ns(self.origin.elapsed()), utc_ns: ns(utc) }
    }

    fn next_cl_ord_id(&mut self) -> ClOrdId {
        self.store.numbers.last_cl_ord_id = self.store.numbers.last_cl_ord_id.saturating_add(1);
        ClOrdId(self.store.numbers.last_cl_ord_id)
    }

    /// Sends a new order: its ClOrdID. It is kept first; whatever breaks, it has one effect.
    ///
    /// # Errors
    /// `NotReady` while disconnected or replaying: nothing was kept, nothing will be sent.
    pub fn new_order(&mut self, order: &NewOrder) -> Result<ClOrdId, ClientError> {
        let id = self.next_cl_ord_id();
        self.request(&order.block(id))?;
        Ok(id)
    }

    /// Sends an order again under the id that it has: the gateway answers with what became of it.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn repeat_order(&mut self, cl_ord_id: ClOrdId, order: &NewOrder) -> Result<(), ClientError> {
        self.request(&order.block(cl_ord_id))
    }

    /// Cancels an order: the ClOrdID of the cancel.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn cancel(&mut self, orig_cl_ord_id: ClOrdId) -> Result<ClOrdId, ClientError> {
        let id = self.next_cl_ord_id();
        let block = wire::CancelOrder {
            cl_ord_id: U64::new(id.0),
            orig_cl_ord_id: U64::new(orig_cl_ord_id.0),
            ..wire::CancelOrder::default()
        };
        self.request(&block)?;
        Ok(id)
    }

    /// Replaces price and total quantity of an order: the ClOrdID of the replace.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn replace(&mut self, orig_cl_ord_id: ClOrdId, px: Px, total_qty: Qty) -> Result<ClOrdId, ClientError> {
        let id = self.next_cl_ord_id();
        let block = wire::ReplaceOrder {
            cl_ord_id: U64::new(id.0),
            orig_cl_ord_id: U64::new(orig_cl_ord_id.0),
            px: I64::new(px.0),
            total_qty: I64::new(total_qty.0),
            ..wire::ReplaceOrder::default()
        };
        self.request(&block)?;
        Ok(id)
    }

    /// Cancels every open order of the session, and locks new ones out if `lock_out`.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn mass_cancel(&mut self, lock_out: bool) -> Result<ClOrdId, ClientError> {
        let id = self.next_cl_ord_id();
        let block = wire::MassCancel {
            cl_ord_id: U64::new(id.0),
            scope: tradecore_protocol::codes::MassCancelScope::Session.raw(),
            flags: if lock_out { tradecore_protocol::codes::mass_cancel_flags::LOCK_OUT } else { 0 },
            ..wire::MassCancel::default()
        };
        self.request(&block)?;
        Ok(id)
    }

    /// Asks for quotes of an instrument.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn subscribe(&mut self, instrument_id: u32) -> Result<(), ClientError> {
        let block = wire::MarketDataSubscribe {
            request_id: U64::new(self.next_request_id()),
            instrument_id: U32::new(instrument_id),
            action: tradecore_protocol::codes::SubscribeAction::Subscribe.raw(),
            ..wire::MarketDataSubscribe::default()
        };
        self.query(&block)
    }

    /// Asks for positions of every account that the session may see.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn positions(&mut self) -> Result<(), ClientError> {
        let request_id = U64::new(self.next_request_id());
        self.query(&wire::PositionRequest { request_id, ..wire::PositionRequest::default() })
    }

    /// Asks for accounts.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn accounts(&mut self) -> Result<(), ClientError> {
        let request_id = U64::new(self.next_request_id());
        self.query(&wire::AccountRequest { request_id, ..wire::AccountRequest::default() })
    }

    /// Asks for open orders.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn open_orders(&mut self) -> Result<(), ClientError> {
        let request_id = U64::new(self.next_request_id());
        self.query(&wire::OpenOrdersRequest { request_id, ..wire::OpenOrdersRequest::default() })
    }

    /// Asks for fills.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn fills(&mut self) -> Result<(), ClientError> {
        let request_id = U64::new(self.next_request_id());
        self.query(&wire::FillsRequest { request_id, ..wire::FillsRequest::default() })
    }

    /// Asks for instruments.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn instruments(&mut self) -> Result<(), ClientError> {
        let request_id = U64::new(self.next_request_id());
        self.query(&wire::InstrumentsRequest { request_id, ..wire::InstrumentsRequest::default() })
    }

    /// Asks for one order.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn order_status(&mut self, cl_ord_id: ClOrdId) -> Result<(), ClientError> {
        let request_id = U64::new(self.next_request_id());
        let cl_ord_id = U64::new(cl_ord_id.0);
        self.query(&wire::OrderStatusRequest { request_id, cl_ord_id, ..wire::OrderStatusRequest::default() })
    }

    fn next_request_id(&mut self) -> u64 {
        let id = self.next_request;
        self.next_request = id.saturating_add(1);
        id
    }

    /// Keeps a sequenced request, then sends it.
    fn request<T: Message>(&mut self, block: &T) -> Result<(), ClientError> {
        let now = self.now();
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.is_ready) else {
            return Err(ClientError::NotReady);
        };
        let mut out = [0; REQUEST_BYTES_MAX];
        let sent = connection.session.send(now, block, &mut out).map_err(ClientError::NotAllowed)?;
        let request = Request { template_id: T::INFO.template_id, block: block.as_bytes().to_vec() };
        self.store.keep(sent.seq, request)?;
        // After this point it has one effect: a failed write is mended by the reconnect.
        let written = connection.socket.write(out.get(..sent.written).unwrap_or_default());
        if written.is_err() {
            self.disconnected(Reason::ConnectionLost);
        }
        Ok(())
    }

    fn query<T: Message>(&mut self, block: &T) -> Result<(), ClientError> {
        let now = self.now();
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.is_ready) else {
            return Err(ClientError::NotReady);
        };
        let mut out = [0; REQUEST_BYTES_MAX];
        let sent = connection.session.send(now, block, &mut out).map_err(ClientError::NotAllowed)?;
        if connection.socket.write(out.get(..sent.written).unwrap_or_default()).is_err() {
            self.disconnected(Reason::ConnectionLost);
        }
        Ok(())
    }

    /// Says goodbye.
    pub fn logout(&mut self) {
        let now = self.now();
        if let Some(connection) = &mut self.connection {
            let mut out = [0; REQUEST_BYTES_MAX];
            if let Ok(written) = connection.session.logout(now, &mut out) {
                // The gateway finds out by itself otherwise.
                drop(connection.socket.write(out.get(..written).unwrap_or_default()));
            }
        }
        self.connection = None;
    }

    /// The next event; `None` when nothing came in time. Connects, reconnects and recovers on the way.
    ///
    /// # Errors
    /// What cannot be mended: a refused logon, a broken state file.
    pub fn poll(&mut self, longest: Duration) -> Result<Option<Event>, ClientError> {
        let deadline = after(longest);
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.connection.is_none() {
                let wait = self.next_attempt.saturating_duration_since(Instant::now());
                let left = deadline.saturating_duration_since(Instant::now());
                if wait > left {
                    std::thread::park_timeout(left);
                    return Ok(None);
                }
                std::thread::park_timeout(wait);
                self.open()?;
            }
            self.receive(deadline)?;
            if self.events.is_empty() && Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    fn open(&mut self) -> Result<(), ClientError> {
        self.next_attempt = after(self.backoff);
        self.backoff = self.backoff.saturating_mul(2).min(RECONNECT_MAX);
        let Ok(mut socket) = Socket::open(&self.options.address) else { return Ok(()) };
        let config = ClientConfig {
            key_id: Text::new(&self.options.key_id),
            session_id: self.options.session_id,
            core: self.options.core,
            role: self.options.role,
            environment: self.options.environment,
            heartbeat_ms: self.options.heartbeat_ms,
            cod_mode: self.options.cod_mode,
            cod_window_ms: self.options.cod_window_ms,
            // A half-open connection of our own must not keep us out.
            takeover: TakeoverPolicy::TakeOver,
            replay_mode: ReplayMode::Replay,
            logon_timeout_ns: 5_000_000_000,
            app_name: Text::new(&self.options.app_name),
            app_version: Text::new(env!("CARGO_PKG_VERSION")),
        };
        let numbers = self.store.numbers;
        let first_unacked = self.store.unacked.keys().next().copied();
        let position = ClientPosition {
            session_epoch: numbers.session_epoch,
            next_expected_seq: numbers.applied_seq.saturating_add(1),
            next_client_seq: first_unacked.unwrap_or(numbers.next_client_seq),
        };
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| ClientError::Random)?;
        let now = self.now();
        let mut session = ClientSession::new(&config, &self.key, position, nonce, now);
        let mut out = [0; REPLY_BYTES_MAX];
        let written = session.start(now, &mut out).unwrap_or(0);
        if socket.write(out.get(..written).unwrap_or_default()).is_ok() {
            self.connection = Some(Connection { socket, session, incoming: Vec::new(), taken: 0, is_ready: false });
        }
        Ok(())
    }

    fn disconnected(&mut self, reason: Reason) {
        if self.connection.take().is_some_and(|connection| connection.is_ready) {
            self.events.push_back(Event::Disconnected { reason });
        }
    }

    /// Reads once, at most until the deadline or the session's own, and takes in what came.
    fn receive(&mut self, deadline: Instant) -> Result<(), ClientError> {
        let now = self.now();
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let until_deadline = deadline.saturating_duration_since(Instant::now());
        let own_ns = connection.session.poll_timeout().map_or(u64::MAX, |at_ns| at_ns.saturating_sub(now.mono_ns));
        let longest = until_deadline.min(Duration::from_nanos(own_ns));
        let mut chunk = [0; 16 * 1024];
        match connection.socket.read(&mut chunk, longest) {
            Ok(0) => {
                self.disconnected(Reason::ConnectionLost);
                return Ok(());
            }
            Ok(count) => connection.incoming.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => {
                self.disconnected(Reason::ConnectionLost);
                return Ok(());
            }
        }
        let now = self.now();
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut out = [0; REPLY_BYTES_MAX];
        let step = connection.session.handle_timeout(now, &mut out);
        let sent = connection.socket.write(out.get(..step.written).unwrap_or_default());
        if matches!(step.action, ClientAction::Close { .. }) || sent.is_err() {
            self.disconnected(Reason::HeartbeatTimeout);
            return Ok(());
        }
        self.take_frames()
    }

    fn take_frames(&mut self) -> Result<(), ClientError> {
        let now = self.now();
        while let Some(connection) = &mut self.connection {
            let incoming = std::mem::take(&mut connection.incoming);
            let rest = incoming.get(connection.taken..).unwrap_or_default();
            let frame = match next_frame(rest) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    connection.incoming = rest.to_vec();
                    connection.taken = 0;
                    break;
                }
                Err(fault) => {
                    self.disconnected(fault.reason);
                    break;
                }
            };
            connection.taken = connection.taken.saturating_add(frame.bytes.len());
            let mut out = [0; REPLY_BYTES_MAX];
            let step = connection.session.handle_frame(now, &frame, &mut out);
            let sent = connection.socket.write(out.get(..step.written).unwrap_or_default());
            self.act(&step.action, &frame, now)?;
            if sent.is_err() {
                self.disconnected(Reason::ConnectionLost);
            }
            if let Some(connection) = &mut self.connection {
                connection.incoming = incoming;
            }
        }
        self.store.save_numbers()?;
        Ok(())
    }

    fn act(&mut self, action: &ClientAction, frame: &Frame<'_>, now: Now) -> Result<(), ClientError> {
        if self.connection.as_ref().is_some_and(|connection| connection.session.peer_ack_seq() > 0) {
            self.store.acked(frame.header.ack_seq);
        }
        match action {
            ClientAction::LoggedOn(ack) => {
                self.backoff = RECONNECT_MIN;
                self.store.numbers.session_epoch = ack.session_epoch.get();
                self.resend(ack.last_client_seq.get(), now)?;
            }
            ClientAction::LogonRefused { reject, is_authentic } => self.refused(reject, *is_authentic)?,
            ClientAction::Report(_) => {
                self.deliver(frame);
                self.store.numbers.applied_seq = frame.header.seq;
                if let Some(connection) = &mut self.connection {
                    connection.session.applied(frame.header.seq);
                }
            }
            ClientAction::Answer(_) => self.deliver(frame),
            ClientAction::Skipped => {
                self.store.numbers.applied_seq = self.store.numbers.applied_seq.max(frame.header.seq);
            }
            ClientAction::GapFilled { new_seq, .. } => {
                self.store.numbers.applied_seq = new_seq.saturating_sub(1);
                self.events.push_back(Event::Resynchronize);
            }
            ClientAction::NotApplied { from_seq, count } => {
                self.events.push_back(Event::NotApplied { from_seq: *from_seq, count: *count });
            }
            ClientAction::ReplayComplete { open_orders } => {
                if let Some(connection) = &mut self.connection {
                    connection.is_ready = true;
                }
                self.events.push_back(Event::Ready { open_orders: *open_orders });
            }
            ClientAction::Rejected(reject) => self.events.push_back(Event::SessionReject(*reject)),
            ClientAction::Close { reason, .. } => self.disconnected(*reason),
            ClientAction::ResendRefused(reason) => self.disconnected(*reason),
            ClientAction::None | ClientAction::Duplicate | ClientAction::Gap { .. } => {}
        }
        Ok(())
    }

    /// Sends again what has not arrived. Numbers up to `last_client_seq` are taken: to get past them, something that
    /// is known to be dropped there is sent under each; the rest follows under the next ones.
    fn resend(&mut self, last_client_seq: u64, now: Now) -> Result<(), ClientError> {
        let filler = self.store.unacked.values().next().cloned();
        self.store.acked(last_client_seq);
        let pending: Vec<Request> = std::mem::take(&mut self.store.unacked).into_values().collect();
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut out = [0; REQUEST_BYTES_MAX];
        while let Some(filler) = &filler
            && connection.session.position().next_client_seq <= last_client_seq
        {
            let Ok(written) = send_again(&mut connection.session, now, filler, &mut out) else { break };
            // A write that fails is found by the next read.
            drop(connection.socket.write(out.get(..written).unwrap_or_default()));
        }
        for request in pending {
            if is_stale(&request, now.utc_ns) {
                let id = request.block.first_chunk::<8>().map_or(0, |id| u64::from_le_bytes(*id));
                self.events.push_back(Event::Abandoned { cl_ord_id: ClOrdId(id) });
                continue;
            }
            let seq = connection.session.position().next_client_seq;
            self.store.keep(seq, request.clone())?;
            if let Ok(written) = send_again(&mut connection.session, now, &request, &mut out) {
                drop(connection.socket.write(out.get(..written).unwrap_or_default()));
            }
        }
        self.store.numbers.next_client_seq = connection.session.position().next_client_seq;
        self.store.save_numbers()?;
        Ok(())
    }

    fn refused(&mut self, reject: &wire::LogonReject, is_authentic: bool) -> Result<(), ClientError> {
        let reason = Reason::from_raw(reject.reason.get()).unwrap_or(Reason::None);
        self.connection = None;
        match reason {
            Reason::EpochMismatch if is_authentic => {
                // A new session, or an operator's reset: start from the numbers that hold now.
                let is_reset = self.store.numbers.session_epoch != 0;
                self.store.numbers.session_epoch = reject.session_epoch.get();
                let is_fresh = !is_reset && self.store.numbers.applied_seq == 0;
                if is_fresh {
                    // What an earlier life of this session was told can be asked for; it is not ours to replay.
                    self.store.numbers.applied_seq = reject.next_report_seq.get().saturating_sub(1);
                }
                if is_reset {
                    self.store.numbers.applied_seq = reject.next_report_seq.get().saturating_sub(1);
                    self.store.unacked.clear();
                    self.events.push_back(Event::Resynchronize);
                }
                self.store.numbers.next_client_seq = reject.last_client_seq.get().saturating_add(1);
                self.store.numbers.acked_client_seq = reject.last_client_seq.get();
                self.store.save_numbers()?;
                self.next_attempt = Instant::now();
                Ok(())
            }
            Reason::Shutdown | Reason::LoginRate | Reason::ConnectionsMax | Reason::SessionInUse => Ok(()),
            _ => Err(ClientError::Refused { reason, text: reject.text.as_str().to_owned() }),
        }
    }

    fn deliver(&mut self, frame: &Frame<'_>) {
        let event = match frame.header.template_id {
            wire::ExecReport::TEMPLATE_ID => frame.read().map(|block| Event::Exec(*block)),
            wire::RequestReject::TEMPLATE_ID => frame.read::<wire::RequestReject>().map(|block| {
                // A refused request was heard: it must not be sent again.
                drop(self.store.forget(block.ref_seq.get()));
                Event::Reject(*block)
            }),
            wire::MassCancelReport::TEMPLATE_ID => frame.read().map(|block| Event::MassCancel(*block)),
            wire::KillSwitchReport::TEMPLATE_ID => frame.read().map(|block| Event::Kill(*block)),
            wire::Quote::TEMPLATE_ID => frame.read().map(|block| Event::Quote(*block)),
            wire::Position::TEMPLATE_ID => frame.read().map(|block| Event::Position(*block)),
            wire::Account::TEMPLATE_ID => frame.read().map(|block| Event::Account(*block)),
            wire::InstrumentDef::TEMPLATE_ID => frame.read().map(|block| Event::Instrument(*block)),
            wire::QueryEnd::TEMPLATE_ID => frame.read().map(|block| Event::QueryEnd(*block)),
            _ => return,
        };
        self.events.extend(event.ok());
    }
}

/// A time that lies so far ahead; a century for what no clock can hold.
fn after(wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(wait.min(CENTURY)).unwrap_or(now)
}

fn read_block<T: Message>(block: &[u8]) -> Option<T> {
    T::read_from_bytes(block).ok()
}

/// True for a new order that must not be sent any more.
fn is_stale(request: &Request, utc_ns: u64) -> bool {
    let order = read_block::<wire::NewOrder>(&request.block);
    let valid_until_ns = order.map_or(0, |order| order.valid_until_ns.get());
    request.template_id == wire::NewOrder::TEMPLATE_ID && valid_until_ns != 0 && valid_until_ns < utc_ns
}

/// Sends a kept request again, as what it was.
fn send_again(session: &mut ClientSession, now: Now, request: &Request, out: &mut [u8]) -> Result<usize, SendError> {
    fn typed<T: Message>(
        session: &mut ClientSession,
        now: Now,
        block: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SendError> {
        let block = read_block::<T>(block).ok_or(SendError::NotAllowed)?;
        session.send_again(now, &block, out).map(|sent| sent.written)
    }
    match request.template_id {
        wire::NewOrder::TEMPLATE_ID => typed::<wire::NewOrder>(session, now, &request.block, out),
        wire::CancelOrder::TEMPLATE_ID => typed::<wire::CancelOrder>(session, now, &request.block, out),
        wire::ReplaceOrder::TEMPLATE_ID => typed::<wire::ReplaceOrder>(session, now, &request.block, out),
        wire::MassCancel::TEMPLATE_ID => typed::<wire::MassCancel>(session, now, &request.block, out),
        _ => typed::<wire::KillSwitch>(session, now, &request.block, out),
    }
}
