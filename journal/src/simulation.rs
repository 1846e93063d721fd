//! A disk that can lose power at any step.
//!
//! What is live lies in anonymous memory files, which the code under test maps as it would map real ones.
//! Beside each file stands what is durable: the bytes at its last sync. Power loss keeps, sector by sector,
//! either of the two, in any mixture; of the names changed since a directory's last sync, any subset. A crash
//! of the process keeps what is live, and what is durable. A sync that fails makes nothing durable, and its pages count as
//! written all the same until they are written again. Files under `/hot` are in memory: power loss takes them.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::map::Map;
use crate::storage::{Storage, StorageFile};

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// A generator of the same numbers for the same seed (xorshift64*).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

#[derive(Debug)]
struct Inode {
    live: File,
    durable: Vec<u8>,
    /// Bytes of the disk that it takes.
    room: u64,
    /// Pages that a failed sync has marked as written: number and content.
    dropped: BTreeMap<usize, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(PathBuf, usize),
    Gone(PathBuf),
    Renamed(PathBuf, PathBuf, usize),
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<NameChange>,
    steps: u64,
    crash_at: Option<u64>,
    free_bytes: Option<u64>,
    fails_next_sync: bool,
}

impl Inode {
    fn copy(&self) -> Self {
        Self {
            live: memory(&bytes_of(&self.live)),
            durable: self.durable.clone(),
            room: self.room,
            dropped: self.dropped.clone(),
        }
    }
}

impl State {
    /// Gives back what a file takes beyond `room`.
    fn free(&mut self, inode: Option<usize>, room: u64) {
        let Some(inode) = inode.and_then(|inode| self.inodes.get_mut(inode)) else { return };
        let freed = inode.room.saturating_sub(room);
        inode.room -= freed;
        self.free_bytes = self.free_bytes.map(|free| free + freed);
    }
}

/// How a crash happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process is killed.
    Process,
    /// Power is lost.
    Power,
}

/// The simulated disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Simulated {
    state: Arc<Mutex<State>>,
}

/// A file of it.
#[derive(Debug)]
pub(crate) struct SimulatedFile {
    disk: Simulated,
    inode: usize,
    live: File,
}

fn crashed() -> io::Error {
    io::Error::other("the simulated machine is down")
}

fn memory(bytes: &[u8]) -> File {
    let file: File = rustix::fs::memfd_create("simulated", rustix::fs::MemfdFlags::CLOEXEC).expect("memory").into();
    file.write_all_at(bytes, 0).expect("memory");
    file
}

fn bytes_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().expect("memory").len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("memory");
    bytes
}

fn is_volatile(path: &Path) -> bool {
    path.starts_with("/hot")
}

impl Simulated {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    /// One step nearer to the crash; an error from it on.
    pub(crate) fn step(&self) -> io::Result<()> {
        let mut state = self.locked();
        if state.crash_at.is_some_and(|crash_at| state.steps >= crash_at) {
            return Err(crashed());
        }
        state.steps += 1;
        Ok(())
    }

    /// Steps taken so far.
    pub(crate) fn steps(&self) -> u64 {
        self.locked().steps
    }

    /// Lets every step fail from the `steps`th on, counted from now.
    pub(crate) fn crash_after(&self, steps: u64) {
        let mut state = self.locked();
        state.crash_at = Some(state.steps + steps);
    }

    /// Lets `create` fail for want of room when it asks for more than this and what is given back.
    pub(crate) fn set_free_bytes(&self, bytes: Option<u64>) {
        self.locked().free_bytes = bytes;
    }

    /// Room that is left, where it is bounded.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        self.locked().free_bytes
    }

    /// Lets the next sync of a file fail, once.
    pub(crate) fn fail_next_sync(&self) {
        self.locked().fails_next_sync = true;
    }

    /// A byte of a file, changed behind everybody's back, live and durable.
    pub(crate) fn damage(&self, path: &Path, at: u64, mask: u8) {
        let mut state = self.locked();
        let index = state.live[path];
        let inode = &mut state.inodes[index];
        let mut bytes = bytes_of(&inode.live);
        bytes[at as usize] ^= mask;
        inode.live.write_all_at(&bytes, 0).expect("memory");
        inode.durable = bytes;
    }

    /// Names and live bytes, to compare.
    pub(crate) fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.locked();
        state.live.iter().map(|(path, index)| (path.clone(), bytes_of(&state.inodes[*index].live))).collect()
    }

    /// The disk that is found after the crash.
    pub(crate) fn survivor(&self, crash: Crash, dice: &mut Dice) -> Self {
        let state = self.locked();
        let mut after = State { free_bytes: state.free_bytes, ..State::default() };
        if crash == Crash::Process {
            after.inodes = state.inodes.iter().map(Inode::copy).collect();
            (after.live, after.durable, after.pending) =
                (state.live.clone(), state.durable.clone(), state.pending.clone());
            return Self { state: Arc::new(Mutex::new(after)) };
        }
        let mut names = state.durable.clone();
        for change in &state.pending {
            if dice.below(2) == 0 {
                apply(&mut names, change);
            }
        }
        names.retain(|path, _| !is_volatile(path));
        for (path, index) in names {
            let inode = &state.inodes[index];
            let mut bytes = bytes_of(&inode.live);
            // Each sector holds what was synced, or what was written since: independently. Never what a failed sync took.
            for (nth, (sector, durable)) in bytes.chunks_mut(SECTOR).zip(inode.durable.chunks(SECTOR)).enumerate() {
                let is_dropped = inode.dropped.contains_key(&(nth * SECTOR / PAGE));
                if sector != durable && (is_dropped || dice.below(2) == 0) {
                    sector.copy_from_slice(durable);
                }
            }
            let index = after.inodes.len();
            after.inodes.push(Inode {
                live: memory(&bytes),
                durable: bytes,
                room: inode.room,
                dropped: BTreeMap::new(),
            });
            after.live.insert(path.clone(), index);
            after.durable.insert(path, index);
        }
        Self { state: Arc::new(Mutex::new(after)) }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    match change {
        NameChange::Set(path, inode) => drop(names.insert(path.clone(), *inode)),
        NameChange::Gone(path) => drop(names.remove(path)),
        NameChange::Renamed(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
    }
}

impl Storage for Simulated {
    type File = SimulatedFile;

    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.step()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.locked();
        let inside = state.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path) -> io::Result<SimulatedFile> {
        let state = self.locked();
        let inode = *state.live.get(path).ok_or(io::ErrorKind::NotFound)?;
        let live = state.inodes[inode].live.try_clone().expect("memory");
        Ok(SimulatedFile { disk: self.clone(), inode, live })
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<SimulatedFile> {
        self.step()?;
        let mut state = self.locked();
        let replaced = state.live.remove(path);
        state.free(replaced, 0);
        let room = if is_volatile(path) { 0 } else { bytes };
        if let Some(free) = state.free_bytes {
            state.free_bytes = Some(free.checked_sub(room).ok_or(io::ErrorKind::StorageFull)?);
        }
        let zeros = vec![0; bytes as usize];
        let live = memory(&zeros);
        let inode = state.inodes.len();
        state.inodes.push(Inode {
            live: live.try_clone().expect("memory"),
            durable: zeros,
            room,
            dropped: BTreeMap::new(),
        });
        state.live.insert(path.to_owned(), inode);
        state.pending.push(NameChange::Set(path.to_owned(), inode));
        Ok(SimulatedFile { disk: self.clone(), inode, live })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let mut state = self.locked();
        let inode = state.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        let replaced = state.live.insert(to.to_owned(), inode);
        state.free(replaced, 0);
        state.pending.push(NameChange::Renamed(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        let mut state = self.locked();
        let removed = state.live.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.free(Some(removed), 0);
        state.pending.push(NameChange::Gone(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        let mut state = self.locked();
        let (inside, outside) = std::mem::take(&mut state.pending).into_iter().partition(|change| match change {
            NameChange::Set(path, _) | NameChange::Gone(path) | NameChange::Renamed(_, path, _) => {
                path.parent() == Some(dir)
            }
        });
        state.pending = outside;
        let inside: Vec<NameChange> = inside;
        for change in &inside {
            apply(&mut state.durable, change);
        }
        Ok(())
    }
}

impl StorageFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.live.metadata()?.len())
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        self.live.read_exact_at(out, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.disk.step()?;
        assert!(at + bytes.len() as u64 <= self.len()?, "a file is never written past its end");
        let pages = at as usize / PAGE..(at as usize + bytes.len()).div_ceil(PAGE);
        self.disk.locked().inodes[self.inode].dropped.retain(|page, _| !pages.contains(page));
        self.live.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.step()?;
        let bytes = bytes_of(&self.live);
        let mut state = self.disk.locked();
        let has_failed = std::mem::take(&mut state.fails_next_sync);
        let inode = &mut state.inodes[self.inode];
        for (page, (live, durable)) in bytes.chunks(PAGE).zip(inode.durable.chunks_mut(PAGE)).enumerate() {
            if live == durable || inode.dropped.get(&page).is_some_and(|dropped| dropped == live) {
                continue;
            }
            if has_failed {
                inode.dropped.insert(page, live.to_vec());
            } else {
                durable.copy_from_slice(live);
                inode.dropped.remove(&page);
            }
        }
        if has_failed { Err(io::Error::other("the simulated disk failed")) } else { Ok(()) }
    }

    fn free_from(&self, at: u64) {
        let len = self.len().expect("memory");
        self.live.write_all_at(&vec![0; len.saturating_sub(at) as usize], at).expect("memory");
        self.disk.locked().free(Some(self.inode), at);
    }

    fn map(&self, len: usize) -> io::Result<Map> {
        Map::open(&self.live, len)
    }

    fn map_read_only(&self, len: usize) -> io::Result<Map> {
        Map::open_read_only(&self.live, len)
    }
}
