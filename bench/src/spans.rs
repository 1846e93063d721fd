//! The longest answer of each span that a time was cut into. One that was under way in several counts in each of them: it is
//! not known which of them delayed it.

use std::time::Instant;

/// Spans that have ended, and the one that has not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans {
    /// When each ended, and its longest answer, ns.
    ended: Vec<(Instant, u64)>,
    longest_ns: u64,
}

impl Spans {
    /// Takes an answer that has just come, by when it was due and how long it took.
    pub(crate) fn take(&mut self, due: Instant, ns: u64) {
        self.longest_ns = self.longest_ns.max(ns);
        for (_, longest_ns) in self.ended.iter_mut().rev().take_while(|(end, _)| *end >= due) {
            *longest_ns = (*longest_ns).max(ns);
        }
    }

    /// Ends a span, and begins the next.
    pub(crate) fn end(&mut self, at: Instant) {
        self.ended.push((at, std::mem::take(&mut self.longest_ns)));
    }

    /// Ends the last span of a slice, if an answer is behind the one before.
    pub(crate) fn end_last(&mut self, at: Instant) {
        if self.longest_ns > 0 {
            self.end(at);
        }
    }

    /// Takes in the spans of another slice, as far as they have ended.
    pub(crate) fn add(&mut self, other: &Self) {
        self.ended.extend_from_slice(&other.ended);
    }

    /// How many have ended.
    pub(crate) const fn count(&self) -> u64 {
        self.ended.len() as u64
    }

    /// How many of them have an answer that took longer than this.
    pub(crate) fn count_above(&self, ns: u64) -> u64 {
        self.ended.iter().filter(|(_, longest_ns)| *longest_ns > ns).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_counts_in_every_span_that_it_was_under_way_in_and_in_no_other() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut spans = Spans::default();
        spans.take(at(1), 2);
        spans.end(at(10));
        spans.take(at(12), 3);
        spans.end(at(20));
        // Due in the second, and come in the third.
        spans.take(at(15), 9);
        spans.end(at(30));
        spans.take(at(31), 100);
        let above = |ns| spans.count_above(ns);
        assert_eq!((spans.count(), above(1), above(2), above(3), above(9)), (3, 3, 2, 2, 0));
        let mut all = Spans::default();
        all.add(&spans);
        assert_eq!((all.count(), all.count_above(9)), (3, 0), "what has not ended is of no span");
    }

    #[test]
    fn what_is_behind_the_last_cut_of_a_slice_is_a_span_too_and_nothing_is_none() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut spans = Spans::default();
        spans.take(at(1), 2);
        spans.end(at(10));
        spans.end_last(at(11));
        assert_eq!(spans.count(), 1);
        spans.take(at(12), 100);
        spans.end_last(at(20));
        assert_eq!((spans.count(), spans.count_above(99)), (2, 1));
    }
}
