//! All promised figures at once, each in a short form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Serialize;

use crate::Failure;
use crate::figures::{FIGURES, Figure, Source};
use crate::machine::Run;
use crate::outcome::{Files, Outcome};
use crate::percentiles::Percentiles;
use crate::thousandths::Thousandths;
use crate::timing::micros;

/// Which figures.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these, by id.
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    pub(crate) only: Vec<String>,
}

/// A figure as it was measured, or why it could not be.
#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    value: Option<Thousandths>,
    target: Thousandths,
    is_lower_better: bool,
    met: bool,
    /// Of the measurement that it comes from.
    hiccup: Option<Hiccup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What the machine did meanwhile, ns.
#[derive(Clone, Debug, Serialize)]
struct Hiccup {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

#[derive(Debug, Serialize)]
struct Board {
    figures: BTreeMap<&'static str, Row>,
    machine: Run,
    commit: String,
}

/// Measures and prints them; true when all are met.
pub(crate) fn run(options: &Options, files: &Files, machine: Run) -> Result<bool, Failure> {
    let wanted = wanted(&options.only)?;
    let sources: BTreeSet<Source> = wanted.iter().map(|figure| figure.source).collect();
    let mut outcomes: BTreeMap<Source, Result<Outcome, String>> = BTreeMap::new();
    for source in sources {
        println!("-- {source:?}");
        outcomes.insert(source, source.measure().map_err(|error| error.to_string()));
    }
    let rows: Vec<(&'static str, Row)> = wanted.iter().map(|figure| (figure.id, row(figure, &outcomes))).collect();
    print(&rows);
    let are_met = rows.iter().all(|(_, row)| row.met);
    if let Some(path) = &files.json {
        let board = Board { figures: rows.into_iter().collect(), commit: machine.commit.clone(), machine };
        fs::write(path, serde_json::to_string_pretty(&board)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(are_met)
}

fn wanted(only: &[String]) -> Result<Vec<&'static Figure>, Failure> {
    if only.is_empty() {
        return Ok(FIGURES.iter().collect());
    }
    only.iter()
        .map(|id| {
            Figure::of(id).ok_or_else(|| {
                let ids: Vec<&str> = FIGURES.iter().map(|figure| figure.id).collect();
                format!("there is no figure {id}; there are: {}", ids.join(", ")).into()
            })
        })
        .collect()
}

fn row(figure: &Figure, outcomes: &BTreeMap<Source, Result<Outcome, String>>) -> Row {
    let outcome = outcomes.get(&figure.source);
    let measured = outcome.and_then(|outcome| outcome.as_ref().ok());
    let value = measured.and_then(|outcome| outcome.value(figure.id));
    Row {
        what: figure.what,
        value,
        target: figure.target(),
        is_lower_better: figure.is_lower_better(),
        met: value.is_some_and(|value| figure.is_met(value)),
        hiccup: measured.map(|outcome| hiccup(&Percentiles::of(&outcome.hiccups))),
        error: outcome.and_then(|outcome| outcome.as_ref().err().cloned()),
    }
}

const fn hiccup(percentiles: &Percentiles) -> Hiccup {
    Hiccup { p50: percentiles.p50, p99: percentiles.p99, p999: percentiles.p999, max: percentiles.max }
}

fn print(rows: &[(&'static str, Row)]) {
    println!("\n{:<26} {:>14} {:>16} {:<8} hiccup p99 / max, µs", "id", "figure", "target", "met");
    for (id, row) in rows {
        let value = row.value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let target = format!("{} {}", if row.is_lower_better { "≤" } else { "≥" }, row.target);
        let hiccup = row.hiccup.as_ref().map_or_else(
            || row.error.clone().unwrap_or_default(),
            |hiccup| format!("{} / {}", micros(hiccup.p99), micros(hiccup.max)),
        );
        println!("{id:<26} {value:>14} {target:>16} {:<8} {hiccup}", if row.met { "yes" } else { "NO" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_value_target_and_whether_it_is_met_or_the_reason_why_there_is_none() {
        let figure = Figure::of("ack_p50_ratio").unwrap();
        let mut outcome = Outcome::default();
        outcome.add_value("ack_p50_ratio", Thousandths(1_083));
        let measured = BTreeMap::from([(figure.source, Ok(outcome))]);
        let json = serde_json::to_value(row(figure, &measured)).unwrap();
        assert_eq!((&json["value"], &json["target"], &json["met"]), (&1.083.into(), &1.1.into(), &true.into()));
        assert_eq!(json["hiccup"]["max"], 0);
        let failed = BTreeMap::from([(figure.source, Err("the echo takes 60 µs".to_owned()))]);
        let json = serde_json::to_value(row(figure, &failed)).unwrap();
        assert_eq!((&json["value"], &json["met"]), (&serde_json::Value::Null, &false.into()));
        assert_eq!(json["error"], "the echo takes 60 µs");
    }

    #[test]
    fn an_id_that_is_none_is_refused_with_those_that_are() {
        let ids = wanted(&["orders_per_s".to_owned(), "append_p50_ns".to_owned()]).unwrap();
        assert_eq!(ids.iter().map(|figure| figure.id).collect::<Vec<_>>(), ["orders_per_s", "append_p50_ns"]);
        let refusal = wanted(&["orders".to_owned()]).unwrap_err().to_string();
        assert!(refusal.starts_with("there is no figure orders; there are: ack_p50_ratio, "), "{refusal}");
    }
}
