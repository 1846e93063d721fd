//! Results as one HTML page that needs nothing else: percentile plots, figures, and where and how they were made.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Failure;
use crate::date::utc;
use crate::escape::escape;
use crate::figures::Figure;
use crate::history::{commit, history};
use crate::ladder_plot;
use crate::stage_bars::bars;
use crate::svg::{Curve, plot};

/// What becomes a page.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Results, as `--json` writes them: of any command, and of `figures`.
    #[arg(required = true, value_name = "RESULT")]
    pub(crate) results: Vec<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub(crate) html: PathBuf,
}

/// Writes the page.
pub(crate) fn write(options: &Options) -> Result<(), Failure> {
    let results = options.results.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    fs::write(&options.html, page(&results)).map_err(|error| format!("{}: {error}", options.html.display()))?;
    println!("{}", options.html.display());
    Ok(())
}

fn read(path: &Path) -> Result<Value, Failure> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let result: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    if result.get("command").is_none() && result.get("figures").is_none() {
        return Err(format!("{}: no result of a command with --json, nor of figures", path.display()).into());
    }
    Ok(result)
}

fn page(results: &[Value]) -> String {
    let mut html = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.push_str("<title>TradeCore measurements</title><style>\n");
    html.push_str(include_str!("report.css"));
    html.push_str("</style></head><body><h1>TradeCore measurements</h1>\n");
    for (name, results) in by_command(results) {
        let _ = write!(html, "<h2>{}</h2>", escape(&name));
        html.push_str(&history(&results));
        // What older commits measured is told by the history.
        let newest = results.last().map(|result| commit(result));
        for result in results.iter().filter(|result| Some(commit(result)) == newest) {
            if result.get("figures").is_some() {
                board(&mut html, result);
            } else {
                section(&mut html, result);
            }
        }
    }
    html.push_str("</body></html>\n");
    html
}

/// The results of each command, the commands in the order of their first.
fn by_command(results: &[Value]) -> Vec<(String, Vec<&Value>)> {
    let mut commands: Vec<(String, Vec<&Value>)> = Vec::new();
    for result in results {
        let name = result.get("command").and_then(Value::as_str).unwrap_or("figures");
        match commands.iter_mut().find(|(known, _)| known == name) {
            Some((_, own)) => own.push(result),
            None => commands.push((name.to_owned(), vec![result])),
        }
    }
    for (_, own) in &mut commands {
        // By commit, and of one commit by start; where one does not say when it was, in the order of the files.
        if own.iter().all(|result| times(result).is_some()) {
            own.sort_by_key(|result| times(result));
        }
    }
    commands
}

/// When its sources were committed, and when it was measured.
fn times(result: &Value) -> Option<(u64, u64)> {
    let run = result.get("run").or_else(|| result.get("machine"))?;
    Some((run.get("committed_utc_s")?.as_u64()?, run.get("started_utc_ns")?.as_u64()?))
}

/// What `figures` has measured.
fn board(html: &mut String, result: &Value) {
    html.push_str("<table><tr><th>id</th><th>what</th><th class=\"number\">figure</th>");
    html.push_str("<th class=\"number\">target</th><th></th><th class=\"number\">hiccup p99, µs</th></tr>");
    for (id, row) in result.get("figures").and_then(Value::as_object).into_iter().flatten() {
        let is_met = row.get("met").and_then(Value::as_bool).unwrap_or(false);
        let figure = Figure::of(id);
        let hiccup = result.pointer(&format!("/machine/hiccups_ns/{id}/p99")).and_then(Value::as_u64);
        // Writing to a string does not fail.
        let _ = write!(
            html,
            "<tr><td>{}</td><td class=\"words\">{}</td><td class=\"number\">{}</td><td class=\"number\">{} {}</td>{}<td class=\"number\">{}</td></tr>",
            escape(id),
            escape(figure.map_or("", |figure| figure.what)),
            number(row.get("value")),
            figure.map_or("", Figure::sign),
            number(row.get("target")),
            verdict(is_met),
            hiccup.map_or(String::new(), crate::timing::micros),
        );
    }
    html.push_str("</table>");
    run(html, result.get("machine"));
}

/// What one command has measured.
fn section(html: &mut String, result: &Value) {
    let series: Vec<&Value> = result.get("series").and_then(Value::as_array).into_iter().flatten().collect();
    let name_of = |series: &Value, key| series.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut plots: Vec<String> = Vec::new();
    for name in series.iter().map(|series| name_of(series, "plot")) {
        if !plots.contains(&name) {
            plots.push(name);
        }
    }
    for name in &plots {
        let own: Vec<(String, &Value)> = series
            .iter()
            .filter(|series| name_of(series, "plot") == *name)
            .map(|series| (name_of(series, "name"), *series))
            .chain(result.get("hiccup").map(|hiccup| ("hiccup of the machine".to_owned(), hiccup)))
            .filter(|(_, series)| series.get("count").and_then(Value::as_u64).unwrap_or(0) > 0)
            .collect();
        let curves: Vec<Curve<'_>> = own.iter().map(|(name, series)| Curve { name, points: points(series) }).collect();
        let _ = write!(html, "<h3>{}</h3>{}", escape(name), plot(&curves));
        percentiles(html, &own);
    }
    let measured = measured(result);
    html.push_str(&ladder_plot::plot(&measured));
    html.push_str(&bars(&measured));
    values(html, result);
    run(html, result.get("run"));
}

/// Every value by its id, thousandths.
fn measured(result: &Value) -> Vec<(&str, u64)> {
    let values = result.get("values").and_then(Value::as_array).into_iter().flatten();
    let value = |row: &Value| row.get("value").and_then(crate::thousandths::Thousandths::read);
    values.filter_map(|row| Some((row.get("id")?.as_str()?, value(row)?.0))).collect()
}

fn points(series: &Value) -> Vec<(f64, u64)> {
    let curve = series.get("curve").and_then(Value::as_array).into_iter().flatten();
    curve.filter_map(|point| Some((point.get(0)?.as_f64()?, point.get(1)?.as_u64()?))).collect()
}

fn percentiles(html: &mut String, series: &[(String, &Value)]) {
    html.push_str("<table><tr><th>µs</th>");
    for head in ["p50", "p90", "p99", "p99.9", "p99.99", "max", "count"] {
        let _ = write!(html, "<th class=\"number\">{head}</th>");
    }
    html.push_str("</tr>");
    for (name, series) in series {
        let _ = write!(html, "<tr><td>{}</td>", escape(name));
        for key in ["p50", "p90", "p99", "p999", "p9999", "max"] {
            let micros = series.get(key).and_then(Value::as_u64).map_or(String::new(), crate::timing::micros);
            let _ = write!(html, "<td class=\"number\">{micros}</td>");
        }
        let _ = write!(html, "<td class=\"number\">{}</td></tr>", number(series.get("count")));
    }
    html.push_str("</table>");
}

fn values(html: &mut String, result: &Value) {
    html.push_str("<h3>Figures</h3><table>");
    for value in result.get("values").and_then(Value::as_array).into_iter().flatten() {
        let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
        // The ladder has a table of its own.
        if id.starts_with(ladder_plot::PREFIX) {
            continue;
        }
        let measured = value.get("value");
        let _ = write!(html, "<tr><td>{}</td><td class=\"number\">{}</td>", escape(id), number(measured));
        if let (Some(figure), Some(value)) = (Figure::of(id), measured.and_then(crate::thousandths::Thousandths::read))
        {
            let _ =
                write!(html, "<td class=\"dim\">{}</td>{}", escape(&figure.promise()), verdict(figure.is_met(value)));
        } else {
            html.push_str("<td></td><td></td>");
        }
        html.push_str("</tr>");
    }
    for (id, why) in result.get("not_measured").and_then(Value::as_object).into_iter().flatten() {
        let (id, why) = (escape(id), escape(why.as_str().unwrap_or_default()));
        let _ = write!(
            html,
            "<tr><td>{id}</td><td class=\"number\">–</td><td class=\"dim\">{why}</td><td class=\"dim\">not measured</td></tr>"
        );
    }
    html.push_str("</table>");
}

/// Where and how.
fn run(html: &mut String, run: Option<&Value>) {
    html.push_str("<h3>Where and how</h3><dl>");
    for (key, value) in run.and_then(Value::as_object).into_iter().flatten() {
        let key = key.split("_utc_").next().unwrap_or(key);
        let text = match value {
            // It stands beside each figure.
            _ if key == "hiccups_ns" => continue,
            Value::Null => continue,
            Value::Object(map) if map.is_empty() => continue,
            Value::Number(seconds) if key == "committed" => utc(seconds.as_u64().unwrap_or(0)),
            Value::Number(nanos) if key == "started" => utc(nanos.as_u64().unwrap_or(0) / 1_000_000_000),
            Value::String(text) => text.clone(),
            Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| format!("{key}: {}", value.as_str().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join("; "),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
        };
        let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", escape(&key.replace('_', " ")), escape(&text));
    }
    html.push_str("</dl>");
}

fn number(value: Option<&Value>) -> String {
    value.and_then(crate::thousandths::Thousandths::read).map_or_else(|| "–".to_owned(), |value| value.to_string())
}

const fn verdict(is_met: bool) -> &'static str {
    if is_met { "<td class=\"met\">met</td>" } else { "<td class=\"missed\">not met</td>" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_has_a_plot_for_each_group_with_the_hiccups_and_says_what_is_met() {
        let curve = json!([[0.0, 5_000], [0.5, 6_500], [1.0, 90_000]]);
        let series =
            |name: &str, plot: &str| json!({"name": name, "plot": plot, "count": 3, "p50": 6_500, "curve": curve});
        let result = json!({
            "command": "latency",
            "run": {"cpu": "A <fast> CPU", "command_line": ["bench", "latency"], "started_utc_ns": 1_795_286_220_000_000_000_u64},
            "hiccup": series("", ""),
            "series": [series("echo", "1000/s"), series("gateway", "1000/s"), series("echo", "5000/s")],
            "values": [{"id": "ack_p50_ratio", "value": 1.083}, {"id": "ack_p99_ratio", "value": 1.3}],
        });
        let html = page(&[result]);
        assert_eq!(html.matches("<svg").count(), 2);
        assert_eq!(html.matches("<polyline").count(), 5, "three series, and the hiccups in both plots");
        assert_eq!((html.matches("class=\"met\"").count(), html.matches("class=\"missed\"").count()), (1, 1));
        assert!(html.contains("A &lt;fast&gt; CPU") && html.contains("bench latency") && html.contains("1.083"));
        assert!(html.contains("<dt>started</dt><dd>2026-11-21 18:37 UTC</dd>"));
        assert!(!html.contains("http://") && !html.contains("https://"), "it needs nothing else");
    }

    #[test]
    fn results_of_several_commits_become_a_history_by_date_and_the_newest_is_shown_in_full() {
        let result = |commit: &str, committed: Option<u64>, cpu: &str| {
            json!({"command": "latency", "values": [{"id": "ack_p50_ratio", "value": 1.05}],
                "run": {"commit": commit, "committed_utc_s": committed, "started_utc_ns": 1, "cpu": cpu}})
        };
        let html = page(&[result("newer", Some(20), "of newer"), result("older", Some(10), "of older")]);
        assert!(html.contains("of newer") && !html.contains("of older") && html.contains("Over commits"));
        let html = page(&[result("newer", Some(20), "of newer"), result("older", None, "of older")]);
        assert!(!html.contains("of newer") && html.contains("of older"), "in the order of the files");
        assert_eq!(html.matches("<h2>").count(), 1, "one section a command");
    }

    #[test]
    fn a_board_shows_every_figure_and_those_that_could_not_be_had() {
        let rows = json!({
            "ack_p50_ratio": {"value": null, "target": 1.1, "met": false},
            "orders_per_s": {"value": 1_200_000, "target": 1_000_000, "met": true},
        });
        let machine = json!({"hiccups_ns": {"orders_per_s": {"p99": 47_100}}, "errors": {"ack_p50_ratio": "no echo"}});
        let html = page(&[json!({"figures": rows, "machine": machine, "commit": "abc"})]);
        assert!(html.contains("one connection, pipelined") && html.contains(">47.1<") && html.contains("no echo"));
        assert!(html.contains("≤ 1.100") && html.contains("≥ 1,000,000") && html.contains("1,200,000"));
        assert!(html.contains("<td class=\"number\">–</td>"), "no value is no number");
    }

    #[test]
    fn a_figure_that_could_not_be_measured_stands_there_with_the_reason() {
        let not_measured = json!({"ack_p50_ratio": "20000/s were <not> reached"});
        let html = page(&[json!({"command": "latency", "values": [], "not_measured": not_measured})]);
        assert!(html.contains("ack_p50_ratio") && html.contains("20000/s were &lt;not&gt; reached"), "{html}");
        assert!(
            html.contains(">not measured<") && !html.contains("class=\"missed\""),
            "what is not known is not missed"
        );
    }

    #[test]
    fn a_file_that_is_no_result_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.json");
        fs::write(&path, "{}").unwrap();
        let refusal = read(&path).unwrap_err().to_string();
        assert!(refusal.contains("other.json: no result"), "{refusal}");
    }
}
