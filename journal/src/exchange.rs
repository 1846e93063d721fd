//! What the writer and the maker of segments hand each other, without waiting.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::segment::Prepared;

/// Segments on their way between the two.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Ready to be written: one.
    pub(crate) prepared: ArrayQueue<Prepared>,
    /// Left by the writer, to be unmapped.
    pub(crate) retired: ArrayQueue<Prepared>,
    is_writer_short: AtomicBool,
    is_closed: AtomicBool,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        // The maker empties the second before it fills the first, so it never overflows.
        Self {
            prepared: ArrayQueue::new(1),
            retired: ArrayQueue::new(4),
            is_writer_short: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The writer has none ahead and little left: the maker should not take its time.
    pub(crate) fn is_writer_short(&self) -> bool {
        self.is_writer_short.load(Ordering::Relaxed)
    }

    pub(crate) fn set_writer_short(&self, is_short: bool) {
        self.is_writer_short.store(is_short, Ordering::Relaxed);
    }

    /// Nobody needs a further segment.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use crate::segment::Pace;
    use crate::simulation::Simulated;
    use crate::start::{Started, start};
    use crate::{Config, Space};

    fn append(started: &mut Started<Simulated>) {
        assert!(started.writer.can_append(512, 1, Space::Normal));
        started.writer.begin(1);
        started.writer.append(64, 1, 480, |out| out.fill(1));
        started.writer.commit();
    }

    #[test]
    fn the_next_segment_is_urgent_when_a_quarter_is_used_and_none_lies_ready() {
        let disk = Simulated::default();
        let config = Config { reserve_bytes: 64 << 10, first_segment_bytes: 1 << 20, ..Config::new("/journal") };
        let mut started = start(&disk, &config, "boot", 0).expect("starts");
        let steps = |started: &mut Started<Simulated>| {
            let before = disk.steps();
            let next = started.maker.make(Pace::Gentle(&started.exchange)).expect("room");
            let name = crate::segment::path_of("/journal".as_ref(), next.header.segno);
            let content = disk.content().remove(&name).expect("there");
            assert_eq!(content.len() as u64, next.header.segment_bytes);
            assert!(content.iter().skip(crate::segment::SEGMENT_HEADER_BYTES).all(|byte| *byte == 0));
            (disk.steps() - before, next)
        };
        append(&mut started);
        let (unhurried, next) = steps(&mut started);
        while started.writer.room() > (1 << 20) / 4 * 3 {
            append(&mut started);
        }
        append(&mut started);
        let (hurried, _) = steps(&mut started);
        assert!(hurried < 10 && unhurried > 256, "{hurried} and {unhurried} steps on the disk, a page each");

        started.exchange.prepared.push(next).expect("empty");
        while !started.exchange.prepared.is_empty() {
            append(&mut started);
        }
        append(&mut started);
        let (after, _) = steps(&mut started);
        assert!(after > 256, "{after} steps: one lies ready, and the syncs go first again");
    }
}
