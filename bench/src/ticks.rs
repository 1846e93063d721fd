//! Round numbers along an axis.
// The coordinates of a picture are fractions, and decide nothing.
#![allow(clippy::float_arithmetic)]

/// At most seven round numbers between `low` and `high`, at even steps of 1, 2 or 5 of a power of ten.
pub(crate) fn ticks(low: f64, high: f64) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return Vec::new();
    }
    let power = 10_f64.powf((span / 6.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|of| of * power).into_iter().find(|step| span / step <= 6.0);
    let step = step.unwrap_or(span);
    let first = (low / step - 1e-9).ceil();
    // As products, so that no error of a sum grows.
    (0..7).map(|nth| (first + f64::from(nth)) * step).take_while(|tick| *tick <= high + step * 1e-9).collect()
}

/// As short as it says what it is: `1.05`, `250`, `3.5 M`.
pub(crate) fn label(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        ticks(low, high).into_iter().map(label).collect()
    }

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        assert_eq!(labels(0.0, 1830.0), ["0", "500", "1000", "1500"]);
        assert_eq!(labels(1.03, 1.13), ["1.04", "1.06", "1.08", "1.1", "1.12"]);
        assert_eq!(labels(0.9e6, 3.1e6), ["1 M", "1.5 M", "2 M", "2.5 M", "3 M"]);
        assert_eq!(labels(0.0, 10.0), ["0", "2", "4", "6", "8", "10"]);
        assert!(labels(5.0, 5.0).is_empty() && labels(0.0, f64::INFINITY).is_empty());
    }
}
