//! How long an order takes by how many come: rate to the right, time upward, both in powers of ten.
// The coordinates of a picture are fractions, and decide nothing.
#![allow(clippy::float_arithmetic)]

use std::fmt::Write as _;

use crate::escape::escape;
use crate::svg::{COLOURS, time_label};
use crate::ticks::label;
use crate::timing::micros;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;
/// What the ids of its values begin with.
pub(crate) const PREFIX: &str = "ladder_";
/// The percentiles that are drawn.
const DRAWN: [&str; 2] = ["p50", "p99"];

/// Those that are told, and how.
const PERCENTILES: [(&str, &str); 5] =
    [("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"), ("p9999", "p99.99"), ("max", "max")];

/// A percentile of one series: rate, ns.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    who: &'a str,
    percentile: &'a str,
    points: Vec<(u64, u64)>,
}

/// A plot of the values `ladder_<who>_<percentile>_ns_at_<rate>`, thousandths of ns, with the saturation if there is one;
/// empty without them.
pub(crate) fn plot(values: &[(&str, u64)]) -> String {
    let lines = lines(values);
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let decades = |low: Option<u64>, high: Option<u64>| -> Option<(u32, u32)> {
        let (low, high) = (low?.max(1).ilog10(), high?.max(1).ilog10().saturating_add(1));
        Some((low, high))
    };
    let rates = decades(points().map(|(rate, _)| rate).min(), points().map(|(rate, _)| rate).max());
    let times = decades(points().map(|(_, ns)| ns).min(), points().map(|(_, ns)| ns).max());
    let Some((rates, times)) = rates.zip(times) else { return String::new() };
    let axes = Axes { rates, times };
    let mut html = String::from("<h3>By rate</h3>");
    // Writing to a string does not fail.
    let _ = write!(
        html,
        r#"<div class="plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="percentiles by rate">"#
    );
    axes.draw(&mut html);
    if let Some((_, saturation)) = values.iter().find(|(id, value)| *id == "saturation_per_s" && *value > 0) {
        let x = axes.x(saturation / 1000);
        let _ = write!(
            html,
            r#"<line class="target" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{:.1}"><title>saturation</title></line>"#,
            HEIGHT - BOTTOM
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|(rate, ns)| format!("{:.1},{:.1}", axes.x(*rate), axes.y(*ns))).collect();
        let _ = write!(
            html,
            r#"<polyline class="curve c{}" points="{}"><title>{}</title></polyline>"#,
            index % COLOURS,
            path.join(" "),
            escape(&line.name())
        );
    }
    html.push_str("</svg></div><ul class=\"legend\">");
    for (index, line) in lines.iter().enumerate() {
        let _ = write!(html, r#"<li><i class="b{}"></i>{}</li>"#, index % COLOURS, escape(&line.name()));
    }
    html.push_str("</ul><p class=\"dim\">orders a second; dashed: the highest rate that was reached</p>");
    table(&mut html, values);
    html
}

/// Every step, by rate and by whom.
fn table(html: &mut String, values: &[(&str, u64)]) {
    html.push_str("<details><summary>Every step, µs</summary><table><tr><th class=\"number\">orders/s</th><th></th>");
    for (_, name) in PERCENTILES {
        let _ = write!(html, "<th class=\"number\">{name}</th>");
    }
    let mut row = None;
    for (who, percentile, rate, ns) in values.iter().filter_map(|(id, value)| parts(id, *value)) {
        if row.replace((rate, who)) != Some((rate, who)) {
            let _ = write!(html, "</tr><tr><td class=\"number\">{rate}</td><td>{}</td>", escape(who));
        }
        if PERCENTILES.iter().any(|(known, _)| *known == percentile) {
            let _ = write!(html, "<td class=\"number\">{}</td>", micros(ns));
        }
    }
    html.push_str("</tr></table></details>");
}

impl Line<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.who, self.percentile)
    }
}

fn lines<'a>(values: &[(&'a str, u64)]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    for (id, thousandths) in values {
        let Some((who, percentile, rate, ns)) = parts(id, *thousandths) else { continue };
        // Service times stand in the table.
        if !DRAWN.contains(&percentile) || who.starts_with("service_") {
            continue;
        }
        let point = (rate, ns);
        match lines.iter_mut().find(|line| line.who == who && line.percentile == percentile) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { who, percentile, points: vec![point] }),
        }
    }
    lines
}

/// Who, percentile, rate, ns.
fn parts(id: &str, thousandths: u64) -> Option<(&str, &str, u64, u64)> {
    let (name, rate) = id.strip_prefix(PREFIX)?.split_once("_ns_at_")?;
    let (who, percentile) = name.rsplit_once('_')?;
    Some((who, percentile, rate.parse().ok()?, thousandths / 1000))
}

/// From and to which power of ten.
struct Axes {
    rates: (u32, u32),
    times: (u32, u32),
}

/// Where between two powers of ten a value is.
fn share(value: u64, (low, high): (u32, u32)) -> f64 {
    ((value.max(1) as f64).log10() - f64::from(low)) / (f64::from(high) - f64::from(low))
}

impl Axes {
    fn x(&self, rate: u64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * share(rate, self.rates)
    }

    fn y(&self, ns: u64) -> f64 {
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share(ns, self.times))
    }

    fn draw(&self, html: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for power in self.times.0..=self.times.1 {
            let y = self.y(10_u64.saturating_pow(power));
            let _ = write!(
                html,
                r#"<line class="grid" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                y + 4.0,
                time_label(power)
            );
        }
        for power in self.rates.0..=self.rates.1 {
            for factor in [1, 2, 5] {
                let rate = 10_u64.saturating_pow(power).saturating_mul(factor);
                let x = self.x(rate);
                if x > right + 0.1 {
                    continue;
                }
                let anchor = if x > right - 20.0 { "end" } else { "middle" };
                let _ = write!(
                    html,
                    r#"<line class="grid" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}"/><text x="{x:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
                    bottom + 18.0,
                    label(rate as f64)
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_a_line_for_each_drawn_percentile_through_its_rates() {
        let values = [
            ("ladder_echo_p50_ns_at_1000", 10_000_000),
            ("ladder_accepted_p50_ns_at_1000", 12_000_000),
            ("ladder_accepted_p999_ns_at_1000", 99_000_000),
            ("ladder_accepted_p50_ns_at_1500", 13_000_000),
            ("saturation_per_s", 1_500_000),
            ("stage_read_p50_ns_at_1000", 1),
        ];
        assert_eq!(
            lines(&values),
            [
                Line { who: "echo", percentile: "p50", points: vec![(1000, 10_000)] },
                Line { who: "accepted", percentile: "p50", points: vec![(1000, 12_000), (1500, 13_000)] },
            ]
        );
        let html = plot(&values);
        assert_eq!((html.matches("<polyline").count(), html.matches("class=\"target\"").count()), (2, 1));
        assert_eq!(
            (html.matches("<tr>").count(), html.matches(">99.0</td>").count()),
            (4, 1),
            "head, and three of a rate"
        );
        assert!(html.contains("accepted p50</li>") && html.contains(">1000<") && html.contains(">10 µs<"), "{html}");
    }

    #[test]
    fn without_a_ladder_there_is_nothing_and_powers_of_ten_are_even() {
        assert_eq!(plot(&[("ack_p50_ratio", 1_100), ("saturation_per_s", 0)]), "");
        let axes = Axes { rates: (3, 6), times: (4, 7) };
        assert!((axes.x(10_000) - axes.x(1_000) - (axes.x(100_000) - axes.x(10_000))).abs() < 1e-6);
        assert!((axes.y(10_000) - (HEIGHT - BOTTOM)).abs() < 1e-6 && (axes.y(10_000_000) - TOP).abs() < 1e-6);
    }
}
