//! The baseline: a server that answers each request with a reply of the same sizes, and does nothing else. It
//! polls as the gateway's loop does: `mio`, never waiting.

use std::io::{self, Read, Write};
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use tradecore_protocol::messages::{ExecReport, NewOrder};

use crate::Failure;

/// Bytes of a request and of its reply.
pub(crate) const REQUEST_BYTES: usize = NewOrder::FRAME_BYTES;
pub(crate) const REPLY_BYTES: usize = ExecReport::FRAME_BYTES;

/// Serves one connection on a port that it prints, until the peer closes.
pub(crate) fn serve(cpu: Option<usize>) -> Result<(), Failure> {
    if let Some(cpu) = cpu {
        tradecore::affinity::pin(cpu)?;
    }
    let mut listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    println!("{}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(64);
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
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
