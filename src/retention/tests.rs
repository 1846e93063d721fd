use std::sync::Arc;

use tradecore_journal::{Config, Opened, Retention, Space, Spans};

use super::gate::Level;
use super::*;
use crate::shipping::alerts;

const SEGMENT_BYTES: u64 = 64 << 10;

/// A journal of several short segments, in which event `n` has time `n`.
fn journal(dir: &Path, events: u64) -> Opened {
    let config = Config {
        first_segment_bytes: SEGMENT_BYTES,
        max_segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 4 << 10,
        ..Config::new(dir)
    };
    let mut opened = tradecore_journal::open(&config).expect("opens");
    for nth in 1..=events {
        while !opened.writer.can_append(512, 1, Space::Normal) {
            std::thread::yield_now();
        }
        opened.writer.begin(nth);
        opened.writer.append(64, 1, 400, |payload| payload.fill(7));
        opened.writer.commit();
    }
    opened
}

fn needs(dir: &Path, readers: &[&'static str]) -> Needs {
    Needs {
        journal_dir: dir.to_owned(),
        readers: readers.to_vec(),
        is_of_configuration: true,
        projection: None,
        keep_ns: 0,
        unshipped_max_bytes: 1 << 40,
    }
}

fn look(needs: &Needs, now_ns: u64) -> Look {
    Look::at(needs, &mut Spans::new(&needs.journal_dir), now_ns).expect("readable")
}

#[test]
fn a_segment_may_go_when_it_is_shipped_and_projected_and_old_enough_and_who_is_not_configured_keeps_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = journal(dir.path(), 2_000);
    let needs = needs(dir.path(), &[FILES, PROJECTION]);
    let before = look(&needs, u64::MAX);
    assert!(before.removable == 0 && before.unshipped_bytes > 0, "those who were never started need all: {before:?}");
    prepare(&needs).expect("registered");
    let mut retention = Retention::open(dir.path()).expect("opens");
    let segments = Spans::new(dir.path()).look().expect("readable").len() as u64;
    assert!(segments > 8, "{segments} segments");
    assert_eq!(look(&needs, u64::MAX).removable, 0, "nobody has read anything");
    retention.advance(FILES, 2_000).expect("written");
    assert_eq!(look(&needs, u64::MAX).removable, 0, "the read model needs all of it");
    retention.advance(PROJECTION, 1_000).expect("written");
    let half = look(&needs, u64::MAX);
    assert!(half.removable > 2 && half.removable < segments - 2, "{half:?}");
    let kept: Vec<u64> = half.holders.iter().map(|holder| holder.segments).collect();
    assert_eq!(kept, [0, segments - 1 - half.removable], "{half:?}");
    retention.register("archive").expect("a name");
    let archived = look(&needs, u64::MAX);
    assert_eq!((archived.removable, archived.holders[0].segments), (0, segments - 1), "whoever else is registered");
    retention.advance("archive", 2_000).expect("written");
    assert_eq!(look(&Needs { keep_ns: 600, ..needs.clone() }, 600).removable, 0, "too young");
    let young = look(&Needs { keep_ns: 600, ..needs.clone() }, 1_000).removable;
    assert!(young > 0 && young < half.removable, "{young} of {}", half.removable);
    // The read model is given up: at once by the command line, and from the next start on.
    let without = Needs { readers: vec![FILES], ..needs };
    assert_eq!(look(&without, u64::MAX).removable, segments - 1);
    prepare(&without).expect("taken out");
    let left = Retention::open(dir.path()).expect("opens");
    assert_eq!(left.positions().map(|(name, _)| name).collect::<Vec<_>>(), ["archive", FILES]);
    drop(opened);
}

#[test]
fn what_is_not_shipped_closes_the_gate_short_of_its_bound_and_shipping_opens_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = journal(dir.path(), 2_000);
    let watermarks = Arc::clone(&opened.watermarks);
    let gate = |max_bytes: u64, readers: &[&'static str]| {
        let needs = Needs { unshipped_max_bytes: max_bytes, ..needs(dir.path(), readers) };
        prepare(&needs).expect("registered");
        let mut gate = Gate::new(needs, Arc::clone(&watermarks));
        let look = gate.look().expect("readable");
        (look.percent(), watermarks.is_backlogged(), look)
    };
    let (_, is_closed, all) = gate(1 << 40, &[KAFKA]);
    assert!(!is_closed && all.unshipped_bytes > 8 * SEGMENT_BYTES && all.seconds_left.is_some(), "{all:?}");
    let kept = all.unshipped_bytes;
    for (max_bytes, is_expected) in [(kept * 2, false), (kept * 100 / 94, false), (kept * 100 / 96, true), (kept, true)]
    {
        let (percent, is_closed, _) = gate(max_bytes, &[KAFKA]);
        assert_eq!(is_closed, is_expected, "{percent} %");
    }
    let (_, is_closed, _) = gate(kept, &[PROJECTION]);
    assert!(!is_closed, "a read model that lags loses nothing");
    gate(kept, &[KAFKA]);
    assert!(watermarks.is_backlogged());
    Mark::new(dir.path(), KAFKA).pass(2_000);
    let (percent, is_closed, look) = gate(kept, &[KAFKA]);
    assert_eq!((percent, is_closed, look.seconds_left), (0, false, None));
}

#[test]
fn an_alarm_is_told_for_each_bound_also_when_two_are_passed_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    // So many that its last number is that of no other journal of these tests.
    let (writer, _, watermarks, closer) = journal(dir.path(), 2_003).into_parts();
    closer.seal(writer);
    let mut gate = Gate::new(needs(dir.path(), &[KAFKA]), watermarks);
    prepare(&needs(dir.path(), &[KAFKA])).expect("registered");
    let mut told = |percent: u64| {
        let kept = gate.look().expect("readable").unshipped_bytes;
        gate.needs.unshipped_max_bytes = kept * 100 / percent;
        gate.look().expect("readable");
        let waiting = alerts::waiting();
        let ours = waiting.iter().filter(|(_, alert)| alert.seq == 2_003);
        ours.map(|(_, alert)| alert.text.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(85), ["alarm at 50 %", "alarm at 80 %"]);
    assert_eq!(told(99), ["alarm at 50 %", "alarm at 80 %", "alarm at 95 %"]);
}

#[test]
fn a_gate_that_is_closed_opens_when_there_is_room_worth_the_name() {
    let mut level = Level::Low;
    for (percent, expected) in [
        (49, Level::Low),
        (50, Level::Half),
        (80, Level::Most),
        (94, Level::Most),
        (95, Level::Full),
        (300, Level::Full),
        (80, Level::Full),
        (79, Level::Most),
        (75, Level::Most),
        (74, Level::Half),
        (94, Level::Most),
        (49, Level::Half),
        (45, Level::Half),
        (44, Level::Low),
        (49, Level::Low),
    ] {
        level = level.next(percent);
        assert_eq!(level, expected, "{percent} %");
    }
}

#[test]
fn a_reader_that_begins_anew_in_another_database_needs_again_what_it_had_passed() {
    let dir = tempfile::tempdir().expect("a directory");
    let _opened = journal(dir.path(), 100);
    let place = || {
        let retention = Retention::open(dir.path()).expect("opens");
        retention.positions().find(|(name, _)| *name == PROJECTION_PG).map(|(_, seq)| seq)
    };
    let mut mark = Mark::new(dir.path(), PROJECTION_PG);
    mark.begin(0).expect("written");
    mark.pass(80);
    assert_eq!(place(), Some(80));
    for (begins_behind, is_written) in [(90, 80), (30, 30), (0, 0)] {
        Mark::new(dir.path(), PROJECTION_PG).begin(begins_behind).expect("written");
        assert_eq!(place(), Some(is_written));
    }
}
