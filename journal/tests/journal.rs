//! The journal on real files: appending, tailing, rolling over, stopping, recovering.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tradecore_journal::{
    Config, Damage, Flaw, OpenError, Opened, Outcome, ReadError, Reader, Retention, RetentionError, Space, Spans,
    SyncPolicy, Until, Writer, held, open, stat, verify,
};

struct Place {
    _root: tempfile::TempDir,
    dir: PathBuf,
    hot: PathBuf,
}

fn place() -> Place {
    let root = tempfile::tempdir().expect("a directory");
    Place { dir: root.path().join("journal"), hot: root.path().join("hot"), _root: root }
}

fn config(place: &Place, hot: bool) -> Config {
    Config {
        hot_dir: hot.then(|| place.hot.clone()),
        first_segment_bytes: 64 << 10,
        max_segment_bytes: 128 << 10,
        reserve_bytes: 4 << 10,
        ..Config::new(&place.dir)
    }
}

/// Appends groups of 1 to 3 records with a payload made from the number, until `last_seq`.
fn append_until(writer: &mut Writer, last_seq: u64) {
    while writer.last_seq() < last_seq {
        let records = (writer.last_seq() % 3 + 1).min(last_seq - writer.last_seq());
        while !writer.can_append(records as usize * 256, records as usize, Space::Normal) {
            std::thread::yield_now();
        }
        writer.begin(writer.last_seq() + 1_000);
        for _ in 0..records {
            let seq = writer.last_seq() + 1;
            let given =
                writer.append(64 + (seq % 7) as u16, 1, payload(seq).len(), |out| out.copy_from_slice(&payload(seq)));
            assert_eq!(given, seq);
        }
        writer.commit();
    }
}

fn payload(seq: u64) -> Vec<u8> {
    (0..16 + seq % 180).map(|i| (seq.wrapping_mul(31) + i) as u8).collect()
}

fn wait_synced(opened: &Opened, seq: u64) {
    while opened.watermarks.synced() < seq {
        std::thread::yield_now();
    }
}

fn read_all(dir: &Path, from: u64) -> Vec<u64> {
    let mut reader = Reader::open(dir, from, Until::Journaled).expect("readable");
    let mut seqs = Vec::new();
    while let Some(group) = reader.next_group().expect("undamaged") {
        for record in group.records() {
            assert_eq!(record.payload, payload(record.seq), "record {}", record.seq);
            assert_eq!(record.kind, 64 + (record.seq % 7) as u16);
            seqs.push(record.seq);
        }
    }
    seqs
}

fn check_kill_and_reopen(hot: bool) {
    let place = place();
    for round in 1..=4_u64 {
        let mut opened = open(&config(&place, hot)).expect("opens");
        assert_eq!(u64::from(opened.report.epoch), round, "the epoch rises with every start");
        assert_eq!(opened.report.last_seq, (round - 1) * 1000);
        append_until(&mut opened.writer, round * 1000);
        assert_eq!(read_all(&place.dir, 1), (1..=round * 1000).collect::<Vec<_>>());
        // A reader starts with the group that holds the number asked for.
        assert_eq!(read_all(&place.dir, 777), (776..=round * 1000).collect::<Vec<_>>());
        // Dropped without a seal, as a crash of the process would leave it.
        drop(opened);
    }
    let opened = open(&config(&place, hot)).expect("opens");
    assert_eq!(opened.report.outcome, Outcome::Clean);
    assert_eq!(opened.report.records, 4000);
}

#[test]
fn every_committed_group_survives_the_process_when_segments_are_mapped() {
    check_kill_and_reopen(false);
}

#[test]
fn every_committed_group_survives_the_process_when_segments_are_hot() {
    check_kill_and_reopen(true);
}

#[test]
fn an_empty_directory_starts_empty_and_a_seal_is_seen() {
    let place = place();
    let opened = open(&config(&place, false)).expect("opens");
    assert_eq!(opened.report.outcome, Outcome::Empty);
    let (mut writer, _, _, closer) = opened.into_parts();
    append_until(&mut writer, 10);
    closer.seal(writer);
    let opened = open(&config(&place, false)).expect("opens");
    assert!(opened.report.is_sealed);
    assert_eq!((opened.report.outcome, opened.report.last_seq), (Outcome::Clean, 10));
}

#[test]
fn a_second_writer_is_refused_and_told_who_has_it() {
    let place = place();
    let _opened = open(&config(&place, false)).expect("opens");
    match open(&config(&place, false)) {
        Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reader_sees_whole_groups_while_the_writer_appends() {
    let place = place();
    let mut opened = open(&config(&place, true)).expect("opens");
    let dir = place.dir.clone();
    let reader = std::thread::spawn(move || {
        let mut reader = Reader::open(&dir, 1, Until::Journaled).expect("readable");
        let mut next = 1;
        while next <= 5000 {
            while let Some(group) = reader.next_group().expect("undamaged") {
                let count = group.records().count() as u64;
                // The writer's rule for the length of a group: a torn one would not have it.
                assert_eq!(count, ((next - 1) % 3 + 1).min(5001 - next), "group at {next}");
                for record in group.records() {
                    assert_eq!((record.seq, record.payload), (next, payload(next).as_slice()));
                    next += 1;
                }
            }
        }
    });
    append_until(&mut opened.writer, 5000);
    reader.join().expect("the reader saw everything");
}

#[test]
fn a_reader_comes_back_to_any_place_where_one_stood_also_one_that_nothing_was_written_to() {
    let place = place();
    let mut opened = open(&config(&place, true)).expect("opens");
    append_until(&mut opened.writer, 2_000);
    let mut reader = Reader::open(&place.dir, 1, Until::Journaled).expect("readable");
    let mut places = vec![(reader.place(), 1)];
    while reader.next_group().expect("undamaged").is_some() {
        places.push((reader.place(), reader.next_seq()));
    }
    append_until(&mut opened.writer, 2_003);
    assert!(places.len() > 1_000 && reader.position().0 > 1, "groups in more than one segment");
    for (place_of_group, first_seq) in places {
        let mut reader = Reader::open_at(&place.dir, place_of_group, Until::Journaled).expect("readable");
        let group = reader.next_group().expect("undamaged").expect("a group");
        assert_eq!(group.records().next().map(|record| record.seq), Some(first_seq));
    }
}

#[test]
fn a_sync_thread_that_does_not_look_by_itself_is_woken_for_each_group() {
    let place = place();
    let sync = SyncPolicy { interval_min_ns: 0, idle_poll_ns: 3_600_000_000_000 };
    let mut opened = open(&Config { sync, ..config(&place, true) }).expect("opens");
    for seq in 1..=100 {
        append_until(&mut opened.writer, seq);
        opened.watermarks.wake_syncer();
        let since = Instant::now();
        while opened.watermarks.synced() < seq {
            assert!(since.elapsed() < Duration::from_secs(30), "group {seq} is not synced");
            std::thread::yield_now();
        }
    }
}

#[test]
fn the_durable_watermark_reaches_the_last_event_and_bounds_a_synced_reader() {
    let place = place();
    let mut opened = open(&config(&place, true)).expect("opens");
    append_until(&mut opened.writer, 100);
    wait_synced(&opened, 100);
    let mut reader = Reader::open(&place.dir, 1, Until::Synced).expect("readable");
    let mut last = 0;
    while let Some(group) = reader.next_group().expect("undamaged") {
        last = group.records().last().expect("not empty").seq;
        assert!(last <= opened.watermarks.synced());
    }
    assert_eq!(last, 100);
    // The next writer's as well, however the last one ended.
    drop(opened);
    let mut opened = open(&config(&place, true)).expect("opens");
    append_until(&mut opened.writer, 200);
    wait_synced(&opened, 200);
    while let Some(group) = reader.next_group().expect("undamaged") {
        last = group.records().last().expect("not empty").seq;
    }
    assert_eq!(last, 200);
}

#[test]
fn no_file_of_the_disk_is_mapped_for_writing_while_segments_are_hot() {
    for is_hot in [false, true] {
        let place = place();
        let mut opened = open(&config(&place, is_hot)).expect("opens");
        append_until(&mut opened.writer, 100);
        let maps = std::fs::read_to_string("/proc/self/maps").expect("readable");
        let dir = place.dir.to_str().expect("a text");
        let writable: Vec<&str> = maps.lines().filter(|line| line.contains(" rw-s ") && line.contains(dir)).collect();
        assert_eq!(writable.is_empty(), is_hot, "{writable:?}");
    }
}

#[test]
fn a_hot_segment_that_should_be_there_and_is_not_refuses_the_start() {
    let place = place();
    let mut opened = open(&config(&place, true)).expect("opens");
    append_until(&mut opened.writer, 10);
    drop(opened);
    std::fs::remove_dir_all(&place.hot).expect("removed");
    assert!(matches!(open(&config(&place, true)), Err(OpenError::MissingHotSegment { .. })));
}

#[test]
fn a_damaged_file_that_leads_to_memory_refuses_the_start_and_touches_nothing() {
    let place = place();
    let mut opened = open(&config(&place, true)).expect("opens");
    append_until(&mut opened.writer, 10);
    drop(opened);
    let marker = place.dir.join("hot");
    let whole = std::fs::read(&marker).expect("there");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&marker, &damaged).expect("written");
        let refused = open(&config(&place, true)).expect_err("refused");
        assert!(matches!(refused, OpenError::Damaged(Damage::HotMarker { .. })), "byte {at}: {refused}");
    }
    std::fs::write(&marker, &whole).expect("written");
    assert_eq!(open(&config(&place, true)).expect("as it was").report.last_seq, 10);
}

#[test]
fn a_copy_of_a_journal_in_use_is_read_as_what_was_copied_and_is_started_only_when_the_loss_is_accepted() {
    let original = place();
    let mut opened = open(&config(&original, true)).expect("opens");
    append_until(&mut opened.writer, 10);
    wait_synced(&opened, 10);
    let copy = place();
    std::fs::create_dir(&copy.dir).expect("made");
    for entry in std::fs::read_dir(&original.dir).expect("readable") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), copy.dir.join(entry.file_name())).expect("copied");
    }
    append_until(&mut opened.writer, 20);
    assert_eq!(read_all(&copy.dir, 1), (1..=10).collect::<Vec<_>>());
    assert!(matches!(open(&config(&copy, true)), Err(OpenError::Copied { .. })));
    std::fs::remove_file(copy.dir.join("hot")).expect("accepted");
    assert_eq!(open(&config(&copy, true)).expect("opens").report.last_seq, 10);
    assert_eq!(read_all(&original.dir, 1), (1..=20).collect::<Vec<_>>());
}

/// A journal of 40 records in one segment, synced, and the offset of its free space.
fn small(place: &Place) -> (PathBuf, u64) {
    let mut opened = open(&config(place, false)).expect("opens");
    append_until(&mut opened.writer, 40);
    wait_synced(&opened, 40);
    drop(opened);
    let path = place.dir.join("0000000001.jnl");
    let bytes = std::fs::read(&path).expect("readable");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("not empty") as u64 + 1;
    (path, used.next_multiple_of(32))
}

#[test]
fn bytes_behind_the_last_durable_group_are_cut_kept_aside_and_reported() {
    let place = place();
    let (path, end) = small(&place);
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opens");
    file.write_all_at(&[0xAB; 300], end + 64).expect("written");
    let opened = open(&config(&place, false)).expect("a torn tail is no damage");
    assert_eq!((opened.report.outcome, opened.report.last_seq), (Outcome::Torn, 40));
    let kept = std::fs::read(opened.report.kept_at.clone().expect("kept")).expect("readable");
    assert_eq!(kept.len() as u64, 64 + 300);
    drop(opened);
    let opened = open(&config(&place, false)).expect("opens");
    assert_eq!(opened.report.outcome, Outcome::Clean, "a second start has nothing left to mend");
}

#[test]
fn damage_below_the_durable_watermark_refuses_the_start_and_touches_nothing() {
    let place = place();
    let (path, end) = small(&place);
    let before = std::fs::read(&path).expect("readable");
    // One bit of every byte that the header uses, and of every 61st behind: each must be found.
    for at in (0..64).chain((64..end).step_by(61)) {
        let mut bytes = before.clone();
        bytes[at as usize] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).expect("written");
        match open(&config(&place, false)) {
            Err(OpenError::Damaged(Damage::Segment { segment })) if at < 4096 => assert_eq!(segment, path),
            Err(OpenError::Damaged(Damage::Events { first_lost_seq, durable_seq, .. })) if at >= 4096 => {
                assert!(first_lost_seq <= 40 && durable_seq == 40, "byte {at}: {first_lost_seq} to {durable_seq}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(std::fs::read(&path).expect("readable"), bytes, "byte {at}: the file was touched");
    }
}

/// Every file of a journal with its content.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect()
}

#[test]
fn a_durable_watermark_that_is_lost_refuses_the_start_and_touches_nothing() {
    let place = place();
    small(&place);
    drop(open(&config(&place, false)).expect("opens"));
    let path = place.dir.join("durable");
    let lose: [fn(&Path); 2] =
        [|path| std::fs::write(path, [0; 1024]).expect("written"), |path| std::fs::remove_file(path).expect("removed")];
    for lose in lose {
        lose(&path);
        let before = content(&place.dir);
        let refused = open(&config(&place, false)).expect_err("refused");
        assert!(matches!(&refused, OpenError::Damaged(Damage::Watermark { path: named }) if *named == path));
        assert!(refused.to_string().starts_with(&format!("{}: ", path.display())), "{refused}");
        assert_eq!(content(&place.dir), before);
    }
}

#[test]
fn a_journal_is_of_one_core_in_one_environment() {
    let place = place();
    small(&place);
    let own = config(&place, false);
    for other in [Config { core: 2, ..own.clone() }, Config { environment: 2, ..own.clone() }] {
        let error = open(&other).expect_err("refused");
        assert!(matches!(error, OpenError::OtherCore { core: 1, environment: 0, .. }), "{error}");
    }
    assert_eq!(open(&own).expect("opens").report.epoch, 2, "what was refused has raised no epoch");
}

#[test]
fn a_newer_format_is_refused() {
    let place = place();
    let (path, _) = small(&place);
    let mut bytes = std::fs::read(&path).expect("readable");
    bytes[8..10].copy_from_slice(&2_u16.to_le_bytes());
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&bytes[..56]);
    bytes[56..60].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&path, &bytes).expect("written");
    assert!(matches!(open(&config(&place, false)), Err(OpenError::FormatTooNew { format: 2, .. })));
}

#[test]
fn what_adds_risk_leaves_the_reserve() {
    let place = place();
    let mut opened = open(&config(&place, false)).expect("opens");
    let writer = &mut opened.writer;
    while writer.can_append(1, 1, Space::Normal) && writer.room() > 8 << 10 {
        writer.begin(1);
        writer.append(64, 1, 100, |out| out.fill(1));
        writer.commit();
    }
    let room = writer.room();
    assert!(!writer.can_append(usize::MAX / 2, 1, Space::Normal));
    assert!(writer.can_append(room, 1, Space::Reserve));
}

#[test]
fn stat_counts_what_is_there() {
    let place = place();
    small(&place);
    let stat = stat(&place.dir).expect("undamaged");
    assert_eq!((stat.first_seq, stat.last_seq, stat.records), (1, 40, 40));
}

#[test]
fn a_segment_goes_only_when_the_slowest_reader_has_passed_it() {
    let place = place();
    let mut opened = open(&config(&place, false)).expect("opens");
    append_until(&mut opened.writer, 3000);
    wait_synced(&opened, 3000);
    let mut retention = Retention::open(&place.dir).expect("opens");
    assert_eq!(retention.removable_segments().expect("readable"), [0_u64; 0], "nobody said that it is not needed");
    retention.register("kafka").expect("a name");
    retention.register("sql").expect("a name");
    assert!(matches!(retention.register("../escape"), Err(RetentionError::BadName { .. })));
    assert!(matches!(retention.advance("nobody", 1), Err(RetentionError::Unknown { .. })));
    retention.advance("kafka", 3000).expect("written");
    assert_eq!(retention.remove().expect("removed"), [0_u64; 0], "sql needs all of it");
    retention.advance("sql", 1500).expect("written");
    let spans = Spans::new(&place.dir).look().expect("readable");
    let by_readers = retention.removable_segments().expect("readable");
    let kept: Vec<u64> = held(&spans, 1500).iter().map(|span| span.segno).collect();
    let all: Vec<u64> = spans.iter().map(|span| span.segno).collect();
    assert_eq!([&by_readers[..], &kept[..], &all[all.len() - 1..]].concat(), all, "the last is the writer's");
    let second = spans[1].first_ts_ns;
    assert_eq!(
        retention.removable_segments_before(second - 1).expect("readable"),
        [0_u64; 0],
        "all of it is too young"
    );
    assert_eq!(retention.removable_segments_before(second).expect("readable"), all[..1]);
    assert_eq!(retention.removable_segments_before(u64::MAX).expect("readable"), by_readers);
    let removed = Retention::open(&place.dir).expect("positions survive").remove().expect("removed");
    assert!(!removed.is_empty());
    let mut reader = Reader::open(&place.dir, 1501, Until::Journaled).expect("what sql needs is there");
    let mut last_seq = 0;
    reader.for_each(|record| last_seq = record.seq).expect("undamaged");
    assert_eq!(last_seq, 3000);
    assert!(matches!(Reader::open(&place.dir, 1, Until::Journaled), Err(ReadError::Gone { .. })));
    let stat = stat(&place.dir).expect("undamaged");
    assert!(stat.first_seq > 1 && stat.first_seq <= 1501, "starts at {}", stat.first_seq);
    assert_eq!((stat.last_seq, stat.records), (3000, 3001 - stat.first_seq));
    retention.unregister("sql").expect("there");
    retention.remove().expect("removed");
    drop(opened);
    let opened = open(&config(&place, false)).expect("a shortened journal is not a damaged one");
    assert_eq!(opened.report.last_seq, 3000);
    drop(opened);
    // Segments that nobody removed are missed.
    let rest = std::fs::read_dir(&place.dir).expect("listed").map(|entry| entry.expect("an entry").path());
    let mut rest: Vec<PathBuf> = rest.filter(|path| path.extension().is_some_and(|found| found == "jnl")).collect();
    rest.sort();
    std::fs::remove_file(&rest[0]).expect("removed");
    assert!(matches!(open(&config(&place, false)), Err(OpenError::Damaged(_))));
    assert!(verify(&place.dir).expect("readable").finding.is_some());
}

#[test]
fn a_live_journal_verifies() {
    for hot in [false, true] {
        let place = place();
        let mut opened = open(&config(&place, hot)).expect("opens");
        append_until(&mut opened.writer, 2000);
        let report = verify(&place.dir).expect("readable");
        assert_eq!((report.last_seq, report.finding), (2000, None));
    }
}

/// Names in a directory; none when there is no such.
fn left_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a text")).collect()
}

#[test]
fn journals_that_share_a_directory_in_memory_leave_each_other_alone() {
    let (first, second) = (place(), place());
    let second = Config { hot_dir: Some(first.hot.clone()), ..config(&second, true) };
    let mut opened = open(&config(&first, true)).expect("opens");
    append_until(&mut opened.writer, 100);
    let mut other = open(&second).expect("opens");
    append_until(&mut other.writer, 200);
    wait_synced(&opened, 100);
    drop(opened);
    drop(open(&second).expect_err("the other writer is at work"));
    assert_eq!(open(&config(&first, true)).expect("its copies are there").report.last_seq, 100);
    drop(other);
    assert_eq!(open(&second).expect("its copies are there").report.last_seq, 200);
}

#[test]
fn copies_in_memory_go_with_a_changed_directory_and_are_found_from_everywhere() {
    let place = place();
    // As a configuration may name it: relative to where the process runs.
    let here = std::env::current_dir().expect("somewhere");
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(place.hot.strip_prefix("/").expect("absolute"));
    let other = place.hot.with_file_name("other");
    for (nth, hot_dir) in [Some(relative), Some(other.clone()), None].into_iter().enumerate() {
        let changed = Config { hot_dir, ..config(&place, true) };
        let mut opened = open(&changed).expect("opens");
        assert_eq!(opened.report.last_seq, nth as u64 * 10);
        append_until(&mut opened.writer, (nth as u64 + 1) * 10);
        let here: Vec<bool> = [&place.hot, &other].iter().map(|dir| !left_in(dir).is_empty()).collect();
        assert_eq!(here, [nth == 0, nth == 1]);
        let marker = std::fs::read_to_string(place.dir.join("hot")).unwrap_or_default();
        assert!(marker.lines().nth(1).is_none_or(|dir| Path::new(dir).is_absolute()), "{marker}");
    }
}

#[test]
fn a_directory_in_memory_that_another_could_have_made_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = place();
    drop(open(&config(&place, true)).expect("opens"));
    let own = place.hot.join(&left_in(&place.hot)[0]);
    let mode = std::fs::metadata(&own).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let refused = |why: &str| {
        let error = open(&config(&place, true)).expect_err(why).to_string();
        assert!(error.contains(own.to_str().expect("a text")) && error.contains("mode 0700"), "{why}: {error}");
    };
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o750)).expect("set");
    refused("others may look into it");
    let elsewhere = place.hot.with_file_name("elsewhere");
    std::fs::rename(&own, &elsewhere).expect("moved");
    std::fs::set_permissions(&elsewhere, std::fs::Permissions::from_mode(0o700)).expect("set");
    std::os::unix::fs::symlink(&elsewhere, &own).expect("made");
    refused("a link may be anybody's");
    std::fs::remove_file(&own).expect("removed");
    std::fs::rename(&elsewhere, &own).expect("moved");
    drop(open(&config(&place, true)).expect("as it was"));
}

#[test]
fn a_tailer_that_looks_while_the_journal_is_stopped_and_started_misses_nothing() {
    const LIVES: u64 = 40;
    for is_hot in [false, true] {
        let place = place();
        std::fs::create_dir_all(&place.dir).expect("made");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let dir = place.dir.clone();
            let tailer = scope.spawn(move || {
                let mut reader = Reader::open(&dir, 1, Until::Journaled).expect("nothing there yet");
                let deadline = Instant::now() + Duration::from_secs(60);
                while reader.next_seq() <= LIVES * 10 && Instant::now() < deadline {
                    while reader.next_group().expect("undamaged").is_some() {}
                }
                reader.next_seq()
            });
            let is_over = &is_over;
            let dir = place.dir.clone();
            let checker = scope.spawn(move || {
                while !is_over.load(Ordering::Acquire) {
                    stat(&dir).expect("readable");
                    let finding = verify(&dir).expect("readable").finding;
                    assert!(finding.as_ref().is_none_or(|finding| finding.flaw == Flaw::Tail), "{finding:?}");
                }
            });
            for life in 1..=LIVES {
                let mut opened = open(&config(&place, is_hot)).expect("opens");
                append_until(&mut opened.writer, life * 10);
                while !opened.writer.can_append(opened.writer.room() + 1, 1, Space::Reserve) {
                    std::thread::yield_now();
                }
                let (writer, _, _, closer) = opened.into_parts();
                closer.seal(writer);
            }
            is_over.store(true, Ordering::Release);
            checker.join().expect("nothing found");
            assert_eq!(tailer.join().expect("whole"), LIVES * 10 + 1, "hot {is_hot}");
        });
    }
}

#[test]
fn a_tailer_is_led_on_over_clean_stops_and_no_copy_is_left_in_memory() {
    for is_hot in [false, true] {
        let place = place();
        std::fs::create_dir_all(&place.dir).expect("made");
        let mut reader = Reader::open(&place.dir, 1, Until::Journaled).expect("nothing there yet");
        let mut next_seq = 1;
        for round in 1..=3_u64 {
            let mut opened = open(&config(&place, is_hot)).expect("opens");
            append_until(&mut opened.writer, round * 700);
            // The writer takes in the segment ahead, and never begins it.
            while !opened.writer.can_append(opened.writer.room() + 1, 1, Space::Reserve) {
                std::thread::yield_now();
            }
            let (writer, _, _, closer) = opened.into_parts();
            closer.seal(writer);
            while let Some(group) = reader.next_group().expect("undamaged") {
                for record in group.records() {
                    assert_eq!(record.seq, next_seq);
                    next_seq += 1;
                }
            }
            assert_eq!(next_seq, round * 700 + 1, "round {round}, hot {is_hot}");
            assert_eq!(left_in(&place.hot), [""; 0], "round {round}: copies are left in memory");
            assert_eq!(verify(&place.dir).expect("readable").finding, None);
        }
    }
}
