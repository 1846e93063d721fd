use std::path::Path;

use tradecore_domain::Limits;
use tradecore_journal::{Config, Outcome, Space};

use super::*;
use crate::daemon::DaemonError;
use crate::exit::Exit;

#[path = "../domain/tests/histories/history.rs"]
mod history;

/// Small segments: a history goes over many of them.
fn config(dir: &Path) -> Config {
    Config { first_segment_bytes: 64 << 10, max_segment_bytes: 128 << 10, reserve_bytes: 4 << 10, ..Config::new(dir) }
}

/// Journals a history up to the first group with `open_max` open orders; events, and the hash of the live state. The
/// writer is dropped without a seal, as a crash leaves it.
fn write(dir: &Path, seed: u64, open_max: u32) -> (u64, u64) {
    let mut opened = tradecore_journal::open(&config(dir)).expect("opens");
    let journal = &mut opened.writer;
    let (mut is_over, mut hash) = (false, 0);
    history::history(seed, &mut |live, events| {
        if is_over {
            return;
        }
        while !journal.can_append(512 * events.len(), events.len(), Space::Normal) {
            std::thread::yield_now();
        }
        journal.begin(1);
        for event in events {
            let (kind, version) = event.kind();
            journal.append(kind, version, event.payload_len(), |payload| assert!(event.archive_into(payload)));
        }
        journal.commit();
        (is_over, hash) = (live.open_orders_count() >= open_max, live.hash());
    });
    (journal.last_seq(), hash)
}

#[test]
fn a_journal_is_replayed_into_the_live_state_however_often() {
    let dir = tempfile::tempdir().expect("a directory");
    let seed = 1;
    let (events, hash) = write(dir.path(), seed, u32::MAX);
    assert!(tradecore_journal::stat(dir.path()).expect("readable").segments > 2, "it goes over several segments");
    for start in 2..=4 {
        let mut state = State::new(history::limits(seed));
        assert_eq!(replay(dir.path(), &mut state, &mut |_| {}).expect("replays"), events);
        assert_eq!(state.hash(), hash, "before start {start}");
        let report = tradecore_journal::open(&config(dir.path())).expect("opens").report;
        assert_eq!((report.outcome, report.epoch, report.last_seq), (Outcome::Clean, start, events));
    }
}

#[test]
fn a_journal_that_holds_more_than_is_configured_refuses_the_start_and_says_what_to_set() {
    let dir = tempfile::tempdir().expect("a directory");
    let seed = 1;
    write(dir.path(), seed, 8);
    let enough = history::limits(seed);
    let try_with = |limits: Limits| {
        let mut state = State::new(limits);
        let replayed = replay(dir.path(), &mut state, &mut |_| {});
        state.check_invariants().expect("nothing is forgotten");
        assert_eq!(state.open_orders_count(), 8);
        (state.ids_count(), replayed.map_err(|error| (error.to_string(), DaemonError::from(error).exit())))
    };
    let (ids, replayed) = try_with(enough);
    assert!(replayed.is_ok());
    let (held, replayed) = try_with(Limits { orders_max: 7, closed_kept: 0, ..enough });
    let expected = "the journal holds 8 open orders, and core.orders_max = 7: set core.orders_max to 8 or more";
    assert_eq!((held, replayed), (ids, Err((expected.to_owned(), Exit::Config))));
    let (_, replayed) = try_with(Limits { ids_max: 7, ..enough });
    let (message, exit) = replayed.expect_err("refused");
    assert_eq!(exit, Exit::Config);
    assert!(message.contains("ClOrdIDs, and core.ids_max = 7: set core.ids_max to "), "{message}");
}
