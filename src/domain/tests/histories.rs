//! Long random histories: the live state is the replayed state, and no invariant ever breaks.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "histories/history.rs"]
mod history;

use history::{LONG, Seen, history, limits};
use tradecore_domain::event::{EVENTS, Event, order_flags};
use tradecore_domain::{State, apply};
use tradecore_protocol::fields::Px;

/// An event as the journal keeps it.
type Archive = (u16, u8, Vec<u128>);

fn bytes_of(words: &mut [u128], len: usize) -> &mut [u8] {
    &mut zerocopy::IntoBytes::as_mut_bytes(words)[..len]
}

/// 16-aligned, as the journal gives; what stood there before does not show through.
fn archive(event: &Event) -> Archive {
    let (kind, version) = event.kind();
    let len = event.payload_len();
    let [mut words, mut over_old] = [0, u128::MAX].map(|old| vec![old; len / 16]);
    assert!(event.archive_into(bytes_of(&mut words, len)) && event.archive_into(bytes_of(&mut over_old, len)));
    assert_eq!(words, over_old, "{event:?}");
    (kind, version, words)
}

fn read_back(archive: &Archive) -> Event {
    let (kind, version, words) = archive;
    Event::from_archive(*kind, *version, zerocopy::IntoBytes::as_bytes(words.as_slice())).expect("reads back")
}

fn check(state: &State, seed: u64) {
    for (account_id, account) in state.accounts() {
        let (mut notional, mut reserved, mut open, mut doubt) = (0_i128, 0_i128, 0, 0);
        let mut position = 0;
        while let Some(order) = state.next_open_order(&mut position, usize::MAX) {
            if order.account_id != account_id.0 {
                continue;
            }
            open += 1;
            doubt += u32::from(order.flags & order_flags::DOUBT != 0);
            assert!(order.cum_qty < order.order_qty, "seed {seed}: an open order has leaves");
            if order.flags & order_flags::REPLACE_PENDING == 0 && order.px != Px::NONE.0 {
                let worth = i128::from(order.px) * i128::from(order.order_qty - order.cum_qty);
                notional += worth;
                reserved += if order.side == 1 { worth } else { 0 };
            }
        }
        assert_eq!((account.open_orders, account.in_doubt), (open, doubt), "seed {seed}");
        assert!(account.open_notional >= notional && account.reserved >= reserved, "seed {seed}: worst case");
    }
}

/// A history whose replayed state goes along with the live one; its events, as they are kept.
fn check_history(seed: u64, seen: &mut Seen) -> Vec<Archive> {
    let mut replayed = State::new(limits(seed));
    let mut kept = Vec::new();
    let mut listener = |live: &State, events: &[Event]| {
        for event in events {
            let archive = archive(event);
            let back = read_back(&archive);
            assert_eq!(&back, event);
            apply(&mut replayed, &back);
            kept.push(archive);
        }
        assert_eq!(live.hash(), replayed.hash(), "seed {seed}: {events:?}");
        check(live, seed);
    };
    for (name, times) in history(seed, &mut listener) {
        *seen.entry(name).or_default() += times;
    }
    // From the first event, and from the bytes alone.
    let mut again = State::new(limits(seed));
    for archive in &kept {
        apply(&mut again, &read_back(archive));
    }
    assert_eq!(again.hash(), replayed.hash(), "seed {seed}");
    kept
}

/// Cases that every set of histories has, beside one of each type of event.
const CASES: &[&str] = &[
    "canceled for ClientDisconnect",
    "canceled for ClientRequest",
    "canceled for Killed",
    "canceled for OperatorRequest",
    "kill switch of an account engaged",
    "kill switch of an account released",
    "kill switch of the core engaged",
    "kill switch of the core released",
    "lock-out engaged",
    "lock-out released",
    "mass cancel of a side",
    "mass cancel of an account",
    "mass cancel of an instrument",
    "mass cancel of every session",
    "refused ClientEpochClosed",
    "refused IdsMax",
    "rejected DuplicateId",
    "rejected Killed",
    "rejected LockedOut",
    "request rejected AccountUnknown",
    "request rejected InstrumentUnknown",
    "request rejected ScopeInvalid",
];

#[test]
fn the_live_state_is_the_replayed_state_at_every_group_of_long_random_histories() {
    let mut seen = Seen::new();
    for seed in (1..=9).chain([LONG]) {
        check_history(seed, &mut seen);
    }
    for name in EVENTS.iter().map(|(_, _, name, ..)| *name).chain(CASES.iter().copied()) {
        assert!(seen.contains_key(name), "{name} occurs: {seen:?}");
    }
}

#[test]
fn the_same_commands_give_the_same_bytes() {
    let [first, second] = [13, 13].map(|seed| check_history(seed, &mut Seen::new()));
    assert!(first == second, "seed 13");
}
