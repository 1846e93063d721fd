//! Market data: where ticks come from, how they are paced, which are refused.
//!
//! Owns the tick vocabulary, captures, the replay player and validation. Must not know orders.

pub mod capture;
pub mod decimal;
pub mod player;
pub mod validate;

use std::sync::Arc;
use tradecore_protocol::fields::{Px, Qty};

/// One market data message, in exact units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// When the message was received, UTC nanoseconds.
    pub recv_ns: u64,
    /// FIX Symbol (55), as the source writes it.
    pub symbol: Arc<str>,
    /// What the message says.
    pub kind: TickKind,
}

/// The two messages that orders can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TickKind {
    /// Best bid and offer with their displayed sizes.
    Quote(Quote),
    /// A print.
    Trade(TradePrint),
}

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
    /// The source's own counter; it rises with every update.
    pub update_id: u64,
}

/// A trade between others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradePrint {
    /// FIX LastPx (31).
    pub px: Px,
    /// FIX LastQty (32).
    pub qty: Qty,
    /// The source's own trade number; it rises with every print.
    pub trade_id: u64,
    /// True when the aggressor sold.
    pub buyer_is_maker: bool,
    /// The source's trade time, UTC milliseconds.
    pub trade_ts_ms: u64,
}
