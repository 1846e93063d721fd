//! What is queued for a connection: what waits at the gate, what a reader leaves unread, and what becomes of it.

use tradecore_protocol::session::Now;

use super::pool::ByteQueue;
use super::{Connection, Connections};
use crate::egress::gate::{ConnectionId, Gate};

impl Connections {
    /// Queues a frame. With `journal_seq` it waits at the gate until that event is durable; without, it waits
    /// for nothing but what is queued before it. Without room the connection is noted as slow, and takes nothing more.
    pub fn queue(&mut self, index: u32, frame: &[u8], journal_seq: Option<u64>, last_seq: u64, gate: &mut Gate) {
        let Some(Some(connection)) = self.slots.get_mut(index as usize) else { return };
        if connection.is_closing() || frame.is_empty() {
            return;
        }
        // What the gate holds is not the reader's fault, nor what this turn will offer to a socket that is not full.
        let is_read =
            connection.writable || connection.out.released().saturating_add(frame.len()) <= self.outbound_bytes_max;
        let held_to = held_to(connection, journal_seq, last_seq);
        let has_place = held_to.is_none() || gate.has_place();
        if !is_read || !has_place || !self.pool.push(&mut connection.out, frame) {
            return self.note_slow(index);
        }
        hold_or_release(connection, frame.len(), held_to, gate);
        if connection.out.held() > self.outbound_bytes_max / 2 {
            gate.fill();
        }
        if connection.out.held() > self.outbound_bytes_max / 4 {
            gate.half_fill();
        }
        if connection.can_write() {
            self.to_write.add(index);
        }
    }

    /// Queues a frame for nobody: the chunk that a next frame gets lies in the cache then.
    pub fn queue_for_nobody(&mut self, frame: &[u8]) {
        let mut nobody = ByteQueue::default();
        if self.pool.push(&mut nobody, frame) {
            self.pool.clear(&mut nobody);
        }
    }

    /// Lets a frame leave before all that is held; without room for it nothing is queued.
    pub fn queue_ahead(&mut self, index: u32, frame: &[u8]) {
        if let Some(Some(connection)) = self.slots.get_mut(index as usize)
            && !connection.is_closing()
            && !frame.is_empty()
            && self.pool.push_ahead(&mut connection.out, frame)
        {
            self.to_write.add(index);
        }
    }

    /// Queues the frame that ends a connection behind all others; there is room for it beyond what the others may
    /// take, so that a slow consumer is told why it is sent away. What it says of numbers waits until it is durable.
    pub fn queue_goodbye(&mut self, index: u32, frame: &[u8], last_seq: u64, gate: &mut Gate) {
        let Some(Some(connection)) = self.slots.get_mut(index as usize) else { return };
        let held_to = held_to(connection, Some(last_seq), last_seq);
        // A full gate leaves the end of the stream as the only answer.
        let has_place = held_to.is_none() || gate.has_place();
        if connection.closing.is_none() && has_place && self.pool.push_last(&mut connection.out, frame) {
            hold_or_release(connection, frame.len(), held_to, gate);
            self.to_write.add(index);
        }
    }

    fn note_slow(&mut self, index: u32) {
        if let Some(connection) = self.get_mut(index) {
            connection.is_slow = true;
            self.slow.add(index);
        }
    }

    /// The next connection that has to be sent away since it does not read.
    pub fn next_slow(&mut self) -> Option<u32> {
        loop {
            let index = self.slow.take()?;
            if self.get(index).is_some_and(|connection| connection.is_slow && connection.closing.is_none()) {
                return Some(index);
            }
        }
    }

    /// Notes a connection as slow that has left more than its floor unread for `close_linger_ns`, when half of what is
    /// shared is gone: others shall find room.
    pub fn look_for_hoarding(&mut self, index: u32, now: Now) {
        let floor_bytes = self.pool.floor_bytes();
        let is_short = self.pool.has_less_than_one_in(2);
        let linger_ns = self.close_linger_ns;
        let Some(connection) = self.get_mut(index) else { return };
        if connection.out.released() <= floor_bytes {
            connection.above_floor_since_ns = now.mono_ns;
        } else if is_short && now.mono_ns.saturating_sub(connection.above_floor_since_ns) > linger_ns {
            self.note_slow(index);
        }
    }

    /// True when so little of what is shared is left that nothing may be begun that makes reports.
    #[must_use]
    pub const fn is_crowded(&self) -> bool {
        self.pool.has_less_than_one_in(4)
    }

    /// True while so much of a connection is held at the gate that its requests wait in its socket. While the sync
    /// stalls it may be twice as much: its orders are refused, so that its cancels are read.
    #[must_use]
    pub fn waits_for_gate(&self, index: u32, gate: &Gate) -> bool {
        let parts = if gate.is_stalled() { 2 } else { 4 };
        self.holds_one_in(index, parts)
    }

    /// True when more than one in `parts` of the bytes that a connection may have is held at the gate.
    #[must_use]
    pub fn holds_one_in(&self, index: u32, parts: usize) -> bool {
        let bytes_max = self.outbound_bytes_max.checked_div(parts).unwrap_or(0);
        self.get(index).is_some_and(|connection| connection.out.held() > bytes_max)
    }

    /// Puts everybody in line who may have something to read: what kept them out has changed.
    pub fn read_again(&mut self) {
        for nth in 0..self.len() {
            if let Some(index) = self.nth(nth)
                && self.get(index).is_some_and(|connection| connection.readable)
            {
                self.to_read.add(index);
            }
        }
    }

    /// Lets bytes leave that the gate has let go.
    pub fn release(&mut self, id: ConnectionId, bytes: usize) {
        if let Some(connection) = self.find_mut(id) {
            connection.out.release(bytes);
            let is_readable = connection.readable;
            self.to_write.add(id.index);
            if is_readable {
                self.to_read.add(id.index);
            }
        }
    }

    /// Room for `bytes` more of a long answer: it stays within the connection's floor, so that what is shared is left
    /// to live reports.
    #[must_use]
    pub fn has_room(&self, index: u32, bytes: usize) -> bool {
        let bytes_max = self.pool.floor_bytes().min(self.outbound_bytes_max / 4);
        self.get(index).is_some_and(|connection| connection.out.len().saturating_add(bytes) <= bytes_max)
    }
}

/// The event that a new frame waits for: its own, or the last, when frames before it wait.
const fn held_to(connection: &Connection, journal_seq: Option<u64>, last_seq: u64) -> Option<u64> {
    match journal_seq {
        None if connection.out.held() > 0 => Some(last_seq),
        own => own,
    }
}

fn hold_or_release(connection: &mut Connection, bytes: usize, held_to: Option<u64>, gate: &mut Gate) {
    match held_to {
        Some(seq) => gate.hold(seq, connection.id, bytes, &mut connection.newest_no),
        None => connection.out.release(bytes),
    }
}
