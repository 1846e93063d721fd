//! What a client must not forget, in one append-only file; `kill -9` at any byte loses nothing that left.
//!
//! A file is a list of records `{kind u16, len u16, CRC-32C of these, CRC-32C of the payload, payload}`. The first
//! says up to which ClOrdID ids may be given by whoever holds the file: so a file that lost its end gives none twice.

mod ids;
mod record;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ids::FIRST_EPOCH;
use record::{Damage, Record, next_record, record};
use tradecore_protocol::fields::ClOrdId;

/// The state file cannot be used; a client that cannot remember must not trade.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refuses to read or write it.
    #[error("{}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Two clients on one file would forget each other's requests.
    #[error("{}: another client uses this state; end it, or name another file", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Its bytes are not what was written.
    #[error(
        "{}: damaged at byte {offset_bytes}: put the undamaged file back, or move it away and query open orders, \
         positions and fills",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the record begins that cannot be read.
        offset_bytes: usize,
    },
    /// An earlier write failed, so that nothing can be kept behind it.
    #[error("{}: an earlier write failed: make room, then start again", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
}

const MAGIC: u64 = u64::from_le_bytes(*b"TradeCli");
const HEAD: u16 = 1;
const NUMBERS: u16 = 2;
const REQUEST: u16 = 3;
const FORGET: u16 = 4;
/// Flags of a request.
const IS_REPEAT: u16 = 1;
const IS_CLOSED: u16 = 2;
/// Ids that a file may give before it says so again.
const IDS_RESERVED: u64 = 1 << 20;
/// A file that has grown by so much is written anew.
const GROWTH_BYTES_MAX: u64 = 1 << 20;
/// Longest file that is read: every request in doubt that a client keeps, and the growth, many times over.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Bits of a ClOrdID's counter below the second in which a store was made: they hold what of that second had passed.
const IDS_PER_SECOND_BITS: u32 = 16;
const NS_PER_S: u64 = 1_000_000_000;

/// The numbers of both streams and the ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) session_epoch: u64,
    pub(crate) applied_seq: u64,
    pub(crate) next_client_seq: u64,
    /// Reports were skipped, and the caller has not been told while it could ask for what they said.
    pub(crate) has_gap: bool,
    /// New orders of this client epoch: of so many ids the gateway may have to know.
    epoch_orders: u64,
    /// Not in the record: the head of the file reserves it.
    pub(crate) last_cl_ord_id: u64,
}

impl Numbers {
    fn to_bytes(self) -> Vec<u8> {
        let has_gap = u64::from(self.has_gap);
        words(&[self.session_epoch, self.applied_seq, self.next_client_seq, has_gap, self.epoch_orders])
    }

    fn from_bytes(bytes: &[u8], last_cl_ord_id: u64) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<8>() else { return None };
        let [epoch, applied, next, gap, orders] = words else { return None };
        let number = |word: &[u8; 8]| u64::from_le_bytes(*word);
        Some(Self {
            session_epoch: number(epoch),
            applied_seq: number(applied),
            next_client_seq: number(next),
            has_gap: number(gap) != 0,
            epoch_orders: number(orders),
            last_cl_ord_id,
        })
    }
}

/// A request whose answer the caller has not dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Its number; 0 once its answer may be among reports that were skipped.
    pub(crate) seq: u64,
    /// A repetition of an order that was answered: the order may be there although no answer names this request.
    pub(crate) is_repeat: bool,
    /// It was refused or given up, and must never be sent again.
    pub(crate) is_closed: bool,
    pub(crate) template_id: u16,
    pub(crate) block: Vec<u8>,
}

impl Request {
    /// FIX ClOrdID (11): every request begins with it.
    pub(crate) fn cl_ord_id(&self) -> ClOrdId {
        ClOrdId(self.block.first_chunk::<8>().map_or(0, |id| u64::from_le_bytes(*id)))
    }
}

#[derive(Debug)]
struct StateFile {
    path: PathBuf,
    file: File,
    /// Held as long as the store lives; beside the file, which changes its inode.
    lock: File,
    growth_bytes: u64,
    last_reserved_id: u64,
    is_broken: bool,
}

/// The file, and what is in it.
#[derive(Debug)]
pub struct Store {
    file: Option<StateFile>,
    saved: Numbers,
    pub(crate) numbers: Numbers,
    /// Requests that nothing has named yet, by ClOrdID. Acknowledged numbers say nothing of them: a refusal is not in
    /// the report stream, and another client of the session may have used the number.
    pub(crate) unanswered: BTreeMap<u64, Request>,
    /// The newest number of those among them that were repeated on this connection; the file holds the first.
    repeated: BTreeMap<u64, u64>,
    /// Requests whose answer the caller is still to deal with.
    answered: BTreeMap<u64, Request>,
    /// Ids to be forgotten in the file, too.
    forgotten: Vec<u64>,
}

impl Store {
    /// A store that forgets everything at the end of the process: for tools, and for those who only read.
    ///
    /// Its ids start at the time at which it was made, as those of a new file, in units of 2⁻¹⁶ s, and above all that the
    /// gateway knows of the session's orders: none that it has decided on is used twice, however soon one store follows
    /// the other, and whatever the clock does.
    #[must_use]
    pub fn in_memory(utc_ns: u64) -> Self {
        let (seconds, rest_ns) = (utc_ns / NS_PER_S, utc_ns % NS_PER_S);
        let rest = rest_ns.wrapping_shl(IDS_PER_SECOND_BITS) / NS_PER_S;
        let last_cl_ord_id = ClOrdId::new(FIRST_EPOCH, seconds.wrapping_shl(IDS_PER_SECOND_BITS) | rest).0;
        let numbers = Numbers { next_client_seq: 1, last_cl_ord_id, ..Numbers::default() };
        Self {
            file: None,
            saved: numbers,
            numbers,
            unanswered: BTreeMap::new(),
            repeated: BTreeMap::new(),
            answered: BTreeMap::new(),
            forgotten: Vec::new(),
        }
    }

    /// Opens or makes the file. A torn last record was never sent, and is dropped.
    ///
    /// The ids of a new file start at the time at which it is made, so that a file that was lost, or a second one
    /// of the same session, repeats no id.
    ///
    /// # Errors
    /// `System`; `Locked` while another client has it; `Damaged` if anything but the end is not as it was written,
    /// also for an empty file.
    pub fn open(path: &Path, utc_ns: u64) -> Result<Self, StoreError> {
        let lock = lock_beside(path)?;
        let mut store = Self::in_memory(utc_ns);
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => {
                file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|source| system(path, source))?;
                store
                    .read_back(&bytes)
                    .map_err(|offset_bytes| StoreError::Damaged { path: path.to_owned(), offset_bytes })?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(system(path, error)),
        }
        store.write_anew(path, lock)?;
        Ok(store)
    }

    /// Takes the records in; where the damage begins, if there is any.
    fn read_back(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut offset = 0;
        let mut kinds_seen = 0_usize;
        while let Some(Record { kind, payload, next_offset }) = next_record(bytes, offset).map_err(|Damage| offset)? {
            let is_taken = match (kind, kinds_seen) {
                (HEAD, 0) => self.take_head(payload),
                (NUMBERS, 1..) => self.take_numbers(payload),
                (REQUEST, 1..) => self.take_request(payload),
                (FORGET, 1..) => self.take_forget(payload),
                _ => None,
            };
            is_taken.ok_or(offset)?;
            kinds_seen = kinds_seen.saturating_add(1);
            offset = next_offset;
        }
        if kinds_seen == 0 {
            // A file gets its name when its first record is on the disk.
            return Err(0);
        }
        Ok(())
    }

    fn take_head(&mut self, payload: &[u8]) -> Option<()> {
        let (magic, rest) = payload.split_first_chunk::<8>()?;
        let last_reserved_id = u64::from_le_bytes(rest.try_into().ok()?);
        // Whatever the end of the file said, none of these may be given again.
        self.numbers.last_cl_ord_id = last_reserved_id;
        (u64::from_le_bytes(*magic) == MAGIC).then_some(())
    }

    fn take_numbers(&mut self, payload: &[u8]) -> Option<()> {
        self.numbers = Numbers::from_bytes(payload, self.numbers.last_cl_ord_id)?;
        Some(())
    }

    fn take_request(&mut self, payload: &[u8]) -> Option<()> {
        let (seq, rest) = payload.split_first_chunk::<8>()?;
        let (flags, rest) = rest.split_first_chunk::<2>()?;
        let flags = u16::from_le_bytes(*flags);
        let (template_id, block) = rest.split_first_chunk::<2>()?;
        let request = Request {
            seq: u64::from_le_bytes(*seq),
            is_repeat: flags & IS_REPEAT != 0,
            is_closed: flags & IS_CLOSED != 0,
            template_id: u16::from_le_bytes(*template_id),
            block: block.to_vec(),
        };
        self.numbers.next_client_seq = self.numbers.next_client_seq.max(request.seq.saturating_add(1));
        self.count(&request);
        self.unanswered.insert(request.cl_ord_id().0, request);
        Some(())
    }

    fn take_forget(&mut self, payload: &[u8]) -> Option<()> {
        self.unanswered.remove(&u64::from_le_bytes(payload.try_into().ok()?));
        Some(())
    }

    /// Writes all that counts to a new file, and gives it the name: it never grows over restarts.
    fn write_anew(&mut self, path: &Path, lock: File) -> Result<(), StoreError> {
        let last_reserved_id = self.numbers.last_cl_ord_id.saturating_add(IDS_RESERVED);
        let head = record(HEAD, &words(&[MAGIC, last_reserved_id]));
        let kept = self.answered.values().chain(self.unanswered.values());
        let requests = kept.map(|request| record(REQUEST, &request_bytes(request)));
        let all: Vec<u8> =
            [head].into_iter().chain(requests).chain([record(NUMBERS, &self.numbers.to_bytes())]).flatten().collect();
        let fresh = fresh_path(path);
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&all).and_then(|()| file.sync_all())?;
            std::fs::rename(&fresh, path)?;
            // Without this the power could take the name back, and with it what the new file reserves.
            File::open(folder_of(path))?.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(|source| system(path, source))?;
        self.saved = self.numbers;
        self.forgotten.clear();
        let path = path.to_owned();
        self.file = Some(StateFile { path, file, lock, growth_bytes: 0, last_reserved_id, is_broken: false });
        Ok(())
    }

    /// Writes the file anew, without what was forgotten; with it, numbers and requests change in one step.
    pub(crate) fn rewrite(&mut self) -> Result<(), StoreError> {
        let Some(StateFile { path, lock, .. }) = &self.file else { return Ok(()) };
        let (path, lock) = (path.clone(), lock.try_clone().map_err(|source| system(path, source))?);
        let written = self.write_anew(&path, lock);
        if let (Err(_), Some(file)) = (&written, &mut self.file) {
            // It may have lost its name to the new one.
            file.is_broken = true;
        }
        written
    }

    fn append(&mut self, records: &[u8]) -> Result<(), StoreError> {
        // Before the new records: what is written anew is only what is kept already.
        if self.file.as_ref().is_some_and(|file| file.growth_bytes > GROWTH_BYTES_MAX) {
            self.rewrite()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if file.is_broken {
            return Err(StoreError::Broken { path: file.path.clone() });
        }
        if let Err(source) = file.file.write_all(records) {
            // What follows half a record could not be read back.
            file.is_broken = true;
            return Err(system(&file.path, source));
        }
        file.growth_bytes = file.growth_bytes.saturating_add(records.len() as u64);
        Ok(())
    }

    /// Keeps what the caller has dealt with, if there is anything new.
    pub(crate) fn save(&mut self) -> Result<(), StoreError> {
        if self.numbers == self.saved && self.forgotten.is_empty() {
            return Ok(());
        }
        // Requests first: a file whose numbers are beyond an answer must not know of its request any more.
        let forgets = self.forgotten.iter().map(|id| record(FORGET, &id.to_le_bytes()));
        let records: Vec<u8> = forgets.chain([record(NUMBERS, &self.numbers.to_bytes())]).flatten().collect();
        self.forgotten.clear();
        self.append(&records)?;
        self.saved = self.numbers;
        Ok(())
    }

    /// Keeps a request before it is sent.
    pub(crate) fn keep(&mut self, request: Request) -> Result<(), StoreError> {
        let (id, seq) = (request.cl_ord_id(), request.seq);
        if self.unanswered.get(&id.0).is_some_and(|first| first.seq != 0) {
            // A repetition before the first answer, which is that of both. Were it sent again in place of the first,
            // the order would come behind requests that were made after it.
            self.numbers.next_client_seq = seq.saturating_add(1);
            self.repeated.insert(id.0, seq);
            return Ok(());
        }
        if self.file.as_ref().is_some_and(|file| id.0 > file.last_reserved_id) {
            self.use_id(id);
            self.rewrite()?;
        }
        self.append(&record(REQUEST, &request_bytes(&request)))?;
        self.use_id(id);
        self.count(&request);
        self.numbers.next_client_seq = seq.saturating_add(1);
        self.unanswered.insert(id.0, request);
        Ok(())
    }

    /// A request has its answer: it is not sent again, but kept until the caller has dealt with that. True if it is one
    /// that had none; with `seq`, only if it went under that number.
    pub(crate) fn answer(&mut self, id: u64, seq: Option<u64>) -> bool {
        let is_its_own = |seq, request: &Request| seq == request.seq || self.repeated.get(&id) == Some(&seq);
        let waits = |request: &Request| seq.is_none_or(|seq| is_its_own(seq, request));
        let Some(request) = self.unanswered.get(&id).filter(|request| waits(request)).cloned() else { return false };
        self.unanswered.remove(&id);
        self.repeated.remove(&id);
        self.answered.insert(id, request);
        true
    }

    /// True for a request that was repeated after it went under this number: a refusal of that one is not the last word.
    pub(crate) fn is_repeated_since(&self, id: u64, seq: u64) -> bool {
        self.unanswered.contains_key(&id) && self.repeated.get(&id).is_some_and(|newest| *newest > seq)
    }

    /// The connection is gone, and with it every number of a repetition.
    pub(crate) fn forget_repetitions(&mut self) {
        self.repeated.clear();
    }

    /// A request had no effect, and whoever hears so may place another: never is it sent again, also in a next life.
    pub(crate) fn refuse(&mut self, id: u64) -> Result<(), StoreError> {
        let Some(request) = self.answered.get_mut(&id) else { return Ok(()) };
        request.is_closed = true;
        let request = request.clone();
        self.count(&request);
        self.append(&record(REQUEST, &request_bytes(&request)))
    }

    /// A request is done with, by a verdict of the client itself.
    pub(crate) fn close(&mut self, request: Request) {
        self.answered.insert(request.cl_ord_id().0, request);
    }

    /// Forgets a request whose answer the caller has dealt with; the file does so with the next `save`.
    pub(crate) fn forget(&mut self, id: u64) {
        if self.answered.remove(&id).is_some() && !self.unanswered.contains_key(&id) {
            self.forgotten.push(id);
        }
    }

    /// None of the requests in doubt was decided on: they go on from this number, in their order.
    pub(crate) fn renumber(&mut self, first_seq: u64) -> Result<(), StoreError> {
        let mut in_doubt: Vec<_> = self.unanswered.values_mut().filter(|request| request.seq != 0).collect();
        in_doubt.sort_by_key(|request| request.seq);
        let mut next_seq = first_seq;
        for request in in_doubt {
            request.seq = next_seq;
            next_seq = next_seq.saturating_add(1);
        }
        self.numbers.next_client_seq = next_seq;
        self.rewrite()
    }

    /// Reports were skipped: answers to requests up to this number may have been among them.
    pub(crate) fn skip_answers(&mut self, through_client_seq: u64) {
        self.numbers.has_gap = true;
        for request in self.unanswered.values_mut().filter(|request| request.seq <= through_client_seq) {
            request.seq = 0;
        }
    }
}

impl Drop for Store {
    /// A life that ends well repeats nothing that was dealt with; one that is killed repeats the last few reports.
    fn drop(&mut self) {
        drop(self.save());
    }
}

fn request_bytes(request: &Request) -> Vec<u8> {
    let mut bytes = request.seq.to_le_bytes().to_vec();
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let flags = flag(request.is_repeat, IS_REPEAT) | flag(request.is_closed, IS_CLOSED);
    bytes.extend_from_slice(&flags.to_le_bytes());
    bytes.extend_from_slice(&request.template_id.to_le_bytes());
    bytes.extend_from_slice(&request.block);
    bytes
}

fn words(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn system(path: &Path, source: io::Error) -> StoreError {
    StoreError::System { path: path.to_owned(), source }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn lock_beside(path: &Path) -> Result<File, StoreError> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(name);
    let lock = opened.map_err(|source| system(path, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(system(path, source)),
    }
}

/// Where a file is written before it gets its name: beside it, and of no other state file.
fn fresh_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    PathBuf::from(name)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
