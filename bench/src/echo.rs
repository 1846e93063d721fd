//! The baseline: a server that answers each request with a reply of the same sizes, and does nothing else. It
//! polls as the gateway's loop does: `mio`, never waiting; its client, as the gateway's client does.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use tradecore_protocol::messages::{ExecReport, NewOrder};

use crate::pace::{Sample, Sent, Target};
use crate::{Failure, peer};

/// Bytes of a request and of its reply.
pub(crate) const REQUEST_BYTES: usize = NewOrder::FRAME_BYTES;
pub(crate) const REPLY_BYTES: usize = ExecReport::FRAME_BYTES;

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
    let (listener, mut poll) = listen(cpu)?;
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
    let mut request = [0; REQUEST_BYTES];
    let mut filled: usize = 0;
    loop {
        poll.poll(&mut events, Some(Duration::ZERO))?;
        if events.is_empty() {
            continue;
        }
        loop {
            match stream.read(request.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => return Ok(()),
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            if filled == REQUEST_BYTES {
                filled = 0;
                stream.write_all(&[0; REPLY_BYTES])?;
            }
        }
    }
}

/// A client of it.
#[derive(Debug)]
pub(crate) struct EchoClient {
    stream: std::net::TcpStream,
    waiting: VecDeque<Sent>,
    reply: [u8; REPLY_BYTES],
    filled: usize,
}

impl EchoClient {
    /// Connects.
    pub(crate) fn connect(address: &str) -> Result<Self, Failure> {
        Ok(Self { stream: peer::connect(address)?, waiting: VecDeque::new(), reply: [0; REPLY_BYTES], filled: 0 })
    }
}

impl Target for EchoClient {
    fn prepare(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn send(&mut self, sent: Sent) -> Result<(), Failure> {
        self.stream.write_all(&[1; REQUEST_BYTES])?;
        self.waiting.push_back(sent);
        Ok(())
    }

    fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
        match self.stream.read(self.reply.get_mut(self.filled..).unwrap_or_default()) {
            Ok(0) => return Err("the echo closed".into()),
            Ok(count) => self.filled = self.filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let arrived = Instant::now();
        if self.filled == REPLY_BYTES {
            self.filled = 0;
            if let Some(sent) = self.waiting.pop_front() {
                sample.answered(sent, arrived);
            }
        }
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}
