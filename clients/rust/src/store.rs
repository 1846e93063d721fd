//! What a client must not forget, in one append-only file; `kill -9` at any byte loses nothing that left.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tradecore_protocol::fields::ClOrdId;

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct StoreError {
    path: PathBuf,
    source: std::io::Error,
}

const NUMBERS: u8 = 1;
const REQUEST: u8 = 2;
const REFUSED: u8 = 3;
const HEADER_BYTES: usize = 9;
/// Bits of a ClOrdID's counter below the second in which a new file was made.
const IDS_PER_SECOND_BITS: u32 = 16;

/// The numbers of both streams and the ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) session_epoch: u64,
    pub(crate) applied_seq: u64,
    pub(crate) next_client_seq: u64,
    pub(crate) acked_client_seq: u64,
    pub(crate) last_cl_ord_id: u64,
}

impl Numbers {
    fn to_bytes(self) -> Vec<u8> {
        [self.session_epoch, self.applied_seq, self.next_client_seq, self.acked_client_seq, self.last_cl_ord_id]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let [epoch, applied, next, acked, id] = words else { return None };
        let number = |word: &[u8; 8]| u64::from_le_bytes(*word);
        Some(Self {
            session_epoch: number(epoch),
            applied_seq: number(applied),
            next_client_seq: number(next),
            acked_client_seq: number(acked),
            last_cl_ord_id: number(id),
        })
    }
}

/// A request that may not have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) template_id: u16,
    pub(crate) block: Vec<u8>,
}

/// The file, and what is in it.
#[derive(Debug)]
pub struct Store {
    path: Option<PathBuf>,
    file: Option<File>,
    /// Held as long as the store lives: two clients on one file would forget each other's requests.
    _lock: Option<File>,
    pub(crate) numbers: Numbers,
    pub(crate) unacked: BTreeMap<u64, Request>,
}

impl Store {
    /// A store that forgets everything at the end of the process: for tools, and for those who only read.
    ///
    /// Its client epoch is the number of seconds in which it was made, so that no id is used twice.
    #[must_use]
    pub fn in_memory(unix_seconds: u64) -> Self {
        let epoch = unix_seconds.checked_rem(u64::from(u16::MAX)).unwrap_or(1) as u16;
        let numbers =
            Numbers { next_client_seq: 1, last_cl_ord_id: ClOrdId::new(epoch.max(1), 0).0, ..Numbers::default() };
        Self { path: None, file: None, _lock: None, numbers, unacked: BTreeMap::new() }
    }

    /// Opens or makes the file. What a torn end holds was never sent, and is dropped.
    ///
    /// The ids of a new file start at the second in which it is made, so that a file that was lost, or a second
    /// one of the same session, repeats no id.
    ///
    /// # Errors
    /// As the system says, and when another client has the file.
    pub fn open(path: &Path, unix_seconds: u64) -> Result<Self, StoreError> {
        let failed = |source| StoreError { path: path.to_owned(), source };
        let lock = lock_beside(path).map_err(failed)?;
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(mut file) => drop(file.read_to_end(&mut bytes).map_err(failed)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let mut store = Self {
            path: Some(path.to_owned()),
            file: None,
            _lock: Some(lock),
            numbers: Numbers {
                next_client_seq: 1,
                last_cl_ord_id: ClOrdId::new(1, unix_seconds.wrapping_shl(IDS_PER_SECOND_BITS)).0,
                ..Numbers::default()
            },
            unacked: BTreeMap::new(),
        };
        store.read_back(&bytes);
        // Rewritten whole and renamed: the file never grows over restarts.
        let fresh = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&fresh).map_err(failed)?;
        let requests = store.unacked.iter().map(|(seq, request)| record(REQUEST, &request_bytes(*seq, request)));
        let all: Vec<u8> = requests.chain([record(NUMBERS, &store.numbers.to_bytes())]).flatten().collect();
        file.write_all(&all).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&fresh, path).map_err(failed)?;
        store.file = Some(file);
        Ok(store)
    }

    fn read_back(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((head, behind)) = rest.split_at_checked(HEADER_BYTES) {
            let [kind, l0, l1, l2, l3, c0, c1, c2, c3] = *head else { return };
            let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
            let Some((payload, next)) = behind.split_at_checked(len) else { return };
            if crc32c::crc32c(payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
                return;
            }
            match kind {
                NUMBERS => self.numbers = Numbers::from_bytes(payload).unwrap_or(self.numbers),
                REFUSED => {
                    let seq = payload.first_chunk::<8>().map_or(0, |seq| u64::from_le_bytes(*seq));
                    self.unacked.remove(&seq);
                }
                _ => {
                    if let Some((seq, request)) = read_request(payload) {
                        self.numbers.next_client_seq = self.numbers.next_client_seq.max(seq.saturating_add(1));
                        // The request's own id was given.
                        let id = request.block.first_chunk::<8>().map_or(0, |id| u64::from_le_bytes(*id));
                        self.numbers.last_cl_ord_id = self.numbers.last_cl_ord_id.max(id);
                        self.unacked.insert(seq, request);
                    }
                }
            }
            rest = next;
        }
        let acked = self.numbers.acked_client_seq;
        self.unacked.retain(|seq, _| *seq > acked);
    }

    fn append(&mut self, kind: u8, payload: &[u8]) -> Result<(), StoreError> {
        let (Some(file), Some(path)) = (&mut self.file, &self.path) else { return Ok(()) };
        file.write_all(&record(kind, payload)).map_err(|source| StoreError { path: path.clone(), source })
    }

    pub(crate) fn save_numbers(&mut self) -> Result<(), StoreError> {
        let bytes = self.numbers.to_bytes();
        self.append(NUMBERS, &bytes)
    }

    /// Keeps a request before it is sent.
    pub(crate) fn keep(&mut self, seq: u64, request: Request) -> Result<(), StoreError> {
        self.append(REQUEST, &request_bytes(seq, &request))?;
        self.numbers.next_client_seq = seq.saturating_add(1);
        self.unacked.insert(seq, request);
        Ok(())
    }

    /// Forgets a request that was heard and refused without a trace: the next process must not send it again.
    pub(crate) fn refused(&mut self, seq: u64) -> Result<(), StoreError> {
        match self.unacked.remove(&seq) {
            Some(_) => self.append(REFUSED, &seq.to_le_bytes()),
            None => Ok(()),
        }
    }

    /// Forgets requests that have arrived: their outcome is in the report stream.
    pub(crate) fn acked(&mut self, seq: u64) {
        if seq > self.numbers.acked_client_seq {
            self.numbers.acked_client_seq = seq;
            self.unacked.retain(|unacked, _| *unacked > seq);
        }
    }
}

fn lock_beside(path: &Path) -> std::io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(name)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(std::io::Error::other("another client uses this state")),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn request_bytes(seq: u64, request: &Request) -> Vec<u8> {
    let mut bytes = seq.to_le_bytes().to_vec();
    bytes.extend_from_slice(&request.template_id.to_le_bytes());
    bytes.extend_from_slice(&request.block);
    bytes
}

fn read_request(payload: &[u8]) -> Option<(u64, Request)> {
    let (seq, rest) = payload.split_first_chunk::<8>()?;
    let (template_id, block) = rest.split_first_chunk::<2>()?;
    let request = Request { template_id: u16::from_le_bytes(*template_id), block: block.to_vec() };
    Some((u64::from_le_bytes(*seq), request))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cut_at_any_byte_opens_with_what_was_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut store = Store::open(&path, 1_700_000_000).unwrap();
        for seq in 1..=5_u64 {
            let block = [(100 + seq).to_le_bytes(), [7; 8]].concat();
            store.keep(seq, Request { template_id: 100, block }).unwrap();
        }
        store.acked(2);
        store.numbers.applied_seq = 9;
        store.save_numbers().unwrap();
        drop(store);
        let bytes = std::fs::read(&path).unwrap();
        let mut most = 0;
        for cut in 0..=bytes.len() {
            let cut_path = dir.path().join("cut");
            std::fs::write(&cut_path, &bytes[..cut]).unwrap();
            let store = Store::open(&cut_path, 1_700_000_000).unwrap();
            let expected: Vec<u64> = (store.numbers.acked_client_seq + 1..store.numbers.next_client_seq).collect();
            assert_eq!(store.unacked.keys().copied().collect::<Vec<_>>(), expected, "cut at {cut}");
            assert!(store.numbers.next_client_seq >= most, "cut at {cut}: a longer file knows more");
            most = store.numbers.next_client_seq;
        }
        let store = Store::open(&path, 1_700_000_000).unwrap();
        assert_eq!((store.numbers.applied_seq, store.unacked.len(), most), (9, 3, 6));
    }

    #[test]
    fn a_refused_request_is_not_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut store = Store::open(&path, 1).unwrap();
        for seq in 1..=3_u64 {
            store.keep(seq, Request { template_id: 100, block: seq.to_le_bytes().to_vec() }).unwrap();
        }
        store.refused(2).unwrap();
        drop(store);
        let store = Store::open(&path, 1).unwrap();
        assert_eq!(store.unacked.keys().copied().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(store.numbers.next_client_seq, 4, "its number was used");
    }

    #[test]
    fn a_file_has_one_client_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let store = Store::open(&path, 1).unwrap();
        assert!(Store::open(&path, 1).unwrap_err().to_string().contains("another client"));
        drop(store);
        Store::open(&path, 1).unwrap();
    }

    #[test]
    fn a_new_file_repeats_no_id_of_one_that_was_lost() {
        let dir = tempfile::tempdir().unwrap();
        let first_id = |name: &str, unix_seconds| {
            Store::open(&dir.path().join(name), unix_seconds).unwrap().numbers.last_cl_ord_id
        };
        let (lost, next) = (first_id("lost", 1_700_000_000), first_id("new", 1_700_000_001));
        assert!(next - lost >= 65_536, "{lost} {next}");
        assert_eq!(ClOrdId(next).epoch(), 1, "ids of the other client stay open");
    }
}
