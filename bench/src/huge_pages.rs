//! Memory with huge pages for what the measurements keep in memory: a page of 4 KiB at a time, the kernel makes a gigabyte
//! a second, and the writer meets a new page with every tenth event.
//!
//! `/dev/shm` has none unless it is mounted so. Who may mount gets one of their own, in a mount namespace that nobody
//! else sees and that ends with the process; others measure with what there is, and the result says which it was.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Where segments lie in memory.
const MEMORY: &str = "/dev/shm";
/// Where the kernel says how large a piece of free memory must be to be reported to the host.
const REPORTING_ORDER: &str = "/sys/module/page_reporting/parameters/page_reporting_order";
/// Pieces of four megabytes, with pages of 4 KiB.
const LARGEST_ORDER: u32 = 10;
/// Set for the process that has been prepared, and for its children.
const IS_PREPARED: &str = "TRADECORE_BENCH_IS_PREPARED";

/// Starts this program again with huge pages, where that is allowed; returns where it is not, or has been done.
pub(crate) fn prepare() {
    if std::env::var_os(IS_PREPARED).is_some() || !rustix::process::geteuid().is_root() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let script = format!("mount -t tmpfs -o huge=always,size=75% tmpfs {MEMORY} 2>/dev/null; exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(program).args(std::env::args_os().skip(1)).env(IS_PREPARED, "1");
    // It comes back only when it has failed: without `unshare` the memory stays as it is.
    let _ = command.exec();
}

/// What pages the segments in memory have, in words, and whether the host takes back what is free.
pub(crate) fn describe() -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let pages = pages_of(&mounts).map_or_else(|| "4 KiB".to_owned(), |mode| format!("huge={mode}"));
    let order = std::fs::read_to_string(REPORTING_ORDER).unwrap_or_default();
    let host = if is_given_back(&order) { "; what is free goes back to the host" } else { "" };
    format!("{MEMORY}: {pages}{host}")
}

/// A machine that reports its free memory to its host gets each page anew with the first touch, at a twentieth of the
/// rate of memory that it has. `order` is the least size of what it reports, as a power of two of pages: none is larger
/// than the largest that the kernel keeps.
fn is_given_back(order: &str) -> bool {
    order.trim().parse::<u32>().is_ok_and(|order| order <= LARGEST_ORDER)
}

/// The mode of the last file system that is mounted there.
fn pages_of(mounts: &str) -> Option<&str> {
    let mut fields = mounts.lines().rev().map(|line| line.split(' '));
    let options = fields.find_map(|mut fields| (fields.nth(1)? == MEMORY).then(|| fields.nth(1)).flatten())?;
    options.split(',').find_map(|option| option.strip_prefix("huge="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_are_those_of_the_file_system_that_was_mounted_last() {
        let plain = "proc /proc proc rw 0 0\ntmpfs /dev/shm tmpfs rw,nosuid 0 0\n";
        assert_eq!(pages_of(plain), None);
        let huge = format!("{plain}tmpfs /dev/shm tmpfs rw,size=1g,huge=always 0 0\ntmpfs /run tmpfs rw 0 0\n");
        assert_eq!(pages_of(&huge), Some("always"));
        assert_eq!(pages_of(""), None);
    }

    #[test]
    fn free_memory_goes_back_to_the_host_unless_no_piece_is_large_enough() {
        assert!(is_given_back("9\n") && is_given_back("10"));
        assert!(!is_given_back("11\n"));
        assert!(!is_given_back(""), "a kernel that cannot");
        assert!(!is_given_back("-1\n"), "a host that does not ask");
    }
}
