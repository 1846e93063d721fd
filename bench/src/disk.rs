//! Which disk a directory lies on: a sync to memory says nothing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;

/// File systems that are no disk.
const IN_MEMORY: [&str; 3] = ["tmpfs", "ramfs", "devtmpfs"];

/// The disk of `dir` in words: `ext4 on /dev/vda, mounted at /`. A directory in memory is refused.
pub(crate) fn disk_of(dir: &Path) -> Result<String, Failure> {
    let dir = fs::canonicalize(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mount_of(&mounts, &dir).ok_or_else(|| format!("{}: on no mounted file system", dir.display()))?;
    if IN_MEMORY.contains(&mount.kind) {
        return Err(format!(
            "{}: {} is memory, not a disk; name a directory on one by --dir",
            dir.display(),
            mount.kind
        )
        .into());
    }
    Ok(format!("{} on {}, mounted at {}", mount.kind, mount.source, mount.at))
}

/// The directory whose disk is measured: this one, or that for temporary files; and the disk.
pub(crate) fn measured(dir: Option<&Path>) -> Result<(PathBuf, String), Failure> {
    let dir = dir.map_or_else(std::env::temp_dir, Path::to_owned);
    let disk = disk_of(&dir)?;
    Ok((dir, disk))
}

#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    kind: &'a str,
    source: &'a str,
    at: String,
}

/// What `dir` is on: of the mount points above it the deepest, and of several there the last.
fn mount_of<'a>(mountinfo: &'a str, dir: &Path) -> Option<Mount<'a>> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let at = place.split(' ').nth(4)?.replace("\\040", " ");
        let mut kind = kind.split(' ');
        Some(Mount { kind: kind.next()?, source: kind.next()?, at })
    });
    mounts.filter(|mount| dir.starts_with(&mount.at)).max_by_key(|mount| Path::new(&mount.at).components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw
30 27 0:40 / /var/a\\040b rw - xfs /dev/vdb rw
31 27 0:41 / /var/a\\040b rw - btrfs /dev/vdc rw
";

    #[test]
    fn a_directory_is_on_the_deepest_mount_above_it_and_on_the_last_of_several_there() {
        let of = |dir: &str| mount_of(MOUNTS, Path::new(dir)).map(|mount| (mount.kind, mount.source));
        assert_eq!(of("/tmp/x"), Some(("ext4", "/dev/vda")));
        assert_eq!(of("/dev/shm/x"), Some(("tmpfs", "tmpfs")));
        assert_eq!(of("/dev/shmx"), Some(("ext4", "/dev/vda")), "names are compared whole");
        assert_eq!(of("/var/a b/c"), Some(("btrfs", "/dev/vdc")));
    }

    #[test]
    fn memory_is_refused_as_a_disk() {
        let refusal = disk_of(Path::new("/dev/shm")).unwrap_err().to_string();
        assert!(refusal.contains("is memory, not a disk"), "{refusal}");
        let in_memory = Path::new("/dev/shm");
        assert!(measured(Some(in_memory)).is_err());
        let options = crate::journal::Options { dir: Some(in_memory.to_owned()), ..Default::default() };
        assert!(crate::journal::measure(&options).unwrap_err().to_string().contains("not a disk"), "nor by `journal`");
    }
}
