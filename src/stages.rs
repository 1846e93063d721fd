//! Where the time of an order goes: the stages of the loop, measured always.
//!
//! One command a turn is measured: the first new order, replace or cancel. The loop reads the time-stamp counter where a
//! stage ends and adds what has passed to that stage; after the socket write of the turn, when the answer has left, the
//! stages are recorded in histograms that other processes can read. In class `synced` the report waits for its sync over
//! turns, and no other command is measured meanwhile.
//!
//! The stages follow each other without a gap, so `total` is their sum. What is refused without an event is not measured,
//! nor is a report that its reader does not take in the turn in which it may leave.

use crate::egress::gate::ConnectionId;
use crate::histogram::Histogram;
use crate::ticks;

macro_rules! stages {
    ($($(#[doc = $doc:literal])* $stage:ident $name:literal,)*) => {
        /// A part of an order's way through the loop.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Stage { $($(#[doc = $doc])* $stage,)* }

        impl Stage {
            /// Every stage in the order of the way: name, meaning.
            pub const TABLE: &'static [(&'static str, &'static str)] = &[$(($name, concat!($($doc),*)),)*];
        }
    };
}

stages! {
    /// The system call that told of it; not measured where it may wait, which `core.idle = "park"` does.
    Poll "poll",
    /// The system call that brought its bytes.
    Read "read",
    /// Session rules, throttle and decoding.
    Rules "rules",
    /// The decision.
    Decide "decide",
    /// The journal: record, checksum, commit to memory.
    Append "append",
    /// The event applied to the state.
    Apply "apply",
    /// The report encoded and queued, the instruction for the broker offered.
    Report "report",
    /// The rest of the turn: other connections, commands behind it, facts from the broker, timers.
    Others "others",
    /// The gate and the outbox; with class `synced` also the wait for the sync.
    Release "release",
    /// The system call that took the answer.
    Write "write",
    /// All of it, from the poll to the end of the write.
    Total "total",
}

/// Histograms that are kept: one a stage.
pub const COUNT: usize = Stage::TABLE.len();

/// How far the measured command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// None is measured.
    Idle,
    /// The first command of this turn will be.
    Open,
    /// It is being decided, journaled, applied and told.
    Running,
    /// Its report is queued; the rest of its turn goes on.
    Queued,
    /// Its report is at the gate.
    Held,
    /// Its report may leave.
    Released,
    /// It has left.
    Written,
}

/// The stages of the command that is measured.
#[derive(Debug)]
pub struct Recorder {
    is_on: bool,
    progress: Progress,
    has_poll: bool,
    last: u64,
    ticks: [u64; COUNT],
    connection: ConnectionId,
    journal_seq: u64,
}

impl Recorder {
    /// Measures nothing yet; never, when it is not on.
    #[must_use]
    pub const fn new(is_on: bool) -> Self {
        Self {
            is_on,
            progress: Progress::Idle,
            has_poll: false,
            last: 0,
            ticks: [0; COUNT],
            connection: ConnectionId { index: 0, no: 0 },
            journal_seq: 0,
        }
    }

    /// A turn begins.
    pub fn begin(&mut self) {
        if self.is_on && self.progress == Progress::Idle {
            self.progress = Progress::Open;
            self.last = ticks::now();
        }
    }

    /// The poll is over; it is a stage only if it could not wait.
    pub fn polled(&mut self, could_wait: bool) {
        if self.progress == Progress::Open {
            self.ticks = [0; COUNT];
            self.lap(Stage::Poll);
            self.has_poll = !could_wait;
            if could_wait {
                self.set(Stage::Poll, 0);
            }
        }
    }

    /// A connection was read: what was read before it in this turn held no command.
    pub fn read(&mut self) {
        if self.progress == Progress::Open {
            let earlier = self.get(Stage::Read);
            self.add(Stage::Others, earlier);
            self.set(Stage::Read, 0);
            self.lap(Stage::Read);
        }
    }

    /// A frame was dealt with that was no command.
    pub fn passed(&mut self) {
        if self.progress == Progress::Open {
            self.lap(Stage::Others);
        }
    }

    /// A command of this connection passed rules and decoding: it is measured if it is the first.
    pub fn take(&mut self, connection: ConnectionId) {
        if self.progress == Progress::Open {
            self.progress = Progress::Running;
            self.connection = connection;
            self.lap(Stage::Rules);
        }
    }

    /// A stage of the one door has ended; nothing for a command that is not measured.
    pub fn ended(&mut self, stage: Stage) {
        if self.progress == Progress::Running {
            self.lap(stage);
        }
    }

    /// The command is through the door, refused or with its last event at `journal_seq`.
    pub fn executed(&mut self, is_accepted: bool, journal_seq: u64) {
        if self.progress == Progress::Running {
            let is_journaled = is_accepted && self.get(Stage::Append) > 0;
            self.progress = if is_journaled { Progress::Queued } else { Progress::Idle };
            self.journal_seq = journal_seq;
        }
    }

    /// The gate is looked at.
    pub fn leaving(&mut self) {
        if self.progress == Progress::Queued {
            self.lap(Stage::Others);
            self.progress = Progress::Held;
        }
    }

    /// What is durable up to here may leave.
    pub fn released(&mut self, durable_seq: u64) {
        if self.progress == Progress::Held && self.journal_seq <= durable_seq {
            self.lap(Stage::Release);
            self.progress = Progress::Released;
        }
    }

    /// Sockets are written to.
    pub fn flushing(&mut self) {
        if self.progress == Progress::Released {
            self.lap(Stage::Others);
        }
    }

    /// The socket of a connection took bytes.
    pub fn wrote(&mut self, connection: ConnectionId) {
        if self.progress == Progress::Released && connection == self.connection {
            self.lap(Stage::Write);
            self.progress = Progress::Written;
        }
    }

    /// The turn is over and its answers have left: what was measured is recorded.
    pub fn finish(&mut self, histograms: &[Histogram; COUNT]) {
        match self.progress {
            Progress::Written => self.record(histograms),
            // Its report waits for its sync.
            Progress::Held => return,
            Progress::Idle | Progress::Open | Progress::Running | Progress::Queued | Progress::Released => {}
        }
        self.progress = Progress::Idle;
    }

    fn record(&mut self, histograms: &[Histogram; COUNT]) {
        let total = self.ticks.iter().fold(0, |sum: u64, ticks| sum.saturating_add(*ticks));
        self.set(Stage::Total, total);
        let skipped = if self.has_poll { 0 } else { 1 };
        for (histogram, ticks) in histograms.iter().zip(&self.ticks).skip(skipped) {
            histogram.record(*ticks);
        }
    }

    /// What has passed since the last reading is added to a stage.
    fn lap(&mut self, stage: Stage) {
        let now = ticks::now();
        // Another CPU's counter can be a little behind.
        let passed = now.saturating_sub(self.last);
        self.add(stage, passed);
        self.last = now;
    }

    fn get(&self, stage: Stage) -> u64 {
        self.ticks.get(stage as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, stage: Stage, ticks: u64) {
        if let Some(held) = self.ticks.get_mut(stage as usize) {
            *held = ticks;
        }
    }

    fn add(&mut self, stage: Stage, ticks: u64) {
        self.set(stage, self.get(stage).saturating_add(ticks));
    }
}
