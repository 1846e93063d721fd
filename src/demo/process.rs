//! Venue and gateway as child processes.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Failure;
use crate::exit::Exit;

/// A child process that does not outlive the demo, even one that is killed: the kernel ends it with the thread that
/// started it, so that must be the demo's main thread.
pub(super) struct Process {
    command: &'static str,
    dir: PathBuf,
    child: Child,
}

impl Process {
    pub(super) fn start(command: &'static str, dir: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| (Exit::Io, format!("{command}: {error}"));
        drop(fs::remove_file(dir.join(listening_of(command))));
        let binary = std::env::current_exe().map_err(failed)?;
        let log = fs::OpenOptions::new().create(true).append(true).open(log_of(command, dir)).map_err(failed)?;
        let mut start = Command::new(binary);
        // What is overridden for a gateway of this user, such as where its journal is, is not meant for the demo's.
        for (name, _) in crate::config::environment() {
            start.env_remove(name);
        }
        let child = start
            .args([command, "--config"])
            .arg(dir.join("gateway.toml"))
            .args(["--die-with-parent", &std::process::id().to_string()])
            // A Ctrl-C is for the demo alone: it stops the algos first, then these.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        Ok(Self { command, dir: dir.to_owned(), child })
    }

    /// Waits until it listens.
    pub(super) fn wait_for(&mut self, stop: &AtomicBool) -> Result<(), Failure> {
        let started = Instant::now();
        while !self.dir.join(listening_of(self.command)).exists() {
            self.check_alive()?;
            if stop.load(Ordering::Acquire) {
                return Err((Exit::Interrupted, format!("interrupted; {}", super::proof::NOTHING)));
            }
            if started.elapsed() > START_MAX {
                return Err(self.failure(Exit::Unavailable, "does not listen"));
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Nobody but the demo ends it.
    pub(super) fn check_alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failure(Exit::Unavailable, &format!("ended by itself ({status})"))),
            Err(error) => Err((Exit::Io, format!("{}: {error}", self.command))),
        }
    }

    pub(super) fn failure(&self, exit: Exit, what: &str) -> Failure {
        (exit, format!("`tradecore {}` {what}; see {}", self.command, log_of(self.command, &self.dir).display()))
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub(super) fn kill(&mut self) {
        // A process that is gone already is what was wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGTERM; true when it ended well within `longest`.
    pub(super) fn terminate(&mut self, longest: Duration) -> bool {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status.success();
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let started = Instant::now();
        while started.elapsed() < longest {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success();
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A gateway that stops leaves nothing in memory; whatever it does, it does not outlive the demo.
        self.terminate(STOP_MAX);
        self.kill();
    }
}

/// Longest start.
const START_MAX: Duration = Duration::from_secs(20);
/// Longest clean stop.
pub(super) const STOP_MAX: Duration = Duration::from_secs(10);

/// The file in which a process says where it listens.
fn listening_of(command: &str) -> &'static str {
    if command == "venue" { "venue/listening" } else { "data/listening" }
}

fn log_of(command: &str, dir: &Path) -> PathBuf {
    dir.join(format!("{command}.log"))
}
