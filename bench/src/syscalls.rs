//! Which system calls a thread makes, counted by `strace` from outside: times are void meanwhile, counts are not.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Failure;

/// What a loop may ask of the system for an order: poll, receive, send.
const OF_AN_ORDER: [&str; 11] = [
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "poll",
    "ppoll",
    "recvfrom",
    "recvmsg",
    "readv",
    "sendto",
    "sendmsg",
    "writev",
];

/// Calls by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls(BTreeMap<String, u64>);

impl Calls {
    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().copied().fold(0, u64::saturating_add)
    }

    /// Those that an order does not need, by name.
    pub(crate) fn others(&self) -> Vec<(&str, u64)> {
        let others = self.0.iter().filter(|(name, _)| !OF_AN_ORDER.contains(&name.as_str()));
        others.map(|(name, count)| (name.as_str(), *count)).collect()
    }
}

/// A thread whose calls are counted.
#[derive(Debug)]
pub(crate) struct Tracer {
    child: Child,
    output: tempfile::NamedTempFile,
}

impl Tracer {
    /// Attaches to one thread, and returns when it is attached.
    pub(crate) fn attach(thread: u32) -> Result<Self, Failure> {
        let output = tempfile::NamedTempFile::new()?;
        let mut child = Command::new("strace")
            .args(["-c", "-U", "calls,name", "-o"])
            .arg(output.path())
            .args(["-p", &thread.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("system calls cannot be counted: strace: {error}; install it"))?;
        let mut first = String::new();
        if let Some(stderr) = child.stderr.as_mut() {
            // It says a line when it has attached, or why it could not.
            BufReader::new(stderr).read_line(&mut first)?;
        }
        if !first.contains("attached") {
            drop(child.kill());
            drop(child.wait());
            return Err(format!("system calls cannot be counted: {}", first.trim()).into());
        }
        Ok(Self { child, output })
    }

    /// Lets the thread go; what it has called.
    pub(crate) fn detach(mut self) -> Result<Calls, Failure> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        self.child.wait()?;
        calls(&std::fs::read_to_string(self.output.path())?)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // A tracer that is killed lets its thread go.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads the table that `strace -c -U calls,name` makes.
fn calls(table: &str) -> Result<Calls, Failure> {
    let mut calls = BTreeMap::new();
    for line in table.lines() {
        let mut words = line.split_whitespace();
        let (Some(count), Some(name), None) = (words.next(), words.next(), words.next()) else { continue };
        if let (Ok(count), true) = (count.parse(), name != "total") {
            calls.insert(name.to_owned(), count);
        }
    }
    if calls.is_empty() {
        return Err(format!("strace counted nothing: {table:?}").into());
    }
    Ok(Calls(calls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_order_does_not_need_is_told_from_what_it_does() {
        let table = "    calls syscall\n--------- ----------------\n   120300 epoll_wait\n       40 recvfrom\n       \
                     3 futex\n        1 write\n--------- ----------------\n   120344 total\n";
        let calls = calls(table).unwrap();
        assert_eq!(calls.total(), 120_344);
        assert_eq!(calls.others(), [("futex", 3), ("write", 1)]);
    }

    #[test]
    fn a_table_without_a_call_is_no_proof_that_there_was_none() {
        assert!(calls("").is_err());
        assert!(calls("    calls syscall\n--------- -------\n        0 total\n").is_err());
    }
}
