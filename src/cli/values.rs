//! Values of options: from what people write, with what is allowed where they are wrong.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use tradecore::shipping::json::date_of;
use tradecore_client::protocol::layout::Text;

/// A row of a table of the protocol: value, number, name, meaning.
type Row<T> = (T, u8, &'static str, &'static str);

/// A value by its name in the protocol, in small letters; the help lists all of them.
pub(super) fn named<T: Copy + Send + Sync>(table: &'static [Row<T>]) -> impl TypedValueParser<Value = T> {
    let allowed =
        table.iter().map(|(_, _, name, doc)| PossibleValue::new(kebab(name)).help(doc.trim().trim_end_matches('.')));
    PossibleValuesParser::new(allowed.collect::<Vec<_>>()).try_map(move |word| {
        let row = table.iter().find(|(_, _, name, _)| kebab(name) == word);
        row.map(|(value, ..)| *value).ok_or("not in the list")
    })
}

/// `DropCopy` as `drop-copy`.
fn kebab(name: &str) -> String {
    name.chars().enumerate().fold(String::new(), |mut word, (index, letter)| {
        if index > 0 && letter.is_ascii_uppercase() {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
        word
    })
}

/// An id that somebody has: 0 stands for none.
pub(super) fn above_zero(text: &str) -> Result<u64, String> {
    whole(text).ok().filter(|id| *id > 0).ok_or_else(|| format!("allowed: a whole number from 1 to {}", u64::MAX))
}

/// A whole number that fits.
pub(super) fn whole<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = u64::from_str(text).ok().and_then(|number| T::try_from(number).ok());
    let unused_bits = u64::BITS.saturating_sub(u32::try_from(size_of::<T>()).unwrap_or(0).saturating_mul(8));
    number.ok_or_else(|| format!("allowed: a whole number from 0 to {}", u64::MAX >> unused_bits))
}

/// A text that is kept as it is written.
pub(super) fn text<const N: usize>(text: &str) -> Result<Text<N>, String> {
    let kept = Text::new(text);
    let is_whole = kept.as_str() == text;
    is_whole.then_some(kept).ok_or_else(|| format!("allowed: at most {N} printable ASCII characters"))
}

/// `500ms`, `5s`, `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let factor_ms: u64 = match text.get(digits.len()..) {
        Some("ms") => 1,
        Some("s") => 1_000,
        Some("m") => 60_000,
        _ => 0,
    };
    let ms = digits.parse::<u32>().ok().map(|number| u64::from(number).saturating_mul(factor_ms));
    match ms {
        Some(ms) if factor_ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err("allowed: a whole number with ms, s or m, like 500ms or 5s".to_owned()),
    }
}

/// `host:port` or `unix:PATH`, as it is written.
pub(super) fn address(text: &str) -> Result<String, String> {
    let is_valid = match (text.strip_prefix("unix:"), text.rsplit_once(':')) {
        (Some(path), _) => !path.is_empty(),
        // An IPv6 address stands in brackets: its last colon would look like that of a port.
        (None, Some((host, port))) => {
            let is_bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
            !host.is_empty() && is_bare && port.parse::<u16>().is_ok_and(|port| port != 0)
        }
        (None, None) => false,
    };
    let allowed = "allowed: host:port, like 127.0.0.1:7400 or [::1]:7400, or unix:PATH";
    is_valid.then(|| text.to_owned()).ok_or_else(|| allowed.to_owned())
}

/// A time of UTC, `2026-11-21` or `2026-11-21T10:00:00Z`, as ns since 1970.
pub(super) fn time(text: &str) -> Result<u64, String> {
    let parsed = || {
        let text = text.strip_suffix('Z').unwrap_or(text);
        let (date, clock) = text.split_once('T').unwrap_or((text, "00:00:00"));
        let numbers = |text: &str, between: char| -> Option<(u64, u64, u64)> {
            let mut parts = text.split(between).map(|part| part.parse().ok());
            let all = (parts.next()??, parts.next()??, parts.next()??);
            parts.next().is_none().then_some(all)
        };
        let (date, (hour, minute, second)) = (numbers(date, '-')?, numbers(clock, ':')?);
        let is_of_day = hour < 24 && minute < 60 && second < 60;
        // From below: a year has 365 days at least, a month 28.
        let months = date.1.saturating_sub(1).saturating_mul(28);
        let least = date.0.checked_sub(1970)?.min(1_000).saturating_mul(365).saturating_add(months);
        let days = (least..least.saturating_add(300)).find(|days| date_of(*days) == date).filter(|_| is_of_day)?;
        let hours = days.saturating_mul(24).saturating_add(hour);
        let seconds = hours.saturating_mul(60).saturating_add(minute).saturating_mul(60).saturating_add(second);
        seconds.checked_mul(1_000_000_000)
    };
    parsed().ok_or_else(|| "no time; allowed: 2026-11-21 or 2026-11-21T10:00:00Z, UTC, from 1970 on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_port_or_a_socket() {
        for text in ["127.0.0.1:7400", "localhost:1", "[::1]:7400", "unix:run/orders"] {
            assert_eq!(address(text).as_deref(), Ok(text));
        }
        for text in ["", "127.0.0.1", "host:", ":7400", "host:0", "host:65536", "::1", "::1:7400", "unix:"] {
            assert!(address(text).is_err_and(|error| error.contains("host:port")), "{text}");
        }
    }

    #[test]
    fn a_whole_number_says_its_bounds() {
        assert_eq!(whole::<u16>("65535"), Ok(u16::MAX));
        assert_eq!(whole::<u16>("65536"), Err("allowed: a whole number from 0 to 65535".to_owned()));
        assert_eq!(whole::<u64>("-1"), Err(format!("allowed: a whole number from 0 to {}", u64::MAX)));
    }

    #[test]
    fn a_time_is_a_day_or_a_second_of_utc() {
        assert_eq!(time("1970-01-01"), Ok(0));
        assert_eq!(time("2024-02-29T12:34:56Z"), Ok(1_709_210_096_000_000_000));
        assert_eq!(time("2026-11-21T00:00:00"), time("2026-11-21"));
        for wrong in
            ["", "2023-02-29", "2024-13-01", "1969-12-31", "2024-02-29T24:00:00", "2024-02-29T12:34", "x", "2024-1-1-1"]
        {
            assert!(time(wrong).is_err(), "{wrong:?}");
        }
    }
}
