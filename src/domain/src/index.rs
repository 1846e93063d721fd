//! A hash table of fixed capacity: number pairs to places, without allocation.

const FREE: u32 = u32::MAX;

/// Most keys are counters: runs of so many (as a power of two) lie side by side, so that the next one is found in the
/// cache lines of those before it. Longer runs would meet each other in a table that is nearly full.
const RUN_BITS: u32 = 2;

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: (u64, u64),
    place: u32,
}

/// Open addressing with linear probing; removal shifts back, so that no tombstone slows a lookup.
#[derive(Clone, Debug)]
pub struct Index {
    entries: Box<[Entry]>,
    mask: usize,
    /// What of a key's second number spreads it: all, or nothing.
    second_mask: u64,
    /// Where runs lie depends on it.
    seed: u64,
    len: usize,
    capacity: usize,
}

impl Index {
    /// A table for at most `capacity` keys; twice as many places keep probes short. With a `seed` that they do not know,
    /// those who pick the keys cannot pick such as lie in each other's way; nothing but time depends on it.
    #[must_use]
    pub fn new(capacity: u32, seed: u64) -> Self {
        let places = (capacity as usize).saturating_mul(2).next_power_of_two().max(8);
        Self {
            entries: vec![Entry { key: (0, 0), place: FREE }; places].into_boxed_slice(),
            mask: places.wrapping_sub(1),
            second_mask: u64::MAX,
            seed,
            len: 0,
            capacity: capacity as usize,
        }
    }

    /// As `new`, for keys whose first numbers differ: it alone says where they lie, both say what they are.
    pub(crate) fn by_first(capacity: u32, seed: u64) -> Self {
        Self { second_mask: 0, ..Self::new(capacity, seed) }
    }

    /// The same table with room for `capacity` keys.
    pub(crate) fn grow(&mut self, capacity: u32) {
        let mut grown = Self { second_mask: self.second_mask, ..Self::new(capacity, self.seed) };
        for entry in self.entries.iter().filter(|entry| entry.place != FREE) {
            grown.insert(entry.key, entry.place);
        }
        *self = grown;
    }

    /// Keys in the table.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// True when no key fits any more.
    #[must_use]
    pub(crate) const fn is_full(&self) -> bool {
        self.len >= self.capacity
    }

    const fn home(&self, key: (u64, u64)) -> usize {
        // Multiplicative mixes: the numbers of runs are counters too, their low bits differ least.
        let second = (key.1 & self.second_mask).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mixed = ((key.0 >> RUN_BITS) ^ self.seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ second.rotate_left(32);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let run = (mixed ^ (mixed >> 32)) << RUN_BITS;
        (run | (key.0 & ((1 << RUN_BITS) - 1))) as usize & self.mask
    }

    const fn after(&self, at: usize) -> usize {
        at.wrapping_add(1) & self.mask
    }

    fn find(&self, key: (u64, u64)) -> Option<usize> {
        let mut at = self.home(key);
        loop {
            let entry = self.entries.get(at)?;
            if entry.place == FREE {
                return None;
            }
            if entry.key == key {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    /// The place of a key.
    #[must_use]
    pub fn get(&self, key: (u64, u64)) -> Option<u32> {
        self.find(key).and_then(|at| self.entries.get(at)).map(|entry| entry.place)
    }

    /// Puts a key in, or moves it; false when the table is full.
    pub fn insert(&mut self, key: (u64, u64), place: u32) -> bool {
        let is_full = self.is_full();
        let mut at = self.home(key);
        while let Some(entry) = self.entries.get_mut(at) {
            if entry.place == FREE {
                if is_full || place == FREE {
                    return false;
                }
                *entry = Entry { key, place };
                self.len = self.len.saturating_add(1);
                return true;
            }
            if entry.key == key {
                entry.place = place;
                return true;
            }
            at = self.after(at);
        }
        false
    }

    /// Takes a key out: its place.
    pub fn remove(&mut self, key: (u64, u64)) -> Option<u32> {
        let mut hole = self.find(key)?;
        let removed = self.entries.get(hole)?.place;
        let mut at = self.after(hole);
        while let Some(entry) = self.entries.get(at).copied() {
            if entry.place == FREE {
                break;
            }
            // An entry may fill the hole when its home does not lie behind the hole.
            let home = self.home(entry.key);
            let from_home = at.wrapping_sub(home) & self.mask;
            let from_hole = at.wrapping_sub(hole) & self.mask;
            if from_home >= from_hole {
                if let Some(place) = self.entries.get_mut(hole) {
                    *place = entry;
                }
                hole = at;
            }
            at = self.after(at);
        }
        if let Some(place) = self.entries.get_mut(hole) {
            place.place = FREE;
        }
        self.len = self.len.saturating_sub(1);
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_holds_what_an_ordinary_map_holds_over_long_random_use() {
        let mut seed: u64 = 7;
        let mut index = Index::new(100, 1);
        let mut model = BTreeMap::new();
        for turn in 0..200_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = ((seed >> 40) % 150, (seed >> 20) % 2);
            if seed >> 63 == 0 {
                assert_eq!(index.remove(key), model.remove(&key), "turn {turn}");
            } else if model.len() < 100 || model.contains_key(&key) {
                assert!(index.insert(key, turn as u32));
                model.insert(key, turn as u32);
            } else {
                assert!(!index.insert(key, 1), "a full table refuses");
            }
            assert_eq!((index.len(), index.get(key)), (model.len(), model.get(&key).copied()));
        }
        assert!(model.iter().all(|(key, place)| index.get(*key) == Some(*place)));
    }

    #[test]
    fn ids_that_lie_in_each_others_way_with_one_seed_are_spread_with_another() {
        let home = |index: &Index, id: u64| index.home((id, 1)) >> RUN_BITS;
        let [known, secret] = [0, 0x5EED].map(|seed| Index::new(1 << 12, seed));
        let ids: Vec<u64> = (0..2_000_000).step_by(1 << RUN_BITS).filter(|id| home(&known, *id) == 7).collect();
        assert!(ids.len() > 100, "{} ids of one home", ids.len());
        let homes: std::collections::BTreeSet<usize> = ids.iter().map(|id| home(&secret, *id)).collect();
        assert!(homes.len() > ids.len() * 9 / 10, "{} homes of {} ids", homes.len(), ids.len());
    }
}
