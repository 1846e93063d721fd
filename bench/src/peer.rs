//! A client that spins: the fastest way to see a reply, so that what is measured is the gateway.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tradecore_protocol::Text;
use tradecore_protocol::codes::{ReplayMode, TakeoverPolicy};
use tradecore_protocol::fields::{CodMode, Environment, Role};
use tradecore_protocol::frame::{Frame, next_frame};
use tradecore_protocol::layout::Message;
use tradecore_protocol::session::{ClientAction, ClientConfig, ClientPosition, ClientSession, Now, REPLY_BYTES_MAX};
use tradecore_protocol::transcript::MacKey;

use crate::Failure;
use crate::host::{KEY_ID, SECRET};

/// A session over a socket that never blocks.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    session: ClientSession,
    bytes: Box<[u8]>,
    filled: usize,
    origin: Instant,
    is_ready: bool,
    numbers: Option<ClientPosition>,
    last_client_seq: u64,
    next: [u8; 256],
    next_len: usize,
    /// What is queued, and how much of it has left.
    queued: Vec<u8>,
    queued_left: usize,
}

/// A connection that is set for spinning.
pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

impl Peer {
    /// Connects and logs on, as `session_id`, to whatever numbers hold.
    pub(crate) fn log_on(address: &str, session_id: u32) -> Result<Self, Failure> {
        let mut position = ClientPosition::default();
        for _ in 0..2 {
            let mut peer = Self::open(address, session_id, position)?;
            let deadline = Instant::now().checked_add(Duration::from_secs(10));
            while !peer.is_ready && peer.numbers.is_none() {
                peer.poll(&mut |_, _| {})?;
                if deadline.is_none_or(|deadline| Instant::now() > deadline) {
                    return Err(format!("session {session_id}: no answer to the logon").into());
                }
            }
            match peer.numbers {
                None => return Ok(peer),
                Some(numbers) => position = numbers,
            }
        }
        Err(format!("session {session_id}: refused").into())
    }

    fn open(address: &str, session_id: u32, position: ClientPosition) -> Result<Self, Failure> {
        let config = ClientConfig {
            key_id: Text::new(KEY_ID),
            session_id,
            core: 1,
            role: Role::Trade,
            environment: Environment::Virtual,
            heartbeat_ms: 300_000,
            cod_mode: Some(CodMode::None),
            cod_window_ms: 0,
            takeover: TakeoverPolicy::TakeOver,
            replay_mode: ReplayMode::Replay,
            logon_timeout_ns: 10_000_000_000,
            app_name: Text::new("bench"),
            app_version: Text::new("1"),
        };
        let key = MacKey::new(SECRET).ok_or("the key is too short")?;
        // Nothing is at stake here that a fresh nonce would protect.
        let nonce = [7; 32];
        let origin = Instant::now();
        let mut peer = Self {
            stream: connect(address)?,
            session: ClientSession::new(&config, &key, position, nonce, now(origin)),
            bytes: vec![0; 64 << 10].into_boxed_slice(),
            filled: 0,
            origin,
            is_ready: false,
            numbers: None,
            last_client_seq: 0,
            next: [0; 256],
            next_len: 0,
            queued: Vec::new(),
            queued_left: 0,
        };
        let mut out = [0; REPLY_BYTES_MAX];
        let written = peer.session.start(now(origin), &mut out)?;
        peer.write(out.get(..written).unwrap_or_default())?;
        Ok(peer)
    }

    /// Last number of a request that the gateway had before this connection: what ids can be made of.
    pub(crate) const fn last_client_seq(&self) -> u64 {
        self.last_client_seq
    }

    /// Writes what the socket takes; what it does not, and what comes behind that, is queued. Spinning until it is taken
    /// would read no answer meanwhile, and a gateway that cannot send them ends the session.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        if self.has_left() && !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.queued.extend_from_slice(rest);
        Ok(())
    }

    /// True when all that was sent has left: else the socket is full, until `flush`.
    pub(crate) const fn has_left(&self) -> bool {
        self.queued.is_empty()
    }

    /// Makes the next message ready: what it costs the client to write it is not the gateway's.
    pub(crate) fn prepare<T: Message>(&mut self, block: &T) -> Result<(), Failure> {
        let sent = self.session.send(now(self.origin), block, &mut self.next).map_err(|error| format!("{error:?}"))?;
        self.next_len = sent.written;
        Ok(())
    }

    /// Sends what is ready; what the socket does not take waits for `flush`.
    pub(crate) fn send(&mut self) -> Result<(), Failure> {
        let next = self.next;
        self.write(next.get(..self.next_len).unwrap_or_default())?;
        Ok(())
    }

    /// Adds a message to those that `flush` sends.
    pub(crate) fn queue<T: Message>(&mut self, now: Now, block: &T) -> Result<(), Failure> {
        let sent = self.session.send(now, block, &mut self.next).map_err(|error| format!("{error:?}"))?;
        self.queued.extend_from_slice(self.next.get(..sent.written).unwrap_or_default());
        Ok(())
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let rest = self.queued.get(self.queued_left..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        match self.stream.write(rest) {
            Ok(count) => self.queued_left = self.queued_left.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if self.queued_left == self.queued.len() {
            self.queued.clear();
            self.queued_left = 0;
        }
        Ok(())
    }

    /// The time as messages carry it.
    pub(crate) fn now(&self) -> Now {
        now(self.origin)
    }

    /// Takes in what is there, and hands every report and answer to `each`, with the time at which it was there.
    pub(crate) fn poll(&mut self, each: &mut dyn FnMut(&Frame<'_>, Instant)) -> Result<(), Failure> {
        match self.stream.read(self.bytes.get_mut(self.filled..).unwrap_or_default()) {
            Ok(0) => return Err("the gateway closed the connection".into()),
            Ok(count) => self.filled = self.filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let arrived = Instant::now();
        let mut taken: usize = 0;
        let mut out = [0; REPLY_BYTES_MAX];
        let now = now(self.origin);
        let bytes = std::mem::take(&mut self.bytes);
        while let Some(frame) = next_frame(bytes.get(taken..self.filled).unwrap_or_default())
            .map_err(|fault| format!("{:?}", fault.reason))?
        {
            taken = taken.saturating_add(frame.bytes.len());
            let step = self.session.handle_frame(now, &frame, &mut out);
            match step.action {
                ClientAction::Report(_) => {
                    each(&frame, arrived);
                    self.session.applied(frame.header.seq);
                }
                ClientAction::Answer(_) => each(&frame, arrived),
                ClientAction::LoggedOn(ack) => self.last_client_seq = ack.last_client_seq.get(),
                ClientAction::ReplayComplete { .. } => self.is_ready = true,
                ClientAction::LogonRefused { reject, .. } => {
                    self.numbers = Some(ClientPosition {
                        session_epoch: reject.session_epoch.get(),
                        next_expected_seq: reject.next_report_seq.get(),
                        next_client_seq: reject.last_client_seq.get().saturating_add(1),
                    });
                }
                _ => {}
            }
            self.write(out.get(..step.written).unwrap_or_default())?;
        }
        self.bytes = bytes;
        self.bytes.copy_within(taken..self.filled, 0);
        self.filled = self.filled.saturating_sub(taken);
        Ok(())
    }
}

fn now(origin: Instant) -> Now {
    Now { mono_ns: u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX), utc_ns: tradecore::clock::utc_ns() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_socket_has_not_taken_leaves_behind_it_and_in_order() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut peer = Peer::open(&address, 1, ClientPosition::default()).unwrap();
        let (mut gateway, _) = listener.accept().unwrap();
        gateway.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut bytes = vec![0; 64 << 10];
        let logon_bytes = gateway.read(&mut bytes).unwrap();
        assert!(logon_bytes > 0);
        peer.next_len = peer.next.len();
        let mut sent: u32 = 0;
        let mut send = |peer: &mut Peer| {
            peer.next[..4].copy_from_slice(&sent.to_le_bytes());
            peer.send().unwrap();
            sent += 1;
            sent as usize * peer.next_len
        };
        let mut came = Vec::new();
        let mut come = |all: usize| {
            while came.len() < all {
                let count = gateway.read(&mut bytes).expect("more within a minute");
                came.extend_from_slice(&bytes[..count]);
            }
        };
        let mut all = 0;
        while peer.has_left() {
            assert!(all < 1 << 28, "the socket is never full");
            all = send(&mut peer);
        }
        // There is room again, and what is sent now may not overtake what waits.
        come(all / 2);
        let all = send(&mut peer);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !peer.has_left() {
            assert!(Instant::now() < deadline, "what waits does not leave");
            peer.flush().unwrap();
        }
        come(all);
        let numbers = came.chunks(peer.next_len).map(|one| u32::from_le_bytes(one[..4].try_into().unwrap()));
        assert!(numbers.eq(0..sent), "one is lost, or not in its place");
    }
}
