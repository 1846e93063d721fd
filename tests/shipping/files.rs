//! The files of events: each event once and in order, whatever the process or the disk did before.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tradecore::shipping::domains::Stream;
use tradecore::shipping::files::{Files, FilesError, READER};
use tradecore::shipping::json::write_event;
use tradecore::shipping::tail::Tail;
use tradecore_client::protocol::fields::Side;
use tradecore_client::{Address, Client, NewOrder, Options, px, qty};
use tradecore_journal::Retention;

use super::export::{export, journal_of_a_history};
use super::host::{Host, SECRET, Setup, wait_for};

const STREAM: Stream = Stream { environment: 3, core: 1 };

/// The thread that writes the files.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub fn start(journal_dir: &Path, dir: &Path, file_bytes_max: u64) -> Self {
        Self::of(files(journal_dir, dir, file_bytes_max))
    }

    pub fn with_parquet(journal_dir: &Path, dir: &Path, file_bytes_max: u64) -> Self {
        Self::of(Files { parquet: true, ..files(journal_dir, dir, file_bytes_max) })
    }

    fn of(files: Files) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        Self { stop, thread: Some(std::thread::spawn(move || files.run(&asked))) }
    }
}

fn files(journal_dir: &Path, dir: &Path, file_bytes_max: u64) -> Files {
    let (journal_dir, dir) = (journal_dir.to_owned(), dir.to_owned());
    Files { journal_dir, dir, file_bytes_max, parquet: false, stream: STREAM }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().expect("once");
        thread.thread().unpark();
        thread.join().expect("no panic");
    }
}

/// Every line that the journal has, as it must stand in the files.
pub fn lines_of_the_journal(dir: &Path) -> Vec<String> {
    let (mut tail, mut lines) = (Tail::open(dir, 0).expect("opens"), Vec::new());
    let mut add = |place: &tradecore::shipping::json::Place, event: &tradecore_domain::event::Event| {
        let mut line = String::new();
        write_event(&mut line, place, event);
        lines.push(line);
    };
    while tail.next_group(&mut add).expect("undamaged") {}
    lines
}

/// The files of lines, in the order of their names.
pub fn files_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).map(|entries| entries.map(|entry| entry.expect("an entry").path()));
    let is_of_lines = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "jsonl");
    let mut files: Vec<PathBuf> = entries.into_iter().flatten().filter(is_of_lines).collect();
    files.sort_by_key(|path| path.to_str().expect("text").rsplit('.').nth(1).expect("a number").to_owned());
    files
}

/// The text of all files, one after the other.
pub fn text_of(dir: &Path) -> String {
    files_in(dir).iter().map(|path| String::from_utf8(std::fs::read(path).expect("readable")).expect("text")).collect()
}

pub fn wait_until_it_is(dir: &Path, wanted: &str) {
    wait_for("the files to hold every event", || (text_of(dir).len() >= wanted.len()).then_some(()));
    assert!(text_of(dir) == wanted, "the files hold every event once, in order");
}

fn wanted(journal_dir: &Path) -> String {
    lines_of_the_journal(journal_dir).join("\n") + "\n"
}

#[test]
fn files_end_at_their_length_and_with_the_day_and_say_so_in_their_names() {
    let place = tempfile::tempdir().expect("a directory");
    let (journal, dir) = (place.path().join("journal"), place.path().join("events"));
    // Journal times a second apart, from 1,000 s before midnight.
    journal_of_a_history(&journal, 3, 1_700_000_000_000_000_000 + 5_400_000_000_000, 1_000_000_000);
    let wanted = wanted(&journal);
    let writer = Writer::start(&journal, &dir, 100_000);
    wait_until_it_is(&dir, &wanted);
    drop(writer);
    let mut next_seq = 1;
    let mut days = std::collections::BTreeSet::new();
    for path in files_in(&dir) {
        let (text, name) = (std::fs::read_to_string(&path).expect("text"), path.file_name().expect("a name"));
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let day = &lines[0]["time"].as_str().expect("text")[..10];
        assert_eq!(name.to_str().expect("text"), format!("virtual-1.{day}.{next_seq:020}.jsonl"));
        assert!(lines.iter().all(|line| line["time"].as_str().expect("text").starts_with(day)), "{path:?}: one day");
        let last = text.lines().last().expect("a line").len() as u64;
        assert!(text.len() as u64 <= 100_000 + last, "{path:?}: {} bytes", text.len());
        days.insert(day.to_owned());
        next_seq += lines.len();
    }
    assert_eq!(days.into_iter().collect::<Vec<_>>(), ["2023-11-14", "2023-11-15"]);
    assert!(files_in(&dir).len() > 5, "{:?}", files_in(&dir));
    let retention = Retention::open(&journal).expect("opens");
    let passed: Vec<(&str, u64)> = retention.positions().collect();
    assert_eq!(passed, [(READER, next_seq as u64 - 1)], "the journal knows what it need not keep for them");
}

#[test]
fn whatever_a_crash_leaves_of_the_newest_file_is_made_whole() {
    let place = tempfile::tempdir().expect("a directory");
    let (journal, dir) = (place.path().join("journal"), place.path().join("events"));
    journal_of_a_history(&journal, 5, 1_700_000_000_000_000_000, 1_000);
    let wanted = wanted(&journal);
    drop({
        let writer = Writer::start(&journal, &dir, 300_000);
        wait_until_it_is(&dir, &wanted);
        writer
    });
    let newest = files_in(&dir).pop().expect("a file");
    let whole = std::fs::read(&newest).expect("readable");
    let last_line = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("lines") + 1;
    let mut cases: Vec<Vec<u8>> = Vec::new();
    for bytes in [0, 1, whole.len() / 3, last_line - 1, last_line, last_line + 1, whole.len() - 1, whole.len()] {
        cases.push(whole[..bytes].to_vec());
        // Length without content, as after power loss.
        cases.push([&whole[..bytes], &[0; 5000][..]].concat());
    }
    // A line is lost in the middle; one is there twice.
    cases.push([&whole[..last_line / 2], &whole[last_line..]].concat());
    cases.push([&whole[..], &whole[last_line..]].concat());
    for case in cases {
        std::fs::write(&newest, &case).expect("written");
        let writer = Writer::start(&journal, &dir, 300_000);
        wait_for("the files to be whole again", || (text_of_bytes(&dir) == wanted.as_bytes()).then_some(()));
        drop(writer);
        assert!(text_of_bytes(&dir) == wanted.as_bytes(), "{} bytes", case.len());
    }
    // Without the newest file but with those before it.
    let before: usize = files_in(&dir).iter().rev().skip(1).map(|path| std::fs::read(path).expect("read").len()).sum();
    assert!(before > 0, "there is more than one file");
    std::fs::remove_file(&newest).expect("removed");
    drop({
        let writer = Writer::start(&journal, &dir, u64::MAX);
        wait_until_it_is(&dir, &wanted);
        writer
    });
}

#[test]
fn a_newest_file_without_a_line_is_not_believed_for_its_name() {
    let place = tempfile::tempdir().expect("a directory");
    let (journal, dir) = (place.path().join("journal"), place.path().join("events"));
    journal_of_a_history(&journal, 5, 1_700_000_000_000_000_000, 1_000);
    let wanted = wanted(&journal);
    std::fs::create_dir(&dir).expect("made");
    // With none before it; with what is there before it.
    for (first_seq, text) in [(100, ""), (9_999_999, "{\"seq\"")] {
        let planted = dir.join(format!("virtual-1.2026-11-22.{first_seq:020}.jsonl"));
        std::fs::write(&planted, text).expect("written");
        let writer = Writer::start(&journal, &dir, 300_000);
        wait_for("the files to hold every event", || (text_of_bytes(&dir) == wanted.as_bytes()).then_some(()));
        drop(writer);
        assert!(!planted.exists(), "{planted:?}");
    }
}

fn text_of_bytes(dir: &Path) -> Vec<u8> {
    // One that holds nothing may be removed meanwhile.
    files_in(dir).iter().flat_map(|path| std::fs::read(path).unwrap_or_default()).collect()
}

#[test]
fn files_of_another_journal_are_left_as_they_are() {
    let place = tempfile::tempdir().expect("a directory");
    let (first, second, dir) = (place.path().join("first"), place.path().join("second"), place.path().join("events"));
    journal_of_a_history(&first, 3, 1_700_000_000_000_000_000, 1_000);
    journal_of_a_history(&second, 3, 1_700_000_000_000_000_001, 1_000);
    let wanted = wanted(&first);
    drop({
        let writer = Writer::start(&first, &dir, 300_000);
        wait_until_it_is(&dir, &wanted);
        writer
    });
    // The same numbers, at other times; and fewer than the files have.
    let shorter = place.path().join("shorter");
    let config = tradecore_journal::Config::new(&shorter);
    let (writer, _, _, closer) = tradecore_journal::open(&config).expect("opens").into_parts();
    closer.seal(writer);
    for other in [&second, &shorter] {
        let refusal = files(other, &dir, 300_000).write_until(&AtomicBool::new(false), || panic!("it was opened"));
        assert!(matches!(refusal, Err(FilesError::OtherJournal { .. })), "{refusal:?}");
        assert!(text_of(&dir) == wanted, "not touched");
    }
}

/// What stands beside the files that have ended, each as `journal export` writes it.
pub fn assert_parquet_of_all_that_ended(journal: &Path, dir: &Path) {
    let files = files_in(dir);
    for ended in files.split_last().expect("a file").1 {
        let text = std::fs::read_to_string(ended).expect("text");
        let seq_of = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["seq"].as_str().expect("text").to_owned()
        };
        let [from, to] = [text.lines().next(), text.lines().last()].map(|line| seq_of(line.expect("a line")));
        let wanted = tempfile::NamedTempFile::new().expect("a file");
        let path = wanted.path().to_str().expect("text");
        let output = export(journal, &["--parquet", path, "--from", &from, "--to", &to]);
        assert!(output.status.success(), "{output:?}");
        let made = std::fs::read(ended.with_extension("parquet")).expect("it is there");
        assert!(made == std::fs::read(path).expect("written"), "{ended:?}: it says what events {from} to {to} say");
    }
    let newest = files.last().expect("a file").with_extension("parquet");
    assert!(!newest.exists(), "{newest:?}: its lines are still written");
    let rest = std::fs::read_dir(dir).expect("there").map(|entry| entry.expect("an entry").path());
    let torn: Vec<PathBuf> = rest.filter(|path| path.extension().is_some_and(|its| its == "partial")).collect();
    assert!(torn.is_empty(), "{torn:?}");
}

pub fn wait_for_parquet(dir: &Path, wanted: usize) {
    let made = || files_in(dir).iter().filter(|path| path.with_extension("parquet").exists()).count();
    wait_for("the Parquet files", || (made() == wanted).then_some(()));
}

#[test]
fn each_file_that_has_ended_gets_one_for_analysis_with_the_same_events() {
    let place = tempfile::tempdir().expect("a directory");
    let (journal, dir) = (place.path().join("journal"), place.path().join("events"));
    journal_of_a_history(&journal, 3, 1_700_000_000_000_000_000, 1_000);
    let wanted = wanted(&journal);
    let writer = || Writer::with_parquet(&journal, &dir, 100_000);
    let first = writer();
    wait_until_it_is(&dir, &wanted);
    let ended = files_in(&dir).len() - 1;
    assert!(ended > 5, "{ended}");
    wait_for_parquet(&dir, ended);
    drop(first);
    assert_parquet_of_all_that_ended(&journal, &dir);
    // What a crash leaves of one, one that was taken away, one whose lines are elsewhere.
    let lines = files_in(&dir);
    let [torn, gone, moved] = [0, 1, 2].map(|nth: usize| lines[nth].with_extension("parquet"));
    std::fs::remove_file(&torn).expect("removed");
    std::fs::write(torn.with_extension("parquet.partial"), "PAR1").expect("written");
    std::fs::remove_file(&gone).expect("removed");
    std::fs::remove_file(&lines[2]).expect("removed");
    let whole = std::fs::read(&moved).expect("there");
    let second = writer();
    wait_for_parquet(&dir, ended - 1);
    drop(second);
    assert_parquet_of_all_that_ended(&journal, &dir);
    assert!(std::fs::read(&moved).expect("left") == whole);
}

#[test]
fn a_file_that_is_not_of_the_journal_gets_none_for_analysis_and_keeps_no_other_from_it() {
    let place = tempfile::tempdir().expect("a directory");
    let (journal, dir) = (place.path().join("journal"), place.path().join("events"));
    journal_of_a_history(&journal, 3, 1_700_000_000_000_000_000, 1_000);
    let wanted = wanted(&journal);
    drop({
        let writer = Writer::start(&journal, &dir, 100_000);
        wait_until_it_is(&dir, &wanted);
        writer
    });
    let lines = files_in(&dir);
    assert!(lines.iter().all(|path| !path.with_extension("parquet").exists()), "none was asked for");
    // A last event at another time; half of a line; nothing; an event that the journal does not have.
    let other_time = std::fs::read_to_string(&lines[0]).expect("text").replace("\"time\":\"2023", "\"time\":\"2022");
    std::fs::write(&lines[0], other_time).expect("written");
    let text = std::fs::read_to_string(&lines[1]).expect("text");
    std::fs::write(&lines[1], &text[..text.len() - 1]).expect("written");
    std::fs::write(&lines[2], "").expect("written");
    std::fs::write(&lines[3], wanted.lines().last().expect("a line").replace("\"seq\":\"", "\"seq\":\"9") + "\n")
        .expect("written");
    let before = text_of(&dir);
    let writer = Writer::with_parquet(&journal, &dir, 100_000);
    wait_for_parquet(&dir, lines.len() - 5);
    drop(writer);
    for (nth, path) in lines.iter().enumerate() {
        let is_made = path.with_extension("parquet").exists();
        assert_eq!(is_made, (4..lines.len() - 1).contains(&nth), "{path:?}");
    }
    assert!(text_of(&dir) == before, "lines are left as they are");
}

/// Sends orders and cancels until it is told to stop, over any number of lost connections; how many orders it sent.
fn trade(socket: PathBuf, stop: &AtomicBool) -> u64 {
    let order = NewOrder::limit(1, 1, Side::Buy, qty("0.001").expect("exact"), px("100").expect("exact"));
    let mut client = Client::new(Options::new(Address::Unix(socket), 1, "k1", SECRET)).expect("a client");
    let mut sent = 0;
    while !stop.load(Ordering::Acquire) {
        let is_sent = client.new_order(&order).and_then(|id| client.cancel(id)).is_ok();
        sent += u64::from(is_sent);
        // What is answered is of no interest here; while it is not connected, this connects.
        client.poll(Duration::from_millis(if is_sent { 0 } else { 5 })).expect("goes on over lost connections");
    }
    sent
}

#[test]
fn the_files_of_a_gateway_that_is_killed_again_and_again_hold_every_event_once_and_in_order() {
    let sections = "[ship.files]\ndir = \"events\"\nfile_mib = 1\nparquet = true\n";
    let mut host = Host::trading(&Setup { sections, durability: "journaled", ..Setup::default() });
    let (data, events) = (host.dir.path().join("data"), host.dir.path().join("events"));
    let (journal, stop) = (data.join("journal"), Arc::new(AtomicBool::new(false)));
    let (socket, trader_stop) = (host.dir.path().join("gateway.sock"), Arc::clone(&stop));
    let trader = std::thread::spawn(move || trade(socket, &trader_stop));
    let bytes = || -> u64 { files_in(&events).iter().map(|path| path.metadata().expect("there").len()).sum() };
    for life in 1..=10_u64 {
        // Another amount in each life, so that each kill meets the writer at another place.
        let (before, more) = (bytes(), 150_000 + life * 7_919 % 60_000);
        wait_for("events in the files", || (bytes() >= before + more).then_some(()));
        host.crash_and_restart();
    }
    stop.store(true, Ordering::Release);
    assert!(trader.join().expect("no panic") > 100, "there was a load");
    let newest = || text_of(&events).lines().count();
    wait_for("every event in the files", || (newest() == lines_of_the_journal(&journal).len()).then_some(()));
    assert!(host.stop().success());
    let lines = lines_of_the_journal(&journal);
    let text = text_of(&events);
    let written: Vec<&str> = text.lines().collect();
    let shipped = written.len();
    assert!(shipped > 1_000 && shipped <= lines.len(), "{shipped} of {}", lines.len());
    for (nth, (line, wanted)) in written.iter().zip(&lines).enumerate() {
        assert!(line == wanted, "line {nth}: {line} is not {wanted}");
    }
    assert!(text.ends_with('\n'), "whole lines");
    assert!(files_in(&events).len() > 1, "more than one file");
    // What the last life said when it ended comes with the next.
    let writer = Writer::with_parquet(&journal, &events, 1 << 20);
    wait_until_it_is(&events, &(lines.join("\n") + "\n"));
    wait_for_parquet(&events, files_in(&events).len() - 1);
    drop(writer);
    assert_parquet_of_all_that_ended(&journal, &events);
}
