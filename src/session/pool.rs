//! Byte queues of all connections, cut from one pool that is allocated at start.
//!
//! An idle connection holds no chunk, and yet has its floor: chunks that no other can take. What is beyond the floors
//! is shared, and behind it one chunk a queue is set aside for its last frame. Floors are an account of free chunks,
//! not chunks of their own. Knows nothing of frames or sockets.

/// Bytes of one chunk.
pub const CHUNK_BYTES: usize = 8 * 1024;
/// Chunks whose memory is there from the start: what waits for readers who keep up takes no fault on the loop. Free
/// chunks are a stack, so that only a reader who leaves more unread has others taken.
const BROUGHT_IN: usize = 64;
/// Bytes of a page, at most as many as any CPU here has.
const PAGE_BYTES: usize = 4096;

const NIL: u32 = u32::MAX;

/// Chunks, free or owned by one queue each.
#[derive(Debug)]
pub struct Pool {
    bytes: Box<[u8]>,
    next: Box<[u32]>,
    free: u32,
    free_count: u32,
    floor: u32,
    shared: i64,
    /// Below zero while last frames take what is set aside for them.
    shared_left: i64,
}

/// A queue of bytes in chunks of a pool; the first `released` bytes may be written to the socket.
#[derive(Clone, Copy, Debug)]
pub struct ByteQueue {
    head: u32,
    tail: u32,
    head_offset: u32,
    tail_len: u32,
    chunks: u32,
    len: usize,
    released: usize,
}

impl Default for ByteQueue {
    fn default() -> Self {
        Self { head: NIL, tail: NIL, head_offset: 0, tail_len: 0, chunks: 0, len: 0, released: 0 }
    }
}

impl ByteQueue {
    /// Bytes in the queue.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that may leave now.
    #[must_use]
    pub const fn released(&self) -> usize {
        self.released
    }

    /// Bytes that may not leave yet.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.len.saturating_sub(self.released)
    }

    /// Lets `bytes` more bytes leave.
    pub fn release(&mut self, bytes: usize) {
        self.released = self.released.saturating_add(bytes).min(self.len);
    }
}

impl Pool {
    /// A pool of `chunks` chunks for at most `queues` queues: half of it is theirs in equal floors, the other half is
    /// shared. The system gives a page when it is first used, but for those of the first chunks.
    #[must_use]
    pub fn new(chunks: u32, queues: u32) -> Self {
        let count = chunks as usize;
        let own = (chunks / 2).checked_div(queues).unwrap_or(0);
        let shared = i64::from(chunks).saturating_sub(i64::from(own).saturating_mul(i64::from(queues)));
        let mut next: Box<[u32]> = (1..=chunks).collect();
        if let Some(last) = next.last_mut() {
            *last = NIL;
        }
        let mut bytes = vec![0; count.saturating_mul(CHUNK_BYTES)].into_boxed_slice();
        // Not a zero, which is there already as far as a compiler knows. A chunk is written before it is read.
        bytes.iter_mut().take(BROUGHT_IN * CHUNK_BYTES).step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
        Self {
            bytes,
            next,
            free: if chunks == 0 { NIL } else { 0 },
            free_count: chunks,
            floor: own.saturating_sub(1),
            shared,
            shared_left: shared,
        }
    }

    /// Bytes that fit the floor of a queue, wherever in a chunk they begin.
    #[must_use]
    pub const fn floor_bytes(&self) -> usize {
        (self.floor.saturating_sub(1) as usize).saturating_mul(CHUNK_BYTES)
    }

    /// True when less than one in `parts` of what is shared is left.
    #[must_use]
    pub const fn has_less_than_one_in(&self, parts: i64) -> bool {
        self.shared_left.saturating_mul(parts) < self.shared
    }

    /// Chunks that no queue owns.
    #[must_use]
    pub const fn free_chunks(&self) -> u32 {
        self.free_count
    }

    fn take(&mut self, queue: &mut ByteQueue) -> Option<u32> {
        let index = self.free;
        let next = self.next.get_mut(index as usize)?;
        self.free = *next;
        *next = NIL;
        self.free_count = self.free_count.wrapping_sub(1);
        self.shared_left = self.shared_left.saturating_sub(i64::from(queue.chunks >= self.floor));
        queue.chunks = queue.chunks.saturating_add(1);
        Some(index)
    }

    fn give_back(&mut self, queue: &mut ByteQueue, index: u32) {
        if let Some(next) = self.next.get_mut(index as usize) {
            *next = self.free;
            self.free = index;
            self.free_count = self.free_count.wrapping_add(1);
            queue.chunks = queue.chunks.saturating_sub(1);
            self.shared_left = self.shared_left.saturating_add(i64::from(queue.chunks >= self.floor));
        }
    }

    fn chunk(&self, index: u32) -> &[u8] {
        let start = (index as usize).saturating_mul(CHUNK_BYTES);
        self.bytes.get(start..start.saturating_add(CHUNK_BYTES)).unwrap_or_default()
    }

    fn chunk_mut(&mut self, index: u32) -> &mut [u8] {
        let start = (index as usize).saturating_mul(CHUNK_BYTES);
        self.bytes.get_mut(start..start.saturating_add(CHUNK_BYTES)).unwrap_or_default()
    }

    /// Appends `bytes` to `queue`, not released; false, and nothing appended, when they fit neither its floor nor what
    /// is shared.
    #[must_use]
    pub fn push(&mut self, queue: &mut ByteQueue, bytes: &[u8]) -> bool {
        let chunks = i64::from(queue.chunks).saturating_add(chunks_needed(queue, bytes) as i64);
        let floor = i64::from(self.floor);
        let beyond = chunks.saturating_sub(floor.max(i64::from(queue.chunks)));
        if beyond > self.shared_left.max(0) {
            return false;
        }
        self.push_last(queue, bytes)
    }

    /// As `push`, of the frame that ends a queue: a chunk is set aside for it.
    #[must_use]
    pub fn push_last(&mut self, queue: &mut ByteQueue, bytes: &[u8]) -> bool {
        if chunks_needed(queue, bytes) > self.free_count as usize {
            return false;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            if queue.tail == NIL || queue.tail_len as usize == CHUNK_BYTES {
                let Some(index) = self.take(queue) else { return false };
                if queue.tail == NIL {
                    queue.head = index;
                    queue.head_offset = 0;
                } else if let Some(next) = self.next.get_mut(queue.tail as usize) {
                    *next = index;
                }
                queue.tail = index;
                queue.tail_len = 0;
            }
            let at = queue.tail_len as usize;
            let room = self.chunk_mut(queue.tail).get_mut(at..).unwrap_or_default();
            let count = room.len().min(rest.len());
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            if let Some(to) = room.get_mut(..now.len()) {
                to.copy_from_slice(now);
            }
            queue.tail_len = queue.tail_len.saturating_add(count as u32);
            queue.len = queue.len.saturating_add(count);
            rest = later;
        }
        true
    }

    /// Puts `bytes` before all others of a queue that is not empty, released, when none of those is; false, and nothing
    /// put, when there is no room. They are no longer than a chunk.
    #[must_use]
    pub fn push_ahead(&mut self, queue: &mut ByteQueue, bytes: &[u8]) -> bool {
        let before = (queue.head_offset as usize).min(bytes.len());
        let (early, late) = bytes.split_at_checked(bytes.len().saturating_sub(before)).unwrap_or_default();
        if queue.is_empty() || queue.released > 0 || early.len() > CHUNK_BYTES {
            return false;
        }
        // The head's own spent bytes take the end of it, a chunk before the head the rest.
        let (head, spent) = (queue.head, queue.head_offset as usize);
        if early.is_empty() {
            queue.head_offset = queue.head_offset.saturating_sub(before as u32);
        } else {
            let is_beyond_floor = queue.chunks >= self.floor;
            if is_beyond_floor && self.shared_left <= 0 {
                return false;
            }
            let Some(index) = self.take(queue) else { return false };
            let start = CHUNK_BYTES.saturating_sub(early.len());
            if let Some(to) = self.chunk_mut(index).get_mut(start..) {
                to.copy_from_slice(early);
            }
            if let Some(next) = self.next.get_mut(index as usize) {
                *next = head;
            }
            queue.head = index;
            queue.head_offset = start as u32;
        }
        if let Some(to) = self.chunk_mut(head).get_mut(spent.saturating_sub(before)..spent) {
            to.copy_from_slice(late);
        }
        queue.len = queue.len.saturating_add(bytes.len());
        queue.released = bytes.len();
        true
    }

    /// The bytes that may leave, in order, a piece for each chunk that they lie in.
    pub fn pieces<'a>(&'a self, queue: &ByteQueue) -> impl Iterator<Item = &'a [u8]> {
        let (mut at, mut from, mut left) = (queue.head, queue.head_offset as usize, queue.released);
        core::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let end = CHUNK_BYTES.min(from.saturating_add(left));
            let piece = self.chunk(at).get(from..end).filter(|piece| !piece.is_empty())?;
            left = left.saturating_sub(piece.len());
            at = self.next.get(at as usize).copied().unwrap_or(NIL);
            from = 0;
            Some(piece)
        })
    }

    /// Drops the first `count` bytes, at most what may leave.
    pub fn pop(&mut self, queue: &mut ByteQueue, count: usize) {
        let count = count.min(queue.released);
        queue.len = queue.len.saturating_sub(count);
        queue.released = queue.released.saturating_sub(count);
        if queue.len == 0 {
            return self.clear(queue);
        }
        let mut at = (queue.head_offset as usize).saturating_add(count);
        while at >= CHUNK_BYTES {
            let spent = queue.head;
            queue.head = self.next.get(spent as usize).copied().unwrap_or(NIL);
            self.give_back(queue, spent);
            at = at.saturating_sub(CHUNK_BYTES);
        }
        queue.head_offset = at as u32;
    }

    /// Empties the queue.
    pub fn clear(&mut self, queue: &mut ByteQueue) {
        while queue.head != NIL {
            let spent = queue.head;
            queue.head = if spent == queue.tail { NIL } else { self.next.get(spent as usize).copied().unwrap_or(NIL) };
            self.give_back(queue, spent);
        }
        *queue = ByteQueue::default();
    }
}

/// Chunks that `bytes` need behind the queue's tail.
fn chunks_needed(queue: &ByteQueue, bytes: &[u8]) -> usize {
    let room_in_tail = if queue.tail == NIL { 0 } else { CHUNK_BYTES.saturating_sub(queue.tail_len as usize) };
    bytes.len().saturating_sub(room_in_tail).div_ceil(CHUNK_BYTES)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn drain(pool: &mut Pool, queue: &mut ByteQueue) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let pieces: Vec<u8> = pool.pieces(queue).flatten().copied().collect();
            assert_eq!(pieces.len(), queue.released());
            if pieces.is_empty() {
                return out;
            }
            // Partial writes, of which each other one ends in a later chunk.
            let count = pieces.len().min(if out.len().is_multiple_of(2) { 1001 } else { CHUNK_BYTES + 1 });
            out.extend_from_slice(&pieces[..count]);
            pool.pop(queue, count);
        }
    }

    #[test]
    fn bytes_leave_in_order_and_chunks_come_back() {
        let mut pool = Pool::new(10, 1);
        let mut queue = ByteQueue::default();
        let bytes: Vec<u8> = (0..30_000_u32).map(|i| i as u8).collect();
        for part in bytes.chunks(777) {
            assert!(pool.push(&mut queue, part));
        }
        assert_eq!(pool.pieces(&queue).count(), 0, "nothing leaves before it is released");
        queue.release(12_345);
        let mut out = drain(&mut pool, &mut queue);
        assert_eq!(out.len(), 12_345);
        queue.release(usize::MAX);
        out.extend(drain(&mut pool, &mut queue));
        assert_eq!(out, bytes);
        assert_eq!((pool.free_chunks(), pool.shared_left), (10, 5));
    }

    #[test]
    fn what_is_put_ahead_leaves_first_and_the_rest_as_it_was() {
        let bytes: Vec<u8> = (0..2 * CHUNK_BYTES).map(|i| i as u8).collect();
        let ahead = [0xee; 48];
        // What has left before is nothing, less than the frame, as much, more, and all of a chunk.
        for left in [0, 8, 40, 48, 56, CHUNK_BYTES - 8, CHUNK_BYTES, CHUNK_BYTES + 8] {
            let mut pool = Pool::new(10, 1);
            let mut queue = ByteQueue::default();
            assert!(!pool.push_ahead(&mut queue, &ahead), "nothing waits");
            assert!(pool.push(&mut queue, &bytes));
            queue.release(left);
            assert_eq!(drain(&mut pool, &mut queue), &bytes[..left]);
            for _ in 0..3 {
                assert!(pool.push_ahead(&mut queue, &ahead), "{left}");
                assert!(!pool.push_ahead(&mut queue, &ahead), "{left}: the first may be on its way");
                assert_eq!(drain(&mut pool, &mut queue), ahead, "{left}");
            }
            queue.release(usize::MAX);
            assert_eq!(drain(&mut pool, &mut queue), &bytes[left..], "{left}");
            assert_eq!((pool.free_chunks(), pool.shared_left), (10, 5), "{left}");
        }
    }

    #[test]
    fn an_empty_pool_refuses_whole_and_keeps_what_is_queued() {
        let mut pool = Pool::new(1, 0);
        let mut queue = ByteQueue::default();
        assert!(pool.push(&mut queue, &[1; CHUNK_BYTES - 4]));
        assert!(!pool.push(&mut queue, &[2; 5]));
        assert_eq!(queue.len(), CHUNK_BYTES - 4);
        assert!(pool.push(&mut queue, &[2; 4]));
        pool.clear(&mut queue);
        assert_eq!((pool.free_chunks(), queue.len()), (1, 0));
    }

    #[test]
    fn a_queue_has_its_floor_and_its_last_frame_whatever_the_others_take() {
        const QUEUES: u32 = 4;
        // Of 40 chunks 20 are shared; each queue has a floor of 4 and one for its last frame.
        let mut pool = Pool::new(40, QUEUES);
        let chunk = [1; CHUNK_BYTES];
        let mut queues = [ByteQueue::default(); QUEUES as usize];
        let [greedy, too_late, prompt, idle] = &mut queues;
        let fill = |pool: &mut Pool, queue: &mut ByteQueue| (0..).take_while(|_| pool.push(queue, &chunk)).count();
        assert_eq!(fill(&mut pool, greedy), 24, "its floor and all that is shared");
        assert!(pool.has_less_than_one_in(20));
        assert_eq!((fill(&mut pool, too_late), fill(&mut pool, prompt)), (4, 4), "their floors");
        for queue in [&mut *greedy, too_late, prompt] {
            assert!(pool.push_last(queue, b"goodbye"));
        }
        assert_eq!(fill(&mut pool, idle), 4);
        assert!(pool.push_last(idle, b"goodbye"));
        assert_eq!(pool.free_chunks(), 0);
        // What goes back to the shared part can be taken by any.
        pool.clear(greedy);
        assert_eq!(fill(&mut pool, idle), 17, "less what the last frames of three others have taken");
        for queue in &mut queues {
            pool.clear(queue);
        }
        assert_eq!((pool.free_chunks(), pool.shared_left), (40, 20));
    }
}
