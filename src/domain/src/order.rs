//! The order: what it may still cost, and the table of what a broker's fact does to it.

use tradecore_protocol::fields::{Money, OrdStatus, Px, Qty, Side};

use crate::command::FactKind;
use crate::event::{OrderImage, order_flags};

/// An order in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// As the last event left it; `order_id` 0 for a free place.
    pub(crate) image: OrderImage,
    /// Price that it may cost at worst; that of the market for a market order.
    pub(crate) worst_px: i64,
    /// Price and quantity of a pending replace.
    pub(crate) new_px: i64,
    pub(crate) new_qty: i64,
    /// ClOrdIDs of what is pending; 0 for ours, or none.
    pub(crate) cancel_id: u64,
    pub(crate) replace_id: u64,
    /// Reason of the pending cancel.
    pub(crate) cancel_reason: u16,
    /// Place of its ClOrdID.
    pub(crate) id_place: u32,
}

/// What an order counts for in its account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// What it is worth at worst, money × 10⁻¹⁸.
    pub notional: i128,
    /// What it may cost at worst, money × 10⁻¹⁸: of a buy only.
    pub reserved: i128,
    /// What it may still buy × 10⁻⁹.
    pub buy_qty: i128,
    /// What it may still sell × 10⁻⁹.
    pub sell_qty: i128,
    /// 1 while it is open.
    pub open: u32,
    /// 1 while it is open and in doubt.
    pub in_doubt: u32,
}

impl Exposure {
    /// The worst case of what is live and what is under way: of an order that costs `worst_px` at worst, with the price
    /// and quantity of its pending replace.
    #[must_use]
    pub fn of(image: &OrderImage, worst_px: i64, (new_px, new_qty): (i64, i64)) -> Self {
        if image.order_id == 0 || is_closed(image) {
            return Self::default();
        }
        let has = |flag| image.flags & flag != 0;
        let (px, qty) = if has(order_flags::REPLACE_PENDING) {
            (worst_px.max(new_px), image.order_qty.max(new_qty))
        } else {
            (worst_px, image.order_qty)
        };
        let leaves = qty.saturating_sub(image.cum_qty).max(0);
        let notional = Money::of(Px(px), Qty(leaves)).0;
        let is_buy = image.side == Side::Buy.raw();
        let leaves = i128::from(leaves);
        Self {
            notional,
            reserved: if is_buy { notional } else { 0 },
            buy_qty: if is_buy { leaves } else { 0 },
            sell_qty: if is_buy { 0 } else { leaves },
            open: 1,
            in_doubt: u32::from(has(order_flags::DOUBT)),
        }
    }
}

impl Order {
    pub(crate) fn is_open(&self) -> bool {
        self.image.order_id != 0 && !is_closed(&self.image)
    }

    /// The worst case of what is live and what is under way.
    pub(crate) fn exposure(&self) -> Exposure {
        Exposure::of(&self.image, self.worst_px, (self.new_px, self.new_qty))
    }
}

/// True when the order can trade no more.
#[must_use]
pub fn is_closed(image: &OrderImage) -> bool {
    OrdStatus::from_raw(image.ord_status).is_some_and(OrdStatus::is_closed)
}

/// The status that follows from flags and quantities of an order that is open.
pub(crate) const fn open_status(image: &OrderImage) -> OrdStatus {
    let flags = image.flags;
    if flags & order_flags::DOUBT != 0 {
        OrdStatus::InDoubt
    } else if flags & order_flags::CANCEL_PENDING != 0 {
        OrdStatus::PendingCancel
    } else if flags & order_flags::REPLACE_PENDING != 0 {
        OrdStatus::PendingReplace
    } else if flags & order_flags::ACKED == 0 {
        OrdStatus::PendingNew
    } else if image.cum_qty > 0 {
        OrdStatus::PartiallyFilled
    } else {
        OrdStatus::New
    }
}

/// What a broker's fact does to an order in a given state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FactOutcome {
    /// The order is live at the broker, which was not known.
    Acknowledge,
    /// A fill is applied.
    Fill,
    /// A fill is applied to an order that was closed: the account goes to `CANCEL_ONLY`.
    FillLate,
    /// The order ends.
    Close(OrdStatus),
    /// New terms are in force.
    Replace,
    /// The pending cancel was refused.
    CancelRefused,
    /// The pending replace was refused.
    ReplaceRefused,
    /// The doubt is ended: the order is live.
    Restate,
    /// It says nothing new.
    Ignore,
    /// It contradicts what is known; the order stays as it is.
    Contradict,
}

/// The state of an order as the table below sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Sent, or about to be; the broker has said nothing.
    Unacked,
    /// As `Unacked`, and the outcome is unknown.
    UnackedDoubt,
    /// Live.
    Live,
    /// Live; the outcome of a change is unknown.
    LiveDoubt,
    /// Ended.
    Closed,
}

pub(crate) fn standing(image: &OrderImage) -> Standing {
    let has = |flag| image.flags & flag != 0;
    if is_closed(image) {
        Standing::Closed
    } else {
        match (has(order_flags::ACKED), has(order_flags::DOUBT)) {
            (false, false) => Standing::Unacked,
            (false, true) => Standing::UnackedDoubt,
            (true, false) => Standing::Live,
            (true, true) => Standing::LiveDoubt,
        }
    }
}

/// The table: one outcome for every standing and every kind of fact.
pub(crate) const fn outcome(standing: Standing, fact: &FactKind, flags: u8) -> FactOutcome {
    use FactKind as F;
    use FactOutcome as O;
    use Standing as S;
    let cancel_pending = flags & order_flags::CANCEL_PENDING != 0;
    let replace_pending = flags & order_flags::REPLACE_PENDING != 0;
    match (standing, fact) {
        (S::Unacked | S::UnackedDoubt, F::Acknowledged) => O::Acknowledge,
        (S::LiveDoubt | S::Live | S::Closed, F::Acknowledged) => O::Ignore,

        (S::Unacked | S::UnackedDoubt, F::Rejected { .. }) => O::Close(OrdStatus::Rejected),
        (S::Live | S::LiveDoubt, F::Rejected { .. }) => O::Contradict,
        (S::Closed, F::Rejected { .. }) => O::Ignore,

        (S::Unacked | S::UnackedDoubt | S::Live | S::LiveDoubt, F::Trade { .. }) => O::Fill,
        (S::Closed, F::Trade { .. }) => O::FillLate,

        (S::Unacked | S::UnackedDoubt | S::Live | S::LiveDoubt, F::Canceled { .. }) => O::Close(OrdStatus::Canceled),
        (S::Unacked | S::UnackedDoubt | S::Live | S::LiveDoubt, F::Expired) => O::Close(OrdStatus::Expired),
        (S::Closed, F::Canceled { .. } | F::Expired) => O::Ignore,

        (S::Unacked | S::UnackedDoubt | S::Live | S::LiveDoubt, F::Replaced { .. }) => O::Replace,
        (S::Closed, F::Replaced { .. }) => O::Contradict,

        (S::Unacked | S::UnackedDoubt | S::Live | S::LiveDoubt, F::CancelRejected { .. }) if cancel_pending => {
            O::CancelRefused
        }
        (S::Unacked | S::UnackedDoubt | S::Live | S::LiveDoubt | S::Closed, F::CancelRejected { .. }) => O::Ignore,
        (S::Unacked | S::UnackedDoubt | S::Live | S::LiveDoubt, F::ReplaceRejected { .. }) if replace_pending => {
            O::ReplaceRefused
        }
        (S::Unacked | S::UnackedDoubt | S::Live | S::LiveDoubt | S::Closed, F::ReplaceRejected { .. }) => O::Ignore,

        (S::UnackedDoubt | S::LiveDoubt, F::FoundLive { .. }) => O::Restate,
        (S::Unacked | S::Live, F::FoundLive { .. }) => O::Ignore,
        (S::Closed, F::FoundLive { .. }) => O::Contradict,

        (S::UnackedDoubt, F::NotFound) => O::Close(OrdStatus::Rejected),
        (S::LiveDoubt | S::Live, F::NotFound) => O::Contradict,
        (S::Unacked | S::Closed, F::NotFound) => O::Ignore,
    }
}
