//! The command line: what is asked for, and how it ended. Each command stands in a file of its own.

mod ask;
mod config;
mod connection;
mod demo;
mod desk;
#[cfg(feature = "kafka")]
mod dlq;
mod failure;
mod journal;
mod kill;
mod log;
mod note;
mod order;
#[cfg(feature = "kafka")]
mod project;
mod projection;
mod query;
mod read_model;
mod report;
mod run;
#[cfg(feature = "kafka")]
mod ship;
mod stages;
mod trace;
mod values;
mod venue;
mod watch;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};
use tradecore::exit::Exit;

use failure::Failure;

#[derive(Parser)]
#[command(
    version,
    about = "An order gateway: binary TCP in, journaled decisions, brokers out",
    after_help = "Example: tradecore demo"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How log lines are written to stderr; RUST_LOG says which, by default `info`.
    #[arg(long, global = true, value_enum, default_value_t, display_order = 100)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum LogFormat {
    /// For people; in colors on a terminal.
    #[default]
    Text,
    /// One object a line.
    Json,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Venue(venue::Venue),
    #[command(subcommand)]
    Order(order::Order),
    Positions(query::Positions),
    Account(query::Account),
    Fills(query::Fills),
    #[command(subcommand)]
    Kill(kill::Kill),
    Note(note::Note),
    Watch(watch::Watch),
    Stages(stages::Stages),
    Counters(stages::Counters),
    #[command(subcommand)]
    Query(ask::Query),
    Trace(trace::Trace),
    #[command(subcommand)]
    Projection(projection::Projection),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Journal(journal::Journal),
    #[cfg(feature = "kafka")]
    Project(project::Project),
    #[cfg(feature = "kafka")]
    #[command(subcommand)]
    Ship(ship::Ship),
    #[cfg(feature = "kafka")]
    #[command(subcommand)]
    Dlq(dlq::Dlq),
}

/// Does what the command line asks for.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            if !error.use_stderr() {
                // Help and version.
                return match written(error.print().and_then(|()| io::stdout().flush())) {
                    Ok(_) => ExitCode::from(Exit::Ok.code()),
                    Err(failure) => end(&failure),
                };
            }
            let text = match left_out() {
                Some(command) => format!(
                    "{command} is not in this build: build with `--features kafka`, which takes what docs/kafka.md says"
                ),
                None => error.render().to_string(),
            };
            return end(&Failure::new(Exit::Usage, text.trim_start_matches("error: ").trim_end()));
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A line that cannot be written is lost: to say so on the same stderr would panic, and end what trades.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log::Lines::new(matches!(arguments.log_format, LogFormat::Json)))
        .with_target(false)
        .log_internal_errors(false);
    match arguments.log_format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    let result = match arguments.command {
        Command::Demo(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Venue(command) => command.run(),
        Command::Order(command) => command.run(),
        Command::Positions(command) => command.run(),
        Command::Account(command) => command.run(),
        Command::Fills(command) => command.run(),
        Command::Kill(command) => command.run(),
        Command::Note(command) => command.run(),
        Command::Watch(command) => command.run(),
        Command::Stages(command) => command.run(),
        Command::Counters(command) => command.run(),
        Command::Query(command) => command.run(),
        Command::Trace(command) => command.run(),
        Command::Projection(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Journal(command) => command.run(),
        #[cfg(feature = "kafka")]
        Command::Project(command) => command.run(),
        #[cfg(feature = "kafka")]
        Command::Ship(command) => command.run(),
        #[cfg(feature = "kafka")]
        Command::Dlq(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::from(Exit::Ok.code()),
        Err(failure) => end(&failure),
    }
}

/// Says why a command failed: to people always, to programs with `--json`, as the last line of stdout.
fn end(failure: &Failure) -> ExitCode {
    warn(&failure.to_string());
    // From the words themselves: a command line that is wrong was never parsed.
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words.iter().any(|word| word == "--json") {
        // It fails already, with an exit code that says why.
        drop(print(&failure.to_json().to_string()));
    }
    ExitCode::from(failure.exit.code())
}

/// The command that was asked for, if only a build with Kafka has it and this one is none.
fn left_out() -> Option<String> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let command = command_of(&words).and_then(|word| word.to_str()).unwrap_or_default();
    (cfg!(not(feature = "kafka")) && ["ship", "project", "dlq"].contains(&command)).then(|| command.to_owned())
}

/// The first word that is neither an option for all commands nor its value.
fn command_of(words: &[OsString]) -> Option<&OsString> {
    match words {
        [option, _, rest @ ..] if option == "--log-format" => command_of(rest),
        [option, rest @ ..] if option.as_encoded_bytes().starts_with(b"--log-format=") => command_of(rest),
        [word, ..] => Some(word),
        [] => None,
    }
}

/// Writes a line to stdout; false when nobody reads any more.
fn print(line: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    written(writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// What became of a write to stdout: false when nobody reads any more. The reader of a pipe may have seen enough, so
/// that is no failure; all else is, for what was asked for is lost.
fn written(result: io::Result<()>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Exit::Io, format!("stdout: {error}"))),
    }
}

/// Says a line to people, on stderr; where nobody can be told, the command goes on.
fn warn(text: &str) {
    drop(writeln!(io::stderr(), "tradecore: {text}"));
}

/// From here on the death of the parent is ours: no handler of the parent runs when it is killed.
fn die_with_parent(parent: Option<i32>) -> Result<(), Failure> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let Some(parent) = parent else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    // It may have died before it could be watched.
    match getppid() {
        Some(pid) if pid.as_raw_nonzero().get() == parent => Ok(()),
        _ => Err(Failure::new(Exit::Unavailable, format!("process {parent} is not the parent of this one"))),
    }
}

/// True from the first SIGTERM or SIGINT on.
fn stop_at_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_help_of_every_command_has_an_example() {
        let mut waiting = vec![("tradecore".to_owned(), super::Arguments::command())];
        let mut count = 0;
        while let Some((name, command)) = waiting.pop() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Example: "), "{name}: {help:?}");
            assert!(help.contains(&name), "{name} has the example of another command: {help:?}");
            count += 1;
            waiting
                .extend(command.get_subcommands().map(|below| (format!("{name} {}", below.get_name()), below.clone())));
        }
        assert!(count > 12, "the commands were found: {count}");
        super::Arguments::command().debug_assert();
    }

    #[test]
    fn the_commands_that_alerts_name_are_there() {
        let mut count = 0;
        for kind in tradecore::shipping::alerts::Kind::ALL {
            for named in kind.next_step().split("tradecore ").skip(1) {
                let mut command = super::Arguments::command();
                let mut words = named.split(|c: char| !c.is_ascii_lowercase() && c != '-');
                while command.has_subcommands() {
                    let word = words.next().unwrap_or_default();
                    // Without Kafka a build has no such command.
                    if !cfg!(feature = "kafka") && ["ship", "dlq", "project"].contains(&word) {
                        break;
                    }
                    let below = command.find_subcommand(word).cloned();
                    command = below.unwrap_or_else(|| panic!("{}: no command {word:?} in {named:?}", kind.name()));
                }
                let longs: Vec<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
                for option in words.map_while(|word| word.strip_prefix("--")) {
                    assert!(longs.contains(&option), "{}: no option {option:?} in {named:?}", kind.name());
                }
                count += 1;
            }
        }
        assert!(count > 8, "the commands were found: {count}");
    }
}
