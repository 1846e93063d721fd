//! What an append costs the loop, and how far the durable watermark lags, while the sync thread works: with
//! segments mapped on the disk, and with hot segments in memory.
//!
//! `cargo run --release -p tradecore-journal --example hot_segment -- <directory on the disk> [seconds]`
#![allow(clippy::print_stdout, clippy::expect_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tradecore_journal::{Config, Space, SyncPolicy, open};

const PAYLOAD_BYTES: usize = 200;
const GROUP_RECORDS: usize = 4;
/// Between groups: 4 records every 40 µs are 100,000 a second.
const GROUP_INTERVAL: Duration = Duration::from_micros(40);

fn percentile(sorted: &[u64], of_100_000: usize) -> u64 {
    sorted[(sorted.len() - 1) * of_100_000 / 100_000]
}

fn print(name: &str, mut ns: Vec<u64>) {
    ns.sort_unstable();
    let [p50, p99, p999, p9999] = [50_000, 99_000, 99_900, 99_990].map(|of| percentile(&ns, of));
    let max = ns[ns.len() - 1];
    println!(
        "  {name:<28} p50 {p50:>8} p99 {p99:>8} p99.9 {p999:>8} p99.99 {p9999:>8} max {max:>9} ns  n={}",
        ns.len()
    );
}

fn measure(name: &str, dir: PathBuf, hot_dir: Option<PathBuf>, sync: SyncPolicy, seconds: u64) {
    let config = Config { hot_dir, first_segment_bytes: 64 << 20, sync, ..Config::new(dir) };
    let mut opened = open(&config).expect("opens");
    let (mut append_ns, mut lag_ns) = (Vec::with_capacity(1 << 21), Vec::with_capacity(1 << 21));
    let mut in_flight = std::collections::VecDeque::with_capacity(1 << 16);
    let mut refused: u64 = 0;
    let start = Instant::now();
    let mut due = start;
    while start.elapsed() < Duration::from_secs(seconds) {
        let synced = opened.watermarks.synced();
        while let Some((seq, at)) = in_flight.front().copied()
            && seq <= synced
        {
            let at: Instant = at;
            lag_ns.push(at.elapsed().as_nanos() as u64);
            in_flight.pop_front();
        }
        if Instant::now() < due {
            std::hint::spin_loop();
            continue;
        }
        due += GROUP_INTERVAL;
        if !opened.writer.can_append(GROUP_RECORDS * 256, GROUP_RECORDS, Space::Normal) {
            refused += 1;
            continue;
        }
        let before = Instant::now();
        opened.writer.begin(1);
        for _ in 0..GROUP_RECORDS {
            opened.writer.append(64, 1, PAYLOAD_BYTES, |out| out.fill(0x5A));
        }
        let seq = opened.writer.commit();
        append_ns.push(before.elapsed().as_nanos() as u64);
        in_flight.push_back((seq, before));
    }
    println!("{name} (refused {refused} groups)");
    print("append of 4 records of 200 B", append_ns);
    print("until synced", lag_ns);
}

fn main() {
    let mut args = std::env::args().skip(1);
    let root = PathBuf::from(args.next().unwrap_or_else(|| "target/hot_segment".to_owned()));
    let seconds = args.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(5);
    let hot = Path::new("/dev/shm").join(format!("tradecore-hot-segment-{}", std::process::id()));
    let policies = [
        ("back to back", SyncPolicy { interval_min_ns: 0, idle_poll_ns: 20_000 }),
        ("at most every 1 ms", SyncPolicy { interval_min_ns: 1_000_000, idle_poll_ns: 20_000 }),
    ];
    for round in 1..=3 {
        for (nth, (policy_name, policy)) in policies.into_iter().enumerate() {
            let dir = root.join(format!("{round}-{nth}"));
            measure(&format!("mapped, {policy_name}, run {round}"), dir.join("mapped"), None, policy, seconds);
            measure(&format!("hot, {policy_name}, run {round}"), dir.join("hot"), Some(hot.clone()), policy, seconds);
            drop(std::fs::remove_dir_all(dir));
        }
    }
    drop(std::fs::remove_dir_all(hot));
}
