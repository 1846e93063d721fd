//! The trimmed captures, read, paced and validated.

use std::path::PathBuf;
use tradecore::market_data::capture::{CaptureCounts, CaptureReader};
use tradecore::market_data::player::{CaptureSource, Pace, Player};
use tradecore::market_data::validate::{TickLimits, TickValidator};

pub(crate) fn capture_path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", name].iter().collect()
}

#[test]
fn the_trimmed_captures_hold_every_quote_and_trade() {
    let cases = [("btcusdt.gz", 28_040, 9_757), ("ethusdt.gz", 24_077, 6_106)];
    for (name, quotes, trades) in cases {
        let mut reader = CaptureReader::open(&capture_path(name)).unwrap();
        let ticks = reader.by_ref().map(Result::unwrap).count() as u64;
        let expected = CaptureCounts { lines: quotes + trades, quotes, trades, ..CaptureCounts::default() };
        assert_eq!((reader.counts(), ticks), (expected, quotes + trades), "{name}");
    }
}

#[test]
fn a_capture_played_for_ever_stays_one_valid_rising_stream() {
    let paths = vec![capture_path("btcusdt.gz"), capture_path("ethusdt.gz")];
    let mut player = Player::new(CaptureSource::new(paths, true), Pace::AsFast);
    let mut validator = TickValidator::new(TickLimits::default());
    let mut last_ns = 0;
    // Two and a half laps.
    for n in 0..170_000 {
        let tick = player.pop(0).unwrap().unwrap();
        assert!(tick.recv_ns >= last_ns, "tick {n}");
        last_ns = tick.recv_ns;
        assert_eq!(validator.check(tick.recv_ns, &tick), Ok(()), "tick {n}: {tick:?}");
    }
}

#[test]
fn a_capture_played_once_ends() {
    let mut source = CaptureSource::new(vec![capture_path("ethusdt.gz")], false);
    assert_eq!(source.by_ref().map(Result::unwrap).count(), 30_183);
    assert!(source.next().is_none());
}
