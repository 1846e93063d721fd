//! A number that survives a torn write: two checksummed slots, written in turn.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const SLOT_BYTES: usize = 512;
const FILE_BYTES: u64 = 1024;

/// A file with one number.
#[derive(Debug)]
pub(crate) struct Slots {
    file: File,
    turn: u64,
    value: u64,
}

impl Slots {
    /// Opens the file, or makes it with the value 0.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(FILE_BYTES)?;
        let newest = [0, 1].iter().filter_map(|slot| read_slot(&file, *slot)).max().unwrap_or((0, 0));
        Ok(Self { file, turn: newest.0, value: newest.1 })
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
        self.file.write_all_at(&slot, (self.turn % 2).saturating_mul(SLOT_BYTES as u64))
    }

    /// Makes what was written survive power loss.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

fn checksum(turn: u64, value: u64) -> u64 {
    u64::from(crc32c::crc32c_append(crc32c::crc32c(&turn.to_le_bytes()), &value.to_le_bytes()))
}

fn read_slot(file: &File, slot: u64) -> Option<(u64, u64)> {
    let mut bytes = [0; 24];
    file.read_exact_at(&mut bytes, slot.saturating_mul(SLOT_BYTES as u64)).ok()?;
    let (words, _) = bytes.as_chunks::<8>();
    let [turn, value, sum] = words else {
        return None;
    };
    let (turn, value) = (u64::from_le_bytes(*turn), u64::from_le_bytes(*value));
    (turn != 0 && u64::from_le_bytes(*sum) == checksum(turn, value)).then_some((turn, value))
}
