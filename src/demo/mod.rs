//! `tradecore demo`: venue, gateway and algos on a real market capture, kills on the way, and the proof.

mod algo;
mod evidence;
mod history;
mod process;
mod progress;
mod proof;
mod reports;
mod strikes;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::exit::Exit;
use crate::venue::config::FaultConfig;
use algo::{Algo, Kind, Seen};
use evidence::{Ear, Evidence};
use process::{Process, STOP_MAX};
use progress::{Live, Progress};
use reports::Reports;
use strikes::Struck;
use table::Outcome;

/// How a demo runs.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// How long the algos trade, s.
    pub seconds: u64,
    /// How often the gateway is killed.
    pub kills: u32,
    /// How often the venue is killed.
    pub venue_kills: u32,
    /// Faults that the venue commits on purpose.
    pub faults: FaultConfig,
    /// Where everything is kept, new or empty; none: a directory that goes at the end.
    pub dir: Option<PathBuf>,
    /// No progress lines.
    pub quiet: bool,
    /// Nothing but one JSON object, at the end.
    pub json: bool,
}

/// The demo's own failures, with their exit code.
pub type Failure = (Exit, String);

const SECRET: &str = "the key of a demonstration";
const ALGOS: [(u32, Kind); 3] = [(1, Kind::Maker), (2, Kind::Taker), (3, Kind::Repeater)];

/// Prints a line. A reader that has gone has seen enough; anything else is a failure, for what was asked for is lost.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err((Exit::Io, format!("stdout: {error}"))),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Runs the demo; `stop` ends it early and cleanly.
///
/// # Errors
/// `ProofFailed` when algos, journal and venue do not agree, or trading did not go on after a kill; `Interrupted` when
/// it was stopped and what had happened until then does agree; `Usage` for a directory that is in use; else what could
/// not be started, read or said.
pub fn run(options: &DemoOptions, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let own_dir = std::env::temp_dir().join(format!("tradecore-demo-{}", std::process::id()));
    let dir = options.dir.clone().unwrap_or_else(|| own_dir.clone());
    check_unused(&dir)?;
    let result = run_in(&dir, options, stop);
    if options.dir.is_none() {
        if matches!(result, Ok(()) | Err((Exit::Interrupted, _))) {
            drop(fs::remove_dir_all(&own_dir));
        } else {
            eprintln!("everything is kept in {}", own_dir.display());
        }
    }
    result
}

/// The proof is of one run: what an earlier one left, or anything else, is neither compared nor overwritten.
fn check_unused(dir: &Path) -> Result<(), Failure> {
    let name = dir.display();
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err((Exit::Usage, format!("{name} is not empty: name a new directory, or an empty one"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err((Exit::Io, format!("{name}: {error}"))),
    }
}

fn run_in(dir: &Path, options: &DemoOptions, stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let io = |error: std::io::Error| (Exit::Io, format!("{}: {error}", dir.display()));
    let address = free_address().map_err(io)?;
    write_files(dir, &address, options.faults).map_err(io)?;
    let mut progress = Progress::new(options.quiet || options.json, options.seconds);
    progress.say("starting the venue, on a capture of BTCUSDT and ETHUSDT, and the gateway")?;
    let mut venue = Process::start("venue", dir)?;
    venue.wait_for(stop)?;
    let mut gateway = Process::start("run", dir)?;
    gateway.wait_for(stop)?;

    let done = Arc::new(AtomicBool::new(false));
    let live = Arc::new(Live::default());
    let mut told = BTreeMap::new();
    let algos: Vec<_> = ALGOS
        .iter()
        .map(|(session_id, kind)| {
            let (teller, heard) = std::sync::mpsc::channel();
            told.insert(*session_id, Ear { kind: *kind, heard, reports: Reports::default() });
            let algo = Algo::new(
                *session_id,
                *kind,
                &address,
                &dir.join(format!("algo{session_id}.state")),
                SECRET.as_bytes(),
                Arc::clone(&live),
                teller,
            );
            let done = Arc::clone(&done);
            std::thread::spawn(move || algo.run(&done))
        })
        .collect();

    let mut evidence = Evidence::new(dir, told);
    let span = Duration::from_secs(options.seconds);
    let strikes = strikes::schedule(options.kills, options.venue_kills);
    let pauses = u32::try_from(strikes.len()).unwrap_or(u32::MAX).saturating_add(1);
    let pause = span.checked_div(pauses).unwrap_or(span);
    let started = Instant::now();
    let mut next_strike = pause;
    let mut waiting = strikes.iter().peekable();
    let mut struck = Struck::default();
    let mut proven = 0;
    let mut trade = Trade::since(&live);
    while !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(Duration::from_millis(2));
        venue.check_alive()?;
        gateway.check_alive()?;
        if trade.has_stalled(&live) {
            let text =
                format!("no order got to the venue for {} s; see the logs in {}", STALL.as_secs(), dir.display());
            return Err((Exit::ProofFailed, text));
        }
        progress.show(started.elapsed(), &live)?;
        // Neither a kill nor the end counts before trading has gone on after the last kill, and no kill without orders
        // on their way.
        if !trade.is_under_way(&live) {
            continue;
        }
        let is_due = waiting.peek().is_some() && started.elapsed() >= next_strike;
        if let Some(last) = struck.strikes.last()
            && is_due
            && proven < struck.strikes.len()
        {
            proven = struck.strikes.len();
            let when = format!("after strike {proven} ({})", last.text());
            refute(&evidence.prove_settled()?, &when, options.json)?;
        }
        let on_their_way = live.on_their_way.load(Ordering::Relaxed);
        let Some(strike) = waiting.next_if(|_| is_due && on_their_way > 0) else {
            if waiting.peek().is_none() && started.elapsed() >= span {
                break;
            }
            continue;
        };
        if strike.hits_gateway() {
            gateway.kill();
        }
        if strike.hits_venue() {
            venue.kill();
        }
        let at = started.elapsed().as_secs_f32();
        progress.say(&format!("{at:>5.1}s  SIGKILL to {}, {on_their_way} orders on their way", strike.text()))?;
        live.strikes.fetch_add(1, Ordering::Release);
        if strike.hits_venue() {
            venue = Process::start("venue", dir)?;
        }
        if strike.hits_gateway() {
            gateway = Process::start("run", dir)?;
        }
        struck.strikes.push(*strike);
        struck.on_their_way = struck.on_their_way.saturating_add(on_their_way);
        trade = Trade::since(&live);
        next_strike = started.elapsed().max(next_strike).saturating_add(pause);
    }
    progress.finish();
    let is_interrupted = stop.load(Ordering::Acquire);
    progress.say("the algos cancel what is open and finish")?;
    done.store(true, Ordering::Release);
    let mut seen = Vec::new();
    for algo in algos {
        match algo.join() {
            Ok(Ok(report)) => seen.push(report),
            Ok(Err(error)) => return Err((Exit::ProofFailed, format!("an algo: {error}"))),
            Err(_) => return Err((Exit::Internal, "an algo panicked".to_owned())),
        }
    }
    for process in [&mut gateway, &mut venue] {
        if !process.terminate(STOP_MAX) {
            return Err(process.failure(Exit::Internal, "did not stop cleanly"));
        }
    }
    conclude(dir, &mut evidence, &seen, &struck, options.json, is_interrupted)
}

/// The proof over everything, and all that is shown at the end.
fn conclude(
    dir: &Path,
    evidence: &mut Evidence,
    seen: &[Seen],
    struck: &Struck,
    is_json: bool,
    is_interrupted: bool,
) -> Result<(), Failure> {
    let stat = tradecore_journal::stat(&dir.join("data/journal"))
        .map_err(|error| (Exit::JournalDamaged, error.to_string()))?;
    let (mut wrong, events, replayed) = evidence.prove(seen)?;
    if is_interrupted {
        wrong.retain(|line| line != proof::NOTHING);
    }
    if events != stat.records {
        let text = format!("replay found {events} events in the journal, verification {}", stat.records);
        return Err((Exit::JournalDamaged, text));
    }
    let kills = struck.strikes.len();
    if kills >= STRIKES_THAT_LEAVE_DOUBTS && evidence.history().doubts == 0 {
        wrong.push(format!("{kills} SIGKILLs left no order in doubt: they struck nothing"));
    }
    let outcome = Outcome { seen, struck, stat: &stat, replayed, evidence, wrong: &wrong };
    say(&if is_json { outcome.json().to_string() } else { outcome.text() })?;
    match (wrong.is_empty(), is_interrupted) {
        (false, _) => Err((Exit::ProofFailed, format!("{} differences, at the end", wrong.len()))),
        (true, true) => {
            Err((Exit::Interrupted, "interrupted; the proof holds for what had happened until then".to_owned()))
        }
        (true, false) => Ok(()),
    }
}

/// Says what does not agree before the end, and fails if there is anything.
fn refute(wrong: &[String], when: &str, is_json: bool) -> Result<(), Failure> {
    if wrong.is_empty() {
        return Ok(());
    }
    say(&if is_json { table::refutation_json(wrong, when).to_string() } else { table::refutation(wrong, when) })?;
    Err((Exit::ProofFailed, format!("{} differences, {when}", wrong.len())))
}

/// Of so many strikes at orders on their way some leave an order in doubt.
const STRIKES_THAT_LEAVE_DOUBTS: usize = 10;

/// Longest time without an order at the venue: what was killed must be back by then.
const STALL: Duration = Duration::from_secs(30);
/// Orders of after the last kill that the venue acknowledges before the next kill, or the end: it must strike where
/// orders are on their way.
const ORDERS_BETWEEN_STRIKES: u64 = 20;

/// What the algos got done since the last kill.
struct Trade {
    acknowledged_before: u64,
    acknowledged: u64,
    progressed: Instant,
}

impl Trade {
    fn since(live: &Live) -> Self {
        let acknowledged = live.acknowledged.load(Ordering::Relaxed);
        Self { acknowledged_before: acknowledged, acknowledged, progressed: Instant::now() }
    }

    fn is_under_way(&self, live: &Live) -> bool {
        let acknowledged = live.acknowledged.load(Ordering::Relaxed);
        acknowledged.saturating_sub(self.acknowledged_before) >= ORDERS_BETWEEN_STRIKES
    }

    fn has_stalled(&mut self, live: &Live) -> bool {
        let acknowledged = live.acknowledged.load(Ordering::Relaxed);
        if acknowledged != self.acknowledged {
            (self.acknowledged, self.progressed) = (acknowledged, Instant::now());
        }
        self.progressed.elapsed() > STALL
    }
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

fn write_files(dir: &Path, address: &str, faults: FaultConfig) -> std::io::Result<()> {
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
    fs::write(dir.join("gateway.toml"), config(address, faults))
}

fn config(address: &str, faults: FaultConfig) -> String {
    let FaultConfig { lost_reply_ppm, drop_before_ppm, drop_after_ppm, duplicate_event_ppm } = faults;
    let sessions: String = ALGOS
        .iter()
        .map(|(id, _)| format!("[[sessions]]\nid = {id}\nkey_id = \"demo\"\nsecret_file = \"key\"\nrole = \"trade\"\naccounts = [{id}]\n\n[[accounts]]\nid = {id}\ncurrency = \"USDT\"\ninitial_cash = \"100000000\"\nposition_max = \"1000\"\nopen_orders_max = 1000\n\n"))
        .collect();
    // Nobody of the demo is these: they are for who goes on with its directory.
    let people = [(8, "admin"), (9, "drop_copy")]
        .map(|(id, role)| {
            format!("[[sessions]]\nid = {id}\nkey_id = \"demo\"\nsecret_file = \"key\"\nrole = \"{role}\"\n\n")
        })
        .concat();
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
address = "unix:venue.sock"

[venue]
listen = ["unix:venue.sock"]
log_dir = "venue"
log_sync = false

[venue.faults]
lost_reply_ppm = {lost_reply_ppm}
drop_before_ppm = {drop_before_ppm}
drop_after_ppm = {drop_after_ppm}
duplicate_event_ppm = {duplicate_event_ppm}

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

{sessions}{people}"#
    )
}
