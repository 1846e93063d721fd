//! Decimals to the wire's integers × 10⁻⁹ and back, exactly or not at all.

use rust_decimal::Decimal;
use tradecore_protocol::fields::{Px, Qty};

const PLACES: u32 = 9;

/// The text is no decimal, has more than nine places, or does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no decimal with at most nine places below 9.2 billion")]
pub struct DecimalError(String);

fn units(text: &str) -> Result<i64, DecimalError> {
    let failed = || DecimalError(text.to_owned());
    let decimal = Decimal::from_str_exact(text).map_err(|_| failed())?.normalize();
    let missing_places = PLACES.checked_sub(decimal.scale()).ok_or_else(failed)?;
    let factor = 10_i128.checked_pow(missing_places).ok_or_else(failed)?;
    let units = decimal.mantissa().checked_mul(factor).ok_or_else(failed)?;
    i64::try_from(units).map_err(|_| failed())
}

/// `"101.25"` as a price.
///
/// # Errors
/// What is not exact is refused, never rounded.
pub fn px(text: &str) -> Result<Px, DecimalError> {
    units(text).map(Px)
}

/// `"0.5"` as a quantity.
///
/// # Errors
/// What is not exact is refused, never rounded.
pub fn qty(text: &str) -> Result<Qty, DecimalError> {
    units(text).map(Qty)
}

/// A raw price or quantity as text.
#[must_use]
pub fn format(units: i64) -> String {
    Decimal::from_i128_with_scale(i128::from(units), PLACES).normalize().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_go_through_exactly_or_not_at_all() {
        for (text, raw) in
            [("101.25", 101_250_000_000), ("-0.000000001", -1), ("0", 0), ("9223372036.854775807", i64::MAX)]
        {
            assert_eq!(px(text), Ok(Px(raw)));
            assert_eq!(format(raw), text);
        }
        for text in ["", "1.0000000001", "9223372036.854775808", "1e3", "abc"] {
            assert!(qty(text).is_err(), "{text}");
        }
    }
}
