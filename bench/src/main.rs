//! Measurements of the gateway against baselines in the same run. Each prints what it measured and the figures
//! that are promised; the exit code is 1 when one is not met.
//!
//! Loads are open: every order has the time at which it should leave, and is timed from there, so that a stall
//! counts for all whom it delays.

/// As the standard one, but for a stdout that nobody reads any more or that is full: a measurement of minutes goes on, and
/// writes its result.
macro_rules! println {
    ($($told:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($told)*);
    }};
}

mod all;
mod allocations;
mod append;
mod bare_sync;
#[cfg(feature = "kafka")]
mod beside;
#[cfg(feature = "kafka")]
mod catch_up;
mod cpus;
mod date;
mod disk;
mod echo;
mod echo_flow;
mod escape;
mod figures;
mod filling;
mod gaps;
mod growth;
mod hiccup;
mod history;
mod host;
mod huge_pages;
mod in_process;
mod instant;
mod instructions;
mod journal;
mod ladder;
mod ladder_plot;
mod lag;
mod latency;
mod legs;
mod live;
mod longest;
mod loop_counts;
mod machine;
mod mix;
mod operations;
mod orders;
#[cfg(feature = "kafka")]
mod outage;
mod outcome;
mod pace;
#[cfg(feature = "kafka")]
mod path;
mod peer;
mod peers;
mod percentiles;
mod pipeline;
mod projection;
mod rebuild;
mod recovery;
mod recycling;
mod report;
#[cfg(feature = "kafka")]
mod restore;
mod rollovers;
mod scale;
mod scoreboard;
mod scratch;
mod servers;
mod sessions;
#[cfg(feature = "kafka")]
mod shipping;
#[cfg(feature = "kafka")]
mod side_memory;
#[cfg(feature = "kafka")]
mod sides;
mod soak;
mod spans;
mod stage_bars;
mod stages;
mod start;
mod svg;
mod synced;
mod synced_flow;
mod synced_turns;
mod syncs;
mod syscalls;
mod tail;
mod tail_latency;
mod thousandths;
mod throughput;
mod ticks;
mod timing;
mod turns;
mod venue;
mod vitals;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::machine::Run;
use crate::outcome::Files;

#[derive(Parser)]
#[command(version, about = "Measures the gateway against baselines in the same run")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    files: Files,
    /// CPUs of the gateway's loop and of the generator; without it the loop has that which devices interrupt least, the generator the first of the others.
    #[arg(long, global = true, value_name = "LOOP,GENERATOR")]
    cpus: Option<cpus::Pair>,
}

#[derive(Subcommand)]
enum Command {
    /// Order to the gateway's own acceptance, class `journaled`, against a TCP echo of the same frame sizes; to the broker's
    /// acknowledgement and to the fill; and at ever higher rates up to saturation.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- latency --rate 1000,20000 --rounds 5")]
    Latency(latency::Options),
    /// An append against a copy and a checksum of the same bytes and against a write; how long until it is durable, and
    /// until a reader that follows has it.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- journal --payload 128 --rounds 5")]
    Journal(journal::Options),
    /// Commands a second of the core alone, in process, with the journal and without it.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- core --commands 1000000 --rounds 5")]
    Core(mix::Options),
    /// Commands a second at saturation, pipelined, on one connection and on many, against an echo of the same frame sizes.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- throughput --connections 1,100")]
    Throughput(throughput::Options),
    /// Ten active sessions alone, and among a thousand; and what an idle session costs in memory.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- sessions --sessions 1000")]
    Sessions {
        /// Sessions that are open at once; ten of them send.
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(i64::from(sessions::ACTIVE) + 1..))]
        sessions: u32,
        /// Orders a second of all active ones.
        #[arg(long, default_value_t = 1000, value_parser = crate::rate)]
        rate: u64,
        /// Length of each run, s.
        #[arg(long, default_value_t = 3, value_parser = crate::at_least_one::<u64>)]
        seconds: u64,
        /// Runs of each.
        #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
        runs: usize,
    },
    /// Where the time of an order goes inside the gateway, and what it costs to measure that.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- stages --rate 5000 --rounds 7")]
    Stages(stages::Options),
    /// Events a second that a start replays into its state, on one core, by the length of the journal.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- recovery --orders 25000,250000,1000000")]
    Recovery {
        /// Orders in the journal, one number after the other; each makes four events.
        #[arg(long, value_delimiter = ',', default_values_t = recovery::ORDERS, value_parser = crate::at_least_one::<u64>)]
        orders: Vec<u64>,
        /// Replays of each.
        #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
        runs: usize,
    },
    /// Events a second that become tables of SQLite and of PostgreSQL, with the position in each transaction.
    ///
    /// PostgreSQL is measured where TRADECORE_TEST_POSTGRES=host:port:database:user:password says one, or one is installed.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- projection --orders 100000")]
    Projection {
        /// Orders in the journal; each makes four events.
        #[arg(long, default_value_t = 100_000, value_parser = crate::at_least_one::<u64>)]
        orders: u64,
        /// Projections, each into a new database.
        #[arg(long, default_value_t = 3, value_parser = crate::at_least_one::<usize>)]
        runs: usize,
    },
    /// How long a rebuild of the tables takes.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- rebuild --events 10000000")]
    Rebuild(rebuild::Options),
    /// How far the tables, and Kafka in a build with `--features kafka`, are behind a journal that grows.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench --features kafka -- lag --rate 5000")]
    Lag(lag::Options),
    /// Events a second that are shipped to Kafka, exactly once, against a bare producer. The broker is the one that
    /// TRADECORE_TEST_KAFKA names, or is fetched and started; so it is for the next four.
    #[cfg(feature = "kafka")]
    #[command(
        after_help = "Example: cargo run --release -p tradecore-bench --features kafka -- shipping --orders 250000"
    )]
    Shipping {
        /// Orders in the journal; each makes four events.
        #[arg(long, default_value_t = 250_000, value_parser = crate::at_least_one::<u64>)]
        orders: u64,
        /// Runs, each into new topics.
        #[arg(long, default_value_t = 3, value_parser = crate::at_least_one::<usize>)]
        runs: usize,
    },
    /// How fast shipper and projectors catch up after an outage, while events go on coming.
    #[cfg(feature = "kafka")]
    #[command(
        after_help = "Example: cargo run --release -p tradecore-bench --features kafka -- catch-up --outage-s 120"
    )]
    CatchUp(catch_up::Options),
    /// A journal shipped to Kafka, made anew from its topics, and compared: byte by byte, and by the state's hash.
    #[cfg(feature = "kafka")]
    #[command(
        after_help = "Example: cargo run --release -p tradecore-bench --features kafka -- restore --events 10000000"
    )]
    Restore(restore::Options),
    /// What an order feels of shipping and projecting, by the gateway's own counters.
    #[cfg(feature = "kafka")]
    #[command(after_help = "Example: cargo run --release -p tradecore-bench --features kafka -- path --rounds 7")]
    Path(path::Options),
    /// Memory of shipper and projector behind a large backlog.
    #[cfg(feature = "kafka")]
    #[command(
        after_help = "Example: cargo run --release -p tradecore-bench --features kafka -- side-memory --events 1000000"
    )]
    SideMemory(side_memory::Options),
    /// Kafka and PostgreSQL down for long, with servers of the measurement's own: what an order feels, memory, the disk
    /// gate, and whether all has arrived once they are back.
    #[cfg(feature = "kafka")]
    #[command(after_help = "Example: cargo run --release -p tradecore-bench --features kafka -- outage --seconds 3600")]
    Outage(outage::Options),
    /// Class `synced`: order to acceptance against a bare sync on the same disk, and orders a second by group commit.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- synced --rounds 5 --dir /var/tmp")]
    Synced(synced::Options),
    /// The time from an empty directory to accepting, and the memory of an idle gateway.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- start")]
    Start(start::Options),
    /// Whether an order takes longer with more open orders, instruments, sessions, or a longer journal.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- scale --open 1000,1000000")]
    Scale(scale::Options),
    /// Hours at a rate: percentiles by minute, memory, descriptors and page faults; fails when something grows.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- soak --minutes 120 --rate 5000")]
    Soak(soak::Options),
    /// The far tail at half of saturation against that of the echo, and what a roll-over of the journal adds.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- tail --rounds 5 --seconds 8")]
    Tail(tail_latency::Options),
    /// What the loop asks for once it is warm: allocations, page faults, system calls; per million commands.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- loop --commands 5000000")]
    Loop(loop_counts::Options),
    /// What a user would pick instead, in turn on the same work: QuickFIX, Redis, redb, Chronicle Queue.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- peers --only redis,quickfix")]
    Peers(peers::Options),
    /// Every promised figure, each in a short form: id, figure, target, met, and what the machine did meanwhile.
    #[command(
        after_help = "Example: cargo run --release -p tradecore-bench -- figures --only ack_p50_ratio --json f.json"
    )]
    Figures(scoreboard::Options),
    /// Every command that measures, one after the other, and the page of what they found.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- all --short --dir results")]
    All(all::Options),
    /// Instructions of each step of an order, by callgrind, against a table: no noise disturbs them.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- instructions --only decode,append")]
    Instructions(instructions::Options),
    /// Results as one HTML page, with percentile plots.
    #[command(after_help = "Example: cargo run --release -p tradecore-bench -- report latency.json --html report.html")]
    Report(report::Options),
    /// A gateway, as the measurements start it.
    #[command(hide = true)]
    Serve { config: PathBuf, broker: host::Broker },
    /// The echo, as the measurements start it.
    #[command(hide = true)]
    Echo { cpu: Option<usize> },
    /// The echo of many requests at a time, as the measurements start it.
    #[command(hide = true)]
    EchoFlow { cpu: Option<usize> },
    /// The venue, as the measurements start it.
    #[command(hide = true)]
    Venue { cpu: Option<usize> },
    /// A step of an order so many times, as `instructions` counts it.
    #[command(hide = true)]
    Perform { operation: operations::Operation, times: u64 },
}

/// Why a measurement could not be made.
type Failure = Box<dyn Error>;

/// A number of things to do: a median of none, or a ratio to none, is no figure.
pub(crate) fn at_least_one<T: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> Result<T, String> {
    text.parse()
        .ok()
        .filter(|number| *number >= T::from(1))
        .ok_or_else(|| "a whole number from 1 on is wanted".to_owned())
}

/// Set for a command that another one runs, and that goes with it: an option would stand in its result.
pub(crate) const ENDS_WITH_PARENT: &str = "TRADECORE_BENCH_ENDS_WITH_PARENT";

/// Beyond it no generator gets, and a slice of such a rate would not end.
pub(crate) const RATE_MAX: u64 = 1_000_000;

/// So many a second.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    at_least_one(text)
        .ok()
        .filter(|rate| *rate <= RATE_MAX)
        .ok_or_else(|| format!("1 to {RATE_MAX} a second are wanted"))
}

fn main() -> ExitCode {
    let Arguments { command, files, cpus } = Arguments::parse();
    cpus::choose(cpus);
    if !matches!(command, Command::Report(_)) {
        huge_pages::prepare();
    }
    match run(command, &files) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// True when every promise was kept.
fn run(command: Command, files: &Files) -> Result<bool, Failure> {
    if std::env::var_os(ENDS_WITH_PARENT).is_some() {
        host::end_with_parent()?;
    }
    // Where it is allowed, what else runs here waits; children inherit it. `Run` says whether it was. Who has started this
    // with a niceness of his own keeps that.
    if rustix::process::getpriority_process(None) == Ok(0) {
        let _ = rustix::process::setpriority_process(None, -20);
    }
    match command {
        Command::All(_) => files.refuse("--dir names where its results go")?,
        Command::Report(_) => files.refuse("--html names its page")?,
        _ => files.check()?,
    }
    // Before anything else: what the machine was busy with then was not us.
    let run = Run::describe();
    let (name, outcome) = match command {
        Command::Latency(options) => ("latency", latency::measure(&options)?),
        Command::Journal(options) => ("journal", journal::measure(&options)?),
        Command::Core(options) => ("core", mix::measure(&options)?),
        Command::Throughput(options) => ("throughput", throughput::measure(&options)?),
        Command::Sessions { sessions, rate, seconds, runs } => {
            ("sessions", sessions::measure(sessions, rate, seconds, runs)?)
        }
        Command::Recovery { orders, runs } => ("recovery", recovery::measure(&orders, runs)?),
        Command::Projection { orders, runs } => ("projection", projection::measure(orders, runs)?),
        Command::Rebuild(options) => ("rebuild", rebuild::measure(&options)?),
        Command::Lag(options) => ("lag", lag::measure(&options)?),
        #[cfg(feature = "kafka")]
        Command::Shipping { orders, runs } => ("shipping", shipping::measure(orders, runs)?),
        #[cfg(feature = "kafka")]
        Command::CatchUp(options) => ("catch-up", catch_up::measure(&options)?),
        #[cfg(feature = "kafka")]
        Command::Restore(options) => ("restore", restore::measure(&options)?),
        #[cfg(feature = "kafka")]
        Command::Path(options) => ("path", path::measure(&options)?),
        #[cfg(feature = "kafka")]
        Command::SideMemory(options) => ("side-memory", side_memory::measure(&options)?),
        #[cfg(feature = "kafka")]
        Command::Outage(options) => {
            let (outcome, is_kept) = outage::measure(&options)?;
            outcome::write(files, "outage", run, &outcome)?;
            return Ok(is_kept);
        }
        Command::Synced(options) => ("synced", synced::measure(&options)?),
        Command::Stages(options) => ("stages", stages::measure(&options)?),
        Command::Start(options) => ("start", start::measure(&options)?),
        Command::Scale(options) => ("scale", scale::measure(&options)?),
        Command::Soak(options) => {
            let (outcome, is_bounded) = soak::measure(&options)?;
            outcome::write(files, "soak", run, &outcome)?;
            return Ok(is_bounded);
        }
        Command::Tail(options) => ("tail", tail_latency::measure(&options)?),
        Command::Loop(options) => ("loop", loop_counts::measure(&options)?),
        Command::Peers(options) => ("peers", peers::measure(&options)?),
        Command::Figures(options) => return scoreboard::run(&options, files, run),
        Command::All(options) => return all::run(&options),
        Command::Instructions(options) => return instructions::run(&options, files, run),
        Command::Report(options) => return report::write(&options).map(|()| true),
        Command::Serve { config, broker } => {
            return host::end_with_parent().and_then(|()| host::serve(&config, broker)).map(|()| true);
        }
        Command::Echo { cpu } => return host::end_with_parent().and_then(|()| echo::serve(cpu)).map(|()| true),
        Command::EchoFlow { cpu } => {
            return host::end_with_parent().and_then(|()| echo_flow::serve(cpu)).map(|()| true);
        }
        Command::Venue { cpu } => return host::end_with_parent().and_then(|()| venue::serve(cpu)).map(|()| true),
        Command::Perform { operation, times } => return instructions::perform(operation, times).map(|()| true),
    };
    outcome::write(files, name, run, &outcome)?;
    let are_met = figures::judge(&outcome);
    outcome.complete().map(|()| are_met)
}
