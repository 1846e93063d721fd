//! The files as specified: the tables of `FORMAT.md`, a golden journal of format 1, every bit of a segment.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tradecore_journal::record::{self, RecordHeader};
use tradecore_journal::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use tradecore_journal::{Config, Flaw, Reader, Until, open, verify};

fn crate_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn table(fields: &[(usize, usize, &str, &str)]) -> String {
    let mut out = String::from("| offset | bytes | field | meaning |\n|---|---|---|---|\n");
    for (offset, bytes, name, meaning) in fields {
        let name = if name.is_empty() { String::new() } else { format!("`{name}`") };
        out.push_str(&format!("| {offset} | {bytes} | {name} | {meaning} |\n"));
    }
    out
}

#[test]
fn the_layout_tables_are_those_of_the_code() {
    let path = crate_dir().join("FORMAT.md");
    let text = fs::read_to_string(&path).expect("FORMAT.md");
    let mut wanted = text.clone();
    for (name, fields) in [("segment header", segment::FIELDS), ("record header", record::FIELDS)] {
        let end_of_last = fields.iter().fold(0, |at, (offset, bytes, ..)| {
            assert_eq!(*offset, at, "{name}: the fields lie side by side");
            at + bytes
        });
        assert!(end_of_last == SEGMENT_HEADER_BYTES || end_of_last == record::HEADER_BYTES);
        let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        let from = wanted.find(&open).expect("the table's mark") + open.len();
        let to = wanted.find(&close).expect("the table's end");
        wanted.replace_range(from..to, &table(fields));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, wanted).expect("written");
    } else {
        assert!(text == wanted, "FORMAT.md is behind the code: run with UPDATE_DOCS=1");
    }
}

/// A file of slots made from the specification: an older number in one, this one in the other.
fn slots(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    for (turn, value) in [(4_u64, number.saturating_sub(1)), (5, number)] {
        let at = (turn % 2) as usize * 512;
        bytes[at..at + 8].copy_from_slice(&turn.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&value.to_le_bytes());
        let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes[at..at + 16]);
        bytes[at + 16..at + 24].copy_from_slice(&u64::from(sum).to_le_bytes());
    }
    bytes
}

/// The golden segment with the files that stand beside one.
fn golden_journal() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    let files = [("0000000001.jnl", golden()), ("durable", slots(3)), ("epoch", slots(9))];
    files.iter().for_each(|(name, bytes)| fs::write(root.path().join(name), bytes).expect("written"));
    root
}

/// A journal of 8 KiB made without the writer, from the specification: three records in two groups, a seal.
fn golden() -> Vec<u8> {
    let header = SegmentHeader {
        format: 1,
        core: 3,
        epoch: 9,
        segno: 1,
        segment_bytes: 8192,
        salt: 0x0102_0304_0506_0708,
        created_ns: 1_700_000_000_000_000_000,
        environment: 3,
    };
    let mut bytes = header.to_bytes().to_vec();
    let records = [
        (1_u64, 64_u16, record::FLAG_MORE, b"first of two".as_slice(), 1_u32),
        (2, 65, 0, b"second of two, longer than a row of 32".as_slice(), 2),
        (3, 70, 0, b"".as_slice(), 0),
        (0, record::KIND_SEAL, 0, b"".as_slice(), 0),
    ];
    for (seq, kind, flags, payload, durable_lag) in records {
        let mut header = RecordHeader {
            len: (record::HEADER_BYTES + payload.len()) as u32,
            crc: 0,
            seq,
            ts_ns: 1_700_000_000_000_000_001 + seq / 3,
            kind,
            version: 1,
            flags,
            durable_lag,
        };
        let behind: Vec<u8> = header.to_bytes()[8..].iter().chain(payload).copied().collect();
        let mut covered = 0x0102_0304_0506_0708_u64.to_le_bytes().to_vec();
        covered.extend_from_slice(&header.len.to_le_bytes());
        covered.extend_from_slice(&behind);
        header.crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&covered);
        bytes.extend_from_slice(&header.to_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
    }
    bytes.resize(8192, 0);
    bytes
}

fn golden_path() -> PathBuf {
    crate_dir().join("golden/v1/0000000001.jnl")
}

#[test]
fn the_golden_journal_of_format_1_stays_readable() {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(golden_path().parent().expect("a folder")).expect("made");
        fs::write(golden_path(), golden()).expect("written");
    }
    assert_eq!(fs::read(golden_path()).expect("the golden file"), golden(), "the specification has moved");
    let dir = golden_path().parent().expect("a folder").to_owned();
    let mut reader = Reader::open(&dir, 1, Until::Journaled).expect("readable");
    let mut seen = Vec::new();
    reader
        .for_each(|r| seen.push((r.seq, r.kind, r.version, r.segment, r.offset, r.payload.to_vec())))
        .expect("undamaged");
    assert_eq!(
        seen,
        [
            (1, 64, 1, 1, 4096, b"first of two".to_vec()),
            (2, 65, 1, 1, 4160, b"second of two, longer than a row of 32".to_vec()),
            (3, 70, 1, 1, 4256, Vec::new()),
        ]
    );
    let report = verify(golden_journal().path()).expect("readable");
    assert_eq!((report.groups, report.records, report.last_seq, report.is_sealed), (2, 3, 3, true));
    assert_eq!(report.durable_seq, 3);
    assert_eq!(report.finding, None);
}

#[test]
fn every_flipped_bit_of_a_sealed_segment_is_found() {
    let root = golden_journal();
    let path = root.path().join("0000000001.jnl");
    let whole = golden();
    assert_eq!(verify(root.path()).expect("readable").finding, None);
    let file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
    for bit in 0..whole.len() * 8 {
        use std::os::unix::fs::FileExt;
        let (at, mask) = (bit / 8, 1_u8 << (bit % 8));
        file.write_all_at(&[whole[at] ^ mask], at as u64).expect("written");
        let finding = verify(root.path()).expect("readable").finding;
        let finding = finding.unwrap_or_else(|| panic!("byte {at}, mask {mask:#04x}: not found"));
        assert_eq!(finding.flaw == Flaw::Header, at < SEGMENT_HEADER_BYTES, "byte {at}: {finding:?}");
        file.write_all_at(&[whole[at]], at as u64).expect("written");
    }
}

/// The records that a reader finds from the first on, up to what it refuses.
fn records(dir: &Path) -> Vec<(u64, u16, Vec<u8>)> {
    let mut seen = Vec::new();
    if let Ok(mut reader) = Reader::open(dir, 1, Until::Journaled) {
        // What is damaged ends it: what was read before counts.
        drop(reader.for_each(|record| seen.push((record.seq, record.kind, record.payload.to_vec()))));
    }
    seen
}

/// Where bytes are put, and which: also a row of the segment itself, which is right but for its place.
fn strokes() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    let at = prop_oneof![1 => 0_usize..4096, 4 => 4096_usize..4320, 1 => 4320_usize..8192];
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..300),
        (128_usize..136, 1_usize..5).prop_map(|(row, rows)| golden()[32 * row..][..32 * rows].to_vec()),
    ];
    proptest::collection::vec((at, any::<bool>(), bytes), 1..4).prop_map(|strokes| {
        strokes.into_iter().map(|(at, is_row, bytes)| (if is_row { at / 32 * 32 } else { at }, bytes)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn of_a_segment_with_arbitrary_bytes_no_more_is_read_than_a_whole_prefix_of_what_was_written(
        strokes in strokes(), durable in 0_u64..4, len in prop_oneof![3 => Just(8192_usize), 1 => 0_usize..8192],
    ) {
        let root = golden_journal();
        let written = records(root.path());
        let mut bytes = golden();
        for (at, stroke) in &strokes {
            let end = bytes.len().min(at + stroke.len());
            bytes[*at..end].copy_from_slice(&stroke[..end - at]);
        }
        bytes.truncate(len);
        let is_changed = bytes != golden();
        let path = root.path().join("0000000001.jnl");
        fs::write(&path, &bytes).expect("written");
        fs::write(root.path().join("durable"), slots(durable)).expect("written");

        let read = records(root.path());
        prop_assert!(written.starts_with(&read) && read.len() != 1, "{:?}", read);
        let report = verify(root.path()).expect("readable");
        prop_assert!(report.finding.is_some() || report.last_seq == read.len() as u64, "{:?}", report);
        prop_assert!(report.finding.is_some() || report.last_seq >= durable, "{:?}", report);
        let config = Config {
            core: 3,
            environment: 3,
            first_segment_bytes: 64 << 10,
            max_segment_bytes: 64 << 10,
            reserve_bytes: 4 << 10,
            ..Config::new(root.path())
        };
        match open(&config) {
            Ok(opened) => {
                let kept = opened.report.last_seq;
                prop_assert!(kept >= durable && kept != 1, "{:?}", opened.report);
                prop_assert_eq!(records(root.path()), &written[..kept as usize]);
            }
            Err(_) => {
                prop_assert!(is_changed);
                prop_assert_eq!(fs::read(&path).expect("there"), bytes, "what is refused is left as it is");
            }
        }
    }
}

#[test]
fn what_the_files_beside_the_segments_say_and_the_segments_do_not_hold_is_found() {
    let check = |name: &str, bytes: Option<Vec<u8>>, expected: Option<(&str, u64, u64, Flaw)>| {
        let root = golden_journal();
        let path = root.path().join(name);
        match &bytes {
            Some(bytes) => fs::write(&path, bytes).expect("written"),
            None => fs::remove_file(&path).expect("removed"),
        }
        let finding = verify(root.path()).expect("readable").finding;
        let found = finding.as_ref().map(|found| {
            let name = found.segment.file_name().and_then(|name| name.to_str()).expect("a name");
            (name, found.offset, found.next_seq, found.flaw)
        });
        assert_eq!(found, expected, "{name}");
    };
    // The last record ends at 4,288.
    check("durable", Some(slots(4)), Some(("0000000001.jnl", 4288, 4, Flaw::Lost)));
    check("durable", Some(slots(2)), None);
    check("0000000001.jnl", None, Some(("0000000001.jnl", 0, 1, Flaw::Lost)));
    for name in ["durable", "epoch"] {
        check(name, None, Some((name, 0, 0, Flaw::Number)));
        check(name, Some(vec![0; 1024]), Some((name, 0, 0, Flaw::Number)));
        check(name, Some(Vec::new()), Some((name, 0, 0, Flaw::Number)));
    }
    // A tail behind an end that was durable is no torn one.
    let mut torn = golden();
    torn[4256..].fill(0);
    torn[5000] = 1;
    check("0000000001.jnl", Some(torn), Some(("0000000001.jnl", 4256, 3, Flaw::Lost)));
}
