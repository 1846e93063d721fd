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

/// Time without a sync after which what waits is no burst that passes, ns: from then on what adds risk is refused
/// rather than kept waiting, so that what reduces it is read.
const STALL_NS: u64 = 500_000_000;

/// Bytes that wait, in journal order. Bounded: new orders are refused while it is half full, and the loop reads no more
/// commands while it is nearly full.
#[derive(Debug)]
pub struct Gate {
    entries: VecDeque<Entry>,
    /// Number of the first entry; the others have those that follow.
    first_no: u64,
    entries_max: usize,
    /// While something up to here waits, the gate counts as full.
    full_to: u64,
    /// While something up to here waits, a connection has half of its share.
    half_full_to: u64,
    /// When something last left, or began to wait, ns monotonic.
    moved_ns: u64,
    /// Something waited at the last look.
    is_waiting: bool,
    is_stalled: bool,
}

impl Gate {
    /// A gate for at most `entries_max` waiting frames.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self {
            entries: VecDeque::with_capacity(entries_max),
            first_no: 0,
            entries_max,
            full_to: 0,
            half_full_to: 0,
            moved_ns: 0,
            is_waiting: false,
            is_stalled: false,
        }
    }

    /// Frames that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        match self.entries.front() {
            Some(front) if front.journal_seq <= self.full_to && !self.is_stalled => 0,
            Some(_) | None => self.entries_max.saturating_sub(self.entries.len()),
        }
    }

    /// Has no room from now on, until all that waits has left or the sync stalls: one connection has its share of what
    /// may wait.
    pub fn fill(&mut self) {
        self.full_to = self.entries.back().map_or(self.full_to, |back| back.journal_seq);
    }

    /// Counts as half full while the sync stalls, until all that waits has left: one connection has half of its share.
    pub fn half_fill(&mut self) {
        self.half_full_to = self.entries.back().map_or(self.half_full_to, |back| back.journal_seq);
    }

    /// True when what adds risk must leave the rest of the room to what reduces it.
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        let has_half = self.entries.front().is_some_and(|front| front.journal_seq <= self.half_full_to);
        (has_half && self.is_stalled) || self.room() < self.entries_max / 2
    }

    /// True while nothing of what waits has left for long.
    #[must_use]
    pub const fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// Looks whether the sync goes on, after all has left that may: true when it has just been found to stall.
    pub fn look_for_stall(&mut self, now_ns: u64, has_moved: bool) -> bool {
        if has_moved || !self.is_waiting {
            self.moved_ns = now_ns;
        }
        self.is_waiting = !self.entries.is_empty();
        let was_stalled = self.is_stalled;
        self.is_stalled = now_ns.saturating_sub(self.moved_ns) > STALL_NS;
        self.is_stalled && !was_stalled
    }

    /// True when no frame waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// True when one more frame can be held.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.entries.len() < self.entries_max
    }

    /// Holds `bytes` of a connection's queue until `journal_seq` is durable; the caller has seen that there is a place.
    /// `newest_no` is the connection's own, 0 at first: what it has waiting for the same event takes one place, however
    /// often it is refused meanwhile, and however many frames an answer has.
    pub fn hold(&mut self, journal_seq: u64, connection: ConnectionId, bytes: usize, newest_no: &mut u64) {
        let newest = newest_no.checked_sub(self.first_no).and_then(|index| self.entries.get_mut(index as usize));
        if let Some(newest) = newest
            && (newest.connection, newest.journal_seq) == (connection, journal_seq)
        {
            newest.bytes = newest.bytes.saturating_add(bytes as u32);
            return;
        }
        *newest_no = self.first_no.saturating_add(self.entries.len() as u64);
        self.entries.push_back(Entry { journal_seq, connection, bytes: bytes as u32 });
    }

    /// The next bytes that may leave now that `durable_seq` is durable.
    pub fn release(&mut self, durable_seq: u64) -> Option<(ConnectionId, usize)> {
        let front = self.entries.front()?;
        if front.journal_seq > durable_seq {
            return None;
        }
        self.first_no = self.first_no.saturating_add(1);
        let released = self.entries.pop_front().map(|entry| (entry.connection, entry.bytes as usize));
        if self.entries.is_empty() {
            // From its start again, which lies in the cache: a queue that walks on through its memory never does.
            self.entries.clear();
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_journal_order_and_not_before_their_event_is_durable() {
        let mut gate = Gate::new(3);
        let [a, b] = [ConnectionId { index: 1, no: 1 }, ConnectionId { index: 2, no: 2 }];
        let [mut of_a, mut of_b] = [0; 2];
        gate.hold(10, a, 100, &mut of_a);
        gate.hold(10, b, 50, &mut of_b);
        assert!(gate.has_place());
        gate.hold(12, a, 7, &mut of_a);
        assert!(!gate.has_place());
        assert_eq!(gate.release(9), None);
        assert_eq!(gate.release(11), Some((a, 100)));
        assert_eq!(gate.release(11), Some((b, 50)));
        assert_eq!(gate.release(11), None);
        assert_eq!(gate.release(12), Some((a, 7)));
        assert!(gate.is_empty());
    }

    #[test]
    fn what_is_held_by_an_empty_gate_lies_where_the_last_has_lain() {
        let mut gate = Gate::new(100);
        let mut places = std::collections::BTreeSet::new();
        for seq in 1..50 {
            gate.hold(seq, ConnectionId::default(), 1, &mut 0);
            places.insert(gate.entries.front().map(std::ptr::from_ref));
            assert!(gate.release(seq).is_some());
        }
        assert_eq!(places.len(), 1);
    }

    #[test]
    fn what_connections_wait_for_with_one_event_takes_one_place_each() {
        let mut gate = Gate::new(4);
        let connections = [ConnectionId { index: 1, no: 1 }, ConnectionId { index: 2, no: 2 }];
        let mut newest = [0; 2];
        for round in 1..=3_u32 {
            for _ in 0..100 {
                for (connection, newest) in connections.iter().zip(&mut newest) {
                    gate.hold(10, *connection, 1, newest);
                }
            }
            gate.hold(11, connections[0], 7, &mut newest[0]);
            assert_eq!((gate.room(), gate.is_half_full()), (1, true), "{round}: another event, another place");
            assert_eq!(gate.release(11), Some((connections[0], 100)), "{round}");
            gate.hold(11, connections[1], 5, &mut newest[1]);
            assert_eq!(gate.release(10), Some((connections[1], 100)), "{round}: what has left takes nothing more");
            assert_eq!(gate.release(11), Some((connections[0], 7)), "{round}");
            assert_eq!(gate.release(11), Some((connections[1], 5)), "{round}");
            assert!(gate.is_empty() && !gate.is_half_full(), "{round}");
        }
    }

    #[test]
    fn what_one_connection_holds_stops_orders_when_the_sync_stalls_and_reading_while_it_goes_on() {
        let mut gate = Gate::new(9);
        let (a, mut newest) = (ConnectionId { index: 1, no: 1 }, 0);
        assert!(!gate.look_for_stall(3 * STALL_NS, false), "nothing waits");
        gate.hold(10, a, 1, &mut newest);
        gate.half_fill();
        gate.fill();
        assert!(!gate.look_for_stall(5 * STALL_NS, false), "it has just begun to wait");
        assert_eq!((gate.room(), gate.is_half_full()), (0, true));
        assert!(gate.look_for_stall(6 * STALL_NS + 1, false), "it is found");
        assert!(!gate.look_for_stall(6 * STALL_NS + 2, false), "once");
        assert_eq!((gate.room(), gate.is_half_full()), (8, true), "cancels are read, orders refused");
        gate.hold(11, a, 1, &mut newest);
        assert!(gate.release(10).is_some());
        assert!(!gate.look_for_stall(6 * STALL_NS + 3, true) && !gate.is_stalled());
        assert_eq!((gate.room(), gate.is_half_full()), (8, false));
    }

    #[test]
    fn a_gate_that_counts_as_full_has_room_when_all_that_waited_has_left() {
        let mut gate = Gate::new(9);
        let (a, mut newest) = (ConnectionId { index: 1, no: 1 }, 0);
        gate.hold(10, a, 1, &mut newest);
        gate.hold(11, a, 1, &mut newest);
        gate.fill();
        assert_eq!((gate.room(), gate.has_place()), (0, true), "what follows from earlier reads still has its place");
        gate.hold(12, a, 1, &mut newest);
        assert!(gate.release(10).is_some());
        assert_eq!(gate.room(), 0);
        assert!(gate.release(11).is_some());
        assert_eq!(gate.room(), 8);
    }
}
