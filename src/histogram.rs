//! A log-linear histogram in cells of fixed number: written by one, read by others meanwhile.
//!
//! Values below 32 have a cell each; above, every power of two is cut into 32 cells, so that a value is known to 3 %.

use zerocopy::{FromBytes, IntoBytes};

use crate::counters::Counter;

/// Cells of a power of two.
const SUB_CELLS: u64 = 1 << SUB_BITS;
const SUB_BITS: u32 = 5;

/// Powers of two above the first `SUB_CELLS` values: 2^37 ticks are half a minute at 4 GHz; what is longer counts there.
const OCTAVES: usize = 32;

/// Cells of values.
pub const BUCKETS: usize = (OCTAVES + 1) << SUB_BITS;

/// Cells of a histogram: the sum, the largest, and those of values.
pub const CELLS: usize = BUCKETS + 2;

/// The cells, as its one writer has them.
#[derive(Debug, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Histogram {
    sum: Counter,
    largest: Counter,
    buckets: [Counter; BUCKETS],
}

impl Histogram {
    /// Takes a value in; the caller is the one writer.
    pub fn record(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.add(1);
        }
        self.sum.add(value);
        if value > self.largest.get() {
            self.largest.set(value);
        }
    }
}

/// The cell of a value.
fn bucket_of(value: u64) -> usize {
    let octave = u64::BITS.saturating_sub((value | (SUB_CELLS - 1)).leading_zeros()).saturating_sub(SUB_BITS);
    let shift = octave.saturating_sub(1);
    let sub = value.wrapping_shr(shift) & (SUB_CELLS - 1);
    let bucket = (octave as usize).wrapping_shl(SUB_BITS).wrapping_add(sub as usize);
    bucket.min(BUCKETS - 1)
}

/// The value in the middle of a cell.
fn middle_of(bucket: usize) -> u64 {
    let (octave, sub) = ((bucket >> SUB_BITS) as u32, bucket as u64 & (SUB_CELLS - 1));
    if octave == 0 {
        return sub;
    }
    let shift = octave.saturating_sub(1);
    let width = 1_u64.wrapping_shl(shift);
    (SUB_CELLS | sub).wrapping_shl(shift).saturating_add(width / 2)
}

/// What the cells held when they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    sum: u64,
    largest: u64,
    buckets: Vec<u64>,
}

impl Reading {
    /// Of the cells in their order; missing ones hold nothing.
    #[must_use]
    pub fn of(mut cells: impl Iterator<Item = u64>) -> Self {
        let (sum, largest) = (cells.next().unwrap_or(0), cells.next().unwrap_or(0));
        let mut buckets: Vec<u64> = cells.take(BUCKETS).collect();
        buckets.resize(BUCKETS, 0);
        Self { sum, largest, buckets }
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest; of what has come since an earlier reading it is known as well as any.
    #[must_use]
    pub const fn largest(&self) -> u64 {
        self.largest
    }

    /// The value at so many parts of a million, known to 3 %; 0 when there is none.
    #[must_use]
    pub fn at(&self, parts: u64) -> u64 {
        let wanted = u128::from(self.count()).saturating_mul(parts.into()).div_ceil(1_000_000).max(1);
        let mut seen: u128 = 0;
        let found = self.buckets.iter().position(|count| {
            seen = seen.saturating_add((*count).into());
            seen >= wanted
        });
        found.map_or(0, |bucket| middle_of(bucket).min(self.largest))
    }

    /// What has come since an earlier reading of the same cells.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |(now, before): (&u64, &u64)| now.saturating_sub(*before);
        let buckets: Vec<u64> = self.buckets.iter().zip(&earlier.buckets).map(less).collect();
        let last = buckets.iter().rposition(|count| *count > 0);
        let largest = match last {
            Some(_) if self.largest > earlier.largest => self.largest,
            Some(bucket) => middle_of(bucket).min(self.largest),
            None => 0,
        };
        Self { sum: self.sum.saturating_sub(earlier.sum), largest, buckets }
    }

    /// Every cell that holds something: the value in its middle, and how many.
    pub fn values(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let held = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        held.map(|(bucket, count)| (middle_of(bucket).min(self.largest), *count))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn empty() -> Histogram {
        Histogram::read_from_bytes(&[0; CELLS * 8]).unwrap()
    }

    fn reading(histogram: &Histogram) -> Reading {
        let cells = [&histogram.sum, &histogram.largest].into_iter().chain(&histogram.buckets);
        Reading::of(cells.map(Counter::get))
    }

    #[test]
    fn every_value_has_a_cell_whose_middle_is_within_three_percent_of_it() {
        let mut last = 0;
        for value in (0..1_000_000).chain((20..37).flat_map(|power| [1 << power, (1 << power) + 12_345])) {
            let bucket = bucket_of(value);
            assert!(middle_of(bucket).abs_diff(value) * 32 <= value.max(1), "{value}: {}", middle_of(bucket));
            assert!(bucket >= last || value == 1 << 20, "{value}: a larger value has no earlier cell");
            last = bucket;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1, "what is too long counts at the end");
    }

    #[test]
    fn percentiles_are_those_of_the_values_that_were_recorded() {
        let histogram = empty();
        for value in 1..=1_000 {
            histogram.record(value * 100);
        }
        let reading = reading(&histogram);
        assert_eq!((reading.count(), reading.sum(), reading.largest()), (1_000, 50_050_000, 100_000));
        for (parts, exact) in [(500_000, 50_000), (990_000, 99_000), (999_000, 99_900), (1_000_000, 100_000)] {
            let at = reading.at(parts);
            assert!(at.abs_diff(exact) * 32 <= exact, "{parts}: {at}, not {exact}");
        }
        assert!(reading.at(0) <= 104, "the least");
        assert_eq!(reading.values().map(|(_, count)| count).sum::<u64>(), 1_000);
    }

    #[test]
    fn a_histogram_of_nothing_has_no_percentile() {
        assert_eq!(reading(&empty()).at(500_000), 0);
    }

    #[test]
    fn what_came_since_an_earlier_reading_is_told_apart() {
        let histogram = empty();
        histogram.record(1_000_000);
        let earlier = reading(&histogram);
        histogram.record(10);
        histogram.record(10);
        let since = reading(&histogram).since(&earlier);
        assert_eq!((since.count(), since.sum(), since.largest(), since.at(500_000)), (2, 20, 10, 10));
        histogram.record(2_000_000);
        assert_eq!(reading(&histogram).since(&earlier).largest(), 2_000_000);
    }
}
