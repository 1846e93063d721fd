//! Events as JSON: one line an event, a CloudEvent in the structured mode.
//!
//! Decimals and integers of 64 bits and more are strings, since JSON numbers are floats to many readers; codes are
//! names, and a code that this release does not know its number; text has no padding. Made of the declaration of the
//! event alone: no field can be forgotten. `docs/events.md` describes it, `docs/schemas/` defines it.

use core::fmt::{self, Write};

use tradecore_domain::event::{Event, FieldValue};
use tradecore_protocol::fields::Px;

use super::domains::{Aggregate, Domain, Stream};
use super::fields::{Meaning, meaning};

/// Where an event stands: its identity, and when it was journaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose journal.
    pub stream: Stream,
    /// Epoch of the core that wrote it.
    pub epoch: u32,
    /// Its number in the stream.
    pub seq: u64,
    /// Journal time, ns UTC.
    pub ts_ns: u64,
}

/// Hands each attribute of the CloudEvent to `each`, by name: for headers. No value needs to be escaped.
pub fn attributes(place: &Place, event: &Event, mut each: impl FnMut(&'static str, fmt::Arguments<'_>)) {
    let Place { stream, epoch, seq, ts_ns } = *place;
    let (name, (_, version), aggregate) = (event.name(), event.kind(), Aggregate::of(event));
    each("specversion", format_args!("1.0"));
    each("id", format_args!("{stream}/{epoch}/{seq}"));
    each("source", format_args!("/tradecore/{stream}"));
    each("type", format_args!("tradecore.{name}.v{version}"));
    each("subject", format_args!("{aggregate}"));
    each("time", format_args!("{}", Utc(ts_ns)));
    each("datacontenttype", format_args!("application/json"));
    each("dataschema", format_args!("{}", SchemaId(event)));
    each("domain", format_args!("{}", Domain::of(event).name()));
    each("partitionkey", format_args!("{stream}/{aggregate}"));
    each("epoch", format_args!("{epoch}"));
    each("seq", format_args!("{seq}"));
}

/// Appends an event as one JSON object, without a line's end.
pub fn write_event(out: &mut String, place: &Place, event: &Event) {
    out.push('{');
    attributes(place, event, |name, value| {
        put(out, format_args!("\"{name}\":\"{value}\","));
    });
    out.push_str("\"data\":");
    write_data(out, event);
    out.push('}');
}

/// Appends what the event itself says: an object with its fields, and one more object each for `meta`, `order` and
/// `broker`, where it has them.
pub fn write_data(out: &mut String, event: &Event) {
    out.push('{');
    let mut open = "";
    let mut is_first = true;
    event.visit_parts(&mut |field| {
        if field.part != open {
            if !open.is_empty() {
                out.push('}');
            }
            if !field.part.is_empty() {
                comma(out, is_first);
                put(out, format_args!("\"{}\":{{", field.part));
                is_first = true;
            }
            if field.part.is_empty() {
                is_first = false;
            }
            open = field.part;
        }
        comma(out, is_first);
        is_first = false;
        put(out, format_args!("\"{}\":", field.name));
        write_value(out, field.name, field.value);
    });
    if !open.is_empty() {
        out.push('}');
    }
    out.push('}');
}

fn comma(out: &mut String, is_first: bool) {
    if !is_first {
        out.push(',');
    }
}

/// A `String` takes everything.
fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}

fn write_value(out: &mut String, name: &str, value: FieldValue<'_>) {
    match (meaning(name).unwrap_or(Meaning::Integer), value) {
        (Meaning::Px, FieldValue::Signed(number)) if number == i128::from(Px::NONE.0) => out.push_str("null"),
        (Meaning::Px | Meaning::Units, FieldValue::Signed(number)) => {
            put(out, format_args!("\"{}\"", Decimal::<9>(number)));
        }
        (Meaning::Money, FieldValue::Signed(number)) => put(out, format_args!("\"{}\"", Decimal::<18>(number))),
        (Meaning::Mark, FieldValue::Short(number)) => put(out, format_args!("{}", number != 0)),
        (Meaning::Code(_), FieldValue::Short(0)) => out.push_str("null"),
        (Meaning::Code(codes), FieldValue::Short(number)) => match (codes.name_of)(number) {
            Some(name) => put(out, format_args!("\"{name}\"")),
            None => put(out, format_args!("{number}")),
        },
        (Meaning::Bits(table), FieldValue::Short(number)) => write_bits(out, table, number),
        (_, FieldValue::Short(number)) => put(out, format_args!("{number}")),
        (_, FieldValue::Unsigned(number)) => put(out, format_args!("\"{number}\"")),
        (_, FieldValue::Signed(number)) => put(out, format_args!("\"{number}\"")),
        (_, FieldValue::Text(bytes)) => put(out, format_args!("{}", serde_json::Value::from(text_of(bytes)))),
    }
}

/// The names of the bits that are set; a bit without a name as its number.
fn write_bits(out: &mut String, table: &[(u8, &str, &str)], bits: u32) {
    out.push('[');
    let mut is_first = true;
    for bit in (0..u32::BITS).map(|nth| 1_u32 << nth).filter(|bit| bits & bit != 0) {
        comma(out, is_first);
        is_first = false;
        match table.iter().find(|(known, ..)| u32::from(*known) == bit) {
            Some((_, name, _)) => put(out, format_args!("\"{name}\"")),
            None => put(out, format_args!("{bit}")),
        }
    }
    out.push(']');
}

/// Text up to its first NUL; what is no UTF-8 is replaced.
#[must_use]
pub fn text_of(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The identity of the schema of an event's `data`, `urn:tradecore:event:OrderFilled:v1`.
#[derive(Clone, Copy, Debug)]
pub struct SchemaId<'a>(pub &'a Event);

impl fmt::Display for SchemaId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "urn:tradecore:event:{}:v{}", self.0.name(), self.0.kind().1)
    }
}

/// The shortest decimal text of an integer × 10⁻ᴾ, P at most 38.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<const P: u32>(pub i128);

impl<const P: u32> fmt::Display for Decimal<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = 10_u128.saturating_pow(P);
        let magnitude = self.0.unsigned_abs();
        let (whole, mut fraction) = (magnitude.div_euclid(one), magnitude.rem_euclid(one));
        if self.0 < 0 {
            f.write_char('-')?;
        }
        write!(f, "{whole}")?;
        if fraction == 0 {
            return Ok(());
        }
        let mut places = P as usize;
        while fraction.is_multiple_of(10) {
            fraction = fraction.div_euclid(10);
            places = places.saturating_sub(1);
        }
        write!(f, ".{fraction:0places$}")
    }
}

/// A time in ns since 1970 as RFC 3339, UTC, with all nine places.
#[derive(Clone, Copy, Debug)]
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, fraction_ns) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (year, month, day) = date_of(seconds / 86_400);
        let second = seconds % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction_ns:09}Z")
    }
}

/// Year, month and day of a day since 1970, by eras of 400 years that begin in March.
#[must_use]
pub const fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        of_era.saturating_sub(of_era / 1460).saturating_add(of_era / 36_524).saturating_sub(of_era / 146_096) / 365;
    let before = year_of_era.saturating_mul(365).saturating_add(year_of_era / 4).saturating_sub(year_of_era / 100);
    let of_year = of_era.saturating_sub(before);
    let from_march = of_year.saturating_mul(5).saturating_add(2) / 153;
    let day = of_year.saturating_sub(from_march.saturating_mul(153).saturating_add(2) / 5).saturating_add(1);
    let (month, is_next_year) = match from_march {
        0..=9 => (from_march.saturating_add(3), false),
        from_march => (from_march.saturating_sub(9), true),
    };
    let year = era.saturating_mul(400).saturating_add(year_of_era).saturating_add(is_next_year as u64);
    (year, month, day)
}

#[cfg(test)]
mod tests;
