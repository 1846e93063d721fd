//! Processes under measurement: how they are configured, started and ended.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Failure, cpus, scratch};

/// The key of every session.
pub(crate) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub(crate) const KEY_ID: &str = "bench";

/// A start makes the first segment, which for a million open orders is of gigabytes.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// What a file system counts in, bytes.
const BLOCK_BYTES: u64 = 512;

/// A child that goes with its owner.
#[derive(Debug)]
pub(crate) struct Process(Child);

/// Which CPUs a program of others has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// That of the servers.
    Server,
    /// All but that, where there are others.
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "beside a gateway that ships"))]
    Aside,
    /// All.
    Anywhere,
}

impl Process {
    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Starts a program.
    pub(crate) fn start(command: &mut Command, place: Place) -> Result<Self, Failure> {
        Ok(Self(on(place, || command.spawn())??))
    }

    /// The first line that it prints, which is piped.
    pub(crate) fn first_line(&mut self) -> Result<String, Failure> {
        let stdout = self.0.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Holds it, so that another has its CPU.
    pub(crate) fn hold(&self) -> Result<(), Failure> {
        Ok(kill_process(Pid::from_child(&self.0), Signal::STOP)?)
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) -> Result<(), Failure> {
        Ok(kill_process(Pid::from_child(&self.0), Signal::CONT)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The broker of a measured gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Broker {
    /// Inside its process: `instant.rs`.
    Instant,
    /// A venue that is a process of its own, behind the adapter of any gateway: `venue.rs`.
    Venue,
}

/// How a gateway is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) sessions: u32,
    pub(crate) broker: Broker,
    /// Bounds of open orders and of ids, where the defaults are too low.
    pub(crate) bounds: Option<(u32, u32)>,
    /// Its files lie in memory: a disk that cannot follow is not measured.
    pub(crate) is_in_memory: bool,
}

/// What a gateway is configured with beyond its setup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Instruments, from 1.
    pub(crate) instruments: u16,
    /// Open orders of the account.
    pub(crate) open_orders_max: u32,
    /// Its process tells how often the loop's thread has called the allocator, when it is asked.
    pub(crate) is_counted: bool,
}

impl Default for Extent {
    fn default() -> Self {
        Self { instruments: 1, open_orders_max: 100_000, is_counted: false }
    }
}

/// A running gateway, and its files.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// The daemon.
    pub(crate) process: Process,
    /// Where it listens.
    pub(crate) address: String,
    /// From the start of its process to its accepting.
    pub(crate) started_in: Duration,
    #[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "asked for when it is started again"))]
    broker: Broker,
    _venue: Option<Process>,
    dir: TempDir,
    hot: TempDir,
}

/// Runs `measure` on a thread with a CPU of its own: children, which inherit what their parent is pinned to, are
/// started by the main thread.
pub(crate) fn pinned<T: Send>(measure: impl FnOnce() -> Result<T, String> + Send) -> Result<T, Failure> {
    let cpu = cpus::generator();
    let measured = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Some(cpu) = cpu {
                tradecore::affinity::pin(cpu).map_err(|error| error.to_string())?;
            }
            measure()
        });
        thread.join().unwrap_or_else(|_| Err("the measuring thread panicked".to_owned()))
    });
    Ok(measured?)
}

/// Puts the calling thread before all that share its CPU, if that is allowed: then it sends on time, and what a server is
/// sent does not depend on what else there is. What it starts is as others are.
#[cfg(feature = "kafka")]
pub(crate) fn ahead() -> bool {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let done = Command::new("chrt").args(["--reset-on-fork", "--fifo", "--pid", "1", &thread]).output();
    done.is_ok_and(|done| done.status.success())
}

/// Runs `measure` on the CPU of the servers, with what `start` has started there: threads of that are on the others.
pub(crate) fn apart<S, T: Send>(
    start: impl FnOnce() -> Result<S, Failure> + Send,
    measure: impl FnOnce(S) -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let cpu = cpus::server();
    let both = move || -> Result<T, Failure> {
        if let Some(cpu) = cpu {
            tradecore::affinity::leave(cpu)?;
        }
        let started = start()?;
        if let Some(cpu) = cpu {
            tradecore::affinity::pin(cpu)?;
        }
        measure(started)
    };
    let measured = std::thread::scope(|scope| {
        let thread = scope.spawn(|| both().map_err(|error| error.to_string()));
        thread.join().unwrap_or_else(|_| Err("the measuring thread panicked".to_owned()))
    });
    Ok(measured?)
}

/// Does on a thread that has the CPUs of a place what starts a child, which inherits them.
pub(crate) fn on<T: Send>(place: Place, start: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    let started = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            match (place, cpus::server()) {
                (Place::Server, Some(cpu)) => tradecore::affinity::pin(cpu)?,
                (Place::Aside, Some(cpu)) => tradecore::affinity::leave(cpu)?,
                (_, _) => {}
            }
            Ok::<_, std::io::Error>(start())
        });
        thread.join()
    });
    Ok(started.map_err(|_| "the starting thread panicked")??)
}

/// Has this process, a child of a run, end with that, also when that is killed and even while it is held.
///
/// The signal is that of the end of the thread that has started it, which is the main thread.
pub(crate) fn end_with_parent() -> Result<(), Failure> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Runs the gateway of a configuration in this process.
pub(crate) fn serve(config: &Path, broker: Broker) -> Result<(), Failure> {
    let config = tradecore::config::Config::load(config, std::env::vars())?;
    let adapter = match broker {
        Broker::Instant => {
            let instruments = config.instruments.iter().map(|instrument| instrument.id).collect();
            Some(Box::new(move |link| crate::instant::serve(link, instruments)) as tradecore::daemon::Adapter)
        }
        Broker::Venue => None,
    };
    // The loop is this thread.
    crate::allocations::watch_this_thread();
    crate::allocations::tell_when_asked();
    tradecore::daemon::run_with(config, &tradecore::daemon::Stop::default(), adapter)?;
    Ok(())
}

impl Gateway {
    /// Starts one, in class `journaled`, busy.
    pub(crate) fn start(setup: Setup) -> Result<Self, Failure> {
        Self::start_with(setup, &[])
    }

    /// Starts one whose configuration these variables override.
    pub(crate) fn start_with(setup: Setup, overrides: &[(&str, &str)]) -> Result<Self, Failure> {
        let dir = if setup.is_in_memory { scratch::in_memory()? } else { scratch::dir()? };
        Self::start_as(dir, setup, Extent::default(), "journaled", overrides)
    }

    /// Starts one of another extent.
    pub(crate) fn start_at(setup: Setup, extent: Extent) -> Result<Self, Failure> {
        let dir = if setup.is_in_memory { scratch::in_memory()? } else { scratch::dir()? };
        Self::start_as(dir, setup, extent, "journaled", &[])
    }

    /// Starts one with its files in `dir`, in a class of durability, busy.
    pub(crate) fn start_in(dir: TempDir, setup: Setup, durability: &str) -> Result<Self, Failure> {
        Self::start_as(dir, setup, Extent::default(), durability, &[])
    }

    fn start_as(
        dir: TempDir,
        setup: Setup,
        extent: Extent,
        durability: &str,
        overrides: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let hot = scratch::in_memory()?;
        std::fs::create_dir_all(dir.path().join("data"))?;
        std::fs::write(dir.path().join("key"), SECRET)?;
        std::fs::set_permissions(dir.path().join("key"), std::fs::Permissions::from_mode(0o600))?;
        let (venue, venue_address) = match setup.broker {
            Broker::Venue => {
                let (venue, address) = start_server("venue", cpus::generator())?;
                (Some(venue), address)
            }
            Broker::Instant => (None, "127.0.0.1:1".to_owned()),
        };
        let text = config(setup, extent, durability, &venue_address, hot.path());
        std::fs::write(dir.path().join("gateway.toml"), text)?;
        let (process, address, started_in) = launch(dir.path(), setup.broker, extent.is_counted, overrides)?;
        Ok(Self { process, address, started_in, broker: setup.broker, _venue: venue, dir, hot })
    }

    /// Kills it and starts it again, on what it has left, with other overrides.
    #[cfg(feature = "kafka")]
    pub(crate) fn again(self, overrides: &[(&str, &str)]) -> Result<Self, Failure> {
        let Self { process, broker, _venue, dir, hot, .. } = self;
        drop(process);
        std::fs::remove_file(dir.path().join("data/listening"))?;
        let (process, address, started_in) = launch(dir.path(), broker, false, overrides)?;
        Ok(Self { process, address, started_in, broker, _venue, dir, hot })
    }

    /// Where its journal is.
    pub(crate) fn journal_dir(&self) -> PathBuf {
        self.dir.path().join("data").join("journal")
    }

    /// Resident memory of its own, mapped files aside, bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib.saturating_mul(1024))
    }

    /// Its configuration.
    #[cfg(feature = "kafka")]
    pub(crate) fn config_path(&self) -> PathBuf {
        self.dir.path().join("gateway.toml")
    }

    /// Where its tables are, if it is told to have them in SQLite.
    #[cfg(feature = "kafka")]
    pub(crate) fn sqlite_path(&self) -> PathBuf {
        self.dir.path().join("data").join("read-model.sqlite")
    }

    /// How often the loop's thread has called the allocator.
    pub(crate) fn allocator_calls(&mut self) -> Result<u64, Failure> {
        let child = &mut self.process.0;
        let (stdin, stdout) = child.stdin.as_mut().zip(child.stdout.as_mut()).ok_or("the gateway is not counted")?;
        stdin.write_all(b"\n")?;
        let mut answer = String::new();
        // One line is asked for and one is written: nothing behind it is lost with the buffer.
        BufReader::new(stdout).read_line(&mut answer)?;
        Ok(answer.trim().parse()?)
    }

    /// What its hot segments take of the memory, bytes.
    pub(crate) fn hot_bytes(&self) -> Result<u64, Failure> {
        bytes_below(self.hot.path())
    }

    /// What its journal takes where it lies, bytes.
    pub(crate) fn journal_bytes(&self) -> Result<u64, Failure> {
        bytes_below(&self.journal_dir())
    }
}

/// Starts the gateway of a directory: its process, where it listens, and how long that took.
fn launch(
    dir: &Path,
    broker: Broker,
    is_counted: bool,
    overrides: &[(&str, &str)],
) -> Result<(Process, String, Duration), Failure> {
    let since = Instant::now();
    let pipe = || if is_counted { Stdio::piped() } else { Stdio::null() };
    let child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .envs(overrides.iter().copied())
        .arg(dir.join("gateway.toml"))
        .arg(if broker == Broker::Venue { "venue" } else { "instant" })
        .stdin(pipe())
        .stdout(pipe())
        .spawn()?;
    let mut process = Process(child);
    let deadline = since.checked_add(START_DEADLINE);
    loop {
        if let Some(status) = process.0.try_wait()? {
            return Err(format!("the gateway ended at its start: {status}").into());
        }
        if let Some(address) = tradecore::daemon::listening(&dir.join("data")).into_iter().next() {
            return Ok((process, address.trim_start_matches("tcp:").to_owned(), since.elapsed()));
        }
        if deadline.is_none_or(|deadline| Instant::now() > deadline) {
            return Err("the gateway did not start".into());
        }
        std::thread::yield_now();
    }
}

/// What the files below a folder take, bytes.
fn bytes_below(folder: &Path) -> Result<u64, Failure> {
    let (mut bytes, mut folders) = (0_u64, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if metadata.is_dir() {
                folders.push(path);
            } else {
                bytes = bytes.saturating_add(metadata.blocks().saturating_mul(BLOCK_BYTES));
            }
        }
    }
    Ok(bytes)
}

/// Starts an echo; its address.
pub(crate) fn start_echo() -> Result<(Process, String), Failure> {
    start_server("echo", cpus::server())
}

/// Starts an echo of many requests at a time; its address.
pub(crate) fn start_echo_flow() -> Result<(Process, String), Failure> {
    start_server("echo-flow", cpus::server())
}

/// Starts a server of this program on a CPU; its address, which is its first line.
fn start_server(name: &str, cpu: Option<usize>) -> Result<(Process, String), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).stdin(Stdio::null()).stdout(Stdio::piped());
    if let Some(cpu) = cpu {
        command.arg(cpu.to_string());
    }
    let mut process = Process(command.spawn()?);
    let address = process.first_line()?;
    Ok((process, address))
}

fn config(setup: Setup, extent: Extent, durability: &str, venue: &str, hot: &Path) -> String {
    let sessions = setup.sessions;
    let bounds = setup.bounds.map_or(String::new(), |(orders, ids)| format!("orders_max = {orders}\nids_max = {ids}"));
    // What is measured beyond any disk's speed must not be refused for it.
    let lag = if setup.is_in_memory { "[journal]\ndurability_lag_max = 1000000000" } else { "" };
    // A segment in memory needs no copy of it in memory.
    let hot = if setup.is_in_memory { std::borrow::Cow::Borrowed("off") } else { hot.to_string_lossy() };
    let cpu = cpus::server().map_or(String::new(), |cpu| format!("cpu = {cpu}"));
    let mut text = format!(
        r#"[core]
id = 1
environment = "virtual"
data_dir = "data"
hot_dir = "{hot}"
durability = "{durability}"
idle = "busy"

{cpu}
{bounds}

{lag}

[listen]
tcp = "127.0.0.1:0"
{connections}
heartbeat_max_ms = 600000

[session]
throttle_rate = 0

[broker]
kind = "venue"
address = "{venue}"

[[accounts]]
id = 1
currency = "USDT"
initial_cash = "1000000000"
position_max = "100000"
open_orders_max = {open_orders_max}
"#,
        open_orders_max = extent.open_orders_max,
        // The default has room for hundreds, and is a part of what a gateway takes.
        connections =
            if sessions > 512 { format!("connections_max = {}", sessions.saturating_add(16)) } else { String::new() },
    );
    for id in 1..=extent.instruments {
        let symbol = if id == 1 { "BTCUSDT".to_owned() } else { format!("X{id}USDT") };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            r#"
[[instruments]]
id = {id}
symbol = "{symbol}"
currency = "USDT"
tick_size = "0.01"
lot_size = "0.00001"
qty_min = "0.00001"
order_qty_max = "10"
order_notional_max = "10000000"
collar_ppm = 900000
quote_age_max_ms = 60000
"#
        );
    }
    for id in 1..=sessions {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n[[sessions]]\nid = {id}\nkey_id = \"{KEY_ID}\"\nsecret_file = \"key\"\nrole = \"trade\"\naccounts = [1]\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_is_started_beside_the_servers_has_the_generators_cpu_all_the_same() {
        let (server, generator) = (cpus::server(), cpus::generator());
        let beside = || pinned(|| Ok(tradecore::affinity::usable()));
        let (own, other) = apart(|| Ok(()), |()| Ok((tradecore::affinity::usable(), beside()?))).unwrap();
        if let (Some(server), Some(generator)) = (server, generator) {
            assert_eq!((own, other), (vec![server], vec![generator]));
        }
    }
}
