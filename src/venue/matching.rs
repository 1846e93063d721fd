//! What happens at the book: the rules.
//!
//! An incoming order trades at the best price that its limit accepts, with resting orders of clients first
//! at equal price, then with the market's displayed size. Trades between orders of one client are allowed.
//! A resting order is filled, as maker at its own price, when
//! - another client order comes against it,
//! - the market's opposite quote reaches its price, up to the size displayed there,
//! - a trade prints through its price, or at its price with size left over after the queue ahead.
//!
//! Queue ahead: the size displayed at the order's price when the order came, or when the price first became
//! the touch. It falls with every print at the price and with the displayed size; inside the spread it is 0.
//! While the price is behind the touch it is unknown, and a print at just that price does not fill.

use super::book::{accepts, opposite};
use super::config::InstrumentConfig;
use super::event::{CancelReason, EventKind, RejectReason};
use super::exchange::{Action, Exchange, Pending};
use super::order::{CancelOrder, ClientIndex, NewOrder, OrderStatus, ReplaceOrder, VenueOrderId};
use tradecore_protocol::fields::{Liquidity, Money, OrdType, Px, Qty, Side, Tif};

const PPM: i128 = 1_000_000;

/// Whom an incoming order trades with next.
enum Counterparty {
    Resting(VenueOrderId, Px, i64),
    Market(Px, i64),
}

impl Exchange {
    pub(super) fn execute(&mut self, pending: Pending) {
        match pending.action {
            Action::Submit(id) => self.execute_submit(id),
            Action::Cancel(request) => self.execute_cancel(pending.client, request),
            Action::Replace(request) => self.execute_replace(pending.client, request),
        }
    }

    pub(super) fn expire(&mut self, id: VenueOrderId) {
        let Some(cum_qty) = self.order(id).map(|order| order.cum_qty) else {
            return;
        };
        self.emit_for(id, EventKind::Expired { cum_qty });
    }

    fn execute_submit(&mut self, id: VenueOrderId) {
        let Some(order) = self.order(id) else { return };
        let (terms, instrument) = (order.terms.clone(), order.instrument);
        if let Err(reason) = self.check_new(&terms, instrument) {
            return self.emit_for(id, EventKind::Rejected { reason });
        }
        let fillable = self.fillable(&terms, instrument);
        let (tif, market) = (terms.tif, terms.ord_type == OrdType::Market);
        let qty = terms.qty.0;
        self.emit_for(id, EventKind::New { order: terms });
        if tif == Tif::Fok && fillable < i128::from(qty) {
            return self.cancel_rest(id, CancelReason::FokNotFilled);
        }
        self.take(id);
        if tif == Tif::Ioc {
            self.cancel_rest(id, CancelReason::IocRemainder);
        } else if market {
            self.cancel_rest(id, CancelReason::NoLiquidity);
        } else {
            self.join_queue(id);
        }
    }

    fn check_new(&self, terms: &NewOrder, instrument: Option<usize>) -> Result<(), RejectReason> {
        let book = instrument.and_then(|i| self.books.get(i)).ok_or(RejectReason::UnknownSymbol)?;
        let (px_given, immediate) = (terms.px != Px::NONE, matches!(terms.tif, Tif::Ioc | Tif::Fok));
        let consistent = match terms.ord_type {
            OrdType::Market => !px_given && !terms.post_only,
            OrdType::Limit => px_given && !(terms.post_only && immediate),
        };
        if !consistent {
            return Err(RejectReason::InvalidTerms);
        }
        if px_given {
            check_px(&book.instrument, terms.px)?;
        }
        check_qty(&book.instrument, terms.qty)?;
        let crosses = self.best(terms.side, terms.px, instrument).is_some();
        if terms.ord_type == OrdType::Market && !crosses {
            return Err(RejectReason::NoMarket);
        }
        if terms.post_only && crosses {
            return Err(RejectReason::PostOnlyWouldCross);
        }
        Ok(())
    }

    fn execute_cancel(&mut self, client: ClientIndex, request: CancelOrder) {
        let CancelOrder { client_order_id, request_id } = request;
        let id = self.find(client, &client_order_id);
        let (id, kind) = match id.and_then(|id| self.order(id)) {
            None => {
                let reason = RejectReason::UnknownOrder;
                (VenueOrderId(0), EventKind::CancelRejected { reason, request_id })
            }
            Some(order) if !order.status.is_open() => {
                (order.id, EventKind::CancelRejected { reason: RejectReason::TooLate, request_id })
            }
            Some(order) => {
                let (reason, cum_qty) = (CancelReason::Requested, order.cum_qty);
                (order.id, EventKind::Canceled { reason, cum_qty, request_id })
            }
        };
        self.emit(client, id, client_order_id, kind);
    }

    fn execute_replace(&mut self, client: ClientIndex, request: ReplaceOrder) {
        let ReplaceOrder { client_order_id, request_id, px, qty } = request;
        let id = self.find(client, &client_order_id);
        let checked = self.check_replace(id, px, qty);
        let (id, kind) = match checked {
            Err(reason) => (id.unwrap_or_default(), EventKind::ReplaceRejected { reason, request_id }),
            Ok((id, cum_qty, priority_kept)) => {
                let leaves_qty = Qty(qty.0.saturating_sub(cum_qty.0));
                (id, EventKind::Replaced { request_id, px, qty, cum_qty, leaves_qty, priority_kept })
            }
        };
        self.emit(client, id, client_order_id, kind);
        if let Ok((id, _, false)) = checked {
            self.take(id);
            self.join_queue(id);
        }
    }

    /// The order, what it has filled, and whether it keeps its priority: only a smaller quantity at the same
    /// price does.
    fn check_replace(
        &self,
        id: Option<VenueOrderId>,
        px: Px,
        qty: Qty,
    ) -> Result<(VenueOrderId, Qty, bool), RejectReason> {
        let order = id.and_then(|id| self.order(id)).ok_or(RejectReason::UnknownOrder)?;
        if !order.status.is_open() {
            return Err(RejectReason::TooLate);
        }
        if order.terms.ord_type == OrdType::Market {
            return Err(RejectReason::InvalidTerms);
        }
        let book = order.instrument.and_then(|i| self.books.get(i)).ok_or(RejectReason::UnknownSymbol)?;
        check_px(&book.instrument, px)?;
        check_qty(&book.instrument, qty)?;
        if qty <= order.cum_qty {
            return Err(RejectReason::QuantityBelowFilled);
        }
        if order.terms.post_only && self.best(order.terms.side, px, order.instrument).is_some() {
            return Err(RejectReason::PostOnlyWouldCross);
        }
        Ok((order.id, order.cum_qty, px == order.terms.px && qty <= order.terms.qty))
    }

    /// Trades an incoming order until nothing that its limit accepts is left.
    fn take(&mut self, id: VenueOrderId) {
        while let Some(order) = self.order(id) {
            let (side, limit, instrument, leaves) =
                (order.terms.side, order.terms.px, order.instrument, order.leaves());
            if leaves == 0 {
                return;
            }
            match self.best(side, limit, instrument) {
                None => return,
                Some(Counterparty::Resting(maker, px, available)) => {
                    let qty = leaves.min(available);
                    self.fill(maker, px, qty, Liquidity::Maker);
                    self.fill(id, px, qty, Liquidity::Taker);
                }
                Some(Counterparty::Market(px, available)) => {
                    let qty = leaves.min(available);
                    self.take_displayed(instrument, opposite(side), qty);
                    self.fill(id, px, qty, Liquidity::Taker);
                }
            }
        }
    }

    /// The next counterparty of an incoming order, if its limit accepts one.
    fn best(&self, side: Side, limit: Px, instrument: Option<usize>) -> Option<Counterparty> {
        let book = self.books.get(instrument?)?;
        let other = opposite(side);
        let resting = book.first(other).and_then(|id| self.order(id));
        let resting = resting.map(|o| (o.terms.px, o.leaves(), o.id)).filter(|r| accepts(side, limit, r.0));
        let touch = book.touch(other).filter(|t| t.left > 0 && accepts(side, limit, t.px));
        match (resting, touch) {
            // The resting price is at least as good as the market's.
            (Some((px, leaves, id)), Some(touch)) if accepts(side, touch.px, px) => {
                Some(Counterparty::Resting(id, px, leaves))
            }
            (Some((px, leaves, id)), None) => Some(Counterparty::Resting(id, px, leaves)),
            (_, Some(touch)) => Some(Counterparty::Market(touch.px, touch.left)),
            (None, None) => None,
        }
    }

    /// All that an incoming order could fill at once; stops counting when it is enough.
    fn fillable(&self, terms: &NewOrder, instrument: Option<usize>) -> i128 {
        let Some(book) = instrument.and_then(|i| self.books.get(i)) else {
            return 0;
        };
        let other = opposite(terms.side);
        let limit = match (terms.px, terms.side) {
            (Px::NONE, Side::Buy) => Px(i64::MAX),
            (Px::NONE, Side::Sell) => Px(1),
            (px, _) => px,
        };
        let touch = book.touch(other).filter(|t| accepts(terms.side, limit, t.px));
        let mut total = touch.map_or(0, |t| i128::from(t.left));
        for order in book.at_or_better(other, limit).filter_map(|id| self.order(id)) {
            if total >= i128::from(terms.qty.0) {
                break;
            }
            total = total.saturating_add(i128::from(order.leaves()));
        }
        total
    }

    pub(super) fn take_displayed(&mut self, instrument: Option<usize>, side: Side, qty: i64) {
        if let Some(book) = instrument.and_then(|i| self.books.get_mut(i)) {
            book.take_displayed(side, qty);
        }
    }

    pub(super) fn fill(&mut self, id: VenueOrderId, px: Px, qty: i64, liquidity: Liquidity) {
        let Some(order) = self.order(id) else { return };
        let cum_qty = Qty(order.cum_qty.0.saturating_add(qty));
        let leaves_qty = Qty(order.terms.qty.0.saturating_sub(cum_qty.0));
        let fees = self.config.fees;
        let ppm = if liquidity == Liquidity::Maker { fees.maker_ppm } else { fees.taker_ppm };
        let kind = EventKind::Trade {
            exec_id: self.last_exec_id.saturating_add(1),
            last_px: px,
            last_qty: Qty(qty),
            cum_qty,
            leaves_qty,
            fee: fee(Money::of(px, Qty(qty)), ppm),
            liquidity,
        };
        self.emit_for(id, kind);
    }

    /// Cancels what is left of an order, if anything is.
    fn cancel_rest(&mut self, id: VenueOrderId, reason: CancelReason) {
        let Some(order) = self.order(id).filter(|o| o.leaves() > 0) else {
            return;
        };
        let cum_qty = order.cum_qty;
        self.emit_for(id, EventKind::Canceled { reason, cum_qty, request_id: None });
    }

    fn emit_for(&mut self, id: VenueOrderId, kind: EventKind) {
        let Some(order) = self.order(id) else { return };
        let (client, client_order_id) = (order.client, order.terms.client_order_id.clone());
        debug_assert!(order.status != OrderStatus::Filled, "nothing happens to a filled order");
        self.emit(client, id, client_order_id, kind);
    }
}

fn check_px(instrument: &InstrumentConfig, px: Px) -> Result<(), RejectReason> {
    let on_tick = px.0.checked_rem(instrument.tick_size.0) == Some(0);
    if px.0 > 0 && on_tick { Ok(()) } else { Err(RejectReason::InvalidPrice) }
}

fn check_qty(instrument: &InstrumentConfig, qty: Qty) -> Result<(), RejectReason> {
    let on_lot = qty.0.checked_rem(instrument.lot_size.0) == Some(0);
    if qty.0 > 0 && on_lot { Ok(()) } else { Err(RejectReason::InvalidQuantity) }
}

/// `ppm` of a positive notional, rounded half to even at the last unit of `Money`.
fn fee(notional: Money, ppm: i32) -> Money {
    // Split so that no product leaves i128: the notional is below 2^126 and |ppm| at most 10^6.
    let (whole, rest) = (notional.0.div_euclid(PPM), notional.0.rem_euclid(PPM));
    let ppm = i128::from(ppm);
    let fraction = rest.saturating_mul(ppm);
    let (floor, remainder) = (fraction.div_euclid(PPM), fraction.rem_euclid(PPM));
    let exact = whole.saturating_mul(ppm).saturating_add(floor);
    let twice = remainder.saturating_mul(2);
    let up = twice > PPM || (twice == PPM && exact & 1 == 1);
    Money(exact.saturating_add(i128::from(up)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_are_exact_and_round_half_to_even() {
        let cases: &[(i128, i32, i128)] = &[
            (1_000_000, 1, 1),
            (500_000, 1, 0),
            (1_500_000, 1, 2),
            (500_001, 1, 1),
            (1_000_000_000_000_000_000, 250, 250_000_000_000_000),
            (1_000_000, -100, -100),
            (1_500_000, -1, -2),
            (500_000, -1, 0),
            (1_i128 << 125, 1_000_000, 1_i128 << 125),
        ];
        for (notional, ppm, expected) in cases {
            assert_eq!(fee(Money(*notional), *ppm).0, *expected, "{notional} at {ppm}");
        }
    }
}
