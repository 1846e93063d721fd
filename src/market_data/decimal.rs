//! Exact decimal text to and from integers; no rounding in either direction.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use tradecore_protocol::fields::{Money, Px, Qty, UNITS_PER_ONE};

/// Units of `Money` per whole unit of currency.
const MONEY_PER_ONE: u128 = 1_000_000_000_000_000_000;
/// Decimal places of `Money`.
const MONEY_PLACES: usize = 18;
/// Decimal places of `Px` and `Qty`.
const UNIT_PLACES: u32 = 9;

/// Why a decimal text was refused; the caller refuses the message that carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not digits with at most one point and a leading minus.
    #[error("not a decimal number")]
    Syntax,
    /// A non-zero digit after the last place that the unit has.
    #[error("more decimal places than the unit has")]
    TooFine,
    /// Beyond the range of the integer.
    #[error("does not fit the integer")]
    TooLarge,
}

/// The integer × 10⁻⁹ that `text` says exactly.
///
/// # Errors
/// `DecimalError`, by what is wrong; nothing is ever rounded.
pub fn parse_units(text: &str) -> Result<i64, DecimalError> {
    check_syntax(text)?;
    let decimal = Decimal::from_str_exact(text).map_err(|e| match e {
        rust_decimal::Error::Underflow => DecimalError::TooFine,
        _ => DecimalError::TooLarge,
    })?;
    let units = decimal.checked_mul(Decimal::from(UNITS_PER_ONE)).ok_or(DecimalError::TooLarge)?;
    if !units.is_integer() {
        return Err(DecimalError::TooFine);
    }
    units.to_i64().ok_or(DecimalError::TooLarge)
}

/// The price that `text` says exactly.
///
/// # Errors
/// As `parse_units`.
pub fn parse_px(text: &str) -> Result<Px, DecimalError> {
    parse_units(text).map(Px)
}

/// The quantity that `text` says exactly.
///
/// # Errors
/// As `parse_units`.
pub fn parse_qty(text: &str) -> Result<Qty, DecimalError> {
    parse_units(text).map(Qty)
}

/// The shortest decimal text of an integer × 10⁻⁹.
#[must_use]
pub fn format_units(units: i64) -> String {
    Decimal::from_i128_with_scale(i128::from(units), UNIT_PLACES).normalize().to_string()
}

/// The shortest decimal text of an amount; wider than `Decimal`, hence by hand.
#[must_use]
pub fn format_money(money: Money) -> String {
    let magnitude = money.0.unsigned_abs();
    let whole = magnitude.div_euclid(MONEY_PER_ONE);
    let fraction = magnitude.rem_euclid(MONEY_PER_ONE);
    let sign = if money.0 < 0 { "-" } else { "" };
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{fraction:0MONEY_PLACES$}");
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// The amount that `text` says exactly.
///
/// # Errors
/// `DecimalError`, by what is wrong; nothing is ever rounded.
pub fn parse_money(text: &str) -> Result<Money, DecimalError> {
    check_syntax(text)?;
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > MONEY_PLACES {
        return Err(DecimalError::TooFine);
    }
    let digits = format!("{whole}{fraction:0<MONEY_PLACES$}");
    let magnitude: i128 = digits.parse().map_err(|_| DecimalError::TooLarge)?;
    Ok(Money(if negative { magnitude.wrapping_neg() } else { magnitude }))
}

fn check_syntax(text: &str) -> Result<(), DecimalError> {
    let body = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = body.split_once('.').unwrap_or((body, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if digits(whole) && digits(fraction) { Ok(()) } else { Err(DecimalError::Syntax) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_is_read_exactly_or_refused() {
        let cases: &[(&str, Result<i64, DecimalError>)] = &[
            ("61837.63000000", Ok(61_837_630_000_000)),
            ("0", Ok(0)),
            ("-1.5", Ok(-1_500_000_000)),
            ("0.000000001", Ok(1)),
            ("0.0000000010", Ok(1)),
            ("0.0000000001", Err(DecimalError::TooFine)),
            ("9223372036.854775807", Ok(i64::MAX)),
            ("9223372036.854775808", Err(DecimalError::TooLarge)),
            ("-9223372036.854775808", Ok(i64::MIN)),
            ("99999999999999999999999999999999", Err(DecimalError::TooLarge)),
            ("1e5", Err(DecimalError::Syntax)),
            ("+1", Err(DecimalError::Syntax)),
            ("1_000", Err(DecimalError::Syntax)),
            ("", Err(DecimalError::Syntax)),
            (".5", Err(DecimalError::Syntax)),
            ("1.", Err(DecimalError::Syntax)),
            ("NaN", Err(DecimalError::Syntax)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_units(text), *expected, "{text}");
            if let Ok(units) = expected {
                assert_eq!(parse_units(&format_units(*units)), Ok(*units), "{text}");
            }
        }
    }

    #[test]
    fn money_text_round_trips_over_the_whole_range() {
        for raw in [0, 1, -1, 1_500_000_000_000_000_000, i128::MAX, -i128::MAX, 10_i128.pow(18), -10_i128.pow(17)] {
            assert_eq!(parse_money(&format_money(Money(raw))), Ok(Money(raw)), "{raw}");
        }
        assert_eq!(format_money(Money(-1_500_000_000_000_000_000)), "-1.5");
        assert_eq!(parse_money("0.0000000000000000001"), Err(DecimalError::TooFine));
    }
}
