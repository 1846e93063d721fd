//! `tradecore demo`.

use std::path::PathBuf;

use tradecore::demo::DemoOptions;
use tradecore::venue::config::FaultConfig;

use super::failure::Failure;

/// Shows everything at work: algos on a real capture, a SIGKILL in the middle, and the proof that nothing was
/// lost or doubled.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore demo --seconds 20 --kills 3")]
pub(super) struct Demo {
    /// How long the algos trade, s.
    #[arg(long, default_value_t = 12)]
    seconds: u64,
    /// How often the gateway is killed; half of the lesser number of kills strikes gateway and venue at once.
    #[arg(long, default_value_t = 1)]
    kills: u32,
    /// How often the venue is killed.
    #[arg(long, default_value_t = 0)]
    venue_kills: u32,
    /// Of a million requests to the venue, how many it executes without a reply.
    #[arg(long, default_value_t = 0, value_parser = ppm())]
    lost_reply_ppm: u32,
    /// Of a million requests to the venue, how many end the connection before they are executed, and how many after.
    #[arg(long, default_value_t = 0, value_parser = ppm())]
    drop_ppm: u32,
    /// Of a million events of the venue, how many it tells twice.
    #[arg(long, default_value_t = 0, value_parser = ppm())]
    duplicate_event_ppm: u32,
    /// Where everything is kept, new or empty; by default a directory that goes at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// No progress lines.
    #[arg(long)]
    quiet: bool,
    /// Nothing but one JSON object at the end.
    #[arg(long)]
    json: bool,
}

fn ppm() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=1_000_000)
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        let stop = super::stop_at_signals()?;
        let Self { seconds, kills, venue_kills, lost_reply_ppm, drop_ppm, duplicate_event_ppm, dir, quiet, json } =
            self;
        let faults =
            FaultConfig { lost_reply_ppm, drop_before_ppm: drop_ppm, drop_after_ppm: drop_ppm, duplicate_event_ppm };
        let options = DemoOptions { seconds, kills, venue_kills, faults, dir, quiet, json };
        tradecore::demo::run(&options, &stop).map_err(Failure::from)
    }
}
