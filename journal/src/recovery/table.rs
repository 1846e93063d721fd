//! The decision table: what was found, and what a start does about it.

/// What was found at the first place that holds no valid next group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Any group was found before it.
    pub has_groups: bool,
    /// Anything but zeros lies behind it, in its segment or a later one.
    pub has_bytes_behind: bool,
    /// The number that should stand there is at or below the durable watermark.
    pub is_below_durable: bool,
}

/// What a start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was ever written.
    Empty,
    /// Every group is whole, and nothing follows the last.
    Clean,
    /// What lies behind the last whole group was never durable: it is cut, kept aside and reported.
    Torn,
    /// What was durable is not there: refused, nothing is touched.
    Damaged,
}

/// The decision table.
#[must_use]
pub const fn decide(facts: Facts) -> Outcome {
    let Facts { has_groups, has_bytes_behind, is_below_durable } = facts;
    match (has_groups, has_bytes_behind, is_below_durable) {
        (true | false, true | false, true) => Outcome::Damaged,
        (true | false, true, false) => Outcome::Torn,
        (true, false, false) => Outcome::Clean,
        (false, false, false) => Outcome::Empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_facts_has_its_outcome() {
        let table = [
            // groups, bytes behind, below the durable watermark
            ((false, false, false), Outcome::Empty),
            ((true, false, false), Outcome::Clean),
            ((false, true, false), Outcome::Torn),
            ((true, true, false), Outcome::Torn),
            ((false, false, true), Outcome::Damaged),
            ((false, true, true), Outcome::Damaged),
            ((true, false, true), Outcome::Damaged),
            ((true, true, true), Outcome::Damaged),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for (facts, outcome) in table {
            let (has_groups, has_bytes_behind, is_below_durable) = facts;
            assert_eq!(decide(Facts { has_groups, has_bytes_behind, is_below_durable }), outcome, "{facts:?}");
            assert!(seen.insert(facts), "{facts:?} twice");
        }
        assert_eq!(seen.len(), 8);
    }
}
