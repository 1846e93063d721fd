//! The longest times of many, with when they began: what a histogram has forgotten.

use std::time::Instant;

/// How many are kept.
const KEPT: usize = 16;

/// The longest times.
#[derive(Clone, Debug)]
pub(crate) struct Longest {
    kept: [Option<(Instant, u64)>; KEPT],
    /// What a further one must exceed.
    shortest_ns: u64,
}

impl Longest {
    pub(crate) const fn new() -> Self {
        Self { kept: [None; KEPT], shortest_ns: 0 }
    }

    /// Takes a time that began at `start`; it is kept in place of the shortest one, when it is longer.
    pub(crate) fn take(&mut self, start: Instant, ns: u64) {
        if ns <= self.shortest_ns {
            return;
        }
        let length = |kept: &Option<(Instant, u64)>| kept.map_or(0, |(_, ns)| ns);
        if let Some(shortest) = self.kept.iter_mut().min_by_key(|kept| length(kept)) {
            *shortest = Some((start, ns));
        }
        self.shortest_ns = self.kept.iter().map(length).min().unwrap_or(0);
    }

    /// Those that are kept: when each began, and its length, ns.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Instant, u64)> {
        self.kept.iter().copied().flatten()
    }

    /// What all others are not longer than, ns; 0 while all are kept.
    pub(crate) const fn shortest_ns(&self) -> u64 {
        self.shortest_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_are_kept_with_their_beginnings_and_the_others_are_known_to_be_shorter() {
        let mut longest = Longest::new();
        let now = Instant::now();
        for ns in (1..=40).rev().chain(41..=60) {
            longest.take(now, ns);
        }
        let mut kept: Vec<u64> = longest.iter().map(|(_, ns)| ns).collect();
        kept.sort_unstable();
        assert_eq!(kept, (45..=60).collect::<Vec<_>>());
        assert_eq!(longest.shortest_ns(), 45);
    }
}
