//! Mapped files: all that touches their memory is here, and `unsafe` for it.
//!
//! A segment has one writer and any number of readers, in this process and others. The border between
//! them is the length word of a group's first record: stored last with release, loaded first with acquire.
//! A reader makes slices only over bytes behind a length word that it has loaded; the writer makes mutable
//! slices only over bytes that no length word covers yet.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};

/// A mapped file of fixed length.
#[derive(Debug)]
pub struct Map {
    raw: MmapRaw,
    len: usize,
}

impl Map {
    /// Maps the first `len` bytes of a file that is at least so long, for reading and writing.
    ///
    /// # Errors
    /// As `mmap(2)`; `InvalidInput` when the file is shorter, since touching what it lacks would be a SIGBUS.
    pub fn open(file: &File, len: usize) -> io::Result<Self> {
        check_len(file, len)?;
        let raw = MmapOptions::new().len(len).map_raw(file)?;
        Ok(Self { raw, len })
    }

    /// As `open`, for reading only; the file may be opened without write permission.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_read_only(file: &File, len: usize) -> io::Result<Self> {
        check_len(file, len)?;
        let raw = MmapOptions::new().len(len).map_raw_read_only(file)?;
        Ok(Self { raw, len })
    }

    /// Length, bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True for a map of nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Brings every page in for writing, so that the writer takes no fault.
    ///
    /// # Errors
    /// `StorageFull` instead of a SIGBUS when there is no room for a page; else as `madvise(2)`.
    pub fn populate(&self) -> io::Result<()> {
        let start = self.raw.as_mut_ptr().cast();
        // SAFETY: the range is exactly the live map; populating changes no byte.
        let result = unsafe { rustix::mm::madvise(start, self.len, rustix::mm::Advice::LinuxPopulateWrite) };
        match result {
            // A kernel before 5.14: the first store faults, nothing worse.
            Err(rustix::io::Errno::INVAL) => Ok(()),
            other => other.map_err(io::Error::from),
        }
    }

    /// Brings every page in for reading, so that who reads all of it takes no fault for each. Best effort.
    pub fn populate_for_reading(&self) {
        let start = self.raw.as_mut_ptr().cast();
        // SAFETY: the range is exactly the live map; populating changes no byte.
        let _ = unsafe { rustix::mm::madvise(start, self.len, rustix::mm::Advice::LinuxPopulateRead) };
    }

    fn place(&self, at: usize, len: usize) -> Option<*mut u8> {
        let end = at.checked_add(len)?;
        // SAFETY: `at` is within the map, checked against its length.
        (end <= self.len).then(|| unsafe { self.raw.as_mut_ptr().add(at) })
    }

    fn word(&self, at: usize) -> Option<&AtomicU32> {
        let place = self.place(at, 4).filter(|_| at.is_multiple_of(4))?;
        // SAFETY: in bounds and aligned (a map starts on a page); every access to a length word is atomic.
        Some(unsafe { AtomicU32::from_ptr(place.cast()) })
    }

    /// The length word at `at`; what lies behind a non-zero one may be read. Zero out of bounds.
    #[must_use]
    pub fn length_word(&self, at: usize) -> u32 {
        self.word(at).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Stores the length word at `at`, last of all: what lies behind it becomes visible.
    pub fn publish(&self, at: usize, len: u32) {
        if let Some(word) = self.word(at) {
            word.store(len, Ordering::Release);
        }
    }

    /// Bytes that a length word covers, or that nobody writes; to the writer also others, but no length word. Empty out
    /// of bounds.
    #[must_use]
    pub fn bytes(&self, at: usize, len: usize) -> &[u8] {
        let Some(place) = self.place(at, len) else {
            return &[];
        };
        // SAFETY: in bounds; the caller has loaded the length word that covers them, after which the one
        // writer never touches them again; or it is that writer, which stores nothing while it holds them.
        unsafe { core::slice::from_raw_parts(place, len) }
    }

    /// Bytes that no length word covers yet. Only the one writer calls this. Empty out of bounds.
    pub fn bytes_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        let Some(place) = self.place(at, len) else {
            return &mut [];
        };
        // SAFETY: in bounds; `&mut self` is the one writer, and readers never look past a zero length word.
        unsafe { core::slice::from_raw_parts_mut(place, len) }
    }
}

fn check_len(file: &File, len: usize) -> io::Result<()> {
    if file.metadata()?.len() < len as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is shorter than its map"));
    }
    Ok(())
}
