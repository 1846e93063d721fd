//! `tradecore demo`: venue, gateway and algos on a real market capture, a kill in the middle, and the proof.

/// Prints a line; a reader that has gone is no failure of the demo.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod algo;
mod progress;
mod proof;

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::exit::Exit;
use algo::{Algo, Kind};
use progress::{Live, Progress};

/// How a demo runs.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// How long the algos trade, s.
    pub seconds: u64,
    /// How often the gateway is killed.
    pub kills: u32,
    /// How often the venue is killed.
    pub venue_kills: u32,
    /// Where everything is kept; none: a directory that goes at the end.
    pub dir: Option<PathBuf>,
    /// No progress lines.
    pub quiet: bool,
}

/// The demo's own failures, with their exit code.
pub type Failure = (Exit, String);

const SECRET: &str = "the key of a demonstration";
const ALGOS: [(u32, Kind); 3] = [(1, Kind::Maker), (2, Kind::Taker), (3, Kind::Repeater)];

/// A child process that does not outlive the demo, even one that is killed: the kernel ends it with the thread that
/// started it, so that must be the demo's main thread.
struct Process {
    child: Child,
}

impl Process {
    fn start(command: &str, dir: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| (Exit::Io, format!("{command}: {error}"));
        let binary = std::env::current_exe().map_err(failed)?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join(format!("{command}.log")))
            .map_err(failed)?;
        let child = Command::new(binary)
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
        Ok(Self { child })
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    fn kill(&mut self) {
        // A process that is gone already is what was wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn terminate(&mut self, longest: Duration) -> bool {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now().checked_add(longest);
        while deadline.is_some_and(|deadline| Instant::now() < deadline) {
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
        self.kill();
    }
}

/// Runs the demo; `stop` ends it early and cleanly.
///
/// # Errors
/// `ProofFailed` when algos, journal and venue do not agree; else what could not be started.
pub fn run(options: &DemoOptions, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let own_dir = std::env::temp_dir().join(format!("tradecore-demo-{}", std::process::id()));
    let dir = options.dir.clone().unwrap_or_else(|| own_dir.clone());
    let result = run_in(&dir, options, stop);
    if options.dir.is_none() {
        if result.is_ok() {
            drop(fs::remove_dir_all(&own_dir));
        } else {
            eprintln!("everything is kept in {}", own_dir.display());
        }
    }
    result
}

fn run_in(dir: &Path, options: &DemoOptions, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let io = |error: std::io::Error| (Exit::Io, format!("{}: {error}", dir.display()));
    let address = free_address().map_err(io)?;
    write_files(dir, &address).map_err(io)?;
    let mut progress = Progress::new(options.quiet, options.seconds);
    progress.say("starting the venue, on a capture of BTCUSDT and ETHUSDT, and the gateway");
    let mut venue = Process::start("venue", dir)?;
    wait_for(&dir.join("venue/listening"), stop)?;
    let mut gateway = Process::start("run", dir)?;
    wait_for(&dir.join("data/listening"), stop)?;

    let done = Arc::new(AtomicBool::new(false));
    let live = Arc::new(Live::default());
    let algos: Vec<_> = ALGOS
        .iter()
        .map(|(session_id, kind)| {
            let algo = Algo::new(
                *session_id,
                *kind,
                &address,
                &dir.join(format!("algo{session_id}.state")),
                SECRET.as_bytes(),
                Arc::clone(&live),
            );
            let done = Arc::clone(&done);
            std::thread::spawn(move || algo.run(&done))
        })
        .collect();

    let started = Instant::now();
    let span = Duration::from_secs(options.seconds);
    let kills = u64::from(options.kills.max(options.venue_kills)).saturating_add(1);
    let pause = span.checked_div(u32::try_from(kills).unwrap_or(1)).unwrap_or(span);
    let (mut killed, mut venue_killed) = (0, 0);
    let is_over = |killed, venue_killed| {
        started.elapsed() >= span && killed == options.kills && venue_killed == options.venue_kills
    };
    let mut next_kill = pause;
    let mut trade = Trade::since(&live);
    while !is_over(killed, venue_killed) && !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(Duration::from_millis(2));
        if trade.has_stalled(&live) {
            let text = format!("no order was accepted for {} s; see the logs in {}", STALL.as_secs(), dir.display());
            return Err((Exit::ProofFailed, text));
        }
        let is_left = killed < options.kills || venue_killed < options.venue_kills;
        if is_left && started.elapsed() >= next_kill && trade.is_under_way(&live) {
            trade = Trade::since(&live);
            next_kill = started.elapsed().max(next_kill).saturating_add(pause);
            if venue_killed < options.venue_kills {
                venue_killed = venue_killed.saturating_add(1);
                progress.say(&format!("{:>5.1?}  SIGKILL to the venue", started.elapsed()));
                drop(fs::remove_file(dir.join("venue/listening")));
                venue.kill();
                venue = Process::start("venue", dir)?;
            }
            if killed < options.kills {
                killed = killed.saturating_add(1);
                progress.say(&format!(
                    "{:>5.1?}  SIGKILL to the gateway, orders on their way; starting it again",
                    started.elapsed()
                ));
                drop(fs::remove_file(dir.join("data/listening")));
                gateway.kill();
                gateway = Process::start("run", dir)?;
            }
        }
        progress.show(started.elapsed(), &live);
    }
    progress.finish();
    progress.say("the algos cancel what is open and finish");
    done.store(true, Ordering::Release);
    let mut seen = Vec::new();
    for algo in algos {
        match algo.join() {
            Ok(Ok(report)) => seen.push(report),
            Ok(Err(error)) => return Err((Exit::ProofFailed, format!("an algo: {error}"))),
            Err(_) => return Err((Exit::Internal, "an algo panicked".to_owned())),
        }
    }
    let clean = gateway.terminate(Duration::from_secs(10));
    if !clean {
        return Err((Exit::Internal, "the gateway did not stop cleanly".to_owned()));
    }
    venue.terminate(Duration::from_secs(5));
    proof::prove(dir, &seen, killed, venue_killed)
}

/// Longest time without an accepted order: what was killed must be back by then.
const STALL: Duration = Duration::from_secs(30);
/// Orders accepted since the last kill before the next: it must strike where orders are on their way.
const ORDERS_BETWEEN_KILLS: u64 = 20;

/// What the algos got done since the last kill.
struct Trade {
    accepted_before: u64,
    accepted: u64,
    progressed: Instant,
}

impl Trade {
    fn since(live: &Live) -> Self {
        let accepted = live.accepted.load(Ordering::Relaxed);
        Self { accepted_before: accepted, accepted, progressed: Instant::now() }
    }

    fn is_under_way(&self, live: &Live) -> bool {
        live.accepted.load(Ordering::Relaxed).saturating_sub(self.accepted_before) >= ORDERS_BETWEEN_KILLS
    }

    fn has_stalled(&mut self, live: &Live) -> bool {
        let accepted = live.accepted.load(Ordering::Relaxed);
        if accepted != self.accepted {
            (self.accepted, self.progressed) = (accepted, Instant::now());
        }
        self.progressed.elapsed() > STALL
    }
}

fn wait_for(path: &Path, stop: &AtomicBool) -> Result<(), Failure> {
    let deadline = Instant::now().checked_add(Duration::from_secs(20));
    while deadline.is_some_and(|deadline| Instant::now() < deadline) {
        if path.exists() {
            return Ok(());
        }
        if stop.load(Ordering::Acquire) {
            return Err((Exit::Ok, "stopped".to_owned()));
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    Err((Exit::Unavailable, format!("{} did not appear; see the logs beside it", path.display())))
}

/// The captures are part of the program: the demo needs no file but itself.
const CAPTURES: [(&str, &[u8]); 2] = [
    ("btcusdt.gz", include_bytes!("../../tests/data/btcusdt.gz")),
    ("ethusdt.gz", include_bytes!("../../tests/data/ethusdt.gz")),
];

/// An address for the gateway that stays the same over its lives.
fn free_address() -> std::io::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn write_files(dir: &Path, address: &str) -> std::io::Result<()> {
    fs::create_dir_all(dir.join("venue"))?;
    fs::create_dir_all(dir.join("data"))?;
    for (name, bytes) in CAPTURES {
        fs::write(dir.join(name), bytes)?;
    }
    let key = dir.join("key");
    drop(fs::remove_file(&key));
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&key)?
        .write_all(SECRET.as_bytes())?;
    fs::write(dir.join("gateway.toml"), config(dir, address))
}

fn config(dir: &Path, address: &str) -> String {
    let sessions: String = ALGOS
        .iter()
        .map(|(id, _)| format!("[[sessions]]\nid = {id}\nkey_id = \"demo\"\nsecret_file = \"key\"\nrole = \"trade\"\naccounts = [{id}]\n\n[[accounts]]\nid = {id}\ncurrency = \"USDT\"\ninitial_cash = \"100000000\"\nposition_max = \"1000\"\nopen_orders_max = 1000\n\n"))
        .collect();
    let dir = dir.display();
    format!(
        r#"# Written by `tradecore demo`.
[core]
id = 1
environment = "virtual"
data_dir = "data"
idle = "park"
orders_max = 1024
ids_max = 8192

[listen]
tcp = "{address}"
unix = "gateway.sock"

[broker]
kind = "venue"
address = "unix:{dir}/venue.sock"

[venue]
listen = ["unix:{dir}/venue.sock"]
log_dir = "venue"
log_sync = false

[venue.capture]
paths = ["btcusdt.gz", "ethusdt.gz"]
speed = "10x"
loop = true

[venue.exchange]
seed = 1
request_latency_ns = 200000
event_latency_ns = 200000
instruments = [
  {{ symbol = "BTCUSDT", tick_size = "0.01", lot_size = "0.00001" }},
  {{ symbol = "ETHUSDT", tick_size = "0.01", lot_size = "0.0001" }},
]

[venue.exchange.fees]
maker_ppm = 100
taker_ppm = 400

[[instruments]]
id = 1
symbol = "BTCUSDT"
currency = "USDT"
tick_size = "0.01"
lot_size = "0.00001"
qty_min = "0.00001"
order_qty_max = "100"
order_notional_max = "10000000"
collar_ppm = 50000
quote_age_max_ms = 5000

[[instruments]]
id = 2
symbol = "ETHUSDT"
currency = "USDT"
tick_size = "0.01"
lot_size = "0.0001"
qty_min = "0.0001"
order_qty_max = "1000"
order_notional_max = "10000000"
collar_ppm = 50000
quote_age_max_ms = 5000

{sessions}"#
    )
}
