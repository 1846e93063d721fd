//! `tradecore journal`.

mod export;
#[cfg(feature = "kafka")]
mod restore;
pub(super) mod stat;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tradecore::exit::Exit;
use tradecore::shipping::fields::{Meaning, meaning};
use tradecore::shipping::json::text_of;
use tradecore_client::protocol::fields::Px;
use tradecore_domain::event::{Event, FieldValue};
use tradecore_journal::{Finding, Flaw, ReadError, Reader, Record, Until, VerifyReport};

use super::failure::Failure;
use super::report::{Printer, bits, decimal, has_value, utc};
use super::values::whole;
use super::{print, written};

#[derive(clap::Args)]
pub(super) struct Place {
    /// Directory of the journal.
    #[arg(long)]
    dir: PathBuf,
    /// Prints JSON objects, one a line.
    #[arg(long)]
    json: bool,
}

/// Looks at a journal; safe on a live one.
#[derive(clap::Subcommand)]
#[command(after_help = "Example: tradecore journal stat --dir data/journal")]
pub(super) enum Journal {
    Stat(stat::Stat),
    /// Checks every bit; exit code 80, and what is wrong and where, when one is damaged.
    #[command(after_help = "Example: tradecore journal verify --dir data/journal --json")]
    Verify {
        #[command(flatten)]
        place: Place,
    },
    /// Prints events, one a line: number, time, name, fields that have a value.
    ///
    /// With `--json` an event is one object, `{"seq", "ts_ns", "type", "event"}`, and `event` holds every field as it is
    /// journaled: prices and quantities are integers of 10⁻⁹, money of 10⁻¹⁸, names that end in `_ns` are ns, times
    /// since 1970 in UTC; −9223372036854775808 is no price. Codes are the numbers of protocol/PROTOCOL.md. Integers of
    /// 64 bits and more are strings. `offered` and `allowed` have the unit of what the reason is about.
    #[command(after_help = "Example: tradecore journal dump --dir data/journal --from 100 --to 200 --json")]
    Dump {
        #[command(flatten)]
        place: Place,
        /// First sequence number; without it the oldest there is.
        #[arg(long, value_parser = whole::<u64>)]
        from: Option<u64>,
        /// Last sequence number; without it the newest there is.
        #[arg(long, value_parser = whole::<u64>)]
        to: Option<u64>,
        /// Goes on with events as they come.
        #[arg(long)]
        follow: bool,
    },
    Export(export::Export),
    #[cfg(feature = "kafka")]
    Restore(restore::Restore),
    /// Prints events as they come, as `dump` does; see there for the fields of `--json`.
    #[command(after_help = "Example: tradecore journal tail --dir data/journal --json")]
    Tail {
        #[command(flatten)]
        place: Place,
    },
}

impl Journal {
    pub(super) fn run(self) -> Result<(), Failure> {
        let there = |dir: &Path| match tradecore_journal::has_journal(dir).map_err(unreadable)? {
            true => Ok(()),
            false => Err(Failure::new(Exit::Unavailable, format!("no journal in {}", dir.display()))),
        };
        match &self {
            Self::Verify { place } | Self::Dump { place, .. } | Self::Tail { place } => there(&place.dir)?,
            Self::Export(export) => there(&export.dir)?,
            Self::Stat(_) => {}
            // It makes one.
            #[cfg(feature = "kafka")]
            Self::Restore(_) => {}
        }
        match self {
            Self::Stat(stat) => {
                let needs = stat.needs()?;
                there(&needs.journal_dir)?;
                stat.run(&needs)
            }
            Self::Verify { place } => verify(&place),
            Self::Dump { place, from, to, follow } => dump(&place, from, to.unwrap_or(u64::MAX), follow),
            Self::Export(export) => export.run(),
            #[cfg(feature = "kafka")]
            Self::Restore(restore) => restore.run(),
            Self::Tail { place } => {
                let stat = tradecore_journal::stat(&place.dir).map_err(unreadable)?;
                dump(&place, Some(stat.last_seq.saturating_add(1)), u64::MAX, true)
            }
        }
    }
}

pub(super) fn unreadable(error: ReadError) -> Failure {
    let exit = match &error {
        ReadError::Gone { .. } => Exit::Unavailable,
        error => Exit::from(error),
    };
    Failure::new(exit, error.to_string())
}

fn verify(place: &Place) -> Result<(), Failure> {
    let report = tradecore_journal::verify(&place.dir).map_err(unreadable)?;
    // A tail that was never synced is what a kill, or a writer at work, leaves behind the last whole group.
    let damage = report.finding.as_ref().filter(|finding| finding.flaw != Flaw::Tail);
    let printed = if place.json { print(&report_json(&report, damage.is_none()).to_string()) } else { Ok(true) };
    if let Some(finding) = damage {
        let exit = match finding.flaw {
            Flaw::TooNew(_) => Exit::JournalTooNew,
            Flaw::Length(_) => Exit::JournalTruncated,
            _ => Exit::JournalDamaged,
        };
        return Err(Failure::new(exit, finding_text(&report, finding)));
    }
    if !place.json {
        let end = match (&report.finding, report.is_sealed) {
            (Some(finding), _) => finding_text(&report, finding),
            (None, true) => "sealed by a clean stop".to_owned(),
            (None, false) => "not sealed: a writer is at work, or was killed, or it was restored".to_owned(),
        };
        let VerifyReport { records, groups, segments, last_seq, .. } = report;
        print(&format!(
            "ok: {records} records in {groups} groups of {segments} segments, up to sequence number {last_seq}; {end}"
        ))?;
    }
    printed.map(drop)
}

fn report_json(report: &VerifyReport, is_ok: bool) -> Value {
    let finding = report.finding.as_ref().map(|finding| {
        json!({
            "flaw": flaw_name(finding.flaw),
            "segment": finding.segment,
            "offset": finding.offset.to_string(),
            "next_seq": finding.next_seq.to_string(),
            "text": finding_text(report, finding),
        })
    });
    json!({
        "ok": is_ok,
        "segments": report.segments.to_string(),
        "groups": report.groups.to_string(),
        "records": report.records.to_string(),
        "last_seq": report.last_seq.to_string(),
        "synced_seq": report.durable_seq.to_string(),
        "sealed": report.is_sealed,
        "finding": finding,
    })
}

const fn flaw_name(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::Missing => "missing",
        Flaw::Header => "header",
        Flaw::TooNew(_) => "too_new",
        Flaw::Length(_) => "length",
        Flaw::Record => "record",
        Flaw::BehindEnd => "behind_end",
        Flaw::Tail => "tail",
        Flaw::Lost => "lost",
        Flaw::Number => "number",
    }
}

fn finding_text(report: &VerifyReport, finding: &Finding) -> String {
    let Finding { segment, offset, next_seq, flaw } = finding;
    let segment = segment.display();
    let what = match flaw {
        Flaw::Missing => "the segment is missing",
        Flaw::Header => "the header is damaged, or of another segment",
        Flaw::TooNew(format) => {
            return format!("{segment}: format {format} is newer than this release reads; start a newer one");
        }
        Flaw::Length(bytes) => {
            return format!(
                "{segment}: the file has {offset} bytes, and was made with {bytes}: it was truncated or added to"
            );
        }
        Flaw::Record => "what stands there is not the expected record",
        Flaw::BehindEnd => "bytes behind the end of the segment",
        Flaw::Tail => "bytes behind the last whole group: torn by a kill, or a writer at work",
        Flaw::Lost => {
            let durable_seq = report.durable_seq;
            return format!(
                "{segment}, byte {offset}: events {next_seq} to {durable_seq} were durable and are missing"
            );
        }
        Flaw::Number => return format!("{segment}: the file is missing, or no number in it is valid"),
    };
    format!("{segment}, byte {offset}, before sequence number {next_seq}: {what}")
}

fn dump(place: &Place, from: Option<u64>, to: u64, follow: bool) -> Result<(), Failure> {
    check_range(from, to)?;
    let opened = match from {
        Some(from) => Reader::open(&place.dir, from, Until::Journaled),
        None => Reader::open_oldest(&place.dir, Until::Journaled),
    };
    let (mut reader, from) = (opened.map_err(unreadable)?, from.unwrap_or(1));
    let stop = if follow { Some(crate::cli::stop_at_signals()?) } else { None };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    // What cannot be decoded hides nothing of what follows, and is no success.
    let mut failure = None;
    loop {
        while let Some(group) = reader.next_group().map_err(unreadable)? {
            for record in group.records() {
                if record.seq > to {
                    written(out.flush())?;
                    return failure.map_or(Ok(()), Err);
                }
                if record.seq < from {
                    continue;
                }
                let line = match Event::from_archive(record.kind, record.version, record.payload) {
                    Ok(event) => line(&record, &event, place.json),
                    Err(error) => {
                        let text = error.to_string();
                        let line = unknown_line(&record, &text, place.json);
                        failure
                            .get_or_insert(Failure::new(Exit::from(&error), format!("event {}: {text}", record.seq)));
                        line
                    }
                };
                if !written(writeln!(out, "{line}"))? {
                    return Ok(());
                }
            }
        }
        let is_read = written(out.flush())?;
        if !follow {
            return failure.map_or(Ok(()), Err);
        }
        if !is_read {
            return Ok(());
        }
        if stop.as_ref().is_some_and(|stop| stop.load(Ordering::Acquire)) {
            return failure.map_or(Ok(()), Err);
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}

fn check_range(from: Option<u64>, to: u64) -> Result<(), Failure> {
    match from.filter(|from| *from > to) {
        Some(from) => Err(Failure::new(Exit::Usage, format!("--from {from} is behind --to {to}"))),
        None => Ok(()),
    }
}

fn unknown_line(record: &Record<'_>, error: &str, json: bool) -> String {
    let Record { seq, ts_ns, kind, version, .. } = record;
    if json {
        let (seq, ts_ns) = (seq.to_string(), ts_ns.to_string());
        return json!({"seq": seq, "ts_ns": ts_ns, "kind": kind, "version": version, "error": error}).to_string();
    }
    format!("{seq} {} {error}", utc(*ts_ns))
}

fn line(record: &Record<'_>, event: &Event, json: bool) -> String {
    if !json {
        return format!("{} {} {}", record.seq, utc(record.ts_ns), event_text(event));
    }
    let fields = fields_of(event);
    let (seq, ts_ns) = (record.seq.to_string(), record.ts_ns.to_string());
    json!({"seq": seq, "ts_ns": ts_ns, "type": event.name(), "event": fields}).to_string()
}

/// Every field of an event, as it is journaled.
pub(super) fn fields_of(event: &Event) -> serde_json::Map<String, Value> {
    let mut fields = serde_json::Map::new();
    event.visit_fields(&mut |name, value| {
        let value = match value {
            // JSON numbers are floats to many readers: what may be beyond 2⁵³ always travels as text.
            FieldValue::Short(number) => number.into(),
            FieldValue::Unsigned(number) => number.to_string().into(),
            FieldValue::Signed(number) => number.to_string().into(),
            FieldValue::Text(bytes) => text_of(bytes).into(),
        };
        fields.insert(name.to_owned(), value);
    });
    fields
}

/// An event for people: decimals, times and names, without what has no value; what a reject was decided on as a text.
pub(super) fn event_text(event: &Event) -> String {
    let printer = Printer::new(false, BTreeMap::new());
    let mut said = event.name().to_owned();
    let (mut reason, mut offered, mut allowed) = (0, 0, 0);
    event.visit_fields(&mut |name, raw| {
        let value = match (meaning(name).unwrap_or(Meaning::Integer), raw) {
            (_, FieldValue::Signed(number)) if number == i128::from(Px::NONE.0) => Value::Null,
            (_, FieldValue::Signed(number)) if name == "offered" => {
                offered = number;
                Value::Null
            }
            (_, FieldValue::Signed(number)) if name == "allowed" => {
                allowed = number;
                Value::Null
            }
            (Meaning::Px | Meaning::Units, FieldValue::Signed(number)) => decimal(number, 9),
            (Meaning::Money, FieldValue::Signed(number)) => decimal(number, 18),
            (Meaning::Code(codes), FieldValue::Short(number)) => {
                reason = if name == "reason" { number as u16 } else { reason };
                match (codes.name_of)(number) {
                    _ if number == 0 => Value::Null,
                    Some(name) => name.into(),
                    None => number.into(),
                }
            }
            (Meaning::Bits(table), FieldValue::Short(number)) => bits(table, number as u16),
            (_, FieldValue::Signed(number)) => number.to_string().into(),
            (_, FieldValue::Short(number)) => number.into(),
            (_, FieldValue::Unsigned(number)) => number.to_string().into(),
            (_, FieldValue::Text(bytes)) => text_of(bytes).into(),
        };
        if has_value(name, &value) {
            let words = printer.words(name, &value);
            let is_phrase = matches!(raw, FieldValue::Text(_)) && words.contains(' ');
            said = format!("{said} {name}={}", if is_phrase { format!("{words:?}") } else { words });
        }
    });
    if (offered, allowed) != (0, 0) {
        said = format!("{said}: {}", tradecore::egress::text::of(reason, offered, allowed));
    }
    said
}
