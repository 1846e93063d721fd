//! All promised figures at once, each in a short form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Serialize;

use crate::Failure;
use crate::figures::{FIGURES, Figure, Source};
use crate::machine::Run;
use crate::outcome::{Files, Outcome, write_histograms};
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

/// A figure as it was measured; without a value when it could not be.
#[derive(Debug, Serialize)]
struct Row {
    value: Option<Thousandths>,
    target: Thousandths,
    met: bool,
}

/// What the machine did meanwhile, ns.
#[derive(Clone, Debug, Serialize)]
struct Hiccup {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

/// The result as it is written: others read it, so it has these keys and no more.
#[derive(Debug, Serialize)]
struct Board {
    figures: BTreeMap<&'static str, Row>,
    machine: Machine,
    commit: String,
}

/// Where and how, what the machine did beside each figure, and why one is missing.
#[derive(Debug, Serialize)]
struct Machine {
    #[serde(flatten)]
    run: Run,
    hiccups_ns: BTreeMap<&'static str, Hiccup>,
    errors: BTreeMap<&'static str, String>,
}

/// What each source has measured, or why it could not.
type Outcomes = BTreeMap<Source, Result<Outcome, String>>;

/// Measures and prints them; true when all are met.
pub(crate) fn run(options: &Options, files: &Files, machine: Run) -> Result<bool, Failure> {
    let wanted = wanted(&options.only)?;
    let sources: BTreeSet<Source> = wanted.iter().map(|figure| figure.source).collect();
    let mut outcomes = Outcomes::new();
    for source in sources {
        println!("-- {source:?}");
        outcomes.insert(source, kept(source, files, Source::measure)?);
    }
    let rows: Vec<(&'static Figure, Row)> = wanted.iter().map(|figure| (*figure, row(figure, &outcomes))).collect();
    let machine = describe(machine, &wanted, &outcomes);
    print(&rows, &machine);
    let are_met = rows.iter().all(|(_, row)| row.met);
    let unmeasured: Vec<&str> =
        rows.iter().filter(|(_, row)| row.value.is_none()).map(|(figure, _)| figure.id).collect();
    if let Some(path) = &files.json {
        fs::write(path, serde_json::to_string_pretty(&board(rows, machine))?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if !unmeasured.is_empty() {
        return Err(format!("not measured: {}", unmeasured.join(", ")).into());
    }
    Ok(are_met)
}

/// What a source measures, its histograms where they are wanted, or why it could not.
fn kept(
    source: Source,
    files: &Files,
    measure: impl FnOnce(Source) -> Result<Outcome, Failure>,
) -> Result<Result<Outcome, String>, Failure> {
    let started_utc_ns = tradecore::clock::utc_ns();
    let outcome = measure(source).map_err(|error| error.to_string());
    if let Ok(outcome) = &outcome {
        // Beside those of the command itself, which may be in the same directory.
        write_histograms(files, &format!("figures-{source:?}").to_lowercase(), started_utc_ns, outcome)?;
    }
    Ok(outcome)
}

fn board(rows: Vec<(&'static Figure, Row)>, machine: Machine) -> Board {
    let figures = rows.into_iter().map(|(figure, row)| (figure.id, row)).collect();
    Board { figures, commit: machine.run.commit.clone(), machine }
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

fn row(figure: &Figure, outcomes: &Outcomes) -> Row {
    let measured = outcomes.get(&figure.source).and_then(|outcome| outcome.as_ref().ok());
    let value = measured.and_then(|outcome| outcome.value(figure.id));
    Row { value, target: figure.target(), met: value.is_some_and(|value| figure.is_met(value)) }
}

fn describe(run: Run, wanted: &[&'static Figure], outcomes: &Outcomes) -> Machine {
    let (mut hiccups_ns, mut errors) = (BTreeMap::new(), BTreeMap::new());
    for figure in wanted {
        match outcomes.get(&figure.source) {
            Some(Ok(outcome)) => {
                hiccups_ns.insert(figure.id, hiccup(&Percentiles::of(&outcome.hiccups)));
                if outcome.value(figure.id).is_none() {
                    let reason =
                        outcome.missing.iter().find(|(id, _)| *id == figure.id).map(|(_, reason)| reason.clone());
                    errors.insert(figure.id, reason.unwrap_or_else(|| "its measurement has no such value".to_owned()));
                }
            }
            Some(Err(error)) => {
                errors.insert(figure.id, error.clone());
            }
            None => {}
        }
    }
    Machine { run, hiccups_ns, errors }
}

const fn hiccup(percentiles: &Percentiles) -> Hiccup {
    Hiccup { p50: percentiles.p50, p99: percentiles.p99, p999: percentiles.p999, max: percentiles.max }
}

fn print(rows: &[(&'static Figure, Row)], machine: &Machine) {
    println!("\n{:<26} {:>14} {:>16} {:<8} hiccup p99 / max, µs", "id", "figure", "target", "met");
    for (figure, row) in rows {
        let id = figure.id;
        let value = row.value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let target = format!("{} {}", figure.sign(), row.target);
        let error = machine.errors.get(id).cloned();
        let hiccup =
            machine.hiccups_ns.get(id).map(|hiccup| format!("{} / {}", micros(hiccup.p99), micros(hiccup.max)));
        let beside = error.or(hiccup).unwrap_or_default();
        let word = match row.value {
            None => "-",
            Some(_) if row.met => "yes",
            Some(_) => "NO",
        };
        println!("{id:<26} {value:>14} {target:>16} {word:<8} {beside}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(outcomes: &Outcomes) -> serde_json::Value {
        let wanted = [Figure::of("ack_p50_ratio").unwrap(), Figure::of("cold_start_ms").unwrap()];
        let rows = wanted.iter().map(|figure| (*figure, row(figure, outcomes))).collect();
        serde_json::to_value(board(rows, describe(Run::describe(), &wanted, outcomes))).unwrap()
    }

    fn keys(object: &serde_json::Value) -> Vec<&str> {
        object.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn the_json_has_value_target_and_met_of_each_figure_the_machine_and_the_commit_and_no_more() {
        let mut latency = Outcome::default();
        latency.hiccups.record(7_000).unwrap();
        latency.add_value("ack_p50_ratio", Thousandths(1_083));
        latency.add_value("ack_p50_ratio_at_1000", Thousandths(1_083));
        let start = Err("the gateway did not start".to_owned());
        let json = result(&BTreeMap::from([(Source::Latency, Ok(latency)), (Source::Start, start)]));
        assert_eq!(keys(&json), ["commit", "figures", "machine"]);
        assert_eq!(
            json["figures"],
            serde_json::json!({
                "ack_p50_ratio": {"value": 1.083, "target": 1.1, "met": true},
                "cold_start_ms": {"value": null, "target": 100, "met": false},
            })
        );
        assert_eq!(json["commit"], json["machine"]["commit"]);
        assert!(json["machine"]["cpu"].is_string() && json["machine"]["command_line"].is_array());
        assert!(json["machine"]["hiccups_ns"]["ack_p50_ratio"]["max"].as_u64() >= Some(7_000));
        assert_eq!(json["machine"]["errors"], serde_json::json!({"cold_start_ms": "the gateway did not start"}));
    }

    #[test]
    fn a_figure_that_is_missed_stands_as_it_was_measured() {
        let mut latency = Outcome::default();
        latency.add_value("ack_p50_ratio", Thousandths(1_101));
        let json = result(&BTreeMap::from([(Source::Latency, Ok(latency))]));
        assert_eq!(json["figures"]["ack_p50_ratio"], serde_json::json!({"value": 1.101, "target": 1.1, "met": false}));
    }

    #[test]
    fn a_measurement_that_leaves_a_figure_out_is_told() {
        let json = result(&BTreeMap::from([(Source::Latency, Ok(Outcome::default()))]));
        assert_eq!(json["figures"]["ack_p50_ratio"]["met"], false);
        assert_eq!(json["machine"]["errors"]["ack_p50_ratio"], "its measurement has no such value");
    }

    #[test]
    fn every_source_has_its_histograms_where_they_are_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { json: None, hgrm: Some(dir.path().to_owned()) };
        for source in [Source::Latency, Source::Start] {
            kept(source, &files, |_| Ok(Outcome::default())).unwrap().unwrap();
        }
        assert_eq!(kept(Source::Tail, &files, |_| Err("no echo".into())).unwrap().unwrap_err(), "no echo");
        for name in
            ["figures-latency.hlog", "figures-latency-hiccup.hgrm", "figures-start.hlog", "figures-start-hiccup.hgrm"]
        {
            assert!(dir.path().join(name).is_file(), "{name}");
        }
    }

    #[test]
    fn an_id_that_is_none_is_refused_with_those_that_are() {
        let ids = wanted(&["orders_per_s".to_owned(), "append_p50_ns".to_owned()]).unwrap();
        assert_eq!(ids.iter().map(|figure| figure.id).collect::<Vec<_>>(), ["orders_per_s", "append_p50_ns"]);
        let refusal = wanted(&["orders".to_owned()]).unwrap_err().to_string();
        assert!(refusal.starts_with("there is no figure orders; there are: ack_p50_ratio, "), "{refusal}");
    }
}
