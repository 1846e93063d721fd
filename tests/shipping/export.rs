//! `tradecore journal export`, as a user runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field as Cell;
use serde_json::Value;
use tradecore::shipping::domains::Domain;
use tradecore_domain::State;
use tradecore_domain::event::Event;

use super::history::{LONG, history};

pub const BINARY: &str = env!("CARGO_BIN_EXE_tradecore");

/// Writes a long random history into a journal that is stopped cleanly, its groups at these times; its events.
pub fn journal_of_a_history(dir: &Path, seed: u64, first_ns: u64, interval_ns: u64) -> Vec<Event> {
    let environment = tradecore_protocol::fields::Environment::Virtual.raw();
    let config = tradecore_journal::Config { environment, ..tradecore_journal::Config::new(dir) };
    let (mut writer, _, _, closer) = tradecore_journal::open(&config).expect("opens").into_parts();
    let (mut all, mut now) = (Vec::new(), first_ns);
    let mut listener = |_: &State, events: &[Event]| {
        writer.begin(now);
        now += interval_ns;
        for event in events {
            let (kind, version) = event.kind();
            writer.append(kind, version, event.payload_len(), |out| assert!(event.archive_into(out)));
            all.push(*event);
        }
        writer.commit();
    };
    history(seed, &mut listener);
    closer.seal(writer);
    all
}

pub fn export(dir: &Path, words: &[&str]) -> Output {
    Command::new(BINARY).args(["journal", "export", "--dir"]).arg(dir).args(words).output().expect("ran")
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("text");
    assert!(text.is_empty() || text.ends_with('\n'), "whole lines");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn seqs(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["seq"].as_str().expect("text").parse().expect("a number")).collect()
}

#[test]
fn every_event_is_exported_once_and_in_order() {
    let place = tempfile::tempdir().expect("a directory");
    let (dir, file) = (place.path().join("journal"), place.path().join("all.jsonl"));
    let events = journal_of_a_history(&dir, 3, 1_700_000_000_000_000_000, 1_000);
    let output = export(&dir, &["--out", file.to_str().expect("text")]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(said, format!("{} events in {}\n", events.len(), file.display()));
    let whole = lines(&std::fs::read(&file).expect("written"));
    assert_eq!(seqs(&whole), (1..=events.len() as u64).collect::<Vec<_>>());
    for (line, event) in whole.iter().zip(&events) {
        assert_eq!(line["type"], format!("tradecore.{}.v1", event.name()));
        assert_eq!(line["id"], format!("virtual-1/1/{}", line["seq"].as_str().expect("text")));
        assert_eq!(line["data"]["meta"]["client_seq"], event.meta().client_seq.to_string());
    }
    assert!(!file.with_extension("jsonl.partial").exists());
    // Domains are parts of the whole: together they are all of it.
    let mut parts = Vec::new();
    for domain in Domain::ALL {
        let output = export(&dir, &["--out", "-", "--domain", domain.name()]);
        assert!(output.status.success(), "{output:?}");
        let part = lines(&output.stdout);
        assert!(part.iter().all(|line| line["domain"] == domain.name()), "{}", domain.name());
        parts.extend(part);
    }
    parts.sort_by_key(|line| seqs(std::slice::from_ref(line)));
    assert_eq!(parts, whole);
}

#[test]
fn a_range_is_exported_to_its_last_event() {
    let place = tempfile::tempdir().expect("a directory");
    let events = journal_of_a_history(place.path(), 5, 1_700_000_000_000_000_000, 1_000).len() as u64;
    let range = |words: &[&str]| {
        let output = export(place.path(), &[&["--out", "-"], words].concat());
        assert!(output.status.success(), "{words:?}: {output:?}");
        seqs(&lines(&output.stdout))
    };
    assert_eq!(range(&["--from", "100", "--to", "200"]), (100..=200).collect::<Vec<_>>());
    assert_eq!(range(&["--to", "1"]), [1]);
    assert_eq!(range(&["--from", &events.to_string()]), [events]);
    assert_eq!(range(&["--from", &(events + 1).to_string()]), [0_u64; 0]);
    let output = export(place.path(), &["--out", "-", "--from", "9", "--to", "8"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let output = export(place.path(), &["--out", "-", "--domain", "orders"]);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("no such domain; allowed: user-account, broker-connection"), "{said}");
}

#[test]
fn what_is_not_durable_is_not_exported_and_an_unknown_event_ends_it() {
    let place = tempfile::tempdir().expect("a directory");
    let config = tradecore_journal::Config::new(place.path());
    let (mut writer, _, _, closer) = tradecore_journal::open(&config).expect("opens").into_parts();
    for kind in [64, 9_999] {
        writer.begin(1);
        writer.append(kind, 1, 64, |out| out.fill(1));
        writer.commit();
    }
    closer.seal(writer);
    let output = export(place.path(), &["--out", "-"]);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(82), "{said}");
    assert!(said.contains("event 2: event type 9999 version 1 is newer than this release"), "{said}");
    let file = place.path().join("x.jsonl");
    let output = export(place.path(), &["--out", file.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(82), "{output:?}");
    assert!(!file.exists(), "no file, rather than half of one");
    // Without its watermark nothing of the journal is known to survive power loss.
    let durable = place.path().join("durable");
    std::fs::remove_file(&durable).expect("there");
    let output = export(place.path(), &["--out", "-"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

/// The column of a field of JSON: with its part in front, unless the name begins with it.
fn column_of(part: &str, name: &str) -> String {
    if (part, name) == ("", "epoch") {
        return "event_epoch".to_owned();
    }
    if part.is_empty() || name.starts_with(&format!("{part}_")) { name.to_owned() } else { format!("{part}_{name}") }
}

/// The fields of `data`, by column.
fn columns_of(data: &Value) -> BTreeMap<String, Value> {
    let mut columns = BTreeMap::new();
    for (name, value) in data.as_object().expect("an object") {
        let mut add = |part: &str, name: &str, value: &Value| {
            assert!(
                columns.insert(column_of(part, name), value.clone()).is_none(),
                "{part}.{name} has a column of its own"
            );
        };
        match value.as_object() {
            Some(fields) => fields.iter().for_each(|(field, value)| add(name, field, value)),
            None => add("", name, value),
        }
    }
    columns
}

/// Units of 10⁻ˢᶜᵃˡᵉ that a decimal text says.
fn units_of(text: &str, scale: usize) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<scale$}").parse().expect("a decimal")
}

fn is_same(cell: &Cell, value: &Value) -> bool {
    match (cell, value) {
        (Cell::Null, value) => value.is_null(),
        (Cell::Bool(cell), value) => value == cell,
        (Cell::Long(cell), Value::Number(number)) => number.as_i64() == Some(*cell),
        (Cell::Str(cell), Value::String(text)) => cell == text,
        (Cell::Str(cell), Value::Number(code)) => *cell == code.to_string(),
        (Cell::Str(cell), Value::Array(bits)) => {
            let names = bits.iter().map(|bit| bit.as_str().map_or_else(|| bit.to_string(), str::to_owned));
            *cell == names.collect::<Vec<_>>().join("|")
        }
        (Cell::Decimal(cell), Value::String(text)) => {
            let bytes: [u8; 16] = cell.data().try_into().expect("128 bits");
            i128::from_be_bytes(bytes) == units_of(text, usize::try_from(cell.scale()).expect("small"))
        }
        (cell, value) => panic!("{cell:?} for {value}"),
    }
}

#[test]
fn what_is_no_file_is_not_replaced_by_one() {
    let place = tempfile::tempdir().expect("a directory");
    let (dir, pipe) = (place.path().join("journal"), place.path().join("pipe"));
    journal_of_a_history(&dir, LONG, 1_700_000_000_000_000_000, 10);
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("ran");
    assert!(made.success());
    for format in ["--parquet", "--out"] {
        let output = export(&dir, &[format, pipe.to_str().expect("text")]);
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(!std::fs::metadata(&pipe).expect("there").is_file(), "{format}");
    }
}

#[test]
fn a_parquet_file_says_what_the_lines_say() {
    let place = tempfile::tempdir().expect("a directory");
    let (dir, file) = (place.path().join("journal"), place.path().join("all.parquet"));
    let events = journal_of_a_history(&dir, LONG, 1_700_000_000_000_000_000, 1_000);
    let output = export(&dir, &["--parquet", file.to_str().expect("text")]);
    assert!(output.status.success(), "{output:?}");
    let lines = lines(&export(&dir, &["--out", "-"]).stdout);
    let reader = SerializedFileReader::new(File::open(&file).expect("there")).expect("Parquet");
    let schema = reader.metadata().file_metadata().schema();
    let names: BTreeSet<&str> = schema.get_fields().iter().map(|field| field.name()).collect();
    assert_eq!(names.len(), schema.get_fields().len(), "no column is there twice");
    let mut count = 0;
    for (row, line) in reader.get_row_iter(None).expect("rows").zip(&lines) {
        let row = row.expect("a row");
        let said = columns_of(&line["data"]);
        count += 1;
        assert!(said.keys().all(|column| names.contains(column.as_str())), "{line}");
        let mut own = vec![("seq", &line["seq"]), ("epoch", &line["epoch"]), ("domain", &line["domain"])];
        own.push(("subject", &line["subject"]));
        for (name, cell) in row.get_column_iter() {
            let text = cell.to_string();
            match own.iter().find(|(own, _)| own == name) {
                Some((_, value)) => assert_eq!(Some(text.trim_matches('"')), value.as_str(), "{name}: {line}"),
                None if ["time", "stream", "event", "version"].contains(&name.as_str()) => {}
                None => {
                    let value = said.get(name).unwrap_or(&Value::Null);
                    assert!(is_same(cell, value), "{name}: {cell:?} for {value} in {line}");
                }
            }
        }
        let [event, stream, version] = ["event", "stream", "version"].map(|wanted| {
            row.get_column_iter().find(|(name, _)| *name == wanted).expect("there").1.to_string().replace('"', "")
        });
        assert_eq!(format!("tradecore.{event}.v{version}"), line["type"]);
        assert_eq!(format!("/tradecore/{stream}"), line["source"]);
    }
    assert_eq!((count, lines.len()), (events.len(), events.len()));
}
