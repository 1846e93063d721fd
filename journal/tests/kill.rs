//! A writer that is killed, again and again, under the eyes of a tailer in another process.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tradecore_journal::{Config, Reader, Space, Until, open, verify};

const DIR: &str = "JOURNAL_KILL_TEST_DIR";
const HOT: &str = "JOURNAL_KILL_TEST_HOT";

fn config(dir: &Path, hot: Option<&Path>) -> Config {
    Config {
        hot_dir: hot.map(Path::to_owned),
        first_segment_bytes: 64 << 10,
        max_segment_bytes: 256 << 10,
        reserve_bytes: 4 << 10,
        ..Config::new(dir)
    }
}

fn payload(seq: u64) -> Vec<u8> {
    (0..16 + seq % 300).map(|nth| (seq * 7 + nth) as u8).collect()
}

/// Not a test of its own: what the child runs, until it is killed.
#[test]
fn child_writer() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let hot = std::env::var_os(HOT);
    let mut opened = open(&config(Path::new(&dir), hot.as_deref().map(Path::new))).expect("opens");
    // For ever, but for a parent that is gone.
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        let records = opened.writer.last_seq() % 4 + 1;
        if !opened.writer.can_append(records as usize * 352, records as usize, Space::Normal) {
            std::thread::yield_now();
            continue;
        }
        opened.writer.begin(opened.writer.last_seq());
        for _ in 0..records {
            let bytes = payload(opened.writer.last_seq() + 1);
            opened.writer.append(64, 1, bytes.len(), |out| out.copy_from_slice(&bytes));
        }
        opened.writer.commit();
    }
}

fn spawn(dir: &Path, hot: Option<&Path>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "child_writer", "--test-threads=1"]).env(DIR, dir).stdout(Stdio::null());
    if let Some(hot) = hot {
        command.env(HOT, hot);
    }
    command.spawn().expect("a child")
}

/// Reads what there is; the last number seen.
fn follow(reader: &mut Reader, mut last_seq: u64) -> u64 {
    while let Some(group) = reader.next_group().expect("undamaged") {
        let records = last_seq % 4 + 1;
        let mut seen = 0;
        for record in group.records() {
            last_seq += 1;
            seen += 1;
            assert_eq!(record.seq, last_seq, "gapless");
            assert_eq!(record.payload, payload(last_seq));
        }
        assert_eq!(seen, records, "whole groups only");
    }
    last_seq
}

/// One at a time: a process that is being forked by one test holds, until its exec, the lock that the other drops.
static FORKS: Mutex<()> = Mutex::new(());

fn check_kills(is_hot: bool) {
    let _alone = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("journal");
    std::fs::create_dir_all(&dir).expect("made");
    let hot = is_hot.then(|| root.path().join("hot"));
    // One tailer for all lives of the writer: it is never opened again.
    let mut reader = Reader::open(&dir, 1, Until::Journaled).expect("nothing there yet");
    let mut last_seq = 0;
    for round in 1..=6_u64 {
        let mut child = spawn(&dir, hot.as_deref());
        let wanted = last_seq + 500 * round;
        let deadline = Instant::now() + Duration::from_secs(60);
        while last_seq < wanted {
            assert!(Instant::now() < deadline, "round {round}: the tailer stands at {:?}", reader.position());
            last_seq = follow(&mut reader, last_seq);
            assert!(child.try_wait().expect("a child").is_none(), "round {round}: the writer ended by itself");
        }
        child.kill().expect("killed");
        child.wait().expect("a child");
        last_seq = follow(&mut reader, last_seq);
        let seen = last_seq;
        let opened = open(&config(&dir, hot.as_deref())).expect("recovers");
        assert!(opened.report.last_seq >= seen, "round {round}: {seen} was seen, {} is left", opened.report.last_seq);
        assert_eq!(u64::from(opened.report.epoch), round * 2);
        last_seq = follow(&mut reader, last_seq);
        assert_eq!(last_seq, opened.report.last_seq, "round {round}: the tailer is led on");
    }
    let report = verify(&dir).expect("readable");
    assert_eq!((report.last_seq, report.finding), (last_seq, None));
}

#[test]
fn a_killed_writer_loses_nothing_that_another_process_saw_when_segments_are_mapped() {
    check_kills(false);
}

#[test]
fn a_killed_writer_loses_nothing_that_another_process_saw_when_segments_are_hot() {
    check_kills(true);
}
