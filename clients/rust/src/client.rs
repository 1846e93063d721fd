//! The blocking client: a socket around a conversation.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tradecore_protocol::fields::{ClOrdId, Px, Qty};
use tradecore_protocol::layout::Message;
use tradecore_protocol::reason::Reason;
use tradecore_protocol::session::Now;

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
    fn open(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, PATIENCE) {
                        Ok(stream) => {
                            stream.set_nodelay(true)?;
                            stream.set_nonblocking(true)?;
                            return Ok(Self::Tcp(stream));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(Self::Unix(stream))
            }
        }
    }

    /// Reads what is there, or the first that comes in time.
    fn read(&mut self, into: &mut [u8], longest: Duration) -> io::Result<usize> {
        match self.try_read(into) {
            Err(error) if is_a_pause(&error) && !longest.is_zero() => {
                self.wait(PollFlags::IN, longest)?;
                self.try_read(into)
            }
            read => read,
        }
    }

    fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }

    /// Writes all of it, if the gateway reads on within the time of `PATIENCE`.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let started = Instant::now();
        while !bytes.is_empty() {
            let written = match self {
                Self::Tcp(stream) => stream.write(bytes),
                Self::Unix(stream) => stream.write(bytes),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if is_a_pause(&error) => {
                    let left = PATIENCE.saturating_sub(started.elapsed());
                    if left.is_zero() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    self.wait(PollFlags::OUT, left)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for readiness. A time-out of the socket itself would be rounded up to the kernel's ticks, 4 ms.
    fn wait(&self, readiness: PollFlags, longest: Duration) -> io::Result<()> {
        let fd = match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        };
        let timeout = Timespec::try_from(longest).map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::from_borrowed_fd(fd, readiness)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A client that blocks for at most as long as it is told to; for five seconds if the gateway's host does not answer.
pub struct Client {
    conversation: Conversation,
    clock: Clock,
    socket: Option<Socket>,
    /// What has to be sent; empty between calls.
    outgoing: Vec<u8>,
}

impl Client {
    /// A client that is not connected; `poll` connects.
    ///
    /// # Errors
    /// The state file, or a key that is too short.
    pub fn new(options: Options) -> Result<Self, ClientError> {
        let clock = Clock::start();
        let conversation = Conversation::new(options, clock.now().utc_ns)?;
        Ok(Self { conversation, clock, socket: None, outgoing: Vec::new() })
    }

    /// As `new`, and polls until the session is up to date.
    ///
    /// # Errors
    /// As `new` and `poll`.
    pub fn connect(options: Options) -> Result<Self, ClientError> {
        let mut client = Self::new(options)?;
        while !client.is_ready() {
            client.turn(Duration::from_millis(100))?;
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

    /// Sends a new order: its ClOrdID. It is kept first; whatever breaks, it has one effect.
    ///
    /// # Errors
    /// `NotReady` while disconnected or replaying: nothing was kept, nothing will be sent.
    pub fn new_order(&mut self, order: &NewOrder) -> Result<ClOrdId, ClientError> {
        self.request(|id| order.block(id))
    }

    /// Sends an order again under the id that it has: the gateway answers with what became of it.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn repeat_order(&mut self, cl_ord_id: ClOrdId, order: &NewOrder) -> Result<(), ClientError> {
        self.talk(|conversation, now, out| conversation.repeat_order(now, cl_ord_id, order, out))
    }

    /// Cancels an order: the ClOrdID of the cancel.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn cancel(&mut self, orig_cl_ord_id: ClOrdId) -> Result<ClOrdId, ClientError> {
        self.request(|id| requests::cancel(id, orig_cl_ord_id))
    }

    /// Replaces price and total quantity of an order: the ClOrdID of the replace.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn replace(&mut self, orig_cl_ord_id: ClOrdId, px: Px, total_qty: Qty) -> Result<ClOrdId, ClientError> {
        self.request(|id| requests::replace(id, orig_cl_ord_id, px, total_qty))
    }

    /// Cancels every open order of the session, and locks new ones out if `lock_out`.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn mass_cancel(&mut self, lock_out: bool) -> Result<ClOrdId, ClientError> {
        self.request(|id| requests::mass_cancel(id, lock_out))
    }

    /// Asks for quotes of an instrument, now and after every reconnect.
    ///
    /// # Errors
    /// `NotReady` while disconnected or replaying: it is asked for as soon as the session is ready.
    pub fn subscribe(&mut self, instrument_id: u32) -> Result<(), ClientError> {
        self.talk(|conversation, now, out| conversation.subscribe(now, instrument_id, out))
    }

    /// Asks for positions of every account that the session may see.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn positions(&mut self) -> Result<(), ClientError> {
        self.query(requests::positions)
    }

    /// Asks for accounts.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn accounts(&mut self) -> Result<(), ClientError> {
        self.query(requests::accounts)
    }

    /// Asks for open orders.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn open_orders(&mut self) -> Result<(), ClientError> {
        self.query(requests::open_orders)
    }

    /// Asks for fills.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn fills(&mut self) -> Result<(), ClientError> {
        self.query(requests::fills)
    }

    /// Asks for instruments.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn instruments(&mut self) -> Result<(), ClientError> {
        self.query(requests::instruments)
    }

    /// Asks for one order.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn order_status(&mut self, cl_ord_id: ClOrdId) -> Result<(), ClientError> {
        self.query(|id| requests::order_status(id, cl_ord_id))
    }

    /// Says goodbye, and counts the last event as dealt with.
    pub fn logout(&mut self) {
        // A gateway that does not hear it finds out by itself; a file that does not take it tells the event again.
        drop(self.talk(Conversation::logout));
    }

    /// The next event; `None` when nothing came in time. Connects, reconnects and recovers on the way.
    ///
    /// To ask again says that the event before has been dealt with; a process that ends in between gets its report
    /// again in its next life.
    ///
    /// # Errors
    /// What cannot be mended: a refused logon, a session taken over, a broken state file.
    pub fn poll(&mut self, longest: Duration) -> Result<Option<Event>, ClientError> {
        let started = Instant::now();
        loop {
            if let Some(event) = self.conversation.next_event()? {
                return Ok(Some(event));
            }
            let left = longest.saturating_sub(started.elapsed());
            self.turn(left)?;
            if left.is_zero() && !self.conversation.has_event() {
                return Ok(None);
            }
        }
    }

    /// Connects, or reads once, or waits: for at most so long.
    fn turn(&mut self, longest: Duration) -> Result<(), ClientError> {
        let due = self.conversation.poll_timeout().map_or(longest, |at_ns| self.clock.until(at_ns));
        if self.socket.is_some() {
            self.receive(due.min(longest))
        } else if due.is_zero() {
            self.open()
        } else {
            std::thread::park_timeout(due.min(longest));
            Ok(())
        }
    }

    fn open(&mut self) -> Result<(), ClientError> {
        match Socket::open(&self.conversation.options().address) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.talk(Conversation::connect)
            }
            Err(error) => {
                self.conversation.unreachable(self.clock.now(), error.to_string());
                Ok(())
            }
        }
    }

    fn receive(&mut self, longest: Duration) -> Result<(), ClientError> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let mut chunk = [0; CHUNK_BYTES];
        let count = match socket.read(&mut chunk, longest) {
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(error) if is_a_pause(&error) => Some(0),
            Err(_) => None,
        };
        self.talk(|conversation, now, out| {
            let Some(count) = count else {
                conversation.connection_lost();
                return Ok(());
            };
            conversation.take_bytes(now, chunk.get(..count).unwrap_or_default(), out)?;
            conversation.handle_timeout(now, out);
            Ok(())
        })
    }

    /// Sends any sequenced request under a new ClOrdID, with which its block must begin: the ClOrdID. It is kept first.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn request<T: Message>(&mut self, block: impl FnOnce(ClOrdId) -> T) -> Result<ClOrdId, ClientError> {
        self.talk(|conversation, now, out| conversation.request(now, block, out))
    }

    /// Sends any query under a new request id, with which its block must begin. It is not kept.
    ///
    /// # Errors
    /// As `new_order`.
    pub fn query<T: Message>(&mut self, block: impl FnOnce(u64) -> T) -> Result<(), ClientError> {
        self.talk(|conversation, now, out| conversation.query(now, block, out))
    }

    /// Lets the conversation speak, and sends what it said, also if it has failed or ended.
    fn talk<R>(
        &mut self,
        verb: impl FnOnce(&mut Conversation, Now, &mut Vec<u8>) -> Result<R, ClientError>,
    ) -> Result<R, ClientError> {
        let said = verb(&mut self.conversation, self.clock.now(), &mut self.outgoing);
        let sent = self.socket.as_mut().map_or(Ok(()), |socket| socket.write(&self.outgoing));
        self.outgoing.clear();
        if sent.is_err() {
            self.conversation.connection_lost();
        }
        if !self.conversation.is_connected() {
            self.socket = None;
        }
        said
    }
}

/// True for a read that just found nothing in time.
fn is_a_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
