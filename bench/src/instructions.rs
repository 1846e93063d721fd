//! How many instructions each step of an order takes, against a table: a regression check that no noise disturbs.
//!
//! Callgrind counts, inside `operations::counted` only, so that neither a start nor a side thread is in the counts; of
//! two counts of the same step, done a thousand times and eleven thousand times, the difference is of ten thousand. The
//! same binary makes the same counts on every machine: valgrind shows each program the same CPU, whichever has AVX2.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::Failure;
use crate::machine::Run;
use crate::operations::{COUNTED, Operation};
use crate::outcome::{self, Files, Outcome};
use crate::thousandths::Thousandths;

/// How often a step is done in the two runs whose difference is taken.
const TIMES: (u64, u64) = (1_000, 11_000);
/// More than this, of what the table says, is a regression.
const RATIO_MAX: Thousandths = Thousandths(1_050);
/// Less than this is a gain that the table should keep.
const RATIO_KEPT: Thousandths = Thousandths(950);
const NO_VALGRIND: &str = "valgrind is missing: apt-get install --yes valgrind";

/// What is counted, and against what.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1..)]
    pub(crate) only: Vec<Operation>,
    /// Writes what was counted into the table, instead of comparing.
    #[arg(long, conflicts_with = "only")]
    pub(crate) update: bool,
    /// The table.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml"))]
    pub(crate) table: PathBuf,
}

/// What was counted, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    rustc: String,
    valgrind: String,
    /// What of the CPU decides which code runs.
    cpu: String,
    /// Instructions by operation.
    counts: Vec<(String, u64)>,
}

/// Counts, and compares or writes the table; true when nothing takes more than it may.
pub(crate) fn run(options: &Options, files: &Files, run: Run) -> Result<bool, Failure> {
    let operations = if options.only.is_empty() { Operation::value_variants() } else { &options.only };
    let mut counted = Table {
        rustc: env!("BENCH_RUSTC").to_owned(),
        valgrind: valgrind_version()?,
        cpu: String::new(),
        counts: Vec::new(),
    };
    println!("{}, {}", counted.rustc, counted.valgrind);
    let mut outcome = Outcome::default();
    for operation in operations {
        let (few, _) = count(*operation, TIMES.0)?;
        let (many, cpu) = count(*operation, TIMES.1)?;
        let instructions = per_operation(few, many)?;
        counted.cpu = cpu;
        println!("{:<8} {instructions:>6} instructions", name(*operation));
        outcome.add_value(format!("instructions_{}", name(*operation)), Thousandths::whole(instructions));
        counted.counts.push((name(*operation), instructions));
    }
    outcome.configure("rustc", &counted.rustc);
    outcome.configure("valgrind", &counted.valgrind);
    outcome.configure("cpu_seen", &counted.cpu);
    outcome::write(files, "instructions", run, &outcome)?;
    if options.update {
        std::fs::write(&options.table, counted.text()).map_err(|error| at(&options.table, &error))?;
        println!("written to {}", options.table.display());
        return Ok(true);
    }
    let text = std::fs::read_to_string(&options.table).map_err(|error| at(&options.table, &error))?;
    let table = Table::read(&text).map_err(|fault| at(&options.table, &fault))?;
    compare(&counted, &table)
}

fn at(path: &Path, fault: &dyn std::fmt::Display) -> String {
    format!("{}: {fault}", path.display())
}

fn name(operation: Operation) -> String {
    operation.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn valgrind_version() -> Result<String, Failure> {
    let output = Command::new("valgrind").arg("--version").output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => NO_VALGRIND.to_owned(),
        _ => format!("valgrind: {error}"),
    })?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Instructions of so many operations, and the CPU that they were counted on.
fn count(operation: Operation, times: u64) -> Result<(u64, String), Failure> {
    let dir = crate::scratch::dir()?;
    let out = dir.path().join("callgrind");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", &format!("--toggle-collect={COUNTED}")])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["perform", &name(operation), &times.to_string()])
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(format!("{} under valgrind: {said}", name(operation)).into());
    }
    Ok((total(&std::fs::read_to_string(&out)?)?, String::from_utf8(output.stdout)?.trim().to_owned()))
}

/// Does an operation, and says what CPU the program sees.
pub(crate) fn perform(operation: Operation, times: u64) -> Result<(), Failure> {
    operation.perform(times)?;
    println!("{}", cpu_seen());
    Ok(())
}

/// What of the CPU decides which code runs: the checksum and the copies choose theirs at run time.
fn cpu_seen() -> String {
    let mut seen = std::env::consts::ARCH.to_owned();
    #[cfg(target_arch = "x86_64")]
    for (name, is_there) in [
        ("sse4.2", std::arch::is_x86_feature_detected!("sse4.2")),
        ("pclmulqdq", std::arch::is_x86_feature_detected!("pclmulqdq")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
    ] {
        if is_there {
            seen.push(' ');
            seen.push_str(name);
        }
    }
    seen
}

/// The sum in callgrind's file.
fn total(file: &str) -> Result<u64, Failure> {
    let line = file.lines().find_map(|line| line.strip_prefix("totals:")).ok_or("callgrind wrote no totals")?;
    match line.trim().parse()? {
        0 => Err(format!("callgrind saw no function {COUNTED}: the binary has no symbols").into()),
        total => Ok(total),
    }
}

/// Of the difference of two counts, rounded to the nearest.
fn per_operation(few: u64, many: u64) -> Result<u64, Failure> {
    let times = TIMES.1.saturating_sub(TIMES.0);
    let difference = many.checked_sub(few).ok_or("more operations took fewer instructions")?;
    Ok(difference.saturating_add(times / 2).checked_div(times).unwrap_or(0))
}

/// Says how each stands against the table; false when one takes more than it may.
fn compare(counted: &Table, table: &Table) -> Result<bool, Failure> {
    if counted.cpu != table.cpu {
        return Err(format!(
            "the table was counted on `{}`, this is `{}`: other code runs, and the counts say nothing of each other",
            table.cpu, counted.cpu
        )
        .into());
    }
    let mut is_kept = true;
    for (operation, instructions) in &counted.counts {
        let known = table.counts.iter().find(|(known, _)| known == operation).map(|(_, count)| *count);
        let known = known.ok_or_else(|| format!("the table has no {operation}: --update writes it"))?;
        let ratio = Thousandths::ratio(*instructions, known);
        let word = match ratio {
            _ if ratio > RATIO_MAX => "MORE than 1.05: a regression, or --update when it is meant",
            _ if ratio < RATIO_KEPT => "fewer: --update keeps the gain",
            _ => "as before",
        };
        is_kept &= ratio <= RATIO_MAX;
        println!("{operation:<8} {ratio} × the {known} of the table: {word}");
    }
    if !is_kept && (&counted.rustc, &counted.valgrind) != (&table.rustc, &table.valgrind) {
        println!("the table was counted with {} and {}", table.rustc, table.valgrind);
    }
    Ok(is_kept)
}

impl Table {
    fn read(text: &str) -> Result<Self, String> {
        let document: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let word = |key: &str| {
            let value = document.get(key).and_then(toml::Value::as_str).map(ToOwned::to_owned);
            value.ok_or_else(|| format!("no {key}"))
        };
        let rows = document.get("instructions").and_then(toml::Value::as_table).ok_or("no instructions")?;
        let count = |(operation, count): (&String, &toml::Value)| {
            let count = count.as_integer().and_then(|count| u64::try_from(count).ok());
            Ok((operation.clone(), count.ok_or_else(|| format!("{operation}: not a count"))?))
        };
        Ok(Self {
            rustc: word("rustc")?,
            valgrind: word("valgrind")?,
            cpu: word("cpu")?,
            counts: rows.iter().map(count).collect::<Result<_, String>>()?,
        })
    }

    fn text(&self) -> String {
        let mut text = String::from("# Instructions of each step of an order, as `bench instructions` counts them.\n");
        text.push_str("# `bench instructions --update` rewrites this file.\n");
        // Writing to a string does not fail.
        let _ = write!(text, "rustc = \"{}\"\nvalgrind = \"{}\"\n", self.rustc, self.valgrind);
        let _ = write!(text, "cpu = \"{}\"\n\n[instructions]\n", self.cpu);
        for (operation, count) in &self.counts {
            let _ = writeln!(text, "{operation} = {count}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(cpu: &str, counts: &[(&str, u64)]) -> Table {
        let counts = counts.iter().map(|(operation, count)| ((*operation).to_owned(), *count)).collect();
        Table { rustc: "rustc 1".to_owned(), valgrind: "valgrind-3".to_owned(), cpu: cpu.to_owned(), counts }
    }

    #[test]
    fn one_in_twenty_more_is_kept_and_one_above_is_a_regression() {
        let known = table("x", &[("apply", 100), ("decode", 1000)]);
        let is_kept = |counts: &[(&str, u64)]| compare(&table("x", counts), &known).unwrap();
        assert!(is_kept(&[("decode", 1050), ("apply", 50)]));
        assert!(!is_kept(&[("decode", 1051), ("apply", 50)]));
        assert!(!is_kept(&[("decode", 900), ("apply", 106)]));
    }

    #[test]
    fn counts_of_another_cpu_and_an_operation_that_the_table_has_not_are_not_compared() {
        let known = table("x86_64 avx2", &[("decode", 1000)]);
        let refusal = compare(&table("x86_64", &[("decode", 1000)]), &known).unwrap_err().to_string();
        assert!(refusal.contains("`x86_64 avx2`, this is `x86_64`"), "{refusal}");
        let refusal = compare(&table("x86_64 avx2", &[("apply", 1)]), &known).unwrap_err().to_string();
        assert!(refusal.contains("no apply: --update"), "{refusal}");
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let written = table("x86_64 sse4.2", &[("decode", 412), ("encode", 7)]);
        assert_eq!(Table::read(&written.text()), Ok(written));
        assert_eq!(Table::read("rustc = \"1\""), Err("no instructions".to_owned()));
    }

    #[test]
    fn the_checked_in_table_has_every_operation() {
        let table = Table::read(include_str!("../instructions.toml")).unwrap();
        for operation in Operation::value_variants() {
            assert!(
                table.counts.iter().any(|(known, count)| *known == name(*operation) && *count > 0),
                "{operation:?}"
            );
        }
    }

    #[test]
    fn what_two_runs_have_in_common_cancels() {
        assert_eq!(per_operation(500_000, 500_000 + 10_000 * 412).unwrap(), 412);
        assert!(per_operation(2, 1).is_err());
        assert_eq!(total("events: Ir\nsummary: 5\ntotals: 123\n").unwrap(), 123);
        assert!(total("totals: 0").unwrap_err().to_string().contains("no symbols"));
    }
}
