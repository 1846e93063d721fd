//! The command line: what is asked for, and how it ended. Each command stands in a file of its own.

mod config;
mod demo;
mod failure;
mod journal;
mod run;
mod venue;

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
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Venue(venue::Venue),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Journal(journal::Journal),
}

/// Does what the command line asks for.
pub(crate) fn main() -> ExitCode {
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
    let result = match arguments.command {
        Command::Demo(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Venue(command) => command.run(),
        Command::Config(command) => command.run(),
        Command::Journal(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::from(Exit::Ok.code()),
        Err(failure) => {
            eprintln!("tradecore: {failure}");
            ExitCode::from(failure.exit.code())
        }
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
