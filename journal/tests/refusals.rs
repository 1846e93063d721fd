//! What refuses a start or fails a check: it is named as what it is, and nothing is touched.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tradecore_journal::{Config, Damage, Flaw, OpenError, ReadError, Space, Writer, open, stat, verify, writer_pid};

fn config(root: &tempfile::TempDir) -> Config {
    Config {
        first_segment_bytes: 64 << 10,
        max_segment_bytes: 64 << 10,
        reserve_bytes: 4 << 10,
        ..Config::new(root.path().join("journal"))
    }
}

fn append(writer: &mut Writer, kind: u16) {
    let since = Instant::now();
    while !writer.can_append(256, 1, Space::Normal) {
        assert!(since.elapsed() < Duration::from_secs(30), "no segment comes");
        std::thread::yield_now();
    }
    writer.begin(1);
    writer.append(kind, 1, 128, |out| out.fill(7));
    writer.commit();
}

/// A journal of three starts, each with a segment of three events and a clean stop.
fn three_segments(root: &tempfile::TempDir) -> PathBuf {
    let config = config(root);
    for _ in 0..3 {
        let (mut writer, _, _, closer) = open(&config).expect("opens").into_parts();
        [64, 70, 64].iter().for_each(|kind| append(&mut writer, *kind));
        closer.seal(writer);
    }
    config.dir
}

fn segment(dir: &Path, segno: u64) -> PathBuf {
    dir.join(format!("{segno:010}.jnl"))
}

/// Every file of a journal but the lock, which names who had it last.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry").path());
    let files = paths.filter(|path| path.is_file() && !path.ends_with("LOCK"));
    files.map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect()
}

#[test]
fn an_event_of_a_newer_release_refuses_the_start_and_nothing_is_touched() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = three_segments(&root);
    let before = content(&dir);
    let older = Config { is_known: |kind, version| kind != 70 && version == 1, ..config(&root) };
    match open(&older) {
        Err(OpenError::EventTooNew { segment: named, seq: 2, kind: 70, version: 1 }) => {
            assert_eq!(named, segment(&dir, 1));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(content(&dir), before);
    open(&config(&root)).expect("the newer release opens it");
}

#[test]
fn a_truncated_segment_is_named_with_both_lengths_by_all_who_read_it() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = three_segments(&root);
    for (segno, length) in [(1, 4096), (2, 40_000), (3, 65_535), (3, 70_000)] {
        let path = segment(&dir, segno);
        let whole = std::fs::read(&path).expect("readable");
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opens");
        file.set_len(length).expect("set");
        let before = content(&dir);
        match open(&config(&root)) {
            Err(OpenError::Damaged(Damage::Length { segment, header_bytes: 65_536, file_bytes })) => {
                assert_eq!((segment, file_bytes), (path.clone(), length));
            }
            other => panic!("{other:?}"),
        }
        let finding = verify(&dir).expect("readable").finding.expect("found");
        assert_eq!((finding.segment, finding.offset, finding.flaw), (path.clone(), length, Flaw::Length(65_536)));
        match stat(&dir) {
            Err(ReadError::Truncated { path: named, header_bytes: 65_536, file_bytes }) => {
                assert_eq!((named, file_bytes), (path.clone(), length));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(content(&dir), before);
        std::fs::write(&path, whole).expect("written");
    }
}

#[test]
fn a_segment_that_is_missing_between_others_is_named_and_not_the_one_before_it() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = three_segments(&root);
    std::fs::remove_file(segment(&dir, 2)).expect("removed");
    let before = content(&dir);
    match open(&config(&root)) {
        Err(OpenError::Damaged(Damage::Segment { segment: named })) => assert_eq!(named, segment(&dir, 2)),
        other => panic!("{other:?}"),
    }
    assert_eq!(content(&dir), before);
}

#[test]
fn a_newer_format_is_told_from_a_damaged_header() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = three_segments(&root);
    let mut bytes = std::fs::read(segment(&dir, 2)).expect("readable");
    bytes[8..10].copy_from_slice(&2_u16.to_le_bytes());
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes[..56]);
    bytes[56..60].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(segment(&dir, 2), &bytes).expect("written");
    let before = content(&dir);
    assert!(matches!(open(&config(&root)), Err(OpenError::FormatTooNew { format: 2, .. })));
    let finding = verify(&dir).expect("readable").finding.expect("found");
    assert_eq!((finding.segment, finding.flaw), (segment(&dir, 2), Flaw::TooNew(2)));
    assert!(matches!(stat(&dir), Err(ReadError::FormatTooNew { format: 2, .. })));
    assert_eq!(content(&dir), before);
}

#[test]
fn what_was_synced_is_told_from_the_file_that_survives_power_loss() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = three_segments(&root);
    std::fs::write(dir.join("watermarks"), [0xFF; 4096]).expect("written");
    assert_eq!(stat(&dir).expect("whole").synced_seq, 9);
}

#[test]
fn a_start_tells_of_its_progress_for_every_segment() {
    static STEPS: AtomicU32 = AtomicU32::new(0);
    let root = tempfile::tempdir().expect("a directory");
    three_segments(&root);
    let told = Config { on_progress: || _ = STEPS.fetch_add(1, Ordering::Relaxed), ..config(&root) };
    open(&told).expect("opens");
    assert!(STEPS.load(Ordering::Relaxed) >= 3, "{STEPS:?}");
}

#[test]
fn why_no_segment_can_be_kept_ahead_is_told_once_with_its_directory_and_so_is_its_end() {
    static TOLD: Mutex<Vec<Option<String>>> = Mutex::new(Vec::new());
    // The writer takes in what is ready when it needs more than it has: so another is made.
    let wait = |writer: &mut Writer, count: usize| {
        let since = Instant::now();
        while TOLD.lock().expect("whole").len() < count {
            assert!(since.elapsed() < Duration::from_secs(30), "not told");
            writer.can_append(writer.room(), 1, Space::Normal);
            std::thread::yield_now();
        }
    };
    let root = tempfile::tempdir().expect("a directory");
    let hot = root.path().join("hot");
    let config = Config {
        hot_dir: Some(hot.clone()),
        on_prepare: |error| TOLD.lock().expect("whole").push(error.map(ToString::to_string)),
        ..config(&root)
    };
    let mut opened = open(&config).expect("opens");
    // In the place of the third segment's copy in memory.
    let mut own = std::fs::read_dir(&hot).expect("readable").map(|entry| entry.expect("an entry").path());
    let obstacle = own.next().expect("the journal's own").join("0000000003.partial");
    std::fs::create_dir(&obstacle).expect("made");
    wait(&mut opened.writer, 1);
    std::fs::remove_dir(&obstacle).expect("removed");
    wait(&mut opened.writer, 2);
    let told = TOLD.lock().expect("whole").clone();
    let [Some(reason), None] = told.as_slice() else { panic!("{told:?}") };
    assert!(reason.starts_with(&format!("{}: ", obstacle.with_extension("hot").display())), "{reason}");
}

#[test]
fn who_asks_all_the_time_who_writes_keeps_no_writer_out() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = three_segments(&root);
    let is_done = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Acquire) {
                writer_pid(&dir).expect("told");
            }
        });
        let starts = (0..40).map(|_| {
            open(&config(&root)).map(|opened| {
                let (writer, _, _, closer) = opened.into_parts();
                closer.seal(writer);
            })
        });
        let refused: Vec<_> = starts.filter_map(Result::err).collect();
        is_done.store(true, Ordering::Release);
        refused
    });
    assert!(refused.is_empty(), "{refused:?}");
}
