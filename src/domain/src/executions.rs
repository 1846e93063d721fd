//! Executions that have been applied: what a broker tells again changes nothing.

use std::collections::VecDeque;

use crate::index::Index;

/// Numbers of executions start again behind this one: more than are ever kept, and all are places of an `Index`.
const NUMBERS: u32 = 1 << 31;

/// The newest executions, a bounded number of them; the oldest is forgotten first.
#[derive(Clone, Debug)]
pub(crate) struct Executions {
    known: Index,
    in_order: VecDeque<(u64, u64)>,
    /// Number of the oldest; the others have those that follow.
    first_no: u32,
    kept: usize,
}

impl Executions {
    /// Room for `kept` executions.
    #[must_use]
    pub(crate) fn new(kept: u32, hash_seed: u64) -> Self {
        let in_order = VecDeque::with_capacity(kept as usize);
        Self { known: Index::by_first(kept, hash_seed), in_order, first_no: 0, kept: kept as usize }
    }

    fn is(&self, broker_exec_id: u64, order_id: u64) -> impl Fn(u32) -> bool + '_ {
        move |no| {
            let nth = no.wrapping_sub(self.first_no) % NUMBERS;
            self.in_order.get(nth as usize) == Some(&(broker_exec_id, order_id))
        }
    }

    /// True when this execution of the order has been applied; never for 0, which is no id.
    #[must_use]
    pub(crate) fn has(&self, broker_exec_id: u64, order_id: u64) -> bool {
        let key = key(broker_exec_id, order_id);
        broker_exec_id != 0 && self.known.get(key, self.is(broker_exec_id, order_id)).is_some()
    }

    /// Keeps an execution, once.
    pub(crate) fn remember(&mut self, broker_exec_id: u64, order_id: u64) {
        if broker_exec_id == 0 || self.kept == 0 || self.has(broker_exec_id, order_id) {
            return;
        }
        if self.in_order.len() >= self.kept
            && let Some((oldest_id, oldest_order_id)) = self.in_order.pop_front()
        {
            let first_no = self.first_no;
            self.known.remove(key(oldest_id, oldest_order_id), |no| no == first_no);
            self.first_no = first_no.wrapping_add(1) % NUMBERS;
        }
        let no = self.first_no.wrapping_add(self.in_order.len() as u32) % NUMBERS;
        self.known.insert(key(broker_exec_id, order_id), no, |_| false);
        self.in_order.push_back((broker_exec_id, order_id));
    }

    /// Execution ids and their orders, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(u64, u64)> {
        self.in_order.iter()
    }
}

/// Where an execution lies: near those that came with it, whether the broker numbers executions or those of each order.
const fn key(broker_exec_id: u64, order_id: u64) -> (u64, u64) {
    (broker_exec_id.wrapping_add(order_id), order_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_is_known_per_order_until_newer_ones_need_its_place() {
        let mut executions = Executions::new(2, 0);
        executions.remember(7, 1);
        assert!(executions.has(7, 1));
        assert!(!executions.has(7, 2), "another order");
        executions.remember(7, 1);
        executions.remember(8, 1);
        assert!(executions.has(7, 1), "what is told again takes no place");
        executions.remember(9, 1);
        assert!(!executions.has(7, 1), "the oldest is forgotten");
        assert!(executions.has(8, 1) && executions.has(9, 1));
        assert_eq!(executions.iter().copied().collect::<Vec<_>>(), [(8, 1), (9, 1)]);
    }

    #[test]
    fn an_execution_without_an_id_is_never_known() {
        let mut executions = Executions::new(2, 0);
        executions.remember(0, 1);
        assert!(!executions.has(0, 1));
    }
}
