//! `tradecore demo`.

use std::path::PathBuf;

use tradecore::demo::DemoOptions;

use super::failure::Failure;

/// Shows everything at work: algos on a real capture, a SIGKILL in the middle, and the proof that nothing was
/// lost or doubled.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore demo --seconds 20 --kills 3")]
pub(super) struct Demo {
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
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        let stop = super::stop_at_signals()?;
        let Self { seconds, kills, venue_kills, dir, quiet } = self;
        tradecore::demo::run(&DemoOptions { seconds, kills, venue_kills, dir, quiet }, &stop).map_err(Failure::from)
    }
}
