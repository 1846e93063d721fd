//! `tradecore config`.

use std::path::{Path, PathBuf};

use tradecore::config::{check_command, show_command};
use tradecore::exit::Exit;

use super::failure::Failure;

/// Looks at a configuration.
#[derive(clap::Subcommand)]
#[command(after_help = "Example: tradecore config check --config gateway.toml")]
pub(super) enum Config {
    /// Checks every value; exit code 78 and what is allowed when one is wrong.
    #[command(after_help = "Example: tradecore config check --config gateway.toml")]
    Check {
        /// The configuration.
        #[arg(long)]
        config: PathBuf,
        /// Prints the error as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Prints every value in force and where it comes from; secrets are never part of it.
    #[command(after_help = "Example: tradecore config show --config gateway.toml --json")]
    Show {
        /// The configuration.
        #[arg(long)]
        config: PathBuf,
        /// Prints one JSON object.
        #[arg(long)]
        json: bool,
    },
}

impl Config {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut text = Vec::new();
        let (file, result) = match &self {
            Self::Check { config, json } => (config, check_command(config, *json, &mut text)),
            Self::Show { config, json } => (config, show_command(config, *json, &mut text)),
        };
        let printed = if text.is_empty() { Ok(true) } else { super::print(String::from_utf8_lossy(&text).trim_end()) };
        // A wrong configuration matters more than that it could not be said on stdout.
        result.map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
        tradecore::daemon::raised_lengths(&load(file)?).iter().for_each(|line| super::warn(line));
        printed.map(drop)
    }
}

/// A configuration with the overrides of the environment.
pub(super) fn load(path: &Path) -> Result<tradecore::config::Config, Failure> {
    tradecore::config::Config::load(path, tradecore::config::environment())
        .map_err(|error| Failure::new(Exit::Config, error.to_string()))
}
