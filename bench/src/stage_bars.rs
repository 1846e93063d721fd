//! Where the time goes, as bars: the medians of the stages, one behind the other.
// The coordinates of a picture are fractions, and decide nothing.
#![allow(clippy::float_arithmetic)]

use std::fmt::Write as _;

use crate::escape::escape;
use crate::svg::COLOURS;
use crate::ticks::{label, ticks};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 16.0;
const RIGHT: f64 = 40.0;
const BAR: f64 = 36.0;
const BOTTOM: f64 = 30.0;

/// The stages of one condition, in the order of the path.
#[derive(Debug, PartialEq, Eq)]
struct Bar<'a> {
    /// `at 1000`; empty when there is one condition.
    condition: String,
    /// Name, and median in ns.
    stages: Vec<(&'a str, u64)>,
}

/// A bar for every condition of the values `stage_<name>_p50_ns[_<condition>]`, thousandths of ns; empty without them.
pub(crate) fn bars(values: &[(&str, u64)]) -> String {
    let bars = group(values);
    let total = |bar: &Bar<'_>| bar.stages.iter().map(|(_, ns)| *ns).fold(0_u64, u64::saturating_add);
    let longest = bars.iter().map(total).max().unwrap_or(0);
    let mut html = String::new();
    if longest == 0 {
        return html;
    }
    html.push_str("<h3>Stages, medians</h3>");
    for bar in &bars {
        draw(&mut html, bar, total(bar), longest);
    }
    html
}

fn group<'a>(values: &[(&'a str, u64)]) -> Vec<Bar<'a>> {
    let mut bars: Vec<Bar<'a>> = Vec::new();
    for (id, thousandths) in values {
        let Some((name, condition)) = id.strip_prefix("stage_").and_then(|id| id.split_once("_p50_ns")) else {
            continue;
        };
        let (condition, ns) = (condition.trim_start_matches('_').replace('_', " "), thousandths / 1000);
        match bars.iter_mut().find(|bar| bar.condition == condition) {
            Some(bar) => bar.stages.push((name, ns)),
            None => bars.push(Bar { condition, stages: vec![(name, ns)] }),
        }
    }
    bars
}

/// All on the scale of the longest.
fn draw(html: &mut String, bar: &Bar<'_>, total: u64, longest: u64) {
    let scale = (WIDTH - LEFT - RIGHT) / longest as f64;
    let height = BAR + BOTTOM;
    // Writing to a string does not fail.
    let _ = write!(
        html,
        "<p class=\"dim\">{} in all{}</p><div class=\"plot\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"stages\">",
        time(total),
        if bar.condition.is_empty() { String::new() } else { format!(", {}", escape(&bar.condition)) },
    );
    for tick in ticks(0.0, longest as f64) {
        let x = LEFT + tick * scale;
        let _ = write!(
            html,
            r#"<line class="grid" x1="{x:.1}" y1="0" x2="{x:.1}" y2="{BAR}"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{} ns</text>"#,
            BAR + 18.0,
            label(tick)
        );
    }
    let mut before = 0_u64;
    for (index, (name, ns)) in bar.stages.iter().enumerate() {
        let _ = write!(
            html,
            r#"<rect class="segment f{}" x="{:.1}" y="4" width="{:.1}" height="{:.1}"><title>{}: {}</title></rect>"#,
            index % COLOURS,
            LEFT + before as f64 * scale,
            *ns as f64 * scale,
            BAR - 8.0,
            escape(&words(name)),
            time(*ns)
        );
        before = before.saturating_add(*ns);
    }
    html.push_str("</svg></div><ul class=\"legend blocks\">");
    for (index, (name, ns)) in bar.stages.iter().enumerate() {
        let share = 100.0 * *ns as f64 / total.max(1) as f64;
        let _ = write!(
            html,
            "<li><i class=\"b{}\"></i>{} <span class=\"dim\">{}, {share:.0} %</span></li>",
            index % COLOURS,
            escape(&words(name)),
            time(*ns)
        );
    }
    html.push_str("</ul>");
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn time(ns: u64) -> String {
    if ns < 10_000 { format!("{ns} ns") } else { format!("{} µs", crate::timing::micros(ns)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_of_one_condition_lie_behind_each_other_and_every_condition_has_a_bar() {
        let values = [
            ("stage_read_p50_ns_at_1000", 900_000),
            ("ack_p50_ratio", 1_100),
            ("stage_journal_append_p50_ns_at_1000", 100_000),
            ("stage_read_p50_ns_at_5000", 500_000),
        ];
        assert_eq!(
            group(&values),
            [
                Bar { condition: "at 1000".to_owned(), stages: vec![("read", 900), ("journal_append", 100)] },
                Bar { condition: "at 5000".to_owned(), stages: vec![("read", 500)] },
            ]
        );
        let html = bars(&values);
        let scale = (WIDTH - LEFT - RIGHT) / 1000.0;
        assert_eq!((html.matches("<svg").count(), html.matches("<rect").count()), (2, 3));
        assert!(html.contains(&format!("x=\"{:.1}\" y=\"4\" width=\"{:.1}\"", LEFT + 900.0 * scale, 100.0 * scale)));
        assert!(html.contains("1000 ns in all, at 1000") && html.contains("journal append <span"), "{html}");
    }

    #[test]
    fn without_stages_there_is_nothing() {
        assert_eq!(bars(&[("ack_p50_ratio", 1_100), ("stage_cost_ratio", 1_010)]), "");
        assert_eq!(bars(&[("stage_read_p50_ns", 0)]), "");
    }
}
