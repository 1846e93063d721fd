//! The seam to the disk: what of a file system the journal relies on, and nothing else.
//!
//! Two implementors: the real disk here, and the simulator that the crash tests run on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::map::Map;

/// A directory tree with the promises of a POSIX file system: bytes survive power loss once their file is
/// synced, names once their directory is.
pub(crate) trait Storage: std::fmt::Debug + Clone + Send + Sync + 'static {
    /// An open file.
    type File: StorageFile;

    /// Makes a directory and those above it.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names in a directory; none when it does not exist.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Makes a file of `bytes` zeros that are allocated for real, in the place of any that was there.
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Self::File>;
    /// Gives a file another name, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name away; those who have it open keep it.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory survive power loss.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Does two things that do not depend on each other: one after the other, where it is told at which step.
    fn both<A: Send, B: Send>(
        &self,
        first: impl FnOnce() -> io::Result<A> + Send,
        second: impl FnOnce() -> io::Result<B> + Send,
    ) -> (io::Result<A>, io::Result<B>) {
        (first(), second())
    }
}

/// An open file.
pub(crate) trait StorageFile: std::fmt::Debug + Send + Sync + 'static {
    /// Length, bytes.
    fn len(&self) -> io::Result<u64>;
    /// Fills `out` from `at`.
    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `at`.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// From here on, or no longer, what is written goes past the kernel's cache: whole pages from memory that lies on
    /// pages. False where there is no such way.
    fn bypass_cache(&self, _is_on: bool) -> bool {
        false
    }
    /// Makes the file's bytes survive power loss.
    fn sync(&self) -> io::Result<()>;
    /// Gives back the room from `at` to the end, which reads as zeros; the length stays. Best effort.
    fn free_from(&self, at: u64);
    /// Maps the first `len` bytes for writing.
    fn map(&self, len: usize) -> io::Result<Map>;
    /// Maps the first `len` bytes for reading.
    fn map_read_only(&self, len: usize) -> io::Result<Map>;

    /// The whole content.
    fn read_all(&self) -> io::Result<Vec<u8>> {
        self.read_start(usize::MAX)
    }

    /// The first `longest` bytes, or all there are.
    fn read_start(&self, longest: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; longest.min(self.len()? as usize)];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// The real disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk;

impl Storage for Disk {
    type File = File;

    /// At once: the disk and the memory are slow in different ways.
    fn both<A: Send, B: Send>(
        &self,
        first: impl FnOnce() -> io::Result<A> + Send,
        second: impl FnOnce() -> io::Result<B> + Send,
    ) -> (io::Result<A>, io::Result<B>) {
        std::thread::scope(|scope| {
            let second = match std::thread::Builder::new().spawn_scoped(scope, second) {
                Ok(thread) => thread,
                Err(error) => return (first(), Err(error)),
            };
            // A panic has been reported where it happened.
            (first(), second.join().unwrap_or_else(|_| Err(io::Error::other("the thread beside has panicked"))))
        })
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        match OpenOptions::new().read(true).write(true).open(path) {
            // A tool that only looks may be another user's, or look at a copy that nobody can write.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                File::open(path)
            }
            opened => opened,
        }
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<File> {
        // What is made is ours: a link that another has put in its place is not followed.
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).custom_flags(no_follow).open(path)?;
        let allocated = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
        if let Err(error) = allocated {
            // What a full disk did give is given back: the file would only keep it from others.
            drop(std::fs::remove_file(path));
            return Err(error.into());
        }
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl StorageFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(out, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn bypass_cache(&self, is_on: bool) -> bool {
        use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
        fcntl_getfl(self).is_ok_and(|mut flags| {
            flags.set(OFlags::DIRECT, is_on);
            fcntl_setfl(self, flags).is_ok()
        })
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(self)?)
    }

    fn free_from(&self, at: u64) {
        use rustix::fs::FallocateFlags;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let len = self.metadata().map_or(0, |metadata| metadata.len()).saturating_sub(at);
        if len > 0 {
            // A file system without holes keeps the room: nothing is lost but room.
            let _ = rustix::fs::fallocate(self, flags, at, len);
        }
    }

    fn map(&self, len: usize) -> io::Result<Map> {
        Map::open(self, len)
    }

    fn map_read_only(&self, len: usize) -> io::Result<Map> {
        Map::open_read_only(self, len)
    }
}

/// Numbers of the files `<number>.<extension>` in a directory, rising.
pub(crate) fn numbered<S: Storage>(storage: &S, dir: &Path, extension: &str) -> io::Result<Vec<u64>> {
    let mut found: Vec<u64> = storage
        .list(dir)?
        .iter()
        .filter_map(|name| name.strip_suffix(extension)?.strip_suffix('.')?.parse().ok())
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// The directory that holds `path`.
pub(crate) fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Writes a small file so that after a crash it is there whole or not at all.
pub(crate) fn write_whole<S: Storage>(storage: &S, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let file = storage.create(&partial, bytes.len() as u64)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    storage.rename(&partial, path)?;
    storage.sync_dir(dir_of(path))
}
