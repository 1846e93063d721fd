//! What the market does to resting orders: the rules of `matching` for quotes and prints.

use super::book::{accepts, opposite};
use super::exchange::Exchange;
use super::order::VenueOrderId;
use crate::market_data::{Quote, Tick, TickKind, TradePrint};
use tradecore_protocol::fields::{Liquidity, Side};

impl Exchange {
    /// Takes one validated tick, stamped with the venue's time; ticks of other symbols change nothing.
    pub fn on_tick(&mut self, now_ns: u64, tick: &Tick) {
        self.advance(now_ns);
        let Some(index) = self.symbols.get(&*tick.symbol).copied() else {
            return;
        };
        match tick.kind {
            TickKind::Quote(quote) => self.on_quote(index, quote),
            TickKind::Trade(print) => self.on_print(index, print),
        }
        self.commit();
    }

    fn on_quote(&mut self, index: usize, quote: Quote) {
        let Some(book) = self.books.get_mut(index) else {
            return;
        };
        book.set_quote(quote);
        for side in [Side::Buy, Side::Sell] {
            self.fill_from_quote(index, side);
            self.update_queue(index, side);
        }
    }

    /// Fills resting orders of `side` that the market's other side has reached.
    fn fill_from_quote(&mut self, index: usize, side: Side) {
        let other = opposite(side);
        while let Some(book) = self.books.get(index) {
            let Some(touch) = book.touch(other).filter(|t| t.left > 0) else {
                return;
            };
            let Some(order) = book.first(side).and_then(|id| self.order(id)) else {
                return;
            };
            let (id, px, leaves) = (order.id, order.terms.px, order.leaves());
            if leaves == 0 || !accepts(side, px, touch.px) {
                return;
            }
            let qty = leaves.min(touch.left);
            self.take_displayed(Some(index), other, qty);
            self.fill(id, px, qty, Liquidity::Maker);
        }
    }

    fn update_queue(&mut self, index: usize, side: Side) {
        let Some(book) = self.books.get(index) else {
            return;
        };
        let Some(touch) = book.touch(side) else {
            return;
        };
        let ids: Vec<VenueOrderId> = book.at_or_better(side, touch.px).collect();
        for id in ids {
            let Some(order) = self.order_mut(id) else {
                continue;
            };
            let displayed = if order.terms.px == touch.px { touch.displayed } else { 0 };
            order.queue_ahead = Some(order.queue_ahead.map_or(displayed, |ahead| ahead.min(displayed)));
        }
    }

    /// Gives a resting order its place behind what is displayed at its price.
    pub(super) fn join_queue(&mut self, id: VenueOrderId) {
        let Some(order) = self.order(id).filter(|o| o.leaves() > 0) else {
            return;
        };
        let (side, px) = (order.terms.side, order.terms.px);
        let touch = order.instrument.and_then(|i| self.books.get(i)).and_then(|book| book.touch(side));
        let ahead = match touch {
            Some(touch) if touch.px == px => Some(touch.displayed),
            Some(touch) if accepts(side, px, touch.px) => Some(0),
            _ => None,
        };
        if let Some(order) = self.order_mut(id) {
            order.queue_ahead = ahead;
        }
    }

    /// Fills resting orders from a print: through their price in full, at their price behind the queue; no
    /// more than the print's size in all.
    fn on_print(&mut self, index: usize, print: TradePrint) {
        let side = if print.buyer_is_maker { Side::Buy } else { Side::Sell };
        let Some(book) = self.books.get(index) else {
            return;
        };
        let ids: Vec<VenueOrderId> = book.at_or_better(side, print.px).collect();
        let mut left = print.qty.0;
        for id in ids {
            let Some(order) = self.order_mut(id) else {
                continue;
            };
            let (px, leaves) = (order.terms.px, order.leaves());
            let available = if px != print.px {
                left
            } else if let Some(ahead) = order.queue_ahead {
                order.queue_ahead = Some(ahead.saturating_sub(print.qty.0).max(0));
                left.saturating_sub(ahead).max(0)
            } else {
                0
            };
            let qty = leaves.min(available);
            if qty > 0 {
                left = left.saturating_sub(qty);
                self.fill(id, px, qty, Liquidity::Maker);
            }
        }
    }
}
