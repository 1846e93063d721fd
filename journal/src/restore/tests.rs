use super::*;
use crate::{Config, Reader, Space, Until, open, verify};

/// Groups of one to four records over several lives and segments; the last life sealed.
fn original(dir: &Path) {
    for life in 0..3_u64 {
        let config = Config { reserve_bytes: 4096, first_segment_bytes: 64 << 10, core: 7, ..Config::new(dir) };
        let opened = open(&config).expect("opens");
        let (mut writer, _, _, closer) = opened.into_parts();
        for nth in 0..700_u64 {
            while !writer.can_append(4 * 512, 4, Space::Normal) {
                std::thread::yield_now();
            }
            writer.begin(1_000 * life + nth);
            for record in 0..=nth % 4 {
                let len = (16 * (1 + (nth + record) % 20)) as usize;
                writer.append(64 + record as u16, 1, len, |out| out.fill(nth as u8));
            }
            writer.commit();
        }
        closer.seal(writer);
    }
}

fn groups(dir: &Path) -> Vec<(u32, Vec<Vec<u8>>)> {
    let mut reader = Reader::open(dir, 1, Until::Synced).expect("opens");
    let mut groups = Vec::new();
    while let Some(group) = reader.next_group().expect("readable") {
        let epoch = group.records().next().expect("a record").epoch;
        groups.push((epoch, group.records().map(|record| record.bytes.to_vec()).collect()));
    }
    groups
}

fn restorer(dir: &Path) -> Restorer {
    Restorer::begin(dir, 7, 0, 1).expect("begins")
}

#[test]
fn a_journal_of_the_records_of_another_has_each_of_them_byte_for_byte_and_goes_on() {
    let root = tempfile::tempdir().expect("a directory");
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    original(&from);
    let groups_before = groups(&from);
    let mut restorer = restorer(&to);
    for (epoch, group) in &groups_before {
        restorer.append(*epoch, group).expect("taken");
    }
    let last_seq = restorer.last_seq();
    restorer.finish().expect("written");
    restorer.confirm().expect("confirmed");
    assert_eq!(groups(&to), groups_before);
    let report = verify(&to).expect("readable");
    assert_eq!((report.finding, report.last_seq, report.durable_seq), (None, last_seq, last_seq));

    let opened = open(&Config { core: 7, ..Config::new(&to) }).expect("opens");
    let (mut writer, report, _, closer) = opened.into_parts();
    assert_eq!((report.last_seq, report.epoch), (last_seq, 3 + EPOCHS_LEFT_OUT + 1), "epochs are never given twice");
    assert!(writer.can_append(512, 1, Space::Normal));
    writer.begin(0);
    assert_eq!(writer.append(64, 1, 16, |_| {}), last_seq + 1);
    writer.commit();
    closer.seal(writer);
    assert_eq!(groups(&to).len(), groups_before.len() + 1, "readers are led on");
}

#[test]
fn an_unfinished_restore_is_refused_by_a_start_and_begun_anew_by_the_next() {
    let root = tempfile::tempdir().expect("a directory");
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    original(&from);
    let groups_before = groups(&from);
    let half = groups_before.len() / 2;
    // Left as it is begun, in its middle, and when all is written and nothing was read back.
    for (count, is_finished) in [(0, false), (half, false), (groups_before.len(), true)] {
        let mut restorer = restorer(&to);
        for (epoch, group) in groups_before.iter().take(count) {
            restorer.append(*epoch, group).expect("taken");
        }
        if is_finished {
            restorer.finish().expect("written");
        }
        drop(restorer);
        let refused = open(&Config { core: 7, ..Config::new(&to) }).expect_err("is no journal");
        assert!(matches!(refused, OpenError::Unfinished { .. }), "{refused}");
    }
    let mut restorer = restorer(&to);
    for (epoch, group) in &groups_before {
        restorer.append(*epoch, group).expect("taken");
    }
    restorer.finish().expect("written");
    restorer.confirm().expect("confirmed");
    assert_eq!(groups(&to), groups_before);
}

#[test]
fn what_is_there_is_never_written_over() {
    let root = tempfile::tempdir().expect("a directory");
    original(root.path());
    let groups_before = groups(root.path());
    let refused = Restorer::begin(root.path(), 7, 0, 1).expect_err("is not empty");
    assert!(matches!(refused, RestoreError::NotEmpty { .. }), "{refused}");
    assert_eq!(groups(root.path()), groups_before);
}

#[test]
fn a_record_that_does_not_fit_is_refused_and_what_fits_goes_on() {
    let root = tempfile::tempdir().expect("a directory");
    let (from, to) = (root.path().join("from"), root.path().join("to"));
    original(&from);
    let groups = groups(&from);
    let mut restorer = restorer(&to);
    let refuse = |restorer: &mut Restorer, epoch, group: &[Vec<u8>], what: &str| {
        let before = restorer.last_seq();
        let error = restorer.append(epoch, group).expect_err(what);
        assert!(matches!(error, RestoreError::Record { .. }), "{what}: {error}");
        assert_eq!(restorer.last_seq(), before, "{what}");
    };
    let (epoch, first) = &groups[0];
    let (_, second) = &groups[1];
    refuse(&mut restorer, *epoch, second, "the first is missing");
    refuse(&mut restorer, *epoch, &[], "nothing");
    refuse(&mut restorer, *epoch, &[vec![0; 8]], "too short");
    restorer.append(*epoch, first).expect("taken");
    refuse(&mut restorer, *epoch, first, "again");
    refuse(&mut restorer, *epoch, &second[..1], "half of a group");
    refuse(&mut restorer, 0, second, "an older epoch");
    let mut flipped = second.clone();
    flipped[1][40] ^= 1;
    refuse(&mut restorer, *epoch, &flipped, "a flipped bit in a later record of a group");
    restorer.append(*epoch, second).expect("taken");
}
