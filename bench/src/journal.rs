//! The journal alone: what an append costs, how long it takes until it is durable, and until a reader that follows has
//! it. With segments in memory, and with segments mapped on the disk, the design that was not chosen.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tradecore_journal::record::{HEADER_BYTES, stored_bytes};
use tradecore_journal::{Closer, Config, PAYLOAD_BYTES_MAX, SyncPolicy, Watermarks, Writer};
use tradecore_protocol::fields::Durability;

use crate::Failure;
use crate::append::{Bench, Costs, EVENT_BYTES};
use crate::bare_sync::{PAGE_BYTES, PlainFile, append_and_wait};
use crate::disk;
use crate::hiccup::Meter;
use crate::host;
use crate::outcome::Outcome;
use crate::scratch;
use crate::tail::{Lags, follow};
use crate::thousandths::Thousandths;
use crate::timing::{RoundTrips, median, print_run, round_trips};

/// Appends a second at most: the disk has to follow, or the journal would wait for it.
const RATE_MAX: u64 = 500_000;
/// Groups a second that a reader follows: it shares its CPU with the side threads, which should have little to do.
const TAIL_RATE: u64 = 20_000;
/// The syncs of a gateway in class `journaled`: the reader is not to wait for them more than it does there.
pub(crate) const CLASS_JOURNALED: SyncPolicy = tradecore::daemon::sync_policy(Durability::Journaled);

/// Where segments are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Segments {
    /// In memory, drained to the disk: as the daemon does it.
    Hot,
    /// In files on the disk that are mapped.
    Mapped,
}

impl Segments {
    /// What tells its figures from the promised ones.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Hot => "",
            Self::Mapped => "_mapped",
        }
    }

    fn named(self, name: &str) -> String {
        match self {
            Self::Hot => name.to_owned(),
            Self::Mapped => format!("{name}, mapped"),
        }
    }
}

/// How it is measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Lengths of payloads, bytes.
    #[arg(long = "payload", value_delimiter = ',', default_values_t = [64, EVENT_BYTES, 256, 1024])]
    pub(crate) payloads: Vec<usize>,
    /// Appends of each length in a round.
    #[arg(long, default_value_t = 200_000, value_parser = crate::at_least_one::<u64>)]
    pub(crate) appends: u64,
    /// What is appended, MiB/s: no more than the disk takes.
    #[arg(long, default_value_t = 80, value_parser = crate::at_least_one::<u64>)]
    pub(crate) mib_per_s: u64,
    /// Length of a segment, MiB: the shorter, the more roll-overs are in the figures.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) segment_mib: u64,
    /// Appends in a round whose way to the disk is waited for.
    #[arg(long, default_value_t = 300, value_parser = crate::at_least_one::<u64>)]
    pub(crate) syncs: u64,
    /// Groups in a round that a reader follows, at least: they come by the five thousand.
    #[arg(long, default_value_t = 20_000, value_parser = crate::at_least_one::<u64>)]
    pub(crate) followed: u64,
    /// Where segments are written, one after the other in each round.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Segments::Hot])]
    pub(crate) segments: Vec<Segments>,
    /// Rounds; each opens a journal anew.
    #[arg(long, default_value_t = 5, value_parser = crate::at_least_one::<usize>)]
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
            followed: 20_000,
            segments: vec![Segments::Hot],
            rounds: 5,
            dir: None,
        }
    }
}

/// One place for segments, over all rounds.
struct Kind {
    segments: Segments,
    payloads: Vec<Payload>,
    synced: Vec<RoundTrips>,
    bare: Vec<RoundTrips>,
    tails: Vec<Lags>,
}

/// One length of payload, over all rounds.
struct Payload {
    bytes: usize,
    segments: Segments,
    all: Costs,
    rounds: Vec<Costs>,
}

/// An open journal whose side threads have left the CPU of the caller.
pub(crate) struct Open {
    pub(crate) writer: Writer,
    pub(crate) watermarks: Arc<Watermarks>,
    pub(crate) closer: Closer,
}

/// Measures all of it, round by round.
pub(crate) fn measure(options: &Options) -> Result<Outcome, Failure> {
    fitting(options)?;
    let (_, disk) = disk::measured(options.dir.as_deref())?;
    println!("append with archive or copy, checksum and commit, sync on, {} MiB/s at most", options.mib_per_s);
    let mut kinds: Vec<Kind> = options.segments.iter().map(|segments| Kind::new(options, *segments)).collect();
    let meter = Meter::start()?;
    for _ in 0..options.rounds {
        kinds.iter_mut().try_for_each(|kind| kind.round(options))?;
    }
    let mut outcome = Outcome { hiccups: meter.stop()?, ..Outcome::default() };
    outcome.configure("disk", disk);
    outcome.configure("payloads", format!("{:?}", options.payloads));
    outcome.configure("appends", options.appends);
    outcome.configure("mib_per_s", options.mib_per_s);
    outcome.configure("segment_mib", options.segment_mib);
    outcome.configure("segments", format!("{:?}", options.segments));
    outcome.configure("followed", options.followed);
    outcome.configure("tail_rate", TAIL_RATE);
    outcome.configure("rounds", options.rounds);
    kinds.into_iter().try_for_each(|kind| kind.conclude(&mut outcome))?;
    Ok(outcome)
}

/// Refuses a payload that no record takes. A segment of 1 MiB takes the longest.
fn fitting(options: &Options) -> Result<(), Failure> {
    match options.payloads.iter().find(|bytes| !(1..=PAYLOAD_BYTES_MAX).contains(*bytes)) {
        None => Ok(()),
        Some(bytes) => Err(format!("--payload {bytes}: a record takes 1 to {PAYLOAD_BYTES_MAX} bytes").into()),
    }
}

impl Kind {
    fn new(options: &Options, segments: Segments) -> Self {
        let payload = |bytes: &usize| Payload { bytes: *bytes, segments, all: Costs::new(), rounds: Vec::new() };
        Self {
            segments,
            payloads: options.payloads.iter().map(payload).collect(),
            synced: Vec::new(),
            bare: Vec::new(),
            tails: Vec::new(),
        }
    }

    fn round(&mut self, options: &Options) -> Result<(), Failure> {
        self.payloads.iter_mut().try_for_each(|payload| payload.round(options))?;
        let (watermark, plain) = sync_round(options, self.segments)?;
        print_run(&self.segments.named("until durable"), &watermark);
        print_run("pwrite and fdatasync", &plain);
        self.synced.push(watermark);
        self.bare.push(plain);
        let lags = tail_round(options, self.segments)?;
        print_run(&self.segments.named("until read"), &lags.tail);
        print_run("from CPU to CPU", &lags.handoff);
        self.tails.push(lags);
        Ok(())
    }

    fn conclude(self, outcome: &mut Outcome) -> Result<(), Failure> {
        for payload in self.payloads {
            payload.conclude(outcome)?;
        }
        conclude_syncs(outcome, self.segments, self.synced, self.bare)?;
        conclude_tails(outcome, self.segments, &self.tails)
    }
}

impl Payload {
    fn round(&mut self, options: &Options) -> Result<(), Failure> {
        let stored = stored_bytes(HEADER_BYTES.saturating_add(self.bytes)) as u64;
        let rate = (options.mib_per_s << 20).checked_div(stored).unwrap_or(1).clamp(1, RATE_MAX);
        let (dir, mut costs) = (directory(options)?, Costs::new());
        host::apart(
            || open(options, self.segments, SyncPolicy::default(), dir.path()),
            |mut open| {
                let mut bench = Bench::new(&mut open.writer, dir.path(), self.bytes)?;
                bench.run(rate, options.appends, &mut costs)?;
                open.closer.seal(open.writer);
                Ok(())
            },
        )?;
        print_run(&self.segments.named(&format!("append {} bytes", self.bytes)), &costs.append);
        print_run("  copy and sum", &costs.copy);
        print_run("  write", &costs.write);
        self.all.add(&costs)?;
        self.rounds.push(costs);
        Ok(())
    }

    fn conclude(self, outcome: &mut Outcome) -> Result<(), Failure> {
        let (bytes, suffix) = (self.bytes, self.segments.suffix());
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
            // What interrupts all of them alike: where these are as long, the tail is the machine's.
            ("copy_p9999_ns", over_rounds(&|costs| costs.copy.value_at_quantile(0.9999))),
            ("clock_p9999_ns", over_rounds(&|costs| costs.clock.value_at_quantile(0.9999))),
            ("append_copy_p50_ratio", ratio(&|costs| costs.net(&costs.copy))),
            ("append_write_p50_ratio", ratio(&|costs| costs.net(&costs.write))),
        ];
        values.push(("append_waits", Thousandths::whole(self.all.waits)));
        for (id, value) in values {
            let id = format!("{id}{suffix}");
            println!("{bytes} bytes: {id} {value}");
            outcome.add_value(format!("{id}_at_{bytes}"), value);
            if bytes == EVENT_BYTES {
                outcome.add_value(id, value);
            }
        }
        let plot = format!("{bytes} bytes");
        let mut add = |name: &str, times| {
            outcome.add_series(&plot, self.segments.named(&format!("{name} {bytes} bytes")), times);
        };
        add("append", self.all.append);
        add("copy and sum", self.all.copy);
        add("write", self.all.write);
        add("clock beside", self.all.clock);
        Ok(())
    }
}

fn sync_round(options: &Options, segments: Segments) -> Result<(RoundTrips, RoundTrips), Failure> {
    let dir = directory(options)?;
    let (mut watermark, mut plain) = (round_trips(), round_trips());
    host::apart(
        || open(options, segments, SyncPolicy::default(), dir.path()),
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

fn tail_round(options: &Options, segments: Segments) -> Result<Lags, Failure> {
    let dir = directory(options)?;
    let mut lags = Lags::new();
    host::apart(
        || open(options, segments, CLASS_JOURNALED, dir.path()),
        |mut open| {
            follow(&dir.path().join("journal"), &mut open.writer, TAIL_RATE, options.followed, &mut lags)?;
            open.closer.seal(open.writer);
            Ok(())
        },
    )?;
    Ok(lags)
}

fn conclude_tails(outcome: &mut Outcome, segments: Segments, rounds: &[Lags]) -> Result<(), Failure> {
    let suffix = segments.suffix();
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        let of = |times: fn(&Lags) -> &RoundTrips| {
            let values = rounds.iter().map(|lags| times(lags).value_at_quantile(quantile)).collect();
            Thousandths::whole(median(values))
        };
        let (tail, handoff) = (of(|lags| &lags.tail), of(|lags| &lags.handoff));
        println!("{}, {name}: {tail} ns; a number from CPU to CPU {handoff} ns", segments.named("until read"));
        outcome.add_value(format!("tail_lag_{name}_ns{suffix}"), tail);
        outcome.add_value(format!("handoff_{name}_ns{suffix}"), handoff);
    }
    let mut all = Lags::new();
    for lags in rounds {
        all.add(lags)?;
    }
    outcome.add_series("until read", segments.named("until read"), all.tail);
    outcome.add_series("until read", segments.named("from CPU to CPU"), all.handoff);
    Ok(())
}

fn conclude_syncs(
    outcome: &mut Outcome,
    segments: Segments,
    synced: Vec<RoundTrips>,
    bare: Vec<RoundTrips>,
) -> Result<(), Failure> {
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let at = |times: &RoundTrips| times.value_at_quantile(quantile);
        let ratios = synced.iter().zip(&bare).map(|(synced, bare)| Thousandths::ratio(at(synced), at(bare)));
        if let Some(ratio) = Thousandths::median(ratios.collect()) {
            let what = segments.named("until durable");
            println!("{what}, {name}: {ratio} × pwrite and fdatasync");
            outcome.add_value(format!("durable_{name}_ratio{}", segments.suffix()), ratio);
        }
    }
    for (name, rounds) in [("until durable", synced), ("pwrite and fdatasync", bare)] {
        let mut all = round_trips();
        for times in rounds {
            all.add(times)?;
        }
        outcome.add_series("until durable", segments.named(name), all);
    }
    Ok(())
}

fn directory(options: &Options) -> Result<tempfile::TempDir, Failure> {
    Ok(options.dir.as_deref().map_or_else(scratch::dir, scratch::dir_in)?)
}

/// As the daemon opens its own, but for the segments' length.
pub(crate) fn open(options: &Options, segments: Segments, sync: SyncPolicy, dir: &Path) -> Result<Open, Failure> {
    let hot = Path::new("/dev/shm");
    if segments == Segments::Hot && !hot.is_dir() {
        return Err("there is no /dev/shm for hot segments; measure --segments mapped".into());
    }
    let opened = tradecore_journal::open(&Config {
        hot_dir: (segments == Segments::Hot).then(|| hot.to_owned()),
        sync,
        first_segment_bytes: options.segment_mib << 20,
        max_segment_bytes: options.segment_mib << 20,
        ..Config::new(dir.join("journal"))
    })?;
    let (writer, _, watermarks, closer) = opened.into_parts();
    Ok(Open { writer, watermarks, closer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_no_record_takes_is_refused_with_what_is_allowed() {
        let of = |payloads: &[usize]| {
            fitting(&Options { payloads: payloads.to_vec(), ..Options::default() }).map_err(|error| error.to_string())
        };
        assert_eq!(of(&[1, 128, PAYLOAD_BYTES_MAX]), Ok(()));
        assert_eq!(of(&[128, 8_161]), Err("--payload 8161: a record takes 1 to 8160 bytes".to_owned()));
        assert!(of(&[0]).is_err());
    }

    #[test]
    fn the_longest_payload_that_is_allowed_is_appended() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_mib: 1, ..Options::default() };
        let mut open = open(&options, Segments::Mapped, SyncPolicy::default(), dir.path()).unwrap();
        let bytes = PAYLOAD_BYTES_MAX;
        let stored = stored_bytes(HEADER_BYTES + bytes);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        for _ in 0..3 {
            while !open.writer.can_append(stored, 1, tradecore_journal::Space::Normal) {
                assert!(std::time::Instant::now() < deadline, "no segment takes it");
                std::thread::yield_now();
            }
            open.writer.begin(1);
            open.writer.append(64, 1, bytes, |out| out.fill(7));
            open.writer.commit();
        }
        open.closer.seal(open.writer);
    }
}
