//! The venue's loop: one thread that owns the exchange, its log, the market and every connection.
//!
//! A turn: read the clock; play due ticks; bring the exchange to now; take requests; write the log; only then
//! send replies, events and quotes. So nothing is told that the log does not hold. While a full disk has no room
//! for it, the exchange stands still: no request is read, no tick played, no time passes.

use super::clock;
use super::config::VenueConfig;
use super::connection::{Connection, Sent, Stream};
use super::exchange::Exchange;
use super::log::{LogError, LogReport, VenueLog};
use super::requests::Faults;
use super::wire::{PrintMessage, QuoteMessage};
use crate::market_data::TickKind;
use crate::market_data::capture::CaptureError;
use crate::market_data::player::{CaptureSource, Player};
use crate::market_data::validate::{TickCounts, TickLimits, TickValidator};
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, path::Path};

/// Ticks played in one turn, so that a fast capture does not starve requests.
const TICKS_PER_TURN_MAX: usize = 256;
/// Longest wait, so that a shutdown is seen.
const WAIT_MAX: Duration = Duration::from_millis(20);
/// The poll's resolution; shorter waits sleep instead.
const POLL_RESOLUTION: Duration = Duration::from_millis(1);
/// Longest sleep of those, between looks at the sockets.
const SLEEP_MAX: Duration = Duration::from_micros(100);

/// Why a venue did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum VenueError {
    /// The configuration contradicts itself.
    #[error("venue configuration: {0}")]
    Config(String),
    /// An address cannot be listened on.
    #[error("venue cannot listen on {address}: {source}")]
    Listen {
        /// As configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The recorded market data.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The system's readiness queue.
    #[error("venue event loop: {0}")]
    Poll(io::Error),
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The newest quote and print of an instrument, and how many there were.
#[derive(Default)]
struct Newest {
    quote: Option<QuoteMessage>,
    print: Option<PrintMessage>,
    no: Sent,
}

/// A venue that listens and has replayed its log.
pub struct Server {
    pub(super) exchange: Exchange,
    pub(super) log: VenueLog,
    log_report: LogReport,
    poll: Poll,
    listeners: Vec<Listener>,
    connections_max: usize,
    pub(super) connections: BTreeMap<Token, Connection>,
    /// Never read or written again; closed once the log holds what they did, since an end is an answer too.
    pub(super) dropped: Vec<Connection>,
    next_token: usize,
    pub(super) faults: Faults,
    player: Option<Player<CaptureSource>>,
    validator: TickValidator,
    market: Vec<Newest>,
    pub(super) now_ns: u64,
    pub(super) start_no: u64,
}

impl Server {
    /// Replays the log, records the start, and listens; `log_dir/listening` then names the addresses, one a
    /// line, as `tcp:host:port` or `unix:/path`.
    ///
    /// # Errors
    /// `VenueError`, by what failed.
    pub fn bind(config: &VenueConfig) -> Result<Self, VenueError> {
        config.exchange.check().map_err(VenueError::Config)?;
        if config.listen.is_empty() {
            let problem =
                "venue.listen is empty: nobody can connect; allowed: a list of \"ip:port\" and \"unix:/path\"";
            return Err(VenueError::Config(problem.to_owned()));
        }
        let mut exchange = Exchange::new(config.exchange.clone());
        let (mut log, log_report) = VenueLog::open(&config.log_dir, config.log_sync, &mut exchange)?;
        let now_ns = clock::now_ns();
        let start_no = exchange.start(now_ns);
        // Without room for it, the first turns try again before anything is told.
        log.append(&exchange.take_groups())?;
        let poll = Poll::new().map_err(VenueError::Poll)?;
        let mut listeners = Vec::new();
        for address in &config.listen {
            let listener = listen(address, &poll, Token(listeners.len()));
            listeners.push(listener.map_err(|source| VenueError::Listen { address: address.clone(), source })?);
        }
        let capture = config.capture.as_ref();
        let mut player = capture.map(|c| Player::new(CaptureSource::new(c.paths.clone(), c.repeat), c.speed));
        if let Some(player) = &mut player {
            // A capture that cannot be read is found before anything is served.
            player.next_due(now_ns)?;
        }
        let server = Self {
            market: config.exchange.instruments.iter().map(|_| Newest::default()).collect(),
            exchange,
            log,
            log_report,
            poll,
            next_token: listeners.len(),
            listeners,
            connections_max: config.connections_max,
            connections: BTreeMap::new(),
            dropped: Vec::new(),
            faults: Faults::new(config.faults, config.exchange.seed, start_no),
            player,
            validator: TickValidator::new(TickLimits::default()),
            now_ns,
            start_no,
        };
        if let Err(error) = server.announce(&config.log_dir, &config.listen) {
            // A full disk must not keep a gateway down that knows its venue's address.
            tracing::warn!(%error, "the venue's addresses could not be written down");
        }
        Ok(server)
    }

    /// Addresses of the TCP listeners, with the ports that were given.
    #[must_use]
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        let address = |listener: &Listener| match listener {
            Listener::Tcp(tcp) => tcp.local_addr().ok(),
            Listener::Unix(_) => None,
        };
        self.listeners.iter().filter_map(address).collect()
    }

    /// What opening the log found.
    #[must_use]
    pub fn log_report(&self) -> &LogReport {
        &self.log_report
    }

    /// Ticks accepted and refused so far.
    #[must_use]
    pub fn tick_counts(&self) -> TickCounts {
        self.validator.counts()
    }

    /// Takes turns until `shutdown` is set.
    ///
    /// # Errors
    /// `VenueError`: the log or a capture failed; nothing unlogged was told.
    pub fn run(mut self, shutdown: &AtomicBool) -> Result<(), VenueError> {
        let mut events = Events::with_capacity(1024);
        let mut wait = Duration::ZERO;
        while !shutdown.load(Ordering::Acquire) {
            if wait > Duration::ZERO && wait < POLL_RESOLUTION {
                std::thread::sleep(wait.min(SLEEP_MAX));
                wait = Duration::ZERO;
            }
            match self.poll.poll(&mut events, Some(wait)) {
                Err(e) if e.kind() != ErrorKind::Interrupted => return Err(VenueError::Poll(e)),
                Ok(()) | Err(_) => {}
            }
            for event in &events {
                match self.connections.get_mut(&event.token()) {
                    Some(connection) => connection.set_ready(
                        event.is_readable() || event.is_read_closed() || event.is_error(),
                        event.is_writable(),
                    ),
                    None => self.accept(event.token()),
                }
            }
            wait = self.turn()?;
        }
        Ok(())
    }

    /// One turn; returns how long nothing is due.
    fn turn(&mut self) -> Result<Duration, VenueError> {
        if self.log.is_behind() && !self.log.append(&[])? {
            return Ok(WAIT_MAX);
        }
        self.now_ns = self.now_ns.max(clock::now_ns());
        self.play()?;
        self.exchange.advance(self.now_ns);
        let tokens: Vec<Token> = self.connections.keys().copied().collect();
        for token in &tokens {
            // A `hello` in this loop may have fenced the connection: then it is gone, with all it had sent.
            let Some(mut connection) = self.connections.remove(token) else {
                continue;
            };
            if self.take_requests(&mut connection) {
                self.connections.insert(*token, connection);
            } else {
                self.dropped.push(connection);
            }
        }
        if !self.log.append(&self.exchange.take_groups())? {
            return Ok(WAIT_MAX);
        }
        self.dropped.clear();
        for connection in self.connections.values_mut() {
            send_events(&self.exchange, &mut self.faults, self.now_ns, connection);
            send_quotes(&self.market, connection);
            connection.flush();
        }
        self.connections.retain(|_, connection| !connection.closing);
        self.wait()
    }

    fn wait(&mut self) -> Result<Duration, VenueError> {
        if self.connections.values().any(Connection::wants_turn) {
            return Ok(Duration::ZERO);
        }
        let leaving = self.connections.values().filter_map(|c| {
            let next = self.exchange.event(c.client?, c.cursor?).ok().flatten();
            // A full connection is woken by its socket, not by time.
            next.filter(|_| c.has_room()).map(|(leave_ns, _)| leave_ns)
        });
        let mut due_ns = leaving.chain(self.exchange.next_due()).min();
        if let Some(player) = &mut self.player {
            due_ns = due_ns.into_iter().chain(player.next_due(self.now_ns)?).min();
        }
        let wait = due_ns.map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(self.now_ns)));
        Ok(wait.unwrap_or(WAIT_MAX).min(WAIT_MAX))
    }

    fn play(&mut self) -> Result<(), VenueError> {
        let Some(player) = &mut self.player else {
            return Ok(());
        };
        for _ in 0..TICKS_PER_TURN_MAX {
            let Some(tick) = player.pop(self.now_ns)? else {
                return Ok(());
            };
            // A recorded tick's age is meaningless here: it is as fresh as its playing.
            if self.validator.check(tick.recv_ns, &tick).is_err() {
                continue;
            }
            self.exchange.on_tick(self.now_ns, &tick);
            let Some(newest) = self.exchange.instrument_index(&tick.symbol).and_then(|i| self.market.get_mut(i)) else {
                continue;
            };
            let (symbol, ts_ns) = ((&*tick.symbol).into(), self.now_ns);
            match tick.kind {
                TickKind::Quote(q) => {
                    let (bid, bid_qty, ask, ask_qty) = (q.bid_px, q.bid_qty, q.ask_px, q.ask_qty);
                    newest.quote = Some(QuoteMessage { symbol, bid, bid_qty, ask, ask_qty, ts_ns });
                    newest.no.quote_no = newest.no.quote_no.saturating_add(1);
                }
                TickKind::Trade(t) => {
                    newest.print = Some(PrintMessage { symbol, px: t.px, qty: t.qty, ts_ns });
                    newest.no.print_no = newest.no.print_no.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, token: Token) {
        let Some(listener) = self.listeners.get(token.0) else {
            return;
        };
        loop {
            let accepted = match listener {
                Listener::Tcp(tcp) => tcp.accept().map(|(stream, _)| Stream::Tcp(stream)),
                Listener::Unix(unix) => unix.accept().map(|(stream, _)| Stream::Unix(stream)),
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
                    continue;
                }
                Err(_) => return,
            };
            if self.connections.len() >= self.connections_max {
                tracing::warn!(connections_max = self.connections_max, "the venue has no room for another connection");
                continue;
            }
            let token = Token(self.next_token);
            self.next_token = self.next_token.saturating_add(1);
            if let Ok(connection) = Connection::open(stream, self.poll.registry(), token) {
                self.connections.insert(token, connection);
            }
        }
    }

    /// Names the addresses, in the file and in the log.
    fn announce(&self, dir: &Path, configured: &[String]) -> Result<(), VenueError> {
        let mut lines = String::new();
        for (listener, configured) in self.listeners.iter().zip(configured) {
            let line = match listener {
                Listener::Tcp(tcp) => tcp.local_addr().map_or_else(|_| configured.clone(), |a| format!("tcp:{a}")),
                Listener::Unix(_) => configured.clone(),
            };
            tracing::info!(address = line, "the venue listens");
            lines.push_str(&line);
            lines.push('\n');
        }
        let (path, fresh) = (dir.join("listening"), dir.join("listening.new"));
        let written = fs::write(&fresh, lines).and_then(|()| fs::rename(&fresh, &path));
        written.map_err(|source| LogError::Io { path, source }.into())
    }
}

fn listen(address: &str, poll: &Poll, token: Token) -> io::Result<Listener> {
    if let Some(path) = address.strip_prefix("unix:") {
        // The log's lock says that no other venue of this directory uses the socket.
        if fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let mut listener = UnixListener::bind(path)?;
        listener.register(poll.registry(), token, Interest::READABLE)?;
        return Ok(Listener::Unix(listener));
    }
    let address: SocketAddr = address.parse().map_err(|e| io::Error::new(ErrorKind::InvalidInput, e))?;
    let mut listener = TcpListener::bind(address)?;
    listener.register(poll.registry(), token, Interest::READABLE)?;
    Ok(Listener::Tcp(listener))
}

fn send_events(exchange: &Exchange, faults: &mut Faults, now_ns: u64, connection: &mut Connection) {
    let (Some(client), Some(mut cursor)) = (connection.client, connection.cursor) else {
        return;
    };
    while connection.has_room() && !connection.closing {
        match exchange.event(client, cursor) {
            Ok(Some((leave_ns, event))) if leave_ns <= now_ns => {
                let message = EventLine { event };
                connection.push(&message);
                if faults.duplicates_event() {
                    connection.push(&message);
                }
                cursor = cursor.saturating_add(1);
            }
            Ok(_) => break,
            // The reader was slower than memory holds: it must come again and be told so.
            Err(_) => connection.closing = true,
        }
    }
    connection.cursor = Some(cursor);
}

fn send_quotes(market: &[Newest], connection: &mut Connection) {
    let Some(mut sent) = connection.quotes.take() else {
        return;
    };
    for (newest, sent) in market.iter().zip(&mut sent) {
        if !connection.has_room() {
            break;
        }
        if let Some(quote) = newest.quote.as_ref().filter(|_| sent.quote_no != newest.no.quote_no) {
            connection.push(&QuoteLine { quote });
        }
        if let Some(print) = newest.print.as_ref().filter(|_| sent.print_no != newest.no.print_no) {
            connection.push(&PrintLine { print });
        }
        *sent = newest.no;
    }
    connection.quotes = Some(sent);
}

#[derive(serde::Serialize)]
struct EventLine<'a> {
    event: &'a super::event::VenueEvent,
}

#[derive(serde::Serialize)]
struct QuoteLine<'a> {
    quote: &'a QuoteMessage,
}

#[derive(serde::Serialize)]
struct PrintLine<'a> {
    print: &'a PrintMessage,
}
