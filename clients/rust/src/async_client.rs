//! The client for tokio: the same conversation, around a socket that does not block.
//!
//! Owns the socket and the bytes that wait for it. Every wait is for readiness, and what is read or written afterwards
//! is so at once: a future that is dropped while it waits has taken nothing and lost nothing.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tradecore_protocol::fields::{ClOrdId, Px, Qty};
use tradecore_protocol::layout::Message;
use tradecore_protocol::reason::Reason;

use crate::clock::Clock;
use crate::conversation::Conversation;
use crate::events::Event;
use crate::options::{Address, ClientError, Options, PATIENCE};
use crate::requests::{self, NewOrder};

/// Bytes that one read takes at most.
const CHUNK_BYTES: usize = 16 * 1024;

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    async fn open(address: Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).await.map(Self::Unix),
        }
    }

    /// Waits until one of these is possible; an error shows itself in the read or write that follows.
    async fn ready(&self, interest: Interest) {
        drop(match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
        });
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(into),
            Self::Unix(stream) => stream.try_read(into),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<io::Result<Socket>, Elapsed>> + Send>>;

/// A client whose waits are futures. It works while `next_event` is awaited: there is no task behind it.
///
/// Every future of it may be dropped at any await. A verb that was dropped has either not begun, or its request is kept
/// and leaves with the next verb or `next_event`; `in_doubt` counts it, and its reports come.
pub struct AsyncClient {
    conversation: Conversation,
    clock: Clock,
    socket: Option<Socket>,
    /// Goes on when the future that waited for it was dropped.
    opening: Option<Opening>,
    /// What has to be sent: what is left of one request, and answers to what was read.
    outgoing: Vec<u8>,
    /// By when the gateway must have read some of it, ns.
    write_deadline_ns: Option<u64>,
}

impl AsyncClient {
    /// A client that is not connected; `next_event` connects.
    ///
    /// # Errors
    /// The state file, or a key that is too short.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        let clock = Clock::start();
        let conversation = Conversation::new(options, clock.now().utc_ns)?;
        Ok(Self { conversation, clock, socket: None, opening: None, outgoing: Vec::new(), write_deadline_ns: None })
    }

    /// As `new`, and waits until the session is up to date.
    ///
    /// # Errors
    /// As `new` and `next_event`.
    pub async fn connect(options: Options) -> Result<Self, ClientError> {
        let mut client = Self::new(options)?;
        while !client.is_ready() {
            client.turn().await?;
        }
        client.conversation.drop_ready_event();
        Ok(client)
    }

    /// True when new orders pass.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.conversation.is_ready()
    }

    /// Requests that nothing has answered yet.
    #[must_use]
    pub fn in_doubt(&self) -> usize {
        self.conversation.in_doubt()
    }

    /// Why the last attempt to connect or to log on came to nothing, for people; none while connected.
    #[must_use]
    pub fn trouble(&self) -> Option<&str> {
        self.conversation.trouble()
    }

    /// The gateway's reason where `trouble` is a logon that it refused for a while.
    #[must_use]
    pub const fn refusal(&self) -> Option<Reason> {
        self.conversation.refusal()
    }

    /// The next event. Connects, reconnects and recovers on the way, and shows the gateway that the client lives:
    /// await it whenever there is nothing else to do.
    ///
    /// It may be dropped at any await, in a `select!` or a time-out: an event is taken from the queue in the same step
    /// in which it is returned. To ask again says that the event before has been dealt with; a process that ends in
    /// between gets its report again in its next life.
    ///
    /// # Errors
    /// What cannot be mended: a refused logon, a session taken over, a broken state file.
    pub async fn next_event(&mut self) -> Result<Event, ClientError> {
        loop {
            if let Some(event) = self.conversation.next_event()? {
                return Ok(event);
            }
            self.turn().await?;
        }
    }

    /// Sends a new order: its ClOrdID. It is kept first; whatever breaks, it has one effect.
    ///
    /// # Errors
    /// `NotReady` while disconnected or replaying: nothing was kept, nothing will be sent.
    pub async fn new_order(&mut self, order: &NewOrder) -> Result<ClOrdId, ClientError> {
        self.request(|id| order.block(id)).await
    }

    /// Sends an order again under the id that it has: the gateway answers with what became of it.
    ///
    /// # Errors
    /// As `new_order`.
    pub async fn repeat_order(&mut self, cl_ord_id: ClOrdId, order: &NewOrder) -> Result<(), ClientError> {
        self.flush().await;
        let said = self.conversation.repeat_order(self.clock.now(), cl_ord_id, order, &mut self.outgoing);
        self.flush().await;
        said
    }

    /// Cancels an order: the ClOrdID of the cancel.
    ///
    /// # Errors
    /// As `new_order`.
    pub async fn cancel(&mut self, orig_cl_ord_id: ClOrdId) -> Result<ClOrdId, ClientError> {
        self.request(|id| requests::cancel(id, orig_cl_ord_id)).await
    }

    /// Replaces price and total quantity of an order: the ClOrdID of the replace.
    ///
    /// # Errors
    /// As `new_order`.
    pub async fn replace(&mut self, orig_cl_ord_id: ClOrdId, px: Px, total_qty: Qty) -> Result<ClOrdId, ClientError> {
        self.request(|id| requests::replace(id, orig_cl_ord_id, px, total_qty)).await
    }

    /// Cancels every open order of the session, and locks new ones out if `lock_out`.
    ///
    /// # Errors
    /// As `new_order`.
    pub async fn mass_cancel(&mut self, lock_out: bool) -> Result<ClOrdId, ClientError> {
        self.request(|id| requests::mass_cancel(id, lock_out)).await
    }

    /// Asks for quotes of an instrument, now and after every reconnect.
    ///
    /// # Errors
    /// `NotReady` while disconnected or replaying: it is asked for as soon as the session is ready.
    pub async fn subscribe(&mut self, instrument_id: u32) -> Result<(), ClientError> {
        self.flush().await;
        let said = self.conversation.subscribe(self.clock.now(), instrument_id, &mut self.outgoing);
        self.flush().await;
        said
    }

    /// Asks for positions of every account that the session may see.
    ///
    /// # Errors
    /// As `new_order`.
    pub async fn positions(&mut self) -> Result<(), ClientError> {
        self.query(requests::positions).await
    }

    /// Asks for accounts.
    ///
    /// # Errors
    /// As `new_order`.
    pub async fn accounts(&mut self) -> Result<(), ClientError> {
        self.query(requests::accounts).await
    }

    /// Asks for open orders.
    ///
    /// # Errors
    /// As `new_order`.
    pub async fn open_orders(&mut self) -> Result<(), ClientError> {
        self.query(requests::open_orders).await
    }

    /// Asks for fills.
    ///
    /// # Errors
    /// As `new_order`.
    pub async fn fills(&mut self) -> Result<(), ClientError> {
        self.query(requests::fills).await
    }

    /// Asks for instruments.
    ///
    /// # Errors
    /// As `new_order`.
    pub async fn instruments(&mut self) -> Result<(), ClientError> {
        self.query(requests::instruments).await
    }

    /// Asks for one order.
    ///
    /// # Errors
    /// As `new_order`.
    pub async fn order_status(&mut self, cl_ord_id: ClOrdId) -> Result<(), ClientError> {
        self.query(|id| requests::order_status(id, cl_ord_id)).await
    }

    /// Says goodbye, and counts the last event as dealt with.
    ///
    /// # Errors
    /// `Store`: the last event will be told again.
    pub async fn logout(&mut self) -> Result<(), ClientError> {
        self.flush().await;
        let said = self.conversation.logout(self.clock.now(), &mut self.outgoing);
        self.flush().await;
        self.socket = None;
        said
    }

    async fn request<T: Message>(&mut self, block: impl FnOnce(ClOrdId) -> T) -> Result<ClOrdId, ClientError> {
        // What an earlier verb left behind goes first: so it is never more than one request.
        self.flush().await;
        let said = self.conversation.request(self.clock.now(), block, &mut self.outgoing);
        self.flush().await;
        said
    }

    async fn query<T: Message>(&mut self, block: impl FnOnce(u64) -> T) -> Result<(), ClientError> {
        self.flush().await;
        let said = self.conversation.query(self.clock.now(), block, &mut self.outgoing);
        self.flush().await;
        said
    }

    /// Connects, or waits until there is something to read, to send or to time, and does it.
    async fn turn(&mut self) -> Result<(), ClientError> {
        let due = self.conversation.poll_timeout().map_or(Duration::ZERO, |at_ns| self.clock.until(at_ns));
        let Some(socket) = &self.socket else {
            sleep(due).await;
            return self.open().await;
        };
        let is_writing = !self.outgoing.is_empty();
        let interest = if is_writing { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let due = self.write_deadline_ns.map_or(due, |at_ns| self.clock.until(at_ns).min(due));
        // A time-out is no less an occasion to look.
        drop(timeout(due, socket.ready(interest)).await);
        let mut chunk = [0; CHUNK_BYTES];
        let read = socket.try_read(&mut chunk);
        let now = self.clock.now();
        let taken = match read {
            Ok(count @ 1..) => {
                let bytes = chunk.get(..count).unwrap_or_default();
                self.conversation.take_bytes(now, bytes, &mut self.outgoing)
            }
            Err(error) if is_a_pause(&error) => Ok(()),
            Ok(0) | Err(_) => {
                self.conversation.connection_lost();
                Ok(())
            }
        };
        self.conversation.handle_timeout(now, &mut self.outgoing);
        self.write_some();
        taken
    }

    async fn open(&mut self) -> Result<(), ClientError> {
        let address = &self.conversation.options().address;
        let opening = self.opening.get_or_insert_with(|| Box::pin(timeout(PATIENCE, Socket::open(address.clone()))));
        let opened = opening.as_mut().await;
        self.opening = None;
        match opened {
            Ok(Ok(socket)) => {
                self.outgoing.clear();
                self.conversation.connect(self.clock.now(), &mut self.outgoing)?;
                self.socket = Some(socket);
                self.write_some();
            }
            Ok(Err(error)) => self.conversation.unreachable(self.clock.now(), error.to_string()),
            Err(elapsed) => self.conversation.unreachable(self.clock.now(), elapsed.to_string()),
        }
        Ok(())
    }

    /// Sends what waits, for as long as the gateway goes on reading.
    async fn flush(&mut self) {
        self.write_some();
        while !self.outgoing.is_empty()
            && let (Some(socket), Some(at_ns)) = (&self.socket, self.write_deadline_ns)
        {
            drop(timeout(self.clock.until(at_ns), socket.ready(Interest::WRITABLE)).await);
            self.write_some();
        }
    }

    /// Sends what the system takes now; afterwards the socket is there only if the connection is.
    fn write_some(&mut self) {
        let now_ns = self.clock.now().mono_ns;
        while let Some(socket) = self.socket.as_ref().filter(|_| !self.outgoing.is_empty()) {
            match socket.try_write(&self.outgoing) {
                Ok(count @ 1..) => {
                    self.outgoing.drain(..count);
                    self.write_deadline_ns = None;
                }
                Err(error) if is_a_pause(&error) => {
                    let patience_ns = PATIENCE.as_nanos() as u64;
                    let deadline_ns = *self.write_deadline_ns.get_or_insert(now_ns.saturating_add(patience_ns));
                    if now_ns < deadline_ns && self.conversation.is_connected() {
                        return;
                    }
                    self.conversation.connection_lost();
                    break;
                }
                Ok(0) | Err(_) => {
                    self.conversation.connection_lost();
                    break;
                }
            }
        }
        if !self.conversation.is_connected() {
            self.socket = None;
            self.outgoing.clear();
        }
        if self.outgoing.is_empty() {
            self.write_deadline_ns = None;
        }
    }
}

fn is_a_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
