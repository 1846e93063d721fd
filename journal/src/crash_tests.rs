//! Recovery against a model, at every step of a workload, over several crashes in a row.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::record::KIND_END;
use crate::recovery::Outcome;
use crate::retention::remove_up_to;
use crate::scan::{Found, found_at, slot_at};
use crate::segment::{Pace, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::simulation::{Crash, Dice, Simulated};
use crate::slots::Slots;
use crate::start::{Started, start};
use crate::storage::{Storage, StorageFile, numbered};
use crate::verify::Check;
use crate::{Config, Damage, OpenError, Space};

const DIR: &str = "/journal";

fn config(is_hot: bool) -> Config {
    Config {
        hot_dir: is_hot.then(|| PathBuf::from("/hot")),
        first_segment_bytes: 64 << 10,
        max_segment_bytes: 64 << 10,
        reserve_bytes: 4 << 10,
        ..Config::new(DIR)
    }
}

/// What was written, as somebody outside remembers it.
#[derive(Debug, Default)]
struct Model {
    /// Groups in order: number and payload of each record.
    groups: Vec<Vec<(u64, Vec<u8>)>>,
    /// Acknowledged as surviving power loss.
    synced: u64,
    /// Acknowledged as surviving the process.
    journaled: u64,
    epoch: u32,
    /// Content of every identity that was ever acknowledged in any class.
    given: BTreeMap<(u32, u64), Vec<u8>>,
}

/// Appends, rolls over, syncs and prepares in an order that the dice choose, until the disk fails.
fn work(
    disk: &Simulated,
    started: &mut Started<Simulated>,
    model: &mut Model,
    dice: &mut Dice,
    groups: u64,
) -> io::Result<()> {
    for _ in 0..groups {
        match dice.below(8) {
            0 if !started.exchange.prepared.is_full() => drop(
                started
                    .exchange
                    .prepared
                    .push(started.maker.make(Pace::Gentle(&started.exchange)).map_err(io::Error::other)?),
            ),
            0 | 1 => {
                started.syncer.sync_once(true)?;
                model.synced = started.watermarks.synced();
            }
            _ => {}
        }
        while let Some(old) = started.exchange.retired.pop() {
            drop(old);
        }
        let records = 1 + dice.below(4);
        let payload_len = 16 + dice.below(3000) as usize;
        if !started.writer.can_append((payload_len + 64) * records as usize, records as usize, Space::Normal) {
            continue;
        }
        disk.step()?;
        let mut group = Vec::new();
        started.writer.begin(1);
        for _ in 0..records {
            let payload: Vec<u8> = (0..payload_len).map(|_| dice.below(256) as u8).collect();
            let seq = started.writer.append(64, 1, payload.len(), |out| out.copy_from_slice(&payload));
            group.push((seq, payload));
            // The process may die with a group half made: the newest record is not in the segment yet, those before are.
            disk.step()?;
        }
        started.writer.commit();
        for (seq, payload) in &group {
            assert!(model.given.insert((model.epoch, *seq), payload.clone()).is_none(), "identity {seq} given twice");
        }
        model.journaled = started.writer.last_seq();
        model.groups.push(group);
    }
    Ok(())
}

/// Reads a disk's journal as recovery would, without judging: the records of whole groups, by group.
fn read_groups(disk: &Simulated) -> Vec<Vec<(u64, Vec<u8>)>> {
    let mut groups = Vec::new();
    let mut next_seq = 1;
    for segno in numbered(disk, Path::new(DIR), "jnl").expect("listed") {
        let file = disk.open(&crate::segment::path_of(Path::new(DIR), segno)).expect("listed");
        let bytes = file.read_all().expect("readable");
        let salt = SegmentHeader::from_bytes(&bytes).expect("a header").salt;
        let mut at = SEGMENT_HEADER_BYTES;
        loop {
            match found_at(bytes.as_slice(), salt, at, next_seq) {
                Found::Group { end, last_seq, .. } => {
                    let group = crate::Group { bytes: &bytes[at..end], start: at, segment: segno, epoch: 0 };
                    groups.push(group.records().map(|record| (record.seq, record.payload.to_vec())).collect());
                    (at, next_seq) = (end, last_seq + 1);
                }
                Found::Seal { end } => at = end,
                Found::End | Found::Free => break,
                Found::Bad => panic!("segment {segno} is bad at {at} after recovery"),
            }
        }
    }
    groups
}

/// Nothing is left of what recovery cut.
fn check_every_bit(disk: &Simulated, last_seq: u64, context: &str) {
    let mut check = Check::new(Some(1));
    for segno in numbered(disk, Path::new(DIR), "jnl").expect("listed") {
        let file = disk.open(&crate::segment::path_of(Path::new(DIR), segno)).expect("listed");
        let result = check.segment(&file.read_all().expect("readable"), segno);
        assert_eq!(result, Ok(()), "{context}: segment {segno}");
    }
    assert_eq!(check.next_seq, Some(last_seq + 1), "{context}");
}

/// A life after a crash: recovers, checks against the model, forgets what was lost.
fn recover(
    disk: &Simulated,
    config: &Config,
    boot_id: &str,
    crash: Crash,
    model: &mut Model,
    context: &str,
) -> Started<Simulated> {
    let started = match start(disk, config, boot_id, 0) {
        Ok(started) => started,
        Err(error) => panic!("{context}: refused: {error}"),
    };
    let last_seq = started.report.last_seq;
    let must_keep = if crash == Crash::Process { model.journaled } else { model.synced };
    assert!(last_seq >= must_keep, "{context}: {must_keep} was acknowledged, {last_seq} is left");
    let found = read_groups(disk);
    assert!(found.len() <= model.groups.len(), "{context}: more than was written");
    for (found, written) in found.iter().zip(&model.groups) {
        assert_eq!(found, written, "{context}: not a prefix of what was written");
    }
    check_every_bit(disk, last_seq, context);
    assert_eq!(found.last().map_or(0, |group| group.last().expect("not empty").0), last_seq, "{context}");
    assert!(started.report.epoch > model.epoch, "{context}: epoch {} was given before", started.report.epoch);
    assert_ne!(started.report.outcome, Outcome::Damaged);
    model.groups.truncate(found.len());
    model.epoch = started.report.epoch;
    // What was found was synced while it was read.
    (model.journaled, model.synced) = (last_seq, last_seq);
    started
}

/// A first life until the crash at step `crash_at`; false when it ended before.
fn first_life(crash_at: u64, is_hot: bool, dice: &mut Dice) -> (Simulated, Model, bool) {
    let mut model = Model::default();
    let disk = Simulated::default();
    disk.crash_after(crash_at);
    let mut has_crashed = false;
    if let Ok(mut started) = start(&disk, &config(is_hot), "boot", 0) {
        model.epoch = started.report.epoch;
        has_crashed = work(&disk, &mut started, &mut model, dice, 60).is_err();
    }
    has_crashed |= model.epoch == 0;
    (disk, model, has_crashed)
}

/// Lives until the crash at step `crash_at`, then a second crash during recovery or soon after, then a last life.
fn check_crash_at(seed: u64, crash_at: u64, is_hot: bool, crash: Crash) -> bool {
    let context = format!("seed {seed}, step {crash_at}, hot {is_hot}, {crash:?}");
    let config = config(is_hot);
    let mut dice = Dice::new(seed);
    let (mut disk, mut model, has_crashed) = first_life(crash_at, is_hot, &mut dice);
    let boot_id = |life: u64| if crash == Crash::Power { format!("boot {life}") } else { "boot".to_owned() };
    let mut chaos = Dice::new(seed ^ (crash_at << 20));
    for life in 1..3 {
        disk = disk.survivor(crash, &mut chaos);
        // The machine may go down again in the middle of recovery: the next one starts over.
        disk.crash_after(chaos.below(40));
        if let Ok(started) = start(&disk, &config, &boot_id(life * 2), 0) {
            // It came up and gave an epoch: that one is never given again either.
            assert!(started.report.epoch > model.epoch, "{context}: an epoch was given twice");
            model.epoch = started.report.epoch;
        }
        disk = disk.survivor(crash, &mut chaos);
        let mut started = recover(&disk, &config, &boot_id(life * 2 + 1), crash, &mut model, &context);
        disk.crash_after(chaos.below(400));
        drop(work(&disk, &mut started, &mut model, &mut dice, 30));
    }
    has_crashed
}

/// Every step of the workload, until it ends before the crash.
fn check_every_step(seed: u64, is_hot: bool, crash: Crash) {
    let steps = (0..).take_while(|crash_at| check_crash_at(seed, *crash_at, is_hot, crash)).count();
    assert!(steps > 60, "seed {seed}: the workload has {steps} steps only");
}

/// Every step of the recovery from a crash, until it comes up before the next one.
fn check_every_step_of_a_recovery(is_hot: bool, crash: Crash) {
    for crash_at in [None, Some(40), Some(80), Some(120), Some(160), Some(200)] {
        for step in 0.. {
            let context = format!("step {crash_at:?}, step {step} of the recovery, hot {is_hot}, {crash:?}");
            let (disk, mut model) = match crash_at {
                Some(crash_at) => {
                    let (disk, model, has_crashed) = first_life(crash_at, is_hot, &mut Dice::new(crash_at));
                    assert!(has_crashed, "{context}");
                    (disk, model)
                }
                None => {
                    let (disk, mut started, model) = synced_journal(is_hot, 12);
                    prepare_two(&mut started);
                    (disk, model)
                }
            };
            let mut chaos = Dice::new(step);
            let disk = disk.survivor(crash, &mut chaos);
            disk.crash_after(step);
            let boot_id = |life| if crash == Crash::Power { format!("boot {life}") } else { "boot".to_owned() };
            let came_up = start(&disk, &config(is_hot), &boot_id(1), 0);
            model.epoch = came_up.as_ref().map_or(model.epoch, |started| started.report.epoch);
            let disk = disk.survivor(crash, &mut chaos);
            recover(&disk, &config(is_hot), &boot_id(2), crash, &mut model, &context);
            if came_up.is_ok() {
                assert!(step > 5, "{context}: a recovery has more steps");
                break;
            }
        }
    }
}

#[test]
fn power_loss_at_every_step_keeps_what_was_synced_and_whole_groups_when_segments_are_mapped() {
    check_every_step(1, false, Crash::Power);
}

#[test]
fn power_loss_at_every_step_keeps_what_was_synced_and_whole_groups_when_segments_are_hot() {
    check_every_step(11, true, Crash::Power);
}

#[test]
fn a_kill_at_every_step_keeps_every_committed_group_when_segments_are_mapped() {
    check_every_step(21, false, Crash::Process);
}

#[test]
fn a_kill_at_every_step_keeps_every_committed_group_when_segments_are_hot() {
    check_every_step(31, true, Crash::Process);
}

#[test]
fn a_recovery_that_is_cut_at_any_of_its_steps_is_made_again() {
    for is_hot in [false, true] {
        check_every_step_of_a_recovery(is_hot, Crash::Power);
        check_every_step_of_a_recovery(is_hot, Crash::Process);
    }
}

/// A synced journal of at least `groups` groups.
fn synced_journal(is_hot: bool, groups: u64) -> (Simulated, Started<Simulated>, Model) {
    let disk = Simulated::default();
    let mut started = start(&disk, &config(is_hot), "boot", 0).expect("starts");
    let mut model = Model { epoch: started.report.epoch, ..Model::default() };
    work(&disk, &mut started, &mut model, &mut Dice::new(5), groups).expect("no crash");
    while started.syncer.sync_once(true).expect("syncs") {}
    model.synced = started.watermarks.synced();
    assert_eq!(model.synced, model.journaled);
    (disk, started, model)
}

#[test]
fn damage_of_what_was_synced_is_refused_and_nothing_is_changed() {
    let (disk, _started, model) = synced_journal(false, 12);
    let mut dice = Dice::new(77);
    let path = PathBuf::from("/journal/0000000001.jnl");
    let used = disk.content()[&path].iter().rposition(|byte| *byte != 0).expect("used") as u64;
    for _ in 0..200 {
        // As often in the header, which names the segment, as in the records.
        let is_header = dice.below(2) == 0;
        let at = if is_header { dice.below(4096) } else { dice.below(used - 4096) + 4096 };
        let bit = dice.below(8);
        let copy = disk.survivor(Crash::Process, &mut dice);
        copy.damage(&path, at, 1 << bit);
        let before = copy.content();
        match start(&copy, &config(false), "boot", 0) {
            Err(OpenError::Damaged(Damage::Segment { segment })) if is_header => assert_eq!(segment, path),
            Err(OpenError::Damaged(Damage::Events { durable_seq, .. })) if !is_header => {
                assert_eq!(durable_seq, model.synced, "byte {at}");
            }
            other => panic!("byte {at} bit {bit}: {:?}", other.err()),
        }
        assert_eq!(copy.content(), before, "byte {at}: something was changed");
    }
}

#[test]
fn damage_is_known_by_later_records_when_the_durable_slots_are_behind() {
    let (disk, _started, _) = synced_journal(false, 60);
    let copy = disk.survivor(Crash::Process, &mut Dice::new(1));
    Slots::open(&copy, Path::new("/journal/durable")).and_then(|mut slots| slots.write(0)).expect("written");
    copy.damage(Path::new("/journal/0000000001.jnl"), 4096 + 40, 1);
    let refused = start(&copy, &config(false), "boot", 0);
    assert!(matches!(refused, Err(OpenError::Damaged(Damage::Events { .. }))), "{refused:?}");
}

#[test]
fn a_durable_watermark_that_is_lost_is_refused_and_nothing_is_changed() {
    let path = Path::new("/journal/durable");
    let lose: [&dyn Fn(&Simulated); 2] = [&|disk| disk.remove(path).expect("there"), &|disk| {
        [8, 512 + 8].iter().for_each(|value_at| disk.damage(path, *value_at, 1));
    }];
    for (groups, has_segments) in [(0, true), (0, false), (12, true)] {
        for lose in lose {
            let (disk, _started, _) = synced_journal(false, groups);
            lose(&disk);
            if !has_segments {
                disk.remove(Path::new("/journal/0000000001.jnl")).expect("there");
            }
            let before = disk.content();
            let refused = start(&disk, &config(false), "boot", 0).expect_err("refused");
            assert!(matches!(&refused, OpenError::Damaged(Damage::Watermark { path: named }) if named == path));
            assert!(refused.to_string().starts_with("/journal/durable: "), "{refused}");
            assert_eq!(disk.content(), before);
        }
    }
}

#[test]
fn the_epoch_survives_power_loss_before_the_first_append() {
    for seed in 0..20 {
        let disk = Simulated::default();
        let started = start(&disk, &config(false), "boot", 0).expect("starts");
        let copy = disk.survivor(Crash::Power, &mut Dice::new(seed));
        let epoch = Slots::peek(&copy, Path::new("/journal/epoch")).expect("readable");
        assert_eq!(epoch, Some(u64::from(started.report.epoch)), "seed {seed}");
    }
}

#[test]
fn a_lost_segment_is_refused() {
    let (disk, _started, _) = synced_journal(false, 60);
    for segno in numbered(&disk, Path::new(DIR), "jnl").expect("listed") {
        let bytes = disk.content()[&crate::segment::path_of(Path::new(DIR), segno)].clone();
        if bytes[SEGMENT_HEADER_BYTES..].iter().all(|byte| *byte == 0) {
            continue;
        }
        let copy = disk.survivor(Crash::Process, &mut Dice::new(1));
        copy.remove(&crate::segment::path_of(Path::new(DIR), segno)).expect("there");
        assert!(matches!(start(&copy, &config(false), "boot", 0), Err(OpenError::Damaged(_))), "segment {segno}");
    }
}

#[test]
fn power_loss_at_any_step_of_a_removal_leaves_a_journal_that_starts() {
    let mut removed_some = 0;
    for seed in 0..8 {
        for crash_at in 0.. {
            let (disk, started, model) = synced_journal(false, 60);
            drop(started);
            let segnos = numbered(&disk, Path::new(DIR), "jnl").expect("listed");
            assert!(segnos.len() > 4, "{segnos:?}");
            disk.crash_after(crash_at);
            let has_crashed = remove_up_to(&disk, Path::new(DIR), segnos[segnos.len() - 3]).is_err();
            let disk = disk.survivor(Crash::Power, &mut Dice::new(seed * 100 + crash_at));
            let context = format!("seed {seed}, step {crash_at}");
            let left = numbered(&disk, Path::new(DIR), "jnl").expect("listed");
            let next =
                start(&disk, &config(false), "boot", 0).unwrap_or_else(|error| panic!("{context}: {error}, {left:?}"));
            assert_eq!(next.report.last_seq, model.synced, "{context}");
            let first = numbered(&disk, Path::new(DIR), "jnl").expect("listed")[0];
            assert!([1, segnos[segnos.len() - 2]].contains(&first), "{context}: {first} is neither whole nor removed");
            removed_some += u64::from(left.len() < segnos.len() && left[0] < first);
            if !has_crashed {
                break;
            }
        }
    }
    assert!(removed_some > 0, "no power loss in between was met");
}

#[test]
fn a_missing_hot_copy_refuses_in_the_same_boot_and_is_power_loss_in_the_next() {
    let (disk, _started, model) = synced_journal(true, 12);
    let copy = disk.survivor(Crash::Process, &mut Dice::new(1));
    copy.remove(Path::new("/hot/0000000001.hot")).expect("there");
    let before = copy.content();
    assert!(matches!(start(&copy, &config(true), "boot", 0), Err(OpenError::MissingHotSegment { .. })));
    assert_eq!(copy.content(), before);
    let next = start(&copy, &config(true), "another boot", 0).expect("what was synced is there");
    assert_eq!(next.report.last_seq, model.synced);
}

#[test]
fn a_full_disk_refuses_what_adds_risk_and_leaves_the_reserve_until_there_is_room() {
    let (disk, mut started, _) = synced_journal(false, 0);
    disk.set_free_bytes(Some(0));
    let error = started.maker.make(Pace::Gentle(&started.exchange)).expect_err("full");
    assert!(matches!(error, crate::OpenError::NoSpace { .. }), "{error}");
    assert!(disk.content().keys().all(|path| path.extension() != Some("partial".as_ref())), "room is kept");
    let append = |started: &mut Started<Simulated>, space| {
        let fits = started.writer.can_append(512, 1, space);
        if fits {
            started.writer.begin(1);
            started.writer.append(64, 1, 400, |out| out.fill(1));
            started.writer.commit();
        }
        fits
    };
    while append(&mut started, Space::Normal) {}
    let first = (0..).take_while(|_| append(&mut started, Space::FirstQuarter)).count();
    let rest = (0..).take_while(|_| append(&mut started, Space::Reserve)).count();
    assert!((2..=3).contains(&first), "{first} records of 512 bytes in a quarter of a reserve of 4 KiB");
    assert!((6..=7).contains(&rest), "{rest} records of 512 bytes in the rest of it");
    disk.set_free_bytes(None);
    drop(started.exchange.prepared.push(started.maker.make(Pace::Gentle(&started.exchange)).expect("room again")));
    assert!(append(&mut started, Space::Normal));
}

/// Appends records of 512 bytes while they fit; how many did.
fn fill(started: &mut Started<Simulated>, space: Space) -> usize {
    let fits = |started: &mut Started<Simulated>| started.writer.can_append(512, 1, space);
    let mut count = 0;
    while fits(started) {
        started.writer.begin(1);
        started.writer.append(64, 1, 480, |out| out.fill(1));
        started.writer.commit();
        count += 1;
    }
    count
}

#[test]
fn a_start_on_a_full_disk_goes_on_in_the_room_that_the_last_life_had_left() {
    // Longer than twice the reserve is what a first segment should be; the reserve is what a full disk leaves.
    let config = Config { reserve_bytes: 80 << 10, first_segment_bytes: 256 << 10, ..config(false) };
    for is_torn in [false, true] {
        let disk = Simulated::default();
        let mut started = start(&disk, &config, "boot", 0).expect("starts");
        disk.set_free_bytes(Some(0));
        fill(&mut started, Space::Normal);
        if is_torn {
            // Killed in the middle of a group, whose first record lies in the segment: what is cut is kept aside, which
            // needs room as well.
            started.writer.begin(1);
            started.writer.append(64, 1, 440, |out| out.fill(1));
            started.writer.append(64, 1, 8, |out| out.fill(1));
        }
        let last_seq = started.writer.last_seq() - if is_torn { 2 } else { 0 };
        let disk = disk.survivor(Crash::Process, &mut Dice::new(1));
        disk.set_free_bytes(Some(0));
        let mut started = start(&disk, &config, "boot", 0).expect("room enough for cancels");
        assert_eq!((started.report.last_seq, started.report.kept_at.is_some()), (last_seq, is_torn));
        assert_eq!(fill(&mut started, Space::Normal), 0, "what adds risk is refused");
        let first = fill(&mut started, Space::FirstQuarter);
        assert!(first >= 20, "{first} records of 512 bytes of what may be repeated");
        let reserved = first + fill(&mut started, Space::Reserve);
        assert!(reserved >= 120, "{reserved} records of 512 bytes in what was left of 80 KiB");
        disk.set_free_bytes(None);
        let next = started.maker.make(Pace::Gentle(&started.exchange)).expect("room again");
        assert_eq!(next.header.segment_bytes, 256 << 10, "as long as it should be");
    }
}

/// Two segments lie ready: one that the writer has taken in, and one that was made since.
fn prepare_two(started: &mut Started<Simulated>) {
    for _ in 0..2 {
        if started.exchange.prepared.is_empty() {
            let ahead = started.maker.make(Pace::Gentle(&started.exchange)).expect("room");
            drop(started.exchange.prepared.push(ahead));
        }
        assert!(started.writer.can_append(started.writer.room() + 1, 1, Space::Reserve));
    }
}

/// A clean stop, but for its threads.
fn seal(disk: &Simulated, started: &mut Started<Simulated>) {
    started.writer.write_seal();
    crate::stop::end(disk, Path::new(DIR), started.maker.hot_dir.as_deref(), &mut started.writer);
}

#[test]
fn a_stop_that_is_cut_at_any_of_its_steps_keeps_what_was_acknowledged() {
    for (is_hot, crash) in [false, true].into_iter().flat_map(|hot| [(hot, Crash::Power), (hot, Crash::Process)]) {
        for step in 0.. {
            let context = format!("step {step} of the stop, hot {is_hot}, {crash:?}");
            let (disk, mut started, mut model) = synced_journal(is_hot, 12);
            work(&disk, &mut started, &mut model, &mut Dice::new(9), 3).expect("no crash");
            prepare_two(&mut started);
            disk.crash_after(step);
            seal(&disk, &mut started);
            let synced: io::Result<()> = (|| {
                while started.syncer.sync_once(true)? {}
                crate::hot::Marker::remove(&disk, Path::new(DIR))
            })();
            model.synced = started.watermarks.synced();
            let disk = disk.survivor(crash, &mut Dice::new(step));
            recover(
                &disk,
                &config(is_hot),
                if crash == Crash::Power { "next" } else { "boot" },
                crash,
                &mut model,
                &context,
            );
            if synced.is_ok() {
                assert!(step > 4, "{context}: a stop has more steps");
                break;
            }
        }
    }
}

#[test]
fn clean_stops_leave_no_more_than_what_they_wrote() {
    let mut disk = Simulated::default();
    disk.set_free_bytes(Some(1 << 20));
    for life in 0..40 {
        let mut started =
            start(&disk, &config(false), "boot", 0).unwrap_or_else(|error| panic!("life {life}: {error}"));
        started.writer.begin(1);
        started.writer.append(64, 1, 16, |out| out.fill(1));
        started.writer.commit();
        seal(&disk, &mut started);
        while started.syncer.sync_once(true).expect("syncs") {}
        disk = disk.survivor(Crash::Process, &mut Dice::new(1));
    }
    let left = disk.free_bytes().expect("bounded");
    // Each leaves a header and a page of records; the last the whole of its segment, until the next start.
    assert!(left > (1 << 20) - (39 * 8192 + (64 << 10) + (16 << 10)), "{left} bytes are left");
}

#[test]
fn a_disk_without_room_for_the_shortest_segment_says_so() {
    let disk = Simulated::default();
    disk.set_free_bytes(Some(32 << 10));
    let refused = start(&disk, &config(false), "boot", 0).expect_err("refused");
    assert!(matches!(refused, OpenError::NoSpace { bytes: 65536, .. }), "{refused}");
}

#[test]
fn a_failed_sync_is_reported_and_tells_nobody_that_anything_is_durable() {
    let (disk, mut started, model) = synced_journal(false, 4);
    started.writer.begin(1);
    started.writer.append(64, 1, 16, |out| out.fill(1));
    started.writer.commit();
    disk.crash_after(0);
    started.syncer.sync_once(true).expect_err("the disk is gone");
    assert_eq!(started.watermarks.synced(), model.synced);
}

#[test]
fn a_start_after_a_failed_sync_brings_to_the_disk_what_it_takes_for_durable() {
    for (seed, is_hot) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let (disk, mut started, _) = synced_journal(is_hot, 4);
        for _ in 0..1 + seed {
            started.writer.begin(1);
            started.writer.append(64, 1, 600, |out| out.fill(1));
            started.writer.commit();
        }
        disk.fail_next_sync();
        started.syncer.sync_once(true).expect_err("the disk failed");
        let disk = disk.survivor(Crash::Process, &mut Dice::new(seed));
        let last_seq = start(&disk, &config(is_hot), "boot", 0).expect("starts").report.last_seq;
        assert_eq!(last_seq, started.writer.last_seq());
        let disk = disk.survivor(Crash::Power, &mut Dice::new(seed));
        let after = start(&disk, &config(is_hot), "next boot", 0);
        let after = after.unwrap_or_else(|error| panic!("seed {seed}, hot {is_hot}: {error}"));
        assert_eq!(after.report.last_seq, last_seq, "seed {seed}, hot {is_hot}");
    }
}

#[test]
fn a_full_segment_keeps_room_for_its_seal_and_its_end() {
    let (disk, mut started, _) = synced_journal(false, 0);
    while started.writer.room() >= 32 {
        started.writer.begin(1);
        started.writer.append(64, 1, 0, |_| {});
        started.writer.commit();
    }
    seal(&disk, &mut started);
    while started.syncer.sync_once(true).expect("syncs") {}
    let last_seq = started.writer.last_seq();
    for round in 0..3 {
        let copy = disk.survivor(Crash::Process, &mut Dice::new(round));
        let next = start(&copy, &config(false), "boot", 0).expect("starts");
        assert_eq!((next.report.last_seq, next.report.is_sealed), (last_seq, true));
        let bytes = copy.content()[&PathBuf::from("/journal/0000000001.jnl")].clone();
        assert_eq!(bytes.len(), 64 << 10);
        let salt = SegmentHeader::from_bytes(&bytes).expect("a header").salt;
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("used") / 32 * 32;
        assert!(
            matches!(slot_at(bytes.as_slice(), end, salt), crate::record::Slot::Record(header, _) if header.kind == KIND_END)
        );
    }
}
