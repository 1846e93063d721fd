//! The baseline of throughput: a server that answers each request with a reply of the same sizes, and clients that
//! keep many on their way. As in the gateway's loop, a turn is one poll that never waits, and one read and one write of each
//! connection that has something; the clients read and send as the gateway's clients do.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tradecore::session::READ_BYTES;

use crate::echo::{CLIENT_READ_BYTES, Incoming, OWED_MAX, Outgoing, REPLY_BYTES, REQUEST_BYTES, listen};
use crate::pipeline::BATCH;
use crate::{Failure, host, peer};

/// Sockets of which a poll tells at once, as many as there may be.
const EVENTS: usize = 1024;

/// Serves all who connect to a port that it prints, until the last of them closes.
pub(crate) fn serve(cpu: Option<usize>) -> Result<(), Failure> {
    let (listener, poll) = listen(cpu)?;
    serve_on(listener, poll)
}

fn serve_on(mut listener: TcpListener, mut poll: Poll) -> Result<(), Failure> {
    let mut events = Events::with_capacity(EVENTS);
    let (mut request, reply) = (vec![0; READ_BYTES], vec![0; OWED_MAX]);
    let mut connections: Vec<Connection> = Vec::new();
    // Those that have something to do, as the gateway's loop keeps them too: nobody else is looked at.
    let (mut busy, mut open) = (Vec::new(), 0_usize);
    loop {
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            match event.token().0.checked_sub(1) {
                None => open = open.saturating_add(accept_all(&mut listener, &poll, &mut connections)?),
                Some(index) => {
                    let Some(connection) = connections.get_mut(index).filter(|one| one.is_open) else { continue };
                    connection.is_readable = true;
                    if !std::mem::replace(&mut connection.is_busy, true) {
                        busy.push(index);
                    }
                }
            }
        }
        let mut is_over = false;
        busy.retain(|index| {
            let Some(connection) = connections.get_mut(*index) else { return false };
            let (is_open, has_more) = connection.turn(&mut request, &reply);
            connection.is_busy = is_open && has_more;
            connection.is_open = is_open;
            if !is_open {
                open = open.saturating_sub(1);
                is_over |= open == 0;
            }
            connection.is_busy
        });
        if is_over {
            return Ok(());
        }
    }
}

/// Takes in all who wait; how many.
fn accept_all(listener: &mut TcpListener, poll: &Poll, connections: &mut Vec<Connection>) -> Result<usize, Failure> {
    let before = connections.len();
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nodelay(true)?;
                let token = Token(connections.len().saturating_add(1));
                poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
                let (incoming, outgoing) = (Incoming::default(), Outgoing::default());
                connections.push(Connection {
                    stream,
                    incoming,
                    outgoing,
                    is_open: true,
                    is_readable: false,
                    is_busy: false,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(connections.len().saturating_sub(before));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A client's connection.
struct Connection {
    stream: TcpStream,
    incoming: Incoming<REQUEST_BYTES>,
    outgoing: Outgoing,
    /// Its end may be read before its event is seen, and counts once.
    is_open: bool,
    is_readable: bool,
    /// It is among those that have something to do.
    is_busy: bool,
}

impl Connection {
    /// One read and one write; whether it is open, and whether there is more to do.
    fn turn(&mut self, request: &mut [u8], reply: &[u8]) -> (bool, bool) {
        if self.is_readable && self.outgoing.owed < OWED_MAX {
            match self.incoming.read(&mut self.stream, request) {
                Ok(Some(frames)) => self.outgoing.add(frames, REPLY_BYTES),
                Ok(None) => self.is_readable = false,
                Err(_) => return (false, false),
            }
        }
        if self.outgoing.write(&mut self.stream, reply).is_err() {
            return (false, false);
        }
        (true, self.is_readable || self.outgoing.owed > 0)
    }
}

/// Requests a second of an echo on so many connections, with so many on their way on all of them, behind a time that does
/// not count.
pub(crate) fn requests_per_s(
    connections: u32,
    in_flight: u64,
    warm_up: Duration,
    length: Duration,
) -> Result<u64, Failure> {
    let (_process, address) = host::start_echo_flow()?;
    let connect = |_| Ok(Client::new(peer::connect(&address)?));
    let mut clients = (0..connections).map(connect).collect::<Result<Vec<_>, Failure>>()?;
    let share = in_flight.checked_div(connections.into()).unwrap_or(0).max(1);
    let (answered, elapsed) = host::pinned(|| {
        let mut both = || -> Result<(u64, Duration), Failure> {
            drive(&mut clients, share, warm_up)?;
            drive(&mut clients, share, length)
        };
        both().map_err(|error| error.to_string())
    })?;
    let per_second = u128::from(answered).saturating_mul(1_000_000_000).checked_div(elapsed.as_nanos().max(1));
    Ok(u64::try_from(per_second.unwrap_or(0))?)
}

/// Keeps the echo busy for so long; the replies, and the time.
fn drive<S: Read + Write>(
    clients: &mut [Client<S>],
    in_flight: u64,
    length: Duration,
) -> Result<(u64, Duration), Failure> {
    let answered = |clients: &[Client<S>]| clients.iter().map(|client| client.answered).fold(0, u64::saturating_add);
    let before = answered(clients);
    let started = Instant::now();
    loop {
        let mut has_moved = false;
        for client in clients.iter_mut() {
            has_moved |= client.turn(in_flight)?;
        }
        let elapsed = started.elapsed();
        if elapsed >= length {
            return Ok((answered(clients).saturating_sub(before), elapsed));
        }
        if !has_moved {
            rustix::thread::sched_yield();
        }
    }
}

/// A client that sends as `Pipeline` does.
struct Client<S> {
    stream: S,
    bytes: Vec<u8>,
    requests: Vec<u8>,
    incoming: Incoming<REPLY_BYTES>,
    outgoing: Outgoing,
    sent: u64,
    answered: u64,
}

impl<S: Read + Write> Client<S> {
    fn new(stream: S) -> Self {
        let requests = vec![1; REQUEST_BYTES.saturating_mul(BATCH as usize)];
        let (incoming, outgoing) = (Incoming::default(), Outgoing::default());
        Self { stream, bytes: vec![0; CLIENT_READ_BYTES], requests, incoming, outgoing, sent: 0, answered: 0 }
    }

    /// Takes in replies, and sends as many requests as may be on their way; true when anything moved.
    fn turn(&mut self, in_flight_max: u64) -> Result<bool, Failure> {
        let before = (self.sent, self.answered);
        if let Some(replies) = self.incoming.read(&mut self.stream, &mut self.bytes)? {
            self.answered = self.answered.saturating_add(replies as u64);
        }
        // What a socket that is full has not taken is sent first.
        if self.outgoing.owed == 0 {
            let in_flight = self.sent.saturating_sub(self.answered);
            let count = in_flight_max.saturating_sub(in_flight).min(BATCH);
            self.sent = self.sent.saturating_add(count);
            self.outgoing.add(usize::try_from(count)?, REQUEST_BYTES);
        }
        self.outgoing.write(&mut self.stream, &self.requests)?;
        Ok(before != (self.sent, self.answered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::tests::Narrow;

    #[test]
    fn all_who_connect_are_answered_and_the_server_ends_with_the_last_of_them() {
        let (listener, poll) = listen(None).unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || serve_on(listener, poll).map_err(|error| error.to_string()));
        let mut clients: Vec<std::net::TcpStream> = (0..3)
            .map(|_| {
                let client = std::net::TcpStream::connect(address).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                client
            })
            .collect();
        // Each was taken in before the first goes.
        for client in &mut clients {
            client.write_all(&[1; REQUEST_BYTES]).unwrap();
            client.read_exact(&mut [0; REPLY_BYTES]).expect("a reply");
        }
        while let Some(mut client) = clients.pop() {
            for requests in [1, 5] {
                client.write_all(&vec![1; REQUEST_BYTES * requests]).unwrap();
                client.read_exact(&mut vec![0; REPLY_BYTES * requests]).expect("a reply to each request");
            }
            assert!(!server.is_finished(), "one is open");
        }
        assert_eq!(server.join().unwrap(), Ok(()));
    }

    #[test]
    fn no_more_is_on_its_way_than_may_be() {
        let mut client = Client::new(Narrow { at_once: usize::MAX, ..Narrow::default() });
        let in_flight = BATCH + 3;
        for _ in 0..5 {
            client.turn(in_flight).unwrap();
        }
        assert_eq!((client.sent, client.stream.written), (in_flight, REQUEST_BYTES * in_flight as usize));
        client.stream.to_read = vec![0; REPLY_BYTES * 2 + 1].into();
        assert!(client.turn(in_flight).unwrap());
        assert_eq!((client.answered, client.sent), (2, in_flight + 2));
        assert!(!client.turn(in_flight).unwrap(), "nothing has come, and nothing may leave");
    }
}
