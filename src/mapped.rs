//! Counters and stages of a gateway in a file of memory, which other processes read while the loop writes: the file of
//! this crate that maps memory.
//!
//! The file lies with the hot segments, where no writeback can stop the loop, and only their owner can read it. It holds a
//! header, a table of names (`table.rs`), and cells of 64 bits, each written by the loop with plain stores. It has its
//! name once it is whole, its length never changes, and its lock is held as long as the gateway lives: who can lock it
//! sees what a dead one has left. Without a hot directory the cells lie in memory of the process alone.

mod reader;
mod table;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use zerocopy::{FromBytes, IntoBytes};

use crate::counters::Counters;
use crate::histogram::Histogram;
use crate::stages;

pub use reader::{ReadError, Reader, Snapshot};
use table::{CELLS_AT, FILE_BYTES};

/// Name of the file in the directory of the hot segments.
pub const FILE_NAME: &str = "counters";

/// Bytes of a page, at most as many as any CPU here has: a store in each brings all of them in.
const PAGE_BYTES: usize = 4096;

/// Everything that a gateway counts.
#[derive(Debug, FromBytes, IntoBytes)]
#[repr(C)]
struct Cells {
    counters: Counters,
    /// As `Stage::TABLE` has them.
    stages: [Histogram; stages::COUNT],
}

/// The counters of a running gateway, and its stages.
#[derive(Debug)]
pub struct Mapped {
    map: Map,
    /// The file, locked, and where it is.
    file: Option<(File, PathBuf)>,
}

impl Mapped {
    /// Cells that only this process sees.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn private() -> io::Result<Self> {
        Ok(Self { map: Map::private()?.prefaulted(), file: None })
    }

    /// Cells in a file of this directory, which must be in memory. What a dead gateway has left there is replaced.
    ///
    /// # Errors
    /// As the system says; no room is an error, not a fault later.
    pub fn in_dir(dir: &Path, ticks_per_s: u64) -> io::Result<Self> {
        let path = dir.join(FILE_NAME);
        let partial = path.with_extension("partial");
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.try_lock()?;
        // Whole, so that every page is there before it is mapped.
        file.write_all(&table::image(ticks_per_s)?)?;
        let map = Map::writable(&file)?.prefaulted();
        std::fs::rename(&partial, &path)?;
        Ok(Self { map, file: Some((file, path)) })
    }

    /// The histograms of the stages, in ticks.
    #[must_use]
    pub fn stages(&self) -> &[Histogram; stages::COUNT] {
        &self.map.cells().stages
    }

    /// Where others find them.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(_, path)| path.as_path())
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.file {
            // It may be gone with its directory; what is left is seen to be of a dead gateway.
            drop(std::fs::remove_file(path));
        }
    }
}

impl Deref for Mapped {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.map.cells().counters
    }
}

/// Memory as long as the file, whoever else has it.
#[derive(Debug)]
struct Map(MmapRaw);

impl Map {
    fn private() -> io::Result<Self> {
        Ok(Self(MmapOptions::new().len(FILE_BYTES).map_anon()?.into()))
    }

    fn writable(file: &File) -> io::Result<Self> {
        check_len(file)?;
        Ok(Self(MmapOptions::new().len(FILE_BYTES).map_raw(file)?))
    }

    fn read_only(file: &File) -> io::Result<Self> {
        check_len(file)?;
        Ok(Self(MmapOptions::new().len(FILE_BYTES).map_raw_read_only(file)?))
    }

    /// Every page brought in, for the one who writes: the loop takes no fault. Called before anything is counted.
    fn prefaulted(self) -> Self {
        for at in (CELLS_AT..FILE_BYTES).step_by(PAGE_BYTES) {
            if let Some(cell) = self.cell(at) {
                cell.store(0, Ordering::Relaxed);
            }
        }
        self
    }

    /// The cell at a place in the file; `None` out of bounds.
    fn cell(&self, at: usize) -> Option<&AtomicU64> {
        if !at.is_multiple_of(8) || at >= FILE_BYTES {
            return None;
        }
        // SAFETY: within the map, which is `FILE_BYTES` long, a multiple of 8.
        let place = unsafe { self.0.as_mut_ptr().add(at) };
        // SAFETY: in bounds and aligned (a map starts on a page); the file is never shortened; every access by anybody
        // is atomic, and on a map for reading only there are only loads.
        Some(unsafe { AtomicU64::from_ptr(place.cast()) })
    }

    /// The cells, of a map that is written to.
    fn cells(&self) -> &Cells {
        // SAFETY: within the map, which is `FILE_BYTES` long: `CELLS_AT` and the size of `Cells`.
        let place = unsafe { self.0.as_mut_ptr().add(CELLS_AT) };
        // SAFETY: in bounds and aligned; any bytes are valid `Cells`, which has no padding (both are derived); it is made
        // of atomics only, so that a shared reference allows what its one writer stores. It lives as long as the map.
        unsafe { &*place.cast::<Cells>() }
    }
}

/// A shorter file would be a SIGBUS.
fn check_len(file: &File) -> io::Result<()> {
    if file.metadata()?.len() < FILE_BYTES as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is shorter than it says"));
    }
    Ok(())
}
