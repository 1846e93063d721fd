//! Values of options: from what people write, with what is allowed where they are wrong.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
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

/// A whole number that fits.
pub(super) fn whole<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = u64::from_str(text).ok().and_then(|number| T::try_from(number).ok());
    let unused_bits = u64::BITS.saturating_sub(u32::try_from(size_of::<T>()).unwrap_or(0).saturating_mul(8));
    number.ok_or_else(|| format!("allowed: a whole number from 0 to {}", u64::MAX >> unused_bits))
}

/// A text that is kept as it is written.
pub(super) fn tag(text: &str) -> Result<Text<32>, String> {
    let tag = Text::new(text);
    let is_whole = tag.as_str() == text;
    is_whole.then_some(tag).ok_or_else(|| "allowed: at most 32 printable ASCII characters".to_owned())
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
}
