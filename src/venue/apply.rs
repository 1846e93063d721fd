//! Folds records into the exchange's state: the same code live and on replay of the log.
//!
//! Total: no rules, no failure. What is derived from the market (quotes, size taken from them, queue
//! positions) is no part of the log: after a restart it is unknown until the first quote, and a resting
//! order then stands behind the whole displayed size at its price.

use super::event::{CancelReason, EventKind, VenueEvent};
use super::exchange::{Action, Client, Exchange, Pending};
use super::order::{ClientIndex, Fill, NewOrder, Order, OrderStatus, VenueOrderId};
use super::record::{Group, Record};
use super::text::Name;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tradecore_protocol::fields::{OrdType, Tif};

const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * SECOND_NS;

impl Exchange {
    /// Folds one group of the log.
    pub fn apply_group(&mut self, group: &Group) {
        self.observe(group.t_ns);
        for record in &group.records {
            self.apply(group.t_ns, record);
        }
    }

    pub(super) fn apply(&mut self, t_ns: u64, record: &Record) {
        match record {
            Record::Start { start_no, .. } => self.start_no = *start_no,
            Record::Hello { client, epoch } => {
                let index = self.client_or_new(client);
                if let Some(client) = self.clients.get_mut(index.0) {
                    client.epoch = *epoch;
                }
            }
            Record::Submit { client, venue_order_id, due_ns, order } => {
                let client = self.client_or_new(client);
                self.apply_submit(client, *venue_order_id, order);
                self.enqueue(*due_ns, client, Action::Submit(*venue_order_id));
            }
            Record::DuplicateSubmit { .. } => {}
            Record::Cancel { client, due_ns, request } => {
                let client = self.client_or_new(client);
                self.enqueue(*due_ns, client, Action::Cancel(request.clone()));
            }
            Record::Replace { client, due_ns, request } => {
                let client = self.client_or_new(client);
                let id = self.find(client, &request.client_order_id);
                if let Some(order) = id.and_then(|id| self.order_mut(id)) {
                    order.request_ids.insert(request.request_id.clone());
                }
                self.enqueue(*due_ns, client, Action::Replace(request.clone()));
            }
            Record::Event { client, event } => {
                let client = self.client_or_new(client);
                self.apply_event(event);
                self.keep(t_ns, client, event);
            }
        }
    }

    pub(super) fn find(&self, client: ClientIndex, client_order_id: &Name) -> Option<VenueOrderId> {
        self.clients.get(client.0).and_then(|c| c.orders.get(client_order_id)).copied()
    }

    fn client_or_new(&mut self, name: &Name) -> ClientIndex {
        if let Some(index) = self.client_names.get(name) {
            return *index;
        }
        let index = ClientIndex(self.clients.len());
        self.client_names.insert(name.clone(), index);
        self.clients.push(Client {
            name: name.clone(),
            epoch: 0,
            events: VecDeque::new(),
            last_event_seq: 0,
            orders: BTreeMap::new(),
            open: BTreeSet::new(),
        });
        index
    }

    fn apply_submit(&mut self, client: ClientIndex, id: VenueOrderId, terms: &NewOrder) {
        let instrument = self.symbols.get(&terms.symbol).copied();
        self.orders.push(Order::new(id, client, terms.clone(), instrument));
        if let Some(state) = self.clients.get_mut(client.0) {
            state.orders.insert(terms.client_order_id.clone(), id);
            state.open.insert(id);
        }
    }

    fn enqueue(&mut self, due_ns: u64, client: ClientIndex, action: Action) {
        self.requests_accepted = self.requests_accepted.saturating_add(1);
        self.last_due_ns = self.last_due_ns.max(due_ns);
        self.pending.push_back(Pending { due_ns, client, action });
    }

    fn apply_event(&mut self, event: &VenueEvent) {
        // Requests are executed first in, first out, and each has exactly one event that ends it.
        if ends_request(&event.kind) {
            self.pending.pop_front();
        }
        let id = event.venue_order_id;
        match &event.kind {
            EventKind::New { .. } => {
                self.rank_last(id);
                let expires_ns = day_end_after(event.venue_time_ns, self.config.day_end_utc_s);
                let Some(order) = self.order_mut(id) else {
                    return;
                };
                order.status = OrderStatus::New;
                if order.terms.tif == Tif::Day {
                    order.expires_ns = Some(expires_ns);
                    self.expiries.insert((expires_ns, id));
                }
                self.book_insert(id);
            }
            EventKind::Trade { exec_id, last_px, last_qty, cum_qty, leaves_qty, fee, liquidity } => {
                self.last_exec_id = self.last_exec_id.max(*exec_id);
                let Some(order) = self.order_mut(id) else {
                    return;
                };
                order.cum_qty = *cum_qty;
                order.status = OrderStatus::PartiallyFilled;
                order.fills.push(Fill {
                    exec_id: *exec_id,
                    px: *last_px,
                    qty: *last_qty,
                    fee: *fee,
                    liquidity: *liquidity,
                    venue_time_ns: event.venue_time_ns,
                });
                if leaves_qty.0 == 0 {
                    self.close(id, OrderStatus::Filled);
                }
            }
            EventKind::Canceled { .. } => self.close(id, OrderStatus::Canceled),
            EventKind::Expired { .. } => self.close(id, OrderStatus::Expired),
            EventKind::Rejected { .. } => self.close(id, OrderStatus::Rejected),
            EventKind::Replaced { request_id, px, qty, priority_kept, .. } => {
                self.book_remove(id);
                if !priority_kept {
                    self.rank_last(id);
                }
                let Some(order) = self.order_mut(id) else {
                    return;
                };
                order.terms.px = *px;
                order.terms.qty = *qty;
                order.replace_request_id = Some(request_id.clone());
                self.book_insert(id);
            }
            EventKind::CancelRejected { .. } | EventKind::ReplaceRejected { .. } => {}
        }
    }

    fn keep(&mut self, t_ns: u64, client: ClientIndex, event: &VenueEvent) {
        let kept_max = self.config.events_kept_max;
        let leave_ns = t_ns.saturating_add(self.config.event_latency_ns);
        let Some(state) = self.clients.get_mut(client.0) else {
            return;
        };
        state.last_event_seq = event.event_seq;
        state.events.push_back((leave_ns, event.clone()));
        if state.events.len() > kept_max {
            state.events.pop_front();
        }
    }

    /// Puts an order last in time; it is not in the book while its rank changes.
    fn rank_last(&mut self, id: VenueOrderId) {
        self.last_priority = self.last_priority.saturating_add(1);
        let priority = self.last_priority;
        if let Some(order) = self.order_mut(id) {
            order.priority = priority;
            order.queue_ahead = None;
        }
    }

    fn close(&mut self, id: VenueOrderId, status: OrderStatus) {
        self.book_remove(id);
        let Some(order) = self.order_mut(id) else {
            return;
        };
        order.status = status;
        let (client, expires_ns) = (order.client, order.expires_ns);
        if let Some(expires_ns) = expires_ns {
            self.expiries.remove(&(expires_ns, id));
        }
        if let Some(state) = self.clients.get_mut(client.0) {
            state.open.remove(&id);
        }
    }

    /// Limit orders rest; market orders have no price to rest at.
    fn book_insert(&mut self, id: VenueOrderId) {
        let index = usize::try_from(id.0.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(order) = self.orders.get(index).filter(|o| o.terms.ord_type == OrdType::Limit) else {
            return;
        };
        if let Some(book) = order.instrument.and_then(|i| self.books.get_mut(i)) {
            book.insert(order);
        }
    }

    fn book_remove(&mut self, id: VenueOrderId) {
        let index = usize::try_from(id.0.saturating_sub(1)).unwrap_or(usize::MAX);
        // An order that never got to the book has no rank there.
        let Some(order) = self.orders.get(index).filter(|o| o.priority > 0) else {
            return;
        };
        if let Some(book) = order.instrument.and_then(|i| self.books.get_mut(i)) {
            book.remove(order);
        }
    }
}

/// True for the one event that says how an accepted request ended.
fn ends_request(kind: &EventKind) -> bool {
    match kind {
        EventKind::New { .. }
        | EventKind::Rejected { .. }
        | EventKind::Replaced { .. }
        | EventKind::CancelRejected { .. }
        | EventKind::ReplaceRejected { .. } => true,
        EventKind::Canceled { reason, .. } => *reason == CancelReason::Requested,
        EventKind::Trade { .. } | EventKind::Expired { .. } => false,
    }
}

/// The first end of a trading day after `t_ns`.
fn day_end_after(t_ns: u64, day_end_utc_s: u32) -> u64 {
    let end_ns = u64::from(day_end_utc_s).saturating_mul(SECOND_NS);
    let today_ns = t_ns.saturating_sub(t_ns.rem_euclid(DAY_NS)).saturating_add(end_ns);
    if today_ns > t_ns { today_ns } else { today_ns.saturating_add(DAY_NS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_the_next_boundary_and_never_at_once() {
        let cases =
            [(0, 0, DAY_NS), (1, 0, DAY_NS), (0, 60, 60 * SECOND_NS), (60 * SECOND_NS, 60, DAY_NS + 60 * SECOND_NS)];
        for (t_ns, end_s, expected) in cases {
            assert_eq!(day_end_after(t_ns, end_s), expected, "{t_ns} {end_s}");
        }
    }
}
