//! `tradecore venue`.

use std::path::PathBuf;

use tradecore::daemon::Stop;
use tradecore::exit::Exit;
use tradecore::venue::{Server, VenueError};

use super::failure::Failure;

/// Runs the virtual venue of a configuration as a process of its own, where venue.listen says.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore venue --config demo/gateway.toml")]
pub(super) struct Venue {
    /// A configuration with a [venue] section.
    #[arg(long)]
    config: PathBuf,
    /// Ends with this process, its parent.
    #[arg(long, hide = true, value_name = "PID")]
    die_with_parent: Option<i32>,
}

impl Venue {
    pub(super) fn run(self) -> Result<(), Failure> {
        super::die_with_parent(self.die_with_parent)?;
        let config = super::config::load(&self.config)?;
        let venue = config.venue().map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
        let stop = Stop::default();
        stop.at_signals().map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
        let run = || {
            let server = Server::bind(&venue)?;
            stop.started();
            server.run(stop.flag())
        };
        run().map_err(|error: VenueError| Failure::new(Exit::from(&error), error.to_string()))
    }
}
