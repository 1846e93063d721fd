//! A number that survives a torn write: two checksummed slots, written in turn.

use std::io;
use std::path::Path;

use crate::checksum::crc32c;
use crate::storage::{Storage, StorageFile, dir_of};

const SLOT_BYTES: usize = 512;
const FILE_BYTES: u64 = 1024;

/// A file with one number.
#[derive(Debug)]
pub(crate) struct Slots<F> {
    file: F,
    turn: u64,
    value: u64,
}

impl<F: StorageFile> Slots<F> {
    /// Opens the file, or makes it with the value 0; its room is allocated before it has a name.
    pub(crate) fn open<S: Storage<File = F>>(storage: &S, path: &Path) -> io::Result<Self> {
        let file = match storage.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let partial = path.with_extension("partial");
                let file = storage.create(&partial, FILE_BYTES)?;
                // Zeros on the disk: later writes then need no room and no new extent.
                file.write_at(&[0; FILE_BYTES as usize], 0)?;
                file.sync()?;
                storage.rename(&partial, path)?;
                storage.sync_dir(dir_of(path))?;
                file
            }
            Err(error) => return Err(error),
        };
        let (turn, value) = newest(&file).unwrap_or((0, 0));
        Ok(Self { file, turn, value })
    }

    /// The number in a file; `None` when there is no file, or no valid slot in it. Makes nothing.
    pub(crate) fn peek<S: Storage<File = F>>(storage: &S, path: &Path) -> io::Result<Option<u64>> {
        match storage.open(path) {
            Ok(file) => Ok(value_of(&file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) const fn value(&self) -> u64 {
        self.value
    }

    /// Writes the value to the older slot. Not synced.
    pub(crate) fn write(&mut self, value: u64) -> io::Result<()> {
        self.turn = self.turn.saturating_add(1);
        self.value = value;
        let mut slot = [0; SLOT_BYTES];
        let (words, _) = slot.as_chunks_mut::<8>();
        if let [turn, number, sum, ..] = words {
            *turn = self.turn.to_le_bytes();
            *number = value.to_le_bytes();
            *sum = checksum(self.turn, value).to_le_bytes();
        }
        self.file.write_at(&slot, (self.turn % 2).saturating_mul(SLOT_BYTES as u64))
    }

    /// Makes what was written survive power loss.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

fn checksum(turn: u64, value: u64) -> u64 {
    u64::from(crc32c(&turn.to_le_bytes(), &value.to_le_bytes()))
}

/// The number of an open file; `None` when there is no valid slot in it.
pub(crate) fn value_of(file: &impl StorageFile) -> Option<u64> {
    newest(file).map(|(_, value)| value)
}

fn newest(file: &impl StorageFile) -> Option<(u64, u64)> {
    [0, 1].iter().filter_map(|slot| read_slot(file, *slot)).max()
}

fn read_slot(file: &impl StorageFile, slot: u64) -> Option<(u64, u64)> {
    let mut bytes = [0; 24];
    file.read_at(&mut bytes, slot.saturating_mul(SLOT_BYTES as u64)).ok()?;
    let (words, _) = bytes.as_chunks::<8>();
    let [turn, value, sum] = words else {
        return None;
    };
    let (turn, value) = (u64::from_le_bytes(*turn), u64::from_le_bytes(*value));
    (turn != 0 && u64::from_le_bytes(*sum) == checksum(turn, value)).then_some((turn, value))
}
