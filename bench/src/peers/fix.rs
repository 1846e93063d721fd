//! A client that speaks FIX 4.2 over a socket and spins: what is timed is the acceptor.
//!
//! It knows the little that a round trip takes: logon, NewOrderSingle, ExecutionReport.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::programs::until;
use crate::pace::{Sample, Sent, Target};
use crate::{Failure, peer};

const SOH: u8 = 1;
/// Nobody checks it: `CheckLatency=N`.
const SENDING_TIME: &str = "20260101-00:00:00.000";
/// `10=nnn` and the end of its field.
const TRAILER_BYTES: usize = 7;

/// Takes a message, by its kind.
type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Failure> + 'a;

/// A logged-on session.
#[derive(Debug)]
pub(crate) struct FixClient {
    stream: TcpStream,
    next_seq: u64,
    /// The next message, when it is ready.
    next: Vec<u8>,
    waiting: VecDeque<(u64, Sent)>,
    bytes: Vec<u8>,
    filled: usize,
}

impl FixClient {
    /// Connects and logs on; the acceptor starts its numbers anew.
    pub(crate) fn log_on(address: &str) -> Result<Self, Failure> {
        let stream = until(|| Ok(peer::connect(address)?))?;
        let mut client = Self {
            stream,
            next_seq: 1,
            next: Vec::new(),
            waiting: VecDeque::new(),
            bytes: vec![0; 64 << 10],
            filled: 0,
        };
        client.next = message("A", 1, "98=0|108=3600|141=Y|");
        client.write_next()?;
        until(|| {
            let mut is_logged_on = false;
            client.take_in(&mut |kind, _| {
                is_logged_on |= kind == b"A";
                Ok(())
            })?;
            if is_logged_on { Ok(()) } else { Err("no answer to the logon".into()) }
        })?;
        Ok(client)
    }

    fn write_next(&mut self) -> Result<(), Failure> {
        self.stream.write_all(&self.next)?;
        self.next.clear();
        self.next_seq = self.next_seq.saturating_add(1);
        Ok(())
    }

    /// Hands every message that is there to `each`.
    fn take_in(&mut self, each: &mut Each<'_>) -> Result<(), Failure> {
        match self.stream.read(self.bytes.get_mut(self.filled..).unwrap_or_default()) {
            Ok(0) => return Err("the acceptor closed the connection".into()),
            Ok(count) => self.filled = self.filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut taken: usize = 0;
        loop {
            let rest = self.bytes.get(taken..self.filled).unwrap_or_default();
            let Some(message) = message_len(rest)?.and_then(|len| rest.get(..len)) else { break };
            taken = taken.saturating_add(message.len());
            let kind = field(message, "35").ok_or("a message without a kind")?;
            match kind {
                // Reject, Logout, BusinessMessageReject.
                b"3" | b"5" | b"j" => {
                    return Err(format!("the acceptor says {}", String::from_utf8_lossy(message)).into());
                }
                kind => each(kind, message)?,
            }
        }
        self.bytes.copy_within(taken..self.filled, 0);
        self.filled = self.filled.saturating_sub(taken);
        Ok(())
    }
}

impl Target for FixClient {
    /// As large as an order of the gateway's own load.
    fn prepare(&mut self) -> Result<(), Failure> {
        if self.next.is_empty() {
            let id = self.next_seq;
            let order = format!("11={id}|1=1|21=1|55=BTCUSDT|54=1|60={SENDING_TIME}|38=0.001|40=2|44=10000.00|59=3|");
            self.next = message("D", id, &order);
        }
        Ok(())
    }

    fn send(&mut self, sent: Sent) -> Result<(), Failure> {
        self.prepare()?;
        self.waiting.push_back((self.next_seq, sent));
        self.write_next()
    }

    fn poll(&mut self, sample: &mut Sample) -> Result<(), Failure> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let taken = self.take_in(&mut |kind, message| {
            if kind != b"8" {
                return Ok(());
            }
            let arrived = Instant::now();
            let id = field(message, "11").and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
            match waiting.pop_front() {
                Some((expected, sent)) if id == Some(expected) => sample.answered(sent, arrived),
                other => return Err(format!("a report of order {id:?}, and not of {other:?}").into()),
            }
            Ok(())
        });
        self.waiting = waiting;
        taken
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// A message with its length and its sum; `|` ends a field.
fn message(kind: &str, seq: u64, fields: &str) -> Vec<u8> {
    let body = format!("35={kind}|34={seq}|49=CLIENT|52={SENDING_TIME}|56=VENUE|{fields}");
    let mut bytes = format!("8=FIX.4.2|9={}|{body}", body.len()).replace('|', "\u{1}").into_bytes();
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes.extend_from_slice(format!("10={sum:03}\u{1}").as_bytes());
    bytes
}

/// Length of the first message, when that much is there.
fn message_len(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    const START: &[u8] = b"8=FIX.4.2\x019=";
    let Some(rest) = bytes.get(START.len()..) else { return Ok(None) };
    if !bytes.starts_with(START) {
        return Err("what came is no message".into());
    }
    let Some(digits) = rest.iter().position(|byte| *byte == SOH) else { return Ok(None) };
    let body: usize = std::str::from_utf8(rest.get(..digits).unwrap_or_default())?.parse()?;
    let head = START.len().saturating_add(digits).saturating_add(1);
    Ok(Some(head.saturating_add(body).saturating_add(TRAILER_BYTES)).filter(|len| *len <= bytes.len()))
}

/// The value of the first field of a tag that is not the first of the message.
fn field<'a>(message: &'a [u8], tag: &str) -> Option<&'a [u8]> {
    message.split(|byte| *byte == SOH).skip(1).find_map(|field| field.strip_prefix(tag.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_length_and_its_sum() {
        // The body is 5 + 5 + 10 + 25 + 9 + 6 bytes; the sum is from elsewhere.
        let bytes = message("0", 2, "112=x|");
        let text = String::from_utf8(bytes).unwrap().replace('\u{1}', "|");
        assert_eq!(text, "8=FIX.4.2|9=60|35=0|34=2|49=CLIENT|52=20260101-00:00:00.000|56=VENUE|112=x|10=057|");
    }

    #[test]
    fn a_message_is_taken_when_all_of_it_is_there_and_its_fields_are_found_by_tag() {
        let bytes = message("8", 7, "11=42|111=9|");
        for len in 0..bytes.len() {
            assert_eq!(message_len(&bytes[..len]).unwrap(), None, "{len} bytes");
        }
        let two = [bytes.clone(), bytes.clone()].concat();
        assert_eq!(message_len(&two).unwrap(), Some(bytes.len()));
        assert_eq!((field(&bytes, "35"), field(&bytes, "11")), (Some(&b"8"[..]), Some(&b"42"[..])));
        assert_eq!(field(&bytes, "1"), None);
        assert!(message_len(b"HTTP/1.1 400 Bad Request").is_err());
    }
}
