//! The same number on every machine and in every run: FNV-1a for bytes, one multiplication a number.

use crate::state::{NIL, State};

/// A running hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Fnv {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    pub(crate) fn number(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }

    /// The entries of a table that are not empty, each with its place.
    pub(crate) fn table<T: Default + PartialEq + core::fmt::Debug>(&mut self, table: &[T]) {
        let empty = T::default();
        self.list(table.iter().zip(0_u32..).filter(|(entry, _)| **entry != empty));
    }

    /// Entries in their order.
    pub(crate) fn list(&mut self, entries: impl Iterator<Item = impl core::fmt::Debug>) {
        entries.for_each(|entry| self.debug(&entry));
        self.number(u64::MAX);
    }

    /// Places in their order.
    pub(crate) fn places<'a>(&mut self, places: impl Iterator<Item = &'a u32>) {
        places.for_each(|place| self.number(u64::from(*place)));
        self.number(u64::MAX);
    }

    fn debug(&mut self, value: &impl core::fmt::Debug) {
        let written = core::fmt::write(self, format_args!("{value:?}"));
        debug_assert!(written.is_ok(), "a hash takes everything");
    }

    pub(crate) const fn finish(self) -> u64 {
        self.0
    }
}

impl core::fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

impl State {
    /// A number that two states share only if they are the same: FNV-1a over everything that has a meaning, each
    /// entry of a table with its place. A field that is added must be named here to compile.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let Self {
            // What may be, not what is.
            limits: _,
            epoch,
            next_order,
            next_exec,
            next_report_no,
            next_mass_cancel,
            orders,
            free_orders,
            slots_used,
            // Indexes follow from what they lead to.
            by_order_id: _,
            closed,
            executions,
            open_orders,
            ids,
            ended: _,
            free_ids,
            by_cl_ord_id: _,
            reclaim_head,
            reclaim_tail,
            sessions,
            sessions_count,
            cod_armed,
            accounts,
            positions,
            instruments,
            mass_cancels,
            doubt_search,
            broker_status,
            broker_connection_no,
            broker_cursor,
            kill_epoch,
            is_killed,
            trading_state,
        } = self;
        let mut hash = Fnv::default();
        for number in [
            u64::from(*epoch),
            *next_order,
            *next_exec,
            *next_report_no,
            *next_mass_cancel,
            u64::from(*slots_used),
            u64::from(*open_orders),
            u64::from(*reclaim_head),
            u64::from(*reclaim_tail),
            u64::from(*sessions_count),
            u64::from(*cod_armed),
            u64::from(doubt_search.unwrap_or(NIL)),
            u64::from(*broker_status),
            *broker_connection_no,
            *broker_cursor,
            *kill_epoch,
            u64::from(*is_killed),
            u64::from(*trading_state),
        ] {
            hash.number(number);
        }
        // Entries are hashed by their debug text: slow, exact, and it forgets no field.
        hash.table(orders);
        hash.table(ids);
        hash.list(self.ended());
        hash.table(sessions);
        hash.table(accounts);
        hash.table(positions);
        hash.table(instruments);
        hash.places(free_orders.iter());
        hash.places(free_ids.iter());
        hash.places(closed.iter());
        hash.list(executions.iter());
        hash.list(mass_cancels.iter());
        hash.finish()
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    /// What is changed, and how.
    type Change = (&'static str, fn(&mut State));

    #[test]
    fn the_hash_tells_where_everything_stands() {
        let base = {
            let mut state = State::new(Limits { orders_max: 4, ids_max: 8, ..Limits::default() });
            state.positions[7].qty = 1;
            state.accounts[1].cash = 5;
            state.sessions[1].session_epoch = 1;
            state.ids[0].cl_ord_id = 9;
            state.ids[0].slot = NIL;
            state.closed.extend([1, 23]);
            state
        };
        let changes: [Change; 8] = [
            ("a position of another instrument", |state| state.positions.swap(7, 8)),
            ("cash of another account", |state| state.accounts.swap(1, 2)),
            ("a session of another number", |state| state.sessions.swap(1, 2)),
            ("an id at another place", |state| state.ids.swap(0, 1)),
            ("how the order of an id ended", |state| state.ended[0].cum_qty = 1),
            ("free ids in another order", |state| state.free_ids.swap(0, 1)),
            ("the end of what is reclaimed", |state| state.reclaim_tail = 0),
            ("one list of digits cut in two ways", |state| {
                state.closed.clear();
                state.closed.extend([12, 3]);
            }),
        ];
        assert_eq!(base.hash(), base.clone().hash());
        for (what, change) in changes {
            let mut other = base.clone();
            change(&mut other);
            assert_ne!(base.hash(), other.hash(), "{what}");
        }
    }
}
