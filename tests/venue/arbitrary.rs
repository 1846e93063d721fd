//! Arbitrary bytes where the venue's log and the captures are read: what can be read is, all else is refused.

use crate::log::{bytes_of, reopen};
use crate::matching::random_run;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::path::Path;
use tradecore::market_data::capture::CaptureReader;
use tradecore::venue::log::{log_path, read_log};

/// A place, and what is written over it.
type Stroke = (prop::sample::Index, Vec<u8>);

/// Random bytes, and some that mean something in JSON.
pub(crate) fn strokes() -> impl Strategy<Value = Vec<Stroke>> {
    let telling = [
        "{",
        "}",
        "[",
        "\"",
        ":",
        ",",
        "\n",
        "\\u0000",
        "-",
        "0",
        "9",
        "1e999",
        "null",
        "true",
        "18446744073709551615",
        "-9223372036854775808",
        "999999999999999999999",
        "0.000000001",
        "{\"",
        "}}\n{",
        "[[[[[[[[",
    ];
    let bytes = prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 1..20),
        3 => prop::sample::select(telling.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), bytes), 1..5)
}

/// The strokes over the text, each once in place of what stood there and once before it.
pub(crate) fn spoiled(text: &[u8], strokes: &[Stroke], is_inserted: bool) -> Vec<u8> {
    let mut text = text.to_vec();
    for (at, bytes) in strokes {
        let at = at.index(text.len());
        let end = if is_inserted { at } else { text.len().min(at + bytes.len()) };
        text.splice(at..end, bytes.iter().copied());
    }
    text
}

const CAPTURE: &str = r#"4 {"lastUpdateId":3,"bids":[["1","2"]],"asks":[]}
5 {"stream":"btcusdt@bookTicker","data":{"u":7,"s":"BTCUSDT","b":"1.50","B":"2","a":"1.6","A":"3"}}
6 {"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":9,"p":"1.5","q":"0.1","T":4,"m":true,"M":true}}
7 {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","b":[["1","2"]]}}
8 {"stream":"btcusdt@bookTicker","data":{"u":8,"s":"BTCUSDT","b":"1.51","B":"2","a":"1.6","A":"3"}}
"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Ticks of a capture up to its end or the first error; nothing comes after either.
fn ticks(path: &Path) -> usize {
    let Ok(mut reader) = CaptureReader::open(path) else { return 0 };
    let mut count = 0;
    while let Some(Ok(_)) = reader.next() {
        count += 1;
    }
    assert!(reader.next().is_none(), "a capture that has ended stays so");
    let counts = reader.counts();
    assert_eq!(counts.quotes + counts.trades, count, "{counts:?}");
    usize::try_from(count).unwrap()
}

proptest! {
    #[test]
    fn a_capture_with_arbitrary_bytes_is_read_up_to_them(
        strokes in strokes(), is_inserted: bool, is_packed: bool, is_spoiled_packed: bool,
    ) {
        let text = CAPTURE.as_bytes();
        let bytes = match (is_packed, is_spoiled_packed) {
            (true, true) => spoiled(&gzip(text), &strokes, is_inserted),
            (true, false) => gzip(&spoiled(text, &strokes, is_inserted)),
            (false, _) => spoiled(text, &strokes, is_inserted),
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture");
        fs::write(&path, bytes).unwrap();
        let count = ticks(&path);
        // What is inserted may end a line, and what follows may be one.
        prop_assert!(count <= 3 + 4 * strokes.len(), "{} ticks", count);
        let first = strokes.iter().map(|(at, _)| at.index(text.len())).min().unwrap();
        if !is_packed && strokes.len() == 1 {
            let whole = text[..first].split(|byte| *byte == b'\n').count() - 1;
            prop_assert!(count >= whole.saturating_sub(1).min(2), "{} ticks before byte {}", count, first);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_venue_log_with_arbitrary_bytes_is_replayed_or_refused_and_then_left_as_it_is(
        strokes in strokes(), is_inserted: bool, seed in 0_u64..4,
    ) {
        let bytes = spoiled(&bytes_of(&random_run(seed, 40).groups), &strokes, is_inserted);
        let dir = tempfile::tempdir().unwrap();
        let path = log_path(dir.path());
        fs::write(&path, &bytes).unwrap();
        let witnessed = read_log(&path);
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        match reopen(dir.path(), seed) {
            Ok((_, report)) => {
                prop_assert_eq!(report.groups, lines);
                prop_assert!(witnessed.is_ok(), "{:?}", witnessed.err());
            }
            Err(_) => prop_assert_eq!(fs::read(&path).unwrap(), bytes),
        }
    }
}
