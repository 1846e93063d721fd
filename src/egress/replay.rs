//! Old reports, read from the journal on a thread of their own and handed to the loop in blocks.
//!
//! The loop asks for one block at a time, when its connection has room for it; a block says where the next
//! goes on. So a peer that does not read holds up nobody, and long answers take turns. The thread reads only
//! what is durable in the core's class: a replayed report can never be lost again. Both ways are bounded rings;
//! blocks are allocated once and go round.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use tradecore_domain::event::Event;
use tradecore_journal::{Place, ReadError, Reader, Record, Until};
use tradecore_protocol::codes::{er_flags, frame_flags};
use tradecore_protocol::fields::Durability;
use tradecore_protocol::frame::{Envelope, encode};
use tradecore_protocol::layout::Message;
use tradecore_protocol::messages::{FillsRequest, QueryEnd};

use super::gate::ConnectionId;
use super::report::{self, REPORT_BYTES_MAX, ReportPlace};
use crate::bell::Bell;
use crate::replication::Replication;

/// Bytes of one block.
pub const BLOCK_BYTES: usize = 16 * 1024;

/// Records that one block's making looks at, at most: then it is another's turn.
const RECORDS_PER_BLOCK: u64 = 65_536;

/// One in so many reports of a stream has an entry in the index.
const INDEX_STRIDE: u64 = 64;

/// Longest sleep without a question: then the index follows the journal, so that no question finds much to read.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// Whose stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// The reports of one session, numbered by `report_seq`.
    Session(u32),
    /// Every report of the core, numbered by `report_no`.
    DropCopy,
}

/// What is asked of the stream.
#[derive(Clone, Copy, Debug)]
pub enum Question {
    /// The reports `from..=to`.
    Reports {
        /// First number.
        from: u64,
        /// Last number.
        to: u64,
    },
    /// The fills that the request names, up to what is journaled at the asking.
    Fills(FillsRequest),
}

/// What the loop asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Who gets the answer.
    pub connection: ConnectionId,
    /// Whose stream is read.
    pub stream: Stream,
    /// What is wanted of it.
    pub question: Question,
    /// Journal sequence number at the asking: the answer includes it, and waits until it is durable.
    pub journal_seq: u64,
    /// Time for the headers, ns UTC.
    pub send_ts_ns: u64,
    /// Where the answer has come to.
    pub progress: Progress,
}

/// How far an answer has come; the default is its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Journal sequence number to go on from; 0 for the start.
    from_seq: u64,
    /// The group that holds it.
    place: Option<Place>,
    /// Fills that were sent.
    fills: u32,
    /// The last report of the stream that was passed.
    last_number: u64,
    /// There are more fills than one answer may hold.
    is_cut: bool,
}

/// Frames of an answer.
#[derive(Debug)]
pub struct Block {
    /// What it answers; to go on, ask this.
    pub ask: Ask,
    /// How many bytes of `bytes` are used.
    pub len: usize,
    /// True when the answer ends with this block.
    pub last: bool,
    /// Number of the last report in it; 0 when it holds none.
    pub last_number: u64,
    /// Whole frames.
    pub bytes: Box<[u8; BLOCK_BYTES]>,
}

/// The rings between the loop and the replay thread.
#[derive(Debug)]
pub struct ReplayLink {
    /// Loop → thread: missed reports. A session waits for them.
    pub reports: ArrayQueue<Ask>,
    /// Loop → thread: fills, when nobody asks for reports.
    pub fills: ArrayQueue<Ask>,
    /// Thread → loop.
    pub blocks: ArrayQueue<Block>,
    /// Loop → thread: used blocks go home.
    pub free: ArrayQueue<Block>,
    /// Set when the thread should end.
    pub stop: AtomicBool,
    /// Wakes the thread after a question was put into its ring.
    pub bell: Bell,
}

impl ReplayLink {
    /// Rings for `asks_max` questions each and `blocks_max` blocks of 16 KiB.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new(asks_max: usize, blocks_max: usize) -> io::Result<Self> {
        let link = Self {
            reports: ArrayQueue::new(asks_max),
            fills: ArrayQueue::new(asks_max),
            blocks: ArrayQueue::new(blocks_max),
            free: ArrayQueue::new(blocks_max),
            stop: AtomicBool::new(false),
            bell: Bell::new()?,
        };
        for _ in 0..blocks_max {
            let bytes = Box::new([0; BLOCK_BYTES]);
            // The ring was made for exactly so many.
            let ask = Ask {
                connection: ConnectionId::default(),
                stream: Stream::DropCopy,
                question: Question::Reports { from: 1, to: 0 },
                journal_seq: 0,
                send_ts_ns: 0,
                progress: Progress::default(),
            };
            drop(link.free.push(Block { ask, len: 0, last: false, last_number: 0, bytes }));
        }
        Ok(link)
    }

    /// Puts a question into its ring; false when that is full.
    #[must_use]
    pub fn ask(&self, ask: Ask) -> bool {
        let ring = match ask.question {
            Question::Reports { .. } => &self.reports,
            Question::Fills(_) => &self.fills,
        };
        ring.push(ask).is_ok()
    }

    fn next_ask(&self) -> Option<Ask> {
        self.reports.pop().or_else(|| self.fills.pop())
    }

    fn has_work(&self) -> bool {
        !self.reports.is_empty() || !self.fills.is_empty() || self.stop.load(Ordering::Acquire)
    }
}

/// Where the thread reads, and how reports are written.
#[derive(Clone, Debug)]
pub struct Source {
    /// The journal.
    pub dir: PathBuf,
    /// `Durability` class of the core.
    pub durability: u8,
    /// What the cluster has, for class `replicated`.
    pub replication: Arc<Replication>,
}

/// For one stream: the journal number of every 64th report.
#[derive(Debug, Default)]
struct Index {
    marks: BTreeMap<u64, u64>,
}

impl Index {
    fn note(&mut self, number: u64, journal_seq: u64, window: u64) {
        if number.checked_rem(INDEX_STRIDE) == Some(1) {
            self.marks.insert(number, journal_seq);
            let oldest = number.saturating_sub(window.saturating_add(INDEX_STRIDE));
            while self.marks.first_key_value().is_some_and(|(number, _)| *number < oldest) {
                self.marks.pop_first();
            }
        }
    }

    /// A journal number at or before the report's.
    fn start_of(&self, number: u64) -> u64 {
        self.marks.range(..=number).next_back().map_or(1, |(_, journal_seq)| *journal_seq)
    }
}

/// The thread's own state: an index that follows the journal.
pub struct Replayer {
    source: Source,
    link: Arc<ReplayLink>,
    window: u64,
    indexed_seq: u64,
    tail: Reader,
    indices: BTreeMap<Stream, Index>,
}

impl Replayer {
    /// A replayer that has read nothing yet.
    ///
    /// # Errors
    /// When the journal cannot be opened for reading.
    pub fn new(source: Source, link: Arc<ReplayLink>, window: u64) -> Result<Self, ReadError> {
        let tail = Reader::open(&source.dir, 1, source.until())?;
        Ok(Self { source, link, window, indexed_seq: 0, tail, indices: BTreeMap::new() })
    }

    /// Works until the link is stopped.
    ///
    /// # Errors
    /// When the journal cannot be read any more: the process must stop.
    pub fn run(mut self) -> Result<(), ReadError> {
        let mut waiting: Option<Ask> = None;
        while !self.link.stop.load(Ordering::Acquire) {
            let moved = self.follow()?;
            if waiting.is_none() {
                waiting = self.link.next_ask();
            }
            match waiting {
                Some(ask) if ask.journal_seq <= self.indexed_seq && self.source.may_tell(ask.journal_seq) => {
                    waiting = None;
                    self.answer(&ask)?;
                }
                // Its answer waits for the thread that syncs or ships, which ring for nobody.
                Some(_) if !moved => std::thread::park_timeout(Duration::from_millis(1)),
                None if !moved => self.link.bell.sleep(IDLE_WAIT, || self.link.has_work()),
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Indexes what has become durable since; true when there was anything.
    fn follow(&mut self) -> Result<bool, ReadError> {
        let mut moved = false;
        while let Some(group) = self.tail.next_group()? {
            for record in group.records() {
                moved = true;
                self.indexed_seq = record.seq;
                let Ok(event) = Event::from_archive(record.kind, record.version, record.payload) else { continue };
                let meta = *event.meta();
                if meta.report_no == 0 {
                    continue;
                }
                let window = self.window;
                let session = self.indices.entry(Stream::Session(meta.session_id)).or_default();
                session.note(meta.report_seq, record.seq, window);
                self.indices.entry(Stream::DropCopy).or_default().note(meta.report_no, record.seq, window);
            }
        }
        Ok(moved)
    }

    /// Makes one block of an answer.
    fn answer(&mut self, ask: &Ask) -> Result<(), ReadError> {
        let Some(block) = self.empty_block() else { return Ok(()) };
        let mut out = BlockWriter { source: &self.source, block: Block { ask: *ask, last: true, ..block } };
        let from_seq = match (ask.progress.from_seq, ask.question) {
            (0, Question::Reports { from, .. }) => {
                self.indices.get(&ask.stream).map_or(1, |index| index.start_of(from))
            }
            (0, Question::Fills(_)) => 1,
            (from_seq, _) => from_seq,
        };
        let mut looked_at: u64 = 0;
        let place = self.source.scan((from_seq, ask.progress.place), ask.journal_seq, |record, event| {
            if looked_at == RECORDS_PER_BLOCK || !out.has_room() {
                out.goes_on_from(record.seq);
                return false;
            }
            looked_at = looked_at.saturating_add(1);
            let number = number_in(ask.stream, event);
            match ask.question {
                Question::Reports { from, to } => {
                    if (from..=to).contains(&number) {
                        out.report(event, record, number, frame_flags::REPLAY);
                    }
                    number < to
                }
                Question::Fills(request) => out.fill(event, record, number, &request),
            }
        })?;
        out.block.ask.progress.place = place;
        if let (true, Question::Fills(request)) = (out.block.last, ask.question) {
            out.end_of_fills(&request);
        }
        // There are as many places in the ring as blocks.
        drop(self.link.blocks.push(out.block));
        Ok(())
    }

    /// Waits for a block to come home; `None` when the thread should end.
    fn empty_block(&self) -> Option<Block> {
        loop {
            if let Some(block) = self.link.free.pop() {
                return Some(Block { len: 0, last_number: 0, ..block });
            }
            if self.link.stop.load(Ordering::Acquire) {
                return None;
            }
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }
}

/// Most fills in one answer.
pub const FILLS_MAX: u32 = 4096;

const fn number_in(stream: Stream, event: &Event) -> u64 {
    let meta = event.meta();
    match stream {
        Stream::Session(session_id) if meta.session_id == session_id => meta.report_seq,
        Stream::Session(_) => 0,
        Stream::DropCopy => meta.report_no,
    }
}

fn is_wanted(event: &Event, number: u64, request: &FillsRequest) -> bool {
    let Event::OrderFilled(fill) = event else { return false };
    let within = |value: u64, from: u64, to: u64| (from == 0 || value >= from) && (to == 0 || value <= to);
    within(fill.exec_id, request.from_exec_id.get(), request.to_exec_id.get())
        && within(number, request.from_seq.get(), request.to_seq.get())
        && (request.account_id.get() == 0 || request.account_id.get() == fill.meta.account_id)
}

impl Source {
    /// True when all up to an event, which is in the index, has the class of the core.
    fn may_tell(&self, journal_seq: u64) -> bool {
        self.durability != Durability::Replicated.raw() || journal_seq <= self.replication.seq()
    }

    const fn until(&self) -> Until {
        if self.durability == Durability::Journaled.raw() { Until::Journaled } else { Until::Synced }
    }

    /// Calls `visit` with the events from `from_seq`, which is in the group at the place if one is known, to `to_seq`,
    /// while it returns true. The group of the last one.
    fn scan(
        &self,
        (from_seq, place): (u64, Option<Place>),
        to_seq: u64,
        mut visit: impl FnMut(&Record<'_>, &Event) -> bool,
    ) -> Result<Option<Place>, ReadError> {
        let mut reader = match place {
            Some(place) => Reader::open_at(&self.dir, place, self.until())?,
            None => Reader::open(&self.dir, from_seq, self.until())?,
        };
        loop {
            let place = Some(reader.place());
            let Some(group) = reader.next_group()? else { return Ok(place) };
            for record in group.records() {
                if record.seq > to_seq {
                    return Ok(place);
                }
                if record.seq < from_seq {
                    continue;
                }
                if let Ok(event) = Event::from_archive(record.kind, record.version, record.payload)
                    && !visit(&record, &event)
                {
                    return Ok(place);
                }
            }
        }
    }
}

/// Fills one block.
struct BlockWriter<'a> {
    source: &'a Source,
    block: Block,
}

impl BlockWriter<'_> {
    /// Room for one more frame, and for the one that ends the answer.
    fn has_room(&self) -> bool {
        self.block.len.saturating_add(2 * REPORT_BYTES_MAX) <= BLOCK_BYTES
    }

    /// The answer is not at its end: the next block begins with this record.
    const fn goes_on_from(&mut self, journal_seq: u64) {
        self.block.last = false;
        self.block.ask.progress.from_seq = journal_seq;
    }

    fn report(&mut self, event: &Event, record: &Record<'_>, number: u64, flags: u8) {
        let ask = &self.block.ask;
        let envelope = Envelope { flags, seq: number, ack_seq: 0, send_ts_ns: ask.send_ts_ns };
        let place = ReportPlace {
            envelope,
            journal_seq: record.seq,
            transact_time_ns: record.ts_ns,
            durability: self.source.durability,
            er_flags: if ask.stream == Stream::DropCopy { er_flags::DROP_COPY } else { 0 },
        };
        if let Some(report) = report::of(event, &place) {
            self.frame(|bytes| report.encode(bytes, envelope).unwrap_or(0));
            self.block.last_number = self.block.last_number.max(number);
        }
    }

    /// Takes an event in if it is a wanted fill; false when there are as many as are allowed.
    fn fill(&mut self, event: &Event, record: &Record<'_>, number: u64, request: &FillsRequest) -> bool {
        let is_wanted = number != 0 && is_wanted(event, number, request);
        let progress = &mut self.block.ask.progress;
        progress.is_cut = is_wanted && progress.fills == fills_max(request);
        if progress.is_cut {
            return false;
        }
        progress.last_number = progress.last_number.max(number);
        if is_wanted {
            progress.fills = progress.fills.saturating_add(1);
            self.report(event, record, 0, 0);
        }
        true
    }

    fn end_of_fills(&mut self, request: &FillsRequest) {
        let Ask { journal_seq, send_ts_ns, progress, .. } = self.block.ask;
        let mut end = QueryEnd { request_id: request.request_id, ..QueryEnd::default() };
        end.as_of_seq.set(journal_seq);
        end.report_seq.set(progress.last_number);
        end.count.set(progress.fills);
        end.ref_template.set(FillsRequest::INFO.template_id);
        end.reason.set(if progress.is_cut { tradecore_protocol::Reason::ResendLimit.raw() } else { 0 });
        let envelope = Envelope { flags: frame_flags::LAST, send_ts_ns, ..Envelope::default() };
        self.frame(|bytes| encode(bytes, envelope, &end).unwrap_or(0));
    }

    fn frame(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        let block = &mut self.block;
        let written = write(block.bytes.get_mut(block.len..).unwrap_or_default());
        block.len = block.len.saturating_add(written);
    }
}

fn fills_max(request: &FillsRequest) -> u32 {
    match request.count_max.get() {
        0 => FILLS_MAX,
        wanted => wanted.min(FILLS_MAX),
    }
}

#[cfg(test)]
mod tests;
