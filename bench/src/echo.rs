//! The baseline: a server that answers each request with a reply of the same sizes, and does nothing else. It
//! polls as the gateway's loop does: `mio`, never waiting; its client, as the gateway's client does. Both take all that is
//! there with one read, as gateway and client do, so that behind a stall neither of the two drains more slowly.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use tradecore::session::READ_BYTES;
use tradecore_protocol::messages::{ExecReport, NewOrder};

use crate::pace::{Sample, Sent, Target};
use crate::{Failure, peer};

/// Bytes of a request and of its reply.
pub(crate) const REQUEST_BYTES: usize = NewOrder::FRAME_BYTES;
pub(crate) const REPLY_BYTES: usize = ExecReport::FRAME_BYTES;

/// Replies that wait for their socket, bytes: beyond, nothing is read.
pub(crate) const OWED_MAX: usize = 1 << 20;
/// What the gateway's client reads at once.
pub(crate) const CLIENT_READ_BYTES: usize = 64 << 10;

/// Frames of one size as they come, however they are cut. No byte has a meaning, so a number is enough.
#[derive(Debug, Default)]
pub(crate) struct Incoming<const FRAME_BYTES: usize> {
    /// Bytes of a frame that is not whole.
    part: usize,
}

impl<const FRAME_BYTES: usize> Incoming<FRAME_BYTES> {
    /// One read: how many frames are whole with it; `None` when nothing is there, an error when the other side has closed.
    pub(crate) fn read(&mut self, stream: &mut impl Read, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        match stream.read(bytes) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side of the echo closed")),
            Ok(count) => {
                let bytes = self.part.saturating_add(count);
                self.part = bytes.checked_rem(FRAME_BYTES).unwrap_or(0);
                Ok(bytes.checked_div(FRAME_BYTES))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Frames that are to go, and bytes of them that have not.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) owed: usize,
}

impl Outgoing {
    pub(crate) const fn add(&mut self, frames: usize, frame_bytes: usize) {
        self.owed = self.owed.saturating_add(frames.saturating_mul(frame_bytes));
    }

    /// One write of as much as is owed and `bytes` has, as far as the socket takes it; none when nothing is owed.
    pub(crate) fn write(&mut self, stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        let bytes = bytes.get(..self.owed.min(bytes.len())).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        match stream.write(bytes) {
            Ok(count) => self.owed = self.owed.saturating_sub(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Listens on a port that it prints; a poll that tells of who connects, as token 0.
pub(crate) fn listen(cpu: Option<usize>) -> Result<(TcpListener, Poll), Failure> {
    if let Some(cpu) = cpu {
        tradecore::affinity::pin(cpu)?;
    }
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    println!("{}", listener.local_addr()?);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    Ok((listener, poll))
}

/// Serves one connection on a port that it prints, until the peer closes.
pub(crate) fn serve(cpu: Option<usize>) -> Result<(), Failure> {
    let (listener, poll) = listen(cpu)?;
    serve_on(&listener, poll)
}

fn serve_on(listener: &TcpListener, mut poll: Poll) -> Result<(), Failure> {
    let mut events = Events::with_capacity(64);
    let mut stream = loop {
        poll.poll(&mut events, None)?;
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    };
    stream.set_nodelay(true)?;
    poll.registry().register(&mut stream, Token(1), Interest::READABLE)?;
    let (mut requests, replies) = (vec![0; READ_BYTES], vec![0; OWED_MAX]);
    let (mut incoming, mut outgoing) = (Incoming::<REQUEST_BYTES>::default(), Outgoing::default());
    let mut is_readable = false;
    loop {
        poll.poll(&mut events, Some(Duration::ZERO))?;
        is_readable |= !events.is_empty();
        while is_readable && outgoing.owed < OWED_MAX {
            match incoming.read(&mut stream, &mut requests) {
                Ok(Some(frames)) => {
                    outgoing.add(frames, REPLY_BYTES);
                    outgoing.write(&mut stream, &replies)?;
                }
                Ok(None) => is_readable = false,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        // What a full socket has not taken.
        outgoing.write(&mut stream, &replies)?;
    }
}

/// A client of it.
#[derive(Debug)]
pub(crate) struct EchoClient<S = std::net::TcpStream> {
    stream: S,
    waiting: VecDeque<Sent>,
    incoming: Incoming<REPLY_BYTES>,
    outgoing: Outgoing,
    bytes: Vec<u8>,
}

impl EchoClient {
    /// Connects.
    pub(crate) fn connect(address: &str) -> Result<Self, Failure> {
        Ok(Self::new(peer::connect(address)?))
    }
}

impl<S> EchoClient<S> {
    fn new(stream: S) -> Self {
        let (incoming, outgoing) = (Incoming::default(), Outgoing::default());
        Self { stream, waiting: VecDeque::new(), incoming, outgoing, bytes: vec![0; CLIENT_READ_BYTES] }
    }
}

impl<S: Read + Write> Target for EchoClient<S> {
    fn prepare(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn can_send(&self) -> bool {
        self.outgoing.owed == 0
    }

    fn send(&mut self, sent: Sent) -> Result<(), Failure> {
        self.outgoing.add(1, REQUEST_BYTES);
        self.outgoing.write(&mut self.stream, &[1; REQUEST_BYTES])?;
        self.waiting.push_back(sent);
        Ok(())
    }

    fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
        self.outgoing.write(&mut self.stream, &[1; REQUEST_BYTES])?;
        let Some(replies) = self.incoming.read(&mut self.stream, &mut self.bytes)? else { return Ok(()) };
        let arrived = Instant::now();
        for sent in self.waiting.drain(..replies.min(self.waiting.len())) {
            sample.answered(sent, arrived);
        }
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A socket that takes and gives a few bytes at a time.
    #[derive(Default)]
    pub(crate) struct Narrow {
        pub(crate) to_read: VecDeque<u8>,
        pub(crate) written: usize,
        /// Reads and writes that moved something.
        pub(crate) calls: usize,
        pub(crate) at_once: usize,
    }

    impl Read for Narrow {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            if self.to_read.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.calls = self.calls.saturating_add(1);
            let count = self.at_once.min(bytes.len());
            (&mut self.to_read).take(count as u64).read(bytes)
        }
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.at_once == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.calls = self.calls.saturating_add(1);
            let count = self.at_once.min(bytes.len());
            self.written = self.written.saturating_add(count);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_whole_request_is_answered_once_however_it_is_cut() {
        let to_read = vec![1; REQUEST_BYTES * 3 + 5].into();
        let mut socket = Narrow { to_read, at_once: 7, ..Narrow::default() };
        let (mut requests, replies) = (vec![0; READ_BYTES], vec![0; OWED_MAX]);
        let (mut incoming, mut outgoing) = (Incoming::<REQUEST_BYTES>::default(), Outgoing::default());
        while let Some(frames) = incoming.read(&mut socket, &mut requests).unwrap() {
            outgoing.add(frames, REPLY_BYTES);
            outgoing.write(&mut socket, &replies).unwrap();
        }
        while outgoing.owed > 0 {
            outgoing.write(&mut socket, &replies).unwrap();
        }
        assert_eq!((socket.written, incoming.part), (REPLY_BYTES * 3, 5));
    }

    #[test]
    fn the_client_takes_all_replies_that_are_there_with_one_read() {
        let mut client = EchoClient::new(Narrow { at_once: usize::MAX, ..Narrow::default() });
        let now = Instant::now();
        for _ in 0..10 {
            client.send(Sent { planned: now, at: now }).unwrap();
        }
        client.stream.calls = 0;
        client.stream.to_read = vec![0; REPLY_BYTES * 7 + 1].into();
        let mut sample = Sample::new();
        client.poll(&mut sample).unwrap();
        assert_eq!((client.stream.calls, sample.corrected.len(), client.waiting.len()), (1, 7, 3));
    }

    #[test]
    fn a_request_that_a_full_socket_has_not_taken_leaves_later() {
        let mut client = EchoClient::new(Narrow { at_once: 7, ..Narrow::default() });
        let now = Instant::now();
        client.send(Sent { planned: now, at: now }).unwrap();
        assert!(!client.can_send(), "a part of it has left");
        client.stream.at_once = 0;
        client.poll(&mut Sample::new()).unwrap();
        assert!(!client.can_send());
        client.stream.at_once = usize::MAX;
        client.poll(&mut Sample::new()).unwrap();
        assert_eq!((client.can_send(), client.stream.written), (true, REQUEST_BYTES));
    }

    #[test]
    fn the_server_answers_all_that_it_has_read_with_one_write() {
        let (listener, poll) = listen(None).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // All are there before it looks for the first time.
        client.write_all(&[1; REQUEST_BYTES * 5]).unwrap();
        let server = std::thread::spawn(move || serve_on(&listener, poll).map_err(|error| error.to_string()));
        let mut replies = vec![0; REPLY_BYTES * 6];
        client.read_exact(&mut replies[..1]).expect("a reply within a minute");
        let at_once = 1 + client.peek(&mut replies[1..]).unwrap();
        assert_eq!(at_once, REPLY_BYTES * 5, "they come together");
        client.read_exact(&mut replies[1..REPLY_BYTES * 5]).unwrap();
        client.write_all(&[1; REQUEST_BYTES]).unwrap();
        client.read_exact(&mut replies[..REPLY_BYTES]).expect("a reply within a minute");
        drop(client);
        assert_eq!(server.join().unwrap(), Ok(()));
    }
}
