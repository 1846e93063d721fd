//! The `tradecore` binary: the command line, nothing else.
#![allow(missing_docs)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
