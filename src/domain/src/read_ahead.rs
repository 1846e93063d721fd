//! Readings of the state for the sake of the processor's caches.

use core::hint::black_box;

use tradecore_protocol::fields::{ClOrdId, OrderId, SessionId};

use crate::event::OrderImage;
use crate::state::State;

impl State {
    /// Reads what the event of a next order will write, so that it lies in the cache when the order comes.
    pub fn read_ahead(&self, order: &OrderImage) {
        let slot = self.free_orders.last().copied().unwrap_or(self.slots_used);
        black_box(self.orders.get(slot as usize).copied());
        black_box(self.slot_of(OrderId(order.order_id)));
        black_box(self.free_ids.last().and_then(|place| self.ids.get(*place as usize)).copied());
        // What makes room for it.
        let forgotten = self.ids.get(self.reclaim_head as usize).copied();
        black_box(forgotten.map(|id| self.id_entry(SessionId(id.session_id), ClOrdId(id.cl_ord_id)).is_some()));
        let oldest = self.closed.front().and_then(|slot| self.orders.get(*slot as usize));
        black_box(oldest.and_then(|order| self.slot_of(OrderId(order.image.order_id))));
    }
}
