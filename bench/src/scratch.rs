//! Directories of a run. They go with it; those of a run that was killed go with the next one.

use std::io;
use std::path::Path;

use tempfile::{Builder, TempDir};

/// What a name begins with; the number of the process and something random follow.
const PREFIX: &str = "tradecore-bench-";
const MEMORY: &str = "/dev/shm";

/// One among the system's temporary files.
pub(crate) fn dir() -> io::Result<TempDir> {
    dir_in(&std::env::temp_dir())
}

/// One in memory, where there is such.
pub(crate) fn in_memory() -> io::Result<TempDir> {
    dir_in(Path::new(MEMORY)).or_else(|_| dir())
}

/// One in `parent`, from which those of dead runs are removed.
pub(crate) fn dir_in(parent: &Path) -> io::Result<TempDir> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", parent.display()));
    sweep(parent, &|pid| Path::new("/proc").join(pid).exists()).map_err(named)?;
    // Its error names the directory.
    Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir_in(parent)
}

/// Removes what runs have left that are not alive; what another user has left stays.
fn sweep(parent: &Path, is_alive: &dyn Fn(&str) -> bool) -> io::Result<()> {
    for entry in std::fs::read_dir(parent)?.filter_map(Result::ok) {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-')).map(|(pid, _)| pid);
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !is_alive(pid)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dead_runs_have_left_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["tradecore-bench-7-abc", "tradecore-bench-8-abc", "tradecore-bench-x-abc", "another-7-abc"] {
            std::fs::create_dir_all(parent.path().join(name).join("data")).unwrap();
        }
        sweep(parent.path(), &|pid| pid == "8").unwrap();
        let mut left: Vec<String> = std::fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["another-7-abc", "tradecore-bench-8-abc", "tradecore-bench-x-abc"]);
    }

    #[test]
    fn a_directory_of_this_run_outlasts_the_making_of_another() {
        let parent = tempfile::tempdir().unwrap();
        let (first, second) = (dir_in(parent.path()).unwrap(), dir_in(parent.path()).unwrap());
        assert!(first.path().is_dir() && second.path().is_dir());
    }
}
