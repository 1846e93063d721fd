//! Hot segments: copies in memory that the writer stores into, and how everybody finds them.
//!
//! The file `hot` in the journal's directory says where they are. It is there before the first hot segment is,
//! a hot copy has its name before its segment has, and keeps it until all of it is drained: so a segment
//! without a hot copy is whole, or is written itself.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::OpenError;
use crate::checksum::crc32c;
use crate::segment::{hot_path_of, path_of};
use crate::storage::{Disk, Storage, StorageFile, numbered, write_whole};

/// What the file `hot` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// Boot in which the copies were made.
    pub(crate) boot_id: String,
    /// Their directory, in memory.
    pub(crate) dir: PathBuf,
    /// The first segment that was kept there.
    pub(crate) first_segno: u64,
}

/// The directory of the journal's own for its hot copies, made in `root` where it is missing. Journals can share a root,
/// and so can users: what nobody but us can have put there is what counts.
pub(crate) fn own_dir(root: &Path, journal_dir: &Path) -> Result<PathBuf, OpenError> {
    let io_error = |source| OpenError::io(root, source);
    std::fs::create_dir_all(root).map_err(io_error)?;
    // Absolute: it is found again wherever the next process is started.
    let root = root.canonicalize().map_err(io_error)?;
    let dir = root.join(own_name(journal_dir).map_err(|source| OpenError::io(journal_dir, source))?);
    let io_error = |source| OpenError::io(&dir, source);
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error(error)),
        _ => {}
    }
    let found = std::fs::symlink_metadata(&dir).map_err(io_error)?;
    let user = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        let what = format!(
            "must be a directory of user {user} with mode 0700, and is of user {} with mode {:04o}: others could change hot \
             segments there; remove it when no gateway uses it",
            found.uid(),
            found.mode() & 0o7777
        );
        return Err(io_error(io::Error::new(io::ErrorKind::PermissionDenied, what)));
    }
    Ok(dir)
}

/// One for each journal of the host, the same after a restart.
fn own_name(journal_dir: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(journal_dir)?;
    Ok(format!("tradecore-{:x}-{:x}", metadata.dev(), metadata.ino()))
}

/// Takes away what a life with another root has left in memory; all of it is on the disk by now. Best effort.
pub(crate) fn remove_old(last_life: &Marker, own_dir: Option<&Path>, journal_dir: &Path) {
    if own_dir != Some(&last_life.dir) && last_life.is_of(journal_dir).unwrap_or(false) {
        drop(std::fs::remove_dir_all(&last_life.dir));
    }
}

/// Where it lies.
pub(crate) fn marker_path(dir: &Path) -> PathBuf {
    dir.join("hot")
}

impl Marker {
    /// False for a journal that was copied: the file came along, and names the directory of the original.
    pub(crate) fn is_of(&self, journal_dir: &Path) -> io::Result<bool> {
        Ok(self.dir.file_name() == Some(own_name(journal_dir)?.as_ref()))
    }

    pub(crate) fn read<S: Storage>(storage: &S, dir: &Path) -> io::Result<Option<Self>> {
        let file = match storage.open(&marker_path(dir)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = file.read_all()?;
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{}: damaged", marker_path(dir).display()));
        String::from_utf8(bytes).ok().and_then(|text| Self::from_text(&text)).map(Some).ok_or_else(damaged)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (covered, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let mut lines = covered.splitn(3, '\n');
        let (boot_id, dir, first_segno) = (lines.next()?.to_owned(), lines.next()?.into(), lines.next()?.parse().ok()?);
        (sum == sum_of(covered)).then_some(Self { boot_id, dir, first_segno })
    }

    /// Demands hot segments from here on.
    pub(crate) fn write<S: Storage>(&self, storage: &S, dir: &Path) -> io::Result<()> {
        let covered = format!("{}\n{}\n{}", self.boot_id, self.dir.display(), self.first_segno);
        let text = format!("{covered}\n{}\n", sum_of(&covered));
        write_whole(storage, &marker_path(dir), text.as_bytes())
    }

    /// Takes the demand away.
    pub(crate) fn remove<S: Storage>(storage: &S, dir: &Path) -> io::Result<()> {
        match storage.remove(&marker_path(dir)) {
            Ok(()) => storage.sync_dir(dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn sum_of(text: &str) -> String {
    format!("{:08x}", crc32c(text.as_bytes(), &[]))
}

/// Opens the newest bytes of a segment, and says where they are; `None` when there is no such segment.
pub(crate) fn open_newest(dir: &Path, segno: u64) -> io::Result<Option<(File, PathBuf)>> {
    let open_hot = || match Marker::read(&Disk, dir)? {
        Some(marker) if marker.is_of(dir)? => open_if_there(hot_path_of(&marker.dir, segno)),
        _ => Ok(None),
    };
    if let Some(hot) = open_hot()? {
        return Ok(Some(hot));
    }
    let segment = open_if_there(path_of(dir, segno))?;
    // A hot copy that is there now came between the two looks: while it is there, what it drains to is in
    // the making.
    Ok(if segment.is_some() { open_hot()?.or(segment) } else { None })
}

/// Where the process that has a journal open keeps what must not be on a disk: the directory of its hot segments. `None`:
/// no process has it open, or its segments are mapped on the disk. A process that was killed leaves it behind.
///
/// # Errors
/// When the journal's directory cannot be read.
pub fn hot_dir_of(dir: &Path) -> io::Result<Option<PathBuf>> {
    match Marker::read(&Disk, dir)? {
        Some(marker) if marker.is_of(dir)? => Ok(Some(marker.dir)),
        _ => Ok(None),
    }
}

/// The hot copy of the newest segment of an open journal, when it should be there and is not: somebody has taken it away.
/// Two looks in a row must agree, for the newest segment of the first can be drained before its copy is looked for.
///
/// # Errors
/// When the journal's directory cannot be read.
pub fn missing_hot_segment(dir: &Path) -> io::Result<Option<PathBuf>> {
    let Some(marker) = Marker::read(&Disk, dir)? else { return Ok(None) };
    let newest = numbered(&Disk, dir, "jnl")?.pop().filter(|segno| *segno >= marker.first_segno);
    let copy = newest.map(|segno| hot_path_of(&marker.dir, segno));
    Ok(copy.filter(|path| matches!(path.try_exists(), Ok(false))))
}

fn open_if_there(path: PathBuf) -> io::Result<Option<(File, PathBuf)>> {
    match File::open(&path) {
        Ok(file) => Ok(Some((file, path))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
    }
}
