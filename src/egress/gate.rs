//! The gate: report bytes that wait until their event is durable.

use std::collections::VecDeque;

/// A connection: its place in the table, and a number that tells it from the place's former owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionId {
    /// Place in the table.
    pub index: u32,
    /// Number of the connection since start.
    pub no: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    journal_seq: u64,
    connection: ConnectionId,
    bytes: u32,
}

/// Bytes that wait, in journal order. Bounded: the loop reads no more commands while it is nearly full.
#[derive(Debug)]
pub struct Gate {
    entries: VecDeque<Entry>,
    entries_max: usize,
}

impl Gate {
    /// A gate for at most `entries_max` waiting frames.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self { entries: VecDeque::with_capacity(entries_max), entries_max }
    }

    /// Frames that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.entries_max.saturating_sub(self.entries.len())
    }

    /// True when no frame waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Holds `bytes` of a connection's queue until `journal_seq` is durable; false when the gate is full.
    #[must_use]
    pub fn hold(&mut self, journal_seq: u64, connection: ConnectionId, bytes: usize) -> bool {
        if self.room() == 0 {
            return false;
        }
        self.entries.push_back(Entry { journal_seq, connection, bytes: bytes as u32 });
        true
    }

    /// The next bytes that may leave now that `durable_seq` is durable.
    pub fn release(&mut self, durable_seq: u64) -> Option<(ConnectionId, usize)> {
        let front = self.entries.front()?;
        if front.journal_seq > durable_seq {
            return None;
        }
        self.entries.pop_front().map(|entry| (entry.connection, entry.bytes as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_journal_order_and_not_before_their_event_is_durable() {
        let mut gate = Gate::new(3);
        let [a, b] = [ConnectionId { index: 1, no: 1 }, ConnectionId { index: 2, no: 2 }];
        assert!(gate.hold(10, a, 100) && gate.hold(10, b, 50) && gate.hold(12, a, 7));
        assert!(!gate.hold(13, a, 1), "a full gate refuses");
        assert_eq!(gate.release(9), None);
        assert_eq!(gate.release(11), Some((a, 100)));
        assert_eq!(gate.release(11), Some((b, 50)));
        assert_eq!(gate.release(11), None);
        assert_eq!(gate.release(12), Some((a, 7)));
        assert!(gate.is_empty());
    }
}
