//! One instrument's book: resting orders of the venue's clients by price and time, and the market's quote.
//!
//! The quote's displayed size can be taken once: `left` falls with each fill and is renewed when the market
//! shows another price or size on that side, not when only the other side changes.

use super::config::InstrumentConfig;
use super::order::{Order, VenueOrderId};
use crate::market_data::Quote;
use std::collections::BTreeMap;
use tradecore_protocol::fields::{Px, Side};

/// Sorts first what trades first: best price, then oldest.
type Rank = (i64, u64);

/// One side of the market's quote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) px: Px,
    pub(crate) displayed: i64,
    pub(crate) left: i64,
}

#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) instrument: InstrumentConfig,
    buys: BTreeMap<Rank, VenueOrderId>,
    sells: BTreeMap<Rank, VenueOrderId>,
    bid: Option<Touch>,
    ask: Option<Touch>,
}

/// The side that `side` trades with.
pub(crate) const fn opposite(side: Side) -> Side {
    match side {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    }
}

/// A price as a number that is lower when it trades earlier on `side`. Prices are positive.
const fn price_rank(side: Side, px: Px) -> i64 {
    match side {
        Side::Buy => px.0.wrapping_neg(),
        Side::Sell => px.0,
    }
}

/// True when an order of `side` limited to `limit` accepts `px`; no limit accepts every price.
pub(crate) fn accepts(side: Side, limit: Px, px: Px) -> bool {
    limit == Px::NONE
        || match side {
            Side::Buy => px <= limit,
            Side::Sell => px >= limit,
        }
}

impl Book {
    pub(crate) fn new(instrument: InstrumentConfig) -> Self {
        Self { instrument, buys: BTreeMap::new(), sells: BTreeMap::new(), bid: None, ask: None }
    }

    pub(crate) fn insert(&mut self, order: &Order) {
        let side = order.terms.side;
        self.resting_mut(side).insert((price_rank(side, order.terms.px), order.priority), order.id);
    }

    pub(crate) fn remove(&mut self, order: &Order) {
        let side = order.terms.side;
        self.resting_mut(side).remove(&(price_rank(side, order.terms.px), order.priority));
    }

    pub(crate) fn set_quote(&mut self, quote: Quote) {
        renew(&mut self.bid, quote.bid_px, quote.bid_qty.0);
        renew(&mut self.ask, quote.ask_px, quote.ask_qty.0);
    }

    /// Takes `qty` of the displayed size of `side`.
    pub(crate) fn take_displayed(&mut self, side: Side, qty: i64) {
        let touch = match side {
            Side::Buy => &mut self.bid,
            Side::Sell => &mut self.ask,
        };
        if let Some(touch) = touch {
            touch.left = touch.left.saturating_sub(qty);
        }
    }

    /// The market's quote of `side`, taken or not.
    pub(crate) fn touch(&self, side: Side) -> Option<Touch> {
        match side {
            Side::Buy => self.bid,
            Side::Sell => self.ask,
        }
    }

    /// The first resting order of `side`.
    pub(crate) fn first(&self, side: Side) -> Option<VenueOrderId> {
        self.resting(side).first_key_value().map(|(_, id)| *id)
    }

    /// Resting orders of `side` at `px` or better, first to trade first.
    pub(crate) fn at_or_better(&self, side: Side, px: Px) -> impl Iterator<Item = VenueOrderId> + '_ {
        self.resting(side).range(..=(price_rank(side, px), u64::MAX)).map(|(_, id)| *id)
    }

    fn resting(&self, side: Side) -> &BTreeMap<Rank, VenueOrderId> {
        match side {
            Side::Buy => &self.buys,
            Side::Sell => &self.sells,
        }
    }

    fn resting_mut(&mut self, side: Side) -> &mut BTreeMap<Rank, VenueOrderId> {
        match side {
            Side::Buy => &mut self.buys,
            Side::Sell => &mut self.sells,
        }
    }
}

fn renew(touch: &mut Option<Touch>, px: Px, displayed: i64) {
    if touch.is_none_or(|old| old.px != px || old.displayed != displayed) {
        *touch = Some(Touch { px, displayed, left: displayed });
    }
}
