//! New orders, cancels, replaces.

use tradecore_protocol::fields::{BrokerStatus, Money, OrdStatus, OrdType, OrderId, Px, Qty, Side, Tif, exec_flags};
use tradecore_protocol::reason::Reason;

use super::Deciding;
use crate::command::{CancelOrder, PlaceOrder, ReplaceOrder};
use crate::event::{
    CancelRequested, InstrumentDefined, Meta, OrderAccepted, OrderImage, OrderRejected, ReplaceRequested,
    RequestRejected, order_flags,
};
use crate::hash::Fnv;
use crate::market::Quote;
use crate::order::{Order, open_status};
use crate::refused::Refused;

const CANCEL_TEMPLATE: u16 = 101;
const REPLACE_TEMPLATE: u16 = 102;
const PPM: i128 = 1_000_000;

/// A new order whose codes have a meaning.
struct Shaped {
    side: Side,
    is_market: bool,
}

/// What the limits were checked against.
struct Checked {
    market_px: i64,
    market_time_ns: u64,
}

fn content_hash(order: &PlaceOrder) -> u64 {
    let mut hash = Fnv::default();
    for number in [
        order.px.0 as u64,
        order.order_qty.0 as u64,
        order.valid_until_ns,
        u64::from(order.instrument_id.0),
        u64::from(order.account_id.0),
        u64::from(order.strategy_id.0),
        u64::from(order.decision_maker),
        u64::from(u32::from_le_bytes([order.side, order.ord_type, order.tif, order.exec_flags])),
    ] {
        hash.number(number);
    }
    hash.finish()
}

fn shape(order: &PlaceOrder) -> Result<Shaped, Refused> {
    let side = Side::from_raw(order.side).ok_or_else(|| Refused::new(Reason::SideInvalid, order.side, 0))?;
    let ord_type =
        OrdType::from_raw(order.ord_type).ok_or_else(|| Refused::new(Reason::OrdTypeInvalid, order.ord_type, 0))?;
    let tif = Tif::from_raw(order.tif).ok_or_else(|| Refused::new(Reason::TifInvalid, order.tif, 0))?;
    if order.exec_flags & !exec_flags::ALL != 0 {
        return Err(Refused::new(Reason::ExecFlagsInvalid, order.exec_flags, exec_flags::ALL));
    }
    let is_market = ord_type == OrdType::Market;
    if is_market && order.px != Px::NONE {
        return Err(Reason::PriceForbidden.into());
    }
    if !is_market && order.px == Px::NONE {
        return Err(Reason::PriceMissing.into());
    }
    if !is_market && order.px.0 <= 0 {
        return Err(Refused::new(Reason::PriceNotPositive, order.px.0, 0));
    }
    if order.order_qty.0 <= 0 {
        return Err(Refused::new(Reason::QtyNotPositive, order.order_qty.0, 0));
    }
    if is_market && tif == Tif::Gtc {
        return Err(Reason::MarketTifInvalid.into());
    }
    let takes_at_once = is_market || matches!(tif, Tif::Ioc | Tif::Fok);
    if order.exec_flags & exec_flags::POST_ONLY != 0 && takes_at_once {
        return Err(Reason::PostOnlyInvalid.into());
    }
    Ok(Shaped { side, is_market })
}

impl Deciding<'_> {
    /// Identity → shape → state → limits → success. Identity comes first, so that a repetition gets the answer
    /// that it had, and nothing is judged that could not be remembered.
    pub(super) fn place_order(&mut self, order: &PlaceOrder) {
        let session_id = self.origin.session_id;
        if order.cl_ord_id.0 == 0 {
            return self.refuse(Reason::ClOrdIdMissing);
        }
        let Some(session) = self.state.session(session_id) else { return self.refuse(Reason::NotLoggedOn) };
        if order.cl_ord_id.epoch() < session.client_epoch {
            return self.refuse(Reason::ClientEpochClosed);
        }
        let hash = content_hash(order);
        if let Some((place, entry)) = self.state.id_entry(session_id, order.cl_ord_id) {
            if entry.content_hash == hash {
                self.out.duplicate = Some(self.state.known_of(place, entry));
                return;
            }
            return self.reject_order(order, hash, Reason::DuplicateId.into());
        }
        if !self.state.has_room_for_id(session, order.cl_ord_id) {
            return self.refuse(Reason::IdsMax);
        }
        let shaped = match shape(order) {
            Ok(shaped) => shaped,
            Err(refused) => return self.reject_order(order, hash, refused),
        };
        if self.state.broker_status() != BrokerStatus::Ready {
            return self.refuse(Reason::BrokerNotReady);
        }
        if self.state.open_orders >= self.state.limits.orders_max {
            return self.refuse(Reason::OrdersMax);
        }
        match self.check_new(order, &shaped) {
            Ok(checked) => self.accept_order(order, hash, &checked),
            Err(refused) => self.reject_order(order, hash, refused),
        }
    }

    /// State, then limits.
    fn check_new(&self, order: &PlaceOrder, shaped: &Shaped) -> Result<Checked, Refused> {
        let instrument = self.state.instrument(order.instrument_id).ok_or(Reason::InstrumentUnknown)?;
        let account = self.state.account(order.account_id).ok_or(Reason::AccountUnknown)?;
        self.check_may_add_risk(order.account_id.0)?;
        if order.valid_until_ns != 0 && order.valid_until_ns < self.now.0 {
            return Err(Reason::StaleRequest.into());
        }
        check_terms(instrument, order.px, order.order_qty)?;
        if account.open_orders >= account.open_orders_max {
            return Err(Refused::new(Reason::OpenOrdersMax, account.open_orders, account.open_orders_max));
        }
        self.check_rate(order.account_id.0)?;
        let quote = self.fresh_quote(instrument)?;
        let market_px = quote.opposite(shaped.side);
        let worst_px = if shaped.is_market { market_px } else { order.px };
        check_collar(instrument, worst_px, market_px)?;
        self.check_size(instrument, order.account_id.0, shaped.side, worst_px, order.order_qty, Order::default())?;
        Ok(Checked { market_px: market_px.0, market_time_ns: quote.time_ns })
    }

    /// Nothing forbids the account and the session to add risk.
    fn check_may_add_risk(&self, account_id: u32) -> Result<(), Refused> {
        let restriction = self.state.restriction(account_id);
        let is_locked_out = self.state.session(self.origin.session_id).is_some_and(|session| session.is_locked_out);
        match restriction {
            Some(Reason::Killed) => Err(Reason::Killed.into()),
            _ if is_locked_out => Err(Reason::LockedOut.into()),
            Some(reason) => Err(reason.into()),
            None => Ok(()),
        }
    }

    fn check_rate(&self, account_id: u32) -> Result<(), Refused> {
        let account = self.account_of(account_id).ok_or(Reason::AccountUnknown)?;
        let is_same_second = account.rate_second == self.origin.recv_time_ns / 1_000_000_000;
        if account.rate_max != 0 && is_same_second && account.rate_count >= account.rate_max {
            return Err(Refused::new(Reason::RateLimit, account.rate_count, account.rate_max));
        }
        Ok(())
    }

    /// Fail-closed: without a fresh price nothing that adds risk passes.
    fn fresh_quote(&self, instrument: &InstrumentDefined) -> Result<Quote, Refused> {
        let id = tradecore_protocol::fields::InstrumentId(instrument.instrument_id);
        let quote = self.market.quote(id).ok_or(Reason::MarketStale)?;
        let age_ns = self.now.0.saturating_sub(quote.time_ns);
        if age_ns > instrument.quote_age_max_ns {
            return Err(Refused::new(Reason::MarketStale, age_ns, instrument.quote_age_max_ns));
        }
        if quote.bid_px == Px::NONE || quote.ask_px == Px::NONE {
            return Err(Reason::MarketStale.into());
        }
        Ok(*quote)
    }

    /// Notional, position and buying power, beyond what `replaced` counts for already.
    fn check_size(
        &self,
        instrument: &InstrumentDefined,
        account_id: u32,
        side: Side,
        worst_px: Px,
        qty: Qty,
        replaced: Order,
    ) -> Result<(), Refused> {
        let account = self.account_of(account_id).ok_or(Reason::AccountUnknown)?;
        let id = tradecore_protocol::fields::InstrumentId(instrument.instrument_id);
        let position =
            self.state.position(tradecore_protocol::fields::AccountId(account_id), id).copied().unwrap_or_default();
        let notional = Money::of(worst_px, qty).0;
        if notional > instrument.order_notional_max {
            return Err(Refused::new(Reason::OrderNotionalMax, notional, instrument.order_notional_max));
        }
        let before = replaced.exposure();
        let leaves = i128::from(qty.0.saturating_sub(replaced.image.cum_qty));
        let reached = match side {
            Side::Buy => {
                position.qty.saturating_add(position.open_buy_qty).saturating_sub(before.buy_qty).saturating_add(leaves)
            }
            Side::Sell => position
                .open_sell_qty
                .saturating_sub(before.sell_qty)
                .saturating_add(leaves)
                .saturating_sub(position.qty),
        };
        if reached > i128::from(account.position_max) {
            return Err(Refused::new(Reason::PositionMax, reached, account.position_max));
        }
        let leaves_notional = Money::of(worst_px, Qty(qty.0.saturating_sub(replaced.image.cum_qty))).0;
        let free = account.buying_power().saturating_add(before.reserved);
        if side == Side::Buy && leaves_notional > free {
            return Err(Refused::new(Reason::BuyingPower, leaves_notional, free));
        }
        Ok(())
    }

    fn accept_order(&mut self, order: &PlaceOrder, hash: u64, checked: &Checked) {
        let mut image = image_of(order, self.origin.session_id.0);
        image.order_id = self.state.id(self.state.next_order);
        image.order_version = 1;
        image.ord_status = OrdStatus::PendingNew.raw();
        let event = OrderAccepted {
            meta: Meta::default(),
            order: image,
            content_hash: hash,
            market_px: checked.market_px,
            market_time_ns: checked.market_time_ns,
            exec_id: self.exec_id(),
        };
        self.report(image.session_id, image.account_id, image.order_id, event);
    }

    fn reject_order(&mut self, order: &PlaceOrder, hash: u64, refused: Refused) {
        let mut image = image_of(order, self.origin.session_id.0);
        image.ord_status = OrdStatus::Rejected.raw();
        let event = OrderRejected {
            meta: Meta::default(),
            order: image,
            content_hash: hash,
            reason: refused.reason.raw(),
            offered: refused.offered,
            allowed: refused.allowed,
            reserved: [0; 6],
        };
        self.report(image.session_id, image.account_id, order.cl_ord_id.0, event);
    }

    /// The order that a request names: open, or closed and still known.
    fn named(&self, order_id: OrderId, cl_ord_id: tradecore_protocol::fields::ClOrdId) -> Option<OrderImage> {
        let session_id = self.origin.session_id;
        let image = if order_id == OrderId::NONE {
            self.state.known(session_id, cl_ord_id).map(|known| known.order).filter(|order| order.order_id != 0)?
        } else {
            *self.state.order(order_id)?
        };
        (image.session_id == session_id.0).then_some(image)
    }

    pub(super) fn cancel_order(&mut self, cancel: &CancelOrder) {
        let named = self.named(cancel.order_id, cancel.orig_cl_ord_id);
        let reason = match &named {
            None => Reason::UnknownOrder,
            Some(image) if crate::order::is_closed(image) => Reason::TooLate,
            // In doubt, a cancel may be repeated: risk can always be reduced.
            Some(image)
                if image.flags & (order_flags::CANCEL_PENDING | order_flags::DOUBT) == order_flags::CANCEL_PENDING =>
            {
                Reason::PendingChange
            }
            Some(image) => return self.request_cancel(*image, cancel.cl_ord_id.0, Reason::ClientRequest),
        };
        let ids = [cancel.cl_ord_id.0, cancel.orig_cl_ord_id.0, cancel.order_id.0];
        self.reject_request(ids, named, reason.into(), CANCEL_TEMPLATE);
    }

    /// The intent to cancel an open order.
    pub(super) fn request_cancel(&mut self, mut image: OrderImage, req_cl_ord_id: u64, reason: Reason) {
        image.flags |= order_flags::CANCEL_PENDING;
        image.order_version = image.order_version.saturating_add(1);
        image.ord_status = open_status(&image).raw();
        let event = CancelRequested {
            meta: Meta::default(),
            order: image,
            req_cl_ord_id,
            exec_id: self.exec_id(),
            reason: reason.raw(),
            reserved: [0; 14],
        };
        self.report(image.session_id, image.account_id, image.order_id, event);
    }

    pub(super) fn replace_order(&mut self, replace: &ReplaceOrder) {
        let named = self.named(replace.order_id, replace.orig_cl_ord_id);
        let reason = match &named {
            None => Reason::UnknownOrder.into(),
            Some(image) => match self.check_replace(image, replace) {
                Ok(()) => return self.request_replace(*image, replace),
                Err(Refused { reason: Reason::BrokerNotReady, .. }) => return self.refuse(Reason::BrokerNotReady),
                Err(refused) => refused,
            },
        };
        let ids = [replace.cl_ord_id.0, replace.orig_cl_ord_id.0, replace.order_id.0];
        self.reject_request(ids, named, reason, REPLACE_TEMPLATE);
    }

    fn check_replace(&self, image: &OrderImage, replace: &ReplaceOrder) -> Result<(), Refused> {
        if crate::order::is_closed(image) {
            return Err(Reason::TooLate.into());
        }
        if image.ord_type != OrdType::Limit.raw() {
            return Err(Reason::ReplaceForbidden.into());
        }
        let under_way = order_flags::CANCEL_PENDING | order_flags::REPLACE_PENDING | order_flags::DOUBT;
        if image.flags & under_way != 0 || image.flags & order_flags::ACKED == 0 {
            return Err(Reason::PendingChange.into());
        }
        if replace.px.0 <= 0 {
            return Err(if replace.px == Px::NONE {
                Reason::PriceMissing.into()
            } else {
                Refused::new(Reason::PriceNotPositive, replace.px.0, 0)
            });
        }
        if replace.total_qty.0 <= image.cum_qty {
            return Err(Refused::new(Reason::QtyBelowExecuted, replace.total_qty.0, image.cum_qty));
        }
        if (replace.px.0, replace.total_qty.0) == (image.px, image.order_qty) {
            return Err(Reason::NothingToReplace.into());
        }
        if self.state.broker_status() != BrokerStatus::Ready {
            return Err(Reason::BrokerNotReady.into());
        }
        let instrument_id = tradecore_protocol::fields::InstrumentId(image.instrument_id);
        let instrument = self.state.instrument(instrument_id).ok_or(Reason::InstrumentUnknown)?;
        let side = Side::from_raw(image.side).ok_or(Reason::SideInvalid)?;
        if replace.valid_until_ns != 0 && replace.valid_until_ns < self.now.0 {
            return Err(Reason::StaleRequest.into());
        }
        self.check_may_add_risk(image.account_id)?;
        check_terms(instrument, replace.px, replace.total_qty)?;
        self.check_rate(image.account_id)?;
        let quote = self.fresh_quote(instrument)?;
        check_collar(instrument, replace.px, quote.opposite(side))?;
        let slot = self.state.slot_of(OrderId(image.order_id));
        let order = slot.and_then(|slot| self.state.orders.get(slot as usize)).copied().unwrap_or_default();
        self.check_size(instrument, image.account_id, side, replace.px, replace.total_qty, order)
    }

    fn request_replace(&mut self, mut image: OrderImage, replace: &ReplaceOrder) {
        image.flags |= order_flags::REPLACE_PENDING;
        image.order_version = image.order_version.saturating_add(1);
        image.ord_status = open_status(&image).raw();
        let event = ReplaceRequested {
            meta: Meta::default(),
            order: image,
            req_cl_ord_id: replace.cl_ord_id.0,
            exec_id: self.exec_id(),
            new_px: replace.px.0,
            new_qty: replace.total_qty.0,
            valid_until_ns: replace.valid_until_ns,
            reserved: 0,
        };
        self.report(image.session_id, image.account_id, image.order_id, event);
    }

    pub(super) fn reject_request(
        &mut self,
        ids: [u64; 3],
        named: Option<OrderImage>,
        refused: Refused,
        ref_template: u16,
    ) {
        let [req_cl_ord_id, orig_cl_ord_id, order_id] = ids;
        let event = RequestRejected {
            meta: Meta::default(),
            req_cl_ord_id,
            orig_cl_ord_id,
            order_id: named.map_or(order_id, |image| image.order_id),
            reason: refused.reason.raw(),
            offered: refused.offered,
            allowed: refused.allowed,
            ref_template,
            ord_status: named.map_or(0, |image| image.ord_status),
            reserved: [0; 3],
        };
        let account_id = named.map_or(0, |image| image.account_id);
        self.report(self.origin.session_id.0, account_id, req_cl_ord_id, event);
    }
}

fn image_of(order: &PlaceOrder, session_id: u32) -> OrderImage {
    OrderImage {
        cl_ord_id: order.cl_ord_id.0,
        px: order.px.0,
        order_qty: order.order_qty.0,
        valid_until_ns: order.valid_until_ns,
        session_id,
        instrument_id: order.instrument_id.0,
        account_id: order.account_id.0,
        strategy_id: order.strategy_id.0,
        decision_maker: order.decision_maker,
        side: order.side,
        ord_type: order.ord_type,
        tif: order.tif,
        exec_flags: order.exec_flags,
        ..OrderImage::default()
    }
}

/// Price and quantity fit the instrument.
fn check_terms(instrument: &InstrumentDefined, px: Px, qty: Qty) -> Result<(), Refused> {
    if px != Px::NONE && px.0.checked_rem(instrument.tick_size) != Some(0) {
        return Err(Refused::new(Reason::PriceTick, px.0, instrument.tick_size));
    }
    if qty.0.checked_rem(instrument.lot_size) != Some(0) {
        return Err(Refused::new(Reason::QtyLot, qty.0, instrument.lot_size));
    }
    if qty.0 < instrument.qty_min {
        return Err(Refused::new(Reason::QtyMin, qty.0, instrument.qty_min));
    }
    if qty.0 > instrument.order_qty_max {
        return Err(Refused::new(Reason::OrderQtyMax, qty.0, instrument.order_qty_max));
    }
    Ok(())
}

/// The price is not farther from the market than the collar allows.
fn check_collar(instrument: &InstrumentDefined, px: Px, market_px: Px) -> Result<(), Refused> {
    let distance = i128::from(px.0.abs_diff(market_px.0));
    let allowed = i128::from(market_px.0).saturating_mul(i128::from(instrument.collar_ppm));
    if distance.saturating_mul(PPM) > allowed {
        let width = allowed.checked_div(PPM).unwrap_or(0);
        let market_px = i128::from(market_px.0);
        let bound = if i128::from(px.0) > market_px {
            market_px.saturating_add(width)
        } else {
            market_px.saturating_sub(width)
        };
        return Err(Refused::new(Reason::PriceCollar, px.0, bound));
    }
    Ok(())
}
