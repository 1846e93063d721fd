//! Accounts and positions: exact money, exact quantities.
//!
//! Buying power is cash less what open buys may cost. Cash may go negative by fees or by a broker's facts:
//! then new buys are refused, nothing else.

/// An account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The configuration knows it.
    pub is_defined: bool,
    /// Cash, money × 10⁻¹⁸.
    pub cash: i128,
    /// What open buys may cost at worst, money × 10⁻¹⁸.
    pub reserved: i128,
    /// What open orders are worth at worst, both sides, money × 10⁻¹⁸.
    pub open_notional: i128,
    /// Cash at definition.
    pub initial_cash: i128,
    /// Greatest absolute position × 10⁻⁹.
    pub position_max: i64,
    /// Greatest number of open orders.
    pub open_orders_max: u32,
    /// New orders and replaces a second; 0 for no limit.
    pub rate_max: u32,
    /// Owner.
    pub owner_id: u64,
    /// Currency.
    pub currency: [u8; 8],
    /// Open orders.
    pub open_orders: u32,
    /// Open orders in doubt.
    pub in_doubt: u32,
    /// A kill switch is engaged.
    pub is_killed: bool,
    /// `TradingState`, raw; 0 counts as open.
    pub trading_state: u8,
    /// The second that `rate_count` counts, UTC.
    pub rate_second: u64,
    /// New orders and replaces in that second.
    pub rate_count: u32,
}

impl Account {
    /// Cash that new buys may use, money × 10⁻¹⁸.
    #[must_use]
    pub const fn buying_power(&self) -> i128 {
        self.cash.saturating_sub(self.reserved)
    }
}

/// A position of an account in an instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Net quantity × 10⁻⁹, negative when short.
    pub qty: i128,
    /// Cost of the net quantity, money × 10⁻¹⁸; has the sign of `qty`.
    pub cost: i128,
    /// Profit of what was closed, fees not included, money × 10⁻¹⁸.
    pub realized_pnl: i128,
    /// Fees, money × 10⁻¹⁸.
    pub fees: i128,
    /// Open buys at worst × 10⁻⁹.
    pub open_buy_qty: i128,
    /// Open sells at worst × 10⁻⁹.
    pub open_sell_qty: i128,
}

impl Position {
    /// Takes a fill in: `qty` with its sign (positive for a buy) × 10⁻⁹, `value` = price × `qty` with the same
    /// sign. Cost of what is closed is the average cost, truncated towards zero at 10⁻¹⁸; what is cut stays in
    /// the position, so that nothing is lost over time.
    pub fn fill(&mut self, qty: i128, value: i128) {
        let opens = self.qty == 0 || (self.qty > 0) == (qty > 0);
        if opens {
            self.qty = self.qty.saturating_add(qty);
            self.cost = self.cost.saturating_add(value);
            return;
        }
        let closed = qty.unsigned_abs().min(self.qty.unsigned_abs());
        // Both have the sign of the position.
        let closed_cost = mul_div(self.cost, closed, self.qty.unsigned_abs());
        let closed_value = mul_div(value, closed, qty.unsigned_abs()).saturating_neg();
        self.realized_pnl = self.realized_pnl.saturating_add(closed_value.saturating_sub(closed_cost));
        let turned = qty.unsigned_abs() > closed;
        self.cost = if turned { value.saturating_add(closed_value) } else { self.cost.saturating_sub(closed_cost) };
        self.qty = self.qty.saturating_add(qty);
        if self.qty == 0 {
            self.cost = 0;
        }
    }
}

/// `value` × `part` ÷ `whole` with `part` ≤ `whole`, truncated towards zero, exact while the product of two
/// remainders fits 127 bits: below 10¹⁰ units of quantity it always does.
fn mul_div(value: i128, part: u128, whole: u128) -> i128 {
    if part == whole {
        return value;
    }
    let magnitude = value.unsigned_abs();
    let (Some(quotient), Some(rest)) = (magnitude.checked_div(whole), magnitude.checked_rem(whole)) else { return 0 };
    let of_rest = rest.checked_mul(part).map_or_else(
        || rest.wrapping_shr(32).saturating_mul(part).checked_div(whole.wrapping_shr(32)),
        |product| product.checked_div(whole),
    );
    let result = quotient.saturating_mul(part).saturating_add(of_rest.unwrap_or(0));
    let result = i128::try_from(result).unwrap_or(i128::MAX);
    if value < 0 { result.saturating_neg() } else { result }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_is_opened_reduced_turned_and_closed_realizes_exactly() {
        let mut position = Position::default();
        // (signed quantity, price) → (quantity, cost, realized).
        let steps = [
            ((10, 100), (10, 1000, 0)),
            ((10, 110), (20, 2100, 0)),
            ((-5, 120), (15, 1575, 75)),
            ((-20, 90), (-5, -450, 75 + 15 * 90 - 1575)),
            ((5, 80), (0, 0, 75 + 15 * 90 - 1575 + 50)),
        ];
        for ((qty, px), (net, cost, realized)) in steps {
            position.fill(qty, qty * px);
            assert_eq!((position.qty, position.cost, position.realized_pnl), (net, cost, realized));
        }
    }

    #[test]
    fn profit_plus_cost_is_always_what_was_paid() {
        let (mut position, mut paid, mut seed) = (Position::default(), 0_i128, 11_u64);
        for _ in 0..10_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let qty = i128::from(seed >> 40) - (1 << 23);
            let value = qty * i128::from((seed >> 10) % 1_000_000 + 1);
            position.fill(qty, value);
            paid += value;
            assert_eq!(position.cost - position.realized_pnl, paid, "money is neither made nor lost");
        }
    }
}
