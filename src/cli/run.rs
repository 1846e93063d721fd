//! `tradecore run`.

use std::path::PathBuf;

use tradecore::daemon::{self, Stop};
use tradecore::exit::Exit;

use super::failure::Failure;

/// Runs a gateway until SIGTERM.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore run --config /etc/tradecore/virtual.toml")]
pub(super) struct Run {
    /// The configuration.
    #[arg(long)]
    config: PathBuf,
    /// Ends with this process, its parent.
    #[arg(long, hide = true, value_name = "PID")]
    die_with_parent: Option<i32>,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        super::die_with_parent(self.die_with_parent)?;
        let config = super::config::load(&self.config)?;
        let stop = Stop::default();
        stop.at_signals().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        daemon::run(config, &stop).map_err(|error| Failure::new(error.exit(), error.to_string()))
    }
}
