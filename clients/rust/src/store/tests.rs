//! The state file by itself: what is kept, forgotten, and reserved.

use super::*;

const NOW_NS: u64 = 1_700_000_000_250_000_000;

fn request(seq: u64, id: u64) -> Request {
    Request { seq, is_repeat: false, is_closed: false, template_id: 100, block: [id.to_le_bytes(), [7; 8]].concat() }
}

/// Numbers of the requests that have no answer.
fn unanswered(store: &Store) -> Vec<u64> {
    store.unanswered.values().map(|request| request.seq).collect()
}

#[test]
fn a_file_cut_at_any_byte_opens_with_what_was_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    drop(Store::open(&path, NOW_NS).unwrap());
    let head_bytes = record(HEAD, &words(&[MAGIC, 0])).len();
    let mut store = Store::open(&path, NOW_NS).unwrap();
    for seq in 1..=5_u64 {
        store.keep(request(seq, store.numbers.last_cl_ord_id + 1)).unwrap();
    }
    let first_id = store.numbers.last_cl_ord_id - 4;
    for id in [first_id, first_id + 1] {
        assert!(store.answer(id, None));
        store.forget(id);
    }
    store.numbers.applied_seq = 9;
    store.save().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let last_id = store.numbers.last_cl_ord_id;
    drop(store);
    let mut most = 0;
    for cut in 0..=bytes.len() {
        let cut_path = dir.path().join("cut");
        std::fs::write(&cut_path, &bytes[..cut]).unwrap();
        let opened = Store::open(&cut_path, NOW_NS);
        if cut < head_bytes {
            assert!(matches!(opened, Err(StoreError::Damaged { offset_bytes: 0, .. })), "cut at {cut}");
            continue;
        }
        let opened = opened.unwrap();
        let unanswered = unanswered(&opened);
        assert!((1..opened.numbers.next_client_seq).collect::<Vec<_>>().ends_with(&unanswered), "cut at {cut}");
        let is_beyond = opened.numbers.applied_seq == 9;
        assert!(!is_beyond || unanswered == [3, 4, 5], "cut at {cut}: a request outlives its answer");
        assert!(opened.numbers.next_client_seq >= most, "cut at {cut}: a longer file knows more");
        assert!(opened.numbers.last_cl_ord_id > last_id, "cut at {cut}: an id comes twice");
        most = opened.numbers.next_client_seq;
    }
    let store = Store::open(&path, NOW_NS).unwrap();
    assert_eq!((store.numbers.applied_seq, store.unanswered.len(), most), (9, 3, 6));
}

#[test]
fn a_record_whose_end_was_lost_with_the_power_is_torn_and_one_that_was_changed_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut store = Store::open(&path, NOW_NS).unwrap();
    let mut ends = vec![];
    for seq in 1..=20 {
        store.keep(request(seq, store.numbers.last_cl_ord_id + 1)).unwrap();
        ends.push(std::fs::metadata(&path).unwrap().len() as usize);
    }
    let bytes = std::fs::read(&path).unwrap();
    drop(store);
    let kept = |bytes: &[u8]| {
        let path = dir.path().join("changed");
        std::fs::write(&path, bytes).unwrap();
        Store::open(&path, NOW_NS).map(|store| store.unanswered.len()).map_err(|error| error.to_string())
    };
    let zeros_from = |from: usize| [&bytes[..from], &vec![0; bytes.len() - from]].concat();
    let mut is_within_a_record = false;
    for sector in (512..bytes.len()).step_by(512) {
        let whole = ends.iter().filter(|end| **end <= sector).count();
        is_within_a_record |= !ends.contains(&sector);
        assert_eq!(kept(&zeros_from(sector)), Ok(whole), "zeros from {sector} on");
        let mut changed = zeros_from(sector);
        changed[bytes.len() - 1] = 1;
        assert!(kept(&changed).unwrap_err().contains("damaged at byte"), "zeros from {sector} on, but for the last");
    }
    assert!(is_within_a_record, "{ends:?}");
    let inner = ends[ends.len() - 2] + 13;
    assert!(!inner.is_multiple_of(512) && kept(&zeros_from(inner)).is_err(), "no sector begins at {inner}");
}

#[test]
fn an_answered_request_stays_forgotten_and_a_long_life_keeps_the_file_short() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.1");
    let mut store = Store::open(&path, NOW_NS).unwrap();
    for seq in 1..40_000_u64 {
        let id = store.numbers.last_cl_ord_id;
        store.keep(request(seq, id + 1)).unwrap();
        assert_eq!((store.answer(id, Some(seq)), store.answer(id, Some(seq - 1))), (false, seq > 1));
        store.forget(id);
        store.save().unwrap();
    }
    assert!(std::fs::metadata(&path).unwrap().len() < 2 * GROWTH_BYTES_MAX);
    let last_id = store.numbers.last_cl_ord_id;
    drop(store);
    let again = Store::open(&path, NOW_NS).unwrap();
    assert_eq!(unanswered(&again), [39_999], "an answered request came back");
    assert!(again.numbers.last_cl_ord_id > last_id);
}

#[test]
fn a_request_is_in_the_file_also_when_the_file_is_written_anew_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut store = Store::open(&path, NOW_NS).unwrap();
    let growth = |store: &Store| store.file.as_ref().unwrap().growth_bytes;
    let mut before = 0;
    for seq in 1.. {
        store.keep(request(seq, store.numbers.last_cl_ord_id + 1)).unwrap();
        if growth(&store) < before {
            break;
        }
        before = growth(&store);
    }
    let copy = dir.path().join("copy");
    std::fs::copy(&path, &copy).unwrap();
    assert_eq!(unanswered(&Store::open(&copy, NOW_NS).unwrap()), unanswered(&store));
}

#[test]
fn ids_beyond_those_reserved_are_reserved_before_they_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut store = Store::open(&path, NOW_NS).unwrap();
    let id = store.numbers.last_cl_ord_id + IDS_RESERVED + 1;
    store.keep(request(1, id)).unwrap();
    drop(store);
    let head_bytes = record(HEAD, &words(&[MAGIC, 0])).len();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..head_bytes]).unwrap();
    assert!(Store::open(&path, NOW_NS).unwrap().numbers.last_cl_ord_id > id);
}

#[test]
fn a_file_has_one_client_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let mut store = Store::open(&path, NOW_NS).unwrap();
    store.rewrite().unwrap();
    assert!(matches!(Store::open(&path, NOW_NS), Err(StoreError::Locked { .. })));
    drop(store);
    Store::open(&path, NOW_NS).unwrap();
}

#[test]
fn a_new_file_repeats_no_id_of_one_that_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let first_id = |name: &str, utc_ns| Store::open(&dir.path().join(name), utc_ns).unwrap().numbers.last_cl_ord_id;
    let (lost, next) = (first_id("lost", NOW_NS), first_id("new", NOW_NS + 1_000_000_000));
    assert_eq!(next - lost, 65_536, "{lost} {next}");
    let soon = first_id("soon", NOW_NS + 1_000_000);
    assert!((65..=66).contains(&(soon - lost)), "as many as a millisecond can have used: {lost} {soon}");
    let second_ns = NOW_NS / 1_000_000_000 * 1_000_000_000;
    assert!(first_id("late", second_ns + 999_999_999) < first_id("next", second_ns + 1_000_000_000));
    assert_eq!(ClOrdId(next).epoch(), 1, "ids of the other client stay open");
}

#[test]
fn a_refusal_is_the_last_word_on_an_order_only_under_the_number_it_went_under_last() {
    let mut store = Store::in_memory(NOW_NS);
    let id = store.numbers.last_cl_ord_id + 1;
    for (seq, is_repeat) in [(5, false), (7, true)] {
        store.keep(Request { is_repeat, ..request(seq, id) }).unwrap();
    }
    assert_eq!(unanswered(&store), [5], "the repetition is not kept");
    assert_eq!([5, 7].map(|seq| store.is_repeated_since(id, seq)), [true, false]);
    assert!(!store.answer(id, Some(6)) && store.answer(id, Some(7)));
    assert!(!store.is_repeated_since(id, 5), "it is answered");
    store.keep(request(8, id + 1)).unwrap();
    store.keep(Request { is_repeat: true, ..request(9, id + 1) }).unwrap();
    store.forget_repetitions();
    assert!(!store.is_repeated_since(id + 1, 8) && store.answer(id + 1, Some(8)));
}
