//! A peer that is driven by hand: every frame is written here, so that it can be wrong.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use tradecore_protocol::codes::{ReplayMode, TakeoverPolicy};
use tradecore_protocol::fields::{CodMode, Environment, OrdType, Role, Side, Tif};
use tradecore_protocol::frame::Header;
use tradecore_protocol::messages::{
    ClientHello, ExecReport, Heartbeat, Logon, LogonAck, LogonReject, MAGIC, MarketDataSubscribe, NewOrder, Quote,
    ReplayComplete, ServerChallenge, Terminate,
};
use tradecore_protocol::transcript::{Greeting, MacKey};
use tradecore_protocol::wire::{I64, U16, U32, U64};
use tradecore_protocol::{Envelope, Message, Reason, Text, encode, lookup, next_frame};

use super::host::{Host, PATIENCE, SECRET};

/// Who logs on, and where its streams stand.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    pub session_id: u32,
    pub role: Role,
    pub next_expected_seq: u64,
    pub next_client_seq: u64,
}

impl Identity {
    /// A session that trades, from its beginning.
    pub fn of(session_id: u32) -> Self {
        Self { session_id, role: Role::Trade, next_expected_seq: 1, next_client_seq: 1 }
    }

    pub fn key_id(&self) -> String {
        format!("k{}", self.session_id)
    }

    /// The logon of this identity, not signed.
    pub fn logon(&self) -> Logon {
        Logon {
            session_id: U32::new(self.session_id),
            core: U16::new(1),
            role: self.role.raw(),
            environment: Environment::Virtual.raw(),
            session_epoch: U64::new(1),
            next_expected_seq: U64::new(self.next_expected_seq),
            next_client_seq: U64::new(self.next_client_seq),
            heartbeat_ms: U32::new(60_000),
            cod_mode: CodMode::None.raw(),
            takeover_policy: TakeoverPolicy::TakeOver.raw(),
            replay_mode: ReplayMode::Replay.raw(),
            app_name: Text::new("tests"),
            ..Logon::default()
        }
    }
}

/// A frame that came.
#[derive(Clone, Debug)]
pub struct Said {
    pub header: Header,
    pub bytes: Vec<u8>,
}

impl Said {
    pub fn read<T: Message + Copy>(&self) -> Option<T> {
        let frame = next_frame(&self.bytes).unwrap().unwrap();
        frame.read::<T>().ok().copied()
    }

    pub fn name(&self) -> &'static str {
        lookup(self.header.template_id).map_or("?", |info| info.name)
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

pub struct Peer {
    stream: Stream,
    unread: Vec<u8>,
    hello: Vec<u8>,
    challenge: Vec<u8>,
    /// Everything that was sent, to be sent again by who recorded it.
    pub sent: Vec<u8>,
}

pub fn frame_of<T: Message>(seq: u64, flags: u8, block: &T) -> Vec<u8> {
    let mut out = vec![0; 1024];
    let len = encode(&mut out, Envelope { seq, flags, ..Envelope::default() }, block).unwrap();
    out.truncate(len);
    out
}

pub fn hello(key_id: &str) -> ClientHello {
    ClientHello {
        magic: U64::new(MAGIC),
        client_nonce: [7; 32],
        key_id: Text::new(key_id),
        major_min: 1,
        major_max: 1,
        ..ClientHello::default()
    }
}

pub fn key() -> MacKey {
    MacKey::new(SECRET).unwrap()
}

pub fn reason(raw: U16) -> Reason {
    Reason::from_raw(raw.get()).expect("a known reason")
}

/// A buy order far below the market: it rests.
pub fn resting(cl_ord_id: u64) -> NewOrder {
    NewOrder {
        cl_ord_id: U64::new(cl_ord_id),
        px: I64::new(1_000_000_000),
        qty: I64::new(1_000_000_000),
        instrument_id: U32::new(1),
        account_id: U32::new(1),
        side: Side::Buy.raw(),
        ord_type: OrdType::Limit.raw(),
        tif: Tif::Gtc.raw(),
        ..NewOrder::default()
    }
}

/// An order that is always refused by a decision: its reject is numbered, and needs no broker.
pub fn rejected(cl_ord_id: u64) -> NewOrder {
    NewOrder { side: 9, ..resting(cl_ord_id) }
}

impl Peer {
    pub fn connect(host: &Host) -> Self {
        Self::connect_to(&host.tcp_address())
    }

    pub fn connect_to(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(Stream::Tcp(stream))
    }

    /// Over the unix socket, whose buffers are small.
    pub fn connect_unix(host: &Host) -> Self {
        let stream = UnixStream::connect(host.dir.path().join("gateway.sock")).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::on(Stream::Unix(stream))
    }

    fn on(stream: Stream) -> Self {
        Self { stream, unread: vec![], hello: vec![], challenge: vec![], sent: vec![] }
    }

    // ---- bytes -----------------------------------------------------------------------------------------------

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.sent.extend_from_slice(bytes);
        self.stream.write_all(bytes).expect("the gateway reads");
    }

    /// Sends what it can: the gateway may have closed.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    pub fn send_byte_by_byte(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send_bytes(std::slice::from_ref(byte));
        }
    }

    pub fn send<T: Message>(&mut self, seq: u64, block: &T) {
        self.send_bytes(&frame_of(seq, 0, block));
    }

    /// The connection ends as after a crash: the gateway reads a reset, not an end.
    pub fn reset(self) {
        use std::time::Duration;
        match &self.stream {
            Stream::Tcp(stream) => rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap(),
            Stream::Unix(_) => panic!("a unix socket has no reset"),
        }
    }

    /// Nothing more is said on this end; what comes can still be read.
    pub fn end_stream(&self) {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    // ---- frames that come ------------------------------------------------------------------------------------

    fn take_frame(&mut self) -> Option<Said> {
        let frame = next_frame(&self.unread).expect("a gateway writes good frames")?;
        let said = Said { header: frame.header, bytes: frame.bytes.to_vec() };
        self.unread.drain(..said.bytes.len());
        Some(said)
    }

    /// The next frame; `None` at the end of the stream.
    pub fn next(&mut self) -> Option<Said> {
        let started = Instant::now();
        loop {
            if let Some(said) = self.take_frame() {
                return Some(said);
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain for a frame");
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    assert!(self.unread.is_empty(), "the stream ends with a whole frame");
                    return None;
                }
                Ok(count) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("waited in vain for a frame: {error}"),
            }
        }
    }

    /// The next frame that is no heartbeat and no quote.
    pub fn next_told(&mut self) -> Said {
        loop {
            let said = self.next().expect("a frame, not the end");
            if said.read::<Heartbeat>().is_none() && said.read::<Quote>().is_none() {
                return said;
            }
        }
    }

    /// The next frame, which must be of this kind.
    pub fn expect<T: Message + Copy>(&mut self) -> T {
        let said = self.next_told();
        said.read::<T>().unwrap_or_else(|| panic!("{} in place of {}: {said:?}", said.name(), T::INFO.name))
    }

    /// Frames up to the first of this kind; it, and those before it.
    pub fn read_to<T: Message + Copy>(&mut self) -> (Vec<Said>, T) {
        let mut before = vec![];
        loop {
            let said = self.next_told();
            if let Some(block) = said.read::<T>() {
                return (before, block);
            }
            before.push(said);
        }
    }

    /// True when something has come and was not read.
    pub fn has_unread(&self) -> bool {
        let Stream::Tcp(stream) = &self.stream else { panic!("asked of TCP only") };
        stream.set_nonblocking(true).unwrap();
        let is_there = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        !self.unread.is_empty() || is_there
    }

    /// All frames up to the end of the stream.
    pub fn read_to_end(&mut self) -> Vec<Said> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The stream ends with a reject of the logon, and holds nothing else from here on.
    pub fn expect_reject(&mut self) -> LogonReject {
        let reject = self.expect::<LogonReject>();
        assert!(self.next().is_none(), "nothing follows a reject");
        reject
    }

    /// Frames up to the end, the last of which ends the session.
    pub fn read_to_terminate(&mut self) -> (Vec<Said>, Terminate) {
        let mut said = self.read_to_end();
        let last = said.pop().expect("a last frame");
        let terminate = last.read::<Terminate>().unwrap_or_else(|| panic!("ends with {last:?}"));
        (said, terminate)
    }

    /// The session answers: it goes on.
    pub fn expect_alive(&mut self, test_id: u64) {
        let block = tradecore_protocol::messages::TestRequest { test_id: U64::new(test_id) };
        self.send(0, &block);
        loop {
            let said = self.next().expect("the session goes on");
            if said.read::<Heartbeat>().is_some_and(|heartbeat| heartbeat.test_id.get() == test_id) {
                return;
            }
        }
    }

    /// The next report of an order with this type.
    pub fn expect_report(&mut self, exec_type: tradecore_protocol::fields::ExecType) -> (Header, ExecReport) {
        let said = self.next_told();
        let report = said.read::<ExecReport>().unwrap_or_else(|| panic!("{exec_type:?} expected: {said:?}"));
        assert_eq!(report.exec_type, exec_type.raw(), "{exec_type:?} expected: {report:?}");
        (said.header, report)
    }

    // ---- logon -----------------------------------------------------------------------------------------------

    pub fn say_hello(&mut self, hello: &ClientHello) -> ServerChallenge {
        self.hello = frame_of(0, 0, hello);
        self.send_bytes(&self.hello.clone());
        self.take_challenge()
    }

    /// As `say_hello`, to a gateway that may have closed; the answer is left to be read.
    pub fn try_send_hello(&mut self, hello: &ClientHello) {
        self.hello = frame_of(0, 0, hello);
        self.try_send_bytes(&self.hello.clone());
    }

    pub fn take_challenge(&mut self) -> ServerChallenge {
        let said = self.next_told();
        self.remember_challenge(said)
    }

    pub fn remember_challenge(&mut self, said: Said) -> ServerChallenge {
        let challenge = said.read().unwrap_or_else(|| panic!("a challenge expected: {said:?}"));
        self.challenge = said.bytes;
        challenge
    }

    /// The hello was sent by other means than `say_hello`.
    pub fn remember_hello(&mut self, bytes: &[u8]) {
        self.hello = bytes.to_vec();
    }

    pub fn greeting(&self) -> Greeting<'_> {
        Greeting { hello: &self.hello, challenge: &self.challenge }
    }

    /// The logon, signed for this connection.
    pub fn signed(&self, logon: &Logon) -> Logon {
        let mut logon = *logon;
        self.greeting().sign_logon(&key(), &mut logon);
        logon
    }

    /// Hello and logon; what comes is left to be read.
    pub fn ask_to_log_on(&mut self, key_id: &str, logon: &Logon) -> Logon {
        self.say_hello(&hello(key_id));
        let logon = self.signed(logon);
        self.send(0, &logon);
        logon
    }

    /// Logs on up to the ack; the replay is left to be read.
    pub fn log_on_with(&mut self, key_id: &str, logon: &Logon) -> LogonAck {
        let logon = self.ask_to_log_on(key_id, logon);
        let ack = self.expect::<LogonAck>();
        assert!(self.greeting().verify_ack(&key(), &logon, &ack), "the gateway proves itself");
        ack
    }

    pub fn log_on(&mut self, identity: &Identity) -> LogonAck {
        self.log_on_with(&identity.key_id(), &identity.logon())
    }

    /// A session that is live, from its beginning, and has nothing to replay.
    pub fn live(host: &Host, session_id: u32) -> Self {
        Self::live_as(host, &Identity::of(session_id))
    }

    pub fn live_as(host: &Host, identity: &Identity) -> Self {
        let mut peer = Self::connect(host);
        peer.log_on(identity);
        peer.expect::<ReplayComplete>();
        peer
    }

    /// As `live_as`, with a logon that was changed.
    pub fn live_with(host: &Host, identity: &Identity, change: impl FnOnce(&mut Logon)) -> Self {
        let mut logon = identity.logon();
        change(&mut logon);
        let mut peer = Self::connect(host);
        peer.log_on_with(&identity.key_id(), &logon);
        peer.expect::<ReplayComplete>();
        peer
    }

    pub fn wait_for_quote(&mut self) {
        self.expect::<ReplayComplete>();
        let action = tradecore_protocol::codes::SubscribeAction::Subscribe.raw();
        self.send(0, &MarketDataSubscribe { instrument_id: U32::new(1), action, ..MarketDataSubscribe::default() });
        while self.next().expect("quotes").read::<Quote>().is_none() {}
    }

    /// Places an order that rests: both of its reports have come.
    pub fn place_resting(&mut self, seq: u64, order: &NewOrder) -> ExecReport {
        use tradecore_protocol::fields::ExecType;
        self.send(seq, order);
        self.expect_report(ExecType::PendingNew);
        self.expect_report(ExecType::New).1
    }
}
