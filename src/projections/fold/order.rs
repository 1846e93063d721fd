//! What happens to an order, and to all that is made of it: its position, its account, its session.

use tradecore_domain::event::{BrokerRef, Event, OrderFilled, OrderImage};
use tradecore_domain::{Exposure, Position, is_closed};
use tradecore_protocol::fields::{Money, Px, Qty, Side};

use super::part::Trouble;
use super::{Entry, Fold};
use crate::projections::aggregate::Aggregate;
use crate::projections::declare::Row as _;
use crate::projections::removal::DAY_NS;
use crate::projections::tables::{FillRow, OrderHistoryRow, OrderRow, PositionHistoryRow, PositionRow};

/// What an event says of its order beside the image.
#[derive(Clone, Copy, Default)]
pub(super) struct News {
    pub(super) exec_id: u64,
    pub(super) broker: BrokerRef,
    pub(super) req_cl_ord_id: u64,
    pub(super) reason: u16,
}

/// What an order counts for, before and after.
#[derive(Clone, Copy, Default)]
struct Change {
    before: Exposure,
    after: Exposure,
}

impl Change {
    const fn count(self, of: u32) -> u32 {
        of.saturating_sub(self.before.open).saturating_add(self.after.open)
    }

    const fn amount(of: i128, before: i128, after: i128) -> i128 {
        of.saturating_sub(before).saturating_add(after)
    }
}

impl Fold<'_, '_> {
    /// What has happened to an order, and to all that is made of it; false when it was parked.
    pub(super) fn order(
        &mut self,
        event: &Event,
        image: &OrderImage,
        news: News,
        fresh: Option<OrderRow>,
        more: impl FnOnce(&mut OrderRow),
    ) -> bool {
        self.change_order(event, image, news, fresh, more, None)
    }

    fn change_order(
        &mut self,
        event: &Event,
        image: &OrderImage,
        news: News,
        fresh: Option<OrderRow>,
        more: impl FnOnce(&mut OrderRow),
        fill: Option<&OrderFilled>,
    ) -> bool {
        let Entry { seq, ts_ns, kind, .. } = self.entry;
        let order_id = image.order_id;
        self.note_cursor(news.broker);
        let change = self.part(Aggregate::Order(order_id), |rows| {
            let is_new = fresh.is_some();
            let known = || rows.orders.get(order_id).cloned();
            // A closed order counts for nothing, whether its row is there or has left.
            let left = || (rows.leave_some_day && is_closed(image)).then(|| left_row(image));
            let mut row = fresh.or_else(known).or_else(left).ok_or(Trouble::NoOrder(order_id))?;
            let before = if is_new { Exposure::default() } else { exposure_of(&row) };
            set_image(&mut row, image);
            if news.req_cl_ord_id != 0 {
                row.req_cl_ord_id = news.req_cl_ord_id;
            }
            if news.broker.broker_order_id != 0 {
                row.broker_order_id = news.broker.broker_order_id;
            }
            if news.reason != 0 {
                row.reason = news.reason;
            }
            (row.updated_seq, row.updated_ns) = (seq, ts_ns);
            more(&mut row);
            row.check()?;
            let after = exposure_of(&row);
            rows.orders.put(order_id, row);
            rows.new.order_history.push(OrderHistoryRow {
                seq,
                ts_ns,
                order_id,
                event: kind,
                ord_status: image.ord_status.into(),
                flags: image.flags.into(),
                px: image.px,
                order_qty: image.order_qty,
                cum_qty: image.cum_qty,
                cum_cost: image.cum_cost,
                order_version: image.order_version,
                exec_id: news.exec_id,
                report_seq: event.meta().report_seq,
                req_cl_ord_id: news.req_cl_ord_id,
                reason: news.reason,
                broker_seq: news.broker.broker_seq,
                broker_time_ns: news.broker.broker_time_ns,
            });
            Ok(Change { before, after })
        });
        let (account_id, instrument_id) = (image.account_id, image.instrument_id);
        let Some(change) = change else {
            // What these rows should hold is made of the order's, which nobody knows.
            for aggregate in [
                Aggregate::Position(account_id, instrument_id),
                Aggregate::Account(account_id),
                Aggregate::Session(image.session_id),
            ] {
                self.park(aggregate, format!("made of order {order_id}, whose events are parked"));
            }
            return false;
        };
        let trade = fill.map(|fill| {
            let sign = if image.side == Side::Buy.raw() { 1_i128 } else { -1 };
            let value = Money::of(Px(fill.last_px), Qty(fill.last_qty)).0.saturating_mul(sign);
            (i128::from(fill.last_qty).saturating_mul(sign), value, fill.fee)
        });
        let is_same = (change.before, trade) == (change.after, None);
        if is_same {
            return true;
        }
        self.position(account_id, instrument_id, change, trade);
        let Change { before, after } = change;
        self.account(account_id, |account, balance| {
            account.open_orders = change.count(account.open_orders);
            account.in_doubt = account.in_doubt.saturating_sub(before.in_doubt).saturating_add(after.in_doubt);
            balance.reserved = Change::amount(balance.reserved, before.reserved, after.reserved);
            balance.open_notional = Change::amount(balance.open_notional, before.notional, after.notional);
            if let Some((_, value, fee)) = trade {
                balance.cash = balance.cash.saturating_sub(value).saturating_sub(fee);
            }
        });
        if before.open != after.open {
            self.session(image.session_id, |row| row.open_orders = change.count(row.open_orders));
        }
        true
    }

    fn position(
        &mut self,
        account_id: u32,
        instrument_id: u32,
        Change { before, after }: Change,
        trade: Option<(i128, i128, i128)>,
    ) {
        let Entry { seq, ts_ns, .. } = self.entry;
        self.part(Aggregate::Position(account_id, instrument_id), |rows| {
            let mut row = rows.positions.get((account_id, instrument_id)).cloned().unwrap_or_default();
            let realized_before = row.realized_pnl;
            (row.account_id, row.instrument_id) = (account_id, instrument_id);
            row.open_buy_qty = Change::amount(row.open_buy_qty, before.buy_qty, after.buy_qty);
            row.open_sell_qty = Change::amount(row.open_sell_qty, before.sell_qty, after.sell_qty);
            if let Some((qty, value, fee)) = trade {
                take_fill(&mut row, qty, value, fee);
            }
            (row.updated_seq, row.updated_ns) = (seq, ts_ns);
            row.check()?;
            if let Some((qty, _, fee)) = trade {
                let day_ns = ts_ns.saturating_sub(ts_ns % DAY_NS);
                let realized = row.realized_pnl.saturating_sub(realized_before);
                let currency = rows.instruments.get(instrument_id).map(|row| row.currency.clone());
                rows.daily_pnl.change((day_ns, account_id, instrument_id), |day| {
                    (day.day_ns, day.account_id, day.instrument_id) = (day_ns, account_id, instrument_id);
                    day.currency = currency.unwrap_or_default();
                    day.realized_pnl = day.realized_pnl.saturating_add(realized);
                    day.fees = day.fees.saturating_add(fee);
                    day.bought_qty = day.bought_qty.saturating_add(qty.max(0));
                    day.sold_qty = day.sold_qty.saturating_sub(qty.min(0));
                    day.fills = day.fills.saturating_add(1);
                    (day.updated_seq, day.updated_ns) = (seq, ts_ns);
                })?;
                let PositionRow { position_qty, cost, realized_pnl, fees, .. } = row;
                rows.new.positions_history.push(PositionHistoryRow {
                    seq,
                    ts_ns,
                    account_id,
                    instrument_id,
                    position_qty,
                    cost,
                    realized_pnl,
                    fees,
                });
            }
            rows.positions.put((account_id, instrument_id), row);
            Ok(())
        });
    }

    pub(super) fn fill(&mut self, event: &Event, e: &OrderFilled) {
        let news = News { exec_id: e.exec_id, broker: e.broker, ..News::default() };
        if !self.change_order(event, &e.order, news, None, |_| {}, Some(e)) {
            return;
        }
        let Entry { seq, ts_ns, .. } = self.entry;
        let row = FillRow {
            seq,
            ts_ns,
            exec_id: e.exec_id,
            order_id: e.order.order_id,
            cl_ord_id: e.order.cl_ord_id,
            account_id: e.order.account_id,
            session_id: e.order.session_id,
            instrument_id: e.order.instrument_id,
            strategy_id: e.order.strategy_id,
            side: e.order.side.into(),
            last_px: e.last_px,
            last_qty: e.last_qty,
            fee: e.fee,
            liquidity: e.liquidity.into(),
            is_overfill: e.overfill == 1,
            broker_exec_id: e.broker_exec_id,
            broker_order_id: e.broker.broker_order_id,
            broker_time_ns: e.broker.broker_time_ns,
        };
        self.part(Aggregate::Order(e.order.order_id), |rows| {
            row.check()?;
            rows.new.fills.push(row);
            Ok(())
        });
    }
}

/// A fill, by the domain's own arithmetic.
fn take_fill(row: &mut PositionRow, qty: i128, value: i128, fee: i128) {
    let mut position =
        Position { qty: row.position_qty, cost: row.cost, realized_pnl: row.realized_pnl, ..Position::default() };
    position.fill(qty, value);
    (row.position_qty, row.cost, row.realized_pnl) = (position.qty, position.cost, position.realized_pnl);
    row.fees = row.fees.saturating_add(fee);
}

/// The row of a closed order that has left: of what it was before, the event says nothing.
fn left_row(image: &OrderImage) -> OrderRow {
    OrderRow {
        order_id: image.order_id,
        new_px: Px::NONE.0,
        worst_px: image.px,
        ord_status: image.ord_status.into(),
        ..OrderRow::default()
    }
}

fn set_image(row: &mut OrderRow, image: &OrderImage) {
    let is_open = !is_closed(image);
    row.order_id = image.order_id;
    row.cl_ord_id = image.cl_ord_id;
    row.session_id = image.session_id;
    row.account_id = image.account_id;
    row.instrument_id = image.instrument_id;
    row.strategy_id = image.strategy_id;
    row.decision_maker = image.decision_maker;
    row.side = image.side.into();
    row.ord_type = image.ord_type.into();
    row.tif = image.tif.into();
    row.exec_flags = image.exec_flags.into();
    row.ord_status = image.ord_status.into();
    row.flags = image.flags.into();
    row.is_open = is_open;
    row.px = image.px;
    row.order_qty = image.order_qty;
    row.cum_qty = image.cum_qty;
    row.leaves_qty = if is_open { image.order_qty.saturating_sub(image.cum_qty).max(0) } else { 0 };
    row.cum_cost = image.cum_cost;
    row.valid_until_ns = image.valid_until_ns;
    row.order_version = image.order_version;
}

/// What an order counts for, by the domain's own rule.
fn exposure_of(row: &OrderRow) -> Exposure {
    let narrow = |code: u16| u8::try_from(code).unwrap_or(0);
    let image = OrderImage {
        order_id: row.order_id,
        order_qty: row.order_qty,
        cum_qty: row.cum_qty,
        side: narrow(row.side),
        ord_status: narrow(row.ord_status),
        flags: narrow(row.flags),
        ..OrderImage::default()
    };
    Exposure::of(&image, row.worst_px, (row.new_px, row.new_qty))
}
