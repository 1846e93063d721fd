//! The client against a gateway over a line that breaks at any frame: what it tells is the session's stream, and
//! every request has its effect once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tradecore_client::protocol::codes::BatchStatus;
use tradecore_client::protocol::fields::{ClOrdId, CodMode, ExecType, Px, Qty, Side};
use tradecore_client::{Address, Client, ClientError, Event, NewOrder, Options};
use tradecore_protocol::messages::{ExecReport, MassCancelReport, ReplayComplete};
use tradecore_protocol::next_frame;

use super::host::{CLASSES, Host, MARKET_DATA, PATIENCE, SECRET, Setup};
use super::peer::{Identity, Peer, Said};

const ONE: i64 = 1_000_000_000;
/// Frames of a conversation, in and out, at most; each is cut at, before it and behind it.
const FRAMES_MAX: usize = 40;
/// Conversations at a time: most of their time they wait to connect again.
const AT_A_TIME: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The frame that reaches the count is lost.
    BeforeTheFrame,
    /// The frame that reaches the count is the last.
    AfterTheFrame,
}

/// One connection through the proxy.
struct Line {
    frames: Mutex<usize>,
    cut: Option<(usize, Cut)>,
    ends: [TcpStream; 2],
}

impl Line {
    fn end(&self) {
        for end in &self.ends {
            drop(end.shutdown(Shutdown::Both));
        }
    }

    /// Carries whole frames from one end to the other, until the cut.
    fn carry(&self, from: usize) {
        let [mut source, mut target] = [from, 1 - from].map(|end| self.ends[end].try_clone().unwrap());
        let (mut unread, mut chunk) = (vec![], [0; 4096]);
        loop {
            while let Some(frame) = next_frame(&unread).expect("both ends write good frames") {
                let len = frame.bytes.len();
                // One frame at a time is counted and carried, whichever way it goes.
                let mut frames = self.frames.lock().unwrap();
                *frames += 1;
                let cut = self.cut.filter(|(at, _)| *frames >= *at).map(|(_, cut)| cut);
                let is_over = self.cut.is_some_and(|(at, _)| *frames > at) || cut == Some(Cut::BeforeTheFrame);
                if !is_over {
                    drop(target.write_all(&unread[..len]));
                }
                if cut.is_some() {
                    return self.end();
                }
                unread.drain(..len);
            }
            match source.read(&mut chunk) {
                Ok(count @ 1..) => unread.extend_from_slice(&chunk[..count]),
                Ok(0) | Err(_) => return self.end(),
            }
        }
    }
}

/// What stands between the client and the gateway, and breaks some of the first connections.
struct Proxy {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(gateway: String, cuts: Vec<(usize, Cut)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        // It waits for connections until the test's process ends.
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let nth = count.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(&gateway).unwrap();
                let ends = [client, server];
                ends.iter().for_each(|end| end.set_nodelay(true).unwrap());
                let line = Arc::new(Line { frames: Mutex::new(0), cut: cuts.get(nth).copied(), ends });
                for from in [0, 1] {
                    let line = Arc::clone(&line);
                    std::thread::spawn(move || line.carry(from));
                }
            }
        });
        Self { address, connections }
    }
}

/// A numbered report.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)]
enum Report {
    Exec(ExecReport),
    MassCancel(MassCancelReport),
}

/// An algo, and what it was told.
struct Algo {
    client: Client,
    told: Vec<Report>,
    at: String,
}

impl Algo {
    fn next(&mut self) {
        let started = Instant::now();
        let event = loop {
            match self.client.poll(PATIENCE) {
                Ok(Some(event)) => break event,
                Ok(None) => assert!(started.elapsed() < PATIENCE, "{}: nothing comes after {:?}", self.at, self.told),
                Err(error) => panic!("{}: {error}", self.at),
            }
        };
        match event {
            Event::Exec(report) => self.told.push(Report::Exec(report)),
            Event::MassCancel(report) => self.told.push(Report::MassCancel(report)),
            Event::Ready { .. } | Event::Disconnected { .. } => {}
            other => panic!("{}: {other:?}", self.at),
        }
    }

    /// Sends as soon as the client is ready.
    fn send(&mut self, send: impl Fn(&mut Client) -> Result<ClOrdId, ClientError>) -> ClOrdId {
        loop {
            match send(&mut self.client) {
                Ok(id) => return id,
                Err(ClientError::NotReady) => self.next(),
                Err(error) => panic!("{}: {error}", self.at),
            }
        }
    }

    /// What was told of an order, in its order.
    fn types(&self, cl_ord_id: ClOrdId) -> Vec<ExecType> {
        let types = self.told.iter().filter_map(|report| match report {
            Report::Exec(report) if report.cl_ord_id.get() == cl_ord_id.0 => {
                Some(ExecType::from_raw(report.exec_type).expect("known"))
            }
            Report::Exec(_) | Report::MassCancel(_) => None,
        });
        types.collect()
    }

    fn wait_for(&mut self, cl_ord_id: ClOrdId, exec_type: ExecType) {
        while !self.types(cl_ord_id).contains(&exec_type) {
            self.next();
        }
    }
}

/// Three orders, a replace, a cancel and a mass cancel, over a line with these cuts; the connections that it took.
fn converse(host: &Host, session_id: u32, cuts: &[(usize, Cut)]) -> usize {
    let proxy = Proxy::start(host.tcp_address(), cuts.to_vec());
    let key_id = Identity::of(session_id).key_id();
    let mut options = Options::new(Address::Tcp(proxy.address.clone()), session_id, &key_id, SECRET);
    // No heartbeat comes between the frames that are counted, and no order goes with the line.
    (options.heartbeat_ms, options.cod_mode) = (60_000, Some(CodMode::None));
    let client = Client::new(options).unwrap();
    let mut algo = Algo { client, told: vec![], at: format!("session {session_id}, cuts {cuts:?}") };
    let order = NewOrder::limit(1, 1, Side::Buy, Qty(ONE), Px(ONE));
    let orders = [(); 3].map(|()| algo.send(|client| client.new_order(&order)));
    orders.iter().for_each(|id| algo.wait_for(*id, ExecType::New));
    let [replaced, canceled, kept] = orders;
    algo.send(|client| client.replace(replaced, Px(2 * ONE), Qty(3 * ONE)));
    algo.send(|client| client.cancel(canceled));
    algo.wait_for(replaced, ExecType::Replaced);
    algo.wait_for(canceled, ExecType::Canceled);
    algo.send(|client| client.mass_cancel(false));
    algo.wait_for(replaced, ExecType::Canceled);
    algo.wait_for(kept, ExecType::Canceled);
    let done = BatchStatus::Done.raw();
    let is_done = |report: &Report| matches!(report, Report::MassCancel(report) if report.status == done);
    while !algo.told.iter().any(is_done) || !algo.client.is_ready() {
        algo.next();
    }
    assert_eq!(algo.client.in_doubt(), 0, "{}", algo.at);

    use ExecType::{Canceled, New, PendingCancel, PendingNew, PendingReplace, Replaced};
    let expected = [
        (replaced, vec![PendingNew, New, PendingReplace, Replaced, PendingCancel, Canceled]),
        (canceled, vec![PendingNew, New, PendingCancel, Canceled]),
        (kept, vec![PendingNew, New, PendingCancel, Canceled]),
    ];
    for (id, types) in expected {
        assert_eq!(algo.types(id), types, "{}: every request one effect", algo.at);
    }
    let Algo { client, told, at } = algo;
    drop(client);
    let mut peer = Peer::connect(host);
    peer.log_on(&Identity { next_client_seq: 7, ..Identity::of(session_id) });
    let (stream, complete) = peer.read_to::<ReplayComplete>();
    let report = |said: &Said| {
        let exec = said.read::<ExecReport>().map(Report::Exec);
        let report = exec.or_else(|| said.read::<MassCancelReport>().map(Report::MassCancel));
        report.unwrap_or_else(|| panic!("{at}: in the stream is {said:?}"))
    };
    assert_eq!(told, stream.iter().map(report).collect::<Vec<_>>(), "{at}: the stream, each report once");
    assert_eq!((complete.last_seq.get(), complete.open_orders.get()), (told.len() as u64, 0), "{at}");
    proxy.connections.load(Ordering::SeqCst)
}

#[test]
fn a_line_that_breaks_at_any_frame_of_a_conversation_loses_and_doubles_nothing() {
    CLASSES.into_iter().for_each(check_every_frame);
}

fn check_every_frame(durability: &'static str) {
    let cases: Vec<(usize, Cut)> =
        (1..=FRAMES_MAX).flat_map(|at| [(at, Cut::BeforeTheFrame), (at, Cut::AfterTheFrame)]).collect();
    let traders_more = u32::try_from(cases.len()).unwrap() + 1;
    let host = Host::trading(&Setup { durability, traders_more, ..Setup::default() });
    let first = MARKET_DATA + 1;
    let whole = converse(&host, first, &[]);
    let (next, mended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((nth, cut)) = (0..).zip(&cases).nth(next.fetch_add(1, Ordering::SeqCst)) {
                    // The connection after the cut breaks as early: in its replay, or in what is sent again.
                    let connections = converse(&host, first + 1 + nth, &[*cut, *cut]);
                    mended.fetch_add(usize::from(connections > whole), Ordering::SeqCst);
                }
            });
        }
    });
    let mended = mended.into_inner();
    assert!(mended > 40, "{durability}: {mended} conversations were cut");
    assert!(mended < cases.len(), "{durability}: the longest conversation has more frames than were cut at");
}
