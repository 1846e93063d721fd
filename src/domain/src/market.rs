//! The market as the core sees it: the newest quote of each instrument, outside the state and its hash.

use tradecore_protocol::fields::{InstrumentId, Px, Qty, Side};

/// Best bid and offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// FIX BidPx (132).
    pub bid_px: Px,
    /// FIX BidSize (134).
    pub bid_qty: Qty,
    /// FIX OfferPx (133).
    pub ask_px: Px,
    /// FIX OfferSize (135).
    pub ask_qty: Qty,
    /// When the gateway received it, ns UTC; 0 for no quote yet.
    pub time_ns: u64,
    /// Rises with every quote of the instrument.
    pub md_seq: u64,
}

impl Quote {
    /// No quote.
    pub const NONE: Self =
        Self { bid_px: Px::NONE, bid_qty: Qty(0), ask_px: Px::NONE, ask_qty: Qty(0), time_ns: 0, md_seq: 0 };

    /// The price that an order of this side would meet.
    #[must_use]
    pub const fn opposite(&self, side: Side) -> Px {
        match side {
            Side::Buy => self.ask_px,
            Side::Sell => self.bid_px,
        }
    }
}

/// A table of quotes, dense by instrument.
#[derive(Clone, Debug)]
pub struct Market {
    quotes: Box<[Quote]>,
}

impl Market {
    /// A table for instruments up to and including `instruments_max`.
    #[must_use]
    pub fn new(instruments_max: u32) -> Self {
        Self { quotes: vec![Quote::NONE; (instruments_max as usize).saturating_add(1)].into_boxed_slice() }
    }

    /// The newest quote; `None` when there has been none.
    #[must_use]
    pub fn quote(&self, instrument_id: InstrumentId) -> Option<&Quote> {
        self.quotes.get(instrument_id.0 as usize).filter(|quote| quote.time_ns != 0)
    }

    /// Takes a quote in; its `md_seq` is counted here.
    pub fn set(&mut self, instrument_id: InstrumentId, quote: Quote) {
        if let Some(place) = self.quotes.get_mut(instrument_id.0 as usize) {
            *place = Quote { md_seq: place.md_seq.saturating_add(1), ..quote };
        }
    }
}
