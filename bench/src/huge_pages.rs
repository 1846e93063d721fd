//! Memory with huge pages for what the measurements keep in memory: a page of 4 KiB at a time, the kernel makes a gigabyte
//! a second, and the writer meets a new page with every tenth event.
//!
//! `/dev/shm` has none unless it is mounted so. Who may mount gets one of their own, in a mount namespace that nobody
//! else sees and that ends with the process; others measure with what there is, and the result says which it was.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Where segments lie in memory.
const MEMORY: &str = "/dev/shm";
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

/// What pages the segments in memory have, in words.
pub(crate) fn describe() -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    pages_of(&mounts).map_or_else(|| format!("{MEMORY}: 4 KiB"), |mode| format!("{MEMORY}: huge={mode}"))
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
}
