//! What one process counts and another reads.
#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::stages::Stage;

const TICKS_PER_S: u64 = 2_500_000_000;

fn made() -> (tempfile::TempDir, Mapped, Reader) {
    let dir = tempfile::tempdir().unwrap();
    let mapped = Mapped::in_dir(dir.path(), TICKS_PER_S).unwrap();
    let path = dir.path().join(FILE_NAME);
    let reader = Reader::of(File::open(&path).unwrap(), &path).unwrap();
    (dir, mapped, reader)
}

#[test]
fn every_counter_and_stage_is_found_by_its_name_in_the_file() {
    let (_dir, mapped, reader) = made();
    mapped.turns.add(7);
    mapped.journal_seq.set(9);
    for (nth, histogram) in mapped.stages().iter().enumerate() {
        for _ in 0..=nth {
            histogram.record(1_000);
        }
    }
    let seen = reader.snapshot();
    assert_eq!(
        (seen.counter("turns"), seen.counter("journal_seq"), seen.counter("events")),
        (Some(7), Some(9), Some(0))
    );
    assert_eq!(seen.counters.len(), Counters::TABLE.len());
    let counts: Vec<u64> = seen.stages.iter().map(|(.., reading)| reading.count()).collect();
    assert_eq!(counts, (1..=stages::COUNT as u64).collect::<Vec<_>>());
    assert_eq!(seen.stage("total").unwrap().count(), Stage::Total as u64 + 1);
    assert_eq!(seen.counters.first().unwrap().1, "Turns of the loop.");
    assert_eq!((reader.nanos(2_500), reader.process), (1_000, std::process::id().into()));
}

#[test]
fn the_names_fit_before_the_cells_and_only_the_owner_can_read_them() {
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(table::image(1).unwrap().len(), FILE_BYTES);
    let (dir, _mapped, _reader) = made();
    assert_eq!(std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_file_is_written_as_long_as_its_gateway_lives_and_goes_with_it() {
    let (dir, mapped, reader) = made();
    assert!(reader.is_written().unwrap());
    drop(mapped);
    assert!(!reader.is_written().unwrap());
    assert!(!dir.path().join(FILE_NAME).exists());
}

#[test]
fn a_file_that_a_killed_gateway_has_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE_NAME), "of another life").unwrap();
    std::fs::write(dir.path().join("counters.partial"), "not whole").unwrap();
    let mapped = Mapped::in_dir(dir.path(), TICKS_PER_S).unwrap();
    let path = mapped.path().unwrap();
    assert_eq!(Reader::of(File::open(path).unwrap(), path).unwrap().snapshot().counter("turns"), Some(0));
}

#[test]
fn a_file_of_another_version_or_of_none_is_refused_with_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let read = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut image = table::image(TICKS_PER_S).unwrap();
        change(&mut image);
        std::fs::write(&path, image).unwrap();
        Reader::of(File::open(&path).unwrap(), &path)
    };
    assert!(read(&|_| ()).is_ok());
    let newer = read(&|image| image[8] = 2).unwrap_err();
    assert!(matches!(newer, ReadError::OtherVersion { found: 2, .. }), "{newer}");
    let longer = read(&|image| image[17] ^= 1).unwrap_err();
    assert!(matches!(longer, ReadError::OtherVersion { found: 1, .. }), "{longer}");
    for change in
        [&(|image: &mut Vec<u8>| image[0] = 0) as &dyn Fn(&mut Vec<u8>), &|image| image.truncate(100), &|image| {
            image[70] = 0xff
        }]
    {
        assert!(matches!(read(change).unwrap_err(), ReadError::Io { .. }));
    }
}

#[test]
fn private_cells_count_as_well() {
    let mapped = Mapped::private().unwrap();
    mapped.turns.add(2);
    assert_eq!((mapped.turns.get(), mapped.path()), (2, None));
}
