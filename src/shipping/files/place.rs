//! The newest file: where it ends, and where the next begins.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::domains::Stream;
use super::super::json::{Place, Utc, date_of};
use super::FilesError;

/// What a line says of its place.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) seq: u64,
    id: String,
    time: String,
}

#[derive(Deserialize)]
struct Attributes {
    id: String,
    seq: String,
    time: String,
}

impl Head {
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let Attributes { id, seq, time } = serde_json::from_slice(line).ok()?;
        Some(Self { seq: seq.parse().ok()?, id, time })
    }

    /// True when it is the line of the event at this place.
    pub(super) fn is_of(&self, place: &Place) -> bool {
        let Place { stream, epoch, seq, ts_ns } = place;
        self.id == format!("{stream}/{epoch}/{seq}") && self.time == Utc(*ts_ns).to_string()
    }
}

/// The file that is being written, and the directory that it is in.
#[derive(Debug)]
pub(super) struct Newest {
    dir: PathBuf,
    stream: Stream,
    file_bytes_max: u64,
    /// Keeps others out, while it lives.
    lock: File,
    file: Option<File>,
    path: PathBuf,
    /// Days since 1970 of what is in it; `None` for one without a line.
    day: Option<u64>,
    /// Whole lines, bytes; what stands behind them is cut.
    bytes: u64,
    unsynced_bytes: u64,
    last: Option<Head>,
    next_seq: u64,
    synced_seq: u64,
    /// Newer files that hold no whole line, as a crash leaves one.
    empty: Vec<PathBuf>,
}

impl Newest {
    /// The newest file of a stream in a directory, which is made if it is missing. Changes no file.
    pub(super) fn open(dir: &Path, stream: Stream, file_bytes_max: u64) -> Result<Self, FilesError> {
        let failed = |source| FilesError::Io { path: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let lock = File::open(dir).map_err(failed)?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(FilesError::Locked { dir: dir.to_owned() }),
            locked => locked.map_err(|error| failed(error.into()))?,
        }
        let mut files = files_of(dir, stream).map_err(failed)?;
        let mut this = Self {
            dir: dir.to_owned(),
            stream,
            file_bytes_max,
            lock,
            file: None,
            path: dir.to_owned(),
            day: None,
            bytes: 0,
            unsynced_bytes: 0,
            last: None,
            next_seq: 0,
            synced_seq: 0,
            empty: Vec::new(),
        };
        let mut empty = Vec::new();
        while let Some((first_seq, path)) = files.pop() {
            (this.path, this.next_seq) = (path, first_seq);
            this.read().map_err(|source| this.failed(source))?;
            if this.last.is_some() {
                break;
            }
            // A name says nothing of what the files before hold: the last line that is there does.
            empty.push((first_seq, std::mem::replace(&mut this.path, dir.to_owned())));
            (this.file, this.next_seq) = (None, 0);
        }
        if let Some((_, path)) = empty.pop_if(|(first_seq, _)| *first_seq == this.next_seq) {
            (this.path, this.day, this.bytes) = (path, None, 0);
            this.read().map_err(|source| this.failed(source))?;
        }
        this.empty = empty.into_iter().map(|(_, path)| path).collect();
        Ok(this)
    }

    /// Reads whole lines, as long as they follow each other.
    fn read(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let mut reader = BufReader::with_capacity(1 << 18, &file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let bytes = reader.read_until(b'\n', &mut line)?;
            let head = line.strip_suffix(b"\n").and_then(Head::of).filter(|head| head.seq == self.next_seq);
            let Some(head) = head else { break };
            self.day = self.day.or_else(|| day_of(&head.time));
            self.last = Some(head);
            self.bytes = self.bytes.saturating_add(bytes as u64);
            self.next_seq = self.next_seq.saturating_add(1);
        }
        self.file = Some(file);
        Ok(())
    }

    /// Cuts what a crash left behind the last whole line, and makes the rest durable.
    pub(super) fn cut(&mut self) -> Result<(), FilesError> {
        for path in std::mem::take(&mut self.empty) {
            tracing::info!(path = %path.display(), "a file without a whole line was removed, and is written again");
            std::fs::remove_file(&path).map_err(|source| FilesError::Io { path, source })?;
        }
        if let Some(file) = &self.file {
            let cut = || {
                let bytes = file.metadata()?.len();
                if bytes > self.bytes {
                    let cut_bytes = bytes.saturating_sub(self.bytes);
                    tracing::warn!(path = %self.path.display(), cut_bytes, "what is no whole line was cut with all behind it, and is written again");
                    file.set_len(self.bytes)?;
                }
                file.sync_all()
            };
            cut().map_err(|source| self.failed(source))?;
        }
        self.synced_seq = self.next_seq.saturating_sub(1);
        Ok(())
    }

    /// Sees to it that the event belongs into the file: else that one is synced, and a new one begins.
    pub(super) fn begin(&mut self, seq: u64, day: u64) -> Result<(), FilesError> {
        if self.next_seq != 0 && self.next_seq != seq {
            return Err(FilesError::Gap { expected: self.next_seq, found: seq });
        }
        if self.file.is_some() && self.bytes < self.file_bytes_max && self.day.is_none_or(|its| its == day) {
            self.day = Some(day);
            return Ok(());
        }
        // Only the newest file can ever be torn.
        self.sync()?;
        let (year, month, date) = date_of(day);
        self.path = self.dir.join(format!("{}.{year}-{month:02}-{date:02}.{seq:020}.jsonl", self.stream));
        let create = || {
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(&self.path)?;
            self.lock.sync_all()?;
            Ok(file)
        };
        self.file = Some(create().map_err(|source| self.failed(source))?);
        (self.day, self.bytes, self.next_seq) = (Some(day), 0, seq);
        Ok(())
    }

    /// Bytes until the file is full; it is never full without a line.
    pub(super) const fn room(&self) -> u64 {
        self.file_bytes_max.saturating_sub(self.bytes)
    }

    /// Writes whole lines, of which `last_seq` is the last; nothing of them when that fails.
    pub(super) fn append(&mut self, lines: &[u8], last_seq: u64) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        if let Err(error) = file.write_all_at(lines, self.bytes) {
            // A reader may be looking. What cannot be cut now is written over, or cut by the next start.
            drop(file.set_len(self.bytes));
            return Err(error);
        }
        self.bytes = self.bytes.saturating_add(lines.len() as u64);
        self.unsynced_bytes = self.unsynced_bytes.saturating_add(lines.len() as u64);
        self.next_seq = last_seq.saturating_add(1);
        Ok(())
    }

    /// Makes all that was written survive power loss. When that fails, nobody knows what of it does: it is cut, for
    /// another attempt to write it anew.
    pub(super) fn sync(&mut self) -> Result<(), FilesError> {
        if let Some(file) = self.file.as_ref().filter(|_| self.unsynced_bytes != 0)
            && let Err(error) = rustix::fs::fdatasync(file)
        {
            drop(file.set_len(self.bytes.saturating_sub(self.unsynced_bytes)));
            return Err(self.failed(error.into()));
        }
        self.unsynced_bytes = 0;
        self.synced_seq = self.next_seq.saturating_sub(1);
        Ok(())
    }

    fn failed(&self, source: io::Error) -> FilesError {
        FilesError::Io { path: self.path.clone(), source }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The last line of the newest file.
    pub(super) const fn last(&self) -> Option<&Head> {
        self.last.as_ref()
    }

    /// The event that comes next; 0 for the oldest of the journal.
    pub(super) const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(super) const fn synced_seq(&self) -> u64 {
        self.synced_seq
    }

    pub(super) const fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }
}

/// The files of a stream in a directory with the number of the first event of each, the oldest first.
pub(super) fn files_of(dir: &Path, stream: Stream) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let first_seq = path.file_name().and_then(|name| first_seq(name.to_str()?, stream));
        files.extend(first_seq.map(|first_seq| (first_seq, path)));
    }
    files.sort();
    Ok(files)
}

/// The number in the name of a file of this stream.
fn first_seq(name: &str, stream: Stream) -> Option<u64> {
    let rest = name.strip_prefix(&stream.to_string())?.strip_prefix('.')?.strip_suffix(".jsonl")?;
    let (_, seq) = rest.split_once('.')?;
    seq.parse().ok()
}

/// The day of a time as lines write it.
fn day_of(time: &str) -> Option<u64> {
    let (date, _) = time.split_once('T')?;
    let mut parts = date.split('-').map(str::parse);
    let (year, month, day): (u64, u64, u64) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    // From below: a year has 365 days at least, a month 28.
    let least = year.checked_sub(1970)?.saturating_mul(365).saturating_add(month.saturating_sub(1).saturating_mul(28));
    (least..least.saturating_add(250)).find(|candidate| date_of(*candidate) == (year, month, day))
}
