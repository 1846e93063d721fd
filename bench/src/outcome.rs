//! What a command has measured, and the files that it is written to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::Failure;
use crate::machine::Run;
use crate::percentiles::{Percentiles, hgrm, hlog};
use crate::thousandths::Thousandths;
use crate::timing::{RoundTrips, round_trips};

/// Where results are written to.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Files {
    /// Writes the result to this file, as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Writes every histogram to this directory: `.hgrm` for the percentile plotter, `.hlog` for the log tools.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) hgrm: Option<PathBuf>,
}

impl Files {
    /// Refuses both, of a command that writes other files than these.
    pub(crate) fn refuse(&self, instead: &str) -> Result<(), Failure> {
        if self.json.is_some() || self.hgrm.is_some() {
            return Err(format!("this command writes neither --json nor --hgrm: {instead}").into());
        }
        Ok(())
    }

    /// Refuses what could not be written at the end, before anything is measured.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if let Some(path) = &self.json {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let is_new = !path.exists();
            let opened = if is_new { probe(dir) } else { fs::File::options().append(true).open(path).map(drop) };
            opened.map_err(|error| format!("--json {}: {error}", path.display()))?;
        }
        if let Some(dir) = &self.hgrm {
            let made = fs::create_dir_all(dir).and_then(|()| probe(dir));
            made.map_err(|error| format!("--hgrm {}: {error}", dir.display()))?;
        }
        Ok(())
    }
}

/// Makes a file in a directory, which goes again.
fn probe(dir: &Path) -> std::io::Result<()> {
    tempfile::Builder::new().prefix("tradecore-bench-").tempfile_in(dir).map(drop)
}

/// A histogram and what it is of.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// What it is drawn together with: `1000 orders/s`.
    pub(crate) plot: String,
    /// Who, and at what: `gateway 1000/s corrected`.
    pub(crate) name: String,
    /// Times, ns.
    pub(crate) times: RoundTrips,
}

/// A figure by its id, which `figures` lists.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Value {
    pub(crate) id: String,
    pub(crate) value: Thousandths,
}

/// What a command has measured.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// What was measured, by name.
    pub(crate) configuration: Vec<(&'static str, String)>,
    pub(crate) series: Vec<Series>,
    pub(crate) values: Vec<Value>,
    /// Figures that could not be measured, and why.
    pub(crate) missing: Vec<(&'static str, String)>,
    /// What the machine itself did meanwhile.
    pub(crate) hiccups: RoundTrips,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            configuration: Vec::new(),
            series: Vec::new(),
            values: Vec::new(),
            missing: Vec::new(),
            hiccups: round_trips(),
        }
    }
}

impl Outcome {
    /// Adds what was measured, by name.
    pub(crate) fn configure(&mut self, name: &'static str, value: impl ToString) {
        self.configuration.push((name, value.to_string()));
    }

    /// Adds what is the same in every round.
    pub(crate) fn configure_once(&mut self, name: &'static str, value: impl ToString) {
        if self.configuration.iter().all(|(other, _)| *other != name) {
            self.configure(name, value);
        }
    }

    /// Adds a histogram.
    pub(crate) fn add_series(&mut self, plot: impl Into<String>, name: impl Into<String>, times: RoundTrips) {
        self.series.push(Series { plot: plot.into(), name: name.into(), times });
    }

    /// Adds a figure.
    pub(crate) fn add_value(&mut self, id: impl Into<String>, value: Thousandths) {
        self.values.push(Value { id: id.into(), value });
    }

    /// Says why a figure could not be measured, unless it was.
    pub(crate) fn miss(&mut self, id: &'static str, reason: String) {
        if self.value(id).is_none() {
            self.missing.push((id, reason));
        }
    }

    /// Refuses when a figure could not be measured.
    pub(crate) fn complete(&self) -> Result<(), Failure> {
        let missing = self.missing.iter().map(|(id, reason)| format!("{id}: not measured: {reason}"));
        let endless = self.values.iter().filter(|value| value.value.is_endless());
        let endless = endless.map(|value| format!("{}: not measured: its baseline is nothing", value.id));
        let lines: Vec<String> = missing.chain(endless).collect();
        if lines.is_empty() { Ok(()) } else { Err(lines.join("\n").into()) }
    }

    /// The figure of an id.
    pub(crate) fn value(&self, id: &str) -> Option<Thousandths> {
        self.values.iter().find(|value| value.id == id).map(|value| value.value)
    }
}

/// A result as it is written.
#[derive(Debug, Serialize)]
struct Document<'a> {
    command: &'a str,
    run: Run,
    /// Lateness of a timer, or gaps of a spinning thread, ns.
    hiccup: Percentiles,
    values: &'a [Value],
    /// By id, why there is no value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    not_measured: BTreeMap<&'a str, &'a str>,
    series: Vec<SeriesDocument<'a>>,
}

#[derive(Debug, Serialize)]
struct SeriesDocument<'a> {
    name: &'a str,
    plot: &'a str,
    #[serde(flatten)]
    percentiles: Percentiles,
}

/// Writes what was asked for; `run` was described before the measurement.
pub(crate) fn write(files: &Files, command: &str, mut run: Run, outcome: &Outcome) -> Result<(), Failure> {
    run.configuration = outcome.configuration.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    write_histograms(files, command, run.started_utc_ns, outcome)?;
    if let Some(path) = &files.json {
        let document = document(command, run, outcome);
        fs::write(path, serde_json::to_string_pretty(&document)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn document<'a>(command: &'a str, run: Run, outcome: &'a Outcome) -> Document<'a> {
    let series = outcome
        .series
        .iter()
        .map(|series| SeriesDocument {
            name: &series.name,
            plot: &series.plot,
            percentiles: Percentiles::of(&series.times),
        })
        .collect();
    Document {
        command,
        run,
        hiccup: Percentiles::of(&outcome.hiccups),
        values: &outcome.values,
        not_measured: outcome.missing.iter().map(|(id, reason)| (*id, reason.as_str())).collect(),
        series,
    }
}

/// Writes every histogram of what began then and ends now, when it was asked for.
pub(crate) fn write_histograms(
    files: &Files,
    command: &str,
    started_utc_ns: u64,
    outcome: &Outcome,
) -> Result<(), Failure> {
    let Some(dir) = &files.hgrm else { return Ok(()) };
    let length = Duration::from_nanos(tradecore::clock::utc_ns().saturating_sub(started_utc_ns));
    let start = UNIX_EPOCH.checked_add(Duration::from_nanos(started_utc_ns)).unwrap_or(UNIX_EPOCH);
    fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let all = || {
        let series = outcome.series.iter().map(|series| (series.name.as_str(), &series.times));
        series.chain([("hiccup", &outcome.hiccups)])
    };
    for (name, times) in all() {
        fs::write(dir.join(format!("{command}-{}.hgrm", file_name(name))), hgrm(times)?)?;
    }
    fs::write(dir.join(format!("{command}.hlog")), hlog(start, length, all())?)?;
    Ok(())
}

/// A name of a series as a name of a file.
fn file_name(name: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-');
    name.replace("/s", "-per-s").chars().map(|character| if is_plain(character) { character } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let mut outcome = Outcome::default();
        outcome.configure("rates", "1000");
        let mut times = round_trips();
        times.record(6500).unwrap();
        outcome.add_series("1000/s", "echo 1000/s", times);
        outcome.add_value("ack_p50_ratio", Thousandths(1083));
        outcome
    }

    #[test]
    fn the_json_says_what_was_measured_where_how_and_what_the_machine_did() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { json: Some(dir.path().join("result.json")), hgrm: None };
        write(&files, "latency", Run::describe(), &outcome()).unwrap();
        let result: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(dir.path().join("result.json")).unwrap()).unwrap();
        assert_eq!(result["command"], "latency");
        assert_eq!(result["run"]["configuration"]["rates"], "1000");
        assert_eq!(result["values"][0]["id"], "ack_p50_ratio");
        assert_eq!(result["values"][0]["value"], 1.083);
        assert_eq!((&result["series"][0]["name"], &result["series"][0]["count"]), (&"echo 1000/s".into(), &1.into()));
        assert_eq!(result["hiccup"]["count"], 0);
    }

    #[test]
    fn what_cannot_be_written_is_refused_at_the_start_and_nothing_is_left_by_the_looking() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| Some(dir.path().join(name));
        let check = |json, hgrm| Files { json, hgrm }.check().map_err(|error| error.to_string());
        assert_eq!(check(at("result.json"), at("made")), Ok(()));
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the directory for histograms alone");
        fs::write(dir.path().join("file"), "kept").unwrap();
        assert_eq!(check(at("file"), None), Ok(()));
        assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "kept");
        assert!(check(at("nowhere/result.json"), None).unwrap_err().starts_with("--json "));
        assert!(check(at("made"), None).is_err(), "a directory");
        assert!(check(None, at("file")).unwrap_err().starts_with("--hgrm "));
    }

    #[test]
    fn a_command_that_writes_neither_refuses_both() {
        let refuse = |json: Option<&str>, hgrm: Option<&str>| {
            Files { json: json.map(Into::into), hgrm: hgrm.map(Into::into) }
                .refuse("x")
                .map_err(|error| error.to_string())
        };
        assert_eq!(refuse(None, None), Ok(()));
        for refused in [refuse(Some("a"), None), refuse(None, Some("a"))] {
            assert_eq!(refused, Err("this command writes neither --json nor --hgrm: x".to_owned()));
        }
    }

    #[test]
    fn every_series_and_the_hiccups_have_their_files() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { json: None, hgrm: Some(dir.path().join("made")) };
        write(&files, "latency", Run::describe(), &outcome()).unwrap();
        let mut names: Vec<String> = fs::read_dir(dir.path().join("made"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["latency-echo-1000-per-s.hgrm", "latency-hiccup.hgrm", "latency.hlog"]);
    }
}
