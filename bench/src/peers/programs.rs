//! Programs that are measured beside the gateway: where they are, how they are started, what they print.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::host;

/// A program that takes longer to get ready is broken.
const START_DEADLINE: Duration = Duration::from_secs(10);
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// Where they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Programs<'a> {
    dir: &'a Path,
}

impl<'a> Programs<'a> {
    /// Where `bench/peers/fetch` puts them.
    pub(crate) const DEFAULT_DIR: &'static str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/target");

    pub(crate) const fn new(dir: &'a Path) -> Self {
        Self { dir }
    }

    /// A file that was fetched.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.dir.join(name);
        if path.exists() {
            return Ok(path);
        }
        Err(format!("{} is missing: bench/peers/fetch brings it", path.display()).into())
    }
}

/// Runs a program to its end on the CPUs of `host::Place`; its lines `name value`.
pub(crate) fn run(command: &mut Command, place: host::Place) -> Result<BTreeMap<String, String>, Failure> {
    command.stdin(Stdio::null());
    let output = host::on(place, || command.output())??;
    if !output.status.success() {
        let (program, said) = (command.get_program().to_string_lossy(), String::from_utf8_lossy(&output.stderr));
        return Err(format!("{program}: {}: {}", output.status, said.trim()).into());
    }
    Ok(values(&String::from_utf8_lossy(&output.stdout)))
}

fn values(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.trim().split_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A number that a program has printed.
pub(crate) fn number(values: &BTreeMap<String, String>, name: &str) -> Result<u64, Failure> {
    let value = values.get(name).ok_or_else(|| format!("no {name} was printed"))?;
    Ok(value.parse().map_err(|error| format!("{name} {value}: {error}"))?)
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Tries until it is done, or the deadline has passed.
pub(crate) fn until<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) if started.elapsed() > START_DEADLINE => return Err(error),
            Err(_) => std::thread::sleep(RETRY_INTERVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_prints_is_read_by_name_and_other_lines_are_passed_over() {
        let values = values("warning\nversion 4.5.0\np50_ns 574000\n");
        assert_eq!(values.get("version").map(String::as_str), Some("4.5.0"));
        assert_eq!(number(&values, "p50_ns").unwrap(), 574_000);
        assert_eq!(number(&values, "p99_ns").unwrap_err().to_string(), "no p99_ns was printed");
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let mut command = Command::new("sh");
        let error = run(command.args(["-c", "echo no disk >&2; exit 3"]), host::Place::Server).unwrap_err();
        assert!(error.to_string().ends_with("exit status: 3: no disk"), "{error}");
    }
}
