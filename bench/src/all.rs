//! Every command that measures, one after the other, and the page of what they found.
//!
//! The short form shows that each command runs from its first line to its last on whatever machine it is: figures that
//! are not met there say nothing, but for counts that no other program changes. Each is a process of its own, as a person would start it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::Failure;
use crate::figures::Figure;
use crate::report;
use crate::thousandths::Thousandths;

/// Every command that measures, with the options of its short form: a few seconds each.
const COMMANDS: [(&str, &[&str]); 16] = [
    (
        "latency",
        &["--rate", "1000", "--seconds", "1", "--rounds", "1", "--ladder-ms", "200", "--echo-max-us", "1000000"],
    ),
    ("throughput", &["--connections", "1,16", "--seconds", "1", "--rounds", "1"]),
    ("journal", &["--payload", "128", "--appends", "20000", "--syncs", "20", "--rounds", "1"]),
    ("core", &["--commands", "100000", "--rounds", "1"]),
    ("recovery", &["--orders", "5000,50000", "--runs", "1"]),
    ("projection", &["--orders", "10000", "--runs", "1"]),
    ("rebuild", &["--events", "20000"]),
    ("sessions", &["--sessions", "50", "--rate", "500", "--seconds", "1", "--runs", "1"]),
    ("start", &["--rounds", "1"]),
    ("synced", &["--seconds", "1", "--flow-seconds", "1", "--rounds", "1", "--echo-max-us", "1000000"]),
    ("stages", &["--rate", "1000", "--seconds", "1", "--rounds", "1", "--p50-max-us", "1000000"]),
    (
        "scale",
        &["--open", "1000,10000", "--instruments", "2", "--sessions", "2", "--journal-mib", "64", "--rounds", "1"],
    ),
    ("soak", &["--minutes", "1", "--rate", "1000"]),
    ("tail", &["--rate", "100", "--seconds", "1", "--rounds", "1"]),
    ("loop", &["--warm-up", "100000", "--commands", "100000", "--traced", "10000"]),
    ("figures", &["--only", "cold_start_ms"]),
];

/// Figures that a short form fails for: counts, which no other program at work changes. Page faults are none of them, for
/// tables and buffers are not filled in a few seconds; nor is what `soak` sees grow in one minute.
const COUNTED: [&str; 2] = ["loop_allocs", "loop_other_syscalls"];

/// How they are run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// A few seconds each: whether they run, and no figure.
    #[arg(long)]
    pub(crate) short: bool,
    /// Where the results and the page, `report.html`, are written.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub(crate) dir: PathBuf,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Met,
    NotMet,
    /// Its exit code, where it ended by itself.
    NotMeasured(Option<i32>),
}

impl End {
    const fn of(code: Option<i32>) -> Self {
        match code {
            Some(0) => Self::Met,
            Some(1) => Self::NotMet,
            other => Self::NotMeasured(other),
        }
    }
}

/// Runs them all; true when every figure was met.
pub(crate) fn run(options: &Options) -> Result<bool, Failure> {
    std::fs::create_dir_all(&options.dir).map_err(|error| format!("{}: {error}", options.dir.display()))?;
    let mut ends = Vec::new();
    let (mut results, mut over) = (Vec::new(), Vec::new());
    for (name, short) in COMMANDS {
        let result = options.dir.join(format!("{name}.json"));
        println!("== {name}");
        let started = Instant::now();
        let mut end = one(name, if options.short { short } else { &[] }, &options.dir, &result)?;
        // A rate that a busy machine has not reached, or no roll-over in a second: it ran, and said so.
        if options.short && end == End::NotMeasured(Some(2)) && says_what_is_missing(&result)? {
            end = End::NotMet;
        }
        ends.push((name, end, started.elapsed().as_secs()));
        if result.is_file() {
            over.extend(counts_over(&result)?);
            results.push(result);
        }
    }
    let html = options.dir.join("report.html");
    report::write(&report::Options { results, html })?;
    for (name, end, seconds) in &ends {
        println!("{name:<12} {:<13} {seconds:>4} s", word(*end, options.short));
    }
    for line in &over {
        println!("{line}");
    }
    // Whether another figure is met, a few seconds on a busy machine do not say.
    conclude(&ends).map(|are_met| are_met || options.short && over.is_empty())
}

/// True when a result names figures that it does not have.
fn says_what_is_missing(result: &Path) -> Result<bool, Failure> {
    if !result.is_file() {
        return Ok(false);
    }
    let result: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(result)?)?;
    Ok(result.get("not_measured").is_some())
}

/// What of `COUNTED` a result has and should not have.
fn counts_over(result: &Path) -> Result<Vec<String>, Failure> {
    let result: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(result)?)?;
    let values = result.get("values").and_then(serde_json::Value::as_array).into_iter().flatten();
    let over = values.filter_map(|row| {
        let id = row.get("id")?.as_str().filter(|id| COUNTED.contains(id))?;
        let (figure, value) = (Figure::of(id)?, row.get("value").and_then(Thousandths::read)?);
        (!figure.is_met(value)).then(|| format!("{id}: {value}; {}: NOT MET, also in a short form", figure.promise()))
    });
    Ok(over.collect())
}

/// One command, in a process of its own, with whatever result there was before it taken away.
fn one(name: &str, options: &[&str], dir: &Path, result: &Path) -> Result<End, Failure> {
    if result.exists() {
        std::fs::remove_file(result)?;
    }
    let status = Command::new(std::env::current_exe()?)
        .env(crate::ENDS_WITH_PARENT, "1")
        .arg(name)
        .args(options)
        .args(crate::cpus::chosen().into_iter().flat_map(|cpus| ["--cpus".to_owned(), cpus]))
        .arg("--json")
        .arg(result)
        .arg("--hgrm")
        .arg(dir.join("histograms"))
        .status()?;
    let end = End::of(status.code());
    let is_told = result.is_file();
    Ok(if is_told { end } else { End::NotMeasured(status.code()) })
}

const fn word(end: End, is_short: bool) -> &'static str {
    match end {
        End::Met | End::NotMet if is_short => "ran",
        End::Met => "met",
        End::NotMet => "not met",
        End::NotMeasured(_) => "NOT MEASURED",
    }
}

/// True when every figure was met; an error when one could not be had.
fn conclude(ends: &[(&str, End, u64)]) -> Result<bool, Failure> {
    let lost: Vec<&str> =
        ends.iter().filter(|(_, end, _)| matches!(end, End::NotMeasured(_))).map(|(name, ..)| *name).collect();
    if lost.is_empty() {
        return Ok(ends.iter().all(|(_, end, _)| *end == End::Met));
    }
    Err(format!("could not be measured: {}", lost.join(", ")).into())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    /// Commands that measure no time: what is made of results, what counts, and this.
    // `peers` needs what `bench/peers/fetch` brings; `./test --all` runs both, `./test --sides` what needs a build with Kafka.
    const OTHERS: [&str; 11] = [
        "all",
        "catch-up",
        "instructions",
        "lag",
        "outage",
        "path",
        "peers",
        "report",
        "restore",
        "shipping",
        "side-memory",
    ];

    #[test]
    fn every_command_has_its_short_form_and_each_is_understood() {
        let arguments = crate::Arguments::command();
        let visible: Vec<&str> =
            arguments.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name).collect();
        for name in visible.iter().filter(|name| !OTHERS.contains(name)) {
            assert!(COMMANDS.iter().any(|(known, _)| known == name), "{name} has no short form in all.rs");
        }
        for (name, short) in COMMANDS {
            assert!(visible.contains(&name), "{name} is no command");
            let start = ["bench", name];
            let line = start.iter().chain(short).copied();
            crate::Arguments::try_parse_from(line).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn a_count_that_should_be_nothing_is_told_and_no_other_figure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let over = |values: serde_json::Value| {
            std::fs::write(file.path(), serde_json::json!({ "values": values }).to_string()).unwrap();
            counts_over(file.path()).unwrap()
        };
        let row = |id: &str, value: f64| serde_json::json!({"id": id, "value": value});
        let told =
            over(serde_json::json!([row("loop_allocs", 0.2), row("loop_faults", 70.0), row("ack_p50_ratio", 9.0)]));
        assert_eq!(told, ["loop_allocs: 0.200; at most 0: NOT MET, also in a short form"]);
        assert!(over(serde_json::json!([row("loop_allocs", 0.0), row("loop_other_syscalls", 0.0)])).is_empty());
    }

    #[test]
    fn a_result_that_names_what_it_lacks_is_told_from_one_that_ended_without() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            says_what_is_missing(file.path()).unwrap()
        };
        assert!(of(r#"{"values": [], "not_measured": {"ack_p50_ratio": "not reached"}}"#));
        assert!(!of(r#"{"values": []}"#));
        assert!(!says_what_is_missing(Path::new("/nowhere/result.json")).unwrap());
    }

    #[test]
    fn a_figure_that_is_not_met_is_told_and_one_that_could_not_be_had_is_an_error() {
        let of = |codes: &[Option<i32>]| {
            conclude(&codes.iter().map(|code| ("x", End::of(*code), 0)).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        assert_eq!(of(&[Some(0), Some(0)]), Ok(true));
        assert_eq!(of(&[Some(0), Some(1)]), Ok(false));
        for code in [Some(2), Some(101), None] {
            assert_eq!(of(&[Some(0), code, Some(1)]), Err("could not be measured: x".to_owned()), "{code:?}");
        }
    }
}
