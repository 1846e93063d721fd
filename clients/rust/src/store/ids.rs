//! Which ClOrdID a request gets: a counter that never repeats, and the client epoch, which new orders use up.

use tradecore_protocol::fields::ClOrdId;
use tradecore_protocol::messages::NewOrder;

use super::{Numbers, Request, Store};

/// The client epoch in which a session begins.
pub(super) const FIRST_EPOCH: u16 = 1;

impl Store {
    /// The id of the next new request: after `ids_max` new orders of one client epoch, the first of the next.
    pub(crate) fn next_id(&self, ids_max: u32) -> ClOrdId {
        let last = ClOrdId(self.numbers.last_cl_ord_id);
        let is_full = self.numbers.epoch_orders >= u64::from(ids_max);
        match last.epoch().checked_add(1) {
            // The counter goes on: it tells the ids of two clients of a session apart.
            Some(next_epoch) if is_full => ClOrdId::new(next_epoch, last.0.saturating_add(1)),
            Some(_) | None => ClOrdId(last.0.saturating_add(1)),
        }
    }

    /// Goes on where another client of the session, or one that has lost its memory, has come to.
    pub(crate) fn go_on_above(&mut self, epoch: u16, counter: u64) {
        let last = ClOrdId(self.numbers.last_cl_ord_id);
        self.use_id(ClOrdId::new(epoch.max(last.epoch()), counter.max(last.counter())));
    }

    /// The gateway has no room for a further id of the epoch of this one: other clients of the session may have used it.
    pub(crate) fn end_epoch(&mut self, id: ClOrdId) {
        if id.epoch() == ClOrdId(self.numbers.last_cl_ord_id).epoch() {
            self.numbers.epoch_orders = u64::MAX;
        }
    }

    /// A new session epoch begins the client epochs anew. The counter goes on: no id comes twice.
    pub(crate) fn restart_epochs(&mut self) {
        let last = ClOrdId::new(FIRST_EPOCH, self.numbers.last_cl_ord_id);
        self.numbers = Numbers { last_cl_ord_id: last.0, epoch_orders: 0, ..self.numbers };
    }

    /// A new order takes an id of its epoch until it is refused; other requests, and repetitions, take none.
    pub(super) fn count(&mut self, request: &Request) {
        let orders = &mut self.numbers.epoch_orders;
        let is_of_this_epoch = request.cl_ord_id().epoch() == ClOrdId(self.numbers.last_cl_ord_id).epoch();
        if request.template_id == NewOrder::TEMPLATE_ID && !request.is_repeat && is_of_this_epoch {
            *orders = if request.is_closed { orders.saturating_sub(1) } else { orders.saturating_add(1) };
        }
    }

    pub(super) fn use_id(&mut self, id: ClOrdId) {
        let numbers = &mut self.numbers;
        if id.epoch() > ClOrdId(numbers.last_cl_ord_id).epoch() {
            numbers.epoch_orders = 0;
        }
        numbers.last_cl_ord_id = numbers.last_cl_ord_id.max(id.0);
    }
}
