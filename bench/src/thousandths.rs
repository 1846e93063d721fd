//! Numbers with three decimals, in integers: ratios, and what is read beside them.

use std::fmt;

use serde::{Serialize, Serializer};

/// A number in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thousandths(pub(crate) u64);

impl Thousandths {
    /// A whole number.
    pub(crate) const fn whole(value: u64) -> Self {
        Self(value.saturating_mul(1000))
    }

    /// `value / baseline`, rounded to the nearest; the largest number when there is no baseline.
    pub(crate) fn ratio(value: u64, baseline: u64) -> Self {
        let (value, baseline) = (u128::from(value), u128::from(baseline));
        let rounded = value.saturating_mul(1000).saturating_add(baseline / 2).checked_div(baseline);
        Self(rounded.map_or(u64::MAX, |rounded| u64::try_from(rounded).unwrap_or(u64::MAX)))
    }

    /// True for a ratio to nothing, which is no figure.
    pub(crate) const fn is_endless(self) -> bool {
        self.0 == u64::MAX
    }

    /// Reads what `Serialize` writes.
    pub(crate) fn read(number: &serde_json::Value) -> Option<Self> {
        if let Some(whole) = number.as_u64() {
            return Some(Self::whole(whole));
        }
        let text = format!("{:.3}", number.as_f64()?);
        let (whole, thousandths) = text.split_once('.')?;
        Some(Self(whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(thousandths.parse().ok()?)?))
    }

    /// The middle one; the upper of the two of an even count, none of none.
    pub(crate) fn median(mut values: Vec<Self>) -> Option<Self> {
        values.sort_unstable();
        values.get(values.len() / 2).copied()
    }
}

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.0.is_multiple_of(1000) {
            grouped(self.0 / 1000)
        } else {
            format!("{}.{:03}", self.0 / 1000, self.0 % 1000)
        };
        f.pad(&text)
    }
}

/// `1234567` as `1,234,567`.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Serialize for Thousandths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            return serializer.serialize_u64(self.0 / 1000);
        }
        // The text has at most three decimals, so the nearest double prints as the same text again.
        let number: f64 =
            format!("{}.{:03}", self.0 / 1000, self.0 % 1000).parse().map_err(serde::ser::Error::custom)?;
        serializer.serialize_f64(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_rounded_to_the_nearest_thousandth_and_of_nothing_it_is_the_largest() {
        assert_eq!(Thousandths::ratio(10, 3), Thousandths(3333));
        assert_eq!(Thousandths::ratio(2, 3), Thousandths(667));
        assert_eq!(Thousandths::ratio(1, 0), Thousandths(u64::MAX));
        assert_eq!(Thousandths::ratio(u64::MAX, 1), Thousandths(u64::MAX), "no overflow");
    }

    #[test]
    fn the_median_is_the_middle_one_and_none_of_none() {
        let of = |values: &[u64]| Thousandths::median(values.iter().copied().map(Thousandths).collect());
        assert_eq!(of(&[30, 10, 20]), Some(Thousandths(20)));
        assert_eq!(of(&[40, 10, 20, 30]), Some(Thousandths(30)));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn whole_numbers_are_grouped_and_ratios_have_three_decimals_as_text_and_as_json() {
        assert_eq!(Thousandths::whole(1_234_567).to_string(), "1,234,567");
        assert_eq!(Thousandths::whole(999).to_string(), "999");
        assert_eq!(Thousandths(1083).to_string(), "1.083");
        assert_eq!(Thousandths(12_050).to_string(), "12.050");
        let json = |value: Thousandths| serde_json::to_string(&value).unwrap();
        assert_eq!(json(Thousandths(1083)), "1.083");
        assert_eq!(json(Thousandths::whole(45)), "45");
        for value in [Thousandths(1083), Thousandths(7), Thousandths::whole(45), Thousandths::whole(1_234_567)] {
            let read = serde_json::to_value(value).unwrap();
            assert_eq!(Thousandths::read(&read), Some(value), "what is written is read back");
        }
    }
}
