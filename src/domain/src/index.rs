//! A hash table of fixed capacity: number pairs to places in a table of the caller, without allocation.
//!
//! It keeps places and no keys: whether a place is that of a key is looked up where it leads. So eight entries lie in one
//! cache line.

const FREE: u32 = u32::MAX;

/// Most keys are counters: runs of so many (as a power of two) lie side by side, so that the next one is found in the
/// cache line of those before it. Longer runs would meet each other in a table that is nearly full.
const RUN_BITS: u32 = 2;
/// As `RUN_BITS`, of keys that leave gaps: a line.
const SPARSE_RUN_BITS: u32 = LINE_BITS;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where it would lie in the largest table.
    hash: u32,
    place: u32,
}

const EMPTY: Entry = Entry { hash: 0, place: FREE };

/// Entries of a line, as a power of two.
const LINE_BITS: u32 = 3;
const LINE: usize = 1 << LINE_BITS;

/// A cache line: no run lies in two.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([Entry; LINE]);

/// Open addressing with linear probing; removal shifts back, so that no tombstone slows a lookup.
#[derive(Clone, Debug)]
pub struct Index {
    lines: Box<[Line]>,
    mask: usize,
    /// What of a key's second number spreads it: all, or nothing.
    second_mask: u64,
    run_bits: u32,
    /// Where runs lie depends on it.
    seed: u64,
    len: usize,
    capacity: usize,
}

impl Index {
    /// A table for at most `capacity` keys; half as many entries more, and what is missing to a power of two, keep probes
    /// short. With a `seed` that they do not
    /// know, those who pick the keys cannot pick such as lie in each other's way; nothing but time depends on it.
    #[must_use]
    pub fn new(capacity: u32, seed: u64) -> Self {
        let entries = (capacity as usize).saturating_mul(3).div_ceil(2).next_power_of_two().max(LINE);
        Self {
            lines: vec![Line([EMPTY; LINE]); entries >> LINE_BITS].into_boxed_slice(),
            mask: entries.wrapping_sub(1),
            second_mask: u64::MAX,
            run_bits: RUN_BITS,
            seed,
            len: 0,
            capacity: capacity as usize,
        }
    }

    /// As `new`, for keys whose first numbers differ and leave gaps: it alone says where they lie, both say what they are.
    pub(crate) fn by_first(capacity: u32, seed: u64) -> Self {
        Self { second_mask: 0, run_bits: SPARSE_RUN_BITS, ..Self::new(capacity, seed) }
    }

    /// The same table with room for `capacity` keys.
    pub(crate) fn grow(&mut self, capacity: u32) {
        let Self { second_mask, run_bits, seed, .. } = *self;
        let mut grown = Self { second_mask, run_bits, ..Self::new(capacity, seed) };
        for entry in self.lines.iter().flat_map(|line| line.0).filter(|entry| entry.place != FREE) {
            // All of them are keys of their own.
            grown.put(entry, |_| false);
        }
        *self = grown;
    }

    /// Keys in the table.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    const fn hash(&self, key: (u64, u64)) -> u32 {
        // Multiplicative mixes: the numbers of runs are counters too, their low bits differ least.
        let second = (key.1 & self.second_mask).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mixed = ((key.0 >> self.run_bits) ^ self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ second.rotate_left(32);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let run = (mixed ^ (mixed >> 32)) << self.run_bits;
        (run | (key.0 & !(u64::MAX << self.run_bits))) as u32
    }

    const fn home(&self, hash: u32) -> usize {
        hash as usize & self.mask
    }

    const fn after(&self, at: usize) -> usize {
        at.wrapping_add(1) & self.mask
    }

    fn entry(&self, at: usize) -> Option<&Entry> {
        self.lines.get(at >> LINE_BITS).and_then(|line| line.0.get(at % LINE))
    }

    fn entry_mut(&mut self, at: usize) -> Option<&mut Entry> {
        self.lines.get_mut(at >> LINE_BITS).and_then(|line| line.0.get_mut(at % LINE))
    }

    fn find(&self, key: (u64, u64), is_its: impl Fn(u32) -> bool) -> Option<usize> {
        let hash = self.hash(key);
        let mut at = self.home(hash);
        loop {
            let entry = self.entry(at)?;
            if entry.place == FREE {
                return None;
            }
            if entry.hash == hash && is_its(entry.place) {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    /// The place of a key: the one that `is_its`.
    #[must_use]
    pub fn get(&self, key: (u64, u64), is_its: impl Fn(u32) -> bool) -> Option<u32> {
        self.find(key, is_its).and_then(|at| self.entry(at)).map(|entry| entry.place)
    }

    /// Puts a key in, or moves it, when a place `is_its` already; false when the table is full.
    pub fn insert(&mut self, key: (u64, u64), place: u32, is_its: impl Fn(u32) -> bool) -> bool {
        self.put(Entry { hash: self.hash(key), place }, is_its)
    }

    fn put(&mut self, new: Entry, is_its: impl Fn(u32) -> bool) -> bool {
        let is_full = self.len >= self.capacity;
        let mut at = self.home(new.hash);
        while let Some(entry) = self.entry_mut(at) {
            if entry.place == FREE {
                if is_full || new.place == FREE {
                    return false;
                }
                *entry = new;
                self.len = self.len.saturating_add(1);
                return true;
            }
            if entry.hash == new.hash && is_its(entry.place) {
                entry.place = new.place;
                return true;
            }
            at = self.after(at);
        }
        false
    }

    /// Takes a key out: its place, the one that `is_its`.
    pub fn remove(&mut self, key: (u64, u64), is_its: impl Fn(u32) -> bool) -> Option<u32> {
        let mut hole = self.find(key, is_its)?;
        let removed = self.entry(hole)?.place;
        let mut at = self.after(hole);
        while let Some(entry) = self.entry(at).copied() {
            if entry.place == FREE {
                break;
            }
            // An entry may fill the hole when its home does not lie behind the hole.
            let from_home = at.wrapping_sub(self.home(entry.hash)) & self.mask;
            let from_hole = at.wrapping_sub(hole) & self.mask;
            if from_home >= from_hole {
                if let Some(place) = self.entry_mut(hole) {
                    *place = entry;
                }
                hole = at;
            }
            at = self.after(at);
        }
        if let Some(place) = self.entry_mut(hole) {
            *place = EMPTY;
        }
        self.len = self.len.saturating_sub(1);
        Some(removed)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// A table that keys lead to, as their owners have.
    #[derive(Default)]
    struct Table {
        keys: Vec<Option<(u64, u64)>>,
        free: Vec<u32>,
    }

    impl Table {
        fn is(&self, key: (u64, u64)) -> impl Fn(u32) -> bool + '_ {
            move |place| self.keys[place as usize] == Some(key)
        }

        fn take(&mut self, key: (u64, u64)) -> u32 {
            let place = self.free.pop().unwrap_or(self.keys.len() as u32);
            self.keys.resize(self.keys.len().max(place as usize + 1), None);
            self.keys[place as usize] = Some(key);
            place
        }

        fn give_back(&mut self, place: u32) {
            self.keys[place as usize] = None;
            self.free.push(place);
        }
    }

    #[test]
    fn it_holds_what_an_ordinary_map_holds_over_long_random_use() {
        for is_by_first in [false, true] {
            let mut seed: u64 = 7;
            let mut index = if is_by_first { Index::by_first(100, 1) } else { Index::new(100, 1) };
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for turn in 0..200_000_u64 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = ((seed >> 40) % 150, (seed >> 20) % 2);
                if seed >> 63 == 0 {
                    let removed = index.remove(key, table.is(key));
                    assert_eq!(removed, model.remove(&key), "turn {turn}");
                    removed.into_iter().for_each(|place| table.give_back(place));
                } else if let Some(place) = model.get(&key) {
                    assert!(index.insert(key, *place, table.is(key)), "it stays where it is");
                } else if model.len() < 100 {
                    let place = table.take(key);
                    assert!(index.insert(key, place, |_| false));
                    model.insert(key, place);
                } else {
                    assert!(!index.insert(key, 1, table.is(key)), "a full table refuses");
                }
                assert_eq!((index.len(), index.get(key, table.is(key))), (model.len(), model.get(&key).copied()));
            }
            assert!(model.iter().all(|(key, place)| index.get(*key, table.is(*key)) == Some(*place)));
            index.grow(1000);
            assert!(model.iter().all(|(key, place)| index.get(*key, table.is(*key)) == Some(*place)));
        }
    }

    #[test]
    fn ids_that_lie_in_each_others_way_with_one_seed_are_spread_with_another() {
        let home = |index: &Index, id: u64| index.home(index.hash((id, 1))) >> RUN_BITS;
        let [known, secret] = [0, 0x5EED].map(|seed| Index::new(1 << 12, seed));
        let ids: Vec<u64> = (0..2_000_000).step_by(1 << RUN_BITS).filter(|id| home(&known, *id) == 7).collect();
        assert!(ids.len() > 100, "{} ids of one home", ids.len());
        let homes: BTreeSet<usize> = ids.iter().map(|id| home(&secret, *id)).collect();
        assert!(homes.len() > ids.len() * 9 / 10, "{} homes of {} ids", homes.len(), ids.len());
    }
}
