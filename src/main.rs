//! The `tradecore` binary: the command line, nothing else.
#![allow(missing_docs)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};
use tradecore::config::Config;
use tradecore::daemon::{self, Stop};
use tradecore::exit::Exit;

#[derive(Parser)]
#[command(version, about = "An order gateway: binary TCP in, journaled decisions, brokers out")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows everything at work: algos on a real capture, a SIGKILL in the middle, and the proof that nothing was
    /// lost or doubled.
    #[command(after_help = "Example: tradecore demo --seconds 20 --kills 3")]
    Demo {
        /// How long the algos trade, s.
        #[arg(long, default_value_t = 12)]
        seconds: u64,
        /// How often the gateway is killed.
        #[arg(long, default_value_t = 1)]
        kills: u32,
        /// How often the venue is killed.
        #[arg(long, default_value_t = 0)]
        venue_kills: u32,
        /// Where everything is kept; by default a directory that goes at the end.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// No progress lines.
        #[arg(long)]
        quiet: bool,
    },
    /// Runs a gateway until SIGTERM.
    #[command(after_help = "Example: tradecore run --config /etc/tradecore/virtual.toml")]
    Run {
        /// The configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Runs the virtual venue of a configuration as a process of its own.
    #[command(after_help = "Example: tradecore venue --config /etc/tradecore/virtual.toml")]
    Venue {
        /// A configuration with a [venue] section.
        #[arg(long)]
        config: PathBuf,
    },
    /// Looks at a configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Looks at a journal; safe on a live one.
    #[command(subcommand)]
    Journal(JournalCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Checks every value; exit code 78 and what is allowed when one is wrong.
    #[command(after_help = "Example: tradecore config check --config gateway.toml")]
    Check {
        #[arg(long)]
        config: PathBuf,
        /// Prints the error as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Prints every value in force and where it comes from; secrets are never part of it.
    #[command(after_help = "Example: tradecore config show --config gateway.toml --json")]
    Show {
        #[arg(long)]
        config: PathBuf,
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct JournalPlace {
    /// Directory of the journal.
    #[arg(long)]
    dir: PathBuf,
}

#[derive(Subcommand)]
enum JournalCommand {
    /// Counts what is there.
    #[command(after_help = "Example: tradecore journal stat --dir data/journal --json")]
    Stat {
        #[command(flatten)]
        place: JournalPlace,
        #[arg(long)]
        json: bool,
    },
    /// Checks every record; exit code 80 when one is damaged.
    #[command(after_help = "Example: tradecore journal verify --dir data/journal")]
    Verify {
        #[command(flatten)]
        place: JournalPlace,
    },
    /// Prints events, one a line.
    #[command(after_help = "Example: tradecore journal dump --dir data/journal --from 100 --to 200 --json")]
    Dump {
        #[command(flatten)]
        place: JournalPlace,
        /// First sequence number.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Last sequence number.
        #[arg(long, default_value_t = u64::MAX)]
        to: u64,
        #[arg(long)]
        json: bool,
        /// Goes on with events as they come.
        #[arg(long)]
        follow: bool,
    },
    /// Prints events as they come.
    #[command(after_help = "Example: tradecore journal tail --dir data/journal --json")]
    Tail {
        #[command(flatten)]
        place: JournalPlace,
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            drop(error.print());
            return ExitCode::from(exit.code());
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    match run(arguments.command) {
        Ok(()) => ExitCode::from(Exit::Ok.code()),
        Err((exit, message)) => {
            eprintln!("tradecore: {message}");
            ExitCode::from(exit.code())
        }
    }
}

type Failure = (Exit, String);

fn load(path: &std::path::Path) -> Result<Config, Failure> {
    Config::load(path, tradecore::config::environment()).map_err(|error| (Exit::Config, error.to_string()))
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo { seconds, kills, venue_kills, dir, quiet } => {
            let stop = Arc::new(AtomicBool::new(false));
            for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
                signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|e| (Exit::Internal, e.to_string()))?;
            }
            tradecore::demo::run(&tradecore::demo::DemoOptions { seconds, kills, venue_kills, dir, quiet }, &stop)
        }
        Command::Run { config } => {
            let config = load(&config)?;
            let stop = Stop::default();
            count_signals(&stop)?;
            daemon::run(&config, &stop).map_err(|error| (error.exit(), error.to_string()))
        }
        Command::Venue { config } => {
            let config = load(&config)?;
            let venue = config.venue().map_err(|error| (Exit::Config, error.to_string()))?;
            let stop = Arc::new(AtomicBool::new(false));
            for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
                signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|e| (Exit::Internal, e.to_string()))?;
            }
            tradecore::venue::run(&venue, &stop).map_err(|error| (Exit::Unavailable, error.to_string()))
        }
        Command::Config(command) => {
            use tradecore::config::{check_command, show_command};
            let mut out = std::io::stdout().lock();
            let result = match command {
                ConfigCommand::Check { config, json } => check_command(&config, json, &mut out),
                ConfigCommand::Show { config, json } => show_command(&config, json, &mut out),
            };
            result.map_err(|error| (Exit::Config, error.to_string()))
        }
        Command::Journal(command) => journal(command),
    }
}

fn count_signals(stop: &Stop) -> Result<(), Failure> {
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])
        .map_err(|error| (Exit::Internal, error.to_string()))?;
    let stop = stop.clone();
    std::thread::spawn(move || signals.forever().for_each(|_| stop.ask()));
    Ok(())
}

fn journal(command: JournalCommand) -> Result<(), Failure> {
    let damaged = |error: tradecore_journal::ReadError| (Exit::JournalDamaged, error.to_string());
    match command {
        JournalCommand::Stat { place, json } => {
            let stat = tradecore_journal::stat(&place.dir).map_err(damaged)?;
            let rows = [
                ("segments", stat.segments),
                ("segment_bytes", stat.segment_bytes),
                ("first_seq", stat.first_seq),
                ("last_seq", stat.last_seq),
                ("synced_seq", stat.synced_seq),
                ("groups", stat.groups),
                ("records", stat.records),
                ("payload_bytes", stat.payload_bytes),
                ("first_ts_ns", stat.first_ts_ns),
                ("last_ts_ns", stat.last_ts_ns),
            ];
            if json {
                println!(
                    "{}",
                    serde_json::to_string(&rows.into_iter().collect::<std::collections::BTreeMap<_, _>>())
                        .unwrap_or_default()
                );
            } else {
                rows.iter().for_each(|(name, value)| println!("{name:<14} {value}"));
            }
            Ok(())
        }
        JournalCommand::Verify { place } => {
            let stat = tradecore_journal::stat(&place.dir).map_err(damaged)?;
            println!(
                "ok: {} records in {} groups, sequence numbers {} to {}",
                stat.records, stat.groups, stat.first_seq, stat.last_seq
            );
            Ok(())
        }
        JournalCommand::Dump { place, from, to, json, follow } => dump(&place, from, to, json, follow),
        JournalCommand::Tail { place, json } => {
            let stat = tradecore_journal::stat(&place.dir).map_err(damaged)?;
            dump(&place, stat.last_seq.saturating_add(1), u64::MAX, json, true)
        }
    }
}

fn dump(place: &JournalPlace, from: u64, to: u64, json: bool, follow: bool) -> Result<(), Failure> {
    use std::io::Write;
    use tradecore_journal::{Reader, Until};
    let damaged = |error: tradecore_journal::ReadError| (Exit::JournalDamaged, error.to_string());
    let mut reader = Reader::open(&place.dir, from, Until::Journaled).map_err(damaged)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    loop {
        while let Some(group) = reader.next_group().map_err(damaged)? {
            for record in group.records() {
                if record.seq > to {
                    return Ok(());
                }
                if record.seq >= from && writeln!(out, "{}", line(&record, json)).is_err() {
                    // The reader of a pipe has seen enough.
                    return Ok(());
                }
            }
        }
        if !follow || out.flush().is_err() {
            return Ok(());
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}

fn line(record: &tradecore_journal::Record<'_>, json: bool) -> String {
    use tradecore_domain::event::{Event, FieldValue};
    let event = match Event::from_archive(record.kind, record.version, record.payload) {
        Ok(event) => event,
        Err(error) => return format!("{} {error}", record.seq),
    };
    let mut fields = serde_json::Map::new();
    event.visit_fields(&mut |name, value| {
        let value = match value {
            // JSON numbers are floats to many readers: integers beyond 2⁵³ travel as text.
            FieldValue::Unsigned(number) if number < 1 << 53 => number.into(),
            FieldValue::Unsigned(number) => number.to_string().into(),
            FieldValue::Signed(number) => match i32::try_from(number) {
                Ok(number) => number.into(),
                Err(_) => number.to_string().into(),
            },
            FieldValue::Text(bytes) => String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned().into(),
        };
        fields.insert(name.to_owned(), value);
    });
    if json {
        let value = serde_json::json!({"seq": record.seq, "ts_ns": record.ts_ns.to_string(), "type": event.name(), "event": fields});
        return value.to_string();
    }
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} {} {} {}", record.seq, record.ts_ns, event.name(), fields.join(" "))
}
