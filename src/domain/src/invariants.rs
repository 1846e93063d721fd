//! What is true of every state: asked by tests and tools, never on the loop.
//!
//! Everything that is counted along is counted again here, from the orders alone.

use crate::order::{Exposure, Order, open_status};
use crate::state::{IdEntry, NIL, State, knows};

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenInvariant {
    /// What should be true.
    pub rule: &'static str,
    /// Of which order, account, session or place.
    pub id: u64,
    /// What was found.
    pub found: i128,
    /// What it should be.
    pub expected: i128,
}

impl core::fmt::Display for BrokenInvariant {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} (of {}): found {}, expected {}", self.rule, self.id, self.found, self.expected)
    }
}

impl core::error::Error for BrokenInvariant {}

fn hold(rule: &'static str, id: u64, found: impl Into<i128>, expected: impl Into<i128>) -> Result<(), BrokenInvariant> {
    let (found, expected) = (found.into(), expected.into());
    if found == expected { Ok(()) } else { Err(BrokenInvariant { rule, id, found, expected }) }
}

fn add(sum: &mut Exposure, one: &Exposure) {
    sum.notional = sum.notional.saturating_add(one.notional);
    sum.reserved = sum.reserved.saturating_add(one.reserved);
    sum.buy_qty = sum.buy_qty.saturating_add(one.buy_qty);
    sum.sell_qty = sum.sell_qty.saturating_add(one.sell_qty);
    sum.open = sum.open.saturating_add(one.open);
    sum.in_doubt = sum.in_doubt.saturating_add(one.in_doubt);
}

fn at<T>(table: &[T], place: u32) -> Option<&T> {
    table.get(place as usize).filter(|_| place != NIL)
}

impl State {
    /// Recounts everything.
    ///
    /// # Errors
    /// The first invariant that does not hold; it is a defect of ours.
    pub fn check_invariants(&self) -> Result<(), BrokenInvariant> {
        self.check_orders()?;
        self.check_exposures()?;
        self.check_ids()?;
        let armed = self.sessions.iter().filter(|session| session.cod_due_ns != 0).count() as i128;
        hold("armed sessions are counted", 0, self.cod_armed, armed)?;
        let too_many = self.mass_cancels.len() > self.limits.mass_cancel_places();
        hold("mass cancels under way are bounded", 0, too_many, false)
    }

    fn used(&self) -> impl Iterator<Item = (u32, &Order)> {
        let slots = (0..self.slots_used).zip(&self.orders);
        slots.filter(|(_, order)| order.image.order_id != 0)
    }

    /// Index ↔ table ↔ queue of closed orders ↔ free places, and each order in itself.
    fn check_orders(&self) -> Result<(), BrokenInvariant> {
        for (slot, order) in self.used() {
            let image = &order.image;
            let id = image.order_id;
            let found = self.slot_of(tradecore_protocol::fields::OrderId(id));
            hold("the index finds the order", id, found.unwrap_or(NIL), slot)?;
            let is_queued = self.closed.iter().filter(|closed| **closed == slot).count() as i128;
            hold("a closed order stands in the queue once, an open one never", id, is_queued, !order.is_open())?;
            if order.is_open() {
                let has_leaves = (0..image.order_qty).contains(&image.cum_qty);
                hold("an open order has leaves: 0 <= cum_qty < order_qty", id, has_leaves, true)?;
                hold("the status follows from the flags", id, image.ord_status, open_status(image).raw())?;
                let entry = at(&self.ids, order.id_place);
                hold("an open order has its ClOrdID", id, entry.map_or(0, |entry| entry.cl_ord_id), image.cl_ord_id)?;
                hold("the ClOrdID leads to the order", id, entry.map_or(NIL, |entry| entry.slot), slot)?;
            }
        }
        let used = self.used().count() as i128;
        hold("the index holds the orders and nothing else", 0, self.by_order_id.len() as i128, used)?;
        let free = i128::from(self.slots_used).saturating_sub(used);
        hold("every place is used or free", 0, self.free_orders.len() as i128, free)
    }

    /// What accounts, positions, sessions and the core count is the sum over their orders.
    fn check_exposures(&self) -> Result<(), BrokenInvariant> {
        let sum_of = |is_meant: &dyn Fn(&Order) -> bool| {
            let mut sum = Exposure::default();
            self.used().filter(|(_, order)| is_meant(order)).for_each(|(_, order)| add(&mut sum, &order.exposure()));
            sum
        };
        hold("open orders of the core", 0, self.open_orders, sum_of(&|_| true).open)?;
        for (account, id) in self.accounts.iter().zip(0_u32..) {
            let sum = sum_of(&|order| order.image.account_id == id);
            hold("reserved is the worst case of open buys", id.into(), account.reserved, sum.reserved)?;
            hold("open notional is the worst case of open orders", id.into(), account.open_notional, sum.notional)?;
            hold("open orders of the account", id.into(), account.open_orders, sum.open)?;
            hold("orders in doubt of the account", id.into(), account.in_doubt, sum.in_doubt)?;
            for instrument_id in 0..=self.limits.instruments_max {
                let place = self.position_place(id, instrument_id);
                let Some(position) = self.positions.get(place) else { continue };
                let image = |order: &Order| (order.image.account_id, order.image.instrument_id);
                let sum = sum_of(&|order| image(order) == (id, instrument_id));
                hold("open buys of the position", place as u64, position.open_buy_qty, sum.buy_qty)?;
                hold("open sells of the position", place as u64, position.open_sell_qty, sum.sell_qty)?;
            }
        }
        for (session, id) in self.sessions.iter().zip(0_u32..) {
            let sum = sum_of(&|order| order.image.session_id == id);
            hold("open orders of the session", id.into(), session.open_orders, sum.open)?;
        }
        Ok(())
    }

    /// Index ↔ ids, and every id can be forgotten some day: it is in one list, or goes with its order.
    fn check_ids(&self) -> Result<(), BrokenInvariant> {
        let used = |entry: &&IdEntry| entry.cl_ord_id != 0;
        for (entry, place) in self.ids.iter().zip(0_u32..).filter(|(entry, _)| used(entry)) {
            let key = (entry.cl_ord_id, u64::from(entry.session_id));
            let found = self.by_cl_ord_id.get(key, |place| knows(&self.ids, place, key));
            hold("the index finds the ClOrdID", entry.cl_ord_id, found.unwrap_or(NIL), place)?;
        }
        let count = self.ids.iter().filter(used).count() as i128;
        hold("the index holds the ClOrdIDs and nothing else", 0, self.by_cl_ord_id.len() as i128, count)?;
        let free = (self.ids.len() as i128).saturating_sub(count);
        hold("every id is used or free", 0, self.free_ids.len() as i128, free)?;
        let defined = self.sessions.iter().filter(|session| session.is_defined()).count() as i128;
        hold("sessions are counted", 0, self.sessions_count, defined)?;
        for (session, id) in self.sessions.iter().zip(0_u32..).filter(|(session, _)| session.is_defined()) {
            hold("ids of the open epoch are counted", id.into(), session.ids, self.length_of(session.ids_head))?;
        }
        let heads = self.sessions.iter().filter(|session| session.is_defined()).map(|session| session.ids_head);
        let listed: i128 = heads.chain([self.reclaim_head]).map(|head| self.length_of(head)).sum();
        let orphans = self.ids.iter().filter(|entry| entry.is_orphan).count() as i128;
        hold("every id can be forgotten some day", 0, listed.saturating_add(orphans), count)
    }

    fn length_of(&self, head: u32) -> i128 {
        let list = core::iter::successors(at(&self.ids, head), |entry| at(&self.ids, entry.next));
        list.take(self.ids.len().saturating_add(1)).count() as i128
    }
}
