//! `tradecore journal`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use tradecore::exit::Exit;
use tradecore_client::protocol::fields::Px;
use tradecore_domain::event::{Event, FieldValue, order_flags};
use tradecore_journal::{Finding, Flaw, ReadError, Reader, Record, Stat, Until, VerifyReport};

use super::failure::Failure;
use super::report::{Printer, bits, code, decimal, has_value, utc};
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
    /// Counts what is there.
    #[command(after_help = "Example: tradecore journal stat --dir data/journal --json")]
    Stat {
        #[command(flatten)]
        place: Place,
    },
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
    /// Prints events as they come, as `dump` does; see there for the fields of `--json`.
    #[command(after_help = "Example: tradecore journal tail --dir data/journal --json")]
    Tail {
        #[command(flatten)]
        place: Place,
    },
}

impl Journal {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (Self::Stat { place } | Self::Verify { place } | Self::Dump { place, .. } | Self::Tail { place }) = &self;
        if !tradecore_journal::has_journal(&place.dir).map_err(unreadable)? {
            return Err(Failure::new(Exit::Unavailable, format!("no journal in {}", place.dir.display())));
        }
        match self {
            Self::Stat { place } => stat(&place),
            Self::Verify { place } => verify(&place),
            Self::Dump { place, from, to, follow } => dump(&place, from, to.unwrap_or(u64::MAX), follow),
            Self::Tail { place } => {
                let stat = tradecore_journal::stat(&place.dir).map_err(unreadable)?;
                dump(&place, Some(stat.last_seq.saturating_add(1)), u64::MAX, true)
            }
        }
    }
}

fn unreadable(error: ReadError) -> Failure {
    let exit = match &error {
        ReadError::Gone { .. } => Exit::Unavailable,
        error => Exit::from(error),
    };
    Failure::new(exit, error.to_string())
}

fn stat(place: &Place) -> Result<(), Failure> {
    let stat = tradecore_journal::stat(&place.dir).map_err(unreadable)?;
    let rows = stat_rows(&stat);
    let text = if place.json {
        Value::from_iter(rows).to_string()
    } else {
        rows.map(|(name, value)| format!("{name:<14} {value}")).join("\n")
    };
    print(&text).map(drop)
}

const fn stat_rows(stat: &Stat) -> [(&'static str, u64); 10] {
    [
        ("segments", stat.segments),
        ("segment_bytes", stat.segment_bytes),
        ("first_seq", stat.first_seq),
        ("last_seq", stat.last_seq),
        ("synced_seq", stat.synced_seq),
        ("groups", stat.groups),
        ("records", stat.records),
        ("payload_bytes", stat.payload_bytes),
        ("first_ts_ns", stat.first_ts_ns),
        ("last_ts_ns", stat.last_ts_ns),
    ]
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
            (None, false) => "not sealed: a writer is at work, or was killed".to_owned(),
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
            "offset": finding.offset,
            "next_seq": finding.next_seq,
            "text": finding_text(report, finding),
        })
    });
    json!({
        "ok": is_ok,
        "segments": report.segments,
        "groups": report.groups,
        "records": report.records,
        "last_seq": report.last_seq,
        "synced_seq": report.durable_seq,
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
    if let Some(from) = from.filter(|from| *from > to) {
        return Err(Failure::new(Exit::Usage, format!("--from {from} is behind --to {to}")));
    }
    let opened = match from {
        Some(from) => Reader::open(&place.dir, from, Until::Journaled),
        None => Reader::open_oldest(&place.dir, Until::Journaled),
    };
    let (mut reader, from) = (opened.map_err(unreadable)?, from.unwrap_or(1));
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
        std::thread::park_timeout(std::time::Duration::from_millis(10));
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
    let (seq, ts_ns) = (record.seq.to_string(), record.ts_ns.to_string());
    json!({"seq": seq, "ts_ns": ts_ns, "type": event.name(), "event": fields}).to_string()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

/// Fields that are integers × 10⁻⁹.
const UNITS: &[&str] = &[
    "px",
    "order_qty",
    "cum_qty",
    "last_px",
    "last_qty",
    "new_px",
    "new_qty",
    "market_px",
    "tick_size",
    "lot_size",
    "qty_min",
    "order_qty_max",
    "position_max",
];
/// Fields that are integers × 10⁻¹⁸.
const MONEY: &[&str] = &["cum_cost", "fee", "initial_cash", "order_notional_max"];
/// Fields that are codes, and whose.
const CODES: &[(&str, &str)] = &[
    ("environment", "Environment"),
    ("durability", "Durability"),
    ("role", "Role"),
    ("cod_mode", "CodMode"),
    ("reason", "Reason"),
    ("side", "Side"),
    ("ord_type", "OrdType"),
    ("tif", "Tif"),
    ("exec_flags", "exec_flags"),
    ("ord_status", "OrdStatus"),
    ("liquidity", "Liquidity"),
    ("status", "BrokerStatus"),
    ("state", "TradingState"),
    ("lockout", "mass_cancel_flags"),
    ("ref_template", "template"),
];

/// Bits of an order's `flags`.
const ORDER_FLAGS: &[(u8, &str, &str)] = &[
    (order_flags::ACKED, "ACKED", ""),
    (order_flags::CANCEL_PENDING, "CANCEL_PENDING", ""),
    (order_flags::REPLACE_PENDING, "REPLACE_PENDING", ""),
    (order_flags::DOUBT, "DOUBT", ""),
];

/// An event for people: decimals, times and names, without what has no value; what a reject was decided on as a text.
fn event_text(event: &Event) -> String {
    let printer = Printer::new(false, BTreeMap::new());
    let mut said = event.name().to_owned();
    let (mut reason, mut offered, mut allowed) = (0, 0, 0);
    event.visit_fields(&mut |name, raw| {
        let code_of = |name: &str| CODES.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit);
        let value = match raw {
            FieldValue::Signed(number) if number == i128::from(Px::NONE.0) => Value::Null,
            FieldValue::Signed(number) if name == "offered" => {
                offered = number;
                Value::Null
            }
            FieldValue::Signed(number) if name == "allowed" => {
                allowed = number;
                Value::Null
            }
            FieldValue::Signed(number) if UNITS.contains(&name) => decimal(number, 9),
            FieldValue::Signed(number) if MONEY.contains(&name) => decimal(number, 18),
            FieldValue::Signed(number) => number.to_string().into(),
            FieldValue::Short(number) if name == "flags" => bits(ORDER_FLAGS, number as u16),
            FieldValue::Short(number) => match (code_of(name), u16::try_from(number)) {
                (Some(unit), Ok(raw)) => {
                    reason = if name == "reason" { raw } else { reason };
                    code(unit, raw)
                }
                (Some(_) | None, Ok(_) | Err(_)) => number.into(),
            },
            FieldValue::Unsigned(number) => number.to_string().into(),
            FieldValue::Text(bytes) => text_of(bytes).into(),
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

#[cfg(test)]
mod tests {
    use super::super::report::is_time;
    use super::*;

    /// Ids, counts, spans of time and marks: as they are.
    const PLAIN: &[&str] = &[
        "account_id",
        "already_pending",
        "broker_exec_id",
        "broker_order_id",
        "broker_seq",
        "cancel_requested",
        "change",
        "cl_ord_id",
        "client_seq",
        "cod_all",
        "cod_window_ms",
        "collar_ppm",
        "connection_no",
        "content_hash",
        "core",
        "correlation_id",
        "decision_maker",
        "done",
        "engaged",
        "epoch",
        "exec_id",
        "fact",
        "flagged_only",
        "instrument_id",
        "kill_epoch",
        "mass_cancel_id",
        "next_slot",
        "open_orders_max",
        "order_id",
        "order_id_max",
        "order_version",
        "orig_cl_ord_id",
        "overfill",
        "owner_id",
        "quote_age_max_ns",
        "rate_max",
        "report_no",
        "report_seq",
        "req_cl_ord_id",
        "request_id",
        "session_epoch",
        "session_id",
        "strategy_id",
        "target_session_id",
    ];

    #[test]
    fn every_field_of_every_event_has_a_unit_for_people() {
        let golden = include_str!("../domain/golden/events.hex");
        let mut missing = std::collections::BTreeSet::new();
        for line in golden.lines().filter(|line| line.starts_with(|letter: char| letter.is_ascii_digit())) {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, version, .., hex] = words.as_slice() else { continue };
            let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
            let bytes: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap_or_default()).collect();
            let event = Event::from_archive(kind.parse().unwrap_or(0), version.parse().unwrap_or(0), &bytes);
            event.expect("golden").visit_fields(&mut |name, value| {
                let is_known = match value {
                    FieldValue::Signed(_) => {
                        UNITS.contains(&name) || MONEY.contains(&name) || ["offered", "allowed"].contains(&name)
                    }
                    FieldValue::Short(_) | FieldValue::Unsigned(_) => {
                        CODES.iter().any(|(known, _)| *known == name)
                            || is_time(name)
                            || name == "flags"
                            || PLAIN.contains(&name)
                    }
                    FieldValue::Text(_) => true,
                };
                if !is_known {
                    missing.insert(name);
                }
            });
        }
        assert!(missing.is_empty(), "{missing:?}");
    }
}
