//! What a process takes of the system, as `/proc` tells it.

use std::fs;

use crate::Failure;

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vitals {
    /// Resident memory of its own, bytes.
    pub(crate) anonymous_bytes: u64,
    /// Resident memory that lies in files in memory: hot segments, bytes.
    pub(crate) shared_bytes: u64,
    /// All resident memory, bytes.
    pub(crate) resident_bytes: u64,
    /// Open descriptors.
    pub(crate) descriptors: u64,
    /// Page faults of all its threads so far.
    pub(crate) faults: Faults,
}

/// Page faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Without a read of the disk.
    pub(crate) minor: u64,
    /// With one.
    pub(crate) major: u64,
}

impl Vitals {
    /// Of a process.
    pub(crate) fn of(pid: u32) -> Result<Self, Failure> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mut descriptors: u64 = 0;
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            entry?;
            descriptors = descriptors.saturating_add(1);
        }
        Ok(Self {
            anonymous_bytes: bytes(&status, "RssAnon:").ok_or("no RssAnon")?,
            shared_bytes: bytes(&status, "RssShmem:").ok_or("no RssShmem")?,
            resident_bytes: bytes(&status, "VmRSS:").ok_or("no VmRSS")?,
            descriptors,
            faults: faults(&fs::read_to_string(format!("/proc/{pid}/stat"))?).ok_or("no page faults")?,
        })
    }
}

impl Faults {
    /// Of the main thread of a process.
    pub(crate) fn of_main_thread(pid: u32) -> Result<Self, Failure> {
        Ok(faults(&fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat"))?).ok_or("no page faults")?)
    }

    /// Since an earlier moment.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self { minor: self.minor.saturating_sub(earlier.minor), major: self.major.saturating_sub(earlier.major) }
    }
}

/// A line of `status` that is in kB.
fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// Fields 10 and 12 of a `stat`. The name, which is field 2, may hold anything, and ends with the last bracket.
fn faults(stat: &str) -> Option<Faults> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(7);
    let minor = fields.next()?.parse().ok()?;
    let major = fields.nth(1)?.parse().ok()?;
    Some(Faults { minor, major })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_and_memory_are_read_from_what_proc_says() {
        let stat = "7 (a) b) R 1 7 7 0 -1 4194304 121 5 3 9 17 6 0 0";
        assert_eq!(faults(stat), Some(Faults { minor: 121, major: 3 }));
        assert_eq!(faults("7 (a) R 1"), None);
        assert_eq!(bytes("VmRSS:\t    12 kB\nRssAnon:\t     4 kB\n", "RssAnon:"), Some(4096));
        assert_eq!(bytes("VmRSS:\t    12 kB\n", "RssAnon:"), None);
    }

    #[test]
    fn memory_that_is_touched_faults_and_an_open_file_is_a_descriptor() {
        let pid = std::process::id();
        let before = Vitals::of(pid).unwrap();
        // More than other tests close meanwhile.
        let _files: Vec<fs::File> = (0..200).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = Vitals::of(pid).unwrap();
        assert!(after.descriptors >= before.descriptors + 100 && after.faults.since(before.faults).minor > 0);
        assert!(after.resident_bytes >= memory.len() as u64);
    }
}
