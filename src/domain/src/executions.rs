//! Executions that have been applied: what a broker tells again changes nothing.

use std::collections::VecDeque;

use crate::index::Index;

/// The newest executions, a bounded number of them; the oldest is forgotten first.
#[derive(Clone, Debug)]
pub(crate) struct Executions {
    known: Index,
    in_order: VecDeque<(u64, u64)>,
    kept: usize,
}

impl Executions {
    /// Room for `kept` executions.
    #[must_use]
    pub(crate) fn new(kept: u32, hash_seed: u64) -> Self {
        Self {
            known: Index::by_first(kept, hash_seed),
            in_order: VecDeque::with_capacity(kept as usize),
            kept: kept as usize,
        }
    }

    /// True when this execution of the order has been applied; never for 0, which is no id.
    #[must_use]
    pub(crate) fn has(&self, broker_exec_id: u64, order_id: u64) -> bool {
        broker_exec_id != 0 && self.known.get(key(broker_exec_id, order_id)).is_some()
    }

    /// Keeps an execution, once.
    pub(crate) fn remember(&mut self, broker_exec_id: u64, order_id: u64) {
        if broker_exec_id == 0 || self.kept == 0 || self.has(broker_exec_id, order_id) {
            return;
        }
        if self.in_order.len() >= self.kept
            && let Some((broker_exec_id, order_id)) = self.in_order.pop_front()
        {
            self.known.remove(key(broker_exec_id, order_id));
        }
        self.known.insert(key(broker_exec_id, order_id), 0);
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
