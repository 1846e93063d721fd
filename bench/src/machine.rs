//! Where and how a result was made: without it a figure is of no use to anybody else.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

/// What a result was made with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    /// Commit of the sources; `-dirty` when they differ from it.
    pub(crate) commit: String,
    /// When that was committed, seconds since 1970 (UTC).
    pub(crate) committed_utc_s: Option<u64>,
    /// As the CPU names itself.
    pub(crate) cpu: String,
    /// CPUs that this process may use.
    pub(crate) cpus: usize,
    /// Kernel, with its version.
    pub(crate) kernel: String,
    /// Who sets the CPUs' frequency.
    pub(crate) governor: String,
    /// What the kernel does against the CPU's own faults, where it does something.
    pub(crate) mitigations: BTreeMap<String, String>,
    /// Hypervisor, where there is one that says so.
    pub(crate) hypervisor: Option<String>,
    /// Clock that the kernel reads.
    pub(crate) clock_source: String,
    /// Load over 1, 5 and 15 minutes at the start.
    pub(crate) load_average: String,
    /// Which CPU is whose.
    pub(crate) pinning: String,
    /// Pages of the segments in memory.
    pub(crate) memory: String,
    /// Niceness of this process and of those that it starts: the user's own, or else the lowest that the system allows.
    pub(crate) niceness: i32,
    /// What was measured, by name.
    pub(crate) configuration: BTreeMap<String, String>,
    /// How to do it again.
    pub(crate) command_line: Vec<String>,
    /// Start, nanoseconds since 1970 (UTC).
    pub(crate) started_utc_ns: u64,
}

impl Run {
    /// This machine, this build, this command.
    pub(crate) fn describe() -> Self {
        let unknown = || "unknown".to_owned();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let uname = rustix::system::uname();
        Self {
            commit: env!("BENCH_COMMIT").to_owned(),
            committed_utc_s: env!("BENCH_COMMITTED_UTC_S").parse().ok(),
            cpu: field(&cpuinfo, "model name").unwrap_or_else(unknown),
            cpus: tradecore::affinity::usable().len(),
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .unwrap_or_else(|| "none: the frequency is not ours to set".to_owned()),
            mitigations: mitigations(),
            hypervisor: field(&cpuinfo, "flags")
                .filter(|flags| flags.split(' ').any(|flag| flag == "hypervisor"))
                .map(|_| line("/sys/devices/virtual/dmi/id/sys_vendor").unwrap_or_else(unknown)),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource")
                .unwrap_or_else(unknown),
            load_average: line("/proc/loadavg").unwrap_or_else(unknown),
            pinning: crate::cpus::pinning(),
            memory: crate::huge_pages::describe(),
            niceness: rustix::process::getpriority_process(None).unwrap_or(0),
            configuration: BTreeMap::new(),
            command_line: std::env::args().collect(),
            started_utc_ns: tradecore::clock::utc_ns(),
        }
    }
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

fn mitigations() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(state) = line(&entry.path().to_string_lossy()).filter(|state| state != "Not affected") {
            found.insert(name, state);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_the_first_line_of_its_name() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast\nmodel name\t: another\n";
        assert_eq!(field(text, "model name").as_deref(), Some("A CPU: fast"));
        assert_eq!(field(text, "model"), None);
    }

    #[test]
    fn a_run_says_where_and_how_it_was_made() {
        let run = serde_json::to_value(Run::describe()).unwrap();
        for key in ["commit", "cpu", "kernel", "governor", "pinning", "command_line", "configuration"] {
            assert!(run.get(key).is_some_and(|value| value != ""), "{key} is told");
        }
    }
}
