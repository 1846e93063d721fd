//! `tradecore stages` and `tradecore counters`: what a running gateway has measured and counted, read from its memory
//! without asking it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tradecore::exit::Exit;
use tradecore::mapped::{ReadError, Reader, Snapshot};

use super::failure::Failure;

/// From one table of `--follow` to the next.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// As long as a Ctrl-C may wait.
const STOP_EVERY: Duration = Duration::from_millis(50);
const HEADER: &str = "stage          count    p50 ns    p99 ns  p99.9 ns       max ns    share";

/// Shows where the time of an order goes: for each stage of a running gateway's loop how often it was measured, its
/// percentiles, and its share of all. Run it as the gateway's user; it asks the gateway nothing.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore stages --config gateway.toml --follow")]
pub(super) struct Stages {
    #[command(flatten)]
    place: Place,
    /// Shows what has come in the last second, every second until Ctrl-C.
    #[arg(long)]
    follow: bool,
}

/// Shows what a running gateway has counted since its start. Run it as the gateway's user; it asks the gateway nothing.
#[derive(clap::Args)]
#[command(after_help = "Example: tradecore counters --config gateway.toml --json")]
pub(super) struct Counters {
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args)]
struct Place {
    /// The configuration of the gateway.
    #[arg(long)]
    config: PathBuf,
    /// Prints one JSON object a line.
    #[arg(long)]
    json: bool,
}

impl Stages {
    pub(super) fn run(self) -> Result<(), Failure> {
        let reader = self.place.reader()?;
        let mut last = reader.snapshot();
        if !self.follow {
            return super::print(&self.place.text(&reader, &last)).map(drop);
        }
        let stop = super::stop_at_signals()?;
        loop {
            let shown_at = Instant::now();
            while shown_at.elapsed() < FOLLOW_EVERY {
                if stop.load(Ordering::Acquire) {
                    return Ok(());
                }
                std::thread::sleep(STOP_EVERY);
            }
            if !reader.is_written().map_err(|error| Failure::new(Exit::Io, error.to_string()))? {
                return Err(Failure::new(
                    Exit::Unavailable,
                    format!("the gateway, process {}, has ended", reader.process),
                ));
            }
            let now = reader.snapshot();
            if !super::print(&self.place.text(&reader, &now.since(&last)))? {
                return Ok(());
            }
            last = now;
        }
    }
}

impl Counters {
    pub(super) fn run(self) -> Result<(), Failure> {
        let reader = self.place.reader()?;
        let counters = reader.snapshot().counters;
        let text = if self.place.json {
            let values = counters.into_iter().map(|(name, _, value)| (name, value.to_string().into()));
            Value::Object(values.chain([("process".to_owned(), reader.process.into())]).collect()).to_string()
        } else {
            let width = counters.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
            let line =
                |(name, meaning, value): &(String, String, u64)| format!("{name:<width$} {value:>16}  {meaning}");
            counters.iter().map(line).collect::<Vec<_>>().join("\n")
        };
        super::print(&text).map(drop)
    }
}

impl Place {
    fn reader(&self) -> Result<Reader, Failure> {
        let config = super::config::load(&self.config)?;
        open(&tradecore::daemon::journal_dir(&config))
    }

    fn text(&self, reader: &Reader, snapshot: &Snapshot) -> String {
        let total = snapshot.stage("total").map_or(0, tradecore::histogram::Reading::sum);
        let rows = snapshot.stages.iter().map(|(name, _, times)| {
            let share_ppm = u128::from(times.sum()).saturating_mul(1_000_000).checked_div(total.into()).unwrap_or(0);
            let at = |parts| reader.nanos(times.at(parts));
            (name, times.count(), [at(500_000), at(990_000), at(999_000), reader.nanos(times.largest())], share_ppm)
        });
        if self.json {
            let row = |(name, count, [p50, p99, p999, max], share_ppm): (&String, u64, [u64; 4], u128)| {
                let share_ppm = u32::try_from(share_ppm).unwrap_or(u32::MAX);
                let [count, p50, p99, p999, max] = [count, p50, p99, p999, max].map(|number| number.to_string());
                json!({"stage": name, "count": count, "p50_ns": p50, "p99_ns": p99, "p999_ns": p999, "max_ns": max,
                    "share_ppm": share_ppm})
            };
            let stages: Vec<Value> = rows.map(row).collect();
            return json!({"process": reader.process, "ticks_per_s": reader.ticks_per_s.to_string(), "stages": stages})
                .to_string();
        }
        let row = |(name, count, [p50, p99, p999, max], share_ppm): (&String, u64, [u64; 4], u128)| {
            let (percent, tenth) = (share_ppm / 10_000, share_ppm / 1_000 % 10);
            format!("{name:<8} {count:>11} {p50:>9} {p99:>9} {p999:>9} {max:>12} {percent:>4}.{tenth} %")
        };
        std::iter::once(HEADER.to_owned()).chain(rows.map(row)).collect::<Vec<_>>().join("\n")
    }
}

fn open(journal_dir: &Path) -> Result<Reader, Failure> {
    Reader::open(journal_dir).map_err(|error| {
        let exit = match error {
            ReadError::NotRunning { .. } => Exit::Unavailable,
            ReadError::OtherVersion { .. } => Exit::OtherRelease,
            _ => Exit::Io,
        };
        Failure::new(exit, error.to_string())
    })
}
