//! What a person reads beside a reason code: what was wrong, and what is allowed.

use core::fmt::{self, Display, Write};

use tradecore_protocol::fields::{OrdType, Side, Tif};
use tradecore_protocol::reason::Reason;

use super::report::{REASON_TEXT_BYTES, ReasonText};

/// Decimals of a price or quantity, and of money.
const UNITS: u32 = 9;
const MONEY: u32 = 18;

/// The text of a decision: with the numbers that it was made on, where the reason has any.
#[must_use]
pub fn of(reason: u16, offered: i128, allowed: i128) -> ReasonText {
    let Some(known) = Reason::from_raw(reason) else { return ReasonText::EMPTY };
    let mut out = Line { bytes: [0; REASON_TEXT_BYTES], len: 0 };
    let units = |value| Decimal(value, UNITS);
    let money = |value| Decimal(value, MONEY);
    // What does not fit is cut: the code says the same.
    let _ = match known {
        Reason::None => Ok(()),
        Reason::SideInvalid => choice(&mut out, "side", offered, Side::TABLE),
        Reason::OrdTypeInvalid => choice(&mut out, "ord_type", offered, OrdType::TABLE),
        Reason::TifInvalid => choice(&mut out, "tif", offered, Tif::TABLE),
        Reason::ExecFlagsInvalid => write!(out, "exec_flags {offered:#x}; allowed: the bits of {allowed:#x}"),
        Reason::PriceNotPositive => write!(out, "px {}; must be above 0", units(offered)),
        Reason::QtyNotPositive => write!(out, "qty {}; must be above 0", units(offered)),
        Reason::PriceTick => write!(out, "px {} is no multiple of tick_size {}", units(offered), units(allowed)),
        Reason::QtyLot => write!(out, "qty {} is no multiple of lot_size {}", units(offered), units(allowed)),
        Reason::QtyMin => write!(out, "qty {} is below qty_min {}", units(offered), units(allowed)),
        Reason::OrderQtyMax => write!(out, "qty {} is above order_qty_max {}", units(offered), units(allowed)),
        Reason::OrderNotionalMax => {
            write!(out, "notional {} is above order_notional_max {}", money(offered), money(allowed))
        }
        Reason::OpenOrdersMax => write!(out, "the account has {offered} open orders; open_orders_max {allowed}"),
        Reason::RateLimit if allowed > 0 => {
            write!(out, "the account has sent {offered} this second; rate_max {allowed}")
        }
        Reason::PriceCollar => {
            write!(out, "px {} is outside the collar, which ends at {}", units(offered), units(allowed))
        }
        Reason::MarketStale if allowed > 0 => {
            let ms = |ns: i128| ns.checked_div(1_000_000).unwrap_or(0);
            write!(out, "the quote is {} ms old; quote_age_max_ms {}", ms(offered), ms(allowed))
        }
        Reason::PositionMax => {
            write!(out, "the position could reach {}; position_max {}", units(offered), units(allowed))
        }
        Reason::BuyingPower => write!(out, "it needs {}; buying power is {}", money(offered), money(allowed)),
        Reason::QtyBelowExecuted => {
            write!(out, "total_qty {} is not above cum_qty {}", units(offered), units(allowed))
        }
        _ => {
            let row = Reason::TABLE.iter().find(|(_, code, _, _)| *code == reason);
            row.map_or(Ok(()), |(_, _, _, meaning)| out.write_str(meaning.trim()))
        }
    };
    let bytes = out.bytes.get(..out.len).unwrap_or_default();
    ReasonText::new(core::str::from_utf8(bytes).unwrap_or_default())
}

/// A value that is none of an enum's, and those that are.
fn choice<E>(out: &mut Line, field: &str, offered: i128, table: &[(E, u8, &str, &str)]) -> fmt::Result {
    write!(out, "{field} {offered}; allowed:")?;
    table.iter().try_for_each(|(_, code, name, _)| write!(out, " {code} ({name})"))
}

/// A line of bounded length.
struct Line {
    bytes: [u8; REASON_TEXT_BYTES],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let count = text.len().min(room.len());
        let (Some(to), Some(from)) = (room.get_mut(..count), text.as_bytes().get(..count)) else { return Ok(()) };
        to.copy_from_slice(from);
        self.len = self.len.saturating_add(count);
        Ok(())
    }
}

/// A number with so many decimals, without the zeros at its end.
struct Decimal(i128, u32);

impl Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, decimals) = *self;
        let magnitude = value.unsigned_abs();
        // 10^38 is the greatest power that a u128 holds; with more decimals nothing whole would be left.
        let one = 10_u128.checked_pow(decimals).unwrap_or(u128::MAX);
        let whole = magnitude.checked_div(one).unwrap_or(0);
        let mut rest = magnitude.checked_rem(one).unwrap_or(0);
        if value < 0 {
            f.write_char('-')?;
        }
        write!(f, "{whole}")?;
        let mut width = decimals as usize;
        if rest == 0 {
            return Ok(());
        }
        while rest.is_multiple_of(10) {
            rest /= 10;
            width = width.saturating_sub(1);
        }
        write!(f, ".{rest:0width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_was_wrong_and_what_is_allowed() {
        const ONE: i128 = 1_000_000_000;
        let money = |units: i128| units * ONE * ONE;
        let table = [
            (Reason::OrderQtyMax, 5 * ONE, 2 * ONE, "qty 5 is above order_qty_max 2"),
            (Reason::QtyMin, 1, ONE / 1000, "qty 0.000000001 is below qty_min 0.001"),
            (Reason::PriceTick, 101_013_000_000, ONE / 100, "px 101.013 is no multiple of tick_size 0.01"),
            (Reason::QtyLot, ONE / 3, ONE / 1000, "qty 0.333333333 is no multiple of lot_size 0.001"),
            (Reason::PriceNotPositive, -ONE, 0, "px -1; must be above 0"),
            (Reason::QtyNotPositive, 0, 0, "qty 0; must be above 0"),
            (
                Reason::OrderNotionalMax,
                money(1_000_001) + 5,
                money(1_000_000),
                "notional 1000001.000000000000000005 is above order_notional_max 1000000",
            ),
            (Reason::OpenOrdersMax, 42, 42, "the account has 42 open orders; open_orders_max 42"),
            (Reason::RateLimit, 10, 10, "the account has sent 10 this second; rate_max 10"),
            (Reason::PriceCollar, 120 * ONE, 1063 * ONE / 10, "px 120 is outside the collar, which ends at 106.3"),
            (Reason::MarketStale, 7_200_000_000, 5_000_000_000, "the quote is 7200 ms old; quote_age_max_ms 5000"),
            (Reason::PositionMax, 501 * ONE, 500 * ONE, "the position could reach 501; position_max 500"),
            (Reason::BuyingPower, money(1000), money(21) / 2, "it needs 1000; buying power is 10.5"),
            (Reason::QtyBelowExecuted, ONE, 3 * ONE / 2, "total_qty 1 is not above cum_qty 1.5"),
            (Reason::SideInvalid, 7, 0, "side 7; allowed: 1 (Buy) 2 (Sell)"),
            (Reason::OrdTypeInvalid, 9, 0, "ord_type 9; allowed: 1 (Market) 2 (Limit)"),
            (Reason::TifInvalid, 0, 0, "tif 0; allowed: 1 (Day) 2 (Gtc) 3 (Ioc) 4 (Fok)"),
            (Reason::ExecFlagsInvalid, 0x84, 3, "exec_flags 0x84; allowed: the bits of 0x3"),
            (Reason::UnknownOrder, 0, 0, "No such order of this session or account."),
        ];
        for (reason, offered, allowed, text) in table {
            assert_eq!(of(reason.raw(), offered, allowed).as_str(), text, "{reason:?}");
        }
    }

    #[test]
    fn every_reason_has_a_text_and_a_number_too_long_is_cut() {
        for (_, code, name, _) in Reason::TABLE {
            assert_eq!(of(*code, 0, 0).as_str().is_empty(), *code == 0, "{name}");
        }
        assert_eq!(of(Reason::OrderNotionalMax.raw(), i128::MAX, i128::MIN).as_str().len(), REASON_TEXT_BYTES);
        assert_eq!(of(60_000, 1, 1).as_str(), "", "a code of a newer release");
    }
}
