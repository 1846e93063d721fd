//! Whether something grows without end, told from samples in even intervals.

/// What is grown by more than this, in the second half of the samples, grows without end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) amount: u64,
    /// Beside it, a part of what there was: one of so many.
    pub(crate) parts: Option<u64>,
}

/// The highest sample of the second half above the highest of the first. The first quarter is left out: what is filled
/// once, like tables and the pages of segments, is filled then.
pub(crate) fn of(samples: &[u64]) -> Growth {
    let steady = samples.get(samples.len() / 4..).unwrap_or_default();
    let (first, second) = steady.split_at(steady.len() / 2);
    let highest = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    Growth { from: highest(first), to: highest(second) }
}

/// From the highest of the one half to the highest of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Growth {
    /// How much it is.
    pub(crate) const fn amount(self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// True when it is no more than allowed.
    pub(crate) fn is_within(self, allowance: Allowance) -> bool {
        let part = allowance.parts.and_then(|parts| self.from.checked_div(parts)).unwrap_or(0);
        self.amount() <= allowance.amount.max(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_and_then_stays_or_goes_up_and_down_has_not_grown_and_what_goes_on_growing_has() {
        let filling: Vec<u64> = (0..40).map(|index: u64| 1000 + index.min(9) * 100).collect();
        let waves: Vec<u64> = (0..40).map(|index: u64| 1000 + index % 7).collect();
        let leaking: Vec<u64> = (0..40).map(|index: u64| 1000 + index).collect();
        assert_eq!([of(&filling), of(&waves), of(&leaking)].map(Growth::amount), [0, 0, 15]);
        assert_eq!(of(&[]).amount(), 0);
    }

    #[test]
    fn an_allowance_is_an_amount_or_a_part_whichever_is_more() {
        let growth = Growth { from: 1000, to: 1010 };
        assert!(growth.is_within(Allowance { amount: 10, parts: None }));
        assert!(!growth.is_within(Allowance { amount: 9, parts: None }));
        assert!(growth.is_within(Allowance { amount: 0, parts: Some(100) }));
        assert!(!growth.is_within(Allowance { amount: 0, parts: Some(101) }));
    }
}
