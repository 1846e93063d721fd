//! Wakes a thread that sleeps in a poll, at no cost while it is awake.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use crossbeam::utils::CachePadded;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// One sleeper, any number of those who wake it.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
    is_asleep: CachePadded<AtomicBool>,
}

impl Bell {
    /// A bell whose thread is awake.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd, is_asleep: CachePadded::new(AtomicBool::new(false)) })
    }

    /// Wakes the sleeper after work was left for it: one system call if it sleeps, none otherwise.
    pub fn ring(&self) {
        // Pairs with the fence of `lie_down`: either the sleeper sees the work, or it is seen to sleep.
        fence(Ordering::SeqCst);
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Relaxed) {
            // It can fail only when it has been rung 2^64 times: then the sleeper is awake.
            let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
        }
    }

    /// Sleeps until it is rung, or for so long at most; not at all if `has_work` sees some once more.
    pub fn sleep(&self, longest: Duration, has_work: impl Fn() -> bool) {
        self.lie_down();
        if !has_work() {
            let longest = Timespec::try_from(longest).ok();
            // An interrupted wait is a short one.
            let _ = poll(&mut [PollFd::new(self, PollFlags::IN)], longest.as_ref());
        }
        self.get_up();
    }

    /// Says that the caller will sleep: it looks for work once more, then polls `as_fd`.
    pub fn lie_down(&self) {
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that the caller is awake.
    pub fn get_up(&self) {
        if !self.is_asleep.swap(false, Ordering::Relaxed) {
            // It was rung; what rings from now on finds it silent.
            let _ = rustix::io::read(&self.fd, &mut [0_u8; 8]);
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn no_work_is_left_lying_whoever_falls_asleep_when() {
        const WORK: u64 = 20_000;
        let bell = Arc::new(Bell::new().unwrap());
        let left = Arc::new(AtomicU64::new(0));
        let (ringer, work) = (Arc::clone(&bell), Arc::clone(&left));
        let giver = std::thread::spawn(move || {
            for _ in 0..WORK {
                work.fetch_add(1, Ordering::Relaxed);
                ringer.ring();
            }
        });
        let mut done = 0;
        while done < WORK {
            done += left.swap(0, Ordering::Relaxed);
            bell.lie_down();
            if done < WORK && left.load(Ordering::Relaxed) == 0 {
                // Without a bound: a ring that is lost hangs the test.
                poll(&mut [PollFd::new(&*bell, PollFlags::IN)], None).unwrap();
            }
            bell.get_up();
        }
        giver.join().unwrap();
    }

    #[test]
    fn who_is_awake_is_not_rung_for() {
        let bell = Bell::new().unwrap();
        bell.ring();
        assert!(rustix::io::read(&bell.fd, &mut [0_u8; 8]).is_err(), "nothing was written");
    }
}
