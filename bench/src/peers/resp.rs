//! A client that speaks RESP over a socket and spins: what is measured is Redis.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::in_flight::Load;
use super::programs::until;
use crate::{Failure, peer};

/// Keys of `SET`, one after the other: as many as orders of the gateway's load may be open.
const KEYS: u64 = 50_000;
/// Digits of a key.
const KEY_BYTES: usize = 16;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// `SET key value`.
    Set,
    /// `XADD log * d value`: an entry of a stream.
    Append,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct RespClient {
    stream: TcpStream,
    request: Request,
    value: Vec<u8>,
    next_key: u64,
    in_flight: u64,
    answered: u64,
    out: Vec<u8>,
    out_left: usize,
    bytes: Vec<u8>,
    filled: usize,
}

impl RespClient {
    /// Connects as soon as the server accepts.
    pub(crate) fn connect(address: &str, request: Request, value_bytes: usize) -> Result<Self, Failure> {
        Ok(Self {
            stream: until(|| Ok(peer::connect(address)?))?,
            request,
            value: vec![b'7'; value_bytes],
            next_key: 0,
            in_flight: 0,
            answered: 0,
            out: Vec::new(),
            out_left: 0,
            bytes: vec![0; 64 << 10],
            filled: 0,
        })
    }

    fn queue(&mut self) {
        match self.request {
            Request::Set => {
                self.out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$16\r\n");
                self.out.extend_from_slice(&digits(self.next_key));
                self.next_key = self.next_key.saturating_add(1).checked_rem(KEYS).unwrap_or(0);
            }
            Request::Append => self.out.extend_from_slice(b"*5\r\n$4\r\nXADD\r\n$3\r\nlog\r\n$1\r\n*\r\n$1\r\nd"),
        }
        // Writing to memory does not fail.
        let _ = write!(self.out, "\r\n${}\r\n", self.value.len());
        self.out.extend_from_slice(&self.value);
        self.out.extend_from_slice(b"\r\n");
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let rest = self.out.get(self.out_left..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        match self.stream.write(rest) {
            Ok(count) => self.out_left = self.out_left.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if self.out_left == self.out.len() {
            self.out.clear();
            self.out_left = 0;
        }
        Ok(())
    }

    fn take_in(&mut self) -> Result<(), Failure> {
        match self.stream.read(self.bytes.get_mut(self.filled..).unwrap_or_default()) {
            Ok(0) => return Err("the server closed the connection".into()),
            Ok(count) => self.filled = self.filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut taken: usize = 0;
        while let Some(len) = reply_len(self.bytes.get(taken..self.filled).unwrap_or_default())? {
            taken = taken.saturating_add(len);
            self.in_flight = self.in_flight.saturating_sub(1);
            self.answered = self.answered.saturating_add(1);
        }
        self.bytes.copy_within(taken..self.filled, 0);
        self.filled = self.filled.saturating_sub(taken);
        Ok(())
    }
}

impl Load for RespClient {
    fn turn(&mut self, in_flight_max: u64) -> Result<bool, Failure> {
        let before = (self.in_flight, self.answered);
        self.take_in()?;
        while self.in_flight < in_flight_max {
            self.queue();
            self.in_flight = self.in_flight.saturating_add(1);
        }
        self.flush()?;
        Ok(before != (self.in_flight, self.answered))
    }

    fn counts(&self) -> (u64, u64) {
        (self.in_flight, self.answered)
    }
}

/// A key in decimal, with leading zeros.
fn digits(key: u64) -> [u8; KEY_BYTES] {
    let (mut digits, mut rest) = ([b'0'; KEY_BYTES], key);
    for digit in digits.iter_mut().rev() {
        *digit = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
    }
    digits
}

/// Length of the first reply, when all of it is there.
fn reply_len(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    let line_bytes = end.saturating_add(1);
    let len = match bytes.first() {
        Some(b'+' | b':') => line_bytes,
        Some(b'$') => {
            let value: usize = line.trim_start_matches('$').trim_end().parse()?;
            line_bytes.saturating_add(value).saturating_add(2)
        }
        _ => return Err(format!("the server says {}", line.trim()).into()),
    };
    Ok(Some(len).filter(|len| *len <= bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_taken_when_all_of_it_is_there_and_an_error_is_one() {
        for reply in [&b"+OK\r\n"[..], b":12\r\n", b"$3\r\nabc\r\n"] {
            for len in 0..reply.len() {
                assert_eq!(reply_len(&reply[..len]).unwrap(), None, "{len} bytes");
            }
            assert_eq!(reply_len(&[reply, b"+OK\r\n"].concat()).unwrap(), Some(reply.len()));
        }
        assert_eq!(reply_len(b"-ERR no\r\n").unwrap_err().to_string(), "the server says -ERR no");
    }

    #[test]
    fn a_key_has_its_digits_with_leading_zeros() {
        assert_eq!(&digits(49_999), b"0000000000049999");
        assert_eq!(&digits(0), b"0000000000000000");
    }
}
