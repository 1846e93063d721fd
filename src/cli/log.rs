//! Log lines on stderr. A reader that does not read must not stop who writes: a line without room is left out.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::fmt::MakeWriter;

/// What a pipe takes at once when it says that it can be written.
const PIPE_BYTES: usize = 4096;

/// Writes lines to stderr, or leaves them out.
#[derive(Debug)]
pub(super) struct Lines {
    is_json: bool,
    /// Lines that were left out since the last that was written.
    left_out: Mutex<u64>,
}

impl Lines {
    pub(super) const fn new(is_json: bool) -> Self {
        Self { is_json, left_out: Mutex::new(0) }
    }

    fn gap(&self, count: u64) -> String {
        let text = format!("{count} log lines were left out: stderr was not read");
        if self.is_json { format!("{{\"level\":\"WARN\",\"message\":\"{text}\"}}\n") } else { format!("{text}\n") }
    }
}

fn has_room() -> bool {
    let stderr = io::stderr();
    let mut wanted = [PollFd::new(&stderr, PollFlags::OUT)];
    // A reader that is gone counts as room: the write fails at once.
    poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// One line, which comes as a whole.
#[derive(Debug)]
pub(super) struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Held over the look and the write, so that the room that was seen is there.
        let mut left_out = self.0.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        if *left_out > 0 && has_room() {
            io::stderr().write_all(self.0.gap(*left_out).as_bytes())?;
            *left_out = 0;
        }
        for part in bytes.chunks(PIPE_BYTES) {
            if !has_room() {
                *left_out = left_out.saturating_add(1);
                break;
            }
            io::stderr().write_all(part)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
