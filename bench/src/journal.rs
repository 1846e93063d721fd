//! The journal alone: what an append costs, and how long it takes until it is durable.

use std::path::PathBuf;
use std::sync::Arc;

use tradecore_journal::record::{HEADER_BYTES, stored_bytes};
use tradecore_journal::{Closer, Config, Watermarks, Writer};

use crate::Failure;
use crate::append::{Bench, Costs, EVENT_BYTES};
use crate::bare_sync::{PAGE_BYTES, PlainFile, append_and_wait};
use crate::hiccup::Meter;
use crate::host;
use crate::outcome::Outcome;
use crate::thousandths::Thousandths;
use crate::timing::{RoundTrips, median, print_run, round_trips};

/// Appends a second at most: the disk has to follow, or the journal would wait for it.
const RATE_MAX: u64 = 500_000;

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Lengths of payloads, bytes.
    #[arg(long = "payload", value_delimiter = ',', default_values_t = [64, EVENT_BYTES, 256, 1024])]
    pub(crate) payloads: Vec<usize>,
    /// Appends of each length in a round.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) appends: u64,
    /// What is appended, MiB/s: no more than the disk takes.
    #[arg(long, default_value_t = 80)]
    pub(crate) mib_per_s: u64,
    /// Length of a segment, MiB: the shorter, the more roll-overs are in the figures.
    #[arg(long, default_value_t = 8)]
    pub(crate) segment_mib: u64,
    /// Appends in a round whose way to the disk is waited for.
    #[arg(long, default_value_t = 300)]
    pub(crate) syncs: u64,
    /// Rounds; each opens a journal anew.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Where the journal lies: the disk that is measured.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            payloads: vec![EVENT_BYTES],
            appends: 200_000,
            mib_per_s: 80,
            segment_mib: 8,
            syncs: 300,
            rounds: 5,
            dir: None,
        }
    }
}

/// One length of payload, over all rounds.
struct Payload {
    bytes: usize,
    all: Costs,
    rounds: Vec<Costs>,
}

/// An open journal whose side threads have left the CPU of the caller.
struct Open {
    writer: Writer,
    watermarks: Arc<Watermarks>,
    closer: Closer,
}

/// Measures both, round by round.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    println!("append with archive or copy, checksum and commit, sync on, {} MiB/s at most", options.mib_per_s);
    let mut payloads: Vec<Payload> =
        options.payloads.iter().map(|bytes| Payload { bytes: *bytes, all: Costs::new(), rounds: Vec::new() }).collect();
    let (mut synced, mut bare) = (Vec::new(), Vec::new());
    let meter = Meter::start()?;
    for _ in 0..options.rounds {
        for payload in &mut payloads {
            payload.round(options)?;
        }
        let (watermark, plain) = sync_round(options)?;
        print_run("until durable", &watermark);
        print_run("pwrite and fdatasync", &plain);
        synced.push(watermark);
        bare.push(plain);
    }
    let mut outcome = Outcome { hiccups: meter.stop()?, ..Outcome::default() };
    outcome.configure("payloads", format!("{:?}", options.payloads));
    outcome.configure("appends", options.appends);
    outcome.configure("mib_per_s", options.mib_per_s);
    outcome.configure("segment_mib", options.segment_mib);
    outcome.configure("rounds", options.rounds);
    for payload in payloads {
        payload.conclude(&mut outcome)?;
    }
    conclude_syncs(&mut outcome, synced, bare)?;
    Ok(outcome)
}

impl Payload {
    fn round(&mut self, options: &Options) -> Result<(), Failure> {
        let stored = stored_bytes(HEADER_BYTES.saturating_add(self.bytes)) as u64;
        let rate = (options.mib_per_s << 20).checked_div(stored).unwrap_or(1).clamp(1, RATE_MAX);
        let (dir, mut costs) = (directory(options)?, Costs::new());
        host::apart(
            || open(options, dir.path()),
            |mut open| {
                let mut bench = Bench::new(&mut open.writer, dir.path(), self.bytes)?;
                bench.run(rate, options.appends, &mut costs)?;
                open.closer.seal(open.writer);
                Ok(())
            },
        )?;
        print_run(&format!("append {} bytes", self.bytes), &costs.append);
        print_run("  copy and sum", &costs.copy);
        print_run("  write", &costs.write);
        self.all.add(&costs)?;
        self.rounds.push(costs);
        Ok(())
    }

    fn conclude(self, outcome: &mut Outcome) -> Result<(), Failure> {
        let bytes = self.bytes;
        let over_rounds =
            |of: &dyn Fn(&Costs) -> u64| Thousandths::whole(median(self.rounds.iter().map(of).collect::<Vec<_>>()));
        let ratio = |baseline: &dyn Fn(&Costs) -> u64| {
            let ratios = self.rounds.iter().map(|costs| Thousandths::ratio(costs.net(&costs.append), baseline(costs)));
            Thousandths::median(ratios.collect()).unwrap_or(Thousandths(u64::MAX))
        };
        let mut values = vec![
            ("clock_p50_ns", over_rounds(&|costs| costs.clock.value_at_quantile(0.5))),
            ("append_p50_ns", over_rounds(&|costs| costs.net(&costs.append))),
            ("append_p99_ns", over_rounds(&|costs| costs.append.value_at_quantile(0.99))),
            ("append_p999_ns", over_rounds(&|costs| costs.append.value_at_quantile(0.999))),
            ("append_p9999_ns", over_rounds(&|costs| costs.append.value_at_quantile(0.9999))),
            ("append_copy_p50_ratio", ratio(&|costs| costs.net(&costs.copy))),
            ("append_write_p50_ratio", ratio(&|costs| costs.net(&costs.write))),
        ];
        values.push(("append_waits", Thousandths::whole(self.all.waits)));
        for (id, value) in values {
            println!("{bytes} bytes: {id} {value}");
            outcome.add_value(format!("{id}_at_{bytes}"), value);
            if bytes == EVENT_BYTES {
                outcome.add_value(id, value);
            }
        }
        let plot = format!("{bytes} bytes");
        outcome.add_series(&plot, format!("append {bytes} bytes"), self.all.append);
        outcome.add_series(&plot, format!("copy and sum {bytes} bytes"), self.all.copy);
        outcome.add_series(&plot, format!("write {bytes} bytes"), self.all.write);
        outcome.add_series(&plot, format!("clock beside {bytes} bytes"), self.all.clock);
        Ok(())
    }
}

fn sync_round(options: &Options) -> Result<(RoundTrips, RoundTrips), Failure> {
    let dir = directory(options)?;
    let (mut watermark, mut plain) = (round_trips(), round_trips());
    host::apart(
        || open(options, dir.path()),
        |mut open| {
            let mut file = PlainFile::create(dir.path(), PAGE_BYTES)?;
            for _ in 0..options.syncs {
                append_and_wait(&mut open.writer, &open.watermarks, &mut watermark)?;
                file.write_and_sync(&mut plain)?;
            }
            open.closer.seal(open.writer);
            Ok(())
        },
    )?;
    Ok((watermark, plain))
}

fn conclude_syncs(outcome: &mut Outcome, synced: Vec<RoundTrips>, bare: Vec<RoundTrips>) -> Result<(), Failure> {
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let at = |times: &RoundTrips| times.value_at_quantile(quantile);
        let ratios = synced.iter().zip(&bare).map(|(synced, bare)| Thousandths::ratio(at(synced), at(bare)));
        if let Some(ratio) = Thousandths::median(ratios.collect()) {
            println!("until durable, {name}: {ratio} × pwrite and fdatasync");
            outcome.add_value(format!("durable_{name}_ratio"), ratio);
        }
    }
    for (name, rounds) in [("until durable", synced), ("pwrite and fdatasync", bare)] {
        let mut all = round_trips();
        for times in rounds {
            all.add(times)?;
        }
        outcome.add_series("until durable", name, all);
    }
    Ok(())
}

fn directory(options: &Options) -> Result<tempfile::TempDir, Failure> {
    Ok(options.dir.as_ref().map_or_else(tempfile::tempdir, tempfile::tempdir_in)?)
}

/// As the daemon opens its own, but for the segments' length.
fn open(options: &Options, dir: &std::path::Path) -> Result<Open, Failure> {
    let hot = std::path::Path::new("/dev/shm");
    let opened = tradecore_journal::open(&Config {
        hot_dir: hot.is_dir().then(|| hot.to_owned()),
        first_segment_bytes: options.segment_mib << 20,
        max_segment_bytes: options.segment_mib << 20,
        ..Config::new(dir.join("journal"))
    })?;
    let (writer, _, watermarks, closer) = opened.into_parts();
    Ok(Open { writer, watermarks, closer })
}
