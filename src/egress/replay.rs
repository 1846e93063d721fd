//! Old reports, read from the journal on a thread of their own and handed to the loop in blocks.
//!
//! The loop asks for a range of a stream's reports up to a number that it knows, and goes on from there.
//! The thread reads only what is durable in the core's class, so a replayed report can never be lost
//! again. Both ways are bounded rings; blocks are allocated once and go round.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use tradecore_domain::event::Event;
use tradecore_journal::{ReadError, Reader, Record, Until};
use tradecore_protocol::codes::{er_flags, frame_flags};
use tradecore_protocol::fields::Durability;
use tradecore_protocol::frame::{Envelope, encode};
use tradecore_protocol::layout::Message;
use tradecore_protocol::messages::{FillsRequest, QueryEnd};

use super::gate::ConnectionId;
use super::report::{self, REPORT_BYTES_MAX, ReportPlace};

/// Bytes of one block.
pub const BLOCK_BYTES: usize = 32 * 1024;

/// One in so many reports of a stream has an entry in the index.
const INDEX_STRIDE: u64 = 64;

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
}

/// Frames of an answer.
#[derive(Debug)]
pub struct Block {
    /// Who gets them.
    pub connection: ConnectionId,
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
    /// Loop → thread.
    pub asks: ArrayQueue<Ask>,
    /// Thread → loop.
    pub blocks: ArrayQueue<Block>,
    /// Loop → thread: used blocks go home.
    pub free: ArrayQueue<Block>,
    /// Set by the loop when a connection with an answer under way is gone.
    pub stop: AtomicBool,
}

impl ReplayLink {
    /// Rings for `asks_max` questions and `blocks_max` blocks of 32 KiB.
    #[must_use]
    pub fn new(asks_max: usize, blocks_max: usize) -> Self {
        let link = Self {
            asks: ArrayQueue::new(asks_max),
            blocks: ArrayQueue::new(blocks_max),
            free: ArrayQueue::new(blocks_max),
            stop: AtomicBool::new(false),
        };
        for _ in 0..blocks_max {
            let bytes = Box::new([0; BLOCK_BYTES]);
            // The ring was made for exactly so many.
            drop(link.free.push(Block {
                connection: ConnectionId::default(),
                len: 0,
                last: false,
                last_number: 0,
                bytes,
            }));
        }
        link
    }
}

/// Where the thread reads, and how reports are written.
#[derive(Clone, Debug)]
pub struct Source {
    /// The journal.
    pub dir: PathBuf,
    /// `Durability` class of the core.
    pub durability: u8,
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

/// The thread's own state: an index that follows the journal, and the answer under way.
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
        let tail = source.reader(1)?;
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
                waiting = self.link.asks.pop();
            }
            match waiting {
                Some(ask) if ask.journal_seq <= self.indexed_seq => {
                    waiting = None;
                    self.answer(&ask)?;
                }
                Some(_) | None if !moved => std::thread::park_timeout(Duration::from_millis(1)),
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

    fn answer(&mut self, ask: &Ask) -> Result<(), ReadError> {
        let mut out = BlockWriter { link: &self.link, ask, block: None };
        match ask.question {
            Question::Reports { from, to } => {
                let start = self.indices.get(&ask.stream).map_or(1, |index| index.start_of(from));
                if from <= to {
                    self.source.scan(start, ask.journal_seq, |record, event| {
                        let number = number_in(ask.stream, event);
                        if (from..=to).contains(&number) {
                            out.report(event, record, number, frame_flags::REPLAY, &self.source);
                        }
                        number < to
                    })?;
                }
            }
            Question::Fills(request) => {
                let mut count: u32 = 0;
                let mut last_report = 0;
                let count_max = match request.count_max.get() {
                    0 => FILLS_MAX,
                    wanted => wanted.min(FILLS_MAX),
                };
                let mut cut = false;
                self.source.scan(1, ask.journal_seq, |record, event| {
                    let number = number_in(ask.stream, event);
                    last_report = number.max(last_report);
                    if number != 0 && is_wanted(event, number, &request) {
                        if count == count_max {
                            cut = true;
                            return false;
                        }
                        count = count.saturating_add(1);
                        out.report(event, record, 0, 0, &self.source);
                    }
                    true
                })?;
                let mut end = QueryEnd { request_id: request.request_id, ..QueryEnd::default() };
                end.as_of_seq.set(ask.journal_seq);
                end.report_seq.set(last_report);
                end.count.set(count);
                end.ref_template.set(FillsRequest::INFO.template_id);
                end.reason.set(if cut { tradecore_protocol::Reason::ResendLimit.raw() } else { 0 });
                let envelope = Envelope { flags: frame_flags::LAST, send_ts_ns: ask.send_ts_ns, ..Envelope::default() };
                out.frame(|bytes| encode(bytes, envelope, &end).unwrap_or(0));
            }
        }
        out.finish();
        Ok(())
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
    fn reader(&self, from_seq: u64) -> Result<Reader, ReadError> {
        let until = if self.durability == Durability::Journaled.raw() { Until::Journaled } else { Until::Synced };
        Reader::open(&self.dir, from_seq, until)
    }

    /// Calls `visit` with the events from `from_seq` to `to_seq`, while it returns true.
    fn scan(
        &self,
        from_seq: u64,
        to_seq: u64,
        mut visit: impl FnMut(&Record<'_>, &Event) -> bool,
    ) -> Result<(), ReadError> {
        let mut reader = self.reader(from_seq)?;
        while let Some(group) = reader.next_group()? {
            for record in group.records() {
                if record.seq > to_seq {
                    return Ok(());
                }
                if let Ok(event) = Event::from_archive(record.kind, record.version, record.payload)
                    && !visit(&record, &event)
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Fills blocks and hands them to the loop; waits for empty ones to come home.
struct BlockWriter<'a> {
    link: &'a ReplayLink,
    ask: &'a Ask,
    block: Option<Block>,
}

impl BlockWriter<'_> {
    fn report(&mut self, event: &Event, record: &Record<'_>, number: u64, flags: u8, source: &Source) {
        let envelope = Envelope { flags, seq: number, ack_seq: 0, send_ts_ns: self.ask.send_ts_ns };
        let is_copy = self.ask.stream == Stream::DropCopy;
        let place = ReportPlace {
            envelope,
            journal_seq: record.seq,
            transact_time_ns: record.ts_ns,
            durability: source.durability,
            er_flags: if is_copy { er_flags::DROP_COPY } else { 0 },
        };
        if let Some(report) = report::of(event, &place) {
            self.frame(|bytes| report.encode(bytes, envelope).unwrap_or(0));
            if let Some(block) = &mut self.block {
                block.last_number = block.last_number.max(number);
            }
        }
    }

    fn frame(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        let is_full = self.block.as_ref().is_some_and(|block| block.len.saturating_add(REPORT_BYTES_MAX) > BLOCK_BYTES);
        if is_full {
            self.send(false);
        }
        let Some(mut block) = self.block.take().or_else(|| self.empty_block()) else { return };
        let written = write(block.bytes.get_mut(block.len..).unwrap_or_default());
        block.len = block.len.saturating_add(written);
        self.block = Some(block);
    }

    fn empty_block(&self) -> Option<Block> {
        loop {
            if let Some(block) = self.link.free.pop() {
                return Some(Block { connection: self.ask.connection, len: 0, last: false, last_number: 0, ..block });
            }
            if self.link.stop.load(Ordering::Acquire) {
                return None;
            }
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }

    fn send(&mut self, last: bool) {
        if let Some(mut block) = self.block.take() {
            block.last = last;
            // There are as many places in the ring as blocks.
            drop(self.link.blocks.push(block));
        }
    }

    fn finish(mut self) {
        if self.block.is_none() {
            self.block = self.empty_block();
        }
        self.send(true);
    }
}
