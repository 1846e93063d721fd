//! Figures over commits: a small plot for each, with its target.
// The coordinates of a picture are fractions, and decide nothing.
#![allow(clippy::float_arithmetic)]

use std::fmt::Write as _;

use serde_json::Value;

use crate::escape::escape;
use crate::figures::Figure;
use crate::thousandths::Thousandths;
use crate::ticks::{label, ticks};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// Commits that are named below a plot.
const NAMED_MAX: usize = 5;
/// From this on, the greatest value and the least have no room on an even scale.
const EVEN_MAX: f64 = 10.0;

/// One figure over commits.
#[derive(Debug, PartialEq)]
struct Line {
    id: String,
    /// The place of a commit, and what was measured there.
    points: Vec<(usize, Thousandths)>,
}

/// Results of one command, the oldest first: a plot for every promised figure, or for every value when there is none.
pub(crate) fn history(results: &[&Value]) -> String {
    let commits = commits(results);
    if commits.len() < 2 {
        return String::new();
    }
    let mut html = String::from("<h3>Over commits</h3><div class=\"history\">");
    for line in lines(results, &commits).iter().filter(|line| !line.points.is_empty()) {
        draw(&mut html, line, &commits);
    }
    html.push_str("</div>");
    html
}

/// The commit of a result.
pub(crate) fn commit(result: &Value) -> &str {
    let of = |pointer| result.pointer(pointer).and_then(Value::as_str);
    of("/run/commit").or_else(|| of("/machine/commit")).or_else(|| of("/commit")).unwrap_or("unknown")
}

/// Each once, in the order of the results.
fn commits<'a>(results: &[&'a Value]) -> Vec<&'a str> {
    let mut commits: Vec<&str> = Vec::new();
    for commit in results.iter().map(|result| commit(result)) {
        if !commits.contains(&commit) {
            commits.push(commit);
        }
    }
    commits
}

/// What a result measured, by id.
fn measured(result: &Value) -> Vec<(&str, Thousandths)> {
    let figures = result.get("figures").and_then(Value::as_object).into_iter().flatten();
    let figures = figures.map(|(id, row)| (Some(id.as_str()), row.get("value")));
    let values = result.get("values").and_then(Value::as_array).into_iter().flatten();
    let values = values.map(|row| (row.get("id").and_then(Value::as_str), row.get("value")));
    figures.chain(values).filter_map(|(id, value)| Some((id?, value.and_then(Thousandths::read)?))).collect()
}

fn lines(results: &[&Value], commits: &[&str]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for result in results {
        let Some(place) = commits.iter().position(|known| *known == commit(result)) else { continue };
        for (id, value) in measured(result) {
            match lines.iter_mut().find(|line| line.id == id) {
                Some(line) => line.points.push((place, value)),
                None => lines.push(Line { id: id.to_owned(), points: vec![(place, value)] }),
            }
        }
    }
    if lines.iter().any(|line| Figure::of(&line.id).is_some()) {
        lines.retain(|line| Figure::of(&line.id).is_some());
    }
    lines
}

/// The middle value of each commit that has one: what the line goes through.
fn medians(points: &[(usize, Thousandths)], commits: usize) -> Vec<(usize, Thousandths)> {
    let at = |place| points.iter().filter(move |(own, _)| *own == place).map(|(_, value)| *value).collect();
    (0..commits).filter_map(|place| Some((place, Thousandths::median(at(place))?))).collect()
}

struct Axes {
    low: f64,
    high: f64,
    is_even: bool,
    last: usize,
}

impl Axes {
    fn new(line: &Line, target: Option<Thousandths>, commits: usize) -> Self {
        let values = || line.points.iter().map(|(_, value)| *value).chain(target).map(number);
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        let is_even = low <= 0.0 || high / low < EVEN_MAX;
        let last = commits.saturating_sub(1);
        if is_even {
            let margin = ((high - low) * 0.15).max(high * 0.01).max(1e-3);
            return Self { low: (low - margin).max(0.0), high: high + margin, is_even, last };
        }
        Self { low: 10_f64.powf(low.log10().floor()), high: 10_f64.powf(high.log10().ceil()), is_even, last }
    }

    fn x(&self, place: usize) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * place as f64 / self.last.max(1) as f64
    }

    fn y(&self, value: f64) -> f64 {
        let share = if self.is_even {
            (value - self.low) / (self.high - self.low)
        } else {
            (value.log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        };
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.is_even {
            return ticks(self.low, self.high);
        }
        let first = self.low.log10().round();
        (0..20).map(|nth| 10_f64.powf(first + f64::from(nth))).take_while(|tick| *tick <= self.high * 1.001).collect()
    }
}

fn number(value: Thousandths) -> f64 {
    value.0 as f64 / 1000.0
}

fn draw(html: &mut String, line: &Line, commits: &[&str]) {
    let figure = Figure::of(&line.id);
    let axes = Axes::new(line, figure.map(Figure::target), commits.len());
    let promise = figure.map_or_else(String::new, Figure::promise);
    // Writing to a string does not fail.
    let _ = write!(
        html,
        "<figure><figcaption>{} <span class=\"dim\">{promise}</span></figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(&line.id),
        escape(&line.id)
    );
    for tick in axes.ticks() {
        let y = axes.y(tick);
        let _ = write!(
            html,
            r#"<line class="grid" x1="{LEFT}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            label(tick)
        );
    }
    name_commits(html, &axes, commits);
    if let Some(target) = figure.map(Figure::target) {
        let y = axes.y(number(target));
        let _ = write!(html, r#"<line class="target" x1="{LEFT}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}"/>"#, WIDTH - RIGHT);
    }
    let path: Vec<String> = medians(&line.points, commits.len())
        .into_iter()
        .map(|(place, value)| format!("{:.1},{:.1}", axes.x(place), axes.y(number(value))))
        .collect();
    let _ = write!(html, r#"<polyline class="curve c0" points="{}"/>"#, path.join(" "));
    for (place, value) in &line.points {
        let is_met = figure.is_none_or(|figure| figure.is_met(*value));
        let _ = write!(
            html,
            r#"<circle class="{}" cx="{:.1}" cy="{:.1}" r="3.5"><title>{}: {value}</title></circle>"#,
            if is_met { "f0" } else { "bad" },
            axes.x(*place),
            axes.y(number(*value)),
            escape(commits.get(*place).copied().unwrap_or_default())
        );
    }
    html.push_str("</svg></figure>");
}

/// Some of the commits, evenly, with the first and the last.
fn name_commits(html: &mut String, axes: &Axes, commits: &[&str]) {
    let every = commits.len().div_ceil(NAMED_MAX).max(1);
    for (place, commit) in commits.iter().enumerate() {
        // One beside the last would lie on its name.
        let is_named = place == axes.last || place.is_multiple_of(every) && place.saturating_add(every) <= axes.last;
        if is_named {
            let anchor = match place {
                0 => "start",
                _ if place == axes.last => "end",
                _ => "middle",
            };
            let _ = write!(
                html,
                r#"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}">{}</text>"#,
                axes.x(place),
                HEIGHT - 8.0,
                escape(&short(commit))
            );
        }
    }
}

/// Seven digits, and whether the sources differed from it.
fn short(commit: &str) -> String {
    let mark = if commit.ends_with("-dirty") { "+" } else { "" };
    commit.chars().take(7).chain(mark.chars()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(commit: &str, p50: f64, rate: u64) -> Value {
        json!({"command": "latency", "run": {"commit": commit}, "values": [
            {"id": "ack_p50_ratio", "value": p50}, {"id": "echo_answers_per_s_at_1000", "value": rate}]})
    }

    #[test]
    fn a_figure_has_a_line_through_the_middle_of_each_commit_and_a_dot_for_each_result() {
        let results = [result("aaaaaaaaaa", 1.2, 7), result("bbbbbbbbbb-dirty", 1.0, 8), result("aaaaaaaaaa", 1.3, 9)];
        let results: Vec<&Value> = results.iter().collect();
        let html = history(&results);
        assert_eq!(
            (html.matches("<polyline").count(), html.matches("<circle").count()),
            (1, 3),
            "promised figures only"
        );
        assert_eq!((html.matches("class=\"bad\"").count(), html.matches("class=\"f0\"").count()), (2, 1));
        assert!(html.contains(">aaaaaaa<") && html.contains(">bbbbbbb+<") && html.contains("class=\"target\""));
        let points = [(0, Thousandths(1_200)), (1, Thousandths(1_000)), (0, Thousandths(1_300))];
        assert_eq!(medians(&points, 2), [(0, Thousandths(1_300)), (1, Thousandths(1_000))]);
    }

    #[test]
    fn what_is_not_promised_is_drawn_where_nothing_is_and_one_commit_has_no_history() {
        let of = |commit: &str, count: u64| json!({"run": {"commit": commit}, "values": [{"id": "instructions_decode", "value": count}]});
        let (old, new) = (of("a", 400), of("b", 390));
        let html = history(&[&old, &new]);
        assert!(html.contains("instructions_decode") && !html.contains("class=\"target\""));
        assert_eq!(history(&[&old, &old]), "");
    }

    #[test]
    fn values_far_apart_are_on_a_scale_of_powers_of_ten() {
        let line = |values: &[u64]| Line {
            id: String::new(),
            points: values.iter().map(|v| (0, Thousandths::whole(*v))).collect(),
        };
        let axes = Axes::new(&line(&[30, 5_000]), None, 2);
        assert_eq!(axes.ticks().into_iter().map(label).collect::<Vec<_>>(), ["10", "100", "1000", "10 k"]);
        assert!((axes.y(100.0) - axes.y(1_000.0) - (axes.y(10.0) - axes.y(100.0))).abs() < 1e-6);
        let even = Axes::new(&line(&[30, 50]), None, 2);
        assert!((even.y(30.0) - even.y(40.0) - (even.y(40.0) - even.y(50.0))).abs() < 1e-6);
    }

    #[test]
    fn a_few_commits_are_named_with_the_first_and_the_last() {
        let commits: Vec<String> = (0..23).map(|nth| format!("commit{nth:02}")).collect();
        let commits: Vec<&str> = commits.iter().map(String::as_str).collect();
        let axes = Axes { low: 0.0, high: 1.0, is_even: true, last: 22 };
        let mut html = String::new();
        name_commits(&mut html, &axes, &commits);
        assert!(
            html.matches("<text").count() <= NAMED_MAX + 1
                && html.contains("x=\"56.0\"")
                && html.contains("x=\"446.0\"")
        );
    }
}
