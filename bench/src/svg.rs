//! Percentile plots as SVG: percentiles to the right, each nine as wide as the last; time upward, in powers of ten.
// The coordinates of a picture are fractions, and decide nothing.
#![allow(clippy::float_arithmetic)]

use std::fmt::Write as _;

use crate::escape::escape;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;
/// Nines to the right edge: 99.9999 %.
const NINES_MAX: f64 = 6.0;
/// Colours of the curves, as classes of the style sheet; then they begin anew.
pub(crate) const COLOURS: usize = 8;

/// A curve: quantile and ns.
pub(crate) struct Curve<'a> {
    pub(crate) name: &'a str,
    pub(crate) points: Vec<(f64, u64)>,
}

/// A plot with its legend.
pub(crate) fn plot(curves: &[Curve<'_>]) -> String {
    let values = || curves.iter().flat_map(|curve| curve.points.iter()).map(|(_, ns)| (*ns).max(1));
    let low = values().min().map_or(0, decade);
    let high = values().max().map_or(1, |max| decade(max).saturating_add(1)).max(low.saturating_add(1));
    let nines_max = curves
        .iter()
        .flat_map(|curve| curve.points.iter())
        .filter(|(quantile, _)| *quantile < 1.0)
        .map(|(quantile, _)| nines(*quantile))
        .fold(2.0, f64::max)
        .ceil()
        .min(NINES_MAX);
    let axes = Axes { low, high, nines_max };
    let mut svg =
        format!(r#"<div class="plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="percentiles">"#);
    axes.draw(&mut svg);
    for (index, curve) in curves.iter().enumerate() {
        let colour = index % COLOURS;
        let path: Vec<String> = curve
            .points
            .iter()
            .map(|(quantile, ns)| format!("{:.1},{:.1}", axes.x(*quantile), axes.y((*ns).max(1))))
            .collect();
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            r#"<polyline class="curve c{colour}" points="{}"><title>{}</title></polyline>"#,
            path.join(" "),
            escape(curve.name)
        );
    }
    svg.push_str("</svg></div><ul class=\"legend\">");
    for (index, curve) in curves.iter().enumerate() {
        let _ = write!(svg, r#"<li><i class="b{}"></i>{}</li>"#, index % COLOURS, escape(curve.name));
    }
    svg.push_str("</ul>");
    svg
}

/// The power of ten that is not above `ns`.
fn decade(ns: u64) -> u32 {
    ns.checked_ilog10().unwrap_or(0)
}

/// 90 % is one, 99 % two.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

struct Axes {
    low: u32,
    high: u32,
    nines_max: f64,
}

impl Axes {
    fn x(&self, quantile: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * nines(quantile).min(self.nines_max) / self.nines_max
    }

    fn y(&self, ns: u64) -> f64 {
        let share = ((ns as f64).log10() - f64::from(self.low)) / (f64::from(self.high) - f64::from(self.low));
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share)
    }

    fn draw(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for power in self.low..=self.high {
            let (y, label) = (self.y(10_u64.saturating_pow(power)), time_label(power));
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"#,
                LEFT - 8.0,
                y + 4.0
            );
        }
        let marks = [
            (0.0, "0 %"),
            (0.5, "50 %"),
            (0.9, "90 %"),
            (0.99, "99 %"),
            (0.999, "99.9 %"),
            (0.9999, "99.99 %"),
            (0.99999, "99.999 %"),
            (0.999_999, "99.9999 %"),
        ];
        for (quantile, label) in marks {
            if nines(quantile) > self.nines_max + 0.01 {
                continue;
            }
            let x = self.x(quantile);
            let anchor = if x > right - 40.0 { "end" } else { "middle" };
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}"/><text x="{x:.1}" y="{:.1}" text-anchor="{anchor}">{label}</text>"#,
                bottom + 18.0
            );
        }
    }
}

/// A power of ten of nanoseconds.
pub(crate) fn time_label(power: u32) -> String {
    let (unit, power) = match power {
        0..3 => ("ns", power),
        3..6 => ("µs", power.saturating_sub(3)),
        6..9 => ("ms", power.saturating_sub(6)),
        _ => ("s", power.saturating_sub(9)),
    };
    format!("{} {unit}", 10_u64.saturating_pow(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nine_is_as_wide_as_the_last_and_a_power_of_ten_as_high() {
        let axes = Axes { low: 3, high: 6, nines_max: 3.0 };
        let close = |left: f64, right: f64| (left - right).abs() < 0.01;
        assert!(close(axes.x(0.99) - axes.x(0.9), axes.x(0.999) - axes.x(0.99)));
        assert!(close(axes.x(0.0), LEFT) && close(axes.x(1.0), WIDTH - RIGHT), "100 % is at the edge");
        assert!(close(axes.y(1_000) - axes.y(10_000), axes.y(10_000) - axes.y(100_000)));
        assert!(close(axes.y(1_000_000), TOP) && close(axes.y(1_000), HEIGHT - BOTTOM));
    }

    #[test]
    fn times_are_labelled_in_their_unit() {
        assert_eq!([1, 3, 5, 7, 9].map(time_label), ["10 ns", "1 µs", "100 µs", "10 ms", "1 s"]);
    }

    #[test]
    fn a_plot_has_a_curve_and_a_name_for_each_series_and_no_markup_of_theirs() {
        let curve = |name| Curve { name, points: vec![(0.0, 900), (0.5, 1_500), (0.99, 9_000), (1.0, 70_000)] };
        let svg = plot(&[curve("echo"), curve("<b>")]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains(">echo</li>") && svg.contains("&lt;b&gt;</li>") && !svg.contains("<b>"));
        assert!(svg.contains(">100 ns<") && svg.contains(">100 µs<"), "decades around the values: {svg}");
    }
}
