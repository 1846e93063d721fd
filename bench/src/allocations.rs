//! An allocator that counts the calls of one thread: the loop of a gateway in this program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls to the allocator by the thread that is watched.
static CALLS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Counts from now on what this thread asks of the allocator.
pub(crate) fn watch_this_thread() {
    IS_WATCHED.set(true);
}

/// Answers every line of the input with the calls so far, from a thread that waits there and costs nothing meanwhile;
/// without an input it ends at once.
pub(crate) fn tell_when_asked() {
    std::thread::spawn(|| {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            let mut out = std::io::stdout().lock();
            if writeln!(out, "{}", CALLS.load(Ordering::Relaxed)).and_then(|()| out.flush()).is_err() {
                return;
            }
        }
    });
}

struct Counting;

fn count() {
    if IS_WATCHED.try_with(Cell::get).unwrap_or(false) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_watched_thread_allocates_is_counted_and_nothing_of_another() {
        let calls_of = |is_watched| {
            let allocate = move || {
                if is_watched {
                    watch_this_thread();
                }
                let before = CALLS.load(Ordering::Relaxed);
                drop(std::hint::black_box(vec![1_u8; 100]));
                CALLS.load(Ordering::Relaxed).saturating_sub(before)
            };
            std::thread::spawn(allocate).join().unwrap()
        };
        assert_eq!((calls_of(false), calls_of(true)), (0, 2));
    }
}
